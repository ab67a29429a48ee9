//! What the kernel lets this process do, found out by doing it: nothing stays loaded.

use aya::maps::MapData;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;

use super::error::chain;
use super::{AttachMode, CaptureSide, KernelConfig, KernelError};

/// The smallest ring that the agent takes: for a probe that is not about memory.
const SMALL_RING: u32 = 256 << 10;
/// Containers that a probe has room for.
const FEW: u32 = 16;

/// Makes a ring buffer of `size` bytes, and lets go of it.
///
/// # Errors
///
/// What the kernel said.
pub fn ring(size: u32) -> Result<(), KernelError> {
    // It has neither keys nor values.
    let ring = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, size, 0);
    MapData::create(ring, "probe", None).map(drop).map_err(|error| KernelError::Maps { cause: chain(&error) })
}

/// Whether a program may read the kernel's memory: under lockdown in confidentiality mode it may not
/// (`bpf_tracing_func_proto` in `kernel/trace/bpf_trace.c`).
///
/// # Errors
///
/// No program can be loaded at all.
pub fn may_read_kernel_memory() -> Result<bool, KernelError> {
    is_helper_supported(ProgramType::RawTracePoint, BpfHelper::BPF_FUNC_probe_read_kernel)
        .map_err(|error| KernelError::Load { program: "probe", cause: chain(&error) })
}

/// Loads the agent's own programs with small maps, attaches them and detaches them again: for some milliseconds they run
/// as an agent's do, and nobody reads what they find.
///
/// # Errors
///
/// Why an agent in this mode would not start.
pub fn attach(mode: AttachMode) -> Result<(), KernelError> {
    KernelConfig { attach: mode, side: CaptureSide::Write, ring_size: SMALL_RING, capacity: FEW }.build().map(drop)
}
