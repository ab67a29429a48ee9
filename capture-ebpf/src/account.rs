//! Counting: every byte that a container writes is either submitted or lost for a reason.

use capture_common::{LostReason, OutputStream};

use crate::verifier::fetch_add;

/// A call has returned that wrote `length` bytes: gives the position of the first, or something with [`SWITCHED`] where
/// the stream is not captured there any more.
///
/// [`SWITCHED`]: capture_common::SWITCHED
#[inline(always)]
pub fn written(stream: &OutputStream, length: u64) -> u64 {
    fetch_add(&stream.written, length)
}

/// The relay has read `length` bytes: gives the position of the first.
#[inline(always)]
pub fn relayed(stream: &OutputStream, length: u64) -> u64 {
    fetch_add(&stream.relayed, length)
}

/// `length` bytes are in the ring buffer.
#[inline(always)]
pub fn submitted(stream: &OutputStream, length: u64) {
    fetch_add(&stream.submitted, length);
}

/// `length` bytes will never be.
#[inline(always)]
pub fn lost(stream: &OutputStream, reason: LostReason, length: u64) {
    let counter = match reason {
        LostReason::RingFull => &stream.lost[0],
        LostReason::RingShare => &stream.lost[1],
        LostReason::Fault => &stream.lost[2],
        LostReason::Truncated => &stream.lost[3],
    };
    fetch_add(counter, length);
}
