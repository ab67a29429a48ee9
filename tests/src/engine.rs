//! The container engine that tests run against.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use crate::cgroups::Hierarchy;
use crate::daemon::{Daemon, Network, Setup, Tcp, answers, process_in, tail};
use crate::poll::eventually;
use crate::workspace::target_dir;
use crate::{process, stuck};

/// Where Docker listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Starting a container takes well under a second; a machine that needs longer than this is not usable.
const DEADLINE: Duration = Duration::from_mins(1);
/// How long a daemon may take to end.
const ENDING: Duration = Duration::from_secs(20);

/// An engine that answers, and who ends it.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    /// `None` where somebody else runs it.
    daemon: Mutex<Option<Daemon>>,
    /// How a private daemon was started, so that it can be again.
    setup: Option<Setup>,
    /// Where an engine that was started here keeps its log, a private one everything; removed after the daemon's end.
    _home: Option<TempDir>,
}

/// The engine on the default socket: the one that answers there, or one that is started now and ends with this process.
///
/// # Errors
/// When there is no root, no `dockerd`, or it does not come up.
pub fn ensure() -> Result<Arc<Engine>> {
    static ENGINE: OnceLock<Result<Arc<Engine>, String>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| start_default().map(Arc::new).map_err(|error| format!("{error:#}")));
    engine.clone().map_err(|error| anyhow!(error))
}

/// As [`ensure`], but an engine that was started ends when the value is dropped.
///
/// Its data is in the target directory: the machine's own images and containers are not for tests to touch.
///
/// # Errors
/// As [`ensure`].
pub fn start_default() -> Result<Engine> {
    let socket = PathBuf::from(DEFAULT_SOCKET);
    let pid_file = PathBuf::from("/var/run/docker.pid");
    let process = || process_in(&pid_file, "dockerd").ok();
    // The one of the program before may be on its way out.
    let _ = eventually("dockerd", ENDING, || (answers(&socket) || process().is_none()).then_some(()));
    if answers(&socket) {
        let engine = Engine { socket, daemon: Mutex::new(None), setup: None, _home: None };
        engine.remove_orphans();
        Hierarchy::find()?.sweep();
        return Ok(engine);
    }
    if let Some(pid) = process() {
        bail!("dockerd (process {}) runs but does not answer on {DEFAULT_SOCKET}", pid.as_raw_nonzero());
    }
    Hierarchy::find()?.sweep();
    let home = private_home()?;
    let mut setup = Setup {
        socket: socket.clone(),
        data_root: target_dir().join("xtask/engine"),
        exec_root: "/var/run/docker".into(),
        pid_file,
        log: home.path().join("dockerd.log"),
        network: Network::Bridge,
        live_restore: false,
        tcp: None,
    };
    let daemon = Daemon::start(&setup).or_else(|_| {
        // Tests need no network; with one, a kernel that cannot do bridges or packet filters would be in the way.
        setup.network = Network::Isolated;
        Daemon::start(&setup)
    })?;
    let engine = Engine { socket, daemon: Mutex::new(Some(daemon)), setup: None, _home: Some(home) };
    engine.remove_all_containers();
    Ok(engine)
}

/// An engine for one test alone, which it may freeze; it and its containers are gone when the value is dropped.
///
/// # Errors
/// As [`ensure`].
pub fn private() -> Result<Arc<Engine>> {
    private_with(false, None)
}

/// As [`private`], but its containers go on while it is restarted ([`Engine::restart`]).
///
/// # Errors
/// As [`ensure`].
pub fn private_with_live_restore() -> Result<Arc<Engine>> {
    private_with(true, None)
}

/// As [`private`], and it listens on a socket of TCP as well.
///
/// # Errors
/// As [`ensure`].
pub fn private_over_tcp(tcp: Tcp) -> Result<Arc<Engine>> {
    private_with(false, Some(tcp))
}

fn private_with(live_restore: bool, tcp: Option<Tcp>) -> Result<Arc<Engine>> {
    Hierarchy::find()?.sweep();
    let home = private_home()?;
    let path = |name: &str| home.path().join(name);
    let socket = path("docker.sock");
    let setup = Setup {
        socket: socket.clone(),
        data_root: path("data"),
        exec_root: path("run"),
        pid_file: path("docker.pid"),
        log: path("dockerd.log"),
        network: Network::Isolated,
        live_restore,
        tcp,
    };
    let daemon = Daemon::start(&setup)?;
    Ok(Arc::new(Engine { socket, daemon: Mutex::new(Some(daemon)), setup: Some(setup), _home: Some(home) }))
}

