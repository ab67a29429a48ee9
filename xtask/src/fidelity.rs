//! `cargo xtask fidelity`: is what the agent captures byte for byte what Docker's own log has?

use capture_tests::engine;

use crate::program::Options;
use crate::setup::{self, Need};
use crate::{Outcome, build};

/// Builds what the comparison needs and runs it; its table is the output.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[Need::Bpf, Need::Engine])?;
    build::object()?;
    build::agent(true)?;
    let engine = engine::start_default()?;
    let features: &[&str] = if options.has("--baseline") { &["--features", "baseline"] } else { &[] };
    let outcome = options.run("fidelity", features);
    drop(engine);
    outcome
}
