//! Where the binaries under test are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap_or(root)
}

/// Cargo's target directory of the workspace.
#[must_use]
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The agent as people run it: optimised, with the eBPF object inside.
#[must_use]
pub fn agent_binary() -> PathBuf {
    target_dir().join("release/capture-agent")
}

/// `cargo xtask`, to be given arguments: the binary that runs the tests too.
///
/// # Errors
/// When it is not built.
pub fn xtask() -> Result<Command> {
    let binary = target_dir().join("debug/xtask");
    ensure!(binary.is_file(), "{}: not built; run the tests by `cargo xtask test`", binary.display());
    let mut command = Command::new(binary);
    // To the cargo that it starts, what this one says of the package under test is noise that makes it build anew.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.current_dir(root());
    Ok(command)
}
