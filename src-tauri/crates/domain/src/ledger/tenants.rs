//! A memory and who holds how much of it.

use crate::server::ServerId;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What holds a part of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum TenantKind {
    /// An instance: weights, cache and buffers of one model in memory.
    Instance,
    /// Files that loaded models read through the page cache.
    MappedFiles,
    /// What a server uses beside its instances.
    Server,
    /// A process with a model whose Ollama has died without it.
    Orphan,
    Containers,
    Pilothouse,
    /// The system and all other programs: what is in use and belongs to nobody above.
    Other,
}

/// How well the figure of a tenant is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum Certainty {
    /// Read from the system.
    Measured,
    /// The server says so.
    Reported,
    /// Reckoned from the size of its weights.
    Estimated,
    /// What remains of a measured whole.
    Remainder,
}

/// One part of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Tenant {
    pub kind: TenantKind,
    /// As people read it: "SmolLM2 135M", "Ollama", "Containers".
    pub title: String,
    pub server: Option<ServerId>,
    /// Of an instance: the model's name on its server.
    pub model: Option<String>,
    pub bytes: u64,
    pub certainty: Certainty,
    /// Where the figure comes from, in words.
    pub source: String,
}

/// One memory, divided without a rest: tenants and free bytes add up to the total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Pool {
    /// "Memory", or the name of the GPU.
    pub title: String,
    /// Models are placed here.
    pub for_models: bool,
    pub total_bytes: u64,
    /// All tenants together.
    pub used_bytes: u64,
    pub free_bytes: u64,
    /// In the order of their kinds; the largest of a kind first.
    pub tenants: Vec<Tenant>,
}

pub(super) fn sum(tenants: &[Tenant], wanted: impl Fn(TenantKind) -> bool) -> u64 {
    tenants.iter().filter(|tenant| wanted(tenant.kind)).map(|tenant| tenant.bytes).sum()
}

/// The pool in order. Readings of different moments can exceed the whole by a little; that is taken off what is known
/// least.
pub(super) fn divided(title: &str, total: u64, mut tenants: Vec<Tenant>) -> Pool {
    let mut surplus = sum(&tenants, |_| true).saturating_sub(total);
    let least_known = [
        TenantKind::Other,
        TenantKind::MappedFiles,
        TenantKind::Containers,
        TenantKind::Server,
        TenantKind::Orphan,
        TenantKind::Pilothouse,
        TenantKind::Instance,
    ];
    for kind in least_known {
        for tenant in tenants.iter_mut().filter(|tenant| tenant.kind == kind) {
            let less = surplus.min(tenant.bytes);
            tenant.bytes -= less;
            surplus -= less;
        }
    }
    tenants.retain(|tenant| tenant.bytes > 0);
    tenants.sort_by(|a, b| (a.kind, b.bytes, &a.title).cmp(&(b.kind, a.bytes, &b.title)));
    let used_bytes = sum(&tenants, |_| true);
    Pool {
        title: title.to_owned(),
        for_models: false,
        total_bytes: total,
        used_bytes,
        free_bytes: total - used_bytes,
        tenants,
    }
}
