//! Whose container the current task is in: what every hook asks before anything else.

use core::ffi::c_void;

use capture_common::{ContainerSlot, SlotState};

use crate::maps::{CGROUPS, SLOTS, offset};
use crate::verifier::{get, member};

/// The control group of a task in the v2 hierarchy, as the verifier knows it: `cgroup`.
#[inline(always)]
pub fn cgroup_of(task: *const c_void) -> *const c_void {
    // SAFETY: the verifier types `task`, and each step from it, by BTF.
    unsafe {
        let set: *const c_void = member(task, offset!(task_cgroups));
        member(set, offset!(css_set_cgroup))
    }
}

/// The id of a control group: its inode number. For the current task's the same as `bpf_get_current_cgroup_id`, but loads
/// in place of a call: most writes of a host end with this question.
#[inline(always)]
pub fn id_of(cgroup: *const c_void) -> u64 {
    // SAFETY: the verifier types `cgroup`, and each step from it, by BTF.
    unsafe {
        let node: *const c_void = member(cgroup, offset!(cgroup_kn));
        member(node, offset!(kernfs_id))
    }
}

/// The container that the current task is in, and its slot's index, if it is captured.
#[inline(always)]
pub fn captured(task: *const c_void) -> Option<(u32, &'static ContainerSlot)> {
    // SAFETY: the map's values are numbers that are never written again.
    let index = unsafe { *CGROUPS.get(id_of(cgroup_of(task)))? };
    let slot = SLOTS.get(index)?;
    (get(&slot.state) == SlotState::Open as u64).then_some((index, slot))
}
