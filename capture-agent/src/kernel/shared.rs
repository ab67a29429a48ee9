//! Memory that the kernel writes and the agent reads: the slot table and the records of the ring buffer.
//!
//! The only unsafe code of the agent, but for single calls of the C library (`memory.rs`, `priority.rs`, `resolver.rs`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use aya::maps::{MapData, RingBuf};
use capture_common::{
    CGROUP_HINTS, CONTAINER_ID_LEN, CgroupHint, Config, ContainerSlot, GlobalCounters, RecordHeader, RecordKind, Stream,
};
use memmap2::{MmapOptions, MmapRaw};

use super::KernelError;

/// The slot table, what is known of cgroups and the global counters, mapped from their array maps.
#[derive(Debug)]
pub struct SlotTable {
    slots: MmapRaw,
    hints: MmapRaw,
    globals: MmapRaw,
    capacity: u32,
}

impl SlotTable {
    /// Maps the table of `capacity` slots, the hints and the counters behind three map descriptors.
    pub(super) fn map(slots: RawFd, capacity: u32, hints: RawFd, globals: RawFd) -> Result<Self, KernelError> {
        let map = |fd: RawFd, len: usize, name: &'static str| {
            MmapOptions::new().len(len).map_raw(fd).map_err(|source| KernelError::Mmap { name, source })
        };
        Ok(Self {
            slots: map(slots, capacity as usize * size_of::<ContainerSlot>(), "SLOTS")?,
            hints: map(hints, CGROUP_HINTS as usize * size_of::<CgroupHint>(), "HINTS")?,
            globals: map(globals, size_of::<GlobalCounters>(), "GLOBALS")?,
            capacity,
        })
    }

    /// Number of slots.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// One slot; `None` where the index is outside the table.
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping starts at a page, and slots are as large as aligned")]
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&ContainerSlot> {
        (index < self.capacity).then(|| {
            // SAFETY: the mapping is page-aligned, holds `capacity` slots and lives as long as `self`; every field of a
            // slot is atomic, so the kernel's writes are no data race.
            unsafe { &*self.slots.as_ptr().cast::<ContainerSlot>().add(index as usize) }
        })
    }

    /// What is known of the cgroups that have the lower bits of this one's id.
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping starts at a page, and hints are as large as aligned")]
    pub(super) fn hint(&self, cgroup_id: u64) -> &CgroupHint {
        let index = cgroup_id % u64::from(CGROUP_HINTS);
        // SAFETY: as above; the index is below the number of hints.
        unsafe { &*self.hints.as_ptr().cast::<CgroupHint>().add(index as usize) }
    }

    /// Counters that belong to no container.
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping starts at a page")]
    #[must_use]
    pub fn globals(&self) -> &GlobalCounters {
        // SAFETY: as above, for one structure.
        unsafe { &*self.globals.as_ptr().cast::<GlobalCounters>() }
    }
}

/// Where the kernel and the reader stand in the ring buffer: the two pages before its data (`bpf_ringbuf_area_alloc` in
/// `kernel/bpf/ringbuf.c`).
#[derive(Debug)]
pub struct RingUse {
    consumer: MmapRaw,
    producer: MmapRaw,
}

impl RingUse {
    /// Maps the positions of a ring buffer.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn map(ring: &RingBuf<MapData>) -> io::Result<Self> {
        let (ring, page) = (ring.as_fd().as_raw_fd(), rustix::param::page_size());
        let map = |index: usize| MmapOptions::new().offset((index * page) as u64).len(page).map_raw_read_only(ring);
        Ok(Self { consumer: map(0)?, producer: map(1)? })
    }

    /// Bytes that wait to be read, with the records' heads.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        // The reader's own position moves only up to the kernel's, so this order never gives a negative number.
        let consumed = position(&self.consumer);
        position(&self.producer).saturating_sub(consumed)
    }
}

/// The position at the start of a page: an `unsigned long`.
#[expect(clippy::cast_ptr_alignment, reason = "a mapping starts at a page")]
fn position(page: &MmapRaw) -> u64 {
    // SAFETY: the mapping is page-aligned, readable and longer than a word; it is only loaded, atomically.
    unsafe { &*page.as_ptr().cast::<AtomicU64>() }.load(Acquire)
}

/// The id in a slot, as text.
#[must_use]
pub fn container_id(slot: &ContainerSlot) -> String {
    let mut bytes = [0; CONTAINER_ID_LEN];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(&slot.container_id) {
        chunk.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Stores an id of 64 digits in a slot.
pub(super) fn set_container_id(slot: &ContainerSlot, id: &str) {
    for (chunk, word) in id.as_bytes().chunks_exact(8).zip(&slot.container_id) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(bytes), Relaxed);
    }
}

/// One record of the ring buffer.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What it says.
    pub kind: RecordKind,
    /// Of which stream; meaningful for [`RecordKind::Output`].
    pub stream: Stream,
    /// Everything else.
    pub header: RecordHeader,
    /// The bytes that were written; empty for other kinds.
    pub payload: &'a [u8],
}

/// Reads a record; `None` if it is not one of this layout version.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Record<'_>> {
    let (head, payload) = bytes.split_at_checked(RecordHeader::SIZE)?;
    // SAFETY: the slice has the header's size, and every bit pattern is a header.
    let header = unsafe { head.as_ptr().cast::<RecordHeader>().read_unaligned() };
    Some(Record {
        kind: RecordKind::from_u8(header.kind)?,
        stream: Stream::from_index(header.stream)?,
        payload: payload.get(..header.length as usize)?,
        header,
    })
}

/// [`Config`] as aya takes a global.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct ConfigGlobal(pub Config);

// SAFETY: `Config` is `repr(C)`, made of integers, without padding.
unsafe impl aya::Pod for ConfigGlobal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(header: RecordHeader, payload: &[u8]) -> Vec<u8> {
        // SAFETY: a header is plain data without padding.
        let head: [u8; RecordHeader::SIZE] = unsafe { std::mem::transmute(header) };
        [&head, payload].concat()
    }

    #[test]
    fn reads_header_and_payload() {
        let header = RecordHeader { kind: 1, stream: 1, length: 3, position: 7, ..RecordHeader::default() };
        let raw = bytes(header, b"abc\0\0");
        let record = decode(&raw).unwrap();
        assert_eq!((record.kind, record.stream), (RecordKind::Output, Stream::Stderr));
        assert_eq!((record.payload, record.header.position), (&b"abc"[..], 7));
    }

    #[test]
    fn refuses_what_is_not_a_record() {
        let header = RecordHeader { kind: 1, length: 4, ..RecordHeader::default() };
        assert!(decode(&bytes(header, b"abc")).is_none(), "shorter than its length");
        assert!(decode(&[1; 10]).is_none(), "shorter than a header");
        assert!(decode(&bytes(RecordHeader { kind: 9, ..header }, b"abcd")).is_none(), "unknown kind");
        assert!(decode(&bytes(RecordHeader { stream: 2, ..header }, b"abcd")).is_none(), "unknown stream");
    }
}
