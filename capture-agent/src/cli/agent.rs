//! The agent as a whole: started in order, stopped in the reverse one.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::way::Surroundings;
use crate::admin::{self, AdminHandle, Readiness};
use crate::api::State;
use crate::config::reload::{Apply, Change, ReloadStats};
use crate::config::{AdminSection, CaptureSection, Sinks};
use crate::containers::cgroups::Hierarchy;
use crate::containers::directory::Directory;
use crate::containers::discovery::{Discovery, Found};
use crate::containers::docker::{DockerClient, DockerConfig, Following};
use crate::delivery::{Control, Fanout, GRACE, SinkSpec};
use crate::kernel::{self, BpfStats, Kernel, KernelConfig, SlotTable};
use crate::live::LiveStats;
use crate::memory;
use crate::metrics::{self, Metrics};
use crate::pipeline::PipelineConfig;
use crate::pipeline::select::SelectConfig;
use crate::pipeline::shaping::{NextShaping, Shaping};
use crate::session::ledger::Ledger;
use crate::session::positions::Positions;
use crate::session::state::{StateDir, StateWriter};
use crate::session::{ReaderConfig, StopReader};

/// How often containers are looked for that the kernel side did not see being made.
const RESCAN_INTERVAL: Duration = Duration::from_secs(30);

/// The shortest time between two looks for containers that wait for a slot.
const ADMISSION_PAUSE: Duration = Duration::from_millis(100);

/// How long accounts of a container are kept that nobody sees.
const GRACE_WITHOUT_METRICS: Duration = Duration::from_secs(10);

