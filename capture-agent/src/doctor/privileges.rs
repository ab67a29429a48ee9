//! What this process may do: capabilities, and what filters its system calls.

use super::{Check, Host, Trials, Untried};
use crate::kernel::{CAPABILITIES, Held, KernelError};

/// One check for each capability.
pub(super) fn capabilities(host: &Host) -> Vec<Check> {
    let Some(privileges) = host.privileges() else {
        return vec![Check::failed(
            "capabilities",
            "/proc/self/status does not tell them",
            "mount /proc: mount -t proc proc /proc",
        )];
    };
    let check = |capability: crate::kernel::Capability| {
        let purpose = capability.purpose;
        let check = match privileges.holds(capability) {
            Held::Itself => Check::ok("capability", format!("held; needed {purpose}")),
            Held::BySysAdmin => Check::ok("capability", format!("held as CAP_SYS_ADMIN; needed {purpose}")),
            Held::No if privileges.uid == 0 => {
                let short = capability.name.trim_start_matches("CAP_");
                let advice = format!(
                    "add it to the container (--cap-add {short}{}) or the unit (AmbientCapabilities={})",
                    // Docker 20.10 does not know the names of 2020.
                    if short == "SYS_PTRACE" { "" } else { ", or SYS_ADMIN where the engine does not know that" },
                    capability.name,
                );
                Check::failed("capability", format!("missing; needed {purpose}"), advice)
            }
            Held::No => Check::failed(
                "capability",
                format!("missing, as this runs as user id {}; needed {purpose}", privileges.uid),
                "run it as root, with sudo, or with the capability",
            ),
        };
        check.titled(capability.name)
    };
    CAPABILITIES.into_iter().map(check).collect()
}

/// A filter of system calls, as every container has one. The mode is that of `seccomp(2)`.
pub(super) fn seccomp(host: &Host, tried: &Result<Trials, Untried>) -> Check {
    const ID: &str = "seccomp";
    let status = host.read("proc/self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map_or("0", str::trim);
    if mode == "0" {
        return Check::ok(ID, "no filter");
    }
    match tried {
        // The capabilities are there, or it would not have been tried.
        Ok(trials) if trials.is_refused_bpf() => Check::failed(
            ID,
            "a filter is in force, and bpf(2) is refused although the capabilities are there",
            "allow bpf and perf_event_open in the profile, or use --security-opt seccomp=unconfined",
        ),
        Ok(_) => Check::ok(ID, "a filter is in force, and lets bpf(2) pass"),
        Err(untried) => Check::ok(ID, format!("a filter is in force; {}", untried.as_str())),
    }
}

impl Trials {
    /// Not even a map or the smallest program.
    fn is_refused_bpf(&self) -> bool {
        let is_denied = |error: &KernelError| error.to_string().contains("not permitted");
        self.ring.as_ref().is_err_and(is_denied) && self.reads_memory.as_ref().is_err_and(is_denied)
    }
}
