//! The slot table: one fixed-size entry for each container, in an array map that the agent maps into its memory.
//!
//! Everything that is needed to read a record stands here and not in the agent, so that capture can go on while an
//! agent is replaced.

// 64-bit only: the BPF target has no narrower atomics.
use core::sync::atomic::AtomicU64;

/// Length of a container id: 64 hexadecimal digits.
pub const CONTAINER_ID_LEN: usize = 64;

/// In the place of a slot's index: the container's cgroup has nobody in it, and gets a slot when a program is executed
/// there. Engines that were killed leave such cgroups behind; they take no slot from containers that run.
pub const SLOT_AT_EXEC: u32 = u32::MAX;

/// Number of [`LostReason`]s.
pub const LOST_REASONS: usize = 4;

/// Why bytes that a container wrote are not in the ring buffer.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LostReason {
    /// The ring buffer had no room.
    RingFull = 0,
    /// The container had used up its share of the ring buffer.
    RingShare = 1,
    /// The writer's memory could not be read, or not any more.
    Fault = 2,
    /// One call carried more than [`MAX_STEPS`](crate::MAX_STEPS) chunks.
    Truncated = 3,
}

impl LostReason {
    /// All reasons, in the order of [`OutputStream::lost`].
    pub const ALL: [Self; LOST_REASONS] = [Self::RingFull, Self::RingShare, Self::Fault, Self::Truncated];

    /// Value of the `reason` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::RingShare => "ring_share",
            Self::Fault => "fault",
            Self::Truncated => "truncated",
        }
    }
}

/// On which side of the pipe a stream is captured.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// At the exit of the container's write calls.
    Write = 0,
    /// Still at the exit of the container's write calls, but what is unread is being counted. Reads have to wait.
    Switching = 1,
    /// Just switched: at the exit of the relay's read calls, but the first one to end may have begun before the switch.
    RelayFirst = 2,
    /// At the exit of the relay's read calls.
    Relay = 3,
    /// The relay has read the end of the stream.
    Closed = 4,
}

impl Side {
    /// The side with this number, if there is one.
    #[must_use]
    pub const fn from_u64(side: u64) -> Option<Self> {
        match side {
            0 => Some(Self::Write),
            1 => Some(Self::Switching),
            2 => Some(Self::RelayFirst),
            3 => Some(Self::Relay),
            4 => Some(Self::Closed),
            _ => None,
        }
    }
}

/// Where a slot is in its life.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Not in use; its index is in the free list.
    Free = 0,
    /// The cgroup exists; the container's init has not executed yet.
    Armed = 1,
    /// The streams are known; writes are captured.
    Open = 2,
    /// The cgroup is gone; the agent will settle the counters and free the slot.
    Ended = 3,
}

impl SlotState {
    /// The state with this number, if there is one.
    #[must_use]
    pub const fn from_u64(state: u64) -> Option<Self> {
        match state {
            0 => Some(Self::Free),
            1 => Some(Self::Armed),
            2 => Some(Self::Open),
            3 => Some(Self::Ended),
            _ => None,
        }
    }
}

/// In [`OutputStream::written`]: the stream is captured at the relay, and the other bits are of no use any more.
pub const SWITCHED: u64 = 1 << 63;

/// One output stream of a container. `written = submitted + Σ lost` whenever no call is in flight.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct OutputStream {
    /// Inode number of the pipe or terminal; 0 where the stream does not exist (a terminal has one stream only).
    pub inode: AtomicU64,
    /// `s_dev` of the inode's superblock, in the kernel's own encoding.
    pub device: AtomicU64,
    /// Bytes that calls on this stream returned as written, while it was captured there; also the position of the next
    /// byte. With [`SWITCHED`] a call is not captured any more, and learns so by adding what it has written.
    pub written: AtomicU64,
    /// Bytes that were put into the ring buffer.
    pub submitted: AtomicU64,
    /// Bytes that were not, by [`LostReason`].
    pub lost: [AtomicU64; LOST_REASONS],
    /// A [`Side`].
    pub side: AtomicU64,
    /// Bytes that the relay is still to read and that the write side has captured already.
    pub skip: AtomicU64,
    /// Where the pipe stood when the stream was switched, and after each read for a while: number of the oldest buffer in
    /// the upper half, offset of its first unread byte in the lower one.
    pub mark: AtomicU64,
    /// Address of the kernel's inode, checked against `inode` and `device` when it is used; 0 where it is not known.
    pub address: AtomicU64,
    /// Address of the terminal's `tty_struct`; 0 for a pipe.
    pub terminal: AtomicU64,
    /// Tasks that wanted to switch the stream; the first one does it.
    pub switchers: AtomicU64,
    /// With [`SWITCHED`], position of the next byte.
    pub relayed: AtomicU64,
    /// Until when a call that the switch has overtaken may return, by `CLOCK_MONOTONIC` in ns; 0 before the stream is
    /// switched, and once somebody has found that it is over.
    pub settled_at: AtomicU64,
}

