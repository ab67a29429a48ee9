//! The kernel side's counterpart: load and attach the eBPF programs, read what they write.

mod btf;
mod cgroups;
mod clock;
mod error;
mod load;
mod offsets;
mod preflight;
pub mod probe;
mod shared;
mod slots;
mod stats;

pub use clock::{WallClock, monotonic, thread_cpu_time};
pub use error::KernelError;
pub use load::{AttachMode, CaptureSide, Kernel, KernelConfig};
pub use offsets::resolve_in;
pub use preflight::{
    CAPABILITIES, Capability, Held, OLDEST_KERNEL, Privileges, VMLINUX_BTF, check, check_version, tracefs,
};
pub use shared::{Record, RingUse, SlotTable, container_id, decode};
pub use slots::{Registration, Streams, is_relayed};
pub use stats::{BpfStats, ProgramStats};
