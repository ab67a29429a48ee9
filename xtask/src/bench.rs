//! `cargo xtask bench`: what capture costs.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::setup::{self, Need};
use crate::{Outcome, build, workspace};

/// Options of `cargo xtask bench`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// For the benchmarks themselves; `cargo xtask bench --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    rest: Vec<OsString>,
}

/// Builds what the benchmarks need and runs them; their tables are the output.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[Need::Bpf, Need::Engine, Need::Tailer])?;
    build::object()?;
    build::agent(true)?;
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--quiet", "--release", "--package", "capture-tests", "--features", "bench", "--bin", "bench"]);
    let status = cargo.arg("--").args(&options.rest).status().context("cargo run cannot be started")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
