//! The records in the ring buffer.

/// Output stream of a container.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// What the container's init holds as fd 1. A terminal's output counts as this one.
    Stdout = 0,
    /// What the container's init holds as fd 2.
    Stderr = 1,
}

impl Stream {
    /// Both streams, in the order of [`ContainerSlot::streams`](crate::ContainerSlot).
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// The stream at an index of [`ContainerSlot::streams`](crate::ContainerSlot), if there is one.
    #[must_use]
    pub const fn from_index(index: u8) -> Option<Self> {
        match index {
            0 => Some(Self::Stdout),
            1 => Some(Self::Stderr),
            _ => None,
        }
    }

    /// Name as Docker and Vector write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What a record in the ring buffer says.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Bytes that a task wrote; `length` bytes of payload follow the header.
    Output = 1,
    /// The init of a container has executed: its streams are known. No payload.
    Opened = 2,
    /// The cgroup of a container is gone: nothing more will come. No payload.
    Ended = 3,
}

impl RecordKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_u8(kind: u8) -> Option<Self> {
        match kind {
            1 => Some(Self::Output),
            2 => Some(Self::Opened),
            3 => Some(Self::Ended),
            _ => None,
        }
    }
}

/// Where the bytes were taken.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// At the exit of the write call of a task of the container.
    Write = 0,
    /// At the exit of the read call of the runtime's relay.
    Relay = 1,
}

/// Head of every record in the ring buffer, followed by `length` bytes of payload.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordHeader {
    /// A [`RecordKind`].
    pub kind: u8,
    /// A [`Stream`].
    pub stream: u8,
    /// A [`Via`].
    pub via: u8,
    /// Zero.
    pub reserved: u8,
    /// Index into the slot table.
    pub slot: u32,
    /// The container's own cgroup (not the child cgroup that the writer may be in): inode number in the v2 hierarchy.
    pub cgroup_id: u64,
    /// Offset of the first payload byte in the stream, in bytes since the slot was opened.
    pub position: u64,
    /// `CLOCK_MONOTONIC` at the exit of the call, in ns.
    pub timestamp: u64,
    /// Bytes of the same call that come after this record's.
    pub remaining: u64,
    /// Which use of the slot this belongs to; see [`ContainerSlot::generation`](crate::ContainerSlot).
    pub generation: u32,
    /// Payload length in bytes.
    pub length: u32,
    /// Process (thread group) that made the call, in the initial pid namespace. Of output this and what follows is zero
    /// unless [`GlobalCounters::identify`](crate::GlobalCounters::identify) asks for it.
    pub pid: u32,
    /// Thread that made the call, in the initial pid namespace.
    pub tid: u32,
    /// User of that thread, in the initial user namespace.
    pub uid: u32,
    /// Zero.
    pub reserved2: u32,
    /// Command name of that thread, padded with zeroes.
    pub comm: [u8; COMM_LEN],
}

/// Bytes of a command name (`TASK_COMM_LEN` of `include/linux/sched.h`).
pub const COMM_LEN: usize = 16;

impl RecordHeader {
    /// Size of the header in bytes.
    pub const SIZE: usize = size_of::<Self>();
}

const _: () = assert!(RecordHeader::SIZE == 80);
