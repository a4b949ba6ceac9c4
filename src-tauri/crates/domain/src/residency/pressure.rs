//! Who gives way when the system's memory runs short.

use super::Spare;
use crate::{
    gauge::{Gauges, MemoryPressure},
    ledger::Ledger,
    model::ModelRef,
    scene::Priority,
    units::gigabytes,
};

/// Whoever was used within so many seconds is not idle.
pub const IDLE_S: f64 = 30.0;

/// A role's model that may leave and come back with the next request: not pinned, not active, without answers.
#[derive(Debug, Clone, PartialEq)]
pub struct IdleRole {
    pub model: ModelRef,
    pub priority: Priority,
    pub idle_s: f64,
}

/// That memory is short, in words; `None`: it is not, or nothing tells.
pub fn shortage(gauges: Option<&Gauges>, ledger: Option<&Ledger>) -> Option<String> {
    match gauges.and_then(|gauges| gauges.memory_pressure) {
        Some(MemoryPressure::Warning) => return Some("the system warns of short memory".into()),
        Some(MemoryPressure::Critical) => {
            return Some("the system says that memory is critically short".into());
        }
        Some(MemoryPressure::Normal) | None => {}
    }
    let ledger = ledger?;
    let most = ledger.ceiling.bytes.saturating_sub(ledger.reserve_bytes);
    let over = ledger.in_use_bytes.checked_sub(most).filter(|over| *over > 0)?;
    Some(format!("{} more is in use than leaves the reserve", gigabytes(over)))
}

/// The next one that leaves: idle models on request by their value first, then idle background roles, the longest idle first. Nobody
/// of higher priority, and nobody who was used a moment ago.
pub fn gives_way(spare: &[Spare], roles: &[IdleRole]) -> Option<ModelRef> {
    let idle = spare.iter().filter(|spare| spare.idle_s >= IDLE_S);
    let by_value =
        idle.max_by(|a, b| a.value().total_cmp(&b.value())).map(|spare| spare.leaver.model.clone());
    let background =
        || roles.iter().filter(|role| role.priority == Priority::Background && role.idle_s >= IDLE_S);
    by_value
        .or_else(|| background().max_by(|a, b| a.idle_s.total_cmp(&b.idle_s)).map(|role| role.model.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::residency::Leaver;

    fn spare(name: &str, idle_s: f64, load_s: f64) -> Spare {
        let model = ModelRef::new("ollama", name);
        Spare {
            leaver: Leaver { model, instance: name.into(), bytes: Some(1_000_000_000) },
            idle_s,
            load_s: Some(load_s),
        }
    }

    fn role(name: &str, priority: Priority, idle_s: f64) -> IdleRole {
        IdleRole { model: ModelRef::new("ollama", name), priority, idle_s }
    }

    #[test]
    fn models_on_request_leave_first_then_background_roles_and_never_anybody_else() {
        use Priority::{Background, Critical, Normal};
        let cases: [(&[Spare], &[IdleRole], Option<&str>); 7] = [
            (&[], &[], None),
            (&[spare("new", 29.0, 1.0)], &[], None),
            (
                &[spare("dear", 900.0, 60.0), spare("cheap", 600.0, 2.0)],
                &[role("r", Background, 9e9)],
                Some("cheap"),
            ),
            (&[spare("new", 5.0, 1.0)], &[role("r", Background, 40.0)], Some("r")),
            (&[], &[role("a", Critical, 9e9), role("b", Normal, 9e9)], None),
            (&[], &[role("a", Background, 50.0), role("b", Background, 90.0)], Some("b")),
            (&[], &[role("a", Background, 10.0)], None),
        ];
        for (spare, roles, expected) in cases {
            let found = gives_way(spare, roles).map(|model| model.model);
            assert_eq!(found.as_deref(), expected, "{spare:?} {roles:?}");
        }
    }

    #[test]
    fn memory_is_short_when_the_system_says_so_or_the_reserve_is_used() {
        let ledger = |in_use_gb: u64| Ledger {
            at: crate::Timestamp::UNIX_EPOCH,
            pools: vec![],
            ceiling: crate::machine::Ceiling { bytes: 28_000_000_000, source: "x".into(), on_gpu: true },
            in_use_bytes: in_use_gb * 1_000_000_000,
            reserve_bytes: 1_000_000_000,
            headroom_bytes: 0,
            unknown: vec![],
        };
        assert_eq!(shortage(None, None), None);
        assert_eq!(shortage(None, Some(&ledger(27))), None);
        assert_eq!(
            shortage(None, Some(&ledger(29))).as_deref(),
            Some("2.00 GB more is in use than leaves the reserve")
        );
    }
}
