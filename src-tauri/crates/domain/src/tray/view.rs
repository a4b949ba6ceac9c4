use super::{
    TrayAction, TrayBars, TrayIcon, TrayItem, TrayItemKind, TrayModel, attention,
    gauge::beside,
    items::{action, line, separator, submenu},
    recent::recent,
    scenes::{arranging_line, scenes, undo},
};
use crate::{
    lifecycle::ServerState,
    model::{ModelPurpose, ModelRef},
    server::ServerId,
    snapshot::{ModelView, ServerView, Snapshot},
    standing::{Holds, RowAct, Standing, in_a_line},
    switch::{SwitchPhase, Switching},
    units::gigabytes,
};

/// More models than this at the top level would push the rest of the menu off the screen.
const MODELS_AT_TOP: usize = 12;

/// Icon and menu of a snapshot. `at_login`: whether Pilothouse starts at login; `None`: this system cannot do that.
pub fn tray_model(snapshot: &Snapshot, at_login: Option<bool>) -> TrayModel {
    let first = first_line(snapshot);
    let mut items = vec![line("line:active", &first), line("line:usage", &usage_line(snapshot))];
    items.extend(undo(snapshot));
    items.extend(scenes(snapshot));
    items.extend(recent(snapshot));
    items.push(separator("sep:models"));
    items.extend(models(snapshot));
    items.push(separator("sep:servers"));
    let servers = snapshot.servers.iter().map(|view| server(snapshot, view)).collect();
    items.push(submenu("servers", "Servers", servers));
    let cancel = match (&snapshot.switching, &snapshot.arranging) {
        (Some(_), _) => Some("Cancel switch".to_owned()),
        (None, Some(arranging)) => Some(match &arranging.scene {
            Some(scene) => format!("Cancel {scene}"),
            None => "Cancel, put everything back".into(),
        }),
        (None, None) => None,
    };
    items.extend(cancel.map(|text| action(&TrayAction::CancelSwitch, &text, true)));
    match &snapshot.bench {
        Some(bench) => {
            let text = format!("Cancel benchmark ({} of {})", bench.done, bench.total);
            items.push(action(&TrayAction::CancelBench, &text, true));
        }
        None => {
            let changing = snapshot.switching.is_some() || snapshot.arranging.is_some();
            let possible = snapshot.active.is_some() && !changing;
            items.push(action(&TrayAction::Bench, "Benchmark now", possible));
        }
    }
    items.push(action(&TrayAction::OpenPanel, "Open panel", true));
    items.push(action(&TrayAction::OpenSettings, "Settings…", true));
    items.extend(at_login.map(|checked| TrayItem {
        id: TrayAction::StartAtLogin.id(),
        kind: TrayItemKind::Check { checked },
        text: "Start at login".into(),
        enabled: true,
    }));
    items.push(separator("sep:quit"));
    items.push(action(&TrayAction::Quit, "Quit Pilothouse", true));
    TrayModel {
        icon: icon(snapshot),
        bars: TrayBars::of(snapshot),
        title: first,
        beside: beside(snapshot),
        items,
    }
}

fn icon(snapshot: &Snapshot) -> TrayIcon {
    let any = |states: &[ServerState]| snapshot.servers.iter().any(|server| states.contains(&server.state));
    let changing = snapshot.switching.is_some() || snapshot.arranging.is_some();
    if changing || snapshot.bench.is_some() || snapshot.setup.progress.is_some() {
        TrayIcon::Busy
    } else if attention::is_wanted(snapshot) {
        TrayIcon::Attention
    } else if any(&[ServerState::Starting]) {
        TrayIcon::Busy
    } else if snapshot.standing.holds != Holds::Stopped && any(&[ServerState::Ready, ServerState::Degraded]) {
        TrayIcon::Idle
    } else {
        TrayIcon::Down
    }
}

