//! From the reader of the ring buffer to the sinks: a fan-out, and for each sink a bounded buffer and a thread.
//!
//! For each sink every record that was handed over is counted once:
//! `submitted + recovered = filtered + delivered + Σ dropped`, when nothing waits.

mod attempt;
mod backoff;
mod counters;
mod dead_letters;
mod disk;
mod entry;
mod fanout;
mod fate;
mod gaps;
mod health;
mod held;
mod lane;
mod load;
mod orders;
mod piece;
mod queue;
mod settings;
mod status;
mod taps;
mod worker;

use std::io;

pub use self::counters::{SinkTotals, Totals, reason};
pub use self::disk::DiskError;
pub use self::fanout::{Change, Control, Fanout, Filter, SinkSpec};
pub use self::health::{HealthReport, State};
pub use self::settings::{BatchLimits, Buffer, DiskSettings, OnFull, RetryPolicy};
pub use self::status::{Connections, Level, SinkStatus};
pub use self::taps::{Batch, Taken, Tap, Taps};

/// How long sinks may take for what is left when the agent ends.
pub const GRACE: std::time::Duration = std::time::Duration::from_secs(10);

/// Why sinks cannot be as they are wanted.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// No thread is to be had.
    #[error("no thread for the sink {sink}: {source}; raise the limit of threads")]
    Thread {
        /// Name of the sink.
        sink: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no buffer on disk.
    #[error("sink {sink}: {source}")]
    Disk {
        /// Name of the sink.
        sink: String,
        /// Why.
        source: DiskError,
    },
    /// Two sinks have one name.
    #[error("there is a sink {sink} already; give this one another name")]
    Twice {
        /// Name of the sinks.
        sink: String,
    },
    /// There is no such sink.
    #[error("there is no sink {sink}")]
    Unknown {
        /// Name that was asked for.
        sink: String,
    },
}

#[cfg(test)]
mod tests;
