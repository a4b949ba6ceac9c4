//! What people are told of the end of a change.

use super::{actor::Residency, rearranging::Purpose};
use crate::hub::Report;
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    notice::Happening,
    scene::SceneReport,
    switch::SwitchReport,
};

impl Residency {
    /// What came of a switch. `asked`: by a person; `again`: the active model came back; `undo`: until when it can be taken back.
    pub(super) fn tell(&self, asked: bool, again: bool, report: &SwitchReport, undo: Option<Timestamp>) {
        // Whoever asks the model a question waits for it too.
        let own = asked || !self.available.is_empty();
        if asked {
            self.around.hub.report(Report::Switched(report.clone()));
        }
        let snapshot = self.around.hub.now();
        let title = snapshot.model_title(&report.to.server, &report.to.model);
        match &report.error {
            None => self.around.notifier.tell(Happening::Switched {
                to: report.to.clone(),
                title,
                server_title: snapshot.server_title(&report.to.server),
                took_ms: report.took_ms,
                first_token_ms: report.first_token_ms,
                again,
                own,
                undo,
            }),
            Some(error) if error.code != ErrorCode::Cancelled => {
                // What does not answer was not put back: it is only still the choice.
                let kept = self.active.as_ref().filter(|_| self.answers());
                self.around.notifier.tell(Happening::PutBack {
                    to: report.to.clone(),
                    title,
                    kept: kept.map(|active| snapshot.model_title(&active.server, &active.model)),
                    error: error.clone(),
                    own,
                });
            }
            _ => {}
        }
    }

    /// `undo`: until when it can be taken back.
    pub(super) fn tell_rearranged(
        &self,
        purpose: &Purpose,
        result: &Result<SceneReport, ApiError>,
        undo: Option<Timestamp>,
    ) {
        let scene = match purpose {
            Purpose::Scene(name) => name.clone(),
            Purpose::Restore => Some(pilothouse_domain::scene::RESTORE.to_owned()),
            _ => return,
        };
        let (error, refused) = match result {
            Ok(report) => match &report.error {
                None => {
                    // What is back has a name of its own.
                    let back = matches!(purpose, Purpose::Restore);
                    let named = if back { self.arrangement.scene.clone().or(scene) } else { scene };
                    let applied = self.applied(named, back, report.took_ms, undo);
                    return self.around.notifier.tell(applied);
                }
                Some(error) => (error, false),
            },
            Err(error) => (error, true),
        };
        if error.code == ErrorCode::Cancelled {
            return;
        }
        let happening = Happening::ScenePutBack { scene, error: error.clone(), refused };
        self.around.notifier.tell(happening);
    }

    /// What has come about, in the words for it: without a scene and without roles it is the active model. `back`: it was there before.
    fn applied(&self, scene: Option<String>, back: bool, took_ms: u64, undo: Option<Timestamp>) -> Happening {
        let has_name = self.arrangement.scene.is_some() || !(back || scene.is_none());
        match &self.active {
            Some(active) if !has_name && self.arrangement.roles.is_empty() => {
                let snapshot = self.around.hub.now();
                Happening::Switched {
                    to: active.reference(),
                    title: snapshot.model_title(&active.server, &active.model),
                    server_title: snapshot.server_title(&active.server),
                    took_ms,
                    first_token_ms: None,
                    again: back,
                    own: true,
                    undo,
                }
            }
            _ => Happening::SceneApplied { scene, took_ms, undo },
        }
    }
}
