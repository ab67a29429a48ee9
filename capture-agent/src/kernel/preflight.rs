//! What the host must have, looked at before anything is loaded, so that each lack is one sentence and not an `errno`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{AttachMode, KernelError};

/// The oldest kernel with everything that the programs use: `bpf_loop` came with 5.17; the ring buffer (5.8), atomics
/// with a result (5.12) and `bpf_task_pt_regs` (5.15) are older.
const OLDEST_KERNEL: (u32, u32) = (5, 17);

/// Where the kernel describes its own types.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Number and name of a capability, from `include/uapi/linux/capability.h`.
type Capability = (u32, &'static str);

const CAP_SYS_PTRACE: Capability = (19, "CAP_SYS_PTRACE");
const CAP_SYS_ADMIN: Capability = (21, "CAP_SYS_ADMIN");
const CAP_PERFMON: Capability = (38, "CAP_PERFMON");
const CAP_BPF: Capability = (39, "CAP_BPF");

/// Checks privileges, kernel version, BTF and (for [`AttachMode::Syscalls`]) tracefs.
///
/// # Errors
///
/// The first thing that is missing.
pub fn check(mode: AttachMode) -> Result<(), KernelError> {
    check_capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default())?;
    check_version(rustix::system::uname().release().to_str().unwrap_or_default())?;
    if !Path::new(VMLINUX_BTF).exists() {
        return Err(KernelError::NoBtf);
    }
    if mode == AttachMode::Syscalls && tracefs().is_none() {
        return Err(KernelError::NoTracefs);
    }
    Ok(())
}

/// The mounted tracefs, if there is one.
#[must_use]
pub fn tracefs() -> Option<PathBuf> {
    TRACEFS.iter().map(PathBuf::from).find(|path| path.join("events/syscalls").is_dir())
}

fn check_capabilities(status: &str) -> Result<(), KernelError> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        // Without /proc nothing can be said; the kernel's own answer will do.
        .unwrap_or(u64::MAX);
    let has = |(bit, _): Capability| effective & (1 << bit) != 0;
    let admin = has(CAP_SYS_ADMIN);
    let missing: Vec<_> = [CAP_BPF, CAP_PERFMON]
        .into_iter()
        .filter(|capability| !admin && !has(*capability))
        .chain([CAP_SYS_PTRACE].into_iter().filter(|capability| !has(*capability)))
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if rustix::process::geteuid().is_root() {
        Err(KernelError::MissingCapability { names: missing.join(", ") })
    } else {
        Err(KernelError::NotRoot { uid: rustix::process::geteuid().as_raw(), names: missing.join(", ") })
    }
}

fn check_version(release: &str) -> Result<(), KernelError> {
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

    #[test]
    fn names_each_missing_capability() {
        let error = check_capabilities("CapEff:\t0000000000000000\n").unwrap_err().to_string();
        for name in ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"] {
            assert!(error.contains(name), "{error}");
        }
        let error = check_capabilities("CapEff:\t0000008000080000\n").unwrap_err().to_string();
        assert!(error.contains("CAP_PERFMON") && !error.contains("CAP_SYS_PTRACE"), "{error}");
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        assert!(check_capabilities("CapEff:\t0000000000280000\n").is_ok());
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
