//! How a server ends: asked to, by itself, or with us.

use super::{
    actor::{GRACE, Supervisor},
    ask::ended,
    outcome::Outcome,
    output::output_path,
    ownership::{Own, Owner},
    record::{Record, remove_made},
    work::Started,
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    lifecycle::{Event, ServerState},
    notice::Happening,
};
use pilothouse_system::process::Exit;
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot};

impl Supervisor {
    pub(super) fn stop(&mut self, reply: oneshot::Sender<Result<(), ApiError>>) {
        if let Some(why) = self.owner.refuses_stop(self.life.is_up()) {
            let text = format!("{} {why}, so Pilothouse does not stop it.", self.title());
            let hint = "Stop it where it was started.";
            let _ = reply.send(Err(ApiError::new(ErrorCode::NotOurs, text).hint(hint)));
            return;
        }
        self.waiting.for_stop(reply);
        self.transition(Event::StopWanted, true);
        if matches!(
            self.life.state(),
            ServerState::Stopped | ServerState::NotInstalled | ServerState::NotOurs
        ) {
            self.waiting.stopped(&Ok(()));
        }
    }

    pub(super) fn stop_commanded(&mut self, result: Result<(), ApiError>) {
        match result {
            Ok(()) => self.probe(false),
            Err(error) => self.stop_failed(error),
        }
    }

    pub(super) fn stop_failed(&mut self, error: ApiError) {
        self.say(&format!("could not be stopped: {error}"));
        self.waiting.stopped(&Err(error));
        self.transition(Event::StopFailed, true);
    }

    pub(super) fn process_ended(&mut self, exit: &Exit) {
        let lines: Vec<String> = self.around.log.last(20).into_iter().map(|line| line.line).collect();
        let error = self.adapter.explain_exit(exit, &lines);
        self.say(&if self.life.is_leaving() { "stopped".to_owned() } else { format!("{exit}: {error}") });
        let files = self.owner.take_own().map(|own| own.files).unwrap_or_default();
        Record::remove(&self.around.run_dir, &self.adapter.id(), &files);
        self.disconnect();
        // A binary for another processor or a taken port will not get better by trying again.
        let hopeless = matches!(error.code, ErrorCode::CpuTooOld | ErrorCode::PortTaken);
        if hopeless && self.life.state() == ServerState::Starting {
            return self.failed(error);
        }
        let exited = self.life.exited(exit, rand::random_range(-1.0..=1.0));
        self.transition(exited, true);
        if self.life.state() == ServerState::GaveUp {
            self.happened(Happening::GaveUp {
                server: self.adapter.id(),
                server_title: self.title(),
                reason: self.life.reason().unwrap_or_default().to_owned(),
            });
            self.waiting.ready(&Err(error));
        }
    }

    pub(super) async fn shutdown(mut self, reply: oneshot::Sender<()>, results: mpsc::Receiver<Outcome>) {
        let left = self.end_start(results).await;
        if let Some(own) = self.owner.take_own() {
            self.say("stopping, because Pilothouse ends");
            own.process.stop(GRACE).await;
            Record::remove(&self.around.run_dir, &self.adapter.id(), &own.files);
        }
        self.launches.all_ended().await;
        remove_made(&self.around.run_dir, &left);
        let _ = std::fs::remove_file(output_path(&self.around, &self.adapter.id()));
        self.waiting.ready(&Err(ended()));
        let _ = reply.send(());
    }

    /// A start under way ends before it has a process, or its process is ours to stop. Gives what was made for one that came too
    /// late.
    async fn end_start(&mut self, mut results: mpsc::Receiver<Outcome>) -> Vec<PathBuf> {
        self.launches.call_off();
        let (mut told, mut left) = (Vec::new(), Vec::new());
        let Some(mut starting) = self.launches.take_task() else { return left };
        while !starting.is_finished() {
            tokio::select! {
                Some(outcome) = results.recv() => told.push(outcome),
                _ = &mut starting => break,
            }
        }
        told.extend(std::iter::from_fn(|| results.try_recv().ok()));
        for outcome in told {
            match outcome {
                Outcome::Started { launch, result: Some(Ok((Started::Own { process, files, .. }, _))) }
                    if self.launches.is_newest(launch) =>
                {
                    self.owner = Owner::Ours(Own { process, files, unheard: None });
                }
                Outcome::Started { result, .. } => {
                    if let Some(Ok((Started::Own { files, .. }, _))) = &result {
                        left.extend_from_slice(files);
                    }
                    self.came_too_late(result);
                }
                Outcome::Readopted { process: Some(process), record, .. } => {
                    self.owner = Owner::Ours(Own { process, files: record.files, unheard: None });
                }
                _ => {}
            }
        }
        left
    }
}
