//! Room in the ring buffer that containers have back.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::kernel::SlotTable;

/// This part of the ring buffer is worth telling of.
const PART: u64 = 64;

/// What a container has back of its share of the ring buffer. Told to the kernel side in larger sums: each time costs the
/// container's next write a look into another processor's cache.
pub(super) struct Consumed {
    table: Arc<SlotTable>,
    enough: u64,
    slot: u32,
    bytes: u64,
}

impl Consumed {
    pub(super) fn new(table: Arc<SlotTable>, ring_size: u64) -> Self {
        Self { table, enough: ring_size / PART, slot: 0, bytes: 0 }
    }

    /// So many bytes that the container of a slot had put in are out.
    pub(super) fn add(&mut self, slot: u32, bytes: u64) {
        if slot != self.slot {
            self.tell();
            self.slot = slot;
        }
        self.bytes += bytes;
        if self.bytes >= self.enough {
            self.tell();
        }
    }

    /// Tells what is not told yet.
    pub(super) fn tell(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0
            && let Some(slot) = self.table.get(self.slot)
        {
            slot.ring_consumed.fetch_add(bytes, Relaxed);
        }
    }
}

impl Drop for Consumed {
    fn drop(&mut self) {
        self.tell();
    }
}
