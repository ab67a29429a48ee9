//! The maps, and access to them.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, RingBuf, Stack};
use capture_common::{
    CGROUP_HINTS, CgroupHint, Config, ContainerSlot, GlobalCounters, MAX_PAYLOAD, Offsets, RecordHeader,
};

use crate::output::Walk;
use crate::overtaken::Switch;
use crate::pipe::Tally;

const BPF_F_MMAPABLE: u32 = 1 << 10;
/// Overridden by the agent; stands here so that the object can be loaded as it is.
const DEFAULT_CAPACITY: u32 = 4096;

/// Records for the agent.
#[map]
pub static RECORDS: RingBuf = RingBuf::with_byte_size(32 << 20, 0);

/// Cgroup → slot of the container that it belongs to, or [`SLOT_AT_EXEC`]; child cgroups have the slot of their container.
#[map]
pub static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(4 * DEFAULT_CAPACITY, 0);

/// What is in [`CGROUPS`], by the lower bits of a cgroup's id; mapped into the agent's memory, because both count in it.
#[map]
pub static HINTS: Array<CgroupHint> = Array::with_max_entries(CGROUP_HINTS, BPF_F_MMAPABLE);

/// The slot table, mapped into the agent's memory.
#[map]
pub static SLOTS: Array<ContainerSlot> = Array::with_max_entries(DEFAULT_CAPACITY, BPF_F_MMAPABLE);

/// Indices of the free slots. A stack and not a queue: the slots in use stay dense.
#[map]
pub static FREE_SLOTS: Stack<u32> = Stack::with_max_entries(DEFAULT_CAPACITY, 0);

/// Processes that relay some container's output. Those that are gone are pushed out by new ones.
#[map]
pub static RELAYS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(2 * DEFAULT_CAPACITY, 0);

/// Output that is captured at the relay: inode number of the pipe, or address of the terminal → slot × 2 + stream.
/// The two cannot be mistaken for one another: kernel addresses have their upper bits set.
#[map]
pub static RELAYED: HashMap<u64, u32> = HashMap::with_max_entries(2 * DEFAULT_CAPACITY, 0);

/// Process and descriptor → slot × 2 + stream, for an output that was replaced or closed while a thread may have been
/// writing to it.
#[map]
pub static REPLACED: LruHashMap<u64, u32> = LruHashMap::with_max_entries(DEFAULT_CAPACITY, 0);

/// Slot × 2 + stream → what is known of its switch to the relay.
#[map]
pub static SWITCHES: Array<Switch> = Array::with_max_entries(2 * DEFAULT_CAPACITY, 0);

/// Threads whose write call entered when its descriptor had been replaced.
#[map]
pub static ENTERED_LATER: LruHashMap<u32, u32> = LruHashMap::with_max_entries(DEFAULT_CAPACITY, 0);

/// Threads whose write call has returned since its stream was switched → [`settled_at`](capture_common::OutputStream::settled_at).
#[map]
pub static RETURNED: LruHashMap<u32, u64> = LruHashMap::with_max_entries(DEFAULT_CAPACITY, 0);

/// Counters that belong to no container.
#[map]
pub static GLOBALS: Array<GlobalCounters> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Room to build records in, one for each CPU. An array and not a per-CPU array, whose values end at 32 KiB; the
/// programs that use it run with preemption off and do not interrupt one another.
#[map]
pub static SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);

/// What a program needs to build records, and is too large for the stack.
#[repr(C)]
pub struct Scratch {
    pub draft: Draft,
    pub walk: Walk,
    pub tally: Tally,
}

/// A record under construction. Twice the largest payload, so that `start + length` is within bounds wherever each of
/// them is at most [`MAX_PAYLOAD`], which the verifier can see.
#[repr(C)]
pub struct Draft {
    pub header: RecordHeader,
    pub payload: [u8; 2 * MAX_PAYLOAD],
}

/// Filled by the agent before the programs are loaded.
#[unsafe(no_mangle)]
static CONFIG: Config = Config {
    ring_share: 0,
    relay: 0,
    offsets: Offsets {
        task_files: 0,
        task_real_parent: 0,
        task_cgroups: 0,
        css_set_cgroup: 0,
        task_comm: 0,
        task_tgid: 0,
        task_status: 0,
        files_count: 0,
        files_fdt: 0,
        files_fd_array: 0,
        fdtable_max_fds: 0,
        fdtable_fd: 0,
        file_inode: 0,
        file_private: 0,
        tty_file_tty: 0,
        tty_link: 0,
        inode_mode: 0,
        inode_rdev: 0,
        inode_ino: 0,
        inode_sb: 0,
        inode_pipe: 0,
        super_block_dev: 0,
        pipe_mutex_owner: 0,
        pipe_head: 0,
        pipe_tail: 0,
        pipe_ring_size: 0,
        pipe_bufs: 0,
        pipe_buffer_offset: 0,
        pipe_buffer_len: 0,
        pipe_buffer_size: 0,
        cgroup_kn: 0,
        cgroup_root: 0,
        cgroup_parent_css: 0,
        css_cgroup: 0,
        cgroup_root_hierarchy: 0,
        kernfs_id: 0,
        kernfs_name: 0,
        regs_args: [0; 6],
        regs_compat_args: [0; 5],
    },
};

/// Reads one field of [`CONFIG`].
macro_rules! config {
    ($($field:tt)+) => { $crate::maps::read(&$crate::maps::config_ref().$($field)+) };
}
pub(crate) use config;

/// The offset of a kernel structure's member.
macro_rules! offset {
    ($($field:tt)+) => { $crate::maps::config!(offsets.$($field)+) };
}
pub(crate) use offset;

#[inline(always)]
pub fn config_ref() -> &'static Config {
    &CONFIG
}

/// A volatile load, because the compiler would fold the zeroes that stand in [`CONFIG`] now.
#[inline(always)]
pub fn read<T: Copy>(field: &T) -> T {
    // SAFETY: a reference is readable.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}
