//! Looks at everything that may be wrong and says what to do. Works with and without a running engine.

mod machine;
mod servers;

pub use machine::{examine_machine, examine_settings};

use crate::api::{Check, CheckResult};
use machine::was_replaced;
use pilothouse_domain::{
    Timestamp,
    container::{ContainerProblem, ContainerReading, Containers},
    error::ErrorCode,
    gauge::{Gauges, GpuReading, SilentSource},
    model::Model,
    server::ServerId,
    snapshot::Snapshot,
};
use pilothouse_system::{
    apart,
    bridges::{Bridge, container_bridges},
    keys::Keys,
    paths::Paths,
};
use servers::{discover_unused, key, off_card, orphan, server};
use std::time::Duration;

/// Writing a file into each of a few folders.
const FOLDERS_LIMIT: Duration = Duration::from_secs(10);

/// All checks of a running engine. Asks open ports of this machine what they are; wakes nothing up.
/// `is_off_card`: whether a server has been seen to compute on the processor although there is a card. `wants_bridges`: whether the
/// settings want the gateway on bridges of containers.
pub async fn examine(
    paths: &Paths,
    snapshot: &Snapshot,
    keys: &Keys,
    is_off_card: impl Fn(&ServerId) -> bool,
    wants_bridges: bool,
) -> Vec<Check> {
    let (own, limit) = (paths.clone(), FOLDERS_LIMIT);
    let mut checks = apart::once("the folders of Pilothouse", limit, move || examine_machine(&own))
        .await
        .unwrap_or_else(|silence| vec![check("folders", CheckResult::Fail, silence.to_string())]);
    checks.extend(was_replaced());
    checks.extend(snapshot.servers.iter().map(server));
    for view in snapshot.servers.iter().filter(|view| view.abilities.key) {
        match keys.kept(&view.id).await {
            Ok(place) => checks.extend(place.map(|place| key(view, place))),
            Err(why) => checks.push(
                check(&format!("key of {}", view.title), CheckResult::Warn, format!("not read: {why}"))
                    .with("It is looked for again by itself."),
            ),
        }
    }
    checks.extend(discover_unused(snapshot).await);
    let orphans = snapshot.gauges.as_ref().map(|gauges| &gauges.orphans[..]).unwrap_or_default();
    checks.extend(orphans.iter().map(orphan));
    checks.push(match &snapshot.active {
        Some(active) => {
            check("active model", CheckResult::Ok, format!("{} on {}", active.model, active.server))
        }
        None => check("active model", CheckResult::Warn, "none").with("Switch to a model."),
    });
    checks.push(match (&snapshot.engine.gateway, &snapshot.engine.gateway_absent) {
        (Some(address), _) => check("gateway", CheckResult::Ok, address.clone()),
        (None, reason) => check("gateway", CheckResult::Warn, reason.clone().unwrap_or_default()).with(
            "End the program that holds its port, or set another gateway.port and start Pilothouse again.",
        ),
    });
    if snapshot.engine.gateway.is_some() {
        let found = apart::once("the network interfaces", FOLDERS_LIMIT, container_bridges).await;
        let found = found.ok().and_then(Result::ok).unwrap_or_default();
        let engine = &snapshot.engine;
        let open = [&engine.gateway_bridges[..], &engine.gateway_ollama_bridges].concat();
        checks.extend(bridges(&open, &found, wants_bridges));
    }
    let gauges = snapshot.gauges.as_ref();
    checks.push(freshness(gauges, Timestamp::now()));
    checks.push(match gauges.map(|gauges| (&gauges.gpus[..], &gauges.gpus_absent)) {
        Some(([], reason)) => {
            check("GPU", CheckResult::Skipped, reason.clone().unwrap_or_else(|| "none found".into()))
        }
        Some((gpus, _)) => {
            let named = |gpu: &GpuReading| match &gpu.absent {
                Some(reason) => format!("{} ({reason})", gpu.name),
                None => gpu.name.clone(),
            };
            let names: Vec<String> = gpus.iter().map(named).collect();
            let silent = gauges.is_some_and(|gauges| gauges.silent.iter().any(is_gpu));
            check("GPU", if silent { CheckResult::Warn } else { CheckResult::Ok }, names.join(", "))
        }
        None => check("GPU", CheckResult::Skipped, "no sample was taken yet"),
    });
    checks.extend(snapshot.servers.iter().filter(|view| is_off_card(&view.id)).map(off_card));
    checks.extend(snapshot.models.iter().filter_map(|view| damaged(&view.model)));
    checks.extend(containers(snapshot));
    for trouble in &snapshot.troubles {
        let result = match trouble.code {
            // Whose silence is a fault is judged with the readings.
            ErrorCode::RestartNeeded | ErrorCode::SourceSilent => CheckResult::Warn,
            _ => CheckResult::Fail,
        };
        let mut found = check("Pilothouse", result, trouble.message.clone());
        found.hint.clone_from(&trouble.hint);
        checks.push(found);
    }
    checks
}

