//! Capture at the relay: for output that does not pass `write`.
//!
//! `sendfile`, `splice`, `tee`, `vmsplice`, io_uring and AIO put bytes into a pipe that no exit of a write call shows.
//! But the runtime's relay reads them. When such a call *enters* on a known output, the stream is switched: what sits
//! unread in the pipe has been captured when it was written, so that many bytes are skipped, and from then on the
//! relay's reads are taken. Bytes and order are then exactly the engine's. A stream that was switched once stays there.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_loop};
use capture_common::{ContainerSlot, OutputStream, RELAY_ALWAYS, RELAY_WHEN_NEEDED, Side, Via};

use crate::container;
use crate::current_task;
use crate::files::{File, Inode};
use crate::maps::{GLOBALS, RELAYED, RELAYS, SCRATCH, SLOTS, config, offset};
use crate::output::{Source, capture, stream_at, stream_of};
use crate::syscalls::{Abi, Bypass, Call, Registers};
use crate::verifier::{fetch_add, get, probe, set};

/// Looks at a pipe that is changing under the hands of a reader or writer before the last look counts.
const MAX_LOOKS: u32 = 4096;
/// Buffers of a pipe that are summed up; the default largest pipe has 256.
const MAX_BUFFERS: u32 = 1 << 16;
/// Looks at whether another CPU has finished a switch, which takes it up to [`MAX_LOOKS`] looks at a pipe.
const MAX_WAITS: u32 = 1 << 16;
/// How long nothing may have been put into the pipe, in ns: longer than a writer on another CPU takes from there to the
/// exit of its call, where the bytes are captured.
const QUIET: u64 = 1000;
/// The low half of a mark when the pipe is empty.
const EMPTY: u64 = 0xffff_ffff;
/// `-EIO`: what reading the master side gives when the slave side has been closed.
const TERMINAL_CLOSED: i64 = -5;

const GO_ON: i64 = 0;
const STOP: i64 = 1;

/// A call that moves bytes past `write` has entered.
#[inline(always)]
pub fn entered(task: *const c_void, registers: Registers, bypass: Bypass, abi: Abi) -> Option<()> {
    let (index, slot) = container::captured(task)?;
    let descriptor = match bypass {
        Bypass::Argument(position) => registers.arguments(abi)[position],
        Bypass::Anything => {
            switch_noted(slot, index, 0);
            switch_noted(slot, index, 1);
            // Streams of a container that ran before the agent have no address noted.
            switch_descriptor(task, slot, index, 1);
            return switch_descriptor(task, slot, index, 2);
        }
    };
    switch_descriptor(task, slot, index, descriptor as u32)
}

#[inline(always)]
fn switch_descriptor(task: *const c_void, slot: &ContainerSlot, index: u32, descriptor: u32) -> Option<()> {
    let inode = File::of_fd(task, descriptor)?.inode()?;
    let stream = stream_of(slot, inode)?;
    switch(slot, index, stream, inode)
}

/// Switches a stream whose inode was noted when the container's init executed.
#[inline(always)]
fn switch_noted(slot: &ContainerSlot, index: u32, stream: u8) -> Option<()> {
    let address = get(&stream_at(slot, stream).address);
    if address == 0 {
        return None;
    }
    let inode = Inode::at(address);
    if stream_of(slot, inode)? != stream {
        return None;
    }
    switch(slot, index, stream, inode)
}

#[inline(always)]
fn switch(slot: &ContainerSlot, index: u32, which: u8, inode: Inode) -> Option<()> {
    let stream = stream_at(slot, which);
    if get(&stream.side) != Side::Write as u64 {
        return None;
    }
    let pipe = inode.pipe()?;
    if fetch_add(&stream.switchers, 1) > 0 {
        // Another CPU is at it. What this call moves must not come into the pipe before the other has looked.
        wait_for_switch(index, which);
        return None;
    }
    let tally = look(pipe)?;
    set(&stream.skip, tally.bytes);
    set(&stream.mark, tally.mark);
    start(slot, stream, get(&stream.inode), index, which, Side::RelayFirst);
    Some(())
}

