//! Calls that a switch to the relay has overtaken.
//!
//! A writer may be interrupted between its bytes, which are in the pipe, and the exit of its call: for milliseconds if
//! another task gets its CPU. If its stream is switched meanwhile, those bytes are among the ones that the relay's reads
//! skip, and the exit comes too late. So for a while after a switch every call's exit is held against the pipe: what has
//! been put in since the switch is known from what the relay has read and what is unread. If that is less than what calls
//! have returned, the rest was there before.

use core::ffi::c_void;
use core::sync::atomic::AtomicU64;

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_loop};
use capture_common::{LostReason, OutputStream, SWITCHED, Via};

use crate::files::{File, Inode};
use crate::maps::{GLOBALS, RETURNED, SLOTS, SWITCHES};
use crate::output::{Source, stream_at, stream_of};
use crate::syscalls::{Abi, Bypass, Call, Registers};
use crate::verifier::{compare_exchange, fetch_add, get, set};
use crate::{account, container, output, pipe};

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

/// What is known of a stream's switch, as long as a call that it has overtaken may return.
#[repr(C)]
pub struct Switch {
    /// What [`written`](OutputStream::written) would be if calls were still captured.
    returned: AtomicU64,
    /// Calls that are among those and have not been held against the pipe yet.
    returning: AtomicU64,
    /// 1 once it cannot be told any more which call was overtaken: more was in the pipe than calls had returned, or less by what was
    /// nobody's, or a call could not be held against it.
    masked: AtomicU64,
    /// Lengths of calls that were their threads' first and found nothing missing, as a set of their lowest six bits: each may have
    /// been overtaken, if another one of that length was under way.
    unnoticed: AtomicU64,
    /// 1 while an exit is held against the pipe.
    lock: AtomicU64,
}

/// A stream is about to be switched.
#[inline(always)]
pub fn begin(stream: &OutputStream) {
    // SAFETY: a plain helper.
    set(&stream.settled_at, unsafe { bpf_ktime_get_ns() } + SETTLING);
}

/// A stream (slot × 2 + stream) is to be switched now, with so many bytes captured.
#[inline(always)]
pub fn prepare(entry: u32, captured: u64) -> Option<()> {
    let switch = SWITCHES.get(entry)?;
    set(&switch.returned, captured);
    set(&switch.returning, 0);
    set(&switch.masked, 0);
    set(&switch.unnoticed, 0);
    set(&switch.lock, 0);
    Some(())
}

/// Whether a stream has been switched so lately that a call that this has overtaken may still return.
#[inline(always)]
pub fn is_possible(stream: &OutputStream) -> bool {
    if get(&stream.written) & SWITCHED == 0 {
        return false;
    }
    let settled = get(&stream.settled_at);
    if settled == 0 {
        return false;
    }
    // SAFETY: a plain helper.
    if unsafe { bpf_ktime_get_ns() } < settled {
        return true;
    }
    // Nobody has to ask for the time any more.
    compare_exchange(&stream.settled_at, settled, 0);
    false
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
    let (index, slot) = container::captured(task)?;
    let descriptor = registers.arguments(abi)[position] as u32;
    let which = stream_of(slot, File::of_fd(task, descriptor)?.inode()?)?;
    if is_possible(stream_at(slot, which)) {
        fetch_add(&SWITCHES.get(index * 2 + u32::from(which))?.returned, returned);
    }
    Some(())
}

/// What [`wrote`] needs to know of a call, in one register.
#[derive(Clone, Copy)]
pub struct Kind(pub u32);

impl Kind {
    const VECTOR: u32 = 1;
    const COMPAT: u32 = 2;
    const X32: u32 = 4;

    #[inline(always)]
    pub fn of(call: Call, abi: Abi) -> Self {
        let vector = if call == Call::WriteVector { Self::VECTOR } else { 0 };
        let narrow = match abi {
            Abi::Native => 0,
            Abi::Compat => Self::COMPAT,
            Abi::X32 => Self::X32,
        };
        Self(vector | narrow)
    }

    #[inline(always)]
    fn call(self) -> Call {
        if self.0 & Self::VECTOR != 0 { Call::WriteVector } else { Call::Write }
    }

    #[inline(always)]
    fn abi(self) -> Abi {
        if self.0 & Self::COMPAT != 0 {
            Abi::Compat
        } else if self.0 & Self::X32 != 0 {
            Abi::X32
        } else {
            Abi::Native
        }
    }
}

