//! Programs that do next to nothing, for `cargo xtask bench`: what the hooks, and the one copy that capture
//! cannot do without, cost by themselves.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[expect(dead_code, reason = "of the agent's programs, which need more of it")]
#[path = "../verifier.rs"]
mod verifier;

use core::ffi::c_void;
use core::sync::atomic::AtomicU64;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_probe_read_user, bpf_task_pt_regs,
};
use aya_ebpf::macros::{btf_tracepoint, map, tracepoint};
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::programs::{BtfTracePointContext, TracePointContext};
use capture_common::{RecordHeader, RecordKind};

use crate::verifier::fetch_add;

/// As large as the agent's own.
#[map]
static LIMIT_RECORDS: RingBuf = RingBuf::with_byte_size(32 << 20, 0);

/// Bytes that it had no room for.
#[map]
static LIMIT_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// By the lower bits of a cgroup's id.
#[map]
static LIMIT_ACCOUNTS: Array<Account> = Array::with_max_entries(ACCOUNTS, 0);

/// A power of two.
const ACCOUNTS: u32 = 4096;

/// Bytes of a cgroup, on a cache line of their own.
#[repr(C, align(64))]
struct Account {
    written: AtomicU64,
    submitted: AtomicU64,
}

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
    match written(&ctx) {
        Some((from, 100)) => _ = copy::<100>(from, |_| {}),
        Some((from, LINES)) => _ = copy::<{ LINES as usize }>(from, |_| {}),
        Some((from, 8192)) => _ = copy::<8192>(from, |_| {}),
        _ => {}
    }
    0
}

/// The same, and asks which cgroup has written it, where in the order of its bytes that is and when it was, and counts what the
/// ring buffer has of it: what cannot be left out where containers are told apart and no byte goes unaccounted for. Which file
/// the descriptor stands for is not asked, though it has to be.
#[btf_tracepoint(function = "sys_exit")]
pub fn account_exit(ctx: BtfTracePointContext) -> i32 {
    if let Some((from, length)) = written(&ctx) {
        account(from, length);
    }
    0
}

/// The same in attach mode `syscalls`, on the exit of `write`.
#[tracepoint]
pub fn account_tracepoint(ctx: TracePointContext) -> u32 {
    // SAFETY: the context of a syscall exit is a `syscall_trace_exit`, and the verifier lets it be read as it is; the registers are
    // those of the current task.
    let (returned, registers) = unsafe {
        let returned = ctx.as_ptr().byte_add(TRACEPOINT_RET).cast::<i64>().read_volatile();
        (returned, bpf_task_pt_regs(bpf_get_current_task_btf()) as *const c_void)
    };
    if let Some(from) = to_output(registers) {
        account(from, returned);
    }
    0
}

/// As many lines of 100 bytes as a buffer of 4 KiB holds.
const LINES: i64 = 4000;
/// `ret` in `struct syscall_trace_exit` (`kernel/trace/trace.h`).
const TRACEPOINT_RET: usize = 16;

/// The bytes that a `write` to fd 1 was given, and what it has returned.
#[inline(always)]
fn written(ctx: &BtfTracePointContext) -> Option<(u64, i64)> {
    let registers: *const c_void = ctx.arg(0);
    // SAFETY: the verifier types the registers by BTF.
    let number = unsafe { registers.byte_add(ORIG_AX).cast::<u64>().read_volatile() };
    if number != WRITE {
        return None;
    }
    to_output(registers).map(|from| (from, ctx.arg(1)))
}

/// The bytes that a write call was given, if it is to fd 1.
#[inline(always)]
fn to_output(registers: *const c_void) -> Option<u64> {
    // SAFETY: the verifier types the registers by BTF.
    let (descriptor, from) = unsafe {
        let register = |offset: usize| registers.byte_add(offset).cast::<u64>().read_volatile();
        (register(DI), register(SI))
    };
    (descriptor == STDOUT).then_some(from)
}

#[inline(always)]
fn account(from: u64, length: i64) {
    match length {
        100 => account_for::<100>(from),
        LINES => account_for::<{ LINES as usize }>(from),
        8192 => account_for::<8192>(from),
        _ => {}
    }
}

#[inline(always)]
fn account_for<const LENGTH: usize>(from: u64) {
    // SAFETY: a plain helper.
    let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    let slot = cgroup_id as u32 & (ACCOUNTS - 1);
    let Some(account) = LIMIT_ACCOUNTS.get(slot) else { return };
    let position = fetch_add(&account.written, LENGTH as u64);
    let is_in = copy::<LENGTH>(from, |head| {
        let header = RecordHeader {
            kind: RecordKind::Output as u8,
            slot,
            cgroup_id,
            position,
            // SAFETY: a plain helper.
            timestamp: unsafe { bpf_ktime_get_ns() },
            length: LENGTH as u32,
            ..RecordHeader::default()
        };
        // SAFETY: the record has room for it, and records are aligned to 8 bytes.
        unsafe { head.write(header) };
    });
    if is_in {
        fetch_add(&account.submitted, LENGTH as u64);
    }
}

/// Whether there was room.
#[inline(always)]
fn copy<const LENGTH: usize>(from: u64, head: impl FnOnce(*mut RecordHeader)) -> bool {
    let Some(mut record) = LIMIT_RECORDS.reserve_bytes(HEAD + LENGTH, 0) else {
        if let Some(lost) = LIMIT_LOST.get_ptr_mut(0) {
            // SAFETY: this CPU's own, and programs of one hook do not interrupt each other.
            unsafe { *lost += LENGTH as u64 };
        }
        return false;
    };
    head(record.as_mut_ptr().cast());
    // SAFETY: the record has room for head and payload.
    unsafe {
        bpf_probe_read_user(record.as_mut_ptr().add(HEAD).cast(), LENGTH as u32, from as *const c_void);
    }
    record.submit(NO_WAKEUP);
    true
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
