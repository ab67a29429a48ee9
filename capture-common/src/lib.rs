//! What crosses the kernel boundary of capture-agent.
//!
//! The eBPF programs write these types and the agent reads them, in the ring buffer and in memory-mapped maps. A pinned
//! map outlives the agent that made it, so the layout has one version number: [`LAYOUT_VERSION`] changes with any of
//! the types below.
#![cfg_attr(not(test), no_std)]

mod config;
mod record;
mod slot;

pub use config::{Config, Offsets, RELAY_ALWAYS, RELAY_NEVER, RELAY_WHEN_NEEDED};
pub use record::{COMM_LEN, RecordHeader, RecordKind, Stream, Via};
pub use slot::{
    CGROUP_HINTS, CONTAINER_ID_LEN, CgroupHint, ContainerSlot, GlobalCounters, LOST_REASONS, LostReason, OutputStream,
    ReaderState, SLOT_AT_EXEC, SWITCHED, Side, SlotState,
};

/// Version of everything in this crate; part of every pin path.
pub const LAYOUT_VERSION: u32 = 5;

/// Largest payload of one record, in bytes. One full pipe of 16 pages, so that the usual largest burst is one record.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Segments and chunks that are copied of one system call before the rest counts as [`LostReason::Truncated`].
///
/// 1,024 is the kernel's `UIO_MAXIOV`, the rest allows 64 MiB in chunks of [`MAX_PAYLOAD`]. It bounds the time that a
/// program runs with preemption off.
pub const MAX_STEPS: u32 = 1024 + 1024;
