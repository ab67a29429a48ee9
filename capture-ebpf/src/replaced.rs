//! Descriptors that change under a thread's hands.
//!
//! A write call is looked at when it returns, and its descriptor is looked up then. Where another thread has put
//! something else under that number, or closed it, while the call was under way, the file that it wrote to is no longer
//! to be found. So such a change is noted when it *enters*, if descriptors are shared and the number was an output; and a
//! call that had entered before is told from a later one by the later one's own entry.

use core::ffi::c_void;
use core::sync::atomic::AtomicU64;

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;

use crate::container;
use crate::files::{self, File};
use crate::maps::{ENTERED_LATER, REPLACED, SLOTS};
use crate::output::stream_of;
use crate::syscalls::{Abi, Registers};
use crate::verifier::{fetch_add, get};

/// Outputs that were replaced under a thread's hands. No map of ours, because every write of the host asks: so it is a load, which
/// needs neither the stack nor a register across a call.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A call that replaces or closes the descriptor that is its argument `position` has entered.
#[inline(always)]
pub fn replacing(task: *const c_void, registers: Registers, position: usize, abi: Abi) -> Option<()> {
    if !files::are_shared(task) {
        return None;
    }
    let (index, slot) = container::captured(task)?;
    let descriptor = registers.arguments(abi)[position] as u32;
    let stream = stream_of(slot, File::of_fd(task, descriptor)?.inode()?)?;
    REPLACED.insert(key(descriptor), index * 2 + u32::from(stream), 0).ok()?;
    fetch_add(&COUNT, 1);
    Some(())
}

/// Whether an output was ever replaced under a thread's hands.
#[inline(always)]
pub fn is_any() -> bool {
    get(&COUNT) != 0
}

/// A write call has entered, and [`is_any`]: if its descriptor was replaced before, it has nothing to do with the output, unless the
/// output has been put back.
#[inline(always)]
pub fn entered(task: *const c_void, registers: Registers, abi: Abi) -> Option<()> {
    let descriptor = registers.arguments(abi)[0] as u32;
    // SAFETY: a plain helper; the map's values are numbers that are never written again.
    let entry = unsafe { *REPLACED.get(key(descriptor))? };
    let slot = SLOTS.get(entry / 2)?;
    let is_output = match File::of_fd(task, descriptor) {
        Some(file) => file.inode().and_then(|inode| stream_of(slot, inode)).is_some(),
        None => false,
    };
    if is_output {
        let _ = ENTERED_LATER.remove(thread());
        return None;
    }
    ENTERED_LATER.insert(thread(), entry, 0).ok()
}

/// The stream that a write call of `descriptor` went to, which returns now and had entered before the descriptor was
/// replaced; as slot × 2 + stream.
#[inline(always)]
pub fn stream_before(descriptor: u32) -> Option<u32> {
    if !is_any() {
        return None;
    }
    if ENTERED_LATER.remove(thread()).is_ok() {
        return None;
    }
    // SAFETY: the map's values are numbers that are never written again.
    unsafe { REPLACED.get(key(descriptor)).copied() }
}

#[inline(always)]
fn key(descriptor: u32) -> u64 {
    // SAFETY: a plain helper.
    (unsafe { bpf_get_current_pid_tgid() } & !0xffff_ffff) | u64::from(descriptor)
}

#[inline(always)]
fn thread() -> u32 {
    // SAFETY: a plain helper.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}
