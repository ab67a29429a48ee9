//! Capture at the relay: for output that does not pass `write`.
//!
//! `sendfile`, `splice`, `tee`, `vmsplice`, io_uring and AIO put bytes into a pipe that no exit of a write call shows.
//! But the runtime's relay reads them. When such a call *enters* on a known output, the stream is switched: what sits
//! unread in the pipe has been captured when it was written, so that many bytes are skipped, and from then on the
//! relay's reads are taken. Bytes and order are then exactly the engine's. A stream that was switched once stays there.

use core::ffi::c_void;
use core::sync::atomic::AtomicU64;

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_loop};
use capture_common::{ContainerSlot, OutputStream, RELAY_ALWAYS, RELAY_WHEN_NEEDED, SWITCHED, Side, Via};

use crate::container;
use crate::current_task;
use crate::files::{File, Inode};
use crate::maps::{GLOBALS, RELAYED, RELAYS, SLOTS, config};
use crate::output::{Source, capture, stream_at, stream_of};
use crate::pipe::Tally;
use crate::syscalls::{Abi, Bypass, Call, Registers};
use crate::verifier::{compare_exchange, fetch_add, get, set};
use crate::{account, overtaken, pipe};

/// Looks at a pipe that is changing under the hands of a reader or writer before the last look counts.
const MAX_LOOKS: u32 = 4096;
/// Looks at whether another CPU has finished a switch, which takes it up to [`MAX_LOOKS`] looks at a pipe.
const MAX_WAITS: u32 = 1 << 16;
/// How long nothing may have been put into the pipe, in ns: longer than a writer on another CPU takes from there to the
/// exit of its call, where the bytes are captured, unless it is interrupted.
const QUIET: u64 = 1000;
/// `-EIO`: what reading the master side gives when the slave side has been closed.
const TERMINAL_CLOSED: i64 = -5;

/// Streams that are captured at the relay now. While there are none, reads cost a load: see `replaced`.
static STREAMS: AtomicU64 = AtomicU64::new(0);
/// What the agent adds to that, modulo 2^64: streams that it knows of first, less those that it knows to have ended.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.agent")]
static STREAMS_OF_AGENT: AtomicU64 = AtomicU64::new(0);

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
    if get(&stream.side) > Side::Switching as u64 {
        return None;
    }
    let pipe = inode.pipe()?;
    let entry = index * 2 + u32::from(which);
    if fetch_add(&stream.switchers, 1) > 0 {
        // Another CPU is at it. What this call moves must not come into the pipe before the other has looked.
        wait_for_switch(entry);
        return None;
    }
    // From here on the relay's reads are seen, and wait.
    watch(slot, stream, get(&stream.inode), entry)?;
    overtaken::begin(stream);
    // With the fence of an atomic operation: the pipe is looked at after reads were told to wait.
    fetch_add(&stream.side, Side::Switching as u64);
    look(pipe, entry, stream)?;
    set(&stream.side, Side::RelayFirst as u64);
    Some(())
}

/// Takes the bytes of a stream that nobody has written to yet at the relay.
#[inline(always)]
pub fn start(slot: &ContainerSlot, stream: &OutputStream, key: u64, index: u32, which: u8) {
    if watch(slot, stream, key, index * 2 + u32::from(which)).is_some() {
        set(&stream.written, SWITCHED);
        set(&stream.side, Side::Relay as u64);
    }
}

/// Has the relay's reads looked at. They are not captured before the stream's side says so.
#[inline(always)]
fn watch(slot: &ContainerSlot, stream: &OutputStream, key: u64, entry: u32) -> Option<()> {
    let relay = get(&slot.relay_pid) as u32;
    if RELAYS.insert(relay, entry / 2, 0).is_err() || RELAYED.insert(key, entry, 0).is_err() {
        set(&stream.switchers, 0);
        return None;
    }
    fetch_add(&STREAMS, 1);
    Some(())
}

/// Whether any stream is taken at its relay.
#[inline(always)]
pub fn is_any() -> bool {
    get(&STREAMS).wrapping_add(get(&STREAMS_OF_AGENT)) != 0
}