fn first_line(snapshot: &Snapshot) -> String {
    if let Some(switching) = &snapshot.switching {
        return switching_line(snapshot, switching);
    }
    if let Some(arranging) = &snapshot.arranging {
        return arranging_line(snapshot, arranging);
    }
    match &snapshot.active {
        Some(active) => {
            let server = snapshot.server_title(&active.server);
            let title = snapshot.model_title(&active.server, &active.model);
            match snapshot.standing.holds {
                Holds::Ready => format!("{title} · {server}"),
                _ => format!("{title} · {server}, {}", in_a_line(&snapshot.standing.word)),
            }
        }
        None => "No active model".into(),
    }
}

/// What a switch under way does, and how far it is: "Loading Qwen2.5 7B on Ollama, about 6 s".
pub fn switching_line(snapshot: &Snapshot, switching: &Switching) -> String {
    let model = snapshot.model_title(&switching.to.server, &switching.to.model);
    let server = snapshot.server_title(&switching.to.server);
    match switching.phase {
        SwitchPhase::Preparing => format!("Preparing {model} on {server}"),
        SwitchPhase::Draining => "Waiting for answers to end".into(),
        SwitchPhase::Unloading => "Unloading the previous model".into(),
        SwitchPhase::Loading => match (switching.progress, switching.eta_s) {
            (Some(progress), _) => format!("Loading {model} on {server}, {:.0} %", progress * 100.0),
            (None, Some(eta)) => format!("Loading {model} on {server}, about {:.0} s", eta.max(1.0)),
            (None, None) => format!("Loading {model} on {server}"),
        },
        SwitchPhase::Proving => format!("Proving {model} by a token"),
        SwitchPhase::Committing => format!("Switching to {model}"),
        SwitchPhase::PuttingBack => "Putting the previous model back".into(),
    }
}

/// Memory and GPU in words, in coarse steps so that the menu does not change with every sample.
fn usage_line(snapshot: &Snapshot) -> String {
    let Some(gauges) = &snapshot.gauges else {
        return "Memory not read yet".into();
    };
    let memory = match (gauges.memory_used_bytes, gauges.memory_total_bytes) {
        (Some(used), Some(total)) => {
            format!("Memory {:.1} of {}", used as f64 / 1e9, gigabytes(total))
        }
        _ => "Memory not reported".into(),
    };
    let gpu = match gauges.gpus.iter().filter_map(|gpu| gpu.load_percent).reduce(f64::max) {
        Some(load) => format!("GPU {:.0} %", (load / 5.0).round() * 5.0),
        None if gauges.gpus.is_empty() => "no GPU found".into(),
        None => "GPU load not reported".into(),
    };
    let stale = if gauges.stale_s(snapshot.at).is_some() { " (stale)" } else { "" };
    format!("{memory}, {gpu}{stale}")
}

/// Models grouped by server under a line with its name; what does not fit goes into a submenu.
fn models(snapshot: &Snapshot) -> Vec<TrayItem> {
    let usable = |view: &&ModelView| view.model.purpose == ModelPurpose::Llm;
    let total = snapshot.models.iter().filter(usable).count();
    let (mut items, mut rest, mut shown) = (Vec::new(), Vec::new(), 0);
    for server in &snapshot.servers {
        let own: Vec<&ModelView> =
            snapshot.models.iter().filter(usable).filter(|view| view.model.server == server.id).collect();
        if own.is_empty() {
            continue;
        }
        items.push(line(&format!("head:{}", server.id), &server.title));
        for view in own {
            let item = model(view);
            // The active and the loaded ones are always at hand.
            if total <= MODELS_AT_TOP || shown < MODELS_AT_TOP || view.loaded {
                shown += 1;
                items.push(item);
            } else {
                rest.push(item);
            }
        }
    }
    if !rest.is_empty() {
        items.push(submenu("more-models", "More models", rest));
    }
    if items.is_empty() {
        items.push(line("line:no-models", "No models found"));
    }
    items
}

