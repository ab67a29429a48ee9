//! What can be wrong with the kernel or the way to it. Each message says what, why and what to do.

use std::io;

/// Why capture cannot start.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// An ordinary user without the capabilities.
    #[error("capture needs root, but runs as user id {uid} without {names}; run it with sudo or as root")]
    NotRoot {
        /// Effective user id.
        uid: u32,
        /// Missing capabilities, separated by commas.
        names: String,
    },
    /// Root, but in a container or unit that took capabilities away.
    #[error("missing capability {names}; add it to the container (--cap-add) or the unit (AmbientCapabilities)")]
    MissingCapability {
        /// Missing capabilities, separated by commas.
        names: String,
    },
    /// The kernel lacks the ring buffer or a helper.
    #[error(
        "kernel {found} is too old: Linux 5.17 or newer is needed for the BPF ring buffer and loops; upgrade the host's kernel"
    )]
    TooOld {
        /// `uname -r`.
        found: String,
    },
    /// The kernel was built without `CONFIG_DEBUG_INFO_BTF`, or `/sys` is not the host's.
    #[error(
        "the kernel's type information (BTF) is missing: /sys/kernel/btf/vmlinux does not exist; mount the host's /sys, or use a kernel built with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf,
    /// The BTF is there and cannot be understood.
    #[error(
        "the kernel's type information in /sys/kernel/btf/vmlinux cannot be read: {cause}; please report this kernel"
    )]
    BadBtf {
        /// What the parser said.
        cause: String,
    },
    /// A member that the programs need does not exist in this kernel.
    #[error("this kernel has no {structure}.{path}, which capture needs; please report the kernel's version")]
    MissingField {
        /// Structure.
        structure: &'static str,
        /// Member.
        path: &'static str,
    },
    /// Attach mode `syscalls` was asked for, but its tracepoints cannot be found.
    #[error(
        "tracefs is not mounted, and --attach syscalls needs it; mount it (mount -t tracefs tracefs /sys/kernel/tracing) or use --attach raw"
    )]
    NoTracefs,
    /// A host with cgroup v1 only.
    #[error(
        "no cgroup v2 hierarchy is mounted, and containers are told apart by it; boot with systemd.unified_cgroup_hierarchy=1, or mount one (mount -t cgroup2 none /sys/fs/cgroup/unified)"
    )]
    NoCgroup2,
    /// A map could not be made.
    #[error("the kernel refused the BPF maps ({cause}); free memory, or choose a smaller --ring-size")]
    Maps {
        /// Cause.
        cause: String,
    },
    /// A program was refused at load.
    #[error(
        "the kernel refused the eBPF program {program} ({cause}); check that lockdown and LSM policies allow BPF, and run with RUST_LOG=debug for the verifier's words"
    )]
    Load {
        /// Program.
        program: &'static str,
        /// Cause.
        cause: String,
    },
    /// A program was loaded and could not be attached.
    #[error("the eBPF program {program} cannot be attached ({cause}); try another --attach mode")]
    Attach {
        /// Program.
        program: &'static str,
        /// Cause.
        cause: String,
    },
    /// The object in the binary is not the one that this code was written for.
    #[error("the embedded eBPF object has no {name}; build again with `cargo xtask build`")]
    Object {
        /// Map or program.
        name: &'static str,
    },
    /// A map could not be read or written.
    #[error("BPF map {name}: {cause}")]
    Map {
        /// Map.
        name: &'static str,
        /// Cause.
        cause: String,
    },
    /// A map could not be mapped into memory.
    #[error("BPF map {name} cannot be mapped into memory: {source}")]
    Mmap {
        /// Map.
        name: &'static str,
        /// Cause.
        source: io::Error,
    },
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}
