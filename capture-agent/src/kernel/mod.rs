//! The kernel side's counterpart: load and attach the eBPF programs, read what they write.

mod btf;
mod clock;
mod error;
mod load;
mod offsets;
mod preflight;
mod shared;

pub use clock::WallClock;
pub use error::KernelError;
pub use load::{AttachMode, CaptureSide, Kernel, KernelConfig, Streams, is_relayed};
pub use preflight::{check, tracefs};
pub use shared::{Record, SlotTable, container_id, decode};
