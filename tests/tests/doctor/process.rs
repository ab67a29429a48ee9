//! Things that a process may be denied.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::examined::{agent, doctor, with};

fn without(capabilities: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", capabilities, "--inh-caps", capabilities, &agent()]);
    command
}

const NOT_TRIED: [&str; 3] = ["attach modes", "lockdown", "ring buffer"];

#[test]
fn one_capability_after_another() -> Result<()> {
    let found = with(without("-sys_admin,-bpf"), &[])?;
    found.has(&["CAP_BPF"], &NOT_TRIED)?;
    found.says("CAP_BPF", &["missing", "--cap-add BPF", "AmbientCapabilities=CAP_BPF"])?;

    let found = with(without("-sys_admin,-perfmon"), &[])?;
    found.has(&["CAP_PERFMON"], &NOT_TRIED)?;
    found.says("CAP_PERFMON", &["missing", "--cap-add PERFMON"])?;

    let found = with(without("-sys_ptrace"), &[])?;
    found.has(&["CAP_SYS_PTRACE", "attach modes"], &[])?;
    found.says("CAP_SYS_PTRACE", &["missing", "--cap-add SYS_PTRACE"])?;

    // What stands for two of them.
    let found = with(without("-bpf,-perfmon"), &[])?;
    found.has(&[], &[])?;
    found.says("CAP_BPF", &["held as CAP_SYS_ADMIN"])
}

#[test]
fn an_ordinary_user() -> Result<()> {
    // The target directory may be under a home that others cannot enter.
    let directory = tempfile::tempdir_in("/tmp")?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let copy = directory.path().join("capture-agent");
    fs::copy(agent(), &copy)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
    let found = with(command, &[])?;
    let denied = [&NOT_TRIED[..], &["Docker"]].concat();
    found.has(&["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"], &denied)?;
    found.says("CAP_BPF", &["user id 65534", "sudo"])?;
    found.says("Docker", &["Permission denied", "member of the group"])?;
    found.says("BTF", &["has every member"])
}

/// Refuses bpf(2) with EPERM, as a container's profile does, and lets all else pass.
const SECCOMP: &str = "
import ctypes, os, struct, sys
program = [(0x20, 0, 0, 0), (0x15, 0, 1, 321), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in program))
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_void_p)]
filter = Program(len(program), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(22, 2, ctypes.byref(filter)) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn a_filter_of_system_calls() -> Result<()> {
    let mut command = Command::new("python3");
    command.args(["-c", SECCOMP, &agent()]);
    let found = with(command, &[])?;
    found.has(&["seccomp", "ring buffer", "attach modes"], &["lockdown"])?;
    found.says("seccomp", &["bpf(2) is refused although", "seccomp=unconfined"])
}

#[test]
fn namespaces_that_are_not_the_hosts() -> Result<()> {
    for (flags, option) in
        [(&["--pid", "--fork", "--mount-proc"][..], "--pid host"), (&["--cgroup"], "--cgroupns host")]
    {
        let mut command = Command::new("unshare");
        command.args(flags).arg(agent());
        let found = with(command, &[])?;
        found.has(&[], &["namespaces"])?;
        found.says("namespaces", &["run already are not found", option])?;
    }
    Ok(())
}

/// A cgroup with a limit of memory; removed when dropped.
struct Limited(PathBuf);

impl Limited {
    fn new(bytes: u64) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = |kind: &str, option: &str| {
            mounts.lines().find_map(|line| {
                let (fields, rest) = line.split_once(&format!(" - {kind} "))?;
                (option.is_empty() || rest.rsplit([' ', ',']).any(|word| word == option))
                    .then(|| PathBuf::from(fields.split(' ').nth(4).unwrap_or_default()))
            })
        };
        let name = format!("ct-{}-doctor-{bytes}", std::process::id());
        let (root, file) = match mount("cgroup", "memory") {
            Some(root) => (root, "memory.limit_in_bytes"),
            None => (mount("cgroup2", "").context("no cgroups")?, "memory.max"),
        };
        // Where it is there already, or is v1, nothing has to be done.
        let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
        let limited = Self(root.join(name));
        fs::create_dir(&limited.0)?;
        fs::write(limited.0.join(file), bytes.to_string()).with_context(|| file.to_owned())?;
        Ok(limited)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // The kernel takes a moment to bury the dead.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
fn a_limit_of_memory() -> Result<()> {
    let within = |mib: u64| {
        let limited = Limited::new(mib << 20)?;
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#]).arg(&limited.0).arg(agent());
        with(command, &["--ring-size", "256MiB"])
    };
    let found = within(200)?;
    found.has(&["memory"], &["ring buffer"])?;
    found.says("memory", &["258MiB for the ring buffer", ": 200MiB", "--ring-size"])?;
    found.says("ring buffer", &["256MiB would not fit"])?;

    let found = within(300)?;
    found.has(&[], &["memory"])?;
    doctor(&["--ring-size", "256MiB"])?.has(&[], &[])
}
