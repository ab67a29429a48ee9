//! From the exit of a write call to records: is it a container's output, and if so, copy what the kernel accepted.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_comm;
use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_loop,
    bpf_probe_read_user,
};
use capture_common::{
    COMM_LEN, CgroupHint, ContainerSlot, GlobalCounters, LostReason, MAX_PAYLOAD, MAX_STEPS, OutputStream,
    RecordHeader, RecordKind, SWITCHED, Side, Via,
};

use crate::files::{self, File, Inode};
use crate::maps::{Draft, GLOBALS, SCRATCH, SLOTS, Scratch};
use crate::overtaken::{self, Kind};
use crate::replaced;
use crate::ring;
use crate::syscalls::{Abi, Call, Registers};
use crate::verifier::{at_most, get, probe_user};
use crate::{account, container};

const PAYLOAD: u64 = MAX_PAYLOAD as u64;

/// A write call of `task`, the current one, whose cgroup is `id`, has returned `accepted` (more than 0) bytes. Which `call` it was
/// is asked when it is a container's.
#[inline(always)]
pub fn wrote(
    task: *const c_void,
    id: u64,
    hint: &CgroupHint,
    accepted: u64,
    call: impl FnOnce() -> Option<(Registers, Call, Abi)>,
) -> Option<()> {
    let (index, slot) = container::captured_by(id, hint)?;
    let (registers, call, abi) = call()?;
    let [fd, buffer, count] = registers.arguments(abi);
    let found = match files::standard_output(task, fd as u32) {
        Some((inode, number)) => stream_numbered(slot, inode, number),
        None => match File::of_fd(task, fd as u32) {
            Some(file) => file.inode().and_then(|inode| stream_of(slot, inode)),
            None => None,
        },
    };
    let stream = match found {
        Some(stream) => stream,
        None => {
            let before = replaced::stream_before(fd as u32)?;
            if before / 2 != index {
                return None;
            }
            (before % 2) as u8
        }
    };
    let counters = stream_at(slot, stream);
    let is_switched = get(&counters.side) > Side::Switching as u64;
    let position = if is_switched { SWITCHED } else { account::written(counters, accepted) };
    if position & SWITCHED != 0 {
        let entry = index * 2 + u32::from(stream);
        return overtaken::wrote(task, registers.0, entry, accepted, Kind::of(call, abi).0);
    }
    let globals = GLOBALS.get(0)?;
    capture(&Source { globals, slot, index, stream, via: Via::Write, call, abi }, position, buffer, count, accepted)
}

/// What is being captured.
pub struct Source<'a> {
    pub globals: &'a GlobalCounters,
    pub slot: &'a ContainerSlot,
    pub index: u32,
    pub stream: u8,
    pub via: Via,
    pub call: Call,
    pub abi: Abi,
}

impl Source<'_> {
    /// The head of the record that holds `length` bytes from `position` on.
    #[inline(always)]
    pub fn header(&self, position: u64, length: u64) -> RecordHeader {
        let (thread, user, comm) = writer(self.globals);
        RecordHeader {
            kind: RecordKind::Output as u8,
            stream: self.stream,
            via: self.via as u8,
            reserved: 0,
            slot: self.index,
            cgroup_id: get(&self.slot.cgroup_id),
            position,
            // SAFETY: a plain helper.
            timestamp: unsafe { bpf_ktime_get_ns() },
            remaining: 0,
            generation: get(&self.slot.generation) as u32,
            length: length as u32,
            pid: (thread >> 32) as u32,
            tid: thread as u32,
            uid: user as u32,
            reserved2: 0,
            comm,
        }
    }
}

/// Process and thread, user, and name of the command that writes, where they are asked for.
#[inline(always)]
fn writer(globals: &GlobalCounters) -> (u64, u64, [u8; COMM_LEN]) {
    if get(&globals.identify) == 0 {
        return (0, 0, [0; COMM_LEN]);
    }
    // SAFETY: plain helpers.
    unsafe { (bpf_get_current_pid_tgid(), bpf_get_current_uid_gid(), bpf_get_current_comm().unwrap_or_default()) }
}

/// Copies the `accepted` bytes at `buffer` (or in the `count` segments that are listed there) into records; the first of
/// them is at `position` of the stream.
#[inline(always)]
pub fn capture(source: &Source<'_>, position: u64, buffer: u64, count: u64, accepted: u64) -> Option<()> {
    if source.call == Call::Write && accepted <= PAYLOAD {
        ring::copy_in(source, stream_at(source.slot, source.stream), position, buffer, accepted);
        return Some(());
    }
    capture_in_steps(source, position, buffer, count, accepted)
}

/// [`capture`], whatever the call.
#[inline(always)]
pub fn capture_in_steps(source: &Source<'_>, position: u64, buffer: u64, count: u64, accepted: u64) -> Option<()> {
    let &Source { slot, index, stream, call, abi, .. } = source;
    // SAFETY: a plain helper; the scratch entry is this CPU's, and preemption is off.
    let Scratch { draft, walk, .. } = unsafe { &mut *SCRATCH.get_ptr_mut(bpf_get_smp_processor_id())? };
    draft.header = source.header(position, accepted);
    *walk = Walk {
        vector: buffer,
        vector_left: if call == Call::WriteVector { count } else { 0 },
        segment: buffer,
        segment_left: if call == Call::Write { accepted } else { 0 },
        left: accepted,
        filled: 0,
        position,
        slot: index,
        stream: u32::from(stream),
        narrow: u64::from(abi != Abi::Native),
    };
    // SAFETY: the callback has the signature that the helper calls, and takes no context.
    unsafe { bpf_loop(MAX_STEPS, step as *mut c_void, core::ptr::null_mut(), 0) };
    let rest = walk.left + walk.filled;
    if rest > 0 {
        account::lost(stream_at(slot, stream), LostReason::Truncated, rest);
    }
    Some(())
}

