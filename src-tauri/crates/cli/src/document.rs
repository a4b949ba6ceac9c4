//! The JSON documents of the contract. Names and types stay, fields may be added.

use pilothouse_domain::{
    Timestamp,
    bench::{Comparison, Run, RunState},
    container::ContainerReading,
    gauge::Gauges,
    scene::UndoView,
    snapshot::{ModelView, ServerView, Snapshot},
    traffic::{RequestRecord, TallyView, TrafficTotals},
};
use serde_json::{Map, Value, json};

/// Gives every field that is null a `…_absent` beside it, unless it has one.
pub fn with_reasons(document: Value, fields: &[(&str, &str)]) -> Value {
    let Value::Object(mut object) = document else {
        return document;
    };
    for (field, reason) in fields {
        let absent = format!("{field}_absent");
        if object.get(*field).is_some_and(Value::is_null) && object.get(&absent).is_none_or(Value::is_null) {
            object.insert(absent, json!(reason));
        }
    }
    Value::Object(object)
}

pub fn status(snapshot: &Snapshot, web_url: Option<&str>) -> Value {
    let whole = json!({
        "revision": snapshot.revision,
        "active": snapshot.active,
        "active_absent": snapshot.active_absent,
        "standing": snapshot.standing,
        "switching": snapshot.switching.as_ref().map(|switching| with_reasons(json!({
            "switch_id": switching.switch_id,
            "from": switching.from,
            "to": switching.to,
            "phase": switching.phase,
            "progress": switching.progress,
            "eta_s": switching.eta_s,
        }), &[("progress", "the server does not report it"), ("eta_s", "never loaded before")])),
        "arranging": snapshot.arranging,
        "scene": snapshot.scenes.iter().find(|scene| scene.in_force).map(|scene| &scene.name),
        "roles": roles(snapshot),
        "pins": snapshot.pins,
        "on_request": snapshot.on_request,
        "undo": snapshot.undo.as_ref().map(undo),
        "servers": servers(snapshot),
        "notices": snapshot.notices,
        "troubles": snapshot.troubles,
        "gateway": snapshot.engine.gateway,
        "gateway_ollama": snapshot.engine.gateway_ollama,
        "gateway_ollama_absent": snapshot.engine.gateway_ollama_absent,
        "gateway_bridges": snapshot.engine.gateway_bridges,
        "gateway_ollama_bridges": snapshot.engine.gateway_ollama_bridges,
        "web_url": web_url,
        "version": snapshot.engine.version,
        "pid": snapshot.engine.pid,
    });
    let absent = [("scene", "no scene of the settings is in force"), ("undo", "there is nothing to undo")];
    with_reasons(whole, &absent)
}

pub fn undo(undo: &UndoView) -> Value {
    with_reasons(json!(undo), &[("back_to", "to no active model")])
}

/// What a role leaves out is as its server loads the model by itself.
pub const OF_A_ROLE: [(&str, &str); 4] = [
    ("context", "as its server loads it"),
    ("parallel", "as its server loads it"),
    ("kv", "as its server loads it"),
    ("idle_s", "it stays"),
];

/// Of `status`: the roles in force, each with the model that it stands for and how that is kept.
pub fn roles(snapshot: &Snapshot) -> Vec<Value> {
    let role = |view: &pilothouse_domain::scene::RoleView| {
        let held = &view.held;
        let role = json!({
            "role": view.role, "server": held.model.server, "model": held.model.model, "instance": held.instance,
            "context": held.with.context, "parallel": held.with.parallel, "kv": held.with.kv_type,
            "pinned": held.pinned, "priority": held.priority, "idle_s": held.idle_s,
            "leads": view.leads, "waits": view.waits, "absent": view.absent,
        });
        let away = view.absent.as_deref().unwrap_or("it is not in memory, and comes with the next request");
        with_reasons(with_reasons(role, &OF_A_ROLE), &[("instance", away)])
    };
    snapshot.roles.iter().map(role).collect()
}

pub fn servers(snapshot: &Snapshot) -> Vec<Value> {
    snapshot.servers.iter().map(|view| server(view, snapshot.gauges.as_ref())).collect()
}

