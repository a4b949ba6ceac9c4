//! Calls about what is in memory beside the active model, and about scenes.

use super::{Inner, fitting::Reckoned};
use crate::{
    actors::residency::{Aim, ModelWanted, RoleWanted, Undone, Unloaded, resolve},
    api::{Call, CallResult, Reply},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{LoadSettings, Model, ModelPurpose, find_model, find_models},
    residency::smaller_that_fits,
    scene::{self, Held, Priority, RoleSettings, SceneOffer, SmallerRole},
    server::ServerId,
    settings::Settings,
    snapshot::Snapshot,
};
use std::{collections::BTreeMap, time::Duration};

/// The time from a change of the settings file until it is seen.
const CHANGED_LIMIT: Duration = Duration::from_secs(5);

type Roles = BTreeMap<String, RoleSettings>;

impl Inner {
    pub(super) async fn memory_call(&self, call: Call) -> CallResult {
        match call {
            Call::Unload { model, server, now, dry_run } => {
                let model = self.in_memory(&model, server.as_ref())?;
                let unloaded = self.residency.unload(Some(model.reference()), now, dry_run).await?;
                Ok(told(unloaded, dry_run))
            }
            Call::UnloadCopy { server, instance } => {
                Ok(told(self.residency.unload_copy(server, instance).await?, false))
            }
            Call::Deactivate { now, dry_run } => {
                Ok(told(self.residency.unload(None, now, dry_run).await?, dry_run))
            }
            Call::Undo => Ok(match self.residency.undo().await? {
                Undone::Switch(report) => Reply::Switch { report: *report },
                Undone::Scene(report) => Reply::Scene { report },
                Undone::Unloaded(unloaded) => told(unloaded, false),
            }),
            Call::Pin { model, server, pinned } => {
                let models: Vec<Model> = self.listed();
                let model = find_model(&models, &model, server.as_ref())?.reference();
                self.residency.pin(model.clone(), pinned).await?;
                Ok(Reply::Pinned { model, pinned })
            }
            Call::ApplyScene { name, roles, dry_run, now } => {
                let aim = self.aim(name, roles).await?;
                match self.residency.apply(aim.clone(), now, dry_run).await {
                    Ok(report) => Ok(Reply::Scene { report }),
                    Err(error) => Err(self.with_offers(aim, error).await),
                }
            }
            Call::PlanScene { name, roles } => {
                let aim = self.aim(name, roles).await?;
                Ok(Reply::ScenePlan { plan: self.planned(aim).await? })
            }
            Call::SaveScene { name, roles, renames, dry_run } => {
                let roles = roles.map_or_else(|| self.roles_in_memory(), Ok)?;
                let name = name.trim().to_owned();
                let replaces = self.settings.save_scene(&name, &roles, renames.as_deref(), dry_run)?;
                if dry_run {
                    return Ok(Reply::SceneToSave { name, roles, replaces });
                }
                self.until_scenes(|scenes| scenes.iter().any(|one| one.name == name && one.roles == roles))
                    .await;
                Ok(Reply::Done)
            }
            Call::DeleteScene { name, dry_run } => {
                self.settings.delete_scene(&name, dry_run)?;
                if dry_run {
                    return Ok(Reply::Done);
                }
                self.until_scenes(|scenes| scenes.iter().all(|one| one.name != name)).await;
                Ok(Reply::Done)
            }
            Call::OrderScenes { names } => {
                self.settings.order_scenes(&names)?;
                self.until_scenes(|scenes| {
                    let order: Vec<&str> = scenes.iter().map(|one| one.name.as_str()).collect();
                    names.iter().zip(&order).all(|(wanted, there)| wanted == there)
                })
                .await;
                Ok(Reply::Done)
            }
            Call::SetAlias { alias, to } => {
                self.settings.set_alias(alias.trim(), to.as_deref().map(str::trim))?;
                let mut latest = self.latest.clone();
                let wanted = to.map(|to| to.trim().to_owned());
                let seen =
                    latest.wait_for(|settings| settings.gateway.aliases.get(alias.trim()) == wanted.as_ref());
                let _ = tokio::time::timeout(CHANGED_LIMIT, seen).await;
                Ok(Reply::Done)
            }
            _ => Err(ApiError::internal("This call is about something else.")),
        }
    }

