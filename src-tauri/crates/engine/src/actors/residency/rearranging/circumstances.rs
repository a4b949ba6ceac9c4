//! What a rearrangement is planned by, and its plan as people see it.

use super::{Order, Purpose, Target};
use crate::actors::residency::{ResidencyWiring, holding::Holding};
use pilothouse_domain::{
    error::ApiError,
    model::{Instance, LoadSettings, ModelRef},
    residency::{
        Arrangement, ArrangementPlan, Circumstances, InMemory, Leaver, Move, Piece, TooMuch, arrange, offers,
    },
    scene::{SceneOffer, ScenePlan, ScenePlanStep},
    snapshot::Snapshot,
};
use std::collections::BTreeMap;

pub(super) fn name_of(one: &Move) -> &'static str {
    match one {
        Move::Unload(_) => "unload",
        Move::Load(_) => "load",
        Move::Prove(_) => "prove",
        Move::Commit => "commit",
    }
}

/// Whether what is wanted is in memory, and as it is wanted.
pub(in crate::actors::residency) fn in_memory(
    snapshot: &Snapshot,
    target: &Target,
    holding: &Holding,
) -> InMemory {
    match &target.instance {
        None => InMemory::No,
        Some(_) if snapshot.is_remote(&target.model.server) => InMemory::Yes,
        Some(instance) => {
            as_wanted(instance, &target.with, holding.loaded_with.get(&target.model.reference()))
        }
    }
}

/// The first of what has to be loaded that its server cannot be given so, in the order in which the servers are looked at. A change that
/// is under way asks them itself.
fn cannot_be_loaded(around: &ResidencyWiring, order: &Order, holding: &Holding) -> Option<ApiError> {
    let snapshot = around.hub.now();
    let mut loads: Vec<&Target> = order
        .targets
        .iter()
        .filter(|target| in_memory(&snapshot, target, holding) != InMemory::Yes)
        .collect();
    loads.sort_by(|a, b| a.model.server.cmp(&b.model.server));
    loads
        .into_iter()
        .find_map(|target| around.supervisor(&target.model.server).ok()?.cannot_load_with(&target.with))
}

/// What is planned by, with the instances that the order has found. Errors: not_ours, where a model is in memory otherwise than it is
/// wanted and somebody else has loaded it.
pub(super) fn circumstances(
    around: &ResidencyWiring,
    order: &Order,
    before: &Arrangement,
    holding: &Holding,
) -> Result<Circumstances, ApiError> {
    let snapshot = around.hub.now();
    let residents = snapshot.ledger.as_ref().map(|ledger| ledger.residents()).unwrap_or_default();
    let holds = |model: &ModelRef| {
        let resident = residents.iter().find(|one| one.model == *model).map(|one| one.bytes);
        let view = snapshot.models.iter().find(|view| view.model.reference() == *model);
        resident.or_else(|| view?.needed_bytes.or(view?.model.size_bytes))
    };
    let leaver = |instance: &Instance| {
        let model = ModelRef { server: instance.server.clone(), model: instance.model.clone() };
        Leaver { bytes: holds(&model), instance: instance.id.clone(), model }
    };
    let ours = before.models();
    let is_ours = |model: &ModelRef| ours.contains(model) || holding.on_request.contains_key(model);
    let mut wanted = vec![];
    for target in &order.targets {
        let model = target.model.reference();
        let in_memory = in_memory(&snapshot, target, holding);
        if in_memory == InMemory::Otherwise && !is_ours(&model) {
            return Err(loaded_by_others(&snapshot, &model));
        }
        let bytes = match in_memory {
            InMemory::Otherwise => target.bytes,
            InMemory::Yes | InMemory::No => target.bytes.or_else(|| holds(&model)),
        };
        let bytes = bytes.filter(|_| !snapshot.is_remote(&model.server));
        let (with, load_s, roles) = (target.with, target.load_s, target.roles.clone());
        let held_bytes = holds(&model).filter(|_| in_memory == InMemory::Otherwise);
        wanted.push(Piece { model, with, bytes, held_bytes, load_s, in_memory, roles });
    }
    let stays = |model: &ModelRef| {
        order.targets.iter().any(|target| target.model.reference() == *model)
            || holding.pins.contains(model)
            || holding.on_request.contains_key(model)
            || order.stays_beside(before, model)
    };
    let listed = snapshot.instances.iter().filter(|one| !snapshot.is_remote(&one.server));
    let (mut leaves, mut others) = (vec![], vec![]);
    for instance in listed {
        let one = leaver(instance);
        if let Some(leaving) = order.purpose.leaves() {
            if one.model == *leaving {
                leaves.push(one);
            }
        } else if matches!(order.purpose, Purpose::Wish(_) | Purpose::Again(_)) {
            // Nothing of what is held leaves for it.
        } else if ours.contains(&one.model) && !stays(&one.model) {
            leaves.push(one);
        } else if !ours.contains(&one.model)
            && !order.targets.iter().any(|t| t.model.reference() == one.model)
        {
            others.push(one);
        }
    }
    let spare = order
        .spare
        .iter()
        .filter(|spare| !order.targets.iter().any(|t| t.model.reference() == spare.leaver.model));
    let spare: Vec<_> = spare.cloned().collect();
    others.retain(|one| !spare.iter().any(|spare| spare.leaver.model == one.model));
    // Evicting gives their bytes back as they are held, which the ledger knows best.
    let free_bytes = snapshot.ledger.as_ref().map(|ledger| ledger.headroom_bytes);
    Ok(Circumstances { wanted, leaves, spare, free_bytes, others })
}

