//! `cargo xtask soak`: does the agent stay flat, and lose nothing, for as long as it runs?

use crate::program::Options;
use crate::setup::{self, Need};
use crate::{Outcome, build};

/// Builds what a soak needs and runs it; it starts an engine of its own.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[Need::Bpf, Need::Engine])?;
    build::object()?;
    build::agent(true)?;
    options.run("soak", &["--features", "plot"])
}