    /// A switch with settings of its load. Errors: as the call says.
    pub(super) async fn switch_with(
        &self,
        name: &str,
        server: Option<&ServerId>,
        with: LoadSettings,
        now: bool,
        dry_run: bool,
    ) -> CallResult {
        let model = resolve(&self.hub, &self.supervisors, name, server).await?;
        let role = RoleSettings {
            context: with.context,
            parallel: with.parallel,
            kv_type: with.kv_type,
            ..usual(&model.server, &model.name, false)
        };
        self.check(&BTreeMap::from([(scene::ACTIVE.to_owned(), role)]))
            .map_err(|error| ApiError { message: error.message.replacen("active.", "", 1), ..error })?;
        let bytes = match self.reckon(&model, with).await {
            Reckoned::Bytes(bytes) => Some(bytes),
            Reckoned::Beyond(error) => return Err(error),
            Reckoned::Unknown => None,
        };
        let wanted = ModelWanted { model, with, bytes };
        match self.residency.switch_with(wanted.clone(), now, dry_run).await {
            Ok(report) => Ok(Reply::Switch { report }),
            Err(error) => Err(self.with_offers(Aim::Active(Box::new(wanted)), error).await),
        }
    }

    /// What does not fit says what would.
    async fn with_offers(&self, aim: Aim, error: ApiError) -> ApiError {
        if error.code != ErrorCode::DoesNotFit {
            return error;
        }
        let plan = self.planned(aim).await.ok();
        let hint = plan.and_then(|plan| scene::hint_of(&plan.offers));
        ApiError { hint: hint.or(error.hint), ..error }
    }

    /// What applying it would do; where it does not fit, with the smaller settings that would make it fit. Errors: not_found.
    async fn planned(&self, aim: Aim) -> Result<scene::ScenePlan, ApiError> {
        let mut plan = self.residency.plan(aim.clone()).await?;
        let (Some(short_bytes), mut roles) = (plan.shortfall_bytes, roles_of(aim)) else {
            return Ok(plan);
        };
        // The least important first, as where roles are left out.
        roles.sort_by_key(|wanted| std::cmp::Reverse(wanted.held.priority));
        let mut offers = vec![];
        for wanted in &roles {
            // A model that two roles share is loaded as one of them says, and one that stays frees nothing.
            let sharing = roles.iter().filter(|one| one.held.model == wanted.held.model).count();
            let (1, Some(bytes), false) = (sharing, wanted.bytes, plan.untouched.contains(&wanted.role))
            else {
                continue;
            };
            let with = wanted.held.with;
            let reckoned = self.reckon_smaller(&wanted.model, with).await;
            for smaller in smaller_that_fits(with, bytes, &reckoned, short_bytes) {
                let role = wanted.role.clone();
                let context = smaller.with.context.filter(|_| smaller.with.context != with.context);
                let kv_type = smaller.with.kv_type.filter(|_| smaller.with.kv_type != with.kv_type);
                let change = SmallerRole { role, context, kv_type };
                offers.push(SceneOffer::of_smaller(change, smaller.frees_bytes));
            }
        }
        plan.offers.splice(0..0, offers);
        Ok(plan)
    }

    fn listed(&self) -> Vec<Model> {
        self.hub.now().models.iter().map(|view| view.model.clone()).collect()
    }

    /// What a name means among what is in memory, else among all. Errors: not_found, ambiguous.
    fn in_memory(&self, name: &str, server: Option<&ServerId>) -> Result<Model, ApiError> {
        let snapshot = self.hub.now();
        let loaded: Vec<Model> = snapshot
            .models
            .iter()
            .filter(|view| view.loaded || view.active)
            .map(|view| view.model.clone())
            .collect();
        if !find_models(&loaded, name, server).is_empty() {
            return find_model(&loaded, name, server).cloned();
        }
        find_model(&self.listed(), name, server).cloned()
    }

    /// What shall be held, by the name of a scene or by roles. Errors: invalid_call, not_found, unsupported.
    async fn aim(&self, name: Option<String>, roles: Option<Roles>) -> Result<Aim, ApiError> {
        let built_in = name.as_deref().filter(|_| roles.is_none()).and_then(scene::built_in);
        match (built_in, roles, name) {
            (Some(scene::RESTORE), ..) => Ok(Aim::Before),
            (Some(free), ..) => Ok(Aim::Roles { scene: Some(free.to_owned()), roles: vec![] }),
            (None, Some(roles), name) => {
                self.check(&roles)?;
                Ok(Aim::Roles { scene: name, roles: self.wanted(roles).await? })
            }
            (None, None, Some(name)) => {
                let settings = self.latest.borrow().clone();
                let (name, roles) = of_settings(&settings, &name)?;
                Ok(Aim::Roles { scene: Some(name), roles: self.wanted(roles).await? })
            }
            (None, None, None) => Err(ApiError::new(ErrorCode::InvalidCall, "Name a scene, or give roles.")),
        }
    }

