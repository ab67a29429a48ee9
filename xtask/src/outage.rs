//! `cargo xtask outage`: what arrives when a destination is away, the agent is killed, or its configuration changes?

use capture_tests::engine;

use crate::program::Options;
use crate::setup::{self, Need};
use crate::{Outcome, build};

/// Builds what an outage needs and runs it.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[Need::Bpf, Need::Engine, Need::Peers])?;
    build::object()?;
    build::agent(true)?;
    let engine = engine::start_default()?;
    // Millions of lines are read back.
    let outcome = options.run("outage", &["--release"]);
    drop(engine);
    outcome
}
