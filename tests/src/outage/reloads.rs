//! Changes of the configuration under load: no line may be lost or doubled by any of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use capture_writers::numbered::Report;
use rustix::process::Signal;

use super::arrivals::Arrivals;
use super::fleet::{Fleet, names};
use super::{Bar, count, report};
use crate::peers::Peer;
use crate::poll::{DEADLINE, eventually};
use crate::soak::machine;
use crate::soak::scrape::Scrape;
use crate::{Agent, engine};

/// How many good files there are for each bad one.
const GOOD_PER_BAD: u32 = 10;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Containers that write.
    pub containers: u32,
    /// Lines a second that each of them writes.
    pub rate: u64,
    /// Changed configurations that are to hold.
    pub reloads: u32,
}

/// What the reloads showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run.
    pub options: Options,
    /// Commit, kernel and engine.
    pub machine: String,
    /// From the first reload to the last.
    pub length: Duration,
    /// Bad files among the good ones.
    pub bad: u32,
    /// What each writer says of its pace, by seed.
    pub reports: BTreeMap<u64, Report>,
    /// What came to each sink, or to the two that take turns.
    pub arrivals: BTreeMap<&'static str, Arrivals>,
    /// The agent's metrics before the first reload and after the last line.
    metrics: (Scrape, Scrape),
}

/// Reloads as often as asked for while containers write, and tells what came of it.
///
/// # Errors
/// When it cannot be run, or a reload is refused that should not be, or the other way round.
pub fn run(options: Options) -> Result<Outcome> {
    let engine = engine::ensure()?;
    let home = tempfile::Builder::new().prefix("ct-reloads-").tempdir_in("/tmp").context("/tmp: no directory")?;
    let path = |name: &str| home.path().join(name);
    for directory in ["control", "state"] {
        fs::create_dir(path(directory)).context("no directory")?;
    }
    let spool = path("loki.spool");
    let loki = Peer::start("loki.py", &["--spool", &spool.display().to_string()], 1)?;
    let variant = |number: u32| variant(number, home.path(), &loki);
    put(home.path(), &variant(0))?;
    let (file, state) = (path("config.yaml").display().to_string(), path("state").display().to_string());
    let agent = Agent::spawn(&["--config", &file, "--state-dir", &state])?;
    agent.wait_ready()?;
    let fleet = Fleet::start(&engine, &path("control"), options.containers, options.rate)?;
    let scrape = || -> Result<Scrape> { Ok(Scrape::new(agent.metrics()?)) };
    let reached = |result: &str, count: u32| {
        let reloads = || scrape().ok().map(|now| now.by_label(RELOADS, "result", |_| true));
        let is_reached = || reloads().filter(|reloads| reloads.get(result) == Some(&f64::from(count))).map(drop);
        eventually(&format!("{result} {count} of a reload"), DEADLINE, is_reached)
            .with_context(|| format!("the agent said: {}", agent.stderr()))
    };
    // With everything that is there at number 0, some of which comes with the first line.
    let first_line = || Some(()).filter(|()| fs::metadata(&spool).is_ok_and(|file| file.len() > 0));
    eventually("lines to arrive", DEADLINE, first_line)?;
    let before = scrape()?;
    let (begun, mut bad) = (Instant::now(), 0);
    for number in 1..=options.reloads {
        if number % GOOD_PER_BAD == 0 {
            bad += 1;
            put(home.path(), &format!("{}    no_such_key: 1\n", variant(number)))?;
            agent.signal(Signal::HUP)?;
            reached("failure", bad)?;
        }
        put(home.path(), &variant(number))?;
        agent.signal(Signal::HUP)?;
        reached("success", number)?;
    }
    // Back to the first one: threads and descriptors of two configurations that differ are not to be compared.
    put(home.path(), &variant(0))?;
    agent.signal(Signal::HUP)?;
    reached("success", options.reloads + 1)?;
    let length = begun.elapsed();
    let reports = fleet.stop()?;
    let queued = || scrape().ok().map(|now| now.by_label(QUEUED, "sink", |_| true).values().sum::<f64>());
    eventually("everything is delivered", DEADLINE, || queued().filter(|queued| *queued < 0.5))?;
    // The ledger is written twice a second.
    std::thread::sleep(Duration::from_secs(1));
    let after = scrape()?;
    let ended = agent.terminate()?;
    ensure!(ended.status.success(), "the agent ended with {}: {}", ended.status, ended.stderr);
    ensure!(!ended.stderr.contains("panicked"), "{}", ended.stderr);

    let mut arrivals = BTreeMap::from([("loki", Arrivals::of_spool(&spool)?)]);
    for (sink, files) in [
        ("changed", &["changed.jsonl"][..]),
        ("disk", &["disk.jsonl"]),
        ("moved", &["moved.jsonl"]),
        ("turns", &["even.jsonl", "odd.jsonl"]),
    ] {
        let came = arrivals.entry(sink).or_default();
        for file in files {
            came.add_file(&path(file))?;
        }
    }
    let machine = machine(&engine)?;
    Ok(Outcome { options, machine, length, bad, reports, arrivals, metrics: (before, after) })
}

