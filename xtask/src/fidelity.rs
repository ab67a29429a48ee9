//! `cargo xtask fidelity`: is what the agent captures byte for byte what Docker's own log has?

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use capture_tests::engine;
use clap::Args;

use crate::setup::{self, Need};
use crate::{Outcome, build, workspace};

/// Options of `cargo xtask fidelity`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// For the comparison itself; `cargo xtask fidelity --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    rest: Vec<OsString>,
}

/// Builds what the comparison needs and runs it; its table is the output.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[Need::Bpf, Need::Engine])?;
    build::object()?;
    build::agent(true)?;
    let engine = engine::start_default()?;
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--quiet", "--package", "capture-tests", "--bin", "fidelity"]);
    if options.rest.iter().any(|option| option == "--baseline") {
        cargo.args(["--features", "baseline"]);
    }
    let status = cargo.arg("--").args(&options.rest).status().context("cargo run cannot be started")?;
    drop(engine);
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
