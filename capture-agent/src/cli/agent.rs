//! The agent as a whole: started in order, stopped in the reverse one.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::settings::CaptureArgs;
use crate::admin::{AdminConfig, AdminHandle, Readiness};
use crate::containers::cgroups::Hierarchy;
use crate::containers::directory::Directory;
use crate::containers::discovery;
use crate::containers::docker::{DockerClient, DockerConfig};
use crate::kernel::{self, AttachMode, CaptureSide, Kernel, KernelConfig};
use crate::metrics::Metrics;
use crate::session::ledger::Ledger;
use crate::session::{ReaderConfig, StopReader};
use crate::sinks::console::Console;
use crate::sinks::encode::Encoder;
use crate::sinks::file::Files;
use crate::sinks::{Queue, Sink};

/// How often containers are looked for that the kernel side did not see being made.
const RESCAN_INTERVAL: Duration = Duration::from_secs(30);

/// How often messages of the eBPF programs are passed on.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What an agent is to be like.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// How capture is done and where its records go.
    pub capture: CaptureArgs,
    /// Where metrics are served; `None` for nowhere.
    pub listen: Option<SocketAddr>,
    /// The engine's socket.
    pub docker_host: String,
    /// The one container whose output is wanted; `None` for all.
    pub only: Option<String>,
}

/// An agent that captures.
pub struct Agent {
    kernel: Arc<Mutex<Kernel>>,
    directory: Arc<Directory>,
    reader: JoinHandle<()>,
    stop_reader: StopReader,
    admin: Option<AdminHandle>,
    readiness: Arc<Readiness>,
    hierarchy: Hierarchy,
    docker: Option<DockerClient>,
    /// Cancelled when standard output is closed by whoever read it.
    pub output_closed: CancellationToken,
}

impl AgentSettings {
    /// Checks the host, attaches the programs and starts the threads; containers that run already are captured from
    /// here on.
    ///
    /// # Errors
    ///
    /// What is wrong with the host or the settings, in one sentence.
    pub fn build(self) -> anyhow::Result<Agent> {
        let CaptureArgs { attach, side, .. } = self.capture;
        if (attach, side) == (AttachMode::Syscalls, CaptureSide::Relay) {
            bail!("--side relay needs to see reads, which --attach syscalls does not; use --attach raw or auto");
        }
        // What a user gets wrong most often comes first, and before anything is changed on the host.
        kernel::check(attach)?;
        let hierarchy = Hierarchy::find()?;
        let (directory, wanted) = Directory::new();
        let docker = DockerConfig { endpoint: self.docker_host.clone(), ..DockerConfig::default() }
            .build(Arc::clone(&directory), wanted)?;
        let ledger = Arc::new(Ledger::default());
        let metrics = Arc::new(Metrics::new(Arc::clone(&ledger), docker.health())?);
        let readiness = Arc::new(Readiness::default());
        let admin = self
            .listen
            .map(|listen| AdminConfig { listen }.build(metrics, Arc::clone(&readiness)))
            .transpose()?
            .map(crate::admin::Admin::spawn)
            .transpose()?;

        let kernel =
            KernelConfig { attach, side, ring_size: self.capture.ring_size.0, capacity: self.capture.max_containers }
                .build()?;
        let kernel = Arc::new(Mutex::new(kernel));
        let output_closed = CancellationToken::new();
        let queue = Queue::start(sink(&self.capture), output_closed.clone()).context("no thread for the sink")?;
        let (reader, stop_reader) = ReaderConfig {
            kernel: Arc::clone(&kernel),
            directory: Arc::clone(&directory),
            ledger,
            queue,
            max_line: self.capture.max_line.0 as usize,
            only: self.only.clone(),
        }
        .build()
        .context("the ring buffer cannot be read")?;
        let reader = thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || reader.run())
            .context("no thread for the reader")?;

        let running = if self.only.is_none() { discovery::scan(&hierarchy, &kernel)? } else { 0 };
        tracing::info!(?attach, containers = running, "capturing");
        readiness.set(true);
        Ok(Agent {
            kernel,
            directory,
            reader,
            stop_reader,
            admin,
            readiness,
            hierarchy,
            docker: Some(docker),
            output_closed,
        })
    }
}

impl Agent {
    /// Names, for a command that is captured without an engine.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// The cgroup hierarchy.
    #[must_use]
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// Follows the engine and looks for missed containers until `shutdown`.
    pub async fn run(&mut self, shutdown: CancellationToken) {
        let docker = self.docker.take().map(|docker| tokio::spawn(docker.run(shutdown.clone())));
        let log = self.kernel.lock().unwrap_or_else(PoisonError::into_inner).logger();
        let mut log =
            log.inspect_err(|error| tracing::warn!(%error, "messages of the eBPF programs are not shown")).ok();
        let mut flush_log = tokio::time::interval(LOG_INTERVAL);
        let mut rescan = tokio::time::interval(RESCAN_INTERVAL);
        rescan.tick().await;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.output_closed.cancelled() => break,
                _ = flush_log.tick() => {
                    if let Some(log) = &mut log {
                        log.flush();
                    }
                }
                _ = rescan.tick() => {
                    let (hierarchy, kernel) = (self.hierarchy.clone(), Arc::clone(&self.kernel));
                    let scan = tokio::task::spawn_blocking(move || discovery::scan(&hierarchy, &kernel));
                    match scan.await {
                        Ok(Ok(0)) => {}
                        Ok(Ok(containers)) => tracing::warn!(containers, "found containers that no hook had seen"),
                        Ok(Err(error)) => tracing::error!(%error, "containers not registered"),
                        Err(error) => tracing::error!(%error, "the search for containers failed"),
                    }
                }
            }
        }
        shutdown.cancel();
        if let Some(docker) = docker {
            let _ = docker.await;
        }
    }

    /// Drains what the ring buffer holds, waits for the sinks and detaches.
    ///
    /// # Errors
    ///
    /// Where the reader had failed.
    pub fn shut_down(self) -> io::Result<()> {
        self.readiness.set(false);
        self.stop_reader.stop();
        let read = self.reader.join().map_err(|_| io::Error::other("the reader failed"));
        if let Some(admin) = self.admin {
            admin.shutdown();
        }
        drop(self.kernel.lock().unwrap_or_else(PoisonError::into_inner));
        read
    }
}

fn sink(args: &CaptureArgs) -> Box<dyn Sink> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if let Some(template) = &args.file_path {
        return Box::new(Files::new(
            template.clone(),
            Encoder::new(args.file_encoding, host, false).gap_marker(args.gap_marker.clone()),
        ));
    }
    let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Box::new(Console::new(Encoder::new(args.format, host, color).gap_marker(args.gap_marker.clone())))
}
