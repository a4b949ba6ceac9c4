//! Which model is measured by itself, and when: one with an accepted baseline whose server has changed its version, once nobody
//! has needed the machine for a while.

use crate::server::ServerId;
use std::collections::{BTreeMap, BTreeSet};

/// How long nobody may have asked for an answer, and nothing computed, before a model is measured. Milliseconds.
pub const IDLE_MS: u64 = 600_000;
/// A machine that idles takes less of all its cores, and of its busiest card. Percent; as the quiet gate of a run has it.
const MOST_CPU: f64 = 10.0;
const MOST_GPU: f64 = 5.0;

/// What is seen of the machine at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Glance {
    /// A clock that only goes on.
    pub at_ms: u64,
    /// Answers that were asked for so far, by anybody.
    pub asked: u64,
    /// An answer, a switch or a benchmark is under way.
    pub busy: bool,
    /// `None`: not known.
    pub cpu_percent: Option<f64>,
    /// Of the busiest card. `None`: there is none, or it does not tell.
    pub gpu_percent: Option<f64>,
}

/// Since when the machine idles.
#[derive(Debug, Clone, Default)]
pub struct Idle {
    since_ms: Option<u64>,
    asked: Option<u64>,
}

impl Idle {
    /// Takes the next look; whether the machine has idled for long enough. What is not known is no rest.
    pub fn look(&mut self, glance: &Glance) -> bool {
        let used = self.asked.replace(glance.asked).is_some_and(|before| before != glance.asked);
        let computes = glance.cpu_percent.is_none_or(|cpu| cpu > MOST_CPU)
            || glance.gpu_percent.is_some_and(|gpu| gpu > MOST_GPU);
        if used || glance.busy || computes {
            self.since_ms = None;
            return false;
        }
        let since = *self.since_ms.get_or_insert(glance.at_ms);
        glance.at_ms.saturating_sub(since) >= IDLE_MS
    }
}

/// A model with an accepted baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub server: ServerId,
    pub model: String,
    /// The version of its server in its newest run. `None`: it was not told then.
    pub version: Option<String>,
}

/// A model that was measured after an update.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checked {
    pub server: ServerId,
    /// Of the server.
    pub version: String,
    pub model: String,
}

/// The next model to measure; `None`: there is none. `versions`: of the servers that answer. Each version of a server makes one
/// check of each model; without both versions nobody knows of an update.
pub fn due(
    watched: &[Watched],
    versions: &BTreeMap<ServerId, String>,
    checked: &BTreeSet<Checked>,
) -> Option<Checked> {
    watched.iter().find_map(|one| {
        let now = versions.get(&one.server)?;
        let check = Checked { server: one.server.clone(), version: now.clone(), model: one.model.clone() };
        let updated = one.version.as_ref().is_some_and(|before| before != now);
        (updated && !checked.contains(&check)).then_some(check)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_REST: Glance =
        Glance { at_ms: 0, asked: 7, busy: false, cpu_percent: Some(2.0), gpu_percent: Some(0.0) };

    /// Whether a machine has idled for long enough after looks of one minute each.
    fn idles(looks: &[Glance]) -> bool {
        let mut idle = Idle::default();
        let mut idles = false;
        for (minute, look) in (0..).zip(looks) {
            idles = idle.look(&Glance { at_ms: minute * 60_000, ..*look });
        }
        idles
    }

    #[test]
    fn a_machine_idles_when_nobody_needed_it_for_ten_minutes() {
        let with = |at: usize, look: Glance| {
            let mut looks = [AT_REST; 11];
            looks[at..].fill(Glance { asked: look.asked, ..AT_REST });
            looks[at] = look;
            looks
        };
        for (what, looks, wanted) in [
            ("ten minutes", vec![AT_REST; 11], true),
            ("nine minutes", vec![AT_REST; 10], false),
            ("no card", vec![Glance { gpu_percent: None, ..AT_REST }; 11], true),
            ("no reading of the processor", vec![Glance { cpu_percent: None, ..AT_REST }; 20], false),
            ("somebody asked in the third minute", with(3, Glance { asked: 8, ..AT_REST }).to_vec(), false),
            ("somebody asked just now", with(10, Glance { asked: 8, ..AT_REST }).to_vec(), false),
            ("an answer was under way", with(5, Glance { busy: true, ..AT_REST }).to_vec(), false),
            ("a compiler ran", with(1, Glance { cpu_percent: Some(55.0), ..AT_REST }).to_vec(), false),
            ("a game ran", with(1, Glance { gpu_percent: Some(30.0), ..AT_REST }).to_vec(), false),
            ("busy when first looked at", with(0, Glance { busy: true, ..AT_REST }).to_vec(), false),
        ] {
            assert_eq!(idles(&looks), wanted, "{what}");
        }
        let mut later = with(3, Glance { asked: 8, ..AT_REST }).to_vec();
        later.extend([Glance { asked: 8, ..AT_REST }; 4]);
        assert!(idles(&later), "ten minutes after that");
    }

    #[test]
    fn each_model_is_due_once_for_each_version_of_its_server() {
        let watched = |server: &str, model: &str, version: Option<&str>| Watched {
            server: server.into(),
            model: model.into(),
            version: version.map(str::to_owned),
        };
        let models = [
            watched("ollama", "a", Some("0.1")),
            watched("ollama", "b", Some("0.1")),
            watched("lmstudio", "a", Some("0.4")),
            watched("studio", "c", None),
        ];
        let versions = |of: &[(&str, &str)]| -> BTreeMap<ServerId, String> {
            of.iter().map(|(server, version)| ((*server).into(), (*version).to_owned())).collect()
        };
        let check = |server: &str, version: &str, model: &str| Checked {
            server: server.into(),
            version: version.into(),
            model: model.into(),
        };
        for (what, now, done, wanted) in [
            ("nothing answers", versions(&[]), vec![], None),
            ("nothing was updated", versions(&[("ollama", "0.1"), ("lmstudio", "0.4")]), vec![], None),
            ("an update", versions(&[("ollama", "0.2")]), vec![], Some(check("ollama", "0.2", "a"))),
            (
                "the first is measured",
                versions(&[("ollama", "0.2")]),
                vec![check("ollama", "0.2", "a")],
                Some(check("ollama", "0.2", "b")),
            ),
            (
                "both are",
                versions(&[("ollama", "0.2")]),
                vec![check("ollama", "0.2", "a"), check("ollama", "0.2", "b")],
                None,
            ),
            (
                "they were of another version",
                versions(&[("ollama", "0.3")]),
                vec![check("ollama", "0.2", "a"), check("ollama", "0.2", "b")],
                Some(check("ollama", "0.3", "a")),
            ),
            (
                "back to an older version",
                versions(&[("lmstudio", "0.3")]),
                vec![],
                Some(check("lmstudio", "0.3", "a")),
            ),
            ("the version before is not known", versions(&[("studio", "1")]), vec![], None),
        ] {
            assert_eq!(due(&models, &now, &done.into_iter().collect()), wanted, "{what}");
        }
    }
}