const RELOADS: &str = "log_capturer_config_reloads_total";
const QUEUED: &str = "log_capturer_sink_queue_records";

/// Whole at any moment, as a configuration should be put.
fn put(home: &Path, text: &str) -> Result<()> {
    let new = home.join("config.new");
    fs::write(&new, text).context("the configuration cannot be written")?;
    fs::rename(new, home.join("config.yaml")).context("the configuration cannot be put in place")
}

/// A configuration that differs from those before and after it in every sink and in what happens before them.
fn variant(number: u32, home: &Path, loki: &Peer) -> String {
    let home = home.display();
    let endpoint = loki.address();
    let is_even = number.is_multiple_of(2);
    // As files of raw bytes take the lines of one write together, and others do not, this sink is exchanged at each turn.
    let encoding = if is_even { "json" } else { "raw" };
    let turn = if is_even { "even" } else { "odd" };
    let on_full = if number % 4 < 2 { "drop_newest" } else { "drop_oldest" };
    let multiline = if number % 5 == 1 { "  multiline: {preset: indentation, timeout: 200ms}\n" } else { "" };
    let parse = ["[]", "[json]", "[json, logfmt]"][(number % 3) as usize];
    // What waits goes from memory to a disk, and from one directory to another.
    let buffer = match number % 3 {
        0 => "{type: memory}".to_owned(),
        place => format!("{{type: disk, path: {home}/buffer-{place}}}"),
    };
    // A sink that is there every third time only.
    let extra = if number.is_multiple_of(3) {
        format!("  extra:\n    type: file\n    path: {home}/extra.jsonl\n    filter: {{streams: [stdout]}}\n")
    } else {
        String::new()
    };
    format!(
        "select:\n  include: {{names: [\"{ours}\"]}}\n  exclude: {{names: [\"nobody-{number}\"]}}\n\
         pipeline:\n  detect_level: {is_even}\n  parse: {parse}\n{multiline}  rate_limit: {{lines_per_second: {rate}}}\n  \
         redact:\n    - {{pattern: \"secret-{number}\"}}\n  writer: {writer}\n\
         sinks:\n{extra}\
         {sp}changed:\n    type: file\n    path: {home}/changed.jsonl\n    encoding: {encoding}\n    \
         gap_marker: \"[{{bytes}} {number}]\\n\"\n    buffer: {{max_bytes: {memory}KiB, on_full: {on_full}}}\n    \
         retry: {{initial: {pause}ms}}\n\
         {sp}disk:\n    type: file\n    path: {home}/disk.jsonl\n    filter: {{exclude: {{names: [\"nobody-{number}\"]}}}}\n    \
         buffer: {{type: disk, max_bytes: {disk}MiB, fsync_interval: {sync}ms}}\n\
         {sp}loki:\n    type: loki\n    endpoint: http://{endpoint}\n    \
         batch: {{max_bytes: {batch}KiB, max_records: {records}, timeout: {timeout}ms}}\n    timeout: {seconds}s\n\
         {sp}moved:\n    type: file\n    path: {home}/moved.jsonl\n    buffer: {buffer}\n\
         {sp}{turn}:\n    type: file\n    path: {home}/{turn}.jsonl\n",
        sp = "  ",
        ours = names(),
        rate = 1_000_000 + number,
        writer = number % 4 == 3,
        memory = 8192 + number,
        pause = 100 + number % 50,
        disk = 64 + number % 100,
        sync = 10 + number % 300,
        batch = 16 + number % 500,
        records = 10 + number % 1000,
        timeout = 1 + number % 200,
        seconds = 5 + number % 20,
    )
}