pub fn server(view: &ServerView, gauges: Option<&Gauges>) -> Value {
    let usage = gauges.and_then(|gauges| gauges.servers.iter().find(|usage| usage.id == view.id));
    let running = view.state.is_up();
    let no_memory =
        usage.and_then(|usage| usage.memory_bytes_absent.clone()).unwrap_or_else(|| "not sampled yet".into());
    let not_told = if running { "not reported" } else { "not running" };
    with_reasons(
        json!({
            "id": view.id,
            "kind": view.kind,
            "title": view.title,
            "ownership": view.ownership,
            "state": view.state,
            "reason": view.reason,
            "hint": view.hint,
            "endpoint": view.endpoint,
            "version": view.version,
            "pid": view.pid,
            "memory_bytes": usage.and_then(|usage| usage.memory_bytes),
            "measure": usage.and_then(|usage| usage.measure),
            "backend": view.backend, "restarts": view.restarts,
            "since": view.since,
        }),
        &[
            ("ownership", "not running"),
            ("endpoint", "not running"),
            ("version", not_told),
            ("pid", not_told),
            ("memory_bytes", &no_memory),
        ],
    )
}

pub fn model(view: &ModelView) -> Value {
    let value = json!({
        "id": view.id,
        "server": view.model.server,
        "name": view.model.name,
        "title": view.model.title,
        "purpose": view.model.purpose,
        "format": view.model.format,
        "quantization": view.model.quantization,
        "parameters": view.model.parameters,
        "size_bytes": view.model.size_bytes,
        "context_max": view.model.context_max,
        "loaded": view.loaded,
        "active": view.active,
        "fits": view.fits,
        "fits_reason": view.fits_reason,
        "needed_bytes": view.needed_bytes,
        "damaged": view.model.damaged,
        "standing": view.standing,
    });
    let silent = "not reported by the server";
    let fields = ["format", "quantization", "parameters", "size_bytes", "context_max"];
    with_reasons(value, &fields.map(|field| (field, silent)))
}

/// One run in the list of past runs.
/// Of `traffic`.
pub fn request(record: &RequestRecord) -> Value {
    let later = if record.state.is_under_way() { "not yet" } else { "not told" };
    let no_name = "no key was shown";
    let tokens = record.tokens;
    let whole = json!({
        "id": record.id, "at": record.at, "client": record.client.name(), "key": record.client.key,
        "program": record.client.program, "pid": record.client.pid, "dialect": record.dialect,
        "asked": record.asked, "server": record.server, "model": record.model, "role": record.role,
        "reason": record.why, "state": record.state, "queue_ms": record.queued_ms, "load_ms": record.load_ms,
        "first_token_ms": record.ttft_ms, "total_ms": record.total_ms, "decode_tok_s": record.decode_tok_s,
        "tokens_in": tokens.input, "tokens_cached": tokens.cached, "tokens_out": tokens.output,
        "counted": tokens.counted, "most_output": record.most_output, "finish": record.finish,
        "status": record.status, "error": record.error, "detail": record.detail, "streamed": record.streamed,
        "governed": record.governed, "changed": record.changed,
    });
    let no_error = if record.state.is_failure() { "not told" } else { "there is none" };
    with_reasons(
        whole,
        &[
            ("key", no_name),
            ("program", "the system does not tell"),
            ("pid", "the system does not tell"),
            ("asked", "the client named no model"),
            ("server", "no server was reached"),
            ("model", "no model was reached"),
            ("role", "it was not asked for by a role"),
            ("reason", "no model was reached"),
            ("queue_ms", later),
            ("load_ms", "nothing was loaded for it"),
            ("first_token_ms", later),
            ("total_ms", later),
            ("decode_tok_s", later),
            ("tokens_in", later),
            ("tokens_cached", later),
            ("tokens_out", later),
            ("most_output", "the client set no limit"),
            ("finish", later),
            ("status", later),
            ("error", no_error),
            ("detail", no_error),
        ],
    )
}

