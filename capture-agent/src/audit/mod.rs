//! `capture-agent audit`: what was captured in a window of time, held against the engine's own log of it.
//!
//! # Where the window's edges are
//!
//! A byte is written first and logged later, by a lag that nobody knows: pipe, relay and engine hold it meanwhile. So a
//! cut by time alone would find differences that are none, or hide some that are. Instead:
//!
//! * The log is read from where it ended *before* capture began, so it has all that was captured, after some that was
//!   written before. Which of its lines is the first captured one is told by the text: all captured lines are laid
//!   against the log at every place where they may begin ([`mod@compare`]), and no line may have been logged before it was
//!   written. Both times are of one clock.
//! * Lines that stand before that place were written before capture began. They may come late, but not later than
//!   [`LAG`] after it: one that was logged after that and was not captured is a difference.
//! * At the end, all that the log has from before capture ended was written before, and must have been captured. What
//!   was captured must come into the log, within [`LAG`] as well.
//! * Of the line that was under way when capture began, only its end is compared: it must be the end of the log's line.
//!   Of the one that is under way at the end nothing is compared, as the engine does not log it before its newline. That
//!   is all that the window leaves out.
//!
//! Where lines upon lines read the same, some that capture did not see cannot be told from as many that were on their way
//! when it began, and pass for these: no more than are logged within [`LAG`].
//!
//! Bytes that capture lost stand in its records as gaps, so they are differences wherever they are.

mod captured;
pub mod compare;
mod engine_log;
mod line;
mod report;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::captured::{Captured, CapturedLines, CapturedSink};
pub use self::compare::{Difference, Verdict, Window, compare};
pub use self::engine_log::{EngineLog, LogError};
pub use self::line::{Gap, Line};
pub use self::report::{Audit, Outcome, StreamAudit, exit_code, print};

/// How long the engine may take from a write to its line in the log: a healthy one takes milliseconds, a flooded one
/// seconds. At most half of a short window, so that something is left to be compared strictly.
#[must_use]
pub fn lag(window: Duration) -> Duration {
    LAG.min(window / 2)
}

/// The longest [`lag`].
pub const LAG: Duration = Duration::from_secs(5);
