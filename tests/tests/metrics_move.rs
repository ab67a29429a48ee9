//! Every metric that the page lists is recorded on the real path: in one agent's life each of them moves.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Context, Result};
use capture_tests::poll::eventually;
use capture_tests::{Agent, Container, engine, http};
use rustix::process::Signal;

const PAGE: &str = include_str!("../../docs/metrics.md");

/// What does not move in the life of a sound agent on a machine that stays as it is.
const STILL: [&str; 7] = [
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
    let (output, state) = (home.path().join("out"), home.path().join("state"));
    fs::create_dir(&output)?;
    // What is written to standard error finds a disk that is full.
    symlink("/dev/full", output.join("stderr"))?;
    let template = format!("{}/{{stream}}", output.display());
    let agent = Agent::spawn(
        &[
            &["--docker-host", &engine.host(), "--docker-resubscribe", "2s", "--docker-deadline", "1s"][..],
            &["--file-path", &template, "--file-encoding", "raw", "--ring-size", "256KiB", "--bpf-stats"],
            &["--rotation-interval", "1s", "--sessions-max", "3", "--viewers-max", "1"],
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
        Container::start(&engine, "waits", "while :; do echo out; sleep 0.2; done")?,
        Container::start(&engine, "refused", "while :; do echo out; sleep 0.2; done")?,
    ];
    seen.until(&agent, "a container to wait", |now| now["log_capturer_containers_waiting"] >= 1.0)?;
    // Read anew: there is no file, and so no mistake in it.
    agent.signal(Signal::HUP)?;
    containers.truncate(2);
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
