//! Every metric that the page lists is recorded on the real path: in one agent's life each of them moves.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use capture_tests::poll::eventually;
use capture_tests::{Agent, Container, engine, http};
use rustix::process::Signal;

const PAGE: &str = include_str!("../../docs/metrics.md");

/// What does not move in the life of a sound agent on a machine that stays as it is.
const STILL: [&str; 11] = [
    // What an earlier agent left, and a disk that fails: the tests of disk buffers make them.
    "log_capturer_sink_recovered_records_total",
    "log_capturer_buffer_corrupt_frames_total",
    "log_capturer_buffer_torn_bytes_total",
    "log_capturer_buffer_write_errors_total",
    // Defects, of the agent and of the host; the agent's own tests make them in what is around the counters.
    "log_capturer_reconcile_failures_total",
    "log_capturer_bpf_missed_runs_total",
    // Settings.
    "log_capturer_ring_size_bytes",
    "process_max_fds",
    "process_start_time_seconds",
    // All there from the start: that they do not move is a promise with a test of its own.
    "process_threads",
    "process_virtual_memory_bytes",
];

/// Longer than everything that has to happen takes, the engine's freeze with it.
const LONG: Duration = Duration::from_mins(2);

#[test]
fn each_metric_of_the_page_moves() -> Result<()> {
    let engine = engine::private()?;
    let home = tempfile::tempdir()?;
    let (state, file) = (home.path().join("state"), home.path().join("config.yaml"));
    let loki = Destination::start()?;
    let configure = |queue: &str| fs::write(&file, configuration(home.path(), loki.address, queue));
    configure("16MiB")?;
    // What is written to standard error finds a disk that is full.
    symlink("/dev/full", home.path().join("stderr"))?;
    let agent = Agent::spawn(
        &[
            &["--docker-host", &engine.host(), "--docker-resubscribe", "2s", "--docker-deadline", "1s"][..],
            &["--config", &file.display().to_string(), "--ring-size", "256KiB", "--bpf-stats"],
            &["--rotation-interval", "1s", "--sessions-max", "4", "--viewers-max", "1"],
            &["--state-dir", &state.display().to_string()],
        ]
        .concat(),
    )?;
    agent.wait_ready()?;

    let mut seen = Seen::default();
    seen.look(&agent.metrics()?);
    // A task that waits for a request that does not come.
    let silent = TcpStream::connect(agent.address())?;
    // One who looks and does not read, and one who finds no place.
    let mut viewer = TcpStream::connect(agent.address())?;
    viewer.write_all(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    seen.until(&agent, "the viewer to be there", |now| now["log_capturer_live_viewers"] > 0.5)?;
    assert_eq!(http::get(agent.address(), "/api/v1/stream")?.0, 503);
    let mut containers = vec![
        Container::start(&engine, "moves", "while :; do echo out; echo err >&2; sleep 0.2; done")?,
        // One write that is larger than the ring.
        Container::builder(&engine, "loses")?.options(["--log-driver", "none"]).start(&[
            "sh",
            "-c",
            "while :; do dd if=/dev/zero bs=2M count=1 2>/dev/null; sleep 0.05; done",
        ])?,
        Container::builder(&engine, "unwanted")?.options(["--label", "unwanted=yes"]).start(&[
            "sh",
            "-c",
            "while :; do echo out; sleep 0.2; done",
        ])?,
        Container::start(&engine, "waits", "while :; do echo out; sleep 0.2; done")?,
        Container::start(&engine, "refused", "while :; do echo out; sleep 0.2; done")?,
    ];
    seen.until(&agent, "a container to wait", |now| now["log_capturer_containers_waiting"] >= 1.0)?;
    // Another size of a queue.
    configure("17MiB")?;
    agent.signal(Signal::HUP)?;
    // A destination that is lost, and found again.
    loki.answer(false);
    seen.until(&agent, "requests to fail", |now| sum(now, "log_capturer_sink_connection_errors_total") > 0.5)?;
    loki.answer(true);
    containers.truncate(3);
    seen.until(&agent, "none to wait", |now| now["log_capturer_containers_waiting"] < 0.5)?;
    // A state that cannot be saved any more.
    fs::remove_dir_all(&state)?;
    engine.freeze()?;
    seen.until(&agent, "the engine's silence to be noticed", |now| now["log_capturer_docker_socket_up"] < 0.5)?;
    engine.thaw()?;

    let listed: BTreeSet<&str> = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let still = BTreeSet::from(STILL);
    assert!(still.is_subset(&listed), "a metric that is not on the page");
    let expected: BTreeSet<&str> = listed.difference(&still).copied().collect();
    let outcome = seen.until_moved(&agent, &expected);
    drop((containers, silent, viewer));
    outcome
}

/// Sinks that have records, are given none of some, cannot write some, and lose their destination.
fn configuration(home: &Path, loki: SocketAddr, queue: &str) -> String {
    let home = home.display();
    format!(
        "select: {{exclude: {{labels: {{unwanted: 'yes'}}}}}}\n\
         sinks:\n\
         \x20 out: {{type: file, path: {home}/stdout, encoding: raw, filter: {{streams: [stdout]}}, \
         buffer: {{max_bytes: {queue}}}}}\n\
         \x20 full: {{type: file, path: {home}/stderr, filter: {{streams: [stderr]}}, \
         retry: {{max: 300ms, give_up_after: 1s}}}}\n\
         \x20 loki: {{type: loki, endpoint: 'http://{loki}', filter: {{streams: [stderr]}}, \
         batch: {{timeout: 100ms}}, retry: {{max: 300ms}}}}\n"
    )
}

/// Takes whatever it is sent, or hangs up.
struct Destination {
    address: SocketAddr,
    answers: Arc<AtomicBool>,
}

impl Destination {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, answers) = (listener.local_addr()?, Arc::new(AtomicBool::new(true)));
        let destination = Self { address, answers: Arc::clone(&answers) };
        // Ends with the test.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answers = Arc::clone(&answers);
                thread::spawn(move || serve(stream, &answers));
            }
        });
        Ok(destination)
    }

    fn answer(&self, answers: bool) {
        self.answers.store(answers, Relaxed);
    }
}

