//! `capture-agent audit`.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use capture_common::Stream;
use clap::Args;

use super::agent::AgentSettings;
use super::docker::DockerArgs;
use super::settings::CaptureArgs;
use super::signals;
use crate::audit::{self, Audit, Captured, EngineLog, LogError, Outcome, StreamAudit, Verdict, Window};
use crate::config::Config;
use crate::config::units::{Period, Size};
use crate::containers::docker::{DockerConfig, RunningContainer};
use crate::delivery::SinkSpec;
use crate::pipeline::select::own_container;

/// How often the logs are read: a file that is filled and rotated out of existence meanwhile is not seen.
const READ_INTERVAL: Duration = Duration::from_millis(50);
/// How often what is being waited for is compared anew.
const COMPARE_INTERVAL: Duration = Duration::from_millis(250);
/// A clock that moved by more was set, and times before and after do not compare.
const CLOCK_STEP: i64 = 100_000_000;

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Names of containers, or at least 12 digits of their ids; without any, all that have a json-file log.
    containers: Vec<String>,

    /// How long output is captured: 1s to 1h.
    #[arg(long = "for", value_name = "PERIOD", default_value = "30s", env = "CAPTURE_AGENT_AUDIT_FOR",
          value_parser = Period::between(Duration::from_secs(1), Duration::from_hours(1)))]
    period: Period,

    /// Where the engine keeps its containers: their logs are DIRECTORY/<id>/<id>-json.log. Without it, where the engine
    /// says.
    #[arg(long, value_name = "DIRECTORY", env = "CAPTURE_AGENT_AUDIT_LOG_DIR")]
    log_dir: Option<PathBuf>,

    /// Memory for what is captured; the window ends when it is full.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", env = "CAPTURE_AGENT_AUDIT_MEMORY",
          value_parser = Size::between(1 << 20, 1 << 40))]
    memory: Size,

    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    capture: CaptureArgs,

    #[command(flatten)]
    docker: DockerArgs,
}

/// Captures for a while and compares: 0 equal, 1 different, 2 there is no saying.
pub fn audit(args: &AuditArgs) -> anyhow::Result<u8> {
    let audits = match compare(args) {
        Ok(audits) => audits,
        Err(error) => {
            eprintln!("capture-agent: {error:#}");
            return Ok(2);
        }
    };
    let mut out = io::stdout().lock();
    let code = audit::exit_code(&audits);
    let printed = if args.json {
        let report = serde_json::json!({ "exit_code": code, "containers": audits });
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)
    } else {
        audit::print(&audits, &mut out)
    };
    match printed {
        // Whoever reads it may have seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(code),
    }
}

/// A container with its log.
struct Subject {
    container: RunningContainer,
    log: Result<EngineLog, LogError>,
}

fn compare(args: &AuditArgs) -> anyhow::Result<Vec<Audit>> {
    let mut config = Config::default();
    args.capture.lay_over(&mut config.capture);
    if let Err(problem) = args.docker.lay_over(&mut config.docker, |name| std::env::var_os(name)) {
        bail!("{problem}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    runtime.block_on(async {
        let docker = config.docker.client();
        let (chosen, mut audits) = choose(args, docker.survey().await?.containers)?;
        if chosen.is_empty() {
            return Ok(audits);
        }
        // Before capture begins, so that what is captured is behind where a log is read from.
        let mut subjects: Vec<_> =
            chosen.into_iter().map(|container| Subject { log: open(args, &container), container }).collect();
        let (captured, window) = capture(args, config, &mut subjects).await?;
        audits.extend(judge(args, &docker, subjects, &captured, window).await);
        audits.sort_by(|a, b| a.container.cmp(&b.container));
        Ok(audits)
    })
}

/// The containers that were named, or all that can be compared; and those that cannot.
fn choose(args: &AuditArgs, running: Vec<RunningContainer>) -> anyhow::Result<(Vec<RunningContainer>, Vec<Audit>)> {
    let is_called = |container: &RunningContainer, word: &String| {
        container.metadata.name == *word || (word.len() >= 12 && container.metadata.id.starts_with(word.as_str()))
    };
    for word in &args.containers {
        if !running.iter().any(|container| is_called(container, word)) {
            bail!("no container {word} is running; give a name that `docker ps` shows");
        }
    }
    let own = own_container();
    let mut chosen = Vec::new();
    let mut left_out = Vec::new();
    for container in running {
        let is_named = args.containers.iter().any(|word| is_called(&container, word));
        if !is_named && !args.containers.is_empty() {
            continue;
        }
        let reason = if own.as_deref() == Some(container.metadata.id.as_str()) {
            "the agent runs in it, and does not capture itself".to_owned()
        } else if container.log_driver == "json-file" {
            chosen.push(container);
            continue;
        } else {
            format!("its log driver is {}, which keeps no json-file to compare with", container.log_driver)
        };
        let outcome = if is_named { Outcome::Unknown(reason) } else { Outcome::Skipped(reason) };
        left_out.push(of(&container, None, outcome));
    }
    Ok((chosen, left_out))
}

fn of(container: &RunningContainer, log: Option<&EngineLog>, outcome: Outcome) -> Audit {
    Audit {
        container: container.metadata.name.clone(),
        container_id: container.metadata.id.clone(),
        log: log.map(|log| log.path().display().to_string()),
        outcome,
    }
}

