//! The instants of a switch at which the engine is ended.

use Moment::{Active, Ended, Phase};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Phase(&'static str),
    /// The new model is shown as the active one.
    Active,
    /// The outcome is told.
    Ended,
}

/// An instant of a switch.
#[derive(Debug, Clone, Copy)]
pub struct When {
    pub moment: Moment,
    pub later_ms: u64,
    /// An answer of the previous model streams all the while.
    pub streams: bool,
    /// The switch fails, because its target cannot be loaded.
    pub fails: bool,
    /// Belongs to the small size.
    pub small: bool,
}

impl When {
    const fn at(moment: Moment, later_ms: u64) -> Self {
        Self { moment, later_ms, streams: false, fails: false, small: false }
    }

    const fn streaming(self) -> Self {
        Self { streams: true, ..self }
    }

    const fn failing(self) -> Self {
        Self { fails: true, ..self }
    }

    const fn small(self) -> Self {
        Self { small: true, ..self }
    }

    pub fn words(self) -> String {
        let moment = match self.moment {
            Moment::Phase(phase) => phase,
            Moment::Active => "new one active",
            Moment::Ended => "outcome told",
        };
        let later = if self.later_ms > 0 { format!(" + {} ms", self.later_ms) } else { String::new() };
        let streams = if self.streams { ", an answer streams" } else { "" };
        let fails = if self.fails { ", it fails" } else { "" };
        format!("{moment}{later}{streams}{fails}")
    }
}

/// Of a switch with room for both, on one server or between two.
pub const WITH_ROOM: &[When] = &[
    When::at(Phase("preparing"), 0),
    When::at(Phase("loading"), 0).small(),
    When::at(Phase("loading"), 100),
    When::at(Phase("loading"), 300),
    When::at(Phase("proving"), 0),
    When::at(Phase("proving"), 20),
    When::at(Phase("proving"), 50),
    When::at(Phase("proving"), 100),
    When::at(Active, 0).small(),
    When::at(Active, 10),
    When::at(Active, 50),
    When::at(Active, 150),
    When::at(Ended, 0).small(),
    When::at(Ended, 50),
    When::at(Active, 0).streaming(),
    When::at(Active, 1000).streaming().small(),
    When::at(Phase("loading"), 0).failing(),
    When::at(Phase("putting_back"), 0).failing().small(),
    When::at(Phase("putting_back"), 20).failing(),
    When::at(Ended, 0).failing(),
];

/// Of a switch for which the previous model must leave first.
pub const TIGHT: &[When] = &[
    When::at(Phase("preparing"), 0),
    When::at(Phase("unloading"), 0),
    When::at(Phase("unloading"), 50),
    When::at(Phase("unloading"), 200),
    When::at(Phase("draining"), 0),
    When::at(Phase("draining"), 1000).streaming(),
    When::at(Phase("loading"), 0).small(),
    When::at(Phase("loading"), 200),
    When::at(Phase("loading"), 600),
    When::at(Phase("proving"), 0),
    When::at(Phase("proving"), 50),
    When::at(Active, 0).small(),
    When::at(Active, 50),
    When::at(Ended, 0),
    When::at(Phase("loading"), 0).failing(),
    When::at(Phase("putting_back"), 0).failing().small(),
    When::at(Phase("putting_back"), 300).failing(),
    When::at(Phase("putting_back"), 1000).failing(),
    When::at(Ended, 0).failing(),
];

/// A quit gives the engine time to put things back, so fewer instants tell it all.
pub const QUIT: &[When] = &[
    When::at(Phase("preparing"), 0),
    When::at(Phase("loading"), 0),
    When::at(Phase("loading"), 200),
    When::at(Phase("proving"), 0),
    When::at(Phase("proving"), 50),
    When::at(Active, 0),
    When::at(Ended, 0),
    When::at(Active, 1000).streaming().small(),
    When::at(Phase("putting_back"), 0).failing().small(),
];

pub const QUIT_TIGHT: &[When] = &[
    When::at(Phase("draining"), 1000).streaming(),
    When::at(Phase("unloading"), 0),
    When::at(Phase("loading"), 0).small(),
    When::at(Phase("loading"), 500),
    When::at(Phase("proving"), 0),
    When::at(Active, 0),
    When::at(Ended, 0),
    When::at(Phase("putting_back"), 0).failing().small(),
    When::at(Phase("putting_back"), 500).failing(),
];