/// The moves. Errors: does_not_fit, with the arithmetic; not_ours.
pub(super) fn plan(
    around: &ResidencyWiring,
    order: &Order,
    before: &Arrangement,
    holding: &Holding,
) -> Result<ArrangementPlan, ApiError> {
    if order.purpose == Purpose::Deactivate {
        return Ok(ArrangementPlan {
            moves: vec![Move::Commit],
            evicted: vec![],
            free_bytes: None,
            takes_s: None,
        });
    }
    let now = circumstances(around, order, before, holding)?;
    let plan = arrange(&now).map_err(|too_much| refusal(around, order, &too_much))?;
    Ok(match order.purpose.leaves() {
        // It leaves first: where that fails, all is as it was.
        Some(model) => ArrangementPlan { moves: vec![Move::Unload(model.clone()), Move::Commit], ..plan },
        None => plan,
    })
}

/// What applying it would do, or why it cannot be done, in the words in which doing it would be refused; with what is known now, nothing
/// is asked or started.
pub(in crate::actors::residency) fn plan_view(
    around: &ResidencyWiring,
    order: &Order,
    before: &Arrangement,
    holding: &Holding,
) -> ScenePlan {
    let snapshot = around.hub.now();
    let bytes_of = |model: &ModelRef| {
        order.targets.iter().find(|target| target.model.reference() == *model).and_then(|target| target.bytes)
    };
    let mut role_bytes = BTreeMap::new();
    for target in &order.targets {
        for role in &target.roles {
            role_bytes.insert(role.clone(), bytes_of(&target.model.reference()));
        }
    }
    let needed_bytes = order.targets.iter().map(|target| target.bytes).sum();
    let mut view = ScenePlan {
        fits: None,
        refusal: None,
        shortfall_bytes: None,
        offers: vec![],
        steps: vec![],
        role_bytes,
        needed_bytes,
        free_bytes: None,
        takes_s: None,
        evicted: vec![],
        untouched: vec![],
    };
    let possible = cannot_be_loaded(around, order, holding).map_or(Ok(()), Err);
    let now = match possible.and_then(|()| circumstances(around, order, before, holding)) {
        Ok(now) => now,
        Err(error) => return ScenePlan { fits: Some(false), refusal: Some(error), ..view },
    };
    view.untouched = now
        .wanted
        .iter()
        .filter(|piece| piece.in_memory == InMemory::Yes)
        .flat_map(|piece| piece.roles.clone())
        .collect();
    match arrange(&now) {
        Ok(plan) => {
            view.fits = plan.free_bytes.map(|_| true);
            view.free_bytes = plan.free_bytes;
            view.takes_s = plan.takes_s;
            let leaves = plan.moves.iter().filter_map(|one| match one {
                Move::Unload(model) if !now.wanted.iter().any(|piece| piece.model == *model) => {
                    Some(model.clone())
                }
                _ => None,
            });
            view.evicted = leaves.collect();
            view.steps = plan.moves.iter().map(|one| step(&snapshot, &now, one)).collect();
            view
        }
        Err(too_much) => refused(around, &snapshot, order, &now, &too_much, view),
    }
}

/// In the words for it: a switch has no roles to leave out.
fn refusal(around: &ResidencyWiring, order: &Order, too_much: &TooMuch) -> ApiError {
    let error = too_much.error(&order.purpose.title(around));
    match order.purpose.switch() {
        Some(_) => {
            error.hint("Load it with less, choose a smaller model, or unload what others have loaded.")
        }
        None => error,
    }
}

