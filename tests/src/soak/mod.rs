//! Flat for as long as it runs: real containers with mixed rates, crash loops, faults, and the figures of the agent beside.
//!
//! [`run`] owns a private engine, so that it may freeze and restart it. Lines prove themselves complete (`paced.rs` of the
//! writers): a verdict needs no other log, and Docker's own is compared all the same.

mod bars;
mod course;
mod crash_loop;
mod director;
mod fleet;
mod hammer;
mod old_way;
#[cfg(feature = "plot")]
pub mod plot;
pub mod report;
mod sample;
pub(crate) mod scrape;
mod trend;
pub(crate) mod usage;
mod verdict;
mod verify;

use std::time::Duration;

pub use bars::Bar;
pub(crate) use course::machine;
pub use course::run;
pub use old_way::OldSample;
pub use sample::{Phase, Sample};
pub use trend::Trend;
pub use usage::Usage;
pub use verdict::Completeness;
pub use verify::{Comparison, Lines};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Long-lived containers; crash loops come beside them.
    pub containers: u32,
    /// How long samples are taken.
    pub length: Duration,
    /// The agent's rotation interval.
    pub rotation_interval: Duration,
    /// Whether the old way runs beside.
    pub compare: bool,
    /// Whether dockerd is frozen and restarted, containers are killed and the admin port is hammered.
    pub faults: bool,
    /// How long dockerd is frozen in the middle of the run.
    pub freeze: Option<Duration>,
    /// Value of the agent's `--attach`.
    pub attach: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            containers: 55,
            length: Duration::from_mins(30),
            rotation_interval: Duration::from_secs(30),
            compare: false,
            faults: false,
            freeze: None,
            attach: "auto".to_owned(),
        }
    }
}

impl Options {
    /// What comes before the figures settle: the five minutes, or a third of a shorter run.
    #[must_use]
    pub fn warm_up(&self) -> Duration {
        Duration::from_mins(5).min(self.length / 3)
    }

    /// `soak-55x30`, and what else was asked for.
    #[must_use]
    pub fn name(&self) -> String {
        let minutes = self.length.as_secs_f64() / 60.0;
        let mut name = format!("soak-{}x{minutes}", self.containers);
        for (is_on, word) in [(self.compare, "-compare"), (self.faults, "-faults"), (self.freeze.is_some(), "-freeze")]
        {
            if is_on {
                name += word;
            }
        }
        name
    }
}

/// What a soak showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run.
    pub options: Options,
    /// In the order of time.
    pub samples: Vec<Sample>,
    /// What happened, with seconds since the run began.
    pub diary: Vec<(f64, String)>,
    /// Commit, kernel and engine.
    pub machine: String,
    /// Whether all lines came out.
    pub completeness: Completeness,
    /// The same of the old way, where it ran: its lines, of the long-lived containers.
    pub old_lines: Option<Lines>,
    /// Containers that came and went in crash loops.
    pub crashed: usize,
    /// CPU seconds per minute of dockerd before the old way began beside.
    pub dockerd_alone: Option<f64>,
    /// Each bar with what was measured.
    pub bars: Vec<Bar>,
}

impl Outcome {
    /// Whether every bar is met.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.bars.iter().all(|bar| bar.met)
    }
}
