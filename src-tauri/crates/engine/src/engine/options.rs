use crate::{
    notify::DesktopNotifications,
    ports::{NotifyDesktop, OpenPanel},
};
use pilothouse_domain::{error::ApiError, settings::Settings};
use pilothouse_system::paths::Paths;
use std::sync::Arc;

/// What an engine is started with; the settings file says the rest.
#[derive(Clone)]
pub struct EngineOptions {
    pub paths: Paths,
    pub desktop: Arc<dyn NotifyDesktop>,
    /// The window that a click on a notification opens; `None`: there is none.
    pub panel: Option<Arc<dyn OpenPanel>>,
    /// Overrides `web.port` of the settings.
    pub web_port: Option<u16>,
}

impl EngineOptions {
    /// Directories from the environment, real desktop notifications, no window. Errors: system (no home directory).
    pub fn from_env() -> Result<Self, ApiError> {
        let desktop = Arc::new(DesktopNotifications);
        Ok(Self { paths: Paths::from_env()?, desktop, panel: None, web_port: None })
    }

    /// Makes of what is written in the file what is in force: overrides, and paths as the system reads them.
    pub(super) fn apply(&self, settings: &mut Settings) {
        if let Some(port) = self.web_port {
            settings.web.port = port;
        }
        self.paths.expand_settings(settings);
    }
}
