//! What is counted of streams, containers and the agent.

use std::sync::Arc;
use std::time::Instant;

use capture_common::{LOST_REASONS, Stream};

use crate::pipeline::record::DropKind;

/// What can go wrong with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// The kernel side's counters and the agent's differ.
    Reconcile,
    /// Bytes were declared missing although the kernel side had not settled.
    Hole,
    /// Records went out without the container's name, because the engine did not tell it in time.
    Metadata,
    /// No slot was free.
    Refused,
}

impl SessionError {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Reconcile, Self::Hole, Self::Metadata, Self::Refused];

    /// Value of the `error_type` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reconcile => "reconcile",
            Self::Hole => "hole",
            Self::Metadata => "metadata",
            Self::Refused => "refused",
        }
    }
}

/// Totals of one stream since the agent (or the container, if later) started. Bytes include newlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamTotals {
    /// Bytes that the container's calls returned as written.
    pub written: u64,
    /// Bytes that the kernel side put into the ring buffer.
    pub submitted: u64,
    /// Bytes that it did not, by `LostReason`.
    pub lost: [u64; LOST_REASONS],
    /// Records that every sink has that was to have them: lines, or parts of lines that are too long.
    pub lines: u64,
    /// Bytes of these records.
    pub delivered: u64,
    /// Bytes of the records that no sink was to have.
    pub filtered: u64,
    /// Bytes of the records that did not reach every sink that was to have them, by [`DropKind`].
    pub dropped: [u64; DropKind::ALL.len()],
}

/// Totals of one container.
#[derive(Clone, Debug)]
pub struct ContainerTotals {
    /// 64 hexadecimal digits.
    pub id: Arc<str>,
    /// Empty until the engine told it.
    pub name: Arc<str>,
    /// By [`Stream`].
    pub streams: [StreamTotals; 2],
    /// Lines that each sink took, by its name.
    pub by_sink: Vec<(Arc<str>, u64)>,
    /// Sessions that were sealed on their interval and reconciled.
    pub rotations: u64,
    /// By [`SessionError`].
    pub errors: [u64; SessionError::ALL.len()],
    /// When the session that goes on was opened; of a container that ended, when the last one was.
    pub session_opened: Instant,
    /// When the container ended, if it has.
    pub ended: Option<Instant>,
}

impl ContainerTotals {
    /// Totals of one stream.
    #[must_use]
    pub fn stream(&self, stream: Stream) -> &StreamTotals {
        &self.streams[stream as usize]
    }
}

/// Totals that belong to the whole agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentTotals {
    /// Containers whose output is being captured now.
    pub active_sessions: u64,
    /// Containers that may be captured at once.
    pub capacity: u64,
    /// Containers that found no free slot.
    pub refused: u64,
    /// Running containers that wait for one.
    pub waiting: u64,
    /// Size of the ring buffer in bytes.
    pub ring_size: u64,
    /// Bytes of it that wait to be read.
    pub ring_used: u64,
    /// The most that ever waited when the reader looked.
    pub ring_high_water: u64,
    /// Runs of the programs that the kernel skipped (`recursion_misses` of `bpf_prog_info`); each may hide one call.
    pub missed_runs: u64,
}

/// What the kernel side has counted of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelTotals {
    /// See [`StreamTotals::written`].
    pub written: u64,
    /// See [`StreamTotals::submitted`].
    pub submitted: u64,
    /// See [`StreamTotals::lost`].
    pub lost: [u64; LOST_REASONS],
}

impl KernelTotals {
    /// Bytes that were lost, for whatever reason.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Whether no call was in flight when it was read.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.submitted + self.lost() == self.written
    }

    /// What was counted after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            written: self.written.saturating_sub(earlier.written),
            submitted: self.submitted.saturating_sub(earlier.submitted),
            lost: std::array::from_fn(|reason| self.lost[reason].saturating_sub(earlier.lost[reason])),
        }
    }

    pub(super) fn add_to(self, total: &mut StreamTotals) {
        total.written += self.written;
        total.submitted += self.submitted;
        for (sum, lost) in total.lost.iter_mut().zip(self.lost) {
            *sum += lost;
        }
    }
}
