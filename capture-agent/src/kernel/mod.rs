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
pub use load::{AttachMode, Kernel, KernelConfig, Streams};
pub use preflight::{check, tracefs};
pub use shared::{Record, SlotTable, container_id, decode};
