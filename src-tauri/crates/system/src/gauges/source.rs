use pilothouse_domain::{gauge::Gauges, server::ServerId};

/// One server's process tree, as the sampler must look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub id: ServerId,
    /// The root of the tree; `None`: no process known (not running, or remote).
    pub pid: Option<u32>,
    /// Processes of the tree that hold an instance, with the instance's id.
    pub runners: Vec<(u32, String)>,
}

/// Takes samples. Blocking: lives on the sampler's own thread.
pub trait GaugeSource: Send {
    fn sample(&mut self, servers: &[Watched]) -> Gauges;
}