/// How often messages of the eBPF programs are passed on.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// What an agent is to be like.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// How capture is done.
    pub capture: CaptureSection,
    /// Which containers are captured.
    pub select: SelectConfig,
    /// What happens to records on their way to all sinks.
    pub pipeline: PipelineConfig,
    /// Where records go.
    pub sinks: Sinks,
    /// What is kept and shown of its own operation; `None` for nothing.
    pub admin: Option<AdminSection>,
    /// Where the engine is; `None` to ask none.
    pub docker: Option<DockerConfig>,
    /// Where reloads of the configuration are counted.
    pub reloads: Arc<ReloadStats>,
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
    discovery: Arc<Mutex<Discovery>>,
    table: Arc<SlotTable>,
    ledger: Arc<Ledger>,
    admission: Arc<Notify>,
    bpf_stats: Arc<BpfStats>,
    engine: Option<Following>,
    surroundings: Surroundings,
    sinks: Control,
    next_shaping: NextShaping,
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
        self.build_with(None)
    }

    /// As [`build`](Self::build), and all records go to one sink of the caller's instead of those that are configured.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn build_for(self, sink: SinkSpec) -> anyhow::Result<Agent> {
        self.build_with(Some(sink))
    }

    fn build_with(self, sink: Option<SinkSpec>) -> anyhow::Result<Agent> {
        let CaptureSection { attach, side, .. } = self.capture;
        check(&self.capture)?;
        // What a user gets wrong most often comes first, and before anything is changed on the host.
        kernel::check(attach)?;
        let hierarchy = Hierarchy::find()?;
        let (directory, wanted) = Directory::new();
        let docker = self.docker.map(|docker| docker.build(Arc::clone(&directory), wanted)).transpose()?;
        let socket = docker.as_ref().map(DockerClient::health).unwrap_or_default();
        let grace = self.admin.as_ref().map_or(GRACE_WITHOUT_METRICS, |admin| admin.metrics_grace.0);
        let ledger = Arc::new(Ledger::new(grace));
        let bpf_stats = Arc::<BpfStats>::default();
        let readiness = Arc::new(Readiness::default());
        let fanout = Fanout::new(GRACE);
        let mut positions = Positions::default();
        let mut admin = None;
        if let Some(args) = &self.admin {
            let stats = Arc::<LiveStats>::default();
            let metrics = metrics::Sources {
                ledger: Arc::clone(&ledger),
                docker: Arc::clone(&socket),
                reloads: Arc::clone(&self.reloads),
                sinks: fanout.control(),
                runtime: Handle::current(),
                live: Arc::clone(&stats),
                bpf: args.bpf_stats.then(|| Arc::clone(&bpf_stats)),
            };
            let sources = admin::Sources {
                metrics: Arc::new(Metrics::new(metrics)),
                ledger: Arc::clone(&ledger),
                directory: Arc::clone(&directory),
                docker: Arc::clone(&socket),
                sinks: fanout.control(),
                live: args.live().build(fanout.taps(), stats),
            };
            let server = args.server().build(sources, Arc::clone(&readiness))?;
            // An agent that has no address has not begun; and the first who asks is to see what was there before.
            positions = restore(args, &ledger)?;
            admin = Some(server.spawn()?);
        }
        // Loading the programs takes longer than the engine does to list what runs: the names are there when the lines come.
        let engine = docker.map(DockerClient::spawn);

        let kernel =
            KernelConfig { attach, side, ring_size: self.capture.ring_size.0, capacity: self.capture.sessions_max }
                .build()?;
        let kernel = Arc::new(Mutex::new(kernel));
        bpf_stats.read_from(Arc::clone(&kernel));
        let output_closed = CancellationToken::new();
        let admission = Arc::<Notify>::default();
        let surroundings = Surroundings {
            state_dir: self.admin.as_ref().map(|admin| admin.state_dir.clone()).unwrap_or_default(),
            output_closed: output_closed.clone(),
        };
        let sinks = fanout.control();
        add_sinks(sink, self.sinks, &surroundings, &sinks)?;
        let next_shaping = NextShaping::default();
        let (reader, stop_reader) = ReaderConfig {
            kernel: Arc::clone(&kernel),
            directory: Arc::clone(&directory),
            ledger: Arc::clone(&ledger),
            fanout,
            shaping: Shaping::new(&self.select, &self.pipeline)?,
            next_shaping: next_shaping.clone(),
            max_line: self.capture.max_line_bytes.0 as usize,
            only: self.only.clone(),
            rotation_interval: self.capture.rotation_interval.0,
            admission: Arc::clone(&admission),
        }
        .build(positions)
        .context("the ring buffer cannot be read")?;
        let reader = thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || reader.run())
            .context("no thread for the reader")?;

        let mut discovery = Discovery::new(hierarchy.clone(), Arc::clone(&kernel));
        let found = if self.only.is_none() { discovery.scan()? } else { Found::default() };
        // Those that come later are counted by the kernel side.
        let table = kernel.lock().unwrap_or_else(PoisonError::into_inner).table();
        table.globals().refused.fetch_add(found.refused.len() as u64, Relaxed);
        book(&found.refused, discovery.waiting(), &ledger);
        tracing::info!(?attach, containers = found.registered, "capturing");
        memory::give_back();
        readiness.set(State::Capturing);
        Ok(Agent {
            kernel,
            directory,
            reader,
            stop_reader,
            admin,
            readiness,
            hierarchy,
            discovery: Arc::new(Mutex::new(discovery)),
            table,
            ledger,
            admission,
            bpf_stats,
            engine,
            surroundings,
            sinks,
            next_shaping,
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

    /// What puts a reload of the configuration to work.
    #[must_use]
    pub fn apply(&self) -> impl Apply + Send + 'static {
        let (surroundings, sinks, next) = (self.surroundings.clone(), self.sinks.clone(), self.next_shaping.clone());
        move |change: &Change| surroundings.apply(change, &sinks, &next)
    }

    /// The sinks.
    #[must_use]
    pub fn sinks(&self) -> &Control {
        &self.sinks
    }

    /// Looks for missed containers until `shutdown`; from then on the engine is not followed any more.
    pub async fn run(&mut self, shutdown: CancellationToken) {
        let log = self.kernel.lock().unwrap_or_else(PoisonError::into_inner).logger();
        let mut log =
            log.inspect_err(|error| tracing::warn!(%error, "messages of the eBPF programs are not shown")).ok();
        let mut flush_log = tokio::time::interval(LOG_INTERVAL);
        let mut rescan = tokio::time::interval(RESCAN_INTERVAL);
        rescan.tick().await;
        // The thread that looks is there from the start, so that the number of threads never moves.
        let _ = tokio::task::spawn_blocking(|| ()).await;
        let mut seen_refused = self.refused();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.output_closed.cancelled() => break,
                _ = flush_log.tick() => {
                    if let Some(log) = &mut log {
                        log.flush();
                    }
                    self.bpf_stats.expire();
                }
                () = self.admission.notified() => {
                    // A slot was freed, or a container found none, which the programs have a message about. The first matters
                    // only while somebody waits.
                    if let Some(log) = &mut log {
                        log.flush();
                    }
                    let refused = self.refused();
                    if self.waiting() > 0 || refused != seen_refused {
                        seen_refused = refused;
                        self.rescan().await;
                        // Where many come and go, one look serves them all.
                        tokio::time::sleep(ADMISSION_PAUSE).await;
                    }
                }
                _ = rescan.tick() => {
                    self.rescan().await;
                    memory::give_back();
                }
            }
        }
        self.readiness.set(State::Draining);
        shutdown.cancel();
        if let Some(engine) = self.engine.take() {
            engine.end().await;
        }
    }

    /// Looks for containers that have no slot, away from the event loop: it reads many files.
    async fn rescan(&self) {
        let discovery = Arc::clone(&self.discovery);
        let scan = tokio::task::spawn_blocking(move || {
            let mut discovery = discovery.lock().unwrap_or_else(PoisonError::into_inner);
            discovery.scan().map(|found| (found, discovery.waiting()))
        });
        match scan.await {
            Ok(Ok((found, waiting))) => {
                if found.registered > 0 {
                    tracing::warn!(containers = found.registered, "found containers that no hook had seen");
                }
                book(&found.refused, waiting, &self.ledger);
            }
            Ok(Err(error)) => tracing::error!(%error, "containers not registered"),
            Err(error) => tracing::error!(%error, "the search for containers failed"),
        }
    }

    fn waiting(&self) -> usize {
        self.discovery.lock().unwrap_or_else(PoisonError::into_inner).waiting()
    }

    fn refused(&self) -> u64 {
        self.table.globals().refused.load(Relaxed)
    }

    /// Drains what the ring buffer holds, waits for the sinks and detaches.
    ///
    /// # Errors
    ///
    /// Where the reader had failed.
    pub fn shut_down(self) -> io::Result<()> {
        self.readiness.set(State::Draining);
        self.stop_reader.stop();
        let read = self.reader.join().map_err(|_| io::Error::other("the reader failed"));
        if let Some(admin) = self.admin {
            admin.shutdown();
        }
        drop(self.kernel.lock().unwrap_or_else(PoisonError::into_inner));
        read
    }
}