/// Answers requests until one comes that is to have no answer.
fn serve(mut stream: TcpStream, answers: &AtomicBool) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end().to_ascii_lowercase().strip_prefix("content-length:") {
                Some(value) => length = value.trim().parse().ok()?,
                None if line == "\r\n" => break,
                None => {}
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        if !answers.load(Relaxed) {
            return None;
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}

/// The sum over the series of a family.
fn sum(metrics: &HashMap<String, f64>, family: &str) -> f64 {
    metrics.iter().filter(|(series, _)| series.split('{').next() == Some(family)).map(|(_, value)| value).sum()
}

/// The values of each family over the scrapes, and which of them have moved.
#[derive(Default)]
struct Seen {
    last: HashMap<String, f64>,
    moved: BTreeSet<String>,
}

impl Seen {
    /// Scrapes until `done`.
    fn until(&mut self, agent: &Agent, what: &str, done: impl Fn(&HashMap<String, f64>) -> bool) -> Result<()> {
        eventually(what, LONG, || {
            let metrics = agent.metrics().ok()?;
            self.look(&metrics);
            done(&metrics).then_some(())
        })
        .with_context(|| format!("the agent said: {}", agent.stderr()))
    }

    fn until_moved(&mut self, agent: &Agent, expected: &BTreeSet<&str>) -> Result<()> {
        let outcome = eventually("every metric to move", LONG, || {
            self.look(&agent.metrics().ok()?);
            expected.iter().all(|name| self.moved.contains(*name)).then_some(())
        });
        outcome.with_context(|| {
            let missing: Vec<_> = expected.iter().filter(|name| !self.moved.contains(**name)).collect();
            format!("never moved: {missing:?}; the agent said: {}", agent.stderr())
        })
    }

    fn look(&mut self, metrics: &HashMap<String, f64>) {
        let mut families: HashMap<String, f64> = HashMap::new();
        for (series, value) in metrics {
            let name = series.split('{').next().unwrap_or(series);
            // A histogram moves when it counts.
            let name = name.strip_suffix("_count").unwrap_or(name);
            *families.entry(name.to_owned()).or_default() += value;
        }
        for (name, value) in &families {
            // A counter by label is not there before it counts.
            let absent = (!self.last.is_empty() && name.ends_with("_total")).then_some(&0.0);
            if self
                .last
                .get(name)
                .or(absent)
                .is_some_and(|last| (last - value).abs() > f64::EPSILON * last.abs().max(1.0))
            {
                self.moved.insert(name.clone());
            }
        }
        self.last = families;
    }
}
