//! Wakes that a task would only give to itself.

use futures_util::task::AtomicWaker;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Looks at what has rung, at a stroke. Beyond that it is for others to go on: what a task may do at a stroke is limited by tokio
/// too, and whatever has used that up rings until the task has made way.
const ROUNDS: usize = 8;

/// A connection and its answer wake each other all the time. While the one task that drives both is at it, that needs no wake:
/// each of them would put the task back into its queue and rouse another thread to help with it.
pub(super) struct Bell {
    state: Arc<State>,
    waker: Waker,
}

#[derive(Default)]
struct State {
    /// The task is at it.
    busy: AtomicBool,
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        if !self.busy.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Bell {
    pub fn new() -> Self {
        let state = Arc::<State>::default();
        Self { waker: state.clone().into(), state }
    }

    /// Polls until it is ready or nothing has rung meanwhile, some times at most. `context`: of the task that is woken after that.
    pub fn poll<T>(
        &self,
        context: &Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let State { busy, rung, task } = &*self.state;
        task.register(context.waker());
        let mut own = Context::from_waker(&self.waker);
        for _ in 0..ROUNDS {
            busy.store(true, Ordering::SeqCst);
            rung.store(false, Ordering::SeqCst);
            let result = poll(&mut own);
            busy.store(false, Ordering::SeqCst);
            // Whatever rings from here on wakes the task.
            if result.is_ready() || !rung.load(Ordering::SeqCst) {
                return result;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Wakes nobody any more.
    pub fn forget(&self) {
        self.state.task.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_rings_while_its_task_is_at_it_is_looked_at_again_and_wakes_nobody() {
        let (bell, woken) = (Bell::new(), Arc::<Woken>::default());
        let task = Waker::from(woken.clone());
        let context = Context::from_waker(&task);
        let mut polls = 0;
        let result = bell.poll(&context, |own| {
            polls += 1;
            if polls < 5 {
                own.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert_eq!((result, polls, woken.0.load(Ordering::SeqCst)), (Poll::Pending, 5, 0));
        let mut polls = 0;
        let result = bell.poll(&context, |own| {
            polls += 1;
            own.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!(
            (result, polls, woken.0.swap(0, Ordering::SeqCst)),
            (Poll::Pending, ROUNDS, 1),
            "it makes way"
        );
        let mut kept = None;
        let _ = bell.poll(&context, |own| {
            kept = Some(own.waker().clone());
            Poll::<()>::Pending
        });
        kept.as_ref().unwrap().wake_by_ref();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "after that it wakes");
        bell.forget();
        kept.unwrap().wake();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    }
}
