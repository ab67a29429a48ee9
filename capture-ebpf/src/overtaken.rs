//! Calls that a switch to the relay has overtaken.
//!
//! A writer may be interrupted between its bytes, which are in the pipe, and the exit of its call: for milliseconds if
//! another task gets its CPU. If its stream is switched meanwhile, those bytes are among the ones that the relay's reads
//! skip, and the exit comes too late. So for a while after a switch every call's exit is held against the pipe: what has
//! been put in since the switch is known from what the relay has read and what is unread. If that is less than what calls
//! have returned, the rest was there before.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_loop};
use capture_common::{LostReason, OutputStream, SWITCHED};

use crate::files::{File, Inode};
use crate::maps::{RETURNED, SLOTS};
use crate::output::{stream_at, stream_of};
use crate::syscalls::{Abi, Bypass, Registers};
use crate::verifier::{compare_exchange, fetch_add, get, set};
use crate::{account, container, pipe};

/// For how long after a switch, in ns: longer than a task that can run waits for a CPU.
const SETTLING: u64 = 1_000_000_000;
/// Writes of up to this many bytes are put into a pipe as a whole (`PIPE_BUF`).
const AS_A_WHOLE: u64 = 4096;
/// How long a call that is to return is waited for, in ns.
const LONG: u64 = 10_000;
/// Looks at a pipe until it stands still. If the relay is interrupted it may not.
const MAX_LOOKS: u32 = 256;
/// Looks at whether another CPU has finished.
const MAX_WAITS: u32 = 1 << 12;

const GO_ON: i64 = 0;
const STOP: i64 = 1;

/// A stream is about to be switched.
#[inline(always)]
pub fn begin(stream: &OutputStream) {
    // SAFETY: a plain helper.
    set(&stream.settled_at, unsafe { bpf_ktime_get_ns() } + SETTLING);
}

/// Whether a stream has been switched so lately that a call that this has overtaken may still return.
#[inline(always)]
pub fn is_possible(stream: &OutputStream) -> bool {
    // SAFETY: a plain helper.
    get(&stream.written) & SWITCHED != 0 && unsafe { bpf_ktime_get_ns() } < get(&stream.settled_at)
}

/// The exit of a read of the relay has been counted.
#[inline(always)]
pub fn has_read(stream: &OutputStream, pipe: Option<u64>) -> Option<()> {
    set(&stream.mark, pipe::mark(pipe?)?);
    Some(())
}

/// A call that moved bytes past `write` to a descriptor has returned.
#[inline(always)]
pub fn moved(task: *const c_void, registers: Registers, bypass: Bypass, abi: Abi, returned: u64) -> Option<()> {
    let Bypass::Argument(position) = bypass else { return None };
    let (_, slot) = container::captured(task)?;
    let descriptor = registers.arguments(abi)[position] as u32;
    let stream = stream_at(slot, stream_of(slot, File::of_fd(task, descriptor)?.inode()?)?);
    if is_possible(stream) {
        fetch_add(&stream.returned, returned);
    }
    Some(())
}

/// A call that wrote `accepted` bytes to a stream (slot × 2 + stream) has returned, and [`is_possible`]: how many of them,
/// from the first, were in the pipe before the switch and are in nobody's account. [`position`] tells where they belong.
#[inline(never)]
pub fn before_switch(task: *const c_void, descriptor: u32, entry: u32, accepted: u64) -> u64 {
    let Some(slot) = SLOTS.get(entry / 2) else { return 0 };
    let stream = stream_at(slot, (entry % 2) as u8);
    let Some(pipe) = pipe_of(task, descriptor, stream) else { return 0 };
    fetch_add(&stream.returned, accepted);
    // Where the lock cannot be had, another call's exit will find what is missing, or the stream's end.
    if !lock(entry) {
        return 0;
    }
    let length = settle(stream, pipe, entry, accepted).unwrap_or(0);
    unlock(stream);
    length
}

/// Position of the first byte that [`before_switch`] has just found.
#[inline(always)]
pub fn position() -> Option<u64> {
    Some(pipe::tally()?.answer)
}

