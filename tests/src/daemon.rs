//! A `dockerd` of our own, and the guardian that ends it when we end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::poll::eventually;
use crate::process::pid_of;

/// Starts the daemon given as its arguments, tells its pid, and ends it when standard input closes. That happens
/// however the process that holds the other end dies, so a killed test leaves no daemon behind. Containers that would
/// outlive the daemon are removed then, unless a word says that the next daemon is to find them.
///
/// A socket that the daemon is to listen on comes as standard error, and goes to it as systemd would hand it over.
const GUARDIAN: &str = r#"
if [ -n "$LISTEN_FDS" ]; then exec 3>&2; fi
sh -c 'LISTEN_PID=$$ exec "$@"' activation "$@" >"$DAEMON_LOG" 2>&1 &
daemon=$!
exec 3>&- 2>/dev/null
echo $daemon
if read -r _; then keep=yes; fi
kill -CONT $daemon 2>/dev/null
if [ -n "$DAEMON_LIVE_HOST" ] && [ -z "$keep" ]; then
    docker --host "$DAEMON_LIVE_HOST" ps --all --quiet | xargs -r docker --host "$DAEMON_LIVE_HOST" rm --force >/dev/null
fi
kill -TERM $daemon 2>/dev/null
tries=0
while kill -0 $daemon 2>/dev/null && [ $tries -lt 200 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -KILL $daemon 2>/dev/null
wait
"#;

/// What network a daemon gives its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Docker's own bridge, which takes kernel modules that a machine may lack.
    Bridge,
    /// None. The daemon lives in a network namespace of its own then: one that is told to have no bridge removes
    /// `docker0`, and with it the network of whatever other engine runs on the machine.
    Isolated,
}

/// A socket of TCP that a daemon listens on. It is opened here, as the daemon's own network is out of reach.
#[derive(Debug)]
pub struct Tcp {
    /// Bound, and listening.
    pub listener: TcpListener,
    /// A directory with `ca.pem`, `server-cert.pem` and `server-key.pem`; the daemon insists on client certificates then.
    pub tls: Option<PathBuf>,
}

/// Where a daemon keeps its things, and what else it is told.
#[derive(Debug)]
pub struct Setup {
    /// The socket it listens on.
    pub socket: PathBuf,
    /// Images and containers.
    pub data_root: PathBuf,
    /// Sockets and state of what runs. Socket names are limited to 108 bytes, so keep it short.
    pub exec_root: PathBuf,
    /// The file that holds its process id.
    pub pid_file: PathBuf,
    /// What it says.
    pub log: PathBuf,
    /// What network its containers get.
    pub network: Network,
    /// Whether containers go on while the daemon is stopped, and are there again with the next (`--live-restore`).
    pub live_restore: bool,
    /// Where it listens besides its Unix socket.
    pub tcp: Option<Tcp>,
}

impl Setup {
    /// Takes away what a daemon that was killed left mounted, so that its directories can be removed.
    pub fn unmount(&self) {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let paths = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
        // The last one first: it may be inside another.
        for path in paths.filter(|path| path.starts_with(&self.data_root)).collect::<Vec<_>>().into_iter().rev() {
            // Nothing is left to do where it fails: the next start of the machine has it gone.
            let _ = Command::new("umount").arg("--lazy").arg(path).status();
        }
    }
}

/// A running `dockerd` that was started here.
#[derive(Debug)]
pub struct Daemon {
    pid: Pid,
    guardian: Child,
    lifeline: Option<ChildStdin>,
}

impl Daemon {
    /// Starts `dockerd` and waits until it answers.
    ///
    /// # Errors
    /// When it is not installed, dies, or does not answer within a minute; with the end of its log.
    pub fn start(setup: &Setup) -> Result<Self> {
        clear_traces_of_the_dead(setup);
        let mut command = Command::new("sh");
        command.args(["-c", GUARDIAN, "guardian"]);
        match setup.network {
            Network::Bridge => command.arg("dockerd"),
            // `unshare` becomes the daemon, so the process id that the guardian tells is right.
            Network::Isolated => command.args(["unshare", "--net", "dockerd", "--bridge=none", "--iptables=false"]),
        };
        command.arg("--host").arg(format!("unix://{}", setup.socket.display()));
        command.arg("--exec-root").arg(&setup.exec_root).arg("--pidfile").arg(&setup.pid_file);
        command.arg("--data-root").arg(&setup.data_root);
        command.arg("--shutdown-timeout=2");
        if setup.live_restore {
            command.arg("--live-restore").env("DAEMON_LIVE_HOST", format!("unix://{}", setup.socket.display()));
        }
        if let Some(tcp) = &setup.tcp {
            command.args(["--host", "fd://"]).env("LISTEN_FDS", "1");
            let listener = tcp.listener.try_clone().context("the socket of dockerd")?;
            command.stderr(Stdio::from(OwnedFd::from(listener)));
            if let Some(tls) = &tcp.tls {
                command.arg("--tlsverify").arg("--tlscacert").arg(tls.join("ca.pem"));
                command
                    .arg("--tlscert")
                    .arg(tls.join("server-cert.pem"))
                    .arg("--tlskey")
                    .arg(tls.join("server-key.pem"));
            }
        }
        // Ctrl-C goes to the whole foreground group; the daemon has to outlive it by the clean-up.
        command.env("DAEMON_LOG", &setup.log).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guardian = command.spawn().context("sh, which guards dockerd, cannot be started")?;
        let lifeline = guardian.stdin.take();
        let mut line = String::new();
        BufReader::new(guardian.stdout.take().context("the guardian has no output")?).read_line(&mut line)?;
        let pid = pid_of(line.trim().parse().context("the guardian of dockerd gave no process id")?)?;
        let daemon = Self { pid, guardian, lifeline };

        let socket = &setup.socket;
        eventually("dockerd to answer", Duration::from_mins(1), || match answers(socket) {
            true => Some(Ok(())),
            false if !is_alive(pid) => Some(Err(anyhow::anyhow!("dockerd ended while it was starting"))),
            false => None,
        })
        .and_then(|outcome| outcome)
        .with_context(|| format!("{}; the end of its log:\n{}", missing(), tail(&setup.log)))?;
        Ok(daemon)
    }

