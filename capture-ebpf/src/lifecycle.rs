//! Birth and death of containers, as the kernel sees them: before any engine can tell.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_kernel_str,
};
use capture_common::{
    CONTAINER_ID_LEN, ContainerSlot, OutputStream, RecordHeader, RecordKind, SLOT_AT_EXEC, SlotState,
};

use crate::container;
use crate::files::File;
use crate::maps::{FREE_SLOTS, GLOBALS, RECORDS, RELAYS, SLOTS, offset};
use crate::relay;
use crate::ring::FORCE_WAKEUP;
use crate::verifier::{fetch_add, get, member, probe, set};

/// `cgrp_dfl_root.hierarchy_id` (`kernel/cgroup/cgroup.c`): the v2 hierarchy. `cgroup_mkdir` fires once for each.
const V2_HIERARCHY: i32 = 0;
/// Longest cgroup name that is looked at: `cri-containerd-<id>.scope` and the like, with room to spare.
const NAME_LEN: usize = 128;

/// A new cgroup: a container's, by its name, or a child of one that is known.
///
/// `Err` with the cgroup's id where a container found no free slot.
#[inline(always)]
pub fn cgroup_made(cgroup: *const c_void) -> Result<(), u64> {
    let Some(id) = v2_id(cgroup) else { return Ok(()) };
    if try_register(cgroup, id) == Some(Registered::Refused) {
        if let Some(globals) = GLOBALS.get(0) {
            fetch_add(&globals.refused, 1);
        }
        return Err(id);
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Registered {
    Done,
    Refused,
}

#[inline(always)]
fn try_register(cgroup: *const c_void, id: u64) -> Option<Registered> {
    // SAFETY: the verifier types `cgroup` by BTF.
    let parent = unsafe {
        let css: *const c_void = member(cgroup, offset!(cgroup_parent_css));
        container::id_of(member(css, offset!(css_cgroup)))
    };
    if let Some(slot) = container::slot_of(parent) {
        // Where the map is full the child's output is not seen; where it is there, the agent was first.
        let _ = container::add(id, slot);
        return Some(Registered::Done);
    }

    let id_text = container_id(cgroup)?;
    let Some(index) = take_slot(id, id_text) else { return Some(Registered::Refused) };
    if !container::add(id, index) {
        give_back(index);
        return Some(Registered::Refused);
    }
    Some(Registered::Done)
}

/// A free slot, armed for a container.
#[inline(always)]
fn take_slot(id: u64, id_text: [u8; CONTAINER_ID_LEN]) -> Option<u32> {
    let Ok(Some(index)) = FREE_SLOTS.pop() else { return None };
    let slot = SLOTS.get_ptr_mut(index)?;
    // SAFETY: the free list gave this slot to nobody else; the agent has zeroed it.
    unsafe {
        set(&(*slot).cgroup_id, id);
        fetch_add(&(*slot).generation, 1);
        set(&(*slot).opened_at, bpf_ktime_get_ns());
        (&raw mut (*slot).container_id).cast::<[u8; CONTAINER_ID_LEN]>().write(id_text);
        set(&(*slot).state, SlotState::Armed as u64);
    }
    Some(index)
}

/// Undoes [`take_slot`].
#[inline(always)]
fn give_back(index: u32) {
    if let Some(slot) = SLOTS.get(index) {
        set(&slot.state, SlotState::Free as u64);
    }
    let _ = FREE_SLOTS.push(index, 0);
}

/// The id in the name of a container's cgroup: `<id>` (cgroupfs driver), `docker-<id>.scope` (systemd driver),
/// `cri-containerd-<id>.scope`, `libpod-<id>.scope`. `None` for any other cgroup.
#[inline(always)]
fn container_id(cgroup: *const c_void) -> Option<[u8; CONTAINER_ID_LEN]> {
    // SAFETY: the verifier types `cgroup` by BTF.
    let name: u64 = unsafe {
        let node: *const c_void = member(cgroup, offset!(cgroup_kn));
        member(node, offset!(kernfs_name))
    };
    let length = length(name)?;
    let mut end = length;
    if length > CONTAINER_ID_LEN as u64 && text::<6>(name + length - 6)? == *b".scope" {
        end -= 6;
    }
    let start = end.checked_sub(CONTAINER_ID_LEN as u64)?;
    if start > 0 && text::<1>(name + start - 1)? != *b"-" {
        return None;
    }
    // `libpod-conmon-<id>.scope` holds the monitor of a container, whose output is not the container's.
    if start >= 7 && text::<7>(name + start - 7)? == *b"conmon-" {
        return None;
    }
    let id = text::<CONTAINER_ID_LEN>(name + start)?;
    for digit in &id {
        if !digit.is_ascii_hexdigit() {
            return None;
        }
    }
    Some(id)
}

/// Length of a kernel string without its final zero.
#[inline(always)]
fn length(name: u64) -> Option<u64> {
    let mut buffer = [0u8; NAME_LEN];
    // SAFETY: the helper bounds the copy by the buffer.
    let length =
        unsafe { bpf_probe_read_kernel_str(buffer.as_mut_ptr().cast(), NAME_LEN as u32, name as *const c_void) };
    (length > 0).then(|| length as u64 - 1)
}

#[inline(always)]
fn text<const N: usize>(address: u64) -> Option<[u8; N]> {
    probe::<[u8; N]>(address as *const c_void, 0)
}

/// A task has executed: if it is the first of a container, it is its init, and its fd 1 and fd 2 are the output.
#[inline(always)]
pub fn executed(task: *const c_void) -> Option<()> {
    // SAFETY: plain helpers.
    let (cgroup, pid) = unsafe { (bpf_get_current_cgroup_id(), (bpf_get_current_pid_tgid() >> 32) as u32) };
    let mut index = container::slot_of(cgroup)?;
    if index == SLOT_AT_EXEC {
        index = enter(task, cgroup)?;
    }
    let slot = SLOTS.get(index)?;
    let init = get(&slot.init_pid);
    if init != 0 && init != u64::from(pid) {
        return None;
    }
    if get(&slot.state) != SlotState::Armed as u64 {
        return None;
    }
    // SAFETY: the verifier types `task` by BTF.
    let (parent, relay) = unsafe {
        let parent: *const c_void = member(task, offset!(task_real_parent));
        (parent, member::<u32>(parent, offset!(task_tgid)))
    };
    // The runtime executes itself on its way, and may be in the container's cgroup by then. When the container's own
    // program is executed the runtime has exited, and handed the child to the relay.
    let comm: [u8; 4] = probe(parent, offset!(task_comm))?;
    if comm == *b"runc" || comm == *b"crun" {
        return None;
    }
    set(&slot.init_pid, u64::from(pid));
    set(&slot.relay_pid, u64::from(relay));
    let _ = RELAYS.insert(relay, index, 0);
    let out = output(task, 1, &slot.streams[0]);
    let err = output(task, 2, &slot.streams[1]);
    // Neither may carry output now and do so when the init executes once more.
    if !out && !err {
        return None;
    }
    let same = get(&slot.streams[0].inode) == get(&slot.streams[1].inode);
    if same {
        set(&slot.streams[1].inode, 0);
    }
    for (which, stream) in [(0, &slot.streams[0]), (1, &slot.streams[1])] {
        let (inode, terminal) = (get(&stream.inode), get(&stream.terminal));
        let key = if terminal != 0 { terminal } else { inode };
        if inode != 0 && relay::from_the_start(terminal != 0) {
            relay::start(slot, stream, key, index, which);
        }
    }
    set(&slot.state, SlotState::Open as u64);
    announce(slot, index, cgroup, RecordKind::Opened, pid)
}

/// Gives a slot to a container whose cgroup was there, empty, before the agent was.
#[inline(always)]
fn enter(task: *const c_void, id: u64) -> Option<u32> {
    // In a cgroup below the container's the name is another, and the agent finds the container when it looks again.
    let id_text = container_id(container::cgroup_of(task));
    let taken = id_text.and_then(|id_text| take_slot(id, id_text));
    let Some(index) = taken else {
        container::remove(id);
        return None;
    };
    if !container::replace(id, index) {
        give_back(index);
        return None;
    }
    Some(index)
}

/// Stores the inode of `fd` as a stream of the container; `false` if it cannot be one.
#[inline(always)]
fn output(task: *const c_void, fd: u32, stream: &OutputStream) -> bool {
    let Some(file) = File::of_fd(task, fd) else { return false };
    let Some(inode) = file.inode() else { return false };
    if !inode.carries_output() {
        return false;
    }
    let (Some(number), Some(device)) = (inode.number(), inode.device()) else { return false };
    set(&stream.device, u64::from(device));
    set(&stream.inode, number);
    set(&stream.address, inode.address());
    set(&stream.terminal, file.slave(inode).unwrap_or(0));
    true
}

/// A cgroup is gone. It was empty, so nothing of it is in flight.
#[inline(always)]
pub fn cgroup_removed(cgroup: *const c_void) -> Option<()> {
    let id = v2_id(cgroup)?;
    let index = container::slot_of(id)?;
    container::remove(id);
    let slot = SLOTS.get(index)?;
    if get(&slot.cgroup_id) != id {
        return None;
    }
    // SAFETY: a plain helper.
    set(&slot.ended_at, unsafe { bpf_ktime_get_ns() });
    set(&slot.state, SlotState::Ended as u64);
    announce(slot, index, id, RecordKind::Ended, get(&slot.init_pid) as u32)
}

/// Tells the agent of a change; where the ring buffer has no room it reads the slot's state later.
#[inline(always)]
fn announce(slot: &ContainerSlot, index: u32, cgroup: u64, kind: RecordKind, pid: u32) -> Option<()> {
    let header = RecordHeader {
        kind: kind as u8,
        slot: index,
        cgroup_id: cgroup,
        // SAFETY: a plain helper.
        timestamp: unsafe { bpf_ktime_get_ns() },
        generation: get(&slot.generation) as u32,
        pid,
        ..RecordHeader::default()
    };
    if RECORDS.output::<RecordHeader>(&header, FORCE_WAKEUP).is_err() {
        fetch_add(&GLOBALS.get(0)?.lifecycle_dropped, 1);
    }
    Some(())
}

/// Id of a cgroup of the v2 hierarchy; `None` for the other hierarchies, whose ids overlap with it.
#[inline(always)]
fn v2_id(cgroup: *const c_void) -> Option<u64> {
    // SAFETY: the verifier types `cgroup` by BTF.
    unsafe {
        let root: *const c_void = member(cgroup, offset!(cgroup_root));
        if member::<i32>(root, offset!(cgroup_root_hierarchy)) != V2_HIERARCHY {
            return None;
        }
    }
    Some(container::id_of(cgroup))
}
