//! The calls about the settings file, and what a server's restart puts in force.

use super::{Inner, fleet};
use crate::api::{CallResult, Reply, SettingsView};
use pilothouse_domain::{
    error::ApiError,
    server::ServerId,
    settings::{
        Settings,
        keys::{after_restart_of, setting_key, waiting},
    },
};
use serde_json::Value;

impl Inner {
    pub(super) fn settings_view(&self) -> SettingsView {
        let in_force = self.in_force.now();
        self.settings.view(&self.latest.borrow(), |written| waiting(&in_force, &self.applied(written)))
    }

    pub(super) fn set_setting(&self, key: &str, value: &Value, digest: Option<&str>) -> CallResult {
        let key = setting_key(key)?;
        let value = (!value.is_null()).then_some(value);
        self.settings.set(&key, value, digest)?;
        tracing::info!(key = %key.key, "a setting was changed");
        Ok(Reply::Settings { settings: self.settings_view() })
    }

    /// A server that is about to start takes over what the file says now, as far as its start is enough for that.
    pub(super) fn renew_settings(&self, server: &ServerId) -> Result<(), ApiError> {
        // Not those that were seen last: somebody may have saved the file this moment.
        let wanted = match self.settings.read() {
            Ok(written) => self.applied(&written),
            Err(_) => self.latest.borrow().clone(),
        };
        self.in_force.change(|settings| *settings = after_restart_of(server, settings, &wanted));
        let now = self.in_force.now();
        self.supervisors.get(server)?.take_settings(&now.servers);
        self.hub.report(fleet::what_waits(&now, &wanted));
        Ok(())
    }

    pub(super) fn applied(&self, written: &Settings) -> Settings {
        let mut settings = written.clone();
        self.options.apply(&mut settings);
        settings
    }
}