/// Says what is wrong first.
fn check(capture: &CaptureSection) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    capture.problems(&mut problems);
    match problems.first() {
        Some(problem) => bail!("{}", problem.message),
        None => Ok(()),
    }
}

/// Starts the sinks: `only` this one, if there is one.
fn add_sinks(
    only: Option<SinkSpec>,
    configured: Sinks,
    surroundings: &Surroundings,
    sinks: &Control,
) -> anyhow::Result<()> {
    if let Some(only) = only {
        return Ok(sinks.add(only)?);
    }
    for (name, config) in &configured.or_default().0 {
        let spec = surroundings.spec(name, config).map_err(|error| anyhow::anyhow!("{error}"))?;
        sinks.add(spec)?;
    }
    Ok(())
}

/// Opens the state directory and says what an earlier agent left there.
fn restore(args: &AdminSection, ledger: &Arc<Ledger>) -> anyhow::Result<Positions> {
    let (directory, saved) = StateDir::open(&args.state_dir, ledger)?;
    if let Some(last) = saved.iter().map(|saved| saved.sealed_at).max() {
        let away = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_nanos(last)).unwrap_or_default();
        tracing::info!(
            containers = saved.len(),
            seconds_since_last_seal = away.as_secs(),
            "going on where an earlier agent stopped; what was written in between was not captured",
        );
    }
    let writer = StateWriter::start(directory, Arc::clone(ledger)).context("no thread for the state directory")?;
    Ok(Positions::restore(writer, saved))
}

/// Books what a scan found in the ledger.
fn book(refused: &[String], waiting: usize, ledger: &Ledger) {
    for id in refused {
        ledger.refuse(id, Instant::now());
    }
    ledger.set_waiting(waiting as u64);
}
