//! `cargo xtask deb`: the Debian package, whose contents `[package.metadata.deb]` of the agent's Cargo.toml lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::setup::{self, Need};
use crate::workspace::{self, find_program};
use crate::{Outcome, build, step};

/// The version of cargo-deb that `setup` installs.
pub const CARGO_DEB: &str = "3.8.0";

/// Options of `cargo xtask deb`.
#[derive(Args)]
pub struct Options {
    /// Where the package is written; by default `target/debian`
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Builds the agent and its package, and prints where that is.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[Need::Bpf, Need::Packages])?;
    build::object()?;
    handbook(&build::agent(true)?)?;
    let output = options.output.clone().unwrap_or_else(|| workspace::target_dir().join("debian"));
    pack(&output)?;
    println!("{}", package_in(&output)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes what the agent itself says of its flags: a man page for each command, and completions for three shells. It goes beside
/// the binary, whose directory cargo-deb knows wherever cargo has it.
fn handbook(binary: &Path) -> Result<()> {
    let directory = binary.with_file_name("handbook");
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    // A page of a command that is no more would be packed too.
    if directory.is_dir() {
        fs::remove_dir_all(&directory).with_context(|| format!("{}: cannot be removed", directory.display()))?;
    }
    fs::create_dir_all(&completions).with_context(|| format!("{}: cannot be made", completions.display()))?;
    said(Command::new(binary).arg("man").arg(&man))?;
    // As Debian's policy asks for (section 12.1). Without a time in it, the package is the same each time.
    let pages = man.read_dir().with_context(|| format!("{}", man.display()))?.flatten().map(|page| page.path());
    said(Command::new("gzip").args(["-9", "--no-name"]).args(pages))?;
    // Each shell looks for a name of its own.
    for (shell, name) in [("bash", "capture-agent"), ("zsh", "_capture-agent"), ("fish", "capture-agent.fish")] {
        let file = completions.join(name);
        let script = said(Command::new(binary).args(["completions", shell]))?;
        fs::write(&file, script).with_context(|| format!("{}: cannot be written", file.display()))?;
    }
    Ok(())
}

fn said(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{:?} ended with {}: {}", command, output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

fn pack(output: &Path) -> Result<()> {
    let mut cargo = workspace::cargo();
    // The agent is there already, static, and is stripped on its way into the package.
    cargo.args(["deb", "--package", "capture-agent", "--no-build", "--strip"]);
    // gzip itself takes seconds, and what cargo-deb has inside a minute.
    cargo.args(["--compress-type", "gzip", "--compress-system"]);
    // A directory is told from a file by its end.
    cargo.arg("--output").arg(output.join(""));
    step::run("deb", "cargo deb", &mut cargo)
}

fn package_in(directory: &Path) -> Result<PathBuf> {
    let prefix = format!("capture-agent_{}", env!("CARGO_PKG_VERSION"));
    let entries = directory.read_dir().with_context(|| format!("{}", directory.display()))?.flatten();
    let mut packages = entries.map(|entry| entry.path()).filter(|path| {
        path.extension().is_some_and(|extension| extension == "deb")
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
    });
    match (packages.next(), packages.next()) {
        (Some(package), None) => Ok(package),
        (None, _) => bail!("{}: cargo deb has written no package", directory.display()),
        (Some(_), Some(_)) => bail!("{}: several packages of this version; remove the old ones", directory.display()),
    }
}

/// Whether cargo-deb is there in the version that `setup` installs.
pub fn find() -> Option<String> {
    let program = find_program("cargo-deb")?;
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().rsplit(' ').next().unwrap_or_default();
    (version == CARGO_DEB).then(|| version.to_owned())
}