/// Takes a stream's bytes at the relay from now on.
#[inline(always)]
pub fn start(slot: &ContainerSlot, stream: &OutputStream, key: u64, index: u32, which: u8, side: Side) {
    let relay = get(&slot.relay_pid) as u32;
    if RELAYS.insert(relay, index, 0).is_err() || RELAYED.insert(key, index * 2 + u32::from(which), 0).is_err() {
        set(&stream.switchers, 0);
        return;
    }
    if let Some(globals) = GLOBALS.get(0) {
        fetch_add(&globals.relay_streams, 1);
    }
    set(&stream.side, side as u64);
}

/// Whether any stream is taken at its relay.
#[inline(always)]
pub fn is_any() -> bool {
    GLOBALS.get(0).is_some_and(|globals| get(&globals.relay_streams) != 0)
}

/// A read call of any process has returned, and [`is_any`].
#[inline(always)]
pub fn read(registers: Registers, returned: i64) -> Option<()> {
    let globals = GLOBALS.get(0)?;
    // SAFETY: a plain helper; the map's values are not used as references.
    unsafe { RELAYS.get((bpf_get_current_pid_tgid() >> 32) as u32)? };
    let [descriptor, buffer, _] = registers.arguments(Abi::Native);
    let file = File::of_fd(current_task(), descriptor as u32)?;
    let inode = file.inode()?;
    let terminal = file.slave_of_master(inode);
    let key = match terminal {
        Some(slave) => slave,
        None => inode.number()?,
    };
    // SAFETY: the map's values are numbers that are never written again.
    let entry = unsafe { *RELAYED.get(key)? };
    let (index, which) = (entry / 2, (entry % 2) as u8);
    let slot = SLOTS.get(index)?;
    let stream = stream_at(slot, which);

    if returned == 0 || (returned == TERMINAL_CLOSED && terminal.is_some()) {
        let _ = RELAYED.remove(key);
        fetch_add(&globals.relay_streams, u64::MAX);
        set(&stream.side, Side::Closed as u64);
        return None;
    }
    if returned < 0 {
        return None;
    }
    if get(&stream.side) == Side::RelayFirst as u64 {
        set(&stream.side, Side::Relay as u64);
        // Nobody else reads this pipe. If nothing has left it since the switch, this call had taken its bytes before,
        // and they are neither among those to be skipped nor new.
        if mark(inode.pipe()?)? == get(&stream.mark) {
            return None;
        }
    }
    let skip = get(&stream.skip);
    let returned = returned as u64;
    if skip >= returned {
        set(&stream.skip, skip - returned);
        return None;
    }
    set(&stream.skip, 0);
    let source = Source { globals, slot, index, stream: which, via: Via::Relay, call: Call::Write, abi: Abi::Native };
    capture(&source, buffer + skip, 0, returned - skip)
}

/// Returns when another CPU has switched the stream, or has failed to.
#[inline(always)]
fn wait_for_switch(index: u32, which: u8) {
    let Some(tally) = tally() else { return };
    tally.entry = u64::from(index) * 2 + u64::from(which);
    // SAFETY: the callback has the signature that the helper calls, and takes no context.
    unsafe { bpf_loop(MAX_WAITS, is_switched as *mut c_void, core::ptr::null_mut(), 0) };
}

extern "C" fn is_switched(_: u64, _: *mut c_void) -> i64 {
    let Some(tally) = tally() else { return STOP };
    let Some(slot) = SLOTS.get((tally.entry / 2) as u32) else { return STOP };
    let stream = stream_at(slot, (tally.entry % 2) as u8);
    if get(&stream.side) != Side::Write as u64 || get(&stream.switchers) == 0 { STOP } else { GO_ON }
}

