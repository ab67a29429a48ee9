//! The cgroups whose output is captured, and what the kernel side finds them by. Its half is `capture-ebpf/src/container.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use aya::maps::{HashMap, MapData};

use super::shared::SlotTable;

const BPF_NOEXIST: u64 = 1;

/// Cgroup → slot of the container that it belongs to.
pub(super) struct Cgroups {
    map: HashMap<MapData, u64, u32>,
    table: Arc<SlotTable>,
}

impl Cgroups {
    pub(super) fn new(map: HashMap<MapData, u64, u32>, table: Arc<SlotTable>) -> Self {
        Self { map, table }
    }

    /// The slot of a cgroup, if it is known.
    pub(super) fn get(&self, id: u64) -> Option<u32> {
        self.map.get(&id, 0).ok()
    }

    /// Makes a cgroup known that was not; `false` where it was, and where the map is full.
    pub(super) fn add(&mut self, id: u64, slot: u32) -> bool {
        let hint = self.table.hint(id);
        // Counted first: where nothing is counted nothing is looked for.
        hint.count.fetch_add(1, SeqCst);
        if self.map.insert(id, slot, BPF_NOEXIST).is_err() {
            hint.count.fetch_sub(1, SeqCst);
            return false;
        }
        hint.slot.store(u64::from(slot), Relaxed);
        true
    }

    /// Forgets a cgroup.
    pub(super) fn remove(&mut self, id: u64) {
        if self.map.remove(&id).is_ok() {
            self.table.hint(id).count.fetch_sub(1, SeqCst);
        }
    }
}