/// A call that wrote `accepted` bytes to a switched stream (slot × 2 + stream) has returned. Those that were in the pipe
/// before the switch, and are in nobody's account, are captured: they are the first ones.
#[inline(never)]
pub fn wrote(task: *const c_void, registers: *const c_void, entry: u32, accepted: u64, kind: u32) -> Option<()> {
    let slot = SLOTS.get(entry / 2)?;
    let which = (entry % 2) as u8;
    let stream = stream_at(slot, which);
    if !is_possible(stream) {
        return None;
    }
    let (call, abi) = (Kind(kind).call(), Kind(kind).abi());
    let [descriptor, buffer, count] = Registers(registers).arguments(abi);
    let switch = SWITCHES.get(entry)?;
    fetch_add(&switch.returning, 1);
    // Before the lock: whoever holds it may be waiting for this. And before all that may fail: a call that is not among them would
    // hide one that was overtaken.
    fetch_add(&switch.returned, accepted);
    let found = hold_against_pipe(task, descriptor as u32, stream, switch, entry, accepted);
    fetch_add(&switch.returning, u64::MAX);
    let (position, length) = found?;
    let globals = GLOBALS.get(0)?;
    let source = Source { globals, slot, index: entry / 2, stream: which, via: Via::Write, call, abi };
    output::capture_in_steps(&source, position, buffer, count, length)
}

/// Position and number of the bytes that the call which returns now had put in before the switch.
#[inline(always)]
fn hold_against_pipe(
    task: *const c_void,
    descriptor: u32,
    stream: &OutputStream,
    switch: &Switch,
    entry: u32,
    accepted: u64,
) -> Option<(u64, u64)> {
    let pipe = pipe_of(task, descriptor, stream);
    if pipe.is_none() || !lock(entry) {
        // Another call's exit will find what is missing, or the stream's end; and must not take it for its own.
        set(&switch.masked, 1);
        return None;
    }
    let found = settle(stream, switch, pipe?, entry, accepted);
    set(&switch.lock, 0);
    found
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
    let Some(switch) = SWITCHES.get(tally.entry()) else { return STOP };
    if compare_exchange(&switch.lock, 0, 1) {
        tally.answer = 1;
        return STOP;
    }
    GO_ON
}

/// The same, with the lock.
#[inline(always)]
fn settle(stream: &OutputStream, switch: &Switch, pipe: u64, entry: u32, accepted: u64) -> Option<(u64, u64)> {
    let is_first = is_first(stream);
    let Some(missing) = missing(pipe, entry) else {
        if is_first {
            set(&switch.unnoticed, get(&switch.unnoticed) | bit(accepted));
        }
        return None;
    };
    let position = account::relayed(stream, missing);
    let may_be_its_own = is_first && (missing == accepted || (missing < accepted && accepted > AS_A_WHOLE));
    // They are asked in this order, because a call that gives up is not among the ones after it is among the others.
    let may_be_anothers =
        get(&switch.returning) != 1 || get(&switch.masked) != 0 || get(&switch.unnoticed) & bit(missing) != 0;
    if may_be_anothers || !may_be_its_own {
        // A call's that returned while it was not to be seen, or one's that is about to be held against the pipe. Its memory is out
        // of reach, or will be. It may have been only a part, and the rest be as long as another call.
        set(&switch.masked, 1);
        account::lost(stream, LostReason::Fault, missing);
        return None;
    }
    Some((position, missing))
}

/// A length, as an element of a set.
#[inline(always)]
fn bit(length: u64) -> u64 {
    1 << (length & 63)
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
        let is_first = switch != 0 && RETURNED.get(thread).is_none_or(|last| *last != switch);
        let _ = RETURNED.insert(thread, switch, 0);
        is_first
    }
}

/// Asks for what has been put into the pipe since the switch, once it stands still and all reads are counted.
extern "C" fn look_once(_: u64, _: *mut c_void) -> i64 {
    let Some(tally) = pipe::tally() else { return STOP };
    let (Some(stream), Some(switch)) = (tally.stream(), SWITCHES.get(tally.entry())) else { return STOP };
    let (returned, marked) = (get(&switch.returned), get(&stream.mark));
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
        if get(&switch.masked) == 0 && !tally.is_quiet(LONG) {
            return GO_ON;
        }
        set(&switch.masked, 1);
        return STOP;
    }
    tally.answer = returned - put;
    STOP
}
