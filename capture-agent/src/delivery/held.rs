//! How much of a queue each container holds, and who gives way when it is full.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::fate::{Fates, cost, cost_of};
use crate::pipeline::record::{Account, Record};

/// Bytes of a queue by container. An account stays where it is while one of its records is in the queue, so its address
/// stands for it.
#[derive(Debug, Default)]
pub(super) struct Held(HashMap<usize, u64, BuildHasherDefault<AddressHasher>>);

/// Addresses differ enough as they are; a hash against collisions that somebody makes is not needed.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_usize(&mut self, address: usize) {
        // Fibonacci hashing: the table looks at the upper bits.
        self.0 = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

fn address(account: &Arc<Account>) -> usize {
    Arc::as_ptr(account).addr()
}

impl Held {
    pub(super) fn add(&mut self, account: &Arc<Account>, bytes: u64) {
        *self.0.entry(address(account)).or_default() += bytes;
    }

    pub(super) fn add_all(&mut self, fates: &Fates) {
        for (account, bytes) in fates.costs() {
            self.add(account, bytes);
        }
    }

    pub(super) fn add_records(&mut self, records: &[Record]) {
        for (account, bytes) in by_container(records) {
            self.add(account, bytes);
        }
    }

    pub(super) fn remove(&mut self, account: &Arc<Account>, bytes: u64) {
        let address = address(account);
        if let Some(held) = self.0.get_mut(&address) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                self.0.remove(&address);
            }
        }
    }

    pub(super) fn remove_records(&mut self, records: &[Record]) {
        for (account, bytes) in by_container(records) {
            self.remove(account, bytes);
        }
    }

    pub(super) fn of(&self, account: &Arc<Account>) -> u64 {
        self.0.get(&address(account)).copied().unwrap_or_default()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Neighbours of one container, and what they take of the queue together.
fn by_container(records: &[Record]) -> impl Iterator<Item = (&Arc<Account>, u64)> {
    records
        .chunk_by(|a, b| Arc::ptr_eq(&a.origin, &b.origin))
        .filter_map(|run| Some((&run.first()?.origin.account, cost_of(run))))
}

/// How much a queue may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) capacity: u64,
}

impl Room {
    /// Bytes beyond the capacity that are kept for containers that hold little: one that floods the queue costs the
    /// others nothing.
    pub(super) fn with_reserve(self) -> u64 {
        self.capacity + self.capacity / 4
    }

    /// How much of the queue is little: as much as 16 containers may hold of the reserve at once.
    pub(super) fn little(self) -> u64 {
        self.capacity / 64
    }

    /// Of the records that a full queue is given: the places of those that it takes, and of those that it does not.
    pub(super) fn share(self, held: &Held, mut total: u64, records: &[Record]) -> (Vec<u32>, Vec<u32>) {
        let mut of: HashMap<usize, u64, BuildHasherDefault<AddressHasher>> = HashMap::default();
        (0..records.len() as u32).partition(|place| {
            let record = &records[*place as usize];
            let account = &record.origin.account;
            let held = of.entry(address(account)).or_insert_with(|| held.of(account));
            *held += cost(record);
            // Beyond its little a container stays beyond it: within a batch nothing overtakes what was dropped.
            let is_taken = *held <= self.little() && total + cost(record) <= self.with_reserve();
            if is_taken {
                total += cost(record);
            } else {
                *held = u64::MAX / 2;
            }
            is_taken
        })
    }
}
