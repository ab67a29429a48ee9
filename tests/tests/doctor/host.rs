//! Things that a host may lack.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;

use anyhow::{Context, Result};
use capture_tests::{process, workspace};

use crate::examined::{after_mounts, agent, doctor, with};

#[test]
fn nothing_is_missing_here() -> Result<()> {
    let found = doctor(&[])?;
    found.has(&[], &[])?;
    found.says("attach modes", &["raw and syscalls", "chosen: raw"])?;
    found.says("ring buffer", &["32MiB"])?;
    found.says("Docker", &["API", "ms", "log driver: json-file"])?;
    doctor(&["--attach", "syscalls", "--ring-size", "1MiB"])?.says("attach modes", &["chosen: syscalls"])?;

    let table =
        process::output(Command::new(workspace::agent_binary()).arg("doctor"), std::time::Duration::from_mins(1))?;
    let table = String::from_utf8(table.stdout)?;
    assert!(table.contains("✓ kernel ") && table.contains("checks: the agent can run here"), "{table}");
    assert!(!table.contains('\x1b'), "colours, and no terminal: {table}");
    Ok(())
}

#[test]
fn an_old_kernel() -> Result<()> {
    let mut command = Command::new("setarch");
    // The kernel itself says so then, to this process.
    command.args(["--uname-2.6", &agent()]);
    let found = with(command, &[])?;
    found.has(&["kernel", "attach modes"], &[])?;
    found.says("kernel", &["kernel 2.6.", "5.17", "upgrade"])
}

#[test]
fn no_btf() -> Result<()> {
    let found = after_mounts("mount -t tmpfs none /sys/kernel/btf", &[])?;
    found.has(&["BTF", "attach modes"], &[])?;
    found.says("BTF", &["/sys/kernel/btf/vmlinux does not exist", "CONFIG_DEBUG_INFO_BTF=y"])
}

const NO_TRACEFS: &str =
    "for path in /sys/kernel/tracing /sys/kernel/debug; do [ ! -d $path ] || mount -t tmpfs none $path; done";

#[test]
fn no_tracefs() -> Result<()> {
    let found = after_mounts(NO_TRACEFS, &[])?;
    found.has(&[], &["tracefs"])?;
    found.says("tracefs", &["not mounted", "mount -t tracefs"])?;
    found.says("attach modes", &["attached: raw;"])
}

#[test]
fn no_tracefs_where_it_is_needed() -> Result<()> {
    let found = after_mounts(NO_TRACEFS, &["--attach", "syscalls"])?;
    found.has(&["tracefs", "attach modes"], &[])?;
    found.says("attach modes", &["available: raw", "--attach raw would work"])
}

#[test]
fn lockdown() -> Result<()> {
    let mode = "mount -t tmpfs none /sys/kernel/security; \
                echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown";
    let found = after_mounts(mode, &[])?;
    found.has(&["lockdown"], &[])?;
    found.says("lockdown", &["confidentiality", "lockdown=integrity"])
}

#[test]
fn no_cgroup_v2() -> Result<()> {
    let script =
        "grep ' - cgroup2 ' /proc/self/mountinfo | cut -d ' ' -f 5 | while read path; do umount -l $path; done";
    let found = after_mounts(script, &[])?;
    found.has(&["cgroups"], &[])?;
    found.says("cgroups", &["no cgroup v2 hierarchy is mounted", "mount -t cgroup2"])
}

#[test]
fn a_slow_clock() -> Result<()> {
    let file = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let script = format!("mount -t tmpfs none /mnt; echo hpet > /mnt/x; mount --bind /mnt/x {file}");
    let found = after_mounts(&script, &[])?;
    found.has(&[], &["clock"])?;
    found.says("clock", &["hpet is slow", "clocksource=tsc"])
}

#[test]
fn no_socket_or_nobody_behind_it() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("docker.sock");
    let host = format!("unix://{}", socket.display());
    let found = |words: &[&str]| {
        let found = doctor(&["--docker-host", &host, "--docker-deadline", "300ms"])?;
        found.has(&[], &["Docker"])?;
        found.says("Docker", &[&[host.as_str(), "ids in place of names"], words].concat())
    };
    found(&["No such file", "mount the socket"])?;
    let listener = UnixListener::bind(&socket)?;
    found(&["no answer within 300ms", "it hangs"])?;
    drop(listener);
    found(&["refused", "nobody listens"])
}

#[test]
fn an_endpoint_that_is_none() -> Result<()> {
    let found = doctor(&["--docker-host", "ftp://x"])?;
    found.has(&["Docker"], &[])?;
    found.says("Docker", &["ftp://x", "--docker-host"])
}

#[test]
fn a_configuration_with_a_mistake() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("config.yaml");
    fs::write(&path, "capture: {ring_size: 1MiB, side: relai}\n")?;
    let found = doctor(&["--config", path.to_str().context("no UTF-8")?])?;
    found.has(&["configuration"], &[])?;
    found.says("configuration", &["did you mean", "validate"])
}
