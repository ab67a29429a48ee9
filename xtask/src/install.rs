//! How a missing part gets onto the machine: apt, rustup, cargo.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::deb::CARGO_DEB;
use crate::step;
use crate::toolchain::{LINKER_VERSION, LLVM, NIGHTLY, rustup};
use crate::workspace::{self, find_program};

/// Installs parts; reads apt's package lists once.
#[derive(Default)]
pub struct Installer {
    updated: bool,
}

impl Installer {
    /// Installs Debian packages.
    pub fn apt(&mut self, packages: &[&str]) -> Result<()> {
        let list = packages.join(" ");
        if find_program("apt-get").is_none() {
            bail!("there is no apt-get here; install what Debian calls `{list}` by hand, then try again");
        }
        if !workspace::is_root() {
            bail!("this needs root: run `apt-get install --no-install-recommends {list}` as root, then try again");
        }
        if !self.updated {
            step::run("apt-update", "apt-get update", apt_get().arg("update"))?;
            self.updated = true;
        }
        let mut install = apt_get();
        install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        step::run(&format!("apt-{}", packages[0]), &format!("apt-get install {list}"), &mut install)
    }

    /// Installs the nightly that the linker can read, and Debian's compiler where rustup is not there or cannot fetch.
    pub fn bpf_compiler(&mut self) -> Result<()> {
        if find_program("rustup").is_some() {
            let mut install = rustup();
            install.args(["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"]);
            install.args(["--no-self-update"]);
            match step::run("rustup", &format!("rustup toolchain install {NIGHTLY}"), &mut install) {
                Ok(()) => return Ok(()),
                Err(error) => eprintln!("  {error:#}; taking Debian's compiler instead"),
            }
        }
        self.apt(&["rustc-web", "libstd-rust-web-dev-bpf"])
    }

    /// Builds bpf-linker against Debian's LLVM.
    pub fn bpf_linker(&mut self) -> Result<()> {
        let prefix = format!("/usr/lib/llvm-{LLVM}");
        let headers = [&format!("{prefix}/include/llvm-c/Core.h"), "/usr/include/zlib.h", "/usr/include/zstd.h"];
        if !headers.iter().all(|header| Path::new(header).is_file()) {
            self.apt(&[&format!("llvm-{LLVM}-dev"), "zlib1g-dev", "libzstd-dev"])?;
        }
        let mut install = workspace::cargo();
        install
            .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"])
            .args(["--no-default-features", "--features", &format!("llvm-{LLVM}")])
            .env("LLVM_PREFIX", prefix)
            .env("CARGO_TARGET_DIR", workspace::target_dir().join("bpf-linker"));
        step::run("bpf-linker", &format!("cargo install bpf-linker {LINKER_VERSION}"), &mut install)
    }

    /// Builds cargo-deb, without the library for a compression that packages need not have.
    pub fn cargo_deb() -> Result<()> {
        let mut install = workspace::cargo();
        install
            .args(["install", "cargo-deb", "--version", CARGO_DEB, "--locked", "--force"])
            .args(["--no-default-features", "--features", "gzip"])
            .env("CARGO_TARGET_DIR", workspace::target_dir().join("cargo-deb"));
        step::run("cargo-deb", &format!("cargo install cargo-deb {CARGO_DEB}"), &mut install)
    }
}

/// apt without questions and without starting what it installs: the engine is started where and when it is needed.
fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .env_remove("LD_LIBRARY_PATH");
    apt
}
