//! How a whole server is lent and comes back.

use super::{
    actor::Residency,
    borrow::Lent,
    event::Event,
    lending::once_cleared,
    server_loan::{Request, ServerLoan},
    server_memory::{Borrowed, PutRight},
};
use crate::hub::{Report, Standing};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    switch::Active,
};
use std::collections::BTreeSet;
use tokio::sync::oneshot;

type Waits = Option<oneshot::Sender<Result<(), ApiError>>>;

impl Residency {
    pub(super) fn lend_server(&mut self, request: Request) {
        let arriving = self.late.iter().find(|late| late.model.server == request.server);
        let arriving = arriving.map(|late| {
            let text = format!("{} is still on its way into memory.", late.model.model);
            ApiError::new(ErrorCode::Busy, text).retryable()
        });
        if let Some(error) = self.cannot_lend().or(arriving) {
            return drop(request.reply.send(Err(error)));
        }
        let Request { server, why, cancel, reply } = request;
        self.around.leases.set_measured(BTreeSet::from([server.clone()]));
        self.lent = Some(Lent { why });
        let active = self.active.clone().filter(|active| active.server == server);
        let with = self.loaded_with_on(&server);
        let (around, events) = (self.around.clone(), self.events.clone());
        let (clearing, ending) = (self.clearing.clone(), self.ending.clone());
        tokio::spawn(async move {
            let found = async {
                once_cleared(clearing, &cancel).await?;
                around.server_to_lend(&server, with, &cancel).await
            };
            match found.await {
                Ok((connection, borrowed)) => {
                    let borrowed = Some(borrowed);
                    let loan = ServerLoan { around, events, ending, cancel, connection, active, borrowed };
                    // Whoever has gone meanwhile gives it back at once: it is dropped.
                    drop(reply.send(Ok(loan)));
                }
                Err(error) => {
                    drop(events.send(Event::LoanOver(vec![], None)).await);
                    drop(reply.send(Err(error)));
                }
            }
        });
    }

    /// Requests for the active model wait.
    pub(super) fn hold(&mut self) {
        if self.active.is_some() && self.standing == Standing::Open {
            self.stand(Standing::Held);
        }
    }

    pub(super) fn server_returned(&self, borrowed: Borrowed, waits: Waits) {
        let (around, events, ending) = (self.around.clone(), self.events.clone(), self.ending.clone());
        tokio::spawn(async move {
            let right = around.put_right(borrowed, &ending).await;
            drop(events.send(Event::ServerLoanOver(Box::new(right), waits)).await);
        });
    }

    pub(super) fn server_loan_over(&mut self, right: PutRight, waits: Waits) {
        let PutRight { strays, late, held, server, now } = right;
        if let Some(late) = late {
            self.follow_late(late);
        }
        let error = now.as_ref().err().cloned();
        if held && self.standing == Standing::Held {
            let active = self.active.as_ref().filter(|active| active.server == server);
            let of_active = |active: &Active| {
                let found = now.as_ref().ok()?.iter().find(|one| one.model == active.model)?;
                Some(Active { instance: found.id.clone(), ..active.clone() })
            };
            match active.and_then(of_active) {
                Some(active) => {
                    self.active = Some(active);
                    self.stand(Standing::Open);
                }
                None => {
                    let why = error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
                    // Looked for again at once, as one that has left memory by itself.
                    self.tried_at = None;
                    self.stand(Standing::Refusing(format!(
                        "The active model could not be loaded again{why}"
                    )));
                }
            }
        }
        self.loan_over(strays);
        if let Some(waits) = waits {
            let _ = waits.send(error.map_or(Ok(()), Err));
        }
    }

    fn stand(&mut self, standing: Standing) {
        self.standing = standing.clone();
        self.around.hub.report(Report::Active { active: self.active.clone(), standing });
    }
}
