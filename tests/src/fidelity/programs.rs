//! The programs that containers run, and the image that holds them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use capture_writers::Content;

use crate::{
    Engine, engine, image,
    process::{self, text},
    workspace::target_dir,
};

/// Name of the image.
pub(super) const IMAGE: &str = "capture-test/writers:latest";

const DEADLINE: Duration = Duration::from_mins(10);

/// What the corpus runs on.
pub(super) struct Programs {
    pub(super) engine: Arc<Engine>,
    /// The program that collects the old way, where it is asked for.
    pub(super) baseline: Option<PathBuf>,
}

/// Builds the writers and what holds them.
///
/// # Errors
/// When a compiler or the engine is missing, or refuses.
pub(super) fn prepare(baseline: bool) -> Result<Programs> {
    let engine = engine::ensure()?;
    let directory = tempfile::tempdir().context("no directory for the image")?;
    let root = directory.path().join("root");
    image::fill(&root)?;
    fs::copy(writer()?, root.join("writer")).context("the writer")?;
    writer32(&root.join("writer32"))?;
    for (name, content) in [("text", text_data()), ("bytes", Content::Bytes(200_000).bytes("", 7))] {
        fs::write(root.join(name), content).with_context(|| format!("/{name} of the image"))?;
    }
    script(&root.join("entrypoint.sh"), "#!/bin/sh\necho entrypoint\nexec \"$@\"\n")?;
    script(&root.join("nested.sh"), "#!/bin/sh\necho nested >&2\nexec /entrypoint.sh \"$@\"\n")?;
    image::import(&engine, &root, IMAGE)?;
    let baseline = if baseline { Some(old_way()?) } else { None };
    Ok(Programs { engine, baseline })
}

/// Content of `/text` in the image.
pub(super) fn text_data() -> Vec<u8> {
    Content::Lines(300_000).bytes("text", 7)
}

/// A static program: the image has no library. A target directory of its own keeps the flags out of other builds.
pub(crate) fn writer() -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let directory = target_dir().join("writers");
    let mut cargo = cargo();
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").arg("build").arg("--quiet");
    cargo.args(["--package", "capture-writers", "--release", "--target", TARGET, "--target-dir"]).arg(&directory);
    text(&mut cargo, DEADLINE).context("the writers do not build")?;
    Ok(directory.join(TARGET).join("release/writer"))
}

/// Without any library, so that no 32-bit one has to be installed.
fn writer32(program: &Path) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("writers/writer32.c");
    let mut gcc = Command::new("gcc");
    gcc.args([
        "-m32",
        "-O1",
        "-nostdlib",
        "-static",
        "-ffreestanding",
        "-fno-pie",
        "-no-pie",
        "-fno-stack-protector",
        "-o",
    ]);
    text(gcc.arg(program).arg(source), DEADLINE).map(drop).context("the 32-bit writer does not build")
}

pub(crate) fn old_way() -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--release", "--package", "capture-tests", "--features", "baseline"]);
    process::text(cargo.args(["--bin", "baseline"]), DEADLINE).context("the baseline does not build")?;
    Ok(target_dir().join("release/baseline"))
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    cargo
}

fn script(path: &Path, content: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, content).with_context(|| format!("{}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(|| format!("{}", path.display()))
}