impl Outcome {
    /// Each figure with its bar.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        let written: u64 = self.reports.values().map(|report| report.lines).sum();
        let (before, after) = &self.metrics;
        let reloads = after.by_label(RELOADS, "result", |_| true);
        let told = |result: &str| count(reloads.get(result).copied().unwrap_or_default());
        let (good, bad) = (told("success"), told("failure"));
        // And the one back to the first configuration.
        let wanted = u64::from(self.options.reloads) + 1;
        let mut bars = vec![
            Bar::new("reloads that took hold", &wanted.to_string(), good, good == wanted),
            Bar::new("bad files that were refused", &self.bad.to_string(), bad, bad == u64::from(self.bad)),
            Bar::told("lines written; seconds", format!("{written}; {:.1}", self.length.as_secs_f64())),
        ];
        for (sink, arrivals) in &self.arrivals {
            let missing = self.reports.iter().map(|(seed, report)| arrivals.missing(*seed, report.lines).len() as u64);
            let (missing, doubled) = (missing.sum::<u64>(), arrivals.doubled());
            let disorder = arrivals.out_of_order();
            bars.push(Bar::new(
                &format!("`{sink}`: lines missing, doubled"),
                "0, 0",
                format!("{missing}, {doubled}"),
                missing == 0 && doubled == 0 && written > 0,
            ));
            // A sink that is exchanged for another one is emptied beside it, so that its last lines may come after the
            // first of the new one; only where the new one takes over what waits the order is promised.
            let what = format!("`{sink}`: lines out of their container's order");
            bars.push(match *sink {
                "disk" | "loki" => Bar::zero(&what, disorder),
                "turns" => continue,
                _ => Bar::told(&what, disorder),
            });
        }
        let sum = |name: &str| -> f64 { after.by_label(name, "reason", |_| true).values().sum() };
        bars.push(Bar::zero("records dropped, by any sink", count(sum("log_capturer_sink_dropped_records_total"))));
        let grown = |name: &str| {
            let [before, after] = [before, after].map(|scrape| scrape.plain(name).unwrap_or(f64::NAN));
            Bar::new(
                &format!("`{name}`, before and after"),
                "≤ 2 more",
                format!("{before}, {after}"),
                after <= before + 2.0,
            )
        };
        bars.extend(["process_threads", "process_open_fds"].map(grown));
        bars
    }

    /// Whether every bar is met.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.bars().iter().all(|bar| bar.met)
    }

    /// The section of a page.
    #[must_use]
    pub fn section(&self) -> String {
        let Options { containers, rate, reloads } = self.options;
        format!(
            "## Reloads under load\n\n{}. `cargo xtask outage --reloads {reloads} --containers {containers} --rate {rate}`\n\n\
             Each reload changes every sink: a file whose encoding turns between JSON and raw bytes, a file with a buffer on \
             disk, a file whose buffer moves between memory and two directories (`moved`), a Loki with other batches, and a file that makes way for another one (`turns`: what comes to the two \
             together); every third one has one more. What happens before the sinks changes as well. Before every tenth \
             one a file with an unknown key is refused.\n\n{}\n",
            self.machine,
            report::table(&self.bars())
        )
    }
}
