use super::world::FakeServer;
use pilothouse_domain::hang::Slot;

impl FakeServer {
    /// Its slots as it would tell them now.
    pub(super) fn slots_now(&self) -> Option<Vec<Slot>> {
        let world = self.lock();
        let count = world.slots?;
        let orphans = world.orphans.iter().map(|(since, moving)| match moving {
            true => since.elapsed().as_millis() as u64,
            false => 0,
        });
        let busy: Vec<u64> = orphans.chain(world.answers.values().copied()).collect();
        let slot = |id: u32| {
            let done = busy.get(id as usize).copied();
            Slot {
                id,
                busy: done.is_some(),
                task: done.map(|_| i64::from(id)),
                done: done.unwrap_or_default(),
            }
        };
        Some((0..count).map(slot).collect())
    }
}
