//! The harness of the integration tests: an engine, an image, containers, the agent.
//!
//! Nothing here is a stand-in: the kernel, the engine and the agent are the real ones. Where one of them is missing, the
//! harness fails and says which; it never skips. Its only way to wait is [`poll::eventually`], which has a deadline.

pub mod agent;
#[cfg(feature = "bench")]
pub mod bench;
pub mod black_hole;
pub mod cgroups;
pub mod container;
pub mod daemon;
pub mod dashboard;
pub mod engine;
pub mod fidelity;
pub mod http;
pub mod image;
pub mod outage;
pub mod peers;
pub mod poll;
pub mod process;
pub mod prometheus;
pub mod promql;
pub mod record;
pub mod soak;
mod stuck;
pub mod workspace;

pub use agent::{Agent, Attach};
pub use black_hole::BlackHole;
pub use container::Container;
pub use engine::Engine;
pub use record::Record;

/// Makes two tests of a function that takes an [`Attach`]: what it promises holds in either mode.
#[macro_export]
macro_rules! in_both_attach_modes {
    ($check:ident) => {
        mod $check {
            #[test]
            fn syscalls() -> anyhow::Result<()> {
                super::$check($crate::Attach::Syscalls)
            }

            #[test]
            fn raw() -> anyhow::Result<()> {
                super::$check($crate::Attach::Raw)
            }
        }
    };
}
