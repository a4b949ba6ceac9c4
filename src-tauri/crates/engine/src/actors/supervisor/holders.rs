//! The processes that hold models: what their end means.

use super::{actor::Supervisor, outcome::Outcome, work};
use pilothouse_domain::{Timestamp, model::Instance, notice::Happening, runner::RunnerProcess};

impl Supervisor {
    /// Takes what a server lists, tells of models whose process has died, and waits for the end of the others.
    pub(super) fn remember(&mut self, runners: Option<Vec<RunnerProcess>>, listed: Vec<Instance>) {
        let news = self.memory.take(runners, listed, Timestamp::now());
        for pid in news.to_watch {
            self.watch_holder(pid);
        }
        for model in news.lost {
            self.say(&format!("the process of {model} has ended"));
            let title = self.around.hub.now().model_title(&self.adapter.id(), &model);
            self.happened(Happening::LostModel {
                server: self.adapter.id(),
                server_title: self.title(),
                title,
            });
        }
        self.publish_memory();
    }

    fn watch_holder(&self, pid: u32) {
        let generation = self.contact.generation();
        self.later(async move {
            work::end_of(pid).await;
            Outcome::HolderEnded { generation }
        });
    }

    /// That is a reason to probe at once.
    pub(super) fn holder_ended(&mut self) {
        if self.life.is_up() {
            self.contact.probe_again();
            self.probe(false);
        }
    }
}
