//! Launches of a server: one at a time, each with a number, none before what is on its way out has left the port.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The launch under way or the last one, and what still ends.
#[derive(Default)]
pub(super) struct Launches {
    /// The number of the newest: what an earlier one brings is not wanted any more.
    number: u64,
    /// Its result is still to come.
    under_way: bool,
    task: Option<JoinHandle<()>>,
    cancel: CancellationToken,
    /// The end of processes that nobody wants any more.
    ending: Option<JoinHandle<()>>,
}

impl Launches {
    /// Calls off the one before and begins another, once that and all that ends is over. `work` tells its result itself, with
    /// its number.
    pub fn begin<W>(&mut self, work: impl FnOnce(u64, CancellationToken) -> W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        self.cancel.cancel();
        self.cancel = CancellationToken::new();
        self.number += 1;
        self.under_way = true;
        let before = [self.task.take(), self.ending.take()];
        let work = work(self.number, self.cancel.clone());
        self.task = Some(tokio::spawn(async move {
            // What is still on its way out would hold the port.
            for one in before.into_iter().flatten() {
                let _ = one.await;
            }
            work.await;
        }));
    }

    /// The result of a launch has come. Whether it is the one that is waited for.
    pub fn ended(&mut self, number: u64) -> bool {
        let newest = self.is_newest(number);
        self.under_way &= !newest;
        newest
    }

    pub fn is_newest(&self, number: u64) -> bool {
        number == self.number
    }

    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Its result comes all the same: nothing, or a process that somebody must stop.
    pub fn call_off(&self) {
        self.cancel.cancel();
    }

    /// Ends something before the next launch begins.
    pub fn end_first(&mut self, end: impl Future<Output = ()> + Send + 'static) {
        let before = self.ending.take();
        self.ending = Some(tokio::spawn(async move {
            end.await;
            if let Some(before) = before {
                let _ = before.await;
            }
        }));
    }

    pub fn take_task(&mut self) -> Option<JoinHandle<()>> {
        self.task.take()
    }

    /// Waits until all that was to end has ended.
    pub async fn all_ended(&mut self) {
        if let Some(ending) = self.ending.take() {
            let _ = ending.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::{sync::mpsc, time::sleep};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn only_the_newest_launch_is_waited_for() {
        // Which of two launches end in which order, whether each is the one wanted, and what is under way then.
        let table: [[(u64, bool, bool); 2]; 2] =
            [[(1, false, true), (2, true, false)], [(2, true, false), (1, false, false)]];
        for order in table {
            let mut launches = Launches::default();
            assert!(!launches.is_under_way());
            launches.begin(|_, _| async {});
            launches.begin(|_, _| async {});
            for (number, wanted, under_way) in order {
                assert_eq!(launches.ended(number), wanted, "{number} of {order:?}");
                assert_eq!(launches.is_under_way(), under_way, "after {number} of {order:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_launch_calls_off_the_one_before_and_waits_for_all_that_ends() {
        let (said, mut heard) = mpsc::unbounded_channel();
        let mut launches = Launches::default();
        let first = said.clone();
        launches.begin(|number, cancel| async move {
            cancel.cancelled().await;
            sleep(SECOND).await;
            let _ = first.send(format!("launch {number} called off"));
        });
        for after in [3, 2] {
            let said = said.clone();
            launches.end_first(async move {
                sleep(after * SECOND).await;
                let _ = said.send(format!("ended after {after} s"));
            });
        }
        launches.begin(|number, _| async move { drop(said.send(format!("launch {number}"))) });
        let mut order = Vec::new();
        while let Some(one) = heard.recv().await {
            order.push(one);
        }
        assert_eq!(order, ["launch 1 called off", "ended after 2 s", "ended after 3 s", "launch 2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_launch_that_is_called_off_goes_on_being_waited_for() {
        let mut launches = Launches::default();
        launches.begin(|_, cancel| async move { cancel.cancelled().await });
        launches.call_off();
        assert!(launches.is_under_way(), "its process may be there");
        launches.take_task().unwrap().await.unwrap();
        launches.all_ended().await;
        assert!(launches.ended(1) && !launches.is_under_way());
    }
}
