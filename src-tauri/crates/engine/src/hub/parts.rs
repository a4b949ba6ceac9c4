//! When each part of the snapshot changed last, so that a page that looks every second is sent only what it does not have.

use pilothouse_domain::snapshot::Snapshot;
use serde::Serialize;
use serde_json::{Map, Value};

/// A part as the page gets it. What cannot be written as JSON is left out, and the page keeps what it has.
fn put<T: Serialize>(parts: &mut Map<String, Value>, name: &str, part: &T) {
    if let Ok(part) = serde_json::to_value(part) {
        parts.insert(name.to_owned(), part);
    }
}

macro_rules! parts {
    ($($part:ident),+ $(,)?) => {
        /// The revision in which each part became what it is.
        #[derive(Debug, Default)]
        pub(super) struct Parts {
            $($part: u64),+
        }

        impl Parts {
            /// `after` takes the place of `before`.
            pub fn note(&mut self, before: &Snapshot, after: &Snapshot) {
                $(if before.$part != after.$part {
                    self.$part = after.revision;
                })+
            }

            /// What of a snapshot somebody does not have who has that of an earlier revision.
            pub fn since(&self, known: u64, snapshot: &Snapshot) -> Map<String, Value> {
                let mut parts = Map::new();
                $(if self.$part > known {
                    put(&mut parts, stringify!($part), &snapshot.$part);
                })+
                parts
            }
        }
    };
}

parts!(
    engine,
    active,
    active_absent,
    standing,
    switching,
    arranging,
    roles,
    scenes,
    restore_at,
    recent,
    pins,
    on_request,
    undo,
    last_switch,
    servers,
    discovered,
    models,
    instances,
    gauges,
    ledger,
    containers,
    containers_absent,
    traffic,
    bench,
    last_run,
    notices,
    setup,
    troubles,
);

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{Timestamp, error::ApiError, snapshot::EngineView};

    fn empty() -> Snapshot {
        Snapshot::empty(EngineView::default(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn every_part_of_a_snapshot_is_noted() {
        let all = Parts {
            engine: 1,
            active: 1,
            active_absent: 1,
            standing: 1,
            switching: 1,
            arranging: 1,
            roles: 1,
            scenes: 1,
            restore_at: 1,
            recent: 1,
            pins: 1,
            on_request: 1,
            undo: 1,
            last_switch: 1,
            servers: 1,
            discovered: 1,
            models: 1,
            instances: 1,
            gauges: 1,
            ledger: 1,
            containers: 1,
            containers_absent: 1,
            traffic: 1,
            bench: 1,
            last_run: 1,
            notices: 1,
            setup: 1,
            troubles: 1,
        };
        let mut whole = serde_json::to_value(empty()).unwrap();
        // Those that every answer has beside the parts, and the shape, which no engine changes.
        for name in ["schema", "revision", "at"] {
            whole.as_object_mut().unwrap().remove(name).unwrap();
        }
        assert_eq!(Value::Object(all.since(0, &empty())), whole);
        assert!(all.since(1, &empty()).is_empty());
    }

    #[test]
    fn a_page_gets_what_changed_since_it_looked_and_nothing_else() {
        let mut parts = Parts::default();
        let (mut last, first) = (empty(), empty());
        for (revision, change) in [
            (1, (|now| now.active_absent = Some("it is damaged".into())) as fn(&mut Snapshot)),
            (2, |now| now.troubles.push(ApiError::internal("no"))),
            (3, |now| now.active_absent = None),
            (4, |_| {}),
        ] {
            let mut now = last.clone();
            (now.revision, now.at) = (revision, Timestamp::from_second(revision as i64).unwrap());
            change(&mut now);
            parts.note(&last, &now);
            last = now;
        }
        let names = |known| parts.since(known, &last).keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(0), ["active_absent", "troubles"]);
        assert_eq!(
            (names(1), names(2)),
            (vec!["active_absent".into(), "troubles".into()], vec!["active_absent".into()])
        );
        assert!(names(3).is_empty(), "its revision alone is another");
        // Put over what the page has, they give what the engine has.
        let mut page = serde_json::to_value(&first).unwrap();
        page.as_object_mut().unwrap().extend(parts.since(0, &last));
        (page["revision"], page["at"]) = (last.revision.into(), serde_json::to_value(last.at).unwrap());
        assert_eq!(page, serde_json::to_value(&last).unwrap());
    }
}
