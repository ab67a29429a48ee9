//! Looks at a pipe while others may write to it and read from it, which nothing here can keep them from.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_loop};
use capture_common::OutputStream;

use crate::maps::{SCRATCH, SLOTS, offset};
use crate::output::stream_at;
use crate::verifier::probe;

/// Buffers of a pipe that are summed up; the default largest pipe has 256.
const MAX_BUFFERS: u32 = 1 << 16;
/// The low half of a mark.
const OFFSET: u64 = 0xffff_ffff;
/// The low half of a mark when the pipe is empty.
const EMPTY: u64 = OFFSET;

const GO_ON: i64 = 0;
const STOP: i64 = 1;

/// What looks at a pipe have found. In map memory for the same reason as [`Walk`](crate::output::Walk).
#[repr(C)]
pub struct Tally {
    pipe: u64,
    /// Slot × 2 + stream that it belongs to.
    entry: u64,
    /// Unread bytes.
    pub bytes: u64,
    /// Where reading has come to: see [`mark`].
    pub mark: u64,
    buffers: u64,
    next: u64,
    mask: u64,
    /// Where writing has come to: see [`written`].
    written: u64,
    /// Since when it stands there, in ns.
    quiet_since: u64,
    /// For how long it has stood there, in ns.
    quiet_for: u64,
    /// For whoever looks.
    pub answer: u64,
}

impl Tally {
    /// Slot × 2 + stream that is looked at.
    #[inline(always)]
    pub fn entry(&self) -> u32 {
        self.entry as u32
    }

    /// The stream that is looked at.
    #[inline(always)]
    pub fn stream(&self) -> Option<&'static OutputStream> {
        Some(stream_at(SLOTS.get((self.entry / 2) as u32)?, (self.entry % 2) as u8))
    }

    /// Whether nothing has been put in for so many ns.
    #[inline(always)]
    pub fn is_quiet(&self, for_ns: u64) -> bool {
        self.quiet_for >= for_ns
    }
}

/// This CPU's tally.
#[inline(always)]
pub fn tally() -> Option<&'static mut Tally> {
    // SAFETY: plain helpers; the scratch entry is this CPU's, and preemption is off.
    unsafe { Some(&mut (*SCRATCH.get_ptr_mut(bpf_get_smp_processor_id())?).tally) }
}

/// Begins to look at a stream's pipe.
#[inline(always)]
pub fn look_at(pipe: u64, entry: u32) -> Option<&'static mut Tally> {
    let tally = tally()?;
    tally.pipe = pipe;
    tally.entry = u64::from(entry);
    tally.bytes = 0;
    tally.written = u64::MAX;
    tally.answer = 0;
    Some(tally)
}

/// Counts what is unread. Whether nobody held the pipe and nothing moved meanwhile; `None` where it cannot be read.
#[inline(always)]
pub fn count(tally: &mut Tally) -> Option<bool> {
    let pipe = tally.pipe as *const c_void;
    let owner: u64 = probe(pipe, offset!(pipe_mutex_owner))?;
    let written = written(tally.pipe)?;
    let head: u32 = probe(pipe, offset!(pipe_head))?;
    let tail: u32 = probe(pipe, offset!(pipe_tail))?;
    let size: u32 = probe(pipe, offset!(pipe_ring_size))?;
    tally.buffers = probe(pipe, offset!(pipe_bufs))?;
    tally.mark = mark(tally.pipe)?;
    tally.bytes = 0;
    tally.next = u64::from(tail);
    tally.mask = u64::from(size.wrapping_sub(1));
    let used = head.wrapping_sub(tail);
    let buffers = if used < MAX_BUFFERS { used } else { MAX_BUFFERS };
    // SAFETY: the callback has the signature that the helper calls, and takes no context.
    unsafe { bpf_loop(buffers, add_buffer as *mut c_void, core::ptr::null_mut(), 0) };
    // SAFETY: a plain helper.
    let now = unsafe { bpf_ktime_get_ns() };
    if written != tally.written {
        tally.written = written;
        tally.quiet_since = now;
    }
    tally.quiet_for = now - tally.quiet_since;
    let is_free = owner == 0 && probe::<u64>(pipe, offset!(pipe_mutex_owner)) == Some(0);
    Some(is_free && self::written(tally.pipe) == Some(written) && mark(tally.pipe) == Some(tally.mark))
}

extern "C" fn add_buffer(_: u64, _: *mut c_void) -> i64 {
    let Some(tally) = tally() else { return STOP };
    let buffer = tally.buffers + (tally.next & tally.mask) * u64::from(offset!(pipe_buffer_size));
    tally.next += 1;
    let Some(length) = probe::<u32>(buffer as *const c_void, offset!(pipe_buffer_len)) else { return STOP };
    tally.bytes += u64::from(length);
    GO_ON
}

/// Where writing a pipe has come to: number of the next buffer in the upper half, and how far the last one is filled,
/// because a small write may be put behind the one before it.
#[inline(always)]
fn written(pipe: u64) -> Option<u64> {
    let pipe = pipe as *const c_void;
    let head: u32 = probe(pipe, offset!(pipe_head))?;
    let size: u32 = probe(pipe, offset!(pipe_ring_size))?;
    let buffers: u64 = probe(pipe, offset!(pipe_bufs))?;
    let last = u64::from(head.wrapping_sub(1) & size.wrapping_sub(1));
    let buffer = (buffers + last * u64::from(offset!(pipe_buffer_size))) as *const c_void;
    let filled =
        probe::<u32>(buffer, offset!(pipe_buffer_offset))?.wrapping_add(probe(buffer, offset!(pipe_buffer_len))?);
    Some((u64::from(head) << 32) | u64::from(filled))
}

/// Where reading a pipe has come to. It changes with every read, because only the reader moves it.
#[inline(always)]
pub fn mark(pipe: u64) -> Option<u64> {
    let pipe = pipe as *const c_void;
    let head: u32 = probe(pipe, offset!(pipe_head))?;
    let tail: u32 = probe(pipe, offset!(pipe_tail))?;
    let upper = u64::from(tail) << 32;
    if head == tail {
        return Some(upper | EMPTY);
    }
    let size: u32 = probe(pipe, offset!(pipe_ring_size))?;
    let buffers: u64 = probe(pipe, offset!(pipe_bufs))?;
    let buffer = buffers + u64::from(tail & size.wrapping_sub(1)) * u64::from(offset!(pipe_buffer_size));
    let first: u32 = probe(buffer as *const c_void, offset!(pipe_buffer_offset))?;
    Some(upper | u64::from(first))
}

/// Whether nothing has left a pipe between two marks, except for the first part of what was put into it when it was empty.
#[inline(always)]
pub fn is_where_it_was(marked: u64, now: u64) -> bool {
    now == marked || (marked & OFFSET == EMPTY && now & !OFFSET == marked & !OFFSET)
}

/// As [`is_where_it_was`], as seen at the end of a read of `count` bytes that gave `returned`: a read leaves something of
/// what it takes from only if it did not ask for more.
#[inline(always)]
pub fn has_read_nothing(marked: u64, now: u64, returned: u64, count: u64) -> bool {
    now == marked || (is_where_it_was(marked, now) && (returned < count || now & OFFSET < returned))
}
