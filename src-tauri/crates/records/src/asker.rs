use pilothouse_domain::traffic::RequestRecord;
use std::sync::{Arc, OnceLock};

/// The program that asks. It is looked for while its request goes its way: known a moment after its connection began, or
/// never. Clones mean the same one.
#[derive(Debug, Clone, Default)]
pub struct Asker(Arc<OnceLock<(String, u32)>>);

impl Asker {
    /// What was found out; the first word holds.
    pub fn is(&self, program: String, pid: u32) {
        let _ = self.0.set((program, pid));
    }

    /// Notes it, once it is known.
    pub(crate) fn note(&self, record: &mut RequestRecord) {
        if record.client.program.is_none()
            && let Some((program, pid)) = self.0.get()
        {
            (record.client.program, record.client.pid) = (Some(program.clone()), Some(*pid));
            record.shorten();
        }
    }
}
