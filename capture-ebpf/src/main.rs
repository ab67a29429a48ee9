//! The kernel side of capture-agent: thin entry points, one for each hook; the work is in the modules.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod account;
mod container;
mod files;
mod lifecycle;
mod maps;
mod output;
mod relay;
mod replaced;
mod ring;
mod syscalls;
mod verifier;

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use aya_ebpf::macros::{btf_tracepoint, tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, TracePointContext};
use aya_log_ebpf::warn;

use crate::syscalls::{Abi, Call, Registers};

/// Attach mode `raw`: the exit of every system call.
#[btf_tracepoint(function = "sys_exit")]
pub fn raw_sys_exit(ctx: BtfTracePointContext) -> i32 {
    try_raw_sys_exit(Registers(ctx.arg(0)), ctx.arg(1));
    0
}

#[inline(always)]
fn try_raw_sys_exit(registers: Registers, returned: i64) -> Option<()> {
    let number = registers.number();
    if number == syscalls::READ {
        return relay::read(registers, returned);
    }
    if returned <= 0 || !syscalls::may_write(number) {
        return None;
    }
    let task = current_task();
    let call = || {
        let abi = syscalls::abi(task, number);
        Some((registers, syscalls::write_call(number, abi)?, abi))
    };
    output::wrote(task, returned as u64, call)
}

/// Attach mode `raw`: the entry of every system call, for those that move bytes past `write` or replace descriptors.
#[btf_tracepoint(function = "sys_enter")]
pub fn raw_sys_enter(ctx: BtfTracePointContext) -> i32 {
    try_raw_sys_enter(Registers(ctx.arg(0)), ctx.arg::<u64>(1) as u32);
    0
}

#[inline(always)]
fn try_raw_sys_enter(registers: Registers, number: u32) -> Option<()> {
    // The most frequent call of most hosts; its exit is what matters.
    if number == syscalls::READ {
        return None;
    }
    if syscalls::may_write(number) {
        // Most calls that come this far end here.
        if !replaced::is_any() {
            return None;
        }
        let task = current_task();
        let abi = syscalls::abi(task, number);
        syscalls::write_call(number, abi)?;
        return replaced::entered(task, registers, abi);
    }
    if syscalls::may_replace(number) {
        let task = current_task();
        let abi = syscalls::abi(task, number);
        return replaced::replacing(task, registers, syscalls::replaced_argument(number, abi)?, abi);
    }
    if !syscalls::may_bypass(number) {
        return None;
    }
    let task = current_task();
    let abi = syscalls::abi(task, number);
    relay::entered(task, registers, syscalls::bypass_call(number, abi)?, abi)
}

/// Attach mode `syscalls`: the exit of `write`.
#[tracepoint]
pub fn sys_exit_write(ctx: TracePointContext) -> u32 {
    try_sys_exit(&ctx, Call::Write);
    0
}

/// Attach mode `syscalls`: the exit of `writev`.
#[tracepoint]
pub fn sys_exit_writev(ctx: TracePointContext) -> u32 {
    try_sys_exit(&ctx, Call::WriteVector);
    0
}

/// Attach mode `syscalls`: the exit of `pwritev2`.
#[tracepoint]
pub fn sys_exit_pwritev2(ctx: TracePointContext) -> u32 {
    try_sys_exit(&ctx, Call::WriteVector);
    0
}

/// `ret` in `struct syscall_trace_exit` (`kernel/trace/trace.h`), which is ABI in the tracepoint's `format` file.
const TRACEPOINT_RET: usize = 16;

#[inline(always)]
fn try_sys_exit(ctx: &TracePointContext, call: Call) -> Option<()> {
    // SAFETY: the context of a syscall exit is a `syscall_trace_exit`, and the verifier lets it be read as it is.
    let returned = unsafe { ctx.as_ptr().byte_add(TRACEPOINT_RET).cast::<i64>().read_volatile() };
    if returned <= 0 {
        return None;
    }
    let task = current_task();
    let call = || {
        // SAFETY: `task` is the current one.
        let registers = unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as *const c_void;
        // These tracepoints do not fire for 32-bit calls.
        Some((Registers(registers), call, Abi::Native))
    };
    output::wrote(task, returned as u64, call)
}

/// A cgroup is made, in any hierarchy.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    if let Err(id) = lifecycle::cgroup_made(ctx.arg(0)) {
        warn!(&ctx, "no free slot for the container of cgroup {}: raise --sessions-max", id);
    }
    0
}

/// A cgroup is removed, in any hierarchy.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    lifecycle::cgroup_removed(ctx.arg(0));
    0
}

/// A task has executed a program.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    lifecycle::executed(ctx.arg(0));
    0
}

#[inline(always)]
fn current_task() -> *const c_void {
    // SAFETY: a plain helper.
    unsafe { bpf_get_current_task_btf() }.cast_const().cast()
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Helpers such as `bpf_loop` and the probes with a licence check want it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
