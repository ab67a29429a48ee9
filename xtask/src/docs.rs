//! `cargo xtask docs`: the pages that are made of the code.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::{Outcome, workspace};

/// Nothing to choose.
#[derive(Args)]
pub struct Options {}

/// Writes `docs/configuration.md`.
pub fn command(_: &Options) -> Outcome {
    let mut cargo = workspace::cargo();
    let output = cargo
        .args(["run", "--quiet", "--package", "capture-agent", "--example", "configuration_page"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("the page of the configuration cannot be made; is the eBPF object built (`cargo xtask build`)?");
    }
    let page = workspace::root().join("docs/configuration.md");
    fs::write(&page, output.stdout).with_context(|| format!("{}: cannot be written", page.display()))?;
    println!("{}", page.display());
    Ok(ExitCode::SUCCESS)
}
