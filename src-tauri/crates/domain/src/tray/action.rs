use crate::{model::ModelRef, server::ServerId};

/// What a click on an entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrayAction {
    Switch(ModelRef),
    /// Also a scene on its way.
    CancelSwitch,
    /// Applies a scene, by its name.
    Scene(String),
    Undo,
    Unload(ModelRef),
    /// One copy of a model, by its server's identifier.
    UnloadCopy(ServerId, String),
    Start(ServerId),
    Stop(ServerId),
    Restart(ServerId),
    Bench,
    CancelBench,
    /// Starts Pilothouse at login, or no longer does.
    StartAtLogin,
    OpenPanel,
    /// The panel at its page of settings.
    OpenSettings,
    /// The panel at its page of scenes.
    OpenScenes,
    Quit,
}

impl TrayAction {
    /// The entry's id. Server ids hold no colon, so the parts can be told apart.
    pub fn id(&self) -> String {
        match self {
            Self::Switch(model) => format!("switch:{}:{}", model.server, model.model),
            Self::CancelSwitch => "cancel-switch".into(),
            Self::Scene(name) => format!("scene:{name}"),
            Self::Undo => "undo".into(),
            Self::Unload(model) => format!("unload:{}:{}", model.server, model.model),
            Self::UnloadCopy(server, instance) => format!("unload-copy:{server}:{instance}"),
            Self::Start(server) => format!("start:{server}"),
            Self::Stop(server) => format!("stop:{server}"),
            Self::Restart(server) => format!("restart:{server}"),
            Self::Bench => "bench".into(),
            Self::CancelBench => "cancel-bench".into(),
            Self::StartAtLogin => "start-at-login".into(),
            Self::OpenPanel => "open-panel".into(),
            Self::OpenSettings => "open-settings".into(),
            Self::OpenScenes => "open-scenes".into(),
            Self::Quit => "quit".into(),
        }
    }

    /// The action of an id; `None` for entries that only tell something.
    pub fn parse(id: &str) -> Option<Self> {
        Some(match id.split_once(':') {
            Some(("switch", rest)) => {
                let (server, model) = rest.split_once(':')?;
                Self::Switch(ModelRef::new(server, model))
            }
            // A second entry for the same, which needs an id of its own.
            Some(("recent", rest)) => {
                let (server, model) = rest.split_once(':')?;
                Self::Switch(ModelRef::new(server, model))
            }
            Some(("unload", rest)) => {
                let (server, model) = rest.split_once(':')?;
                Self::Unload(ModelRef::new(server, model))
            }
            Some(("unload-copy", rest)) => {
                let (server, instance) = rest.split_once(':')?;
                Self::UnloadCopy(server.into(), instance.to_owned())
            }
            Some(("scene", name)) => Self::Scene(name.to_owned()),
            Some(("open-scenes", _)) => Self::OpenScenes,
            Some(("start", server)) => Self::Start(server.into()),
            Some(("stop", server)) => Self::Stop(server.into()),
            Some(("restart", server)) => Self::Restart(server.into()),
            Some(_) => return None,
            None => match id {
                "cancel-switch" => Self::CancelSwitch,
                "undo" => Self::Undo,
                "open-scenes" => Self::OpenScenes,
                "bench" => Self::Bench,
                "cancel-bench" => Self::CancelBench,
                "start-at-login" => Self::StartAtLogin,
                "open-panel" => Self::OpenPanel,
                "open-settings" => Self::OpenSettings,
                "quit" => Self::Quit,
                _ => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_survives_its_id() {
        let server = || ServerId::new("ollama");
        for action in [
            TrayAction::Switch(ModelRef::new("ollama", "smollm2:135m")),
            TrayAction::CancelSwitch,
            TrayAction::Scene("Coding: evening".into()),
            TrayAction::Undo,
            TrayAction::Unload(ModelRef::new("ollama", "smollm2:135m")),
            TrayAction::UnloadCopy(server(), "smollm2:135m:2".into()),
            TrayAction::OpenScenes,
            TrayAction::Start(server()),
            TrayAction::Stop(server()),
            TrayAction::Restart(server()),
            TrayAction::Bench,
            TrayAction::CancelBench,
            TrayAction::StartAtLogin,
            TrayAction::OpenPanel,
            TrayAction::OpenSettings,
            TrayAction::Quit,
        ] {
            assert_eq!(TrayAction::parse(&action.id()), Some(action));
        }
        assert_eq!(TrayAction::parse("line:active"), None);
        assert_eq!(TrayAction::parse(""), None);
    }
}
