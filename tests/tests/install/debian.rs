//! The Debian package: installed, run as its unit says, removed and purged, on this machine as it is; but what is written
//! goes to an overlay that ends with the test.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use capture_tests::poll::eventually;
use capture_tests::{agent, engine, http, process, workspace};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::program::Program;
use crate::{systemd, witness};

const DEADLINE: Duration = Duration::from_mins(3);

/// Makes the overlay in a mount namespace that lives as long as its standard input is open.
const OVERLAY: &str = r#"set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for directory in proc sys dev run; do mount --rbind "/$directory" "$1/root/$directory"; done
# Scripts of packages must not meet a systemd that runs here.
if [ -d /run/systemd ]; then mount -t tmpfs tmpfs "$1/root/run/systemd"; fi
echo ready
exec cat"#;

/// This machine, to be written to without a trace.
struct Machine {
    directory: TempDir,
    holder: Child,
    lifeline: Option<ChildStdin>,
}

impl Machine {
    fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ct-machine-").tempdir()?;
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--", "sh", "-c", OVERLAY, "overlay"]).arg(directory.path());
        let mut holder = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("unshare")?;
        let lifeline = holder.stdin.take();
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().context("no output")?).read_line(&mut ready)?;
        let machine = Self { directory, holder, lifeline };
        ensure!(ready == "ready\n", "the overlay cannot be made; its messages are above");
        Ok(machine)
    }

    /// A program that sees the overlay as its root.
    fn command(&self, words: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id())).arg("chroot").arg(self.root()).args(words);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn run(&self, words: &[impl AsRef<OsStr>]) -> Result<String> {
        process::text(&mut self.command(words), DEADLINE)
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn has(&self, path: &str) -> bool {
        self.run(&["test", "-e", path]).is_ok()
    }

    /// Paths with the package's name that the machine has and had not.
    fn traces(&self) -> Result<String> {
        let mut find = Command::new("nsenter");
        find.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .arg("find")
            .arg(self.directory.path().join("upper"));
        process::text(find.args(["-name", "*capture-agent*", "-not", "-type", "c"]), DEADLINE)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // With its last process the namespace goes, and with it the mounts.
        let _ = self.holder.wait();
    }
}

/// `ExecStart=`, run with the capabilities and the directories that the unit gives it, after its checks.
fn start_service(machine: &Machine) -> Result<Program> {
    for (key, parent) in [("StateDirectory", "/var/lib"), ("LogsDirectory", "/var/log")] {
        for name in systemd::values(key)? {
            machine.run(&["mkdir", "-p", "-m", "0700", &format!("{parent}/{name}")])?;
        }
    }
    for check in systemd::values("ExecStartPre")? {
        machine.run(&words(machine, &check)?)?;
    }
    let [start] = systemd::values("ExecStart")?.try_into().ok().context("one ExecStart")?;
    Program::start(&mut machine.command(&words(machine, &start)?))
}

/// A command line of the unit, as systemd would run it: its environment, its capabilities, no new ones.
fn words(machine: &Machine, line: &str) -> Result<Vec<String>> {
    let environment = machine.run(&["cat", "/etc/default/capture-agent"])?;
    let variables = environment.lines().filter(|line| !line.starts_with('#') && line.contains('='));
    let [capabilities] = systemd::values("CapabilityBoundingSet")?.try_into().ok().context("one bounding set")?;
    let names = capabilities.split(' ').map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()));
    let bounding = format!("--bounding-set=-all,{}", names.collect::<Vec<_>>().join(","));
    let limits = ["setpriv", "--pdeathsig", "KILL", "--no-new-privs", "--inh-caps=-all", &bounding];
    Ok(["env"].into_iter().chain(variables).chain(limits).chain(line.split(' ')).map(str::to_owned).collect())
}

/// The package, made once in this process.
fn package() -> Result<&'static [u8]> {
    static PACKAGE: OnceLock<Result<Vec<u8>, String>> = OnceLock::new();
    let made = PACKAGE.get_or_init(|| {
        let make = || -> Result<Vec<u8>> {
            let directory = tempfile::tempdir()?;
            let mut xtask = workspace::xtask()?;
            let path = process::text(xtask.args(["deb", "--output"]).arg(directory.path()), DEADLINE)?;
            fs::read(&path).with_context(|| path.clone())
        };
        make().map_err(|error| format!("{error:#}"))
    });
    made.as_deref().map_err(|error| anyhow!("{error}"))
}

/// The package as a file, as long as the directory is there.
fn package_file() -> Result<(TempDir, PathBuf)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("package.deb");
    fs::write(&path, package()?)?;
    Ok((directory, path))
}