fn refused(
    around: &ResidencyWiring,
    snapshot: &Snapshot,
    order: &Order,
    now: &Circumstances,
    too_much: &TooMuch,
    view: ScenePlan,
) -> ScenePlan {
    let title = |model: &ModelRef| snapshot.model_title(&model.server, &model.model);
    let mut all = vec![];
    for offer in offers(now, too_much.short_bytes) {
        let frees_bytes = offer.frees_bytes;
        let enough = offer.enough;
        match (offer.unload, offer.roles.as_slice()) {
            (Some(model), _) => {
                let what = format!("Unload {} first", title(&model));
                let unload = Some(model);
                all.push(SceneOffer { what, without_role: None, unload, smaller: None, frees_bytes, enough });
            }
            // Two roles with one model: leaving one of them out frees nothing.
            (None, [role]) if order.purpose.switch().is_none() => {
                let what = format!("Without {role}");
                let without_role = Some(role.clone());
                all.push(SceneOffer { what, without_role, unload: None, smaller: None, frees_bytes, enough });
            }
            (None, _) => {}
        }
    }
    let refusal = Some(refusal(around, order, too_much));
    let shortfall_bytes = Some(too_much.short_bytes);
    ScenePlan { fits: Some(false), refusal, shortfall_bytes, offers: all, ..view }
}

fn step(snapshot: &Snapshot, now: &Circumstances, one: &Move) -> ScenePlanStep {
    let piece = |model: &ModelRef| now.wanted.iter().find(|piece| piece.model == *model);
    let (model, bytes, seconds) = match one {
        Move::Commit => (None, None, None),
        Move::Load(model) => {
            let piece = piece(model);
            (Some(model), piece.and_then(|piece| piece.bytes), piece.and_then(|piece| piece.load_s))
        }
        Move::Prove(model) => (Some(model), None, None),
        Move::Unload(model) => {
            let leaver = now.leaves.iter().chain(now.spare.iter().map(|spare| &spare.leaver));
            let bytes = leaver.filter(|one| one.model == *model).find_map(|one| one.bytes);
            (
                Some(model),
                bytes.or_else(|| piece(model).and_then(|piece| piece.held_bytes.or(piece.bytes))),
                None,
            )
        }
    };
    ScenePlanStep {
        name: name_of(one).into(),
        title: model.map(|model| snapshot.model_title(&model.server, &model.model)),
        model: model.cloned(),
        bytes,
        seconds,
    }
}

/// Whether an instance is as it is wanted. `before`: with what we have loaded it, if we have.
fn as_wanted(instance: &Instance, with: &LoadSettings, before: Option<&LoadSettings>) -> InMemory {
    let alike = match before {
        Some(before) => before == with,
        None => {
            let context = with.context.is_none() || instance.context == with.context;
            let parallel = with.parallel.is_none() || instance.slots == with.parallel;
            // How its cache is kept no server tells.
            context && parallel && with.kv_type.is_none()
        }
    };
    if alike { InMemory::Yes } else { InMemory::Otherwise }
}

fn loaded_by_others(snapshot: &Snapshot, model: &ModelRef) -> ApiError {
    use pilothouse_domain::error::ErrorCode;
    let title = snapshot.model_title(&model.server, &model.model);
    let server = snapshot.server_title(&model.server);
    let text =
        format!("{title} is in memory on {server} with other settings, and somebody else has loaded it.");
    ApiError::new(ErrorCode::NotOurs, text)
        .hint("Unload it first, or leave context, requests at a time and KV type out.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{anatomy::KvType, model::Expiry};

    #[test]
    fn an_instance_is_as_wanted_only_where_that_can_be_told() {
        let instance = |context, slots| Instance {
            id: "a".into(),
            server: "s".into(),
            model: "a".into(),
            memory_bytes: None,
            gpu_memory_bytes: None,
            context,
            expiry: Expiry::Never,
            pid: None,
            port: None,
            slots,
            orphaned_answers: None,
        };
        let with = |context, parallel, kv_type| LoadSettings { context, parallel, kv_type };
        let usual = LoadSettings::default();
        let cases = [
            (instance(Some(4096), Some(1)), usual, None, true),
            (instance(Some(4096), Some(1)), with(Some(4096), None, None), None, true),
            (instance(Some(4096), Some(1)), with(Some(8192), None, None), None, false),
            (instance(None, None), with(Some(8192), None, None), None, false),
            (instance(Some(4096), Some(4)), with(None, Some(4), None), None, true),
            (instance(Some(4096), Some(1)), with(None, Some(4), None), None, false),
            (instance(Some(4096), Some(1)), with(None, None, Some(KvType::Q8_0)), None, false),
            // What we have loaded ourselves is known.
            (
                instance(None, None),
                with(None, None, Some(KvType::Q8_0)),
                Some(with(None, None, Some(KvType::Q8_0))),
                true,
            ),
            (instance(Some(8192), None), usual, Some(with(Some(8192), None, None)), false),
        ];
        for (instance, wanted, before, yes) in cases {
            let found = as_wanted(&instance, &wanted, before.as_ref()) == InMemory::Yes;
            assert_eq!(found, yes, "{instance:?} {wanted:?} {before:?}");
        }
    }
}