fn open(args: &AuditArgs, container: &RunningContainer) -> Result<EngineLog, LogError> {
    let id = &container.metadata.id;
    let path = match &args.log_dir {
        Some(directory) => directory.join(id).join(format!("{id}-json.log")),
        None => container.log_path.clone().unwrap_or_default(),
    };
    EngineLog::open(&path, container.terminal)
}

/// Captures for the window, and reads the logs meanwhile.
async fn capture(args: &AuditArgs, config: Config, subjects: &mut [Subject]) -> anyhow::Result<(Captured, Window)> {
    let shutdown = signals::shutdown()?;
    let ids = subjects.iter().map(|subject| subject.container.metadata.id.clone());
    let captured = Captured::new(ids, args.memory.0, shutdown.clone());
    let settings = AgentSettings {
        docker: Some(config.docker.client()),
        capture: config.capture,
        select: config.select,
        pipeline: config.pipeline,
        sinks: config.sinks,
        admin: None,
        reloads: Arc::default(),
        only: None,
    };
    let mut agent = settings.build_for(SinkSpec::new("audit", Box::new(captured.sink())))?;
    let (began, began_at) = (Instant::now(), now());
    let (stop, period) = (shutdown.child_token(), args.period.0);
    let run = agent.run(stop.clone());
    let follow = async {
        let mut progress = Progress::new(began, period);
        while began.elapsed() < period && !stop.is_cancelled() {
            read(subjects);
            progress.tell(captured.bytes());
            tokio::time::sleep(READ_INTERVAL.min(period.saturating_sub(began.elapsed()))).await;
        }
        progress.end();
        stop.cancel();
    };
    tokio::join!(run, follow);
    let (lasted, end) = (began.elapsed(), now());
    let clock_moved = end - began_at - i64::try_from(lasted.as_nanos()).unwrap_or_default();
    // Draining takes as long as the sinks do; the logs are read meanwhile, as they go on being rotated.
    let stopping = tokio::task::spawn_blocking(move || agent.shut_down());
    while !stopping.is_finished() {
        read(subjects);
        tokio::time::sleep(READ_INTERVAL).await;
    }
    stopping.await??;
    if clock_moved.abs() > CLOCK_STEP {
        bail!("the clock was set while output was captured, so times do not compare; run it again");
    }
    let lag = i64::try_from(audit::lag(lasted).as_nanos()).unwrap_or(i64::MAX);
    Ok((captured, Window { settled: began_at + lag, end }))
}

fn read(subjects: &mut [Subject]) {
    for subject in subjects {
        if let Ok(log) = &mut subject.log
            && let Err(error) = log.read()
        {
            subject.log = Err(error);
        }
    }
}

/// Compares; what the logs do not have yet is waited for.
async fn judge(
    args: &AuditArgs,
    docker: &DockerConfig,
    mut subjects: Vec<Subject>,
    captured: &Captured,
    window: Window,
) -> Vec<Audit> {
    let lag = audit::lag(args.period.0);
    let deadline = Instant::now() + lag;
    let end = window.end + i64::try_from(lag.as_nanos()).unwrap_or_default();
    for log in subjects.iter_mut().filter_map(|subject| subject.log.as_mut().ok()) {
        log.end_at(end);
    }
    let mut sides = Vec::new();
    for subject in &mut subjects {
        let id = subject.container.metadata.id.clone();
        // Without an answer it goes on, and its last line is not compared.
        let has_ended = docker.is_running(&id).await.is_ok_and(|running| !running);
        if has_ended {
            read(std::slice::from_mut(subject));
            if let Ok(log) = &mut subject.log {
                log.end();
            }
        }
        sides.push(Stream::ALL.map(|stream| captured.take(&id, stream, has_ended)));
    }
    loop {
        read(&mut subjects);
        let mut is_behind = false;
        let audits = subjects.iter().zip(&sides).map(|(Subject { container, log }, captured)| {
            let log = match log {
                Ok(log) => log,
                Err(error) => return of(container, None, Outcome::Unknown(error.to_string())),
            };
            let streams = Stream::ALL.into_iter().zip(captured).map(|(stream, captured)| {
                let verdict = audit::compare(log.lines(stream), captured, window);
                is_behind |= matches!(&verdict, Verdict::Differs(difference) if difference.log.is_none());
                StreamAudit::new(stream.as_str(), verdict)
            });
            of(container, Some(log), Outcome::Streams(streams.collect()))
        });
        let audits: Vec<_> = audits.collect();
        if !is_behind || Instant::now() >= deadline {
            return audits;
        }
        tokio::time::sleep(COMPARE_INTERVAL).await;
    }
}

/// Nanoseconds since the Unix epoch.
fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// Tells on standard error how far it is: on a terminal in one line, each second; otherwise every ten.
struct Progress {
    began: Instant,
    period: Duration,
    on_terminal: bool,
    next: Instant,
}

impl Progress {
    fn new(began: Instant, period: Duration) -> Self {
        Self { began, period, on_terminal: io::stderr().is_terminal(), next: began }
    }

    fn tell(&mut self, bytes: u64) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + Duration::from_secs(if self.on_terminal { 1 } else { 10 });
        let seconds = self.began.elapsed().as_secs();
        let line = format!("{seconds} s of {} s, {bytes} bytes captured", self.period.as_secs());
        if self.on_terminal { eprint!("\r{line}") } else { eprintln!("{line}") }
    }

    fn end(&self) {
        if self.on_terminal {
            eprintln!();
        }
    }
}
