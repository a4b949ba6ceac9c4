//! Tells the hub how many answers of the active model are under way, and how many requests wait.

use crate::hub::{Hub, Report};
use pilothouse_leases::Leases;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A crowd of short requests changes the counts hundreds of times a second; people read no faster than this.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);

/// Follows the leases until the task is aborted.
pub fn follow(hub: Hub, leases: Leases) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut changes, mut snapshots) = (leases.changes(), hub.snapshots());
        loop {
            hub.report(counted(&hub, &leases));
            tokio::time::sleep(AT_MOST_EVERY).await;
            // Another model may be active by now.
            tokio::select! {
                Ok(()) = changes.changed() => {}
                Ok(()) = snapshots.changed() => {}
                else => return,
            }
        }
    })
}

fn counted(hub: &Hub, leases: &Leases) -> Report {
    let active = hub.now().active.clone();
    let answering = active.map_or(0, |active| leases.count(&active.server, &active.instance));
    Report::Traffic { answering: bounded(answering), waiting: bounded(leases.waiting()) }
}

fn bounded(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Standing;
    use pilothouse_domain::{endpoint::Endpoint, snapshot::EngineView, standing::Holds, switch::Active};
    use pilothouse_leases::{Asked, Target};

    #[tokio::test(start_paused = true)]
    async fn an_answer_under_way_is_told_while_it_lasts() {
        let leases = Leases::default();
        let hub = Hub::new(EngineView::default(), leases.clone());
        let active = Active { server: "s".into(), model: "a".into(), instance: "a".into() };
        hub.report(Report::Active { active: Some(active), standing: Standing::Open });
        let task = follow(hub.clone(), leases.clone());
        let mut snapshots = hub.snapshots();
        let target = Target {
            server: "s".into(),
            model: "a".into(),
            instance: "a".into(),
            openai: Endpoint { base_url: "http://127.0.0.1:1/v1".into(), key: None },
            slots: 2,
        };
        let (one, two) = (leases.enter(&target), leases.enter(&target));
        // Nobody waits for this one: it is the change that tells of all.
        drop(leases.take(Asked::Named("nothing".into())).await);
        snapshots.wait_for(|snapshot| snapshot.standing.answering == 2).await.unwrap();
        drop((one, two));
        snapshots.wait_for(|snapshot| snapshot.standing.answering == 0).await.unwrap();
        // Its server is not known here, so that it cannot answer whatever the count says.
        assert_eq!(hub.now().standing.holds, Holds::CannotAnswer);
        task.abort();
    }
}
