//! What the request for another active model means beside what is active and under way.

use crate::model::ModelRef;

/// A transaction that has not ended yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    pub to: ModelRef,
    /// Somebody cancelled it: it will not bring what it was begun for.
    pub cancelled: bool,
}

/// What is done about a request whose model is known to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing: it is active and answers.
    AlreadyActive,
    /// It shares the outcome of the transaction under way, which has the same aim.
    Join,
    /// The transaction under way is cancelled and put back, then it begins.
    Supersede,
    Begin,
}

/// `active`: the active model, if it answers now.
pub fn arrive(wanted: &ModelRef, active: Option<&ModelRef>, under_way: Option<&UnderWay>) -> Arrival {
    match under_way {
        Some(running) if running.to == *wanted && !running.cancelled => Arrival::Join,
        Some(_) => Arrival::Supersede,
        None if active == Some(wanted) => Arrival::AlreadyActive,
        None => Arrival::Begin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_requests_join_unequal_ones_take_over_and_the_active_model_is_left_in_peace() {
        let model = |name: &str| ModelRef { server: "ollama".into(), model: name.into() };
        let (a, b, c) = (model("a"), model("b"), model("c"));
        let to = |to: &ModelRef, cancelled| UnderWay { to: to.clone(), cancelled };
        let cases = [
            (&b, Some(&a), None, Arrival::Begin),
            (&b, None, None, Arrival::Begin),
            (&a, Some(&a), None, Arrival::AlreadyActive),
            (&b, Some(&a), Some(to(&b, false)), Arrival::Join),
            (&c, Some(&a), Some(to(&b, false)), Arrival::Supersede),
            // Back to the active model while another is on its way: that is the wish to have it put back.
            (&a, Some(&a), Some(to(&b, false)), Arrival::Supersede),
            (&b, Some(&a), Some(to(&b, true)), Arrival::Supersede),
        ];
        for (wanted, active, under_way, expected) in cases {
            assert_eq!(arrive(wanted, active, under_way.as_ref()), expected, "{wanted} beside {under_way:?}");
        }
    }
}
