//! What a sink is, and what it answers when it is given records.

use std::sync::Arc;
use std::time::Duration;

use crate::pipeline::record::Record;
use crate::socket::SocketHealth;

/// A destination. Called by one thread, its own; may block for as long as its own deadlines allow.
pub trait Sink: Send {
    /// Name, as configured; in log messages and in the `sink` label of the metrics.
    fn name(&self) -> &str;

    /// Takes records, in order.
    ///
    /// # Errors
    ///
    /// [`SinkError`] where it does not have all of them: its kind says what is to become of them.
    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError>;

    /// Whether the destination can be reached, without giving it a record.
    ///
    /// # Errors
    ///
    /// What is wrong, in one sentence.
    fn check(&mut self) -> Result<(), SinkError>;

    /// Whether it takes the lines of one write as one record ([`Content::Lines`](crate::pipeline::record::Content::Lines));
    /// otherwise each comes as a record of its own.
    fn takes_lines_together(&self) -> bool {
        false
    }

    /// Whether its thread runs before others that are ready ([`crate::priority`]): for one that only hands bytes over to the
    /// kernel, so that its queue does not fill up while it waits for a CPU. Not for one that compresses or encrypts.
    fn has_priority(&self) -> bool {
        false
    }

    /// How the connections to its destination fare, for the metrics; `None` where it has none.
    fn connections(&self) -> Option<Arc<SocketHealth>> {
        None
    }

    /// Opens files anew, after somebody has moved them away.
    fn reopen(&mut self) {}

    /// Called about once a second, with or without records: for what is to be done by the clock.
    fn tick(&mut self) {}
}

/// What became of records that a sink is done with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Those that the destination will never take; it has all others.
    pub refused: Vec<Refused>,
}

/// A record that the destination will never take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place among the records of the call.
    pub index: usize,
    /// Value of the `reason` label of the metrics.
    pub reason: &'static str,
}

/// Why a sink does not have what it was given.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The same records are to be given again; the destination may have some of them.
    #[error("{cause}")]
    Retry {
        /// One sentence that names the destination.
        cause: String,
        /// Not before this has passed; where the destination said so.
        after: Option<Duration>,
    },
    /// The destination has some of them and is to be given the others again.
    #[error("{cause}")]
    Partial {
        /// One sentence that names the destination.
        cause: String,
        /// Not before this has passed; where the destination said so.
        after: Option<Duration>,
        /// Places, among the records of the call, of those to be given again; ascending, at least one.
        left: Vec<usize>,
        /// Those of the others that the destination will never take.
        refused: Vec<Refused>,
    },
    /// The destination will take none of these records, now or later.
    #[error("{cause}")]
    Refused {
        /// One sentence that names the destination.
        cause: String,
        /// Value of the `reason` label of the metrics.
        reason: &'static str,
    },
    /// The destination is gone for good: whoever read a pipe has closed it.
    #[error("{cause}")]
    Closed {
        /// One sentence that names the destination.
        cause: String,
    },
}
