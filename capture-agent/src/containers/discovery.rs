//! Registers containers that the kernel side did not see being made: those that ran before it, and any that it missed.

use std::sync::{Mutex, PoisonError};

use super::cgroups::{Hierarchy, Init};
use crate::kernel::{Kernel, KernelError};

/// Looks once through the hierarchy; gives how many containers were registered.
///
/// # Errors
///
/// [`KernelError::Map`].
pub fn scan(hierarchy: &Hierarchy, kernel: &Mutex<Kernel>) -> Result<usize, KernelError> {
    let mut registered = 0;
    for cgroup in hierarchy.containers() {
        let lock = || kernel.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().knows(cgroup.cgroup_id);
        if known || cgroup.is_own() {
            continue;
        }
        let init = cgroup.init();
        let streams = match init {
            Init::Running(streams) => Some(streams),
            Init::Awaited => None,
        };
        let Some(slot) = lock().register(cgroup.cgroup_id, &cgroup.container_id, streams)? else { continue };
        for child in &cgroup.children {
            lock().register_child(*child, slot);
        }
        // The init may have executed between the look at it and the registration, unseen by either.
        if init == Init::Awaited
            && let Init::Running(streams) = cgroup.init()
        {
            lock().open_if_armed(slot, streams);
        }
        registered += 1;
    }
    Ok(registered)
}