fn install(machine: &Machine) -> Result<()> {
    let (_directory, package) = package_file()?;
    let mut copy = Command::new("nsenter");
    copy.arg(format!("--mount=/proc/{}/ns/mnt", machine.holder.id())).arg("cp").arg(package);
    process::text(copy.arg(machine.root().join("tmp/package.deb")), DEADLINE)?;
    machine.run(&["dpkg", "--install", "/tmp/package.deb"]).map(drop)
}

#[test]
fn it_installs_runs_reloads_removes_and_purges() -> Result<()> {
    let engine = engine::ensure()?;
    let machine = Machine::new()?;
    if machine.has("/usr/bin/capture-agent") {
        bail!("capture-agent is installed on this machine; remove it for the test");
    }
    install(&machine)?;
    let status = machine.run(&["dpkg", "--status", "capture-agent"])?;
    ensure!(status.contains("Status: install ok installed") && !status.contains("\nDepends:"), "{status}");
    ensure!(machine.run(&["dpkg", "--verify", "capture-agent"])?.is_empty());
    machine.run(&["systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/capture-agent.service"])?;

    // What its owner changes stays theirs.
    let address = agent::free_address()?;
    let setting = format!("echo CAPTURE_AGENT_LISTEN={address} >> /etc/default/capture-agent");
    machine.run(&["sh", "-c", &setting])?;
    let mut service = start_service(&machine)?;
    witness::speaks(&engine, "debian", || Ok(service.printed()))?;
    reload(&machine, &service, address)?;
    let ended = service.terminate()?;
    ensure!(ended.success(), "it ended with {ended}: {}", service.printed());

    machine.run(&["dpkg", "--remove", "capture-agent"])?;
    ensure!(!machine.has("/usr/bin/capture-agent") && !machine.has("/usr/lib/systemd/system/capture-agent.service"));
    ensure!(machine.has("/etc/capture-agent/config.yaml") && machine.has("/var/lib/capture-agent"));
    ensure!(machine.run(&["cat", "/etc/default/capture-agent"])?.contains("CAPTURE_AGENT_LISTEN=127"));
    machine.run(&["dpkg", "--purge", "capture-agent"])?;
    let traces = machine.traces()?;
    ensure!(traces.is_empty(), "left behind:\n{traces}");
    Ok(())
}

/// A mistake is refused before the agent hears of it; what has none is taken.
fn reload(machine: &Machine, service: &Program, address: std::net::SocketAddr) -> Result<()> {
    let reload = |text: &str| -> Result<bool> {
        machine.run(&["sh", "-c", &format!("echo '{text}' > /etc/capture-agent/config.yaml")])?;
        let commands = systemd::values("ExecReload")?;
        if machine.run(&words(machine, &commands[0])?).is_err() {
            return Ok(false);
        }
        // The other is `kill -HUP $MAINPID`, and the test knows that process.
        service.signal(Signal::HUP)?;
        Ok(true)
    };
    ensure!(!reload("sinks: {out: {type: consol}}")?, "a mistake was not found");
    ensure!(reload("sinks: {other: {type: console}}")?, "{}", service.printed());
    eventually("the new sink", DEADLINE, || {
        let (_, metrics) = http::get(address, "/metrics").ok()?;
        metrics.contains(r#"log_capturer_sink_up{sink="other"} 1"#).then_some(())
    })
}

#[test]
fn it_holds_what_it_should() -> Result<()> {
    let (_directory, package) = package_file()?;
    let list = process::text(Command::new("dpkg-deb").arg("--contents").arg(&package), DEADLINE)?;
    for path in [
        "./usr/bin/capture-agent",
        "./usr/lib/systemd/system/capture-agent.service",
        "./etc/capture-agent/config.yaml",
        "./etc/default/capture-agent",
        "./usr/share/man/man8/capture-agent.8.gz",
        "./usr/share/man/man8/capture-agent-run.8.gz",
        "./usr/share/bash-completion/completions/capture-agent",
        "./usr/share/zsh/vendor-completions/_capture-agent",
        "./usr/share/fish/vendor_completions.d/capture-agent.fish",
        "./usr/share/doc/capture-agent/copyright",
        "./usr/share/doc/capture-agent/configuration.md",
    ] {
        // The owner is a number where the package has no names.
        let is_roots = |line: &str| line.contains(" root/root ") || line.contains(" 0/0 ");
        ensure!(list.lines().any(|line| line.ends_with(path) && is_roots(line)), "{path}:\n{list}");
    }
    let conffiles = process::text(Command::new("dpkg-deb").arg("--info").arg(&package).arg("conffiles"), DEADLINE)?;
    ensure!(conffiles == "/etc/capture-agent/config.yaml\n/etc/default/capture-agent", "{conffiles}");
    let size = fs::metadata(&package)?.len();
    ensure!(size < 32 << 20, "{size} bytes");
    Ok(())
}