fn private_home() -> Result<TempDir> {
    if !rustix::process::geteuid().is_root() {
        bail!("these tests load programs into the kernel and start containers: run them as root");
    }
    tempfile::Builder::new().prefix("ct-").tempdir_in("/tmp").context("/tmp: no directory for the engine")
}

impl Engine {
    /// The socket it listens on.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The address of that socket, as `--docker-host` takes it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Whether it was started here and not found.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.daemon().is_some()
    }

    /// The docker client, pointed at this engine.
    #[must_use]
    pub fn client(&self) -> Command {
        let mut client = Command::new("docker");
        client.arg("--host").arg(self.host());
        client
    }

    /// Runs the docker client and gives what it prints.
    ///
    /// # Errors
    /// When it fails or takes longer than a minute.
    pub fn docker<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<String> {
        process::text(self.client().args(words), DEADLINE)
    }

    /// Stops the daemon where it stands, as a hung one is. Its containers go on.
    ///
    /// # Errors
    /// When the engine is not ours to stop.
    pub fn freeze(&self) -> Result<()> {
        self.with_own_daemon(Daemon::freeze)?
    }

    /// Lets a frozen daemon go on.
    ///
    /// # Errors
    /// When the engine is not ours.
    pub fn thaw(&self) -> Result<()> {
        self.with_own_daemon(Daemon::thaw)?
    }

    /// Ends the daemon, stays without one for `pause`, and starts it again over the same data.
    ///
    /// # Errors
    /// When the engine is not private, or does not come up again.
    pub fn restart(&self, pause: Duration) -> Result<()> {
        let setup = self.setup.as_ref().context("only a private engine may be restarted")?;
        let mut daemon = self.daemon();
        daemon.take().context("the engine has no daemon")?.leave_containers()?;
        std::thread::sleep(pause);
        *daemon = Some(Daemon::start(setup)?);
        Ok(())
    }

    /// The daemon's process id; a restarted one has another.
    ///
    /// # Errors
    /// When the engine is not ours.
    pub fn daemon_pid(&self) -> Result<rustix::process::Pid> {
        self.with_own_daemon(Daemon::pid)
    }

    /// Kills the daemon as a crash does. Its containers end when it starts again.
    ///
    /// # Errors
    /// When the engine is not ours to kill.
    pub fn kill(&self) -> Result<()> {
        self.with_own_daemon(Daemon::kill)?
    }

    /// Starts the daemon again after [`Engine::kill`], with the same socket, images and containers.
    ///
    /// # Errors
    /// When the engine is not a private one, or does not come up.
    pub fn start_again(&self) -> Result<()> {
        let setup = self.setup.as_ref().context("only a private engine can be started again")?;
        let mut daemon = self.daemon();
        // Its guardian has to have seen its end before there is another.
        *daemon = None;
        *daemon = Some(Daemon::start(setup)?);
        Ok(())
    }

    /// What it waits for that does not come to an end with these containers, by their ids, and the end of its log.
    pub(crate) fn stuck(&self, containers: &[&str]) -> String {
        let (Ok(pid), Some(setup)) = (self.daemon_pid(), &self.setup) else { return "an engine of others".to_owned() };
        format!("{}\n{}", stuck::report(pid, &setup.exec_root, containers), tail(&setup.log))
    }

    fn with_own_daemon<T>(&self, act: impl FnOnce(&Daemon) -> T) -> Result<T> {
        self.daemon().as_ref().map(act).context("only an engine that was started here may be stopped")
    }

    fn daemon(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes every container. Only for an engine that was started here, whose data is nobody else's.
    fn remove_all_containers(&self) {
        let all = self.docker(["ps", "--all", "--quiet"]).unwrap_or_default();
        if !all.is_empty() {
            // What cannot be removed now is removed at the next start.
            let _ = self.docker(["rm", "--force"].into_iter().chain(all.lines()));
        }
    }

    /// Removes containers of test processes that did not live to do it.
    fn remove_orphans(&self) {
        let names = self.docker(["ps", "--all", "--format", "{{.Names}}", "--filter", "name=^ct-"]).unwrap_or_default();
        let orphans = names.lines().filter(|name| {
            let owner = name.split('-').nth(1).and_then(|pid| pid.parse::<u32>().ok());
            owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        });
        for name in orphans {
            // Another process may be removing it too.
            let _ = self.docker(["rm", "--force", name]);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        // A frozen daemon removes nothing, and one that stops waits for each container that ignores SIGTERM.
        let _ = self.thaw();
        self.remove_all_containers();
        *self.daemon() = None;
        if let Some(setup) = &self.setup {
            setup.unmount();
        }
    }
}