/// Which of the container's streams an inode is.
#[inline(always)]
pub fn stream_of(slot: &ContainerSlot, inode: Inode) -> Option<u8> {
    stream_numbered(slot, inode, inode.number()?)
}

#[inline(always)]
fn stream_numbered(slot: &ContainerSlot, inode: Inode, number: u64) -> Option<u8> {
    // A stream that there is not has the number 0 too.
    if number == 0 {
        return None;
    }
    let which: u8 = if number == get(&slot.streams[0].inode) {
        0
    } else if number == get(&slot.streams[1].inode) {
        1
    } else {
        return None;
    };
    let stream = stream_at(slot, which);
    // The inode that was noted: another one in its place would have another number.
    if inode.address() == get(&stream.address) {
        return Some(which);
    }
    // A file elsewhere may have the same number.
    (u64::from(inode.device()?) == get(&stream.device)).then_some(which)
}

/// A stream by its index; a branch, because an index would bring a bounds check and its panic.
#[inline(always)]
pub fn stream_at(slot: &ContainerSlot, index: u8) -> &OutputStream {
    if index == 0 { &slot.streams[0] } else { &slot.streams[1] }
}

/// Copies user memory into the payload; `start` and `length` are at most [`MAX_PAYLOAD`].
#[inline(always)]
fn copy(draft: &mut Draft, start: u64, length: u64, from: u64) -> bool {
    // SAFETY: the payload is twice as long as either bound.
    unsafe {
        let to = draft.payload.as_mut_ptr().add(start as usize);
        bpf_probe_read_user(to.cast(), length as u32, from as *const c_void) == 0
    }
}

/// Way through the memory of one call: segments are gathered into payloads of at most [`MAX_PAYLOAD`].
///
/// Stands in the scratch map and not on the stack: the verifier follows what it knows of stack slots from one turn of
/// the loop into the next, and would never see an end; of map memory it knows nothing.
#[repr(C)]
pub struct Walk {
    /// Address of the next `iovec`.
    vector: u64,
    /// `iovec`s that are left.
    vector_left: u64,
    /// Address of the rest of the current segment.
    segment: u64,
    /// Its length.
    segment_left: u64,
    /// Bytes of the call that are not copied yet.
    left: u64,
    /// Bytes in the payload that are not emitted yet.
    filled: u64,
    /// Stream position of the payload's first byte.
    position: u64,
    slot: u32,
    stream: u32,
    /// Not 0 if `struct iovec` is `compat_iovec`.
    narrow: u64,
}

impl Walk {
    /// Nothing is left to be counted.
    #[inline(always)]
    fn settle(&mut self) {
        self.left = 0;
        self.filled = 0;
    }
}

const GO_ON: i64 = 0;
const STOP: i64 = 1;

/// One step: take the next segment, or copy a piece of the current one, and emit when the payload is full or done.
extern "C" fn step(_: u64, _: *mut c_void) -> i64 {
    // SAFETY: a plain helper.
    let Some(scratch) = SCRATCH.get_ptr_mut(unsafe { bpf_get_smp_processor_id() }) else { return STOP };
    // SAFETY: the scratch entry is this CPU's, and preemption is off.
    let Scratch { draft, walk, .. } = unsafe { &mut *scratch };
    let Some(slot) = SLOTS.get(walk.slot) else { return STOP };
    let stream = stream_at(slot, walk.stream as u8);

    if walk.segment_left == 0 {
        if walk.vector_left == 0 {
            return STOP;
        }
        let Some((base, length)) = segment(walk) else {
            account::lost(stream, LostReason::Fault, walk.left + walk.filled);
            walk.settle();
            return STOP;
        };
        walk.segment = base;
        walk.segment_left = length.min(walk.left);
        walk.vector_left -= 1;
        if walk.segment_left == 0 {
            return GO_ON;
        }
    }

    let filled = at_most::<PAYLOAD>(walk.filled);
    let length = at_most::<PAYLOAD>(walk.segment_left.min(PAYLOAD - filled));
    if !copy(draft, filled, length, walk.segment) {
        account::lost(stream, LostReason::Fault, walk.left + walk.filled);
        walk.settle();
        return STOP;
    }
    walk.segment += length;
    walk.segment_left -= length;
    walk.left -= length;
    let filled = filled + length;
    walk.filled = filled;
    if filled < PAYLOAD && walk.left > 0 {
        return GO_ON;
    }
    if !ring::emit(draft, slot, stream, walk.position, at_most::<PAYLOAD>(filled), walk.left) {
        walk.settle();
        return STOP;
    }
    walk.position += filled;
    walk.filled = 0;
    if walk.left == 0 { STOP } else { GO_ON }
}

/// The next `iovec`.
#[inline(always)]
fn segment(walk: &mut Walk) -> Option<(u64, u64)> {
    if walk.narrow != 0 {
        let [base, length] = probe_user::<[u32; 2]>(walk.vector)?;
        walk.vector += 8;
        Some((u64::from(base), u64::from(length)))
    } else {
        let [base, length] = probe_user::<[u64; 2]>(walk.vector)?;
        walk.vector += 16;
        Some((base, length))
    }
}
