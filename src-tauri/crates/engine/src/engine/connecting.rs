//! The calls about apps: what they are pointed at, their files, and a question as they ask it.

use super::Inner;
use crate::{
    api::{Call, CallResult, Reply},
    connect::{self, AppFiles, Looked, Places, this_system},
};
use pilothouse_domain::{
    connect::{
        App, AppView, Connection, NoOllama, Wanted, app, apps, check_key, context_of, notes, open_to_others,
        root_of, small_beside, snippets,
    },
    error::{ApiError, ErrorCode},
    scene::ACTIVE,
    server::KeyText,
    snapshot::EngineView,
};
use pilothouse_system::apart;
use std::time::Duration;

/// A home folder may lie on a disk of the network.
const FILES_LIMIT: Duration = Duration::from_secs(10);

impl Inner {
    pub(super) async fn connect_call(&self, call: Call) -> CallResult {
        match call {
            Call::Apps => self.list_apps().await,
            Call::Connect { app: name, model, small, key } => {
                let (app, wanted) = (app(&name)?, self.pointed_at(model, small, key)?);
                let looked = {
                    let wanted = wanted.clone();
                    self.on_files(move |files| Ok(shown(files, app, Some(&wanted)))).await?
                };
                let required = self.client_keys.ring().is_required();
                Ok(Reply::Connection { connection: connection(app, &wanted, looked, required) })
            }
            Call::ConnectWrite { app: name, model, small, key, digest, dry_run } => {
                let (app, wanted) = (app(&name)?, self.pointed_at(model, small, key)?);
                let write = move |files: &AppFiles| files.write(app, &wanted, digest.as_deref(), dry_run);
                let change = self.on_files(write).await?;
                if change.written {
                    tracing::info!(app = app.id, "its configuration was written");
                }
                Ok(Reply::AppFile { change })
            }
            Call::ConnectUndo { app: name, dry_run } => {
                let app = app(&name)?;
                let change = self.on_files(move |files| files.undo(app, dry_run)).await?;
                if change.written {
                    tracing::info!(app = app.id, "its configuration was put back");
                }
                Ok(Reply::AppFile { change })
            }
            Call::ConnectTest { app: name, model, key } => {
                let (app, mut wanted) = (app(&name)?, self.pointed_at(model, None, key)?);
                if wanted.key.is_none() {
                    // That is what the app itself would show.
                    let pointed = wanted.clone();
                    wanted.key =
                        self.on_files(move |files| Ok(files.look(app, Some(&pointed)).kept_key)).await?;
                }
                Ok(Reply::AppTest { test: connect::ask(app, &wanted).await })
            }
            _ => Err(ApiError::internal("This call is about something else.")),
        }
    }

    /// Also while there is no address: what was written can still be taken back.
    async fn list_apps(&self) -> CallResult {
        let engine = self.hub.now().engine.clone();
        let wanted = self.pointed_at(None, None, None).ok();
        let apps = self
            .on_files(move |files| {
                Ok(apps().iter().map(|app| shown(files, app, wanted.as_ref()).app).collect::<Vec<AppView>>())
            })
            .await?;
        let address = engine.gateway.as_deref().and_then(root_of);
        let address_absent = engine.gateway_absent.filter(|_| address.is_none());
        Ok(Reply::Apps { apps, address, address_absent })
    }

    /// What an app is pointed at. Errors: unreachable (there is no gateway), invalid_call (a name or key that no line can hold).
    fn pointed_at(
        &self,
        model: Option<String>,
        small: Option<String>,
        key: Option<KeyText>,
    ) -> Result<Wanted, ApiError> {
        let snapshot = self.hub.now();
        let root = snapshot.engine.gateway.as_deref().and_then(root_of).ok_or_else(|| {
            let why =
                snapshot.engine.gateway_absent.as_deref().unwrap_or("it is not there").trim_end_matches('.');
            ApiError::new(ErrorCode::Unreachable, format!("There is no address that apps could use: {why}."))
                .hint("“pilothouse doctor” says what to do.")
        })?;
        let model = named(model)?.unwrap_or_else(|| ACTIVE.to_owned());
        let small = named(small)?.unwrap_or_else(|| small_beside(&snapshot, &model));
        let context = context_of(&snapshot, &model);
        let key = shown_key(key)?;
        let ollama = self.ollama_address(&snapshot.engine);
        let bridges =
            self.latest.borrow().gateway.container_bridges.then(|| {
                snapshot.engine.gateway_bridges.iter().filter_map(|address| root_of(address)).collect()
            });
        let system = this_system();
        Ok(Wanted { root, ollama, key, model, small, context, system, bridges })
    }