fn model(view: &ModelView) -> TrayItem {
    let Standing { holds, word, .. } = &view.standing;
    let mark = match holds {
        Holds::Loading | Holds::PuttingBack => "  …".into(),
        Holds::Loaded | Holds::Failed => format!("  ({word})"),
        // What answers has its check mark.
        _ if view.active && view.standing.act != RowAct::None => format!("  ({word})"),
        _ if view.fits == Some(false) => "  (does not fit)".into(),
        _ => String::new(),
    };
    TrayItem {
        id: TrayAction::Switch(view.model.reference()).id(),
        kind: TrayItemKind::Check { checked: view.active },
        text: format!("{}{mark}", view.model.title),
        enabled: view.fits != Some(false),
    }
}

fn server(snapshot: &Snapshot, view: &ServerView) -> TrayItem {
    let state = in_a_line(&view.standing.word);
    let id = |what: &str| format!("{what}:{}", view.id);
    let mut told = format!("{} · {state}", view.title);
    if let Some(reason) = &view.reason {
        told = format!("{told}: {reason}");
    }
    let stopped = matches!(
        view.state,
        ServerState::Stopped | ServerState::Failed | ServerState::GaveUp | ServerState::NotOurs
    );
    let up = view.state.is_up();
    let server = || -> ServerId { view.id.clone() };
    let mut children = vec![
        line(&id("state"), &told),
        action(&TrayAction::Start(server()), "Start", stopped && view.abilities.start),
        action(&TrayAction::Stop(server()), "Stop", up && view.abilities.stop),
        action(&TrayAction::Restart(server()), "Restart", up && view.abilities.stop && view.abilities.start),
    ];
    let there = snapshot.instances.iter().filter(|one| one.server == view.id && up && view.abilities.unload);
    let mut models: Vec<&str> = there.map(|one| one.model.as_str()).collect();
    models.dedup();
    if !models.is_empty() {
        children.push(separator(&id("sep")));
    }
    children.extend(models.into_iter().map(|name| {
        let title = snapshot.model_title(&view.id, name);
        let unload = TrayAction::Unload(ModelRef::new(view.id.clone(), name));
        action(&unload, &format!("Unload {title}"), snapshot.bench.is_none())
    }));
    let copies = snapshot.extra_copies().into_iter();
    children.extend(copies.filter(|one| one.server == view.id && up && view.abilities.unload).map(|one| {
        let unload = TrayAction::UnloadCopy(view.id.clone(), one.id.clone());
        action(&unload, &format!("Unload the extra copy {}", one.id), snapshot.bench.is_none())
    }));
    submenu(&id("server"), &format!("{} · {state}", view.title), children)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        standing::{self, Circumstances},
        tray::fixtures::snapshot,
    };

    /// As the hub publishes it.
    fn drawn(mut snapshot: Snapshot) -> TrayModel {
        standing::fill(&mut snapshot, &Circumstances::default());
        tray_model(&snapshot, None)
    }

    fn texts(items: &[TrayItem]) -> Vec<&str> {
        items.iter().map(|item| item.text.as_str()).collect()
    }

    #[test]
    fn a_model_that_is_in_memory_twice_can_be_rid_of_the_extra_copy() {
        let mut snapshot = snapshot(1);
        snapshot.servers.iter_mut().for_each(|server| server.abilities.unload = true);
        let entries = |snapshot: &Snapshot| -> Vec<String> {
            let ollama = snapshot.servers.iter().find(|server| server.id.as_str() == "ollama").unwrap();
            let TrayItemKind::Submenu { children } = server(snapshot, ollama).kind else {
                panic!("no submenu")
            };
            children.into_iter().map(|item| item.id).filter(|id| id.starts_with("unload")).collect()
        };
        assert_eq!(entries(&snapshot), ["unload:ollama:model-0"]);
        let twin = crate::model::Instance { id: "model-0:2".into(), ..snapshot.instances[0].clone() };
        snapshot.instances.push(twin);
        assert_eq!(entries(&snapshot), ["unload:ollama:model-0", "unload-copy:ollama:model-0:2"]);
        snapshot.active.as_mut().unwrap().instance = "model-0:2".into();
        assert_eq!(entries(&snapshot)[1], "unload-copy:ollama:model-0", "the one that answers stays");
    }

    #[test]
    fn usage_that_is_no_longer_sampled_is_said_to_be_stale() {
        let mut snapshot = snapshot(1);
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let gauges = serde_json::json!({
            "at": at(100), "interval_ms": 5000, "cpu_cores": 2, "memory_used_bytes": 8_000_000_000_u64,
            "memory_total_bytes": 24_000_000_000_u64, "gpus": [], "servers": [], "orphans": [], "self": {},
        });
        snapshot.gauges = serde_json::from_value(gauges).unwrap();
        for (now, wanted) in [
            (99, "Memory 8.0 of 24.0 GB, no GPU found"),
            (110, "Memory 8.0 of 24.0 GB, no GPU found"),
            (111, "Memory 8.0 of 24.0 GB, no GPU found (stale)"),
        ] {
            snapshot.at = at(now);
            assert_eq!(usage_line(&snapshot), wanted, "{now}");
        }
        snapshot.gauges.as_mut().unwrap().interval_ms = None;
        assert_eq!(snapshot.gauges.unwrap().stale_s(at(9999)), None, "a single reading is as old as it is");
    }

    #[test]
    fn the_menu_reads_from_the_answer_to_the_acts() {
        let model = drawn(snapshot(1));
        assert_eq!(
            texts(&model.items),
            [
                "Model 0 · Ollama",
                "Memory not read yet",
                "",
                "llama-server",
                "Model 0",
                "Ollama",
                "Model 0",
                "",
                "Servers",
                "Benchmark now",
                "Open panel",
                "Settings…",
                "",
                "Quit Pilothouse"
            ]
        );
        let checked: Vec<&str> = model
            .items
            .iter()
            .filter(|item| item.kind == TrayItemKind::Check { checked: true })
            .map(|item| item.id.as_str())
            .collect();
        assert_eq!(checked, ["switch:ollama:model-0"]);
        assert_eq!((model.icon, model.title.as_str()), (TrayIcon::Idle, "Model 0 · Ollama"));
    }

    #[test]
    fn many_models_spill_into_a_submenu_and_loaded_ones_do_not() {
        let model = drawn(snapshot(10));
        let more = model.items.iter().find(|item| item.id == "more-models").unwrap();
        let TrayItemKind::Submenu { children } = &more.kind else { panic!("no submenu") };
        assert_eq!(children.len(), 8);
        assert!(model.items.iter().any(|item| item.id == "switch:ollama:model-0"));
    }

    #[test]
    fn the_icon_has_a_shape_for_each_state() {
        let icon_of = |change: &dyn Fn(&mut Snapshot)| {
            let mut snapshot = snapshot(1);
            change(&mut snapshot);
            drawn(snapshot).icon
        };
        assert_eq!(icon_of(&|_| {}), TrayIcon::Idle);
        assert_eq!(icon_of(&|s| s.servers[0].state = ServerState::GaveUp), TrayIcon::Attention);
        assert_eq!(icon_of(&|s| s.servers[0].state = ServerState::Starting), TrayIcon::Busy);
        assert_eq!(
            icon_of(&|s| s.servers.iter_mut().for_each(|server| server.state = ServerState::Stopped)),
            TrayIcon::Down
        );
        let switching = Switching {
            switch_id: 1,
            from: None,
            to: ModelRef::new("ollama", "model-0"),
            phase: SwitchPhase::Loading,
            progress: Some(0.42),
            eta_s: None,
            started_at: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(icon_of(&|s| s.switching = Some(switching.clone())), TrayIcon::Busy);
        let mut busy = snapshot(1);
        busy.switching = Some(switching);
        let model = drawn(busy);
        assert_eq!(model.items[0].text, "Loading Model 0 on Ollama, 42 %");
        assert!(model.items.iter().any(|item| item.id == "cancel-switch"));
    }
}
