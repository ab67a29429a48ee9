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
mod overtaken;
mod pipe;
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
use capture_common::CgroupHint;

use crate::syscalls::{Abi, Call, Class, Registers};

/// Attach mode `raw`: the exit of every system call.
#[btf_tracepoint(function = "sys_exit")]
pub fn raw_sys_exit(ctx: BtfTracePointContext) -> i32 {
    // Nearly all calls end here.
    match syscalls::class(Registers(ctx.arg(0)).number()) {
        Class::WRITES => raw_written(ctx.as_ptr()),
        Class::READS if relay::is_any() => raw_relayed(ctx.as_ptr()),
        Class::BYPASSES if relay::is_any() => _ = raw_moved(ctx.as_ptr()),
        _ => {}
    }
    0
}

/// What follows stands apart from the programs that begin it, because every system call of the host passes those: a function that
/// needs registers beyond a call, many of them or much of the stack begins by saving the ones and finding the other.
#[inline(never)]
fn raw_written(ctx: *mut c_void) {
    if BtfTracePointContext::new(ctx).arg::<i64>(1) <= 0 {
        return;
    }
    let task = current_task();
    let id = container::id_of(container::cgroup_of(task));
    if let Some(hint) = container::hinted(id) {
        raw_wrote(ctx, task, id, hint);
    }
}

#[inline(never)]
fn raw_relayed(ctx: *mut c_void) {
    let ctx = BtfTracePointContext::new(ctx);
    relay::read(Registers(ctx.arg(0)), ctx.arg(1));
}

#[inline(never)]
fn raw_moved(ctx: *mut c_void) -> Option<()> {
    let ctx = BtfTracePointContext::new(ctx);
    let returned = ctx.arg::<i64>(1);
    if returned <= 0 {
        return None;
    }
    let registers = Registers(ctx.arg(0));
    let number = registers.number();
    let task = current_task();
    let abi = syscalls::abi(task, number);
    overtaken::moved(task, registers, syscalls::bypass_call(number, abi)?, abi, returned as u64)
}

#[inline(never)]
fn raw_wrote(ctx: *mut c_void, task: *const c_void, id: u64, hint: &'static CgroupHint) {
    let ctx = BtfTracePointContext::new(ctx);
    let registers = Registers(ctx.arg(0));
    let call = || {
        let number = registers.number();
        let abi = syscalls::abi(task, number);
        Some((registers, syscalls::write_call(number, abi)?, abi))
    };
    output::wrote(task, id, hint, ctx.arg(1), call);
}

/// Attach mode `raw`: the entry of every system call, for those that move bytes past `write` or replace descriptors.
#[btf_tracepoint(function = "sys_enter")]
pub fn raw_sys_enter(ctx: BtfTracePointContext) -> i32 {
    // Nearly all calls end here.
    match syscalls::class_of_long(ctx.arg(1)) {
        Class::OTHERS | Class::READS => {}
        Class::WRITES if !replaced::is_any() => {}
        class => _ = raw_entered(ctx.as_ptr(), class),
    }
    0
}

#[inline(never)]
fn raw_entered(ctx: *mut c_void, class: u8) -> Option<()> {
    let ctx = BtfTracePointContext::new(ctx);
    let registers = Registers(ctx.arg(0));
    let number = ctx.arg::<u64>(1) as u32;
    let task = current_task();
    let abi = syscalls::abi(task, number);
    match class {
        Class::WRITES => {
            syscalls::write_call(number, abi)?;
            replaced::entered(task, registers, abi)
        }
        Class::REPLACES => replaced::replacing(task, registers, syscalls::replaced_argument(number, abi)?, abi),
        _ => relay::entered(task, registers, syscalls::bypass_call(number, abi)?, abi),
    }
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
    let id = container::id_of(container::cgroup_of(task));
    tracepoint_wrote(task, id, container::hinted(id)?, returned as u64, call);
    Some(())
}

/// Apart for the same reason as [`raw_wrote`].
#[inline(never)]
fn tracepoint_wrote(task: *const c_void, id: u64, hint: &'static CgroupHint, accepted: u64, call: Call) {
    let call = || {
        // SAFETY: `task` is the current one.
        let registers = unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as *const c_void;
        // These tracepoints do not fire for 32-bit calls.
        Some((Registers(registers), call, Abi::Native))
    };
    output::wrote(task, id, hint, accepted, call);
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
