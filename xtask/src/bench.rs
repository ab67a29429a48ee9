//! `cargo xtask bench`: what capture costs.

use crate::program::Options;
use crate::setup::{self, Need};
use crate::{Outcome, build};

/// Builds what the benchmarks need and runs them; their tables are the output.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[Need::Bpf, Need::Engine, Need::Tailer])?;
    build::object()?;
    build::agent(true)?;
    options.run("bench", &["--release", "--features", "bench"])
}
