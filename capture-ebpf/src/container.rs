//! Whose container the current task is in: what every hook asks before anything else.

use core::ffi::c_void;

use capture_common::{CGROUP_HINTS, CgroupHint, ContainerSlot, SlotState};

use crate::maps::{CGROUPS, HINTS, SLOTS, offset};
use crate::verifier::{fetch_add, get, member, set};

const BPF_NOEXIST: u64 = 1;
const BPF_EXIST: u64 = 2;

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
    let id = id_of(cgroup_of(task));
    captured_by(id, hinted(id)?)
}

/// What is known of the cgroups with the lower bits of this id, if any of them is a container's: nearly all that are not are
/// told from them here, with two loads.
#[inline(always)]
pub fn hinted(id: u64) -> Option<&'static CgroupHint> {
    hint(id).filter(|hint| get(&hint.count) != 0)
}

/// The container that a cgroup belongs to, and its slot's index, if it is captured.
#[inline(always)]
pub fn captured_by(id: u64, hint: &CgroupHint) -> Option<(u32, &'static ContainerSlot)> {
    let likely = get(&hint.slot) as u32;
    let (index, slot) = match SLOTS.get(likely) {
        Some(slot) if get(&slot.cgroup_id) == id => (likely, slot),
        _ => {
            let index = slot_of(id)?;
            (index, SLOTS.get(index)?)
        }
    };
    (get(&slot.state) == SlotState::Open as u64).then_some((index, slot))
}

/// The slot of a cgroup, or [`SLOT_AT_EXEC`](capture_common::SLOT_AT_EXEC), if it is known.
#[inline(always)]
pub fn slot_of(id: u64) -> Option<u32> {
    // SAFETY: the map's values are numbers that are never written again.
    unsafe { CGROUPS.get(id).copied() }
}

/// Makes a cgroup known that was not; `false` where it was, and where the map is full. The agent does the same
/// (`Cgroups::add`).
#[inline(always)]
pub fn add(id: u64, index: u32) -> bool {
    let Some(hint) = hint(id) else { return false };
    fetch_add(&hint.count, 1);
    if CGROUPS.insert(id, index, BPF_NOEXIST).is_err() {
        fetch_add(&hint.count, u64::MAX);
        return false;
    }
    set(&hint.slot, u64::from(index));
    true
}

/// Gives a known cgroup another slot.
#[inline(always)]
pub fn replace(id: u64, index: u32) -> bool {
    if CGROUPS.insert(id, index, BPF_EXIST).is_err() {
        return false;
    }
    if let Some(hint) = hint(id) {
        set(&hint.slot, u64::from(index));
    }
    true
}

/// Forgets a cgroup.
#[inline(always)]
pub fn remove(id: u64) {
    if CGROUPS.remove(id).is_ok()
        && let Some(hint) = hint(id)
    {
        fetch_add(&hint.count, u64::MAX);
    }
}

#[inline(always)]
fn hint(id: u64) -> Option<&'static CgroupHint> {
    HINTS.get(id as u32 & (CGROUP_HINTS - 1))
}
