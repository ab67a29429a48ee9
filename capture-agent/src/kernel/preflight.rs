//! What the host must have, looked at before anything is loaded, so that each lack is one sentence and not an `errno`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{AttachMode, KernelError};

/// The oldest kernel with everything that the programs use: `bpf_loop` came with 5.17; the ring buffer (5.8), atomics
/// with a result (5.12) and `bpf_task_pt_regs` (5.15) are older.
pub const OLDEST_KERNEL: (u32, u32) = (5, 17);

/// Where the kernel describes its own types.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

const TRACEFS: [&str; 2] = ["sys/kernel/tracing", "sys/kernel/debug/tracing"];

/// A capability that the agent needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// From `include/uapi/linux/capability.h`.
    number: u32,
    /// As `capabilities(7)` has it.
    pub name: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    /// Whether `CAP_SYS_ADMIN` stands for it, as before Linux 5.8.
    in_sys_admin: bool,
}

/// All that are needed.
pub const CAPABILITIES: [Capability; 3] = [
    Capability { number: 39, name: "CAP_BPF", purpose: "to make BPF maps and load programs", in_sys_admin: true },
    Capability {
        number: 38,
        name: "CAP_PERFMON",
        purpose: "to attach programs that look at the kernel's memory",
        in_sys_admin: true,
    },
    Capability {
        number: 19,
        name: "CAP_SYS_PTRACE",
        purpose: "to see what containers that run already write to",
        in_sys_admin: false,
    },
];

const CAP_SYS_ADMIN: u32 = 21;

/// How a process has a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// By its name.
    Itself,
    /// By `CAP_SYS_ADMIN`.
    BySysAdmin,
    /// Not at all.
    No,
}

/// What a process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// Effective user id.
    pub uid: u32,
    /// Effective capabilities, a bit for each.
    effective: u64,
}

impl Privileges {
    /// Reads `/proc/<pid>/status`; `None` where it does not say.
    #[must_use]
    pub fn of_status(status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // Real, effective, saved and file-system user id.
        let uid = field("Uid:").and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok());
        let effective = u64::from_str_radix(field("CapEff:")?, 16).ok()?;
        Some(Self { uid: uid.unwrap_or_else(|| rustix::process::geteuid().as_raw()), effective })
    }

    /// Whether and how it holds a capability.
    #[must_use]
    pub fn holds(self, capability: Capability) -> Held {
        let has = |number: u32| self.effective & (1 << number) != 0;
        if has(capability.number) {
            Held::Itself
        } else if capability.in_sys_admin && has(CAP_SYS_ADMIN) {
            Held::BySysAdmin
        } else {
            Held::No
        }
    }

    /// Whether nothing that the agent needs is missing.
    ///
    /// # Errors
    ///
    /// [`KernelError::NotRoot`] or [`KernelError::MissingCapability`], with all that is.
    pub fn check(self) -> Result<(), KernelError> {
        let missing: Vec<_> = CAPABILITIES
            .into_iter()
            .filter(|capability| self.holds(*capability) == Held::No)
            .map(|capability| capability.name)
            .collect();
        let names = missing.join(", ");
        match (missing.is_empty(), self.uid) {
            (true, _) => Ok(()),
            (false, 0) => Err(KernelError::MissingCapability { names }),
            (false, uid) => Err(KernelError::NotRoot { uid, names }),
        }
    }
}

/// Checks privileges, kernel version, BTF and (for [`AttachMode::Syscalls`]) tracefs.
///
/// # Errors
///
/// The first thing that is missing.
pub fn check(mode: AttachMode) -> Result<(), KernelError> {
    // Without /proc nothing can be said; the kernel's own answer will do.
    if let Some(privileges) = Privileges::of_status(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        privileges.check()?;
    }
    check_version(rustix::system::uname().release().to_str().unwrap_or_default())?;
    if !Path::new(VMLINUX_BTF).exists() {
        return Err(KernelError::NoBtf);
    }
    if mode == AttachMode::Syscalls && tracefs(Path::new("/")).is_none() {
        return Err(KernelError::NoTracefs);
    }
    Ok(())
}

/// The mounted tracefs below `root`, if there is one.
#[must_use]
pub fn tracefs(root: &Path) -> Option<PathBuf> {
    TRACEFS.iter().map(|path| root.join(path)).find(|path| path.join("events/syscalls").is_dir())
}

/// Whether a release (`uname -r`) has everything that the programs use.
///
/// # Errors
///
/// [`KernelError::TooOld`].
pub fn check_version(release: &str) -> Result<(), KernelError> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST_KERNEL => {
            Err(KernelError::TooOld { found: release.to_owned() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_capabilities(effective: &str) -> Result<(), KernelError> {
        Privileges::of_status(&format!("Name:\tx\nUid:\t1\t0\t0\t0\nCapEff:\t{effective}\n")).unwrap().check()
    }

    #[test]
    fn names_each_missing_capability() {
        let error = check_capabilities("0000000000000000").unwrap_err().to_string();
        for name in ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"] {
            assert!(error.contains(name), "{error}");
        }
        let error = check_capabilities("0000008000080000").unwrap_err().to_string();
        assert!(error.contains("CAP_PERFMON") && !error.contains("CAP_SYS_PTRACE"), "{error}");
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        assert!(check_capabilities("0000000000280000").is_ok());
    }

    #[test]
    fn tells_old_kernels_from_new_ones() {
        for release in ["5.17.0", "6.1.0-56-cloud-amd64", "6.18.44", "10.0", "unknown"] {
            assert!(check_version(release).is_ok(), "{release}");
        }
        for release in ["5.16.20", "5.4.0-150-generic", "4.19"] {
            assert!(check_version(release).unwrap_err().to_string().contains(release), "{release}");
        }
    }
}
