use super::{Leases, Target};
use tokio_util::sync::CancellationToken;

/// The right to one answer of an instance, for as long as it lives.
pub struct Lease {
    pub(crate) target: Target,
    pub(crate) role: Option<String>,
    pub(crate) number: u64,
    pub(crate) cut: CancellationToken,
    /// Whether it is somebody's use of the model, and no question of our own.
    pub(crate) counts: bool,
    pub(crate) owner: Leases,
}

impl Lease {
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The role that was asked for, or that the alias which was asked for stands for; `None`: a model by its own name.
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// Cancelled when the answer must end now, because its model leaves memory.
    pub fn cut(&self) -> &CancellationToken {
        &self.cut
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let owner = self.owner.clone();
        owner.give_back(self);
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("number", &self.number).field("target", &self.target).finish()
    }
}