    /// Where Ollama's own API is spoken. The settings file is read once more where that is nowhere: what was written a moment ago is
    /// about to open, and need not be set again.
    fn ollama_address(&self, engine: &EngineView) -> Result<String, NoOllama> {
        if let Some(address) = &engine.gateway_ollama {
            return Ok(address.clone());
        }
        let written = self.settings.read().map(|written| self.applied(&written));
        let written = written.unwrap_or_else(|_| self.latest.borrow().clone());
        let reason = engine.gateway_ollama_absent.as_deref().unwrap_or("it is not there");
        let reason = reason.trim_end_matches('.').to_owned();
        Err(match (self.latest.borrow().gateway.ollama_port, written.gateway.ollama_port) {
            (_, 0) => NoOllama { reason, port: Some(written.free_ollama_port()) },
            (0, _) => NoOllama { reason: "it is about to open".into(), port: None },
            _ => NoOllama { reason, port: None },
        })
    }

    async fn on_files<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AppFiles) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let places =
            Places::resolve(self.paths.user_home.clone(), this_system(), &|name| std::env::var_os(name));
        let files = AppFiles::new(places, self.paths.data.join("connected"));
        let done = apart::once("the folder of the apps' settings", FILES_LIMIT, move || work(&files)).await;
        done.map_err(|silence| ApiError::new(ErrorCode::TimedOut, format!("{silence}.")).retryable())?
    }
}

/// Errors: invalid_call.
fn named(name: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(name) = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    match name.len() > 200 || name.chars().any(char::is_control) {
        true => Err(ApiError::new(
            ErrorCode::InvalidCall,
            "A model's name is one line of at most 200 characters.",
        )),
        false => Ok(Some(name)),
    }
}

/// Errors: invalid_call.
fn shown_key(key: Option<KeyText>) -> Result<Option<KeyText>, ApiError> {
    let key = key.map(|key| KeyText(key.0.trim().to_owned())).filter(|key| !key.0.is_empty());
    if let Some(key) = &key {
        check_key(&key.0).map_err(|allowed| ApiError::new(ErrorCode::InvalidCall, allowed))?;
    }
    Ok(key)
}

/// An app as views see it, with what its file gave.
struct Shown {
    app: AppView,
    looked: Looked,
}

fn shown(files: &AppFiles, app: &App, wanted: Option<&Wanted>) -> Shown {
    let looked = files.look(app, wanted);
    let view = AppView {
        id: app.id.into(),
        title: app.title.into(),
        group: app.group,
        dialect: app.dialect,
        in_container: app.in_container,
        file: looked.path.as_deref().map(|path| files.shown(path)),
        state: looked.state,
        written_at: looked.written_at,
    };
    Shown { app: view, looked }
}

/// `required`: programs of this machine have to show a key, as those in containers always do.
fn connection(app: &App, wanted: &Wanted, shown: Shown, required: bool) -> Connection {
    let Shown { app: view, looked } = shown;
    let mut notes = notes(app, wanted);
    if looked.open_to_others
        && let Some(path) = &view.file
    {
        notes.push(open_to_others(path));
    }
    let required = required || wanted.comes_by_a_bridge(app);
    let address = wanted.base_for(app);
    let none = address.as_ref().err();
    Connection {
        address_absent: none.map(|none| none.reason.clone()),
        ollama_port: none.and_then(|none| none.port),
        address: address.ok(),
        key: wanted.key().to_owned(),
        key_kept: looked.kept_key.is_some(),
        key_missing: required && wanted.own_key().is_none() && looked.kept_key.is_none(),
        model: wanted.model.clone(),
        small: app.has_small.then(|| wanted.small.clone()),
        context: wanted.context,
        context_absent: wanted
            .context
            .is_none()
            .then(|| format!("{} is not loaded, or its server does not tell", wanted.model)),
        snippets: snippets(app, wanted, view.file.as_deref()),
        notes,
        change: looked.change,
        refused: looked.refused,
        app: view,
    }
}
