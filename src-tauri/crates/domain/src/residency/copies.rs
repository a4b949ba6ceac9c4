//! Copies of a model that nobody needs.

use crate::{
    model::{Instance, ModelRef},
    server::ServerId,
};
use std::collections::{BTreeMap, BTreeSet};

/// Copies beside the one that answers, where a model is in memory several times. `used`: the copies that names stand for, by server and
/// identifier; they stay. Where none of a model is used the one with the shortest identifier stays, which is the first: further ones get
/// a number behind it (LM Studio: `model:2`).
pub fn extra_copies<'a>(instances: &'a [Instance], used: &BTreeSet<(ServerId, String)>) -> Vec<&'a Instance> {
    let is_used = |one: &Instance| used.contains(&(one.server.clone(), one.id.clone()));
    let mut copies: BTreeMap<ModelRef, Vec<&Instance>> = BTreeMap::new();
    for one in instances {
        copies.entry(ModelRef::new(one.server.clone(), one.model.clone())).or_default().push(one);
    }
    let extra = copies.into_values().filter(|copies| copies.len() > 1).flat_map(|mut copies| {
        copies.sort_by_key(|one| (!is_used(one), one.id.len(), one.id.clone()));
        // The first stays in any case.
        copies.into_iter().skip(1).filter(|one| !is_used(one))
    });
    extra.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tray::fixtures::instance;

    #[test]
    fn of_several_copies_those_that_answer_stay_else_the_first() {
        let copy =
            |server: &str, model: &str, id: &str| Instance { id: id.into(), ..instance(server, model) };
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);
        let cases: [Case<'_>; 7] = [
            (&[], &[], &[]),
            (&[("a", "a"), ("b", "b")], &[], &[]),
            (&[("a", "a"), ("a", "a:2")], &[], &["a:2"]),
            (&[("a", "a:10"), ("a", "a:2"), ("a", "a")], &["a"], &["a:2", "a:10"]),
            (&[("a", "a"), ("a", "a:2")], &["a:2"], &["a"]),
            // Two roles may each stand for one.
            (&[("a", "a"), ("a", "a:2"), ("a", "a:3")], &["a", "a:3"], &["a:2"]),
            (&[("a", "a"), ("b", "b:2"), ("b", "b")], &["a"], &["b:2"]),
        ];
        for (there, used, expected) in cases {
            let there: Vec<Instance> = there.iter().map(|(model, id)| copy("lmstudio", model, id)).collect();
            let used = used.iter().map(|id| (ServerId::new("lmstudio"), (*id).to_owned())).collect();
            let found: Vec<&str> = extra_copies(&there, &used).iter().map(|one| one.id.as_str()).collect();
            assert_eq!(found, expected, "{used:?}");
        }
        let elsewhere = [copy("ollama", "a", "a"), copy("lmstudio", "a", "a")];
        assert!(extra_copies(&elsewhere, &BTreeSet::new()).is_empty(), "each is one on its server");
    }
}