    /// Stops the daemon, and gives back when each of its threads stands still: a signal takes a moment to reach them all.
    ///
    /// # Errors
    /// When the daemon is gone.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let pid = self.pid;
        eventually("every thread of dockerd to stop", Duration::from_secs(10), || is_stopped(pid).then_some(()))
    }

    /// Kills the daemon, and gives back when it is gone.
    ///
    /// # Errors
    /// When the daemon is gone already.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        let pid = self.pid;
        eventually("dockerd to be gone", Duration::from_secs(10), || (!is_alive(pid)).then_some(()))
    }

    /// Lets a stopped daemon go on.
    ///
    /// # Errors
    /// When the daemon is gone.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends the daemon and leaves its containers as they are; they go on where it was started with `live_restore`.
    ///
    /// # Errors
    /// When its guardian is gone.
    pub fn leave_containers(mut self) -> Result<()> {
        let mut lifeline = self.lifeline.take().context("the guardian of dockerd is gone")?;
        lifeline.write_all(b"keep\n").context("the guardian of dockerd is gone")
    }

    /// The daemon's process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).context("dockerd is gone")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // There is nobody left to tell that the guardian could not be waited for.
        let _ = self.guardian.wait();
    }
}

/// Whether a container engine answers on `socket` within a few seconds.
#[must_use]
pub fn answers(socket: &Path) -> bool {
    ping(socket).is_ok_and(|reply| reply.starts_with("HTTP/1."))
}

fn ping(socket: &Path) -> std::io::Result<String> {
    let limit = Some(Duration::from_secs(5));
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut reply = [0; 64];
    let length = stream.read(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply[..length]).into_owned())
}

/// Removes pid files whose process is gone or is another program by now: dockerd believes them, and then refuses to
/// start or waits for a containerd that does not exist.
fn clear_traces_of_the_dead(setup: &Setup) {
    let containerd = setup.exec_root.join("containerd/containerd.pid");
    for (file, program) in [(setup.pid_file.as_path(), "dockerd"), (containerd.as_path(), "containerd")] {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let name = fs::read_to_string(format!("/proc/{}/comm", text.trim())).unwrap_or_default();
        let is_zombie = state(&format!("/proc/{}/stat", text.trim())) == Some('Z');
        if name.trim() != program || is_zombie {
            // If it cannot be removed, dockerd says so better than this could.
            let _ = fs::remove_file(file);
        }
    }
}

fn is_alive(pid: Pid) -> bool {
    // A process that ended stays as a zombie until the guardian waits for it.
    state(&format!("/proc/{}/stat", pid.as_raw_nonzero())).is_some_and(|state| state != 'Z')
}

fn is_stopped(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let mut states = threads.into_iter().flatten().flatten();
    states.all(|thread| state(&format!("{}/stat", thread.path().display())).is_none_or(|state| state == 'T'))
}

/// The letter that stands behind the program's name, which is in brackets and may hold any character itself.
fn state(stat: &str) -> Option<char> {
    fs::read_to_string(stat).ok()?.rsplit_once(") ")?.1.chars().next()
}

fn missing() -> &'static str {
    let installed = Command::new("dockerd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if installed.is_ok() {
        "dockerd is installed but does not start"
    } else {
        "dockerd is not installed; `cargo xtask setup` installs it"
    }
}

/// The end of a daemon's log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The process that a pid file names, if it runs `program`.
///
/// # Errors
/// When the file is not there or its process is another program.
pub fn process_in(pid_file: &Path, program: &str) -> Result<Pid> {
    let mut text = String::new();
    File::open(pid_file).with_context(|| format!("{}", pid_file.display()))?.read_to_string(&mut text)?;
    let name = fs::read_to_string(format!("/proc/{}/comm", text.trim())).unwrap_or_default();
    if name.trim() != program {
        bail!("{}: process {} is not {program}", pid_file.display(), text.trim());
    }
    pid_of(text.trim().parse()?)
}
