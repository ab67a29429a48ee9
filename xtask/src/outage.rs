//! `cargo xtask outage`: what arrives when a destination is away, the agent is killed, or its configuration changes?

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use capture_tests::engine;
use clap::Args;

use crate::setup::{self, Need};
use crate::{Outcome, build, workspace};

/// Options of `cargo xtask outage`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// For the outage itself; `cargo xtask outage --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    rest: Vec<OsString>,
}

/// Builds what an outage needs and runs it.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[Need::Bpf, Need::Engine, Need::Peers])?;
    build::object()?;
    build::agent(true)?;
    let engine = engine::start_default()?;
    let mut cargo = workspace::cargo();
    // Millions of lines are read back.
    cargo.args(["run", "--quiet", "--release", "--package", "capture-tests", "--bin", "outage", "--"]);
    let status = cargo.args(&options.rest).status().context("cargo run cannot be started")?;
    drop(engine);
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