/// A read call of any process has returned, and [`is_any`].
#[inline(always)]
pub fn read(registers: Registers, returned: i64) -> Option<()> {
    let globals = GLOBALS.get(0)?;
    // SAFETY: a plain helper; the map's values are not used as references.
    unsafe { RELAYS.get((bpf_get_current_pid_tgid() >> 32) as u32)? };
    let [descriptor, buffer, count] = registers.arguments(Abi::Native);
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
        overtaken::ended(stream, inode, entry);
        let _ = RELAYED.remove(key);
        fetch_add(&STREAMS, u64::MAX);
        set(&stream.side, Side::Closed as u64);
        return None;
    }
    if returned < 0 {
        return None;
    }
    let returned = returned as u64;
    if get(&stream.side) == Side::Switching as u64 {
        wait_for_switch(entry);
    }
    if get(&stream.side) < Side::RelayFirst as u64 {
        // It took its bytes before anybody looked at the pipe.
        return None;
    }
    if get(&stream.side) == Side::RelayFirst as u64 {
        set(&stream.side, Side::Relay as u64);
        // Nobody else reads this pipe. If nothing has left it since the switch, this call had taken its bytes before,
        // and they are neither among those to be skipped nor new.
        if pipe::has_read_nothing(get(&stream.mark), pipe::mark(inode.pipe()?)?, returned, count) {
            return None;
        }
    }
    let skip = get(&stream.skip);
    let skipped = if skip < returned { skip } else { returned };
    set(&stream.skip, skip - skipped);
    let length = returned - skipped;
    if length > 0 {
        let position = account::relayed(stream, length);
        let source =
            Source { globals, slot, index, stream: which, via: Via::Relay, call: Call::Write, abi: Abi::Native };
        capture(&source, position, buffer + skipped, 0, length);
    }
    if overtaken::is_possible(stream) {
        overtaken::has_read(stream, inode.pipe());
    }
    Some(())
}

/// Returns when another CPU has switched the stream, or has failed to.
#[inline(always)]
fn wait_for_switch(entry: u32) {
    if pipe::look_at(0, entry).is_some() {
        // SAFETY: the callback has the signature that the helper calls, and takes no context.
        unsafe { bpf_loop(MAX_WAITS, is_switched as *mut c_void, core::ptr::null_mut(), 0) };
    }
}

extern "C" fn is_switched(_: u64, _: *mut c_void) -> i64 {
    let Some(tally) = pipe::tally() else { return STOP };
    let Some(stream) = tally.stream() else { return STOP };
    if get(&stream.side) > Side::Switching as u64 || get(&stream.switchers) == 0 { STOP } else { GO_ON }
}

/// Counts what is unread in a pipe, at a moment when nobody holds it, nothing moves, and all that was put in has been
/// captured; from that moment on write calls are captured no more.
#[inline(always)]
fn look(pipe: u64, entry: u32, stream: &OutputStream) -> Option<()> {
    let tally = pipe::look_at(pipe, entry)?;
    // SAFETY: the callback has the signature that the helper calls, and takes no context.
    unsafe { bpf_loop(MAX_LOOKS, look_once as *mut c_void, core::ptr::null_mut(), 0) };
    if tally.answer == 0 {
        // It never stood still. What is moved must be captured all the same.
        prepare(stream, tally, get(&stream.written))?;
        fetch_add(&stream.written, SWITCHED);
    }
    Some(())
}

/// Sets what is needed as soon as the stream is switched.
#[inline(always)]
fn prepare(stream: &OutputStream, tally: &Tally, captured: u64) -> Option<()> {
    set(&stream.relayed, captured);
    set(&stream.skip, tally.bytes);
    set(&stream.mark, tally.mark);
    overtaken::prepare(tally.entry(), captured)
}

extern "C" fn look_once(_: u64, _: *mut c_void) -> i64 {
    let Some(tally) = pipe::tally() else { return STOP };
    let Some(stream) = tally.stream() else { return STOP };
    let captured = get(&stream.written);
    let Some(stood_still) = pipe::count(tally) else { return STOP };
    if !stood_still || !tally.is_quiet(QUIET) {
        return GO_ON;
    }
    if prepare(stream, tally, captured).is_none() {
        return STOP;
    }
    // Fails where a call was captured meanwhile: what it wrote may have come into the pipe after the look.
    if !compare_exchange(&stream.written, captured, captured | SWITCHED) {
        return GO_ON;
    }
    tally.answer = 1;
    STOP
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