/// The relay has read the end of a stream: no call is under way any more.
#[inline(always)]
pub fn ended(stream: &OutputStream, inode: Inode, entry: u32) -> Option<()> {
    if is_possible(stream) {
        let missing = missing(inode.pipe()?, entry)?;
        account::relayed(stream, missing);
        account::lost(stream, LostReason::Fault, missing);
    }
    Some(())
}

#[inline(always)]
fn pipe_of(task: *const c_void, descriptor: u32, stream: &OutputStream) -> Option<u64> {
    let inode = File::of_fd(task, descriptor)?.inode()?;
    // Another thread may have put something else there meanwhile.
    if inode.number()? == get(&stream.inode) { inode.pipe() } else { None }
}

/// Keeps other calls' exits out. They do not wait long: nobody is interrupted in here.
#[inline(always)]
fn lock(entry: u32) -> bool {
    let Some(tally) = pipe::look_at(0, entry) else { return false };
    // SAFETY: the callback has the signature that the helper calls, and takes no context.
    unsafe { bpf_loop(MAX_WAITS, try_lock as *mut c_void, core::ptr::null_mut(), 0) };
    tally.answer != 0
}

extern "C" fn try_lock(_: u64, _: *mut c_void) -> i64 {
    let Some(tally) = pipe::tally() else { return STOP };
    let Some(stream) = tally.stream() else { return STOP };
    if compare_exchange(&stream.lock, 0, 1) {
        tally.answer = 1;
        return STOP;
    }
    GO_ON
}

#[inline(always)]
fn unlock(stream: &OutputStream) {
    set(&stream.lock, 0);
}

#[inline(always)]
fn settle(stream: &OutputStream, pipe: u64, entry: u32, accepted: u64) -> Option<u64> {
    let is_first = is_first(stream);
    let missing = missing(pipe, entry)?;
    pipe::tally()?.answer = account::relayed(stream, missing);
    let may_be_its_own = is_first && (missing == accepted || (missing < accepted && accepted > AS_A_WHOLE));
    if get(&stream.masked) != 0 || !may_be_its_own {
        // A call's that returned while it was not to be seen. Its memory is out of reach.
        account::lost(stream, LostReason::Fault, missing);
        return None;
    }
    Some(missing)
}

/// Bytes that calls have returned and that have not been put into the pipe since the switch.
#[inline(always)]
fn missing(pipe: u64, entry: u32) -> Option<u64> {
    let tally = pipe::look_at(pipe, entry)?;
    // SAFETY: the callback has the signature that the helper calls, and takes no context.
    unsafe { bpf_loop(MAX_LOOKS, look_once as *mut c_void, core::ptr::null_mut(), 0) };
    (tally.answer > 0).then_some(tally.answer)
}

/// Whether no call of the current thread has returned since the switch: a later one was not under way then.
#[inline(always)]
fn is_first(stream: &OutputStream) -> bool {
    let switch = get(&stream.settled_at);
    // SAFETY: a plain helper; the map's values are numbers.
    unsafe {
        let thread = bpf_get_current_pid_tgid() as u32;
        let is_first = RETURNED.get(thread).is_none_or(|last| *last != switch);
        let _ = RETURNED.insert(thread, switch, 0);
        is_first
    }
}

/// Asks for what has been put into the pipe since the switch, once it stands still and all reads are counted.
extern "C" fn look_once(_: u64, _: *mut c_void) -> i64 {
    let Some(tally) = pipe::tally() else { return STOP };
    let Some(stream) = tally.stream() else { return STOP };
    let (returned, marked) = (get(&stream.returned), get(&stream.mark));
    let (relayed, skip) = (get(&stream.relayed), get(&stream.skip));
    let Some(stood_still) = pipe::count(tally) else { return STOP };
    let is_counted = pipe::is_where_it_was(marked, tally.mark) && get(&stream.mark) == marked;
    if !stood_still || !is_counted {
        return GO_ON;
    }
    let (put, returned) = (relayed + tally.bytes, returned + skip);
    if put > returned {
        // Another call has put it there and is to return: soon, or else nobody can tell which of the calls that return
        // was before the switch, only how much all of them were.
        if get(&stream.masked) == 0 && !tally.is_quiet(LONG) {
            return GO_ON;
        }
        set(&stream.masked, 1);
        return STOP;
    }
    tally.answer = returned - put;
    STOP
}
