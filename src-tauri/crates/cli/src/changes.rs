//! The documents of what changes memory: switches, scenes, and what takes them back.

use crate::document::with_reasons;
use pilothouse_domain::{
    scene::SceneReport,
    switch::{Active, SwitchReport},
};
use serde_json::{Value, json};

const OF_A_SWITCH: [(&str, &str); 7] = [
    ("switch_id", "it is no switch to a model"),
    ("from", "no model was active"),
    ("to", "no model is active"),
    ("load_ms", "no load has ended"),
    ("first_token_ms", "no token was waited for"),
    ("reason", "it went as planned"),
    // Of what is taken back.
    ("scene", "it goes back to what was there before"),
];

pub fn switch(report: &SwitchReport) -> Value {
    with_reasons(json!(report), &OF_A_SWITCH)
}

/// The fields of a switch for what is none: a deactivation, or a scene that was taken back. `from`, `to`: what was active before it
/// and is after it; `more` goes before the usual values.
pub fn as_switch(from: Option<&Active>, to: Option<&Active>, more: Value) -> Value {
    let mut fields = json!({
        "switch_id": null, "from": from, "to": to, "load_ms": null, "first_token_ms": null, "steps": [], "reason": null,
    });
    if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
        fields.extend(more);
    }
    with_reasons(fields, &OF_A_SWITCH)
}

/// What applying a scene did, under the name that it was asked for by. A failure is its reason, as with a switch.
pub fn scene_report(name: &str, report: &SceneReport) -> Value {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(report) else {
        return Value::Null;
    };
    let failed = report.error.iter().map(|error| error.message.as_str());
    let reasons: Vec<&str> = failed.chain(report.reason.as_deref()).collect();
    if !reasons.is_empty() {
        fields.insert("reason".into(), json!(reasons.join(" ")));
    }
    fields.insert("scene".into(), json!(report.scene.as_deref().unwrap_or(name)));
    with_reasons(Value::Object(fields), &[("reason", "it went as planned")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{error::ApiError, switch::SwitchOutcome};

    #[test]
    fn what_is_no_switch_has_its_fields_and_says_why_one_is_empty() {
        let active = Active { server: "ollama".into(), model: "a".into(), instance: "a".into() };
        let done =
            as_switch(Some(&active), None, json!({ "outcome": "committed", "took_ms": 5, "load_ms": 3 }));
        assert_eq!((&done["from"]["model"], &done["load_ms"]), (&json!("a"), &json!(3)));
        for field in ["switch_id", "to", "first_token_ms", "reason"] {
            assert!(done[field].is_null() && done[format!("{field}_absent")].is_string(), "{field}: {done}");
        }
        for field in ["from_absent", "load_ms_absent"] {
            assert_eq!(done.get(field), None, "{field}");
        }
    }

    #[test]
    fn a_scene_is_told_by_the_name_that_was_asked_for_and_fails_with_its_reasons() {
        let mut report = SceneReport {
            scene: None,
            outcome: SwitchOutcome::Committed,
            dry_run: false,
            took_ms: 1,
            steps: vec![],
            loaded: vec![],
            evicted: vec![],
            answers_cut: 0,
            journalled: true,
            reason: None,
            error: None,
        };
        let told = scene_report("Restore", &report);
        assert_eq!(
            (&told["scene"], &told["reason_absent"]),
            (&json!("Restore"), &json!("it went as planned"))
        );
        report.outcome = SwitchOutcome::RolledBack;
        report.scene = Some("Hybrid".into());
        report.error = Some(ApiError::internal("It is damaged."));
        assert_eq!(scene_report("hybrid", &report)["reason"], "It is damaged.");
        report.reason = Some("a could not be put back.".into());
        let told = scene_report("hybrid", &report);
        assert_eq!(told["reason"], "It is damaged. a could not be put back.");
        assert_eq!((&told["scene"], told.get("reason_absent")), (&json!("Hybrid"), None));
    }
}