/// Of `traffic --totals`.
pub fn totals(totals: &TrafficTotals) -> Value {
    let of = |tally: &TallyView| {
        let reasons = ["tokens_in", "tokens_cached", "tokens_out", "ttft_ms", "ttft_p95_ms", "decode_tok_s"];
        with_reasons(json!(tally), &reasons.map(|field| (field, "no request told it")))
    };
    let named = |tally: &TallyView, names: &[(&str, &str)]| {
        let mut document = of(tally);
        if let Value::Object(fields) = &mut document {
            fields.extend(names.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        }
        document
    };
    let clients = totals.clients.iter().map(|one| named(&one.tally, &[("client", &one.client)]));
    let models = totals
        .models
        .iter()
        .map(|one| named(&one.tally, &[("server", one.server.as_str()), ("model", &one.model)]));
    json!({
        "since": totals.since, "until": totals.until, "all": of(&totals.all),
        "clients": clients.collect::<Vec<_>>(), "models": models.collect::<Vec<_>>(), "lost": totals.lost,
    })
}

pub fn run(run: &Run) -> Value {
    let reason = match run.state {
        RunState::Done if run.trials > 0 => "the server does not count its tokens",
        _ => "no trial that counts",
    };
    with_reasons(
        json!({
            "run_id": run.run_id,
            "started_at": run.started_at,
            "server": run.server,
            "model": run.model,
            "plan": run.plan.name,
            "state": run.state,
            "trials": run.trials,
            "warmups": run.warmups,
            "server_version": run.server_version,
            "decode_tok_s": run.decode_tok_s,
            "prefill_tok_s": run.prefill_tok_s,
            "ttft_ms": run.ttft_ms,
            "e2e_ms": run.e2e_ms,
            "disturbed": run.disturbed,
            "unsettled": run.unsettled,
            "marks": run.marks(),
            "against": run.against,
            "note": run.note,
        }),
        &[
            ("decode_tok_s", reason),
            ("prefill_tok_s", reason),
            ("ttft_ms", "no trial that counts"),
            ("e2e_ms", "no trial that counts"),
            ("against", "measured by itself"),
            ("server_version", "not reported by the server"),
        ],
    )
}

/// A run with all that makes it comparable.
pub fn bench(detail: &Run) -> Value {
    let Value::Object(mut fields) = run(detail) else {
        return Value::Null;
    };
    let more = with_reasons(
        json!({
            "server_decode_tok_s": detail.server_decode_tok_s,
            "server_prefill_tok_s": detail.server_prefill_tok_s,
            "peak_memory_bytes": detail.peak_memory_bytes,
            "peak_gpu_memory_bytes": detail.peak_gpu_memory_bytes,
            "energy_j_per_token": detail.energy_j_per_token,
            "fingerprint": detail.fingerprint,
        }),
        &[
            ("server_decode_tok_s", "not reported by the server"),
            ("server_prefill_tok_s", "not reported by the server"),
            ("peak_memory_bytes", "the server's process could not be measured"),
            ("peak_gpu_memory_bytes", "no card tells what it holds"),
            ("energy_j_per_token", "no card tells its power"),
        ],
    );
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    let results = [
        ("open_loop", json!(detail.open_loop), json!(detail.plan.arrivals)),
        ("conversation", json!(detail.conversation), json!({ "turns": detail.plan.turns })),
        ("replay", json!(detail.replay), json!(detail.plan.replay)),
    ];
    for (name, result, asked) in results {
        // What was asked for stands with what came of it.
        if let (Value::Object(mut result), Value::Object(asked)) = (result, asked) {
            for (field, value) in asked {
                result.entry(field).or_insert(value);
            }
            fields.insert(name.into(), Value::Object(result));
        }
    }
    if let Some(sweep) = &detail.sweep
        && let Value::Object(sweep) =
            with_reasons(json!(sweep), &[("best", "no level has its first tokens in time")])
    {
        fields.extend(sweep);
    }
    if let Some(loads) = &detail.loads {
        let absent = [("size_bytes", "not told by the server")];
        fields.insert("loads".into(), with_reasons(json!(loads), &absent));
    }
    if let Some(copies) = &detail.copies {
        fields.insert("copies".into(), json!(copies));
    }
    Value::Object(fields)
}

/// Two runs held against each other.
pub fn comparison(comparison: &Comparison) -> Value {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(comparison) else {
        return Value::Null;
    };
    fields.insert("a".into(), bench(&comparison.a));
    fields.insert("b".into(), bench(&comparison.b));
    let absent = [
        ("a", "not measured"),
        ("b", "not measured"),
        ("ratio", "too few values for an interval"),
        ("p", "too few values"),
        ("reason", "the interval and the figures say it"),
    ];
    if let Some(Value::Array(metrics)) = fields.get_mut("metrics") {
        for metric in metrics {
            *metric = with_reasons(metric.take(), &absent);
        }
    }
    Value::Object(fields)
}

/// `snapshot`: for the containers, which have a pace of their own.
pub fn gauges(gauges: &Gauges, snapshot: &Snapshot) -> Value {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(gauges) else {
        return Value::Null;
    };
    if let Some(Value::Array(gpus)) = fields.get_mut("gpus") {
        for gpu in gpus {
            *gpu = gpu_with_reasons(gpu.take());
        }
    }
    if let Some(Value::Array(servers)) = fields.get_mut("servers") {
        for server in servers {
            *server = with_reasons(
                server.take(),
                &[("memory_bytes", "not running"), ("cpu_percent", "needs two samples of a running process")],
            );
        }
    }
    // By the clock: the snapshot stands still with the gauges.
    fields.insert("stale_s".into(), json!(gauges.stale_s(Timestamp::now())));
    let list = snapshot.containers.as_ref().map(|containers| &containers.list[..]).unwrap_or_default();
    fields.insert("containers".into(), list.iter().map(container).collect());
    if snapshot.containers.is_none() {
        let reason = snapshot.containers_absent.as_deref().unwrap_or("not looked at yet");
        fields.insert("containers_absent".into(), json!(reason));
    }
    let fields = with_reasons(
        Value::Object(Map::from_iter(fields)),
        &[("memory_pressure", "only macOS tells such a level")],
    );
    let names = ["cpu_percent", "memory_used_bytes", "memory_total_bytes", "swap_used_bytes"];
    let reasons = names.map(|name| (name, "not read yet"));
    with_reasons(fields, &reasons)
}

/// A reading that is missing has its own reason, else that of the whole GPU, else that nobody tells it.
fn gpu_with_reasons(gpu: Value) -> Value {
    let whole = gpu.get("absent").and_then(Value::as_str).unwrap_or("not reported by the driver").to_owned();
    let names = [
        "load_percent",
        "memory_used_bytes",
        "memory_total_bytes",
        "power_w",
        "power_limit_w",
        "temperature_c",
        "clock_mhz",
        "memory_clock_mhz",
        "throttle",
    ];
    let vendor = gpu.get("vendor").and_then(Value::as_str).unwrap_or_default();
    let active = if vendor == "apple" { whole.as_str() } else { "the same as load_percent" };
    let gpu = with_reasons(gpu.clone(), &[("active_percent", active)]);
    with_reasons(gpu, &names.map(|name| (name, whole.as_str())))
}

fn container(one: &ContainerReading) -> Value {
    let silent = "not told by the engine";
    let still_up = "it has not ended";
    with_reasons(
        json!(one),
        &[
            ("memory_bytes", silent),
            ("memory_limit_bytes", "not running, or not told"),
            ("cpu_percent", "needs two readings of a running container"),
            ("exit_code", if one.state.is_up() { still_up } else { silent }),
            ("oom_killed", silent),
            ("restart_count", silent),
            ("restart_policy", silent),
            ("since", silent),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::gauge::GpuReading;

    #[test]
    fn each_missing_reading_of_a_gpu_says_why() {
        let mut reading = GpuReading { vendor: "intel".into(), power_w: Some(30.0), ..GpuReading::default() };
        reading.load_percent_absent = Some("single processes only".into());
        let told = gpu_with_reasons(json!(reading));
        assert_eq!(told["load_percent_absent"], "single processes only");
        assert_eq!(told["temperature_c_absent"], "not reported by the driver");
        assert_eq!(told["active_percent_absent"], "the same as load_percent");
        assert_eq!((told.get("power_w_absent"), &told["power_w"]), (None, &json!(30.0)));
        reading.absent = Some("asleep".into());
        let told = gpu_with_reasons(json!(reading));
        assert_eq!(
            (&told["clock_mhz_absent"], &told["throttle_absent"]),
            (&json!("asleep"), &json!("asleep"))
        );
    }

    #[test]
    fn a_null_gets_its_reason_and_a_value_does_not() {
        let document = with_reasons(
            json!({ "a": null, "b": 0, "c": null, "c_absent": "known" }),
            &[("a", "why"), ("b", "why"), ("c", "why"), ("d", "why")],
        );
        assert_eq!(document, json!({ "a": null, "a_absent": "why", "b": 0, "c": null, "c_absent": "known" }));
    }
}
