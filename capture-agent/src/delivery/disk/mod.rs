//! A buffer on disk: what was written to it is delivered at least once, also by the next agent.
//!
//! A directory belongs to one sink, which holds `lock`. Records come through a bounded queue in memory to a thread that
//! appends them to the newest *segment*, so that a slow disk does not hold up the reader of the ring buffer; the sink's own
//! thread reads them back, and when a load is settled writes down in `position` how far it has got. A segment that lies
//! before the position is removed.
//!
//! Segments are rows of checksummed frames (`frame.rs`); a new agent begins a new one. What is cut off at the end of the
//! last one, because the agent was killed while it wrote, was never safe: it is removed and counted in bytes. A frame that
//! is not as it was written is skipped up to the next one that is; since each says how much came before it, the loss is
//! known to the record even where nothing of a frame can be read.

mod codec;
mod frame;
mod intern;
mod origins;
mod position;
mod reader;
mod recover;
mod segment;
mod store;
mod value;
mod wire;
mod writer;

use std::io;
use std::path::PathBuf;

pub(super) use self::reader::DiskReader;
pub(super) use self::recover::open;
pub(super) use self::store::Store;
pub(super) use self::writer::DiskWriter;

/// Why there is no buffer on disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The directory cannot be made, read or written.
    #[error("{directory}: {source}; choose another directory for the disk buffer, or make this one writable", directory = directory.display())]
    Unusable {
        /// Where it was to be.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else has it.
    #[error("{} is in use by another sink or another agent; give each sink a directory of its own", .0.display())]
    Locked(PathBuf),
}

#[cfg(test)]
mod tests;
