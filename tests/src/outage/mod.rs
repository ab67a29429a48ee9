//! What arrives when a destination is away: real containers write numbered lines, the agent delivers them to a Loki of
//! other decoders than its own, behind a front that refuses and hangs on command, and to a file beside it.
//!
//! [`run`] is the outage itself: with a buffer on disk, under which the agent is killed twice, or with queues in memory,
//! whose counters have to be exact. [`reloads`] changes the configuration a thousand times under load.

mod arrivals;
mod course;
mod fleet;
mod front;
mod missing;
pub mod reloads;
pub mod report;
mod verdict;
mod watch;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

pub use arrivals::{Arrivals, Seen};
use capture_writers::numbered::Report;
pub use course::run;
pub use missing::{Death, Missing};
pub use watch::Sample;

/// Where records wait while the destination is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// On disk; the agent is killed twice.
    Disk,
    /// In memory, of so many bytes: two sinks with a destination each, of which one drops the newest and one the oldest.
    Memory(u64),
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Containers that write.
    pub containers: u32,
    /// Lines a second that each of them writes.
    pub rate: u64,
    /// How long everything is well before.
    pub lead_in: Duration,
    /// How long the destination is away.
    pub outage: Duration,
    /// Where records wait meanwhile.
    pub buffers: Buffers,
}

/// One destination and what came to it.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The sink.
    pub sink: String,
    /// What came.
    pub arrivals: Arrivals,
    /// Records that the sink says it dropped, by reason.
    pub dropped: BTreeMap<String, f64>,
    /// Bytes that the front passed on while the destination was away.
    pub passed_in_outage: u64,
}

/// What an outage showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run.
    pub options: Options,
    /// Commit, kernel and engine.
    pub machine: String,
    /// What each writer says of its pace, by seed.
    pub reports: BTreeMap<u64, Report>,
    /// Container ids, by seed.
    pub ids: BTreeMap<u64, String>,
    /// The destinations that were away.
    pub delivered: Vec<Delivered>,
    /// What came into the file beside.
    pub file: Arrivals,
    /// When the agent was killed.
    pub deaths: Vec<Death>,
    /// When the lines were written that did not come everywhere: by seed and number, from Docker's own log.
    pub times: BTreeMap<(u64, u32), u64>,
    /// Bytes that the agent says were dropped, by container id.
    pub dropped_bytes: BTreeMap<String, f64>,
    /// In the order of time.
    pub samples: Vec<Sample>,
    /// What happened, with seconds since the beginning.
    pub diary: Vec<(f64, String)>,
}

/// A figure and what it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// What is measured.
    pub what: String,
    /// What it has to be; empty where it is told and not judged.
    pub bar: String,
    /// What it was.
    pub measured: String,
    /// Whether that is so.
    pub met: bool,
}

impl Bar {
    fn new(what: &str, bar: &str, measured: impl Display, met: bool) -> Self {
        Self { what: what.to_owned(), bar: bar.to_owned(), measured: measured.to_string(), met }
    }

    /// Something that has to be zero.
    fn zero(what: &str, measured: u64) -> Self {
        Self::new(what, "0", measured, measured == 0)
    }

    /// Something that is told.
    fn told(what: &str, measured: impl Display) -> Self {
        Self::new(what, "", measured, true)
    }
}

impl Outcome {
    /// Lines that were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.reports.values().map(|report| report.lines).sum()
    }

    /// Each figure with its bar.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        verdict::bars(self)
    }

    /// Whether every bar is met.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.bars().iter().all(|bar| bar.met)
    }
}

/// A metric's value that counts something.
#[expect(clippy::cast_sign_loss, reason = "counters begin at 0")]
fn count(value: f64) -> u64 {
    value.round() as u64
}
