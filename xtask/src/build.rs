//! `cargo xtask build`: the eBPF object, then the agent that carries it inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::setup::{self, Need};
use crate::toolchain::Compiler;
use crate::workspace;

/// Options of `cargo xtask build`.
#[derive(Args)]
pub struct Options {
    /// Optimise the agent (the eBPF object always is: the verifier refuses unoptimised code)
    #[arg(long)]
    release: bool,
}

/// Builds both sides.
pub fn command(options: &Options) -> Result<()> {
    setup::ensure(&[Need::Bpf])?;
    object()?;
    agent(options.release)?;
    Ok(())
}

/// Builds the eBPF object into `target/bpf/capture-ebpf`, and gives its path.
pub fn object() -> Result<PathBuf> {
    let compiler = Compiler::find().context("no compiler for the eBPF object; run `cargo xtask setup`")?;
    let manifest = workspace::root().join("capture-ebpf/Cargo.toml");
    let built = workspace::target_dir().join("bpf-build");
    run(&mut compiler.cargo_build(&manifest, &built)?, "the eBPF object")?;

    // For the benchmarks.
    keep(&built, "limits")?;
    keep(&built, "capture-ebpf")
}

/// Copies an object to where it is read, and gives that path.
fn keep(built: &Path, name: &str) -> Result<PathBuf> {
    let source = built.join("bpfel-unknown-none/release").join(name);
    let object = workspace::target_dir().join("bpf").join(name);
    let bytes = fs::read(&source).with_context(|| format!("{}: cannot be read", source.display()))?;
    // A copy of the same bytes would have a new time, and that alone makes cargo compile the agent anew.
    if fs::read(&object).is_ok_and(|there| there == bytes) {
        return Ok(object);
    }
    fs::create_dir_all(workspace::target_dir().join("bpf")).context("target/bpf: cannot be made")?;
    fs::write(&object, bytes).with_context(|| format!("{}: cannot be written", object.display()))?;
    Ok(object)
}

/// Builds the agent, and gives the path of its binary. An optimised one is static: it needs no file of the machine it runs on.
pub fn agent(release: bool) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    if release {
        // Only the last step, the link, knows of it, so what it links is that of every other build (docs/decisions/0015).
        cargo.args(["rustc", "--package", "capture-agent", "--bin", "capture-agent", "--release", "--"]);
        cargo.arg("-Ctarget-feature=+crt-static");
    } else {
        cargo.args(["build", "--package", "capture-agent"]);
    }
    run(&mut cargo, "the agent")?;
    Ok(workspace::target_dir().join(if release { "release" } else { "debug" }).join("capture-agent"))
}

/// A copy of a binary without what only a debugger reads, for packages; function names stay, for backtraces.
pub fn stripped(binary: &Path) -> Result<PathBuf> {
    let directory = workspace::target_dir().join("dist");
    fs::create_dir_all(&directory).with_context(|| format!("{}: cannot be made", directory.display()))?;
    let copy = directory.join(binary.file_name().context("the binary has no name")?);
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg("-o").arg(&copy).arg(binary);
    let status = strip.status().context("strip, of binutils, cannot be started")?;
    if !status.success() {
        bail!("{}: cannot be stripped ({status})", binary.display());
    }
    Ok(copy)
}

/// Cargo shows its own progress, so it inherits the terminal.
fn run(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("{what}: cargo cannot be started"))?;
    if !status.success() {
        bail!("{what} does not build ({status}); the compiler's messages are above");
    }
    Ok(())
}
