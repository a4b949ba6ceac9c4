//! What shall be in memory: the pure half of the actor `residency`, the one owner of it.
//!
//! `held` is what is in memory for whom, `arrangement` says what a set of roles means for the memory, `too_much` and `smaller` what would make it fit, `pressure` who gives way when it runs short, `arrival` what a
//! request means beside what is under way, `plan` in which order a switch works and how it is undone,
//! `copies` which of several copies nobody needs, `resumption` what a start makes of the journal of the engine before, `bounds` how long each wait may last.

mod arrangement;
mod arrival;
mod bounds;
mod copies;
mod held;
mod plan;
mod pressure;
mod resumption;
mod smaller;
mod too_much;

pub use arrangement::{ArrangementPlan, Circumstances, InMemory, Leaver, Move, Piece, Spare, arrange};
pub use arrival::{Arrival, UnderWay, arrive};
pub use bounds::load_limit;
pub use copies::extra_copies;
pub use held::{Arrangement, Kept, became_active};
pub use plan::{Situation, Step, Undo, make_room, plan, undo};
pub use pressure::{IDLE_S, IdleRole, gives_way, shortage};
pub use resumption::{CutOffSwitch, Resumption, resume};
pub use smaller::{Smaller, smaller_settings, smaller_that_fits};
pub use too_much::{Offer, TooMuch, offers};
