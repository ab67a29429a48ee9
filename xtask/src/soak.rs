//! `cargo xtask soak`: does the agent stay flat, and lose nothing, for as long as it runs?

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::setup::{self, Need};
use crate::{Outcome, build, workspace};

/// Options of `cargo xtask soak`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// For the soak itself; `cargo xtask soak --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    rest: Vec<OsString>,
}

/// Builds what a soak needs and runs it; it starts an engine of its own.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[Need::Bpf, Need::Engine])?;
    build::object()?;
    build::agent(true)?;
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--quiet", "--package", "capture-tests", "--features", "plot", "--bin", "soak", "--"]);
    let status = cargo.args(&options.rest).status().context("cargo run cannot be started")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
