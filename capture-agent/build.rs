//! Hands the eBPF object that `cargo xtask build` made to the compiler, so that the binary carries it inside.

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

fn main() {
    let object = target_dir().join("bpf/capture-ebpf");
    println!("cargo:rerun-if-env-changed=CARGO_TARGET_DIR");
    println!("cargo:rerun-if-changed={}", object.display());
    if !object.is_file() {
        eprintln!("{}: the eBPF object is not built; run `cargo xtask build`", object.display());
        exit(1);
    }
    println!("cargo:rustc-env=CAPTURE_EBPF_OBJECT={}", object.display());
}

/// Where `cargo xtask build` puts the object: the target directory of the workspace, or the one the environment names.
fn target_dir() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let workspace = workspace.canonicalize().unwrap_or(workspace);
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace.join(dir),
        None => workspace.join("target"),
    }
}
