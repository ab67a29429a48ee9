//! Programs that do next to nothing, for `cargo xtask bench`: what the hooks, and the one copy that capture
//! cannot do without, cost by themselves.
#![no_std]
#![no_main]

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_user};
use aya_ebpf::macros::{btf_tracepoint, map, tracepoint};
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use aya_ebpf::programs::{BtfTracePointContext, TracePointContext};
use capture_common::RecordHeader;

/// As large as the agent's own.
#[map]
static LIMIT_RECORDS: RingBuf = RingBuf::with_byte_size(32 << 20, 0);

/// Bytes that it had no room for.
#[map]
static LIMIT_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// `struct pt_regs` of `x86_64` (`arch/x86/include/uapi/asm/ptrace.h`).
const SI: usize = 104;
const DI: usize = 112;
const ORIG_AX: usize = 120;
const WRITE: u64 = 1;
const STDOUT: u64 = 1;
const HEAD: usize = RecordHeader::SIZE;
/// `BPF_RB_NO_WAKEUP`
const NO_WAKEUP: u64 = 1;

/// Attach mode `raw`, exit.
#[btf_tracepoint(function = "sys_exit")]
pub fn empty_exit(_: BtfTracePointContext) -> i32 {
    0
}

/// Attach mode `raw`, entry.
#[btf_tracepoint(function = "sys_enter")]
pub fn empty_enter(_: BtfTracePointContext) -> i32 {
    0
}

/// Attach mode `syscalls`.
#[tracepoint]
pub fn empty_tracepoint(_: TracePointContext) -> u32 {
    0
}

/// Asks of each write which task it is of, which is how the question begins whose it is, and nothing more.
#[btf_tracepoint(function = "sys_exit")]
pub fn whose_exit(ctx: BtfTracePointContext) -> i32 {
    let registers: *const c_void = ctx.arg(0);
    // SAFETY: the verifier types the registers by BTF.
    let number = unsafe { registers.byte_add(ORIG_AX).cast::<u64>().read_volatile() };
    // SAFETY: a plain helper.
    i32::from(number == WRITE && unsafe { bpf_get_current_task_btf() }.is_null())
}

/// Copies what was written to fd 1 into a ring buffer: no question whose it is, no count but of what is lost, no wake-up.
#[btf_tracepoint(function = "sys_exit")]
pub fn copy_exit(ctx: BtfTracePointContext) -> i32 {
    let registers: *const c_void = ctx.arg(0);
    // SAFETY: the verifier types the registers by BTF.
    let (number, descriptor, from) = unsafe {
        let register = |offset: usize| registers.byte_add(offset).cast::<u64>().read_volatile();
        (register(ORIG_AX), register(DI), register(SI))
    };
    if number != WRITE || descriptor != STDOUT {
        return 0;
    }
    match ctx.arg::<i64>(1) {
        100 => copy::<100>(from),
        // As many lines of 100 bytes as a buffer of 4 KiB holds.
        4000 => copy::<4000>(from),
        8192 => copy::<8192>(from),
        _ => {}
    }
    0
}

#[inline(always)]
fn copy<const LENGTH: usize>(from: u64) {
    let Some(mut record) = LIMIT_RECORDS.reserve_bytes(HEAD + LENGTH, 0) else {
        if let Some(lost) = LIMIT_LOST.get_ptr_mut(0) {
            // SAFETY: this CPU's own, and programs of one hook do not interrupt each other.
            unsafe { *lost += LENGTH as u64 };
        }
        return;
    };
    // SAFETY: the record has room for head and payload.
    unsafe {
        bpf_probe_read_user(record.as_mut_ptr().add(HEAD).cast(), LENGTH as u32, from as *const c_void);
    }
    record.submit(NO_WAKEUP);
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
