//! The compiler and the linker of the kernel side (docs/decisions/0001): which are there, and what they need.
//!
//! A BPF object needs a `core` for `bpfel-unknown-none`. Two compilers can give one, in this order: a rustup nightly
//! that builds `core` from `rust-src`, or Debian's `rustc-web`, which brings it built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::{self, find_program};

/// The nightly that `setup` installs: one whose LLVM is the linker's. A later one writes bitcode that it cannot read.
pub const NIGHTLY: &str = "nightly-2026-05-20";
/// The major version of LLVM that the linker is built with.
pub const LLVM: u32 = 22;
/// The version of bpf-linker that `setup` installs.
pub const LINKER_VERSION: &str = "0.13.0";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const TARGET: &str = "bpfel-unknown-none";

/// A compiler that can build the kernel side.
#[derive(Debug)]
pub enum Compiler {
    /// The named rustup toolchain, with `rust-src`.
    Nightly(&'static str),
    /// Debian's `rustc-web` with `libstd-rust-web-dev-bpf`.
    Debian,
}

impl Compiler {
    /// The first that is there, in the order of this module's head.
    pub fn find() -> Option<Self> {
        [NIGHTLY, "nightly"]
            .into_iter()
            .find(|name| is_usable(name))
            .map(Self::Nightly)
            .or_else(|| debian_core().map(|_| Self::Debian))
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Nightly(name) => format!("rustup {name} with rust-src"),
            Self::Debian => "Debian's rustc-web with core for bpfel".to_owned(),
        }
    }

    /// `cargo build --release` of the kernel side, without anything that the outer cargo left in the environment.
    ///
    /// `LD_LIBRARY_PATH` is part of that: cargo points it at its own toolchain's LLVM, which another compiler would load.
    pub fn cargo_build(&self, manifest: &Path, target_dir: &Path) -> Result<Command> {
        let linker = find_program("bpf-linker").context("bpf-linker is missing; run `cargo xtask setup`")?;
        let mut cargo = match self {
            Self::Nightly(name) => {
                let mut cargo = rustup();
                cargo.args(["run", name, "cargo", "build", "-Z", "build-std=core"]);
                cargo
            }
            Self::Debian => {
                let mut cargo = workspace::cargo();
                cargo.arg("build").env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        };
        let flags = ["-Cdebuginfo=2", "-Clink-arg=--btf", "-Ctarget-cpu=v3", &format!("-Clinker={}", linker.display())]
            .join("\x1f");
        cargo
            .current_dir(workspace::root())
            .args(["--release", "--target", TARGET, "--manifest-path"])
            .arg(manifest)
            .env("CARGO_TARGET_DIR", target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", flags);
        for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET", "LD_LIBRARY_PATH"] {
            cargo.env_remove(name);
        }
        Ok(cargo)
    }
}

/// `rustup`, asked about a toolchain by name and not about the one that runs this xtask.
pub fn rustup() -> Command {
    let mut rustup = Command::new("rustup");
    rustup.current_dir(workspace::root());
    for name in ["RUSTUP_TOOLCHAIN", "RUSTC", "CARGO", "LD_LIBRARY_PATH"] {
        rustup.env_remove(name);
    }
    rustup
}

/// Where the compiled `core` of Debian's compiler is.
fn debian_core() -> Option<PathBuf> {
    let library = PathBuf::from("/usr/lib/rustlib").join(TARGET);
    (Path::new(DEBIAN_RUSTC).is_file() && library.is_dir()).then_some(library)
}

/// Whether the toolchain is installed, has the sources of `core`, and writes bitcode that the linker reads.
fn is_usable(toolchain: &str) -> bool {
    // Asking the toolchain costs a process that may install it; its directory tells without either.
    let Some(sysroot) = toolchain_dir(toolchain) else { return false };
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file() && llvm_of(&sysroot) == Some(LLVM)
}

fn toolchain_dir(toolchain: &str) -> Option<PathBuf> {
    let home = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".rustup")))?;
    let entries = home.join("toolchains").read_dir().ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let rest = name.strip_prefix(toolchain).unwrap_or_default();
        // `nightly` must not take `nightly-2026-05-20`: after the name comes the host triple.
        rest.strip_prefix('-').is_some_and(|triple| !triple.starts_with(|c: char| c.is_ascii_digit()))
    })
}

fn llvm_of(sysroot: &Path) -> Option<u32> {
    let output = Command::new(sysroot.join("bin/rustc")).arg("-vV").env_remove("LD_LIBRARY_PATH").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

/// Whether the linker is there in the version that `setup` installs.
pub fn has_linker() -> bool {
    let Some(linker) = find_program("bpf-linker") else { return false };
    let output = Command::new(linker).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(LINKER_VERSION))
}
