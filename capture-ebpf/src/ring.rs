//! Into the ring buffer: how much room a record takes, whether its container may have it, and whether the agent is woken.
//!
//! A wake-up is an interrupt, and may be two: on the writer's CPU and on the reader's. So the agent says what it does
//! ([`ReaderState`]), and is woken only out of its sleep.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use capture_common::{ContainerSlot, GlobalCounters, LostReason, MAX_PAYLOAD, OutputStream, ReaderState, RecordHeader};

use crate::account;
use crate::maps::{Draft, GLOBALS, RECORDS, config};
use crate::output::Source;
use crate::verifier::{at_most, fetch_add, get, no_more_than, set};

const PAYLOAD: u64 = MAX_PAYLOAD as u64;
const HEAD: u64 = RecordHeader::SIZE as u64;
/// What the ring buffer adds to each record (`BPF_RINGBUF_HDR_SZ`).
const RING_HEADER: u64 = 8;
/// `BPF_RB_NO_WAKEUP`
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`
pub const FORCE_WAKEUP: u64 = 2;
/// A reader that rests is woken when one container holds this part of its share.
const RESTLESS_PART: u64 = 8;

/// Room for the payload of a record that holds `length` bytes.
///
/// The verifier wants to see the size of a reservation as a constant, so there is a fixed set of them, and a branch for
/// each. Up to 1 KiB a record and its heads end at a cache line; beyond, the sizes that programs' buffers have fit.
#[inline(always)]
fn room(length: u64) -> u64 {
    match length {
        0..=40 => 40,
        41..=104 => 104,
        105..=168 => 168,
        169..=232 => 232,
        233..=360 => 360,
        361..=488 => 488,
        489..=744 => 744,
        745..=1000 => 1000,
        1001..=1512 => 1512,
        1513..=2048 => 2048,
        2049..=3072 => 3072,
        3073..=4096 => 4096,
        4097..=6144 => 6144,
        6145..=8192 => 8192,
        8193..=12288 => 12288,
        12289..=16384 => 16384,
        16385..=24576 => 24576,
        24577..=32768 => 32768,
        32769..=49152 => 49152,
        _ => PAYLOAD,
    }
}

/// Copies the `length` bytes at `from`, at most [`MAX_PAYLOAD`], straight into the ring buffer: the one copy that there
/// has to be.
#[inline(always)]
pub fn copy_in(source: &Source<'_>, stream: &OutputStream, position: u64, from: u64, length: u64) {
    let Source { globals, slot, .. } = source;
    let room = room(length);
    let size = HEAD + room;
    let held = held(slot);
    if !fits(held, size) {
        account::lost(stream, LostReason::RingShare, length);
        return;
    }
    let Some(mut record) = RECORDS.reserve_bytes(size as usize, 0) else {
        account::lost(stream, LostReason::RingFull, length);
        return;
    };
    let start = record.as_mut_ptr();
    // SAFETY: the record has `size` bytes, and ring buffer records are aligned to 8 bytes.
    let failed = unsafe {
        start.cast::<RecordHeader>().write(source.header(position, length));
        let length = no_more_than(length, room);
        bpf_probe_read_user(start.add(HEAD as usize).cast(), length as u32, from as *const c_void)
    };
    if failed != 0 {
        // The next record, or the end of the reader's sleep, frees its room.
        record.discard(NO_WAKEUP);
        account::lost(stream, LostReason::Fault, length);
        return;
    }
    let flags = flags(globals, held + size as i64);
    record.submit(flags);
    wake_late(globals, flags);
    fetch_add(&slot.ring_submitted, size + RING_HEADER);
    account::submitted(stream, length);
}

/// Bytes of the ring buffer that the container holds. Signed: the agent may have given a record back before the CPU that
/// submitted it has counted it.
#[inline(always)]
fn held(slot: &ContainerSlot) -> i64 {
    get(&slot.ring_submitted).wrapping_sub(get(&slot.ring_consumed)) as i64
}

/// Whether a container that holds `held` bytes may have `size` more.
#[inline(always)]
fn fits(held: i64, size: u64) -> bool {
    held + (size + RING_HEADER) as i64 <= config!(ring_share) as i64
}

/// How to submit a record of a container that holds `held` bytes with it: whether the reader is to be woken.
///
/// What the ring buffer itself holds is not asked for, which would be a call: sixteen containers can fill it up without one of
/// them waking the reader, but not within the millisecond that it rests.
#[inline(always)]
fn flags(globals: &GlobalCounters, held: i64) -> u64 {
    let state = get(&globals.reader);
    if state == ReaderState::Busy as u64 {
        return NO_WAKEUP;
    }
    if state == ReaderState::Resting as u64 && held < (config!(ring_share) / RESTLESS_PART) as i64 {
        return NO_WAKEUP;
    }
    set(&globals.reader, ReaderState::Busy as u64);
    FORCE_WAKEUP
}

/// Wakes a reader that has gone to sleep between [`flags`] and the record's submission, and may have looked in vain.
///
/// A record that is discarded is all there is to wake with. The submission is a full barrier (`xchg` in
/// `bpf_ringbuf_commit`), so either this sees the reader's state or the reader sees the record.
#[inline(always)]
fn wake_late(globals: &GlobalCounters, flags: u64) {
    if flags != NO_WAKEUP {
        return;
    }
    if get(&globals.reader) == ReaderState::Waiting as u64 {
        set(&globals.reader, ReaderState::Busy as u64);
        if let Some(bell) = RECORDS.reserve_bytes(8, 0) {
            bell.discard(FORCE_WAKEUP);
        }
    }
}

/// Puts `length` bytes of payload into the ring buffer. Where it is full, or the container has used up its share, the
/// rest of the call is lost with them: half a write is of little use, and the next one may find room.
#[inline(always)]
pub fn emit(
    draft: &mut Draft,
    slot: &ContainerSlot,
    stream: &OutputStream,
    position: u64,
    length: u64,
    remaining: u64,
) -> bool {
    let size = at_most::<{ PAYLOAD + HEAD }>(HEAD + length);
    // As the reader sees it.
    let taken = (size + 7) & !7;
    let held = held(slot);
    if !fits(held, taken) {
        account::lost(stream, LostReason::RingShare, length + remaining);
        return false;
    }
    draft.header.position = position;
    draft.header.length = length as u32;
    draft.header.remaining = remaining;
    // SAFETY: header and payload are one allocation, and `size` ends within it.
    let record = unsafe { core::slice::from_raw_parts((&raw const *draft).cast::<u8>(), size as usize) };
    let globals = GLOBALS.get(0);
    let flags = globals.map_or(FORCE_WAKEUP, |globals| flags(globals, held + taken as i64));
    if RECORDS.output::<[u8]>(record, flags).is_err() {
        account::lost(stream, LostReason::RingFull, length + remaining);
        return false;
    }
    if let Some(globals) = globals {
        wake_late(globals, flags);
    }
    fetch_add(&slot.ring_submitted, taken + RING_HEADER);
    account::submitted(stream, length);
    true
}