    /// By the rules of the settings file. Errors: invalid_call.
    fn check(&self, roles: &Roles) -> Result<(), ApiError> {
        let scene = scene::SceneSettings { place: None, roles: roles.clone() };
        let settings =
            Settings { scenes: BTreeMap::from([("unnamed".to_owned(), scene)]), ..Settings::default() };
        settings.check().map_err(|mistake| {
            let key = mistake.key.trim_start_matches("scenes.unnamed.roles.").to_owned();
            ApiError::new(ErrorCode::InvalidCall, format!("{key}: not allowed so."))
                .hint(format!("Allowed: {}.", mistake.allowed))
        })
    }

    /// The models of roles as servers list them, with what each takes. Errors: not_found, with the role; unsupported.
    async fn wanted(&self, roles: Roles) -> Result<Vec<RoleWanted>, ApiError> {
        let mut wanted = vec![];
        for (role, settings) in roles {
            let server = ServerId::new(settings.server.as_str());
            self.supervisors.get(&server).map_err(|error| of_role(&role, error))?;
            let model = self.model_of(&settings, &server).await.map_err(|error| of_role(&role, error))?;
            let held = Held { model: model.reference(), ..Held::wanted(&settings) };
            let bytes = match self.reckon(&model, settings.with()).await {
                Reckoned::Bytes(bytes) => Some(bytes),
                Reckoned::Beyond(error) => return Err(of_role(&role, error)),
                Reckoned::Unknown => None,
            };
            wanted.push(RoleWanted { role, held, model, bytes });
        }
        Ok(wanted)
    }

    /// Errors: not_found, ambiguous, unsupported.
    async fn model_of(&self, settings: &RoleSettings, server: &ServerId) -> Result<Model, ApiError> {
        let mut models = self.listed();
        if find_models(&models, &settings.model, Some(server)).is_empty() {
            self.supervisors.get(server)?.refresh().await;
            models = self.listed();
        }
        // By its exact name first: a part of a name is for people who type.
        let exact = models.iter().find(|model| model.server == *server && model.name == settings.model);
        let model = match exact {
            Some(model) => model,
            None => find_model(&models, &settings.model, Some(server))?,
        };
        match model.purpose {
            ModelPurpose::Other => Err(model.damage().unwrap_or_else(|| {
                let text = format!("{} can be no role.", model.title);
                ApiError::new(ErrorCode::Unsupported, text)
            })),
            ModelPurpose::Llm | ModelPurpose::Embedding => Ok(model.clone()),
        }
    }

    /// What is in memory, as a scene: the roles in force as they are, the active model, and whatever else is loaded. Errors:
    /// not_found (nothing is).
    fn roles_in_memory(&self) -> Result<Roles, ApiError> {
        let snapshot = self.hub.now();
        let roles = roles_in_memory(&snapshot);
        if roles.is_empty() {
            let error = ApiError::not_found("No model is in memory, so there is nothing to save.");
            return Err(error.hint("Load what the scene shall hold, then save it."));
        }
        Ok(roles)
    }

    async fn until_scenes(&self, seen: impl Fn(&[scene::SceneView]) -> bool) {
        let mut snapshots = self.hub.snapshots();
        let seen = snapshots.wait_for(|snapshot| seen(&snapshot.scenes));
        // A folder that cannot be watched is said as a trouble; it is known after the next start then.
        let _ = tokio::time::timeout(CHANGED_LIMIT, seen).await;
    }
}

/// A model that becomes active stands under its own name in what is offered.
fn roles_of(aim: Aim) -> Vec<RoleWanted> {
    match aim {
        Aim::Roles { roles, .. } => roles,
        Aim::Active(wanted) => {
            let ModelWanted { model, with, bytes } = *wanted;
            let held = Held { with, ..Held::wanted(&usual(&model.server, &model.name, false)) };
            vec![RoleWanted { role: model.title.clone(), held, model, bytes }]
        }
        Aim::Before => vec![],
    }
}

/// As its server loads it.
fn usual(server: &ServerId, model: &str, pinned: bool) -> RoleSettings {
    RoleSettings {
        server: server.to_string(),
        model: model.to_owned(),
        context: None,
        parallel: None,
        kv_type: None,
        pinned,
        priority: Priority::Normal,
        idle_s: None,
    }
}

fn told(unloaded: Unloaded, dry_run: bool) -> Reply {
    let Unloaded { unloaded, answers_cut, deactivated, took_ms } = unloaded;
    Reply::Unloaded { unloaded, answers_cut, deactivated, took_ms, dry_run }
}

fn of_role(role: &str, error: ApiError) -> ApiError {
    ApiError { message: format!("{role}: {}", error.message), ..error }
}

