//! `cargo xtask docs`: the pages that are made of the code.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::setup::{self, Need};
use crate::{Outcome, build, workspace};

/// Options of `cargo xtask docs`.
#[derive(Args)]
pub struct Options {
    /// Take the pictures of the page and of `top` as well: twenty containers on an engine of their own, and a browser
    #[arg(long)]
    pictures: bool,
}

/// Writes `docs/configuration.md`, and the pictures if they are asked for.
pub fn command(options: &Options) -> Outcome {
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
    if options.pictures { pictures() } else { Ok(ExitCode::SUCCESS) }
}

/// The tests that look at the page and at `top` take them; here they are kept in `docs/images`.
fn pictures() -> Outcome {
    setup::ensure(&[Need::Bpf, Need::Engine, Need::Browser])?;
    build::object()?;
    build::agent(true)?;
    let mut cargo = workspace::cargo();
    cargo.env("CAPTURE_PICTURES", workspace::root().join("docs/images"));
    cargo.args(["test", "--package", "capture-tests", "--test", "live", "--", "--test-threads=1", "pictures_of"]);
    let status = cargo.status().context("cargo test cannot be started")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
