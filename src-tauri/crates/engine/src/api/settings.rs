use pilothouse_domain::{error::ApiError, settings::keys::SettingKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;

/// One setting as the file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SettingView {
    pub about: SettingKey,
    /// As the file says, else the default. A path is as it is written.
    #[ts(type = "unknown")]
    pub value: Value,
    #[ts(type = "unknown")]
    pub default: Value,
    /// It stands in the file, be it with its default.
    pub written: bool,
    /// Changed, and not in force before what `about.restart` names has started again.
    pub waits: bool,
}

/// The settings file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SettingsView {
    /// All keys in the order in which they are shown.
    pub settings: Vec<SettingView>,
    /// Where the file is.
    pub path: String,
    /// Of the file's text: names what was seen when something is set. `None`: there is no file, or it has a mistake.
    pub digest: Option<String>,
    /// The file's mistake; the values are those in force then, and nothing can be set.
    pub trouble: Option<ApiError>,
}
