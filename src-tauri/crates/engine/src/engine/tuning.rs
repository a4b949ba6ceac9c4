//! The call that applies what a sweep found.

use super::{Inner, fitting};
use crate::api::{CallResult, Reply};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Model, find_model},
    server::ServerId,
};

impl Inner {
    /// Checks that the model fits with so many requests at a time before anything is touched.
    pub(super) async fn use_parallel(
        &self,
        model: String,
        server: Option<ServerId>,
        parallel: u32,
    ) -> CallResult {
        let snapshot = self.hub.now();
        let models: Vec<Model> = snapshot.models.iter().map(|view| view.model.clone()).collect();
        let model = find_model(&models, &model, server.as_ref())?.clone();
        self.tuner.may_use(&model, parallel)?;
        self.want_room_for(&model, parallel).await?;
        Ok(Reply::Parallel { report: self.tuner.use_parallel(model, parallel).await? })
    }

    /// Errors: does_not_fit. What cannot be reckoned is tried.
    async fn want_room_for(&self, model: &Model, parallel: u32) -> Result<(), ApiError> {
        let asked = fitting::Asked {
            models: vec![model.reference().id()],
            server: Some(model.server.clone()),
            context: None,
            parallel: Some(parallel),
            kv: None,
            machine: None,
        };
        let report = match self.fit(asked).await {
            Ok(report) if report.fits => return Ok(()),
            Ok(report) => report,
            Err(error) => {
                tracing::info!(%error, model = %model.name, "whether it fits is not known; it is tried");
                return Ok(());
            }
        };
        let text =
            format!("{} with {parallel} requests at a time does not fit: {}", model.title, report.reason);
        let hint = "Use fewer at a time, a shorter context, or a smaller type of cache; “pilothouse fit” reckons it.";
        Err(ApiError::new(ErrorCode::DoesNotFit, text).hint(hint))
    }
}
