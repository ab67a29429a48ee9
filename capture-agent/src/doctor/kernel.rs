//! The kernel: its version, what it tells of itself, what it lets programs do.

use std::fs;

use super::{Check, Host, Trials, Untried};
use crate::config::units::Size;
use crate::kernel::{self, AttachMode, KernelError, OLDEST_KERNEL, VMLINUX_BTF};

/// A ring that is made where the wanted one has no room.
pub(super) const SMALLEST_RING: u32 = 256 << 10;

type Tried = Result<Trials, Untried>;

pub(super) fn version(host: &Host) -> Check {
    const ID: &str = "kernel";
    let Some(release) = host.release() else {
        return Check::failed(ID, "/proc is not mounted, or not readable", "mount it: mount -t proc proc /proc");
    };
    match kernel::check_version(&release) {
        Ok(()) => {
            let (major, minor) = OLDEST_KERNEL;
            Check::ok(ID, format!("Linux {release} ({}); {major}.{minor} or newer is needed", std::env::consts::ARCH))
        }
        Err(error) => Check::refused(ID, &error),
    }
}

pub(super) fn btf(host: &Host) -> Check {
    const ID: &str = "btf";
    let Ok(bytes) = fs::read(host.path(VMLINUX_BTF)) else {
        return Check::refused(ID, &KernelError::NoBtf).titled("BTF");
    };
    let check = match kernel::resolve_in(&bytes) {
        Ok(_) => Check::ok(
            ID,
            format!("{VMLINUX_BTF} ({}) has every member that capture needs", Size(bytes.len() as u64 >> 10 << 10)),
        ),
        Err(error) => Check::refused(ID, &error),
    };
    check.titled("BTF")
}

/// Only `--attach syscalls` reads it, to find its tracepoints.
pub(super) fn tracefs(host: &Host, wanted: AttachMode) -> Check {
    const ID: &str = "tracefs";
    match (kernel::tracefs(host.root()), wanted) {
        (Some(path), _) => Check::ok(ID, format!("mounted on {}", path.display())),
        (None, AttachMode::Syscalls) if is_there_and_closed(host) => Check::failed(
            ID,
            "/sys/kernel/tracing may not be read, and --attach syscalls needs it",
            "run as root, or use --attach raw",
        ),
        (None, AttachMode::Syscalls) => Check::refused(ID, &KernelError::NoTracefs),
        // Unprivileged, nothing can be said; whoever runs the agent may read it.
        (None, _) if is_there_and_closed(host) => {
            Check::ok(ID, "/sys/kernel/tracing is for root to read; only --attach syscalls needs it")
        }
        (None, _) => Check::warning(
            ID,
            "not mounted: --attach syscalls is not to be had; auto and raw do without",
            "nothing, or mount it: mount -t tracefs tracefs /sys/kernel/tracing",
        ),
    }
}

fn is_there_and_closed(host: &Host) -> bool {
    fs::read_dir(host.path("sys/kernel/tracing"))
        .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// The mode stands in brackets (`security/lockdown/lockdown.c`).
pub(super) fn lockdown(host: &Host, tried: &Tried) -> Check {
    const ID: &str = "lockdown";
    let text = host.read("sys/kernel/security/lockdown").ok();
    let mode = text.as_deref().and_then(|text| text.split(['[', ']']).nth(1));
    let may_read = tried.as_ref().ok().and_then(|trials| trials.reads_memory.as_ref().ok());
    let told = mode.map_or_else(|| "securityfs does not show its mode".to_owned(), |mode| format!("mode {mode}"));
    match (mode, may_read) {
        (Some("confidentiality"), _) | (_, Some(false)) => Check::failed(
            ID,
            format!("{told}; programs may not read the kernel's memory, which capture does"),
            "boot with lockdown=integrity, or without lockdown",
        ),
        (_, Some(true)) => {
            Check::ok(ID, format!("{told}; programs may read the kernel's memory, which is what counts"))
        }
        (Some(_), None) => Check::ok(ID, format!("{told}; that allows what capture does")),
        (None, None) => {
            let why = tried.as_ref().err().map_or("no program can be loaded", Untried::as_str);
            Check::warning(ID, format!("{told}; {why}"), "run as root, or look at /sys/kernel/security/lockdown there")
        }
    }
}

pub(super) fn ring(tried: &Tried, size: u32, fits: bool) -> Check {
    const ID: &str = "ring_buffer";
    let size = Size(size.into());
    match tried {
        Err(untried) => Check::warning(ID, untried.as_str(), "run it as the agent is to run"),
        Ok(Trials { ring: Err(error), .. }) => Check::refused(ID, error),
        Ok(_) if fits => Check::ok(ID, format!("one of {size} was made (--ring-size)")),
        Ok(_) => Check::warning(
            ID,
            format!("a small one was made; one of {size} would not fit, see memory"),
            "choose a smaller --ring-size",
        ),
    }
}

pub(super) fn attach(tried: &Tried, wanted: AttachMode) -> Check {
    const ID: &str = "attach";
    let Ok(Trials { raw, syscalls, .. }) = tried else {
        let why = tried.as_ref().err().map_or("", Untried::as_str);
        return Check::warning(ID, why, "run it as the agent is to run").titled("attach modes");
    };
    let available: Vec<_> =
        [("raw", raw), ("syscalls", syscalls)].into_iter().filter(|(_, tried)| tried.is_ok()).map(|(n, _)| n).collect();
    let available = if available.is_empty() { "none".to_owned() } else { available.join(" and ") };
    let (chosen, why) = match wanted {
        AttachMode::Auto => {
            (raw, "raw, as auto means: it misses neither 32-bit programs nor sendfile, splice and io_uring")
        }
        AttachMode::Raw => (raw, "raw, as wanted: it misses nothing that is known"),
        AttachMode::Syscalls => (
            syscalls,
            "syscalls, as wanted: cheapest for other system calls; misses 32-bit programs, sendfile, splice and io_uring",
        ),
    };
    match chosen {
        Ok(()) => Check::ok(ID, format!("loaded and attached: {available}; chosen: {why}")),
        Err(error) => {
            let check = Check::refused(ID, error);
            let other = if wanted == AttachMode::Syscalls { "raw" } else { "syscalls" };
            let way_out = available.contains(other).then(|| format!("; --attach {other} would work"));
            Check {
                found: format!("available: {available}; {}", check.found),
                advice: check.advice.map(|advice| advice + &way_out.unwrap_or_default()),
                ..check
            }
        }
    }
    .titled("attach modes")
}