/// What a look at a pipe has found. In map memory for the same reason as [`Walk`](crate::output::Walk).
#[repr(C)]
pub struct Tally {
    pipe: u64,
    /// Unread bytes.
    bytes: u64,
    /// See [`OutputStream::mark`].
    mark: u64,
    buffers: u64,
    next: u64,
    mask: u64,
    /// Where writing has come to: see [`written`].
    written: u64,
    /// Since when it stands there, in ns.
    quiet_since: u64,
    /// Slot × 2 + stream that another CPU is switching.
    entry: u64,
}

/// Counts what is unread in a pipe, at a moment when nobody holds it, nothing moves, and all that was put in has been
/// captured.
#[inline(always)]
fn look(pipe: u64) -> Option<&'static Tally> {
    // SAFETY: a plain helper; the scratch entry is this CPU's, and preemption is off.
    let tally = unsafe { &mut (*SCRATCH.get_ptr_mut(bpf_get_smp_processor_id())?).tally };
    tally.pipe = pipe;
    tally.bytes = 0;
    tally.written = u64::MAX;
    // SAFETY: the callback has the signature that the helper calls, and takes no context.
    unsafe { bpf_loop(MAX_LOOKS, look_once as *mut c_void, core::ptr::null_mut(), 0) };
    Some(tally)
}

extern "C" fn look_once(_: u64, _: *mut c_void) -> i64 {
    let Some(tally) = tally() else { return STOP };
    let pipe = tally.pipe as *const c_void;
    let (Some(owner), Some(written), Some(head), Some(tail), Some(size), Some(buffers), Some(mark)) = (
        probe::<u64>(pipe, offset!(pipe_mutex_owner)),
        written(tally.pipe),
        probe::<u32>(pipe, offset!(pipe_head)),
        probe::<u32>(pipe, offset!(pipe_tail)),
        probe::<u32>(pipe, offset!(pipe_ring_size)),
        probe::<u64>(pipe, offset!(pipe_bufs)),
        mark(tally.pipe),
    ) else {
        return STOP;
    };
    tally.mark = mark;
    tally.bytes = 0;
    tally.buffers = buffers;
    tally.next = u64::from(tail);
    tally.mask = u64::from(size.wrapping_sub(1));
    let used = head.wrapping_sub(tail);
    let count = if used < MAX_BUFFERS { used } else { MAX_BUFFERS };
    // SAFETY: as above.
    unsafe { bpf_loop(count, add_buffer as *mut c_void, core::ptr::null_mut(), 0) };
    // SAFETY: a plain helper.
    let now = unsafe { bpf_ktime_get_ns() };
    if written != tally.written {
        tally.written = written;
        tally.quiet_since = now;
    }
    let is_quiet = now - tally.quiet_since >= QUIET;
    let is_free = owner == 0 && probe::<u64>(pipe, offset!(pipe_mutex_owner)) == Some(0);
    let stood_still = self::written(tally.pipe) == Some(written) && self::mark(tally.pipe) == Some(mark);
    if is_quiet && is_free && stood_still { STOP } else { GO_ON }
}

extern "C" fn add_buffer(_: u64, _: *mut c_void) -> i64 {
    let Some(tally) = tally() else { return STOP };
    let buffer = tally.buffers + (tally.next & tally.mask) * u64::from(offset!(pipe_buffer_size));
    tally.next += 1;
    let Some(length) = probe::<u32>(buffer as *const c_void, offset!(pipe_buffer_len)) else { return STOP };
    tally.bytes += u64::from(length);
    GO_ON
}

#[inline(always)]
fn tally() -> Option<&'static mut Tally> {
    // SAFETY: a plain helper; the scratch entry is this CPU's, and preemption is off.
    unsafe { Some(&mut (*SCRATCH.get_ptr_mut(bpf_get_smp_processor_id())?).tally) }
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
fn mark(pipe: u64) -> Option<u64> {
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

/// Whether a new stream is captured at the relay from its start.
#[inline(always)]
pub fn from_the_start(is_terminal: bool) -> bool {
    match config!(relay) {
        RELAY_ALWAYS => true,
        // There is no pipe to count in, so a terminal could not be switched later.
        RELAY_WHEN_NEEDED => is_terminal,
        _ => false,
    }
}
