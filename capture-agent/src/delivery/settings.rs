//! What a sink's delivery is to be like, checked.

use std::path::PathBuf;
use std::time::Duration;

/// How much a sink is given at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes of output; a single record that is longer is given alone.
    pub max_bytes: u64,
    /// Records; at least 1.
    pub max_records: usize,
    /// How long the first record waits for more.
    pub timeout: Duration,
}

/// Who gives way when a buffer is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// What comes is dropped: what was there first is delivered first.
    #[default]
    DropNewest,
    /// What has waited longest is dropped: a destination that comes back has what is newest.
    DropOldest,
}

/// Where records wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// In memory.
    Memory {
        /// Bytes of output and 128 for each record; a quarter more is kept for containers that hold little of it.
        capacity: u64,
        /// Who gives way.
        on_full: OnFull,
    },
    /// On disk.
    Disk(DiskSettings),
}

/// A buffer on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSettings {
    /// A directory that belongs to one sink.
    pub directory: PathBuf,
    /// Bytes of its files.
    pub capacity: u64,
    /// Who gives way: records that come, or the oldest whole segment.
    pub on_full: OnFull,
    /// How long written records may wait to be safe from a power failure; zero to wait for the disk after each batch.
    pub fsync_interval: Duration,
    /// Bytes of a segment.
    pub segment_bytes: u64,
}

/// When and how often a sink is asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest wait before the first retry; doubled with each.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// How long records are tried before they are dropped; `None` for ever.
    pub give_up_after: Option<Duration>,
    /// How often a refused batch is divided, to find the records that are refused.
    pub max_splits: u32,
    /// Where refused records are written to.
    pub dead_letters: Option<PathBuf>,
}

impl BatchLimits {
    /// For destinations on this machine: at once, up to 4 MiB.
    pub const LOCAL: Self = Self { max_bytes: 4 << 20, max_records: 1 << 16, timeout: Duration::ZERO };
    /// For destinations in the network: up to 1 MiB or 10,000 records, within a second.
    pub const NETWORK: Self = Self { max_bytes: 1 << 20, max_records: 10_000, timeout: Duration::from_secs(1) };
}

impl Buffer {
    /// 32 MiB of memory; the newest give way. With what the reader leaves in the ring buffer meanwhile that is a pause of 75 ms at
    /// 600 MB/s: the host of a virtual machine takes a CPU away for tens of them.
    pub const MEMORY: Self = Self::Memory { capacity: 32 << 20, on_full: OnFull::DropNewest };
}

impl DiskSettings {
    /// A gibibyte in segments of 16 MiB, synced each second; the newest give way.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            capacity: 1 << 30,
            on_full: OnFull::DropNewest,
            fsync_interval: Duration::from_secs(1),
            segment_bytes: 16 << 20,
        }
    }

    /// So many bytes of files; segments are no larger than an eighth of it, so that the oldest gives way in parts.
    #[must_use]
    pub fn capacity(self, capacity: u64) -> Self {
        Self { capacity, segment_bytes: self.segment_bytes.min(capacity / 8), ..self }
    }
}

impl Default for RetryPolicy {
    /// From a quarter of a second to half a minute, for ever.
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(250),
            max: Duration::from_secs(30),
            give_up_after: None,
            max_splits: 64,
            dead_letters: None,
        }
    }
}