/// One container.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct ContainerSlot {
    /// The container's cgroup: inode number in the v2 hierarchy.
    pub cgroup_id: AtomicU64,
    /// A [`SlotState`].
    pub state: AtomicU64,
    /// Counts the uses of the slot, so that a late record of an earlier container is not taken for this one's.
    pub generation: AtomicU64,
    /// Process id of the container's init in the initial pid namespace; 0 until it executes.
    pub init_pid: AtomicU64,
    /// Process id of the init's parent: the runtime's relay.
    pub relay_pid: AtomicU64,
    /// `CLOCK_MONOTONIC` when the slot was taken, in ns.
    pub opened_at: AtomicU64,
    /// `CLOCK_MONOTONIC` when the cgroup was removed, in ns; 0 before.
    pub ended_at: AtomicU64,
    /// Zero.
    pub reserved: AtomicU64,
    /// The container id as it stands in the cgroup's name: 64 bytes of text, in memory order.
    pub container_id: [AtomicU64; CONTAINER_ID_LEN / 8],
    /// Bytes of ring buffer (records with their heads) that this container was given since the slot was taken.
    pub ring_submitted: AtomicU64,
    /// Zero: keeps the next field, which the agent writes, on a cache line of its own.
    pub reserved2: [AtomicU64; 7],
    /// Bytes of ring buffer that the agent has given back. The only field that the agent writes while a slot is open.
    pub ring_consumed: AtomicU64,
    /// Zero.
    pub reserved3: [AtomicU64; 7],
    /// By [`Stream`](crate::Stream).
    pub streams: [OutputStream; 2],
}

const _: () = assert!(size_of::<OutputStream>() == 128);
const _: () = assert!(size_of::<ContainerSlot>() == 512);

/// How many [`CgroupHint`]s there are, one for each value of the lower bits of a cgroup's id; a power of two.
pub const CGROUP_HINTS: u32 = 4096;

/// What is known of the captured cgroups whose ids have the same lower bits.
///
/// Most calls are made by tasks in no container and the others by tasks in a container's own cgroup; this tells both without a
/// search. The kernel gives the lower half of the ids in turn (`__kernfs_new_node` in `fs/kernfs/dir.c`).
#[repr(C)]
#[derive(Debug, Default)]
pub struct CgroupHint {
    /// How many there are, or are about to be: counted before a cgroup is captured and until after it is not.
    pub count: AtomicU64,
    /// The slot of one of them. It may be another's by now, so the slot's own cgroup has to be looked at.
    pub slot: AtomicU64,
}

/// Counters that belong to no container.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct GlobalCounters {
    /// Containers that found no free slot.
    pub refused: AtomicU64,
    /// Lifecycle records (opened, ended) that found no room in the ring buffer. The slot's state tells the same later.
    pub lifecycle_dropped: AtomicU64,
    /// A [`ReaderState`]: what the agent's reader does, so that it is woken when it needs to be and no more.
    pub reader: AtomicU64,
    /// 1 while records are to name the command that wrote them.
    pub identify: AtomicU64,
    /// Zero.
    pub reserved: [AtomicU64; 4],
}

/// What the agent's reader of the ring buffer does.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderState {
    /// It reads, and will look again before it sleeps.
    Busy = 0,
    /// It sleeps until it is woken.
    Waiting = 1,
    /// It has just read and sleeps for a moment; it is woken if a container fills up its share of the ring buffer meanwhile.
    Resting = 2,
}
