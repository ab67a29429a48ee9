//! Programs of the test crate that have options of their own: built and run by a command of the same name.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;

use crate::{Outcome, workspace};

/// What is handed to the program as it is.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// For the program itself; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    rest: Vec<OsString>,
}

impl Options {
    /// Whether the program is given this option.
    pub fn has(&self, option: &str) -> bool {
        self.rest.iter().any(|given| given == option)
    }

    /// Runs a program of the test crate, built with these arguments of cargo's, and ends as it does.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        let mut cargo: Command = workspace::cargo();
        cargo.args(["run", "--quiet", "--package", "capture-tests", "--bin", program]).args(arguments);
        let status = cargo.arg("--").args(&self.rest).status().context("cargo run cannot be started")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
