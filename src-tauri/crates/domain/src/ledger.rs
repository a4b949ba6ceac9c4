//! Who holds how much memory: every pool of the machine, divided among its tenants, and what models may still take.
//!
//! Nothing is counted twice. Each byte in use belongs to one tenant; what no tenant is known for is "everything else". A
//! mapped model file is cache to the system, which calls it available, but the model needs it: it is a tenant of its own,
//! beside what is in use. Where GPU and processor share memory there is one pool, and a GPU buffer is part of it.

#[cfg(test)]
mod fixtures;
mod pools;
mod readings;
mod tenants;
#[cfg(test)]
mod tests;

pub use readings::{KnownServer, Readings};
pub use tenants::{Certainty, Pool, Tenant, TenantKind};

use crate::{
    Timestamp,
    machine::{Ceiling, Machine, MemoryKind},
    model::ModelRef,
};
use pools::MEMORY;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Kept free under the ceiling: what else wants the memory in the next moment (reference: telemetry, section 6.3).
pub const RESERVE: u64 = 1 << 30;

/// The memory of the machine at one moment. `in_use + reserve + headroom` is the ceiling, unless more is in use than that
/// allows: then the headroom is 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Ledger {
    #[ts(type = "string")]
    pub at: Timestamp,
    /// The pool for models first.
    pub pools: Vec<Pool>,
    /// The most that models may take.
    pub ceiling: Ceiling,
    /// Of the ceiling, what nobody can take any more.
    pub in_use_bytes: u64,
    pub reserve_bytes: u64,
    /// What one more model may take now.
    pub headroom_bytes: u64,
    /// What is not in the figures although it may hold memory, in words.
    pub unknown: Vec<String>,
}

/// A model in memory, and what would be free without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    pub model: ModelRef,
    pub title: String,
    pub bytes: u64,
}

impl Ledger {
    /// As it is for a model that the settings keep on the processor. `None`: models are placed in the machine's memory anyway.
    pub fn on_processor(&self) -> Option<Self> {
        let memory = self.pools.iter().position(|pool| pool.title == MEMORY && !pool.for_models)?;
        let mut ledger = self.clone();
        for (index, pool) in ledger.pools.iter_mut().enumerate() {
            pool.for_models = index == memory;
        }
        let pool = ledger.pools.remove(memory);
        let (bytes, in_use_bytes) = (pool.total_bytes, pool.used_bytes);
        ledger.pools.insert(0, pool);
        let source = "memory of the machine: the settings keep it off the GPU".into();
        ledger.ceiling = Ceiling { bytes, source, on_gpu: false };
        ledger.in_use_bytes = in_use_bytes;
        ledger.headroom_bytes = bytes.saturating_sub(in_use_bytes).saturating_sub(RESERVE);
        Some(ledger)
    }

    /// The models that hold memory where models are placed, with the files that they map.
    pub fn residents(&self) -> Vec<Resident> {
        let mut residents: Vec<Resident> = Vec::new();
        let pool = self.pools.iter().find(|pool| pool.for_models);
        for tenant in pool.into_iter().flat_map(|pool| &pool.tenants) {
            let (Some(server), Some(model)) = (&tenant.server, &tenant.model) else { continue };
            let model = ModelRef { server: server.clone(), model: model.clone() };
            match residents.iter_mut().find(|resident| resident.model == model) {
                Some(resident) => resident.bytes += tenant.bytes,
                None => {
                    residents.push(Resident { model, title: tenant.title.clone(), bytes: tenant.bytes });
                }
            }
        }
        residents
    }
}

/// Draws up the ledger. `None`: the machine's memory could not be read.
pub fn ledger(readings: &Readings<'_>, machine: &Machine) -> Option<Ledger> {
    let gauges = readings.gauges;
    let ceiling = machine.ceiling_under(gauges.memory_limit.as_ref());
    let mut unknown = Vec::new();
    let memory = pools::memory(readings, &mut unknown)?;
    let gpus: Vec<Pool> = gauges.gpus.iter().filter_map(|gpu| pools::gpu(readings, gpu)).collect();
    let shared = machine.memory_kind == MemoryKind::Unified;
    let largest = gpus.iter().enumerate().max_by_key(|(_, pool)| pool.total_bytes).map(|(index, _)| index);
    let in_use_bytes = match (ceiling.on_gpu, largest) {
        (true, Some(index)) if !shared => gpus[index].used_bytes,
        // The GPU may take no more than its limit, and no more than is free of the memory that it shares.
        (true, _) => {
            let sharing = gauges.gpus.iter().filter(|gpu| gpu.memory_shared);
            let on_gpu = sharing.filter_map(|gpu| gpu.memory_used_bytes).max().unwrap_or_default();
            let free = ceiling.bytes.saturating_sub(on_gpu).min(memory.free_bytes);
            ceiling.bytes - free
        }
        (false, _) => ceiling.bytes.saturating_sub(memory.free_bytes),
    };
    let mut pools: Vec<Pool> = std::iter::once(memory).chain(gpus).collect();
    let first = match (ceiling.on_gpu && !shared, largest) {
        (true, Some(index)) => index + 1,
        _ => 0,
    };
    pools[first].for_models = true;
    pools[..=first].rotate_right(1);
    Some(Ledger {
        at: gauges.at,
        pools,
        headroom_bytes: ceiling.bytes.saturating_sub(in_use_bytes).saturating_sub(RESERVE),
        ceiling,
        in_use_bytes,
        reserve_bytes: RESERVE,
        unknown,
    })
}
