//! What is written for the verifier's sake: loads whose offset it must see as constant, and bounds that LLVM would
//! otherwise prove away.

use core::arch::asm;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU64;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};

/// Loads a member through a pointer that the verifier knows the BTF type of.
///
/// `offset` comes from a frozen read-only map, so the verifier sees a constant and checks the access by type; a bad
/// pointer reads as zero (the JIT adds an exception table entry).
///
/// # Safety
///
/// `base` must be typed for the verifier, and `T` must be the size of the member at `offset`.
#[inline(always)]
pub unsafe fn member<T: Copy>(base: *const c_void, offset: u32) -> T {
    // SAFETY: as the caller promises; the verifier checks it again.
    unsafe { base.byte_add(offset as usize).cast::<T>().read_volatile() }
}

/// Reads a member through a pointer that is a plain number to the verifier. `None` where the address cannot be read.
#[inline(always)]
pub fn probe<T: Copy>(base: *const c_void, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination is as large as the size says; the helper checks the source.
    let failed = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            base.wrapping_byte_add(offset as usize).cast(),
        )
    };
    // SAFETY: the helper has filled it.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// Reads a value from the current task's memory. `None` where the page is not there.
#[inline(always)]
pub fn probe_user<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination is as large as the size says; the helper checks the source.
    let failed =
        unsafe { bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const c_void) };
    // SAFETY: the helper has filled it.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// `min(value, MAX)`, in a way that LLVM can neither remove nor move away from the use.
#[inline(always)]
pub fn at_most<const MAX: u64>(mut value: u64) -> u64 {
    // SAFETY: touches no memory.
    unsafe {
        asm!(
            "if {value} <= {max} goto +1",
            "{value} = {max}",
            value = inout(reg) value,
            max = const MAX,
            options(pure, nomem, nostack)
        );
    }
    value
}

/// `min(value, max)`, for a `max` that is a constant on each path that the verifier follows.
#[inline(always)]
pub fn no_more_than(mut value: u64, max: u64) -> u64 {
    // SAFETY: touches no memory.
    unsafe {
        asm!(
            "if {value} <= {max} goto +1",
            "{value} = {max}",
            value = inout(reg) value,
            max = in(reg) max,
            options(pure, nomem, nostack)
        );
    }
    value
}

/// Adds to a counter that other CPUs add to, and gives what it was before.
///
/// Rust declares the BPF target without compare-and-swap and therefore without this, which the instruction set has
/// (`BPF_ATOMIC | BPF_FETCH | BPF_ADD`, Linux 5.12).
#[inline(always)]
pub fn fetch_add(counter: &AtomicU64, mut value: u64) -> u64 {
    // SAFETY: the address comes from a reference to an atomic.
    unsafe {
        asm!(
            "{value} = atomic_fetch_add((u64 *)({counter} + 0), {value})",
            value = inout(reg) value,
            counter = in(reg) counter.as_ptr(),
            options(nostack)
        );
    }
    value
}

/// Sets a counter to `new` if it is `expected`, and says whether it was.
///
/// As [`fetch_add`] (`BPF_ATOMIC | BPF_CMPXCHG`, Linux 5.12).
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn compare_exchange(counter: &AtomicU64, expected: u64, new: u64) -> bool {
    let mut found = expected;
    // SAFETY: the address comes from a reference to an atomic.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({counter} + 0, r0, {new})",
            inout("r0") found,
            counter = in(reg) counter.as_ptr(),
            new = in(reg) new,
            options(nostack)
        );
    }
    found == expected
}

/// The same for the machine that lints this, which has no such register.
#[cfg(not(target_arch = "bpf"))]
pub fn compare_exchange(counter: &AtomicU64, expected: u64, new: u64) -> bool {
    use core::sync::atomic::Ordering::SeqCst;
    counter.compare_exchange(expected, new, SeqCst, SeqCst).is_ok()
}

/// Reads a counter or field that others write; a single 64-bit load. LLVM cannot select atomic loads for BPF.
#[inline(always)]
pub fn get(field: &AtomicU64) -> u64 {
    // SAFETY: the address comes from a reference to an atomic.
    unsafe { field.as_ptr().read_volatile() }
}

/// Writes a field that others read; a single 64-bit store.
#[inline(always)]
pub fn set(field: &AtomicU64, value: u64) {
    // SAFETY: the address comes from a reference to an atomic.
    unsafe { field.as_ptr().write_volatile(value) }
}
