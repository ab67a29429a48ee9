//! Registers containers that the kernel side did not see being made: those that ran before it, those that found no free
//! slot, and any that it missed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::cgroups::{Hierarchy, Init};
use crate::kernel::{Kernel, KernelError, Registration};

/// Looks for containers. Those that find no free slot wait for one: they are told of once, and looked for again.
pub struct Discovery {
    hierarchy: Hierarchy,
    kernel: Arc<Mutex<Kernel>>,
    waiting: HashSet<String>,
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Containers that have a slot now and had waited for it.
    pub admitted: usize,
    /// Others that have a slot now.
    pub registered: usize,
    /// Ids of containers that found none for the first time.
    pub refused: Vec<String>,
}

impl Discovery {
    /// A discovery that has not looked yet.
    #[must_use]
    pub fn new(hierarchy: Hierarchy, kernel: Arc<Mutex<Kernel>>) -> Self {
        Self { hierarchy, kernel, waiting: HashSet::new() }
    }

    /// Containers that wait for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Looks once through the hierarchy.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn scan(&mut self) -> Result<Found, KernelError> {
        let mut found = Found::default();
        let mut waiting = HashSet::new();
        for cgroup in self.hierarchy.containers() {
            let lock = || self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
            let known = lock().knows(cgroup.cgroup_id);
            if known || cgroup.is_own() {
                continue;
            }
            let mut init = cgroup.init();
            if init == Init::Nobody {
                lock().expect(cgroup.cgroup_id);
                // It may have been entered between the look and the expectation, unseen by either.
                init = cgroup.init();
                if init == Init::Nobody {
                    continue;
                }
            }
            lock().expect_no_more(cgroup.cgroup_id);
            let streams = match init {
                Init::Running(streams) => Some(streams),
                Init::Awaited | Init::Nobody => None,
            };
            let slot = match lock().register(cgroup.cgroup_id, &cgroup.container_id, streams)? {
                Registration::Taken(slot) => slot,
                Registration::Known => continue,
                Registration::Full => {
                    waiting.insert(cgroup.container_id);
                    continue;
                }
            };
            for child in &cgroup.children {
                lock().register_child(*child, slot);
            }
            // The init may have executed between the look at it and the registration, unseen by either.
            if init == Init::Awaited
                && let Init::Running(streams) = cgroup.init()
            {
                lock().open_if_armed(slot, streams);
            }
            if self.waiting.contains(&cgroup.container_id) {
                found.admitted += 1;
                tracing::info!(
                    container_id = cgroup.container_id,
                    "a slot is free: the container is captured from here on"
                );
            } else {
                found.registered += 1;
            }
        }
        for id in waiting.difference(&self.waiting) {
            found.refused.push(id.clone());
            tracing::warn!(
                container_id = id,
                "no free slot: the container is not captured until one is; raise --sessions-max"
            );
        }
        self.waiting = waiting;
        Ok(found)
    }
}