/// The scene of the settings that a name means: exactly, else in whatever case. Errors: not_found.
fn of_settings(settings: &Settings, name: &str) -> Result<(String, Roles), ApiError> {
    let exact = settings.scenes.get_key_value(name);
    let alike = || settings.scenes.iter().find(|(one, _)| one.to_lowercase() == name.trim().to_lowercase());
    let found = exact.or_else(alike);
    found.map(|(name, scene)| (name.clone(), scene.roles.clone())).ok_or_else(|| {
        let names: Vec<&str> = settings.scenes.keys().map(String::as_str).collect();
        let hint = match names.is_empty() {
            true => "Save one: “pilothouse scene save NAME”.".to_owned(),
            false => {
                format!("There are {}, {} and {}.", names.join(", "), scene::FREE_MEMORY, scene::RESTORE)
            }
        };
        ApiError::not_found(format!("There is no scene “{name}”.")).hint(hint)
    })
}

fn roles_in_memory(snapshot: &Snapshot) -> Roles {
    let mut roles: Roles = BTreeMap::new();
    for view in &snapshot.roles {
        let held = &view.held;
        roles.insert(
            view.role.clone(),
            RoleSettings {
                server: held.model.server.to_string(),
                model: held.model.model.clone(),
                context: held.with.context,
                parallel: held.with.parallel,
                kv_type: held.with.kv_type,
                pinned: held.pinned,
                priority: held.priority,
                idle_s: held.idle_s,
            },
        );
    }
    let holds = |roles: &Roles, server: &ServerId, model: &str| {
        roles.values().any(|role| role.server == server.as_str() && role.model == model)
    };
    let pinned = |server: &ServerId, model: &str| {
        snapshot.pins.iter().any(|pin| pin.server == *server && pin.model == model)
    };
    if let Some(active) = &snapshot.active
        && !holds(&roles, &active.server, &active.model)
    {
        let role = usual(&active.server, &active.model, pinned(&active.server, &active.model));
        roles.insert(scene::ACTIVE.to_owned(), role);
    }
    for instance in snapshot.instances.iter().filter(|one| !snapshot.is_remote(&one.server)) {
        if holds(&roles, &instance.server, &instance.model) {
            continue;
        }
        let is_embedding = snapshot.models.iter().any(|view| {
            view.model.server == instance.server
                && view.model.name == instance.model
                && view.model.purpose == ModelPurpose::Embedding
        });
        let name = free_name(&roles, if is_embedding { "embed" } else { "model" });
        let pinned = pinned(&instance.server, &instance.model);
        roles.insert(name, usual(&instance.server, &instance.model, pinned));
    }
    roles
}

/// "embed", "embed-2", …
fn free_name(roles: &Roles, stem: &str) -> String {
    let names = std::iter::once(stem.to_owned()).chain((2..).map(|number| format!("{stem}-{number}")));
    names.into_iter().find(|name| !roles.contains_key(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{scene::SceneSettings, switch::Active};

    #[test]
    fn a_scene_is_found_by_its_name_in_whatever_case_and_an_unknown_one_names_those_there_are() {
        let mut settings = Settings::default();
        assert!(of_settings(&settings, "x").unwrap_err().hint.unwrap().contains("scene save"));
        for name in ["Hybrid", "hybrid two"] {
            settings.scenes.insert(name.into(), SceneSettings::default());
        }
        for (asked, found) in [("Hybrid", "Hybrid"), ("HYBRID", "Hybrid"), (" Hybrid Two ", "hybrid two")] {
            assert_eq!(of_settings(&settings, asked).unwrap().0, found);
        }
        let error = of_settings(&settings, "hyb").unwrap_err();
        assert!(error.hint.unwrap().starts_with("There are Hybrid, hybrid two, Free the memory and Restore"));
    }

    #[test]
    fn what_is_in_memory_becomes_roles_with_names_of_their_own() {
        let mut snapshot = pilothouse_domain::snapshot::Snapshot::empty(
            pilothouse_domain::snapshot::EngineView::default(),
            pilothouse_domain::Timestamp::UNIX_EPOCH,
        );
        let instance = |model: &str| pilothouse_domain::model::Instance {
            id: model.into(),
            server: "ollama".into(),
            model: model.into(),
            memory_bytes: None,
            gpu_memory_bytes: None,
            context: None,
            expiry: pilothouse_domain::model::Expiry::Never,
            pid: None,
            port: None,
            slots: None,
            orphaned_answers: None,
        };
        snapshot.instances = ["a", "b", "c"].map(instance).to_vec();
        snapshot.active = Some(Active { server: "ollama".into(), model: "a".into(), instance: "a".into() });
        snapshot.pins = vec![pilothouse_domain::model::ModelRef::new("ollama", "c")];
        let roles = roles_in_memory(&snapshot);
        let told: Vec<(&str, &str, bool)> =
            roles.iter().map(|(role, one)| (role.as_str(), one.model.as_str(), one.pinned)).collect();
        assert_eq!(told, [("active", "a", false), ("model", "b", false), ("model-2", "c", true)]);
    }
}
