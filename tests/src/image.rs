//! The image that test containers run: static busybox and nothing else, as there may be no registry to pull from.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::engine::Engine;
use crate::process;

/// Name and tag of the busybox image.
pub const BUSYBOX: &str = "capture-test/busybox:latest";

const DEADLINE: Duration = Duration::from_mins(1);

/// Makes sure that `engine` has [`BUSYBOX`], and gives its name.
///
/// # Errors
/// When there is no static busybox, or the engine does not take the image.
pub fn busybox(engine: &Engine) -> Result<&'static str> {
    if engine.docker(["image", "inspect", "--format", "{{.Id}}", BUSYBOX]).is_ok() {
        return Ok(BUSYBOX);
    }
    let directory = tempfile::tempdir().context("no directory for the image")?;
    let root = directory.path().join("root");
    fill(&root)?;
    import(engine, &root, BUSYBOX)
}

/// Imports the tree under `root` as the image `name`, whose default command is a shell.
///
/// # Errors
/// When the tree cannot be packed, or the engine does not take it.
pub fn import<'a>(engine: &Engine, root: &Path, name: &'a str) -> Result<&'a str> {
    let directory = tempfile::tempdir().context("no directory for the image")?;
    let archive = directory.path().join("image.tar");
    process::text(Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&archive).arg("."), DEADLINE)?;
    let path = archive.to_str().context("the temporary directory's name is not UTF-8")?;
    engine.docker(["import", "--change", "CMD [\"/bin/sh\"]", path, name])?;
    Ok(name)
}

/// Puts busybox, a link for each of its applets, and the directories that programs expect under `root`.
///
/// # Errors
/// When there is no static busybox, or `root` cannot be written.
pub fn fill(root: &Path) -> Result<()> {
    let busybox = find_busybox().context("no static busybox here; `cargo xtask setup` installs it")?;
    for directory in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        fs::create_dir_all(root.join(directory)).with_context(|| format!("{}", root.display()))?;
    }
    fs::copy(&busybox, root.join("bin/busybox")).with_context(|| format!("{}", busybox.display()))?;
    let applets = process::text(Command::new(&busybox).arg("--list"), DEADLINE)?;
    for applet in applets.lines().filter(|&applet| applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).with_context(|| format!("the link of {applet}"))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").context("etc/passwd")?;
    Ok(())
}

/// A busybox that runs in an empty image.
#[must_use]
pub fn find_busybox() -> Option<PathBuf> {
    let candidates = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox-static"].map(PathBuf::from);
    candidates.into_iter().find(|path| fs::read(path).is_ok_and(|program| is_static(&program)))
}

/// Whether an ELF program names no interpreter: `ld-linux` or `ld-musl` stands in the header's reach if it does.
fn is_static(program: &[u8]) -> bool {
    let head = &program[..program.len().min(4096)];
    !head.windows(6).any(|bytes| bytes == b"/ld-li" || bytes == b"/ld-mu")
}
