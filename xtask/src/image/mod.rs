//! `cargo xtask image`: the agent's container image, made of the static binary and nothing else.
//!
//! Neither an engine nor a base image is needed. The same binary gives the same bytes, wherever and whenever it is made.

mod archive;
mod layer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use capture_tests::daemon::answers;
use capture_tests::engine::DEFAULT_SOCKET;
use clap::Args;

use crate::setup::{self, Need};
use crate::workspace::{self, find_program};
use crate::{Outcome, build, step};

/// The program in the image.
const PROGRAM: &str = "capture-agent";

/// Options of `cargo xtask image`.
#[derive(Args)]
pub struct Options {
    /// Where the archive is written; by default `target/image/capture-agent.tar`
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name of the image; its tags are the version and `latest`
    #[arg(long, default_value = PROGRAM)]
    name: String,
    /// Only write the archive, also where an engine answers
    #[arg(long)]
    no_load: bool,
}

/// Builds, writes the archive, prints its path and the image's digest, and loads it into the engine that answers.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[Need::Bpf])?;
    build::object()?;
    let binary = build::stripped(&build::agent(true)?)?;
    let output =
        options.output.clone().unwrap_or_else(|| workspace::target_dir().join("image").join(format!("{PROGRAM}.tar")));
    let tags = [env!("CARGO_PKG_VERSION"), "latest"].map(|tag| format!("{}:{tag}", options.name));
    let digest = write(&binary, &output, &tags)?;
    println!("{} {digest}", output.display());
    if !options.no_load && answers(Path::new(DEFAULT_SOCKET)) && find_program("docker").is_some() {
        let mut load = Command::new("docker");
        load.args(["--host", &format!("unix://{DEFAULT_SOCKET}"), "load", "--input"]).arg(&output);
        step::run("docker-load", "docker load", &mut load)?;
        println!("loaded as {}", tags.join(" and "));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the archive, and gives the digest of the image's manifest.
fn write(binary: &Path, output: &Path, tags: &[String]) -> Result<String> {
    let program = fs::read(binary).with_context(|| format!("{}: cannot be read", binary.display()))?;
    let layer = layer::of(PROGRAM, &program).context("the image's layer cannot be made")?;
    let (archive, digest) = archive::of(layer, PROGRAM, tags).context("the image's archive cannot be made")?;
    if let Some(directory) = output.parent() {
        fs::create_dir_all(directory).with_context(|| format!("{}: cannot be made", directory.display()))?;
    }
    fs::write(output, archive).with_context(|| format!("{}: cannot be written", output.display()))?;
    Ok(digest)
}