/// The gateway on bridges of containers. Nothing where this machine has none; what cannot be opened is a trouble already.
fn bridges(open: &[String], found: &[Bridge], wanted: bool) -> Option<Check> {
    let name = "gateway for containers";
    match (open, found) {
        ([_, ..], _) => {
            Some(check(name, CheckResult::Ok, format!("{}, for programs with a key", open.join(", "))))
        }
        ([], [first, ..]) if !wanted => {
            let detail = format!("it does not listen on their bridge ({})", first.name);
            Some(check(name, CheckResult::Skipped, detail).with(
                "If containers shall ask by it, with a key: pilothouse settings set gateway.container_bridges true",
            ))
        }
        _ => None,
    }
}

/// Whether samples come, by the clock.
fn freshness(gauges: Option<&Gauges>, now: Timestamp) -> Check {
    let Some(gauges) = gauges else {
        return check("gauges", CheckResult::Skipped, "no sample was taken yet");
    };
    // Docker has a line of its own.
    let drivers = gauges.silent.iter().filter(|source| source.source != "docker");
    let silent: Vec<String> = drivers.map(|source| source.reason(now)).collect();
    match gauges.stale_s(now) {
        Some(seconds) => check("gauges", CheckResult::Fail, format!("no sample has come for {seconds} s"))
            .with("Look at Pilothouse's log; start it again."),
        None if silent.is_empty() => check("gauges", CheckResult::Ok, "read a moment ago"),
        None => check("gauges", CheckResult::Fail, silent.join("; ")).with(
            "Its readings are missing, everything else goes on. A driver that hangs often needs a restart of the machine.",
        ),
    }
}

fn is_gpu(source: &SilentSource) -> bool {
    matches!(source.source.as_str(), "nvidia" | "amd" | "intel" | "apple")
}

fn damaged(model: &Model) -> Option<Check> {
    let damage = model.damage()?;
    let check = check("model files", CheckResult::Warn, damage.message);
    Some(match damage.hint {
        Some(hint) => check.with(&hint),
        None => check,
    })
}

/// One check for each container with a problem, and one for all of them when none has.
fn containers(snapshot: &Snapshot) -> Vec<Check> {
    let Some(containers) = &snapshot.containers else {
        let reason = snapshot.containers_absent.as_deref().unwrap_or("not looked at yet");
        return vec![check("Docker", CheckResult::Skipped, reason)];
    };
    let mut checks = troubled(containers);
    if checks.is_empty() {
        checks.push(check("Docker", CheckResult::Ok, containers.summary()));
    }
    checks
}

fn troubled(containers: &Containers) -> Vec<Check> {
    let warn = |(one, problem): (&ContainerReading, ContainerProblem)| {
        let detail = format!("{}. {}", one.words(), one.explain(problem));
        let hint = format!("Look at its log: docker logs {}", one.name);
        check(&format!("container {}", one.name), CheckResult::Warn, detail).with(&hint)
    };
    containers.with_problem().map(warn).collect()
}

fn check(name: &str, result: CheckResult, detail: impl Into<String>) -> Check {
    Check { name: name.into(), result, detail: detail.into(), hint: None }
}

impl Check {
    fn with(mut self, hint: &str) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::gauge::OwnUsage;

    fn gauges(silent: Vec<SilentSource>) -> Gauges {
        Gauges {
            at: Timestamp::from_second(1000).unwrap(),
            interval_ms: Some(5000),
            cpu_percent: None,
            cpu_cores: 2,
            memory_used_bytes: None,
            memory_total_bytes: None,
            memory_limit: None,
            memory_pressure: None,
            swap_used_bytes: None,
            swap_total_bytes: None,
            gpus: vec![],
            gpus_absent: None,
            servers: vec![],
            orphans: vec![],
            own: OwnUsage::default(),
            silent,
        }
    }

    #[test]
    fn a_bridge_without_the_setting_is_no_complaint_and_names_it() {
        let docker = || Bridge { name: "docker0".into(), address: [172, 17, 0, 1].into(), prefix: 16 };
        let open = ["http://172.17.0.1:11480/v1".to_owned()];
        assert!(bridges(&[], &[], false).is_none() && bridges(&[], &[], true).is_none());
        assert!(bridges(&[], &[docker()], true).is_none(), "there is a trouble that says why");
        let off = bridges(&[], &[docker()], false).unwrap();
        assert_eq!(off.result, CheckResult::Skipped);
        assert!(off.detail.contains("docker0") && off.hint.unwrap().contains("gateway.container_bridges"));
        let on = bridges(&open, &[docker()], true).unwrap();
        assert!(on.result == CheckResult::Ok && on.detail.contains("172.17.0.1:11480"), "{on:?}");
    }

    #[test]
    fn gauges_are_old_by_the_clock_and_who_is_silent_is_named() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let nvidia =
            SilentSource { source: "nvidia".into(), what: "the NVIDIA driver".into(), since: at(900) };
        let told = |silent: Vec<SilentSource>, second| {
            let found = freshness(Some(&gauges(silent)), at(second));
            (found.result, found.detail)
        };
        assert_eq!(told(vec![], 1003), (CheckResult::Ok, "read a moment ago".into()));
        assert_eq!(told(vec![], 1065), (CheckResult::Fail, "no sample has come for 65 s".into()));
        let silent = (CheckResult::Fail, "the NVIDIA driver has not answered for 101 s".into());
        assert_eq!(told(vec![nvidia], 1001), silent);
        assert_eq!(freshness(None, at(1)).result, CheckResult::Skipped);
    }
}
