//! An outage from its first container to its last line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use super::arrivals::Arrivals;
use super::fleet::{Fleet, names};
use super::front::{Door, Front};
use super::missing::Death;
use super::watch::{Watch, now};
use super::{Buffers, Delivered, Options, Outcome};
use crate::peers::Peer;
use crate::poll::eventually;
use crate::soak::machine;
use crate::soak::scrape::Scrape;
use crate::{Agent, engine};

/// How long after the last line everything may take to arrive.
const CATCH_UP: Duration = Duration::from_mins(10);
/// A sink has caught up when what waits for it is what is written in so many seconds.
const CAUGHT_UP: f64 = 3.0;
/// How long writers hold still before the agent is killed: much longer than a line takes to the disk.
const HELD: Duration = Duration::from_secs(1);

/// A Loki behind a front.
struct Destination {
    sink: &'static str,
    buffer: String,
    front: Front,
    spool: PathBuf,
    _loki: Peer,
}

/// An outage on its way.
struct Run<'a> {
    options: &'a Options,
    home: TempDir,
    destinations: Vec<Destination>,
    watch: Arc<Watch>,
    diary: Vec<(f64, String)>,
    deaths: Vec<Death>,
}

/// Runs an outage and tells what it showed; progress goes to standard output.
///
/// # Errors
/// When it cannot be run at all: no engine, no agent, no peers, or something broke on the way.
pub fn run(options: &Options) -> Result<Outcome> {
    let engine = engine::ensure()?;
    let home = tempfile::Builder::new().prefix("ct-outage-").tempdir_in("/tmp").context("/tmp: no directory")?;
    let destinations = destinations(options.buffers, home.path())?;
    for directory in ["control", "state"] {
        fs::create_dir(home.path().join(directory)).context("no directory")?;
    }
    let watch = Arc::new(Watch::new(&home.path().join("beside.jsonl")));
    let mut run = Run { options, home, destinations, watch, diary: Vec::new(), deaths: Vec::new() };
    run.configure()?;
    let agent = run.start_agent()?;
    let fleet = Fleet::start(&engine, &run.home.path().join("control"), options.containers, options.rate)?;
    run.tell(format!("{} containers write {} lines a second each", options.containers, options.rate));
    let (reports, scrape, passed) = run.watched(agent, &fleet)?;

    println!("reading what arrived");
    let delivered = run.destinations.iter().zip(passed).map(|(destination, passed_in_outage)| {
        Ok(Delivered {
            sink: destination.sink.to_owned(),
            arrivals: Arrivals::of_spool(&destination.spool)?,
            dropped: dropped(&scrape, destination.sink),
            passed_in_outage,
        })
    });
    let delivered = delivered.collect::<Result<Vec<_>>>()?;
    let mut file = Arrivals::default();
    file.add_file(&run.home.path().join("beside.jsonl"))?;

    let mut times = BTreeMap::new();
    for member in &fleet.members {
        let written = reports[&member.seed].lines;
        let incomplete = delivered.iter().map(|delivered| &delivered.arrivals).chain([&file]);
        let missing: Vec<u32> = incomplete.flat_map(|arrivals| arrivals.missing(member.seed, written)).collect();
        if !missing.is_empty() {
            let logged = fleet.times(member)?;
            let time_of = |number: u32| logged.get(number as usize).copied().flatten();
            times.extend(missing.into_iter().filter_map(|number| Some(((member.seed, number), time_of(number)?))));
        }
    }
    let by_container = scrape.by_container("log_capturer_dropped_bytes_total");
    Ok(Outcome {
        options: options.clone(),
        machine: machine(&engine)?,
        reports,
        ids: fleet.members.iter().map(|member| (member.seed, member.container.id().to_owned())).collect(),
        delivered,
        file,
        deaths: run.deaths,
        times,
        dropped_bytes: by_container.into_iter().map(|(id, bytes)| (id.to_owned(), bytes)).collect(),
        samples: run.watch.samples(),
        diary: run.diary,
    })
}

type Reports = BTreeMap<u64, capture_writers::numbered::Report>;

impl Run<'_> {
    /// What happens while samples are taken: the writers' reports, the agent's last metrics, and what was passed on in
    /// the outage to each destination.
    fn watched(&mut self, agent: Agent, fleet: &Fleet) -> Result<(Reports, Scrape, Vec<u64>)> {
        let watch = Arc::clone(&self.watch);
        thread::scope(|scope| {
            let watching = scope.spawn(|| watch.run());
            let outcome = self.act(agent, fleet);
            watch.end();
            watching.join().map_err(|_| anyhow::anyhow!("the watch panicked"))?;
            outcome
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate is far below 2^52")]
    fn act(&mut self, mut agent: Agent, fleet: &Fleet) -> Result<(Reports, Scrape, Vec<u64>)> {
        self.watch.look_at(agent.address());
        thread::sleep(self.options.lead_in);
        let passed = |run: &Self| -> Vec<u64> { run.destinations.iter().map(|to| to.front.passed()).collect() };

        self.set(Door::Refusing);
        // What was on its way through the front when it closed.
        thread::sleep(Duration::from_millis(100));
        let before = passed(self);
        let begun = Instant::now();
        let outage = self.options.outage;
        let until = |part: u32| thread::sleep((begun + outage * part / 6).saturating_duration_since(Instant::now()));
        let is_killed = self.options.buffers == Buffers::Disk;
        until(2);
        if is_killed {
            agent = self.kill(agent, fleet, false)?;
        }
        until(3);
        self.set(Door::Hanging);
        until(4);
        if is_killed {
            agent = self.kill(agent, fleet, true)?;
        }
        until(6);
        let in_outage = passed(self).iter().zip(before).map(|(after, before)| after - before).collect();
        self.set(Door::Open);

        let queued =
            || self.watch.next().map(|sample| sample.queued.values().fold(0.0, |most: f64, all| most.max(*all)));
        let few = f64::from(self.options.containers) * self.options.rate as f64 * CAUGHT_UP;
        eventually("the sinks catch up", CATCH_UP, || queued().filter(|queued| *queued < few))
            .with_context(|| format!("the agent said: {}", agent.stderr()))?;
        self.tell("the sinks have caught up".to_owned());
        self.watch.expect_no_lines();
        let reports = fleet.stop()?;
        let queued = || self.watch.next().map(|sample| sample.queued.values().sum::<f64>());
        eventually("everything is delivered", CATCH_UP, || queued().filter(|queued| *queued < 0.5))
            .with_context(|| format!("the agent said: {}", agent.stderr()))?;
        // The ledger is written twice a second.
        thread::sleep(HELD);
        let scrape = Scrape::new(agent.metrics()?);
        self.watch.look_away();
        let ended = agent.terminate()?;
        ensure!(ended.status.success(), "the agent ended with {}: {}", ended.status, ended.stderr);
        self.tell("the agent has ended".to_owned());
        Ok((reports, scrape, in_outage))
    }

    /// Kills the agent and starts the next one over what it left.
    fn kill(&mut self, agent: Agent, fleet: &Fleet, held: bool) -> Result<Agent> {
        if held {
            self.watch.expect_no_lines();
            fleet.hold()?;
            thread::sleep(HELD);
        }
        self.watch.look_away();
        let killed = now();
        let ended = agent.end(Signal::KILL)?;
        ensure!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        let agent = self.start_agent()?;
        let capturing = now();
        if held {
            fleet.release()?;
        }
        self.watch.look_at(agent.address());
        self.deaths.push(Death { killed, capturing, held });
        let writers = if held { "who hold still" } else { "who go on" };
        let seconds = Duration::from_nanos(capturing - killed).as_secs_f64();
        self.tell(format!("kill -9 under writers {writers}; the next agent captures {seconds:.2} s later"));
        Ok(agent)
    }

    fn set(&mut self, door: Door) {
        for destination in &self.destinations {
            destination.front.set(door);
        }
        let what = match door {
            Door::Open => "answers again",
            Door::Refusing => "refuses connections",
            Door::Hanging => "takes connections and says nothing",
        };
        self.tell(format!("the destination {what}"));
    }

    fn start_agent(&self) -> Result<Agent> {
        let path = |name: &str| self.home.path().join(name).display().to_string();
        let agent = Agent::spawn(&["--config", &path("config.yaml"), "--state-dir", &path("state")])?;
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Writes the configuration.
    fn configure(&self) -> Result<()> {
        let home = self.home.path().display();
        let mut text =
            format!("capture: {{rotation_interval: 5s}}\nselect: {{include: {{names: [\"{}\"]}}}}\nsinks:\n", names());
        for Destination { sink, buffer, front, .. } in &self.destinations {
            let address = front.address;
            write!(
                text,
                "  {sink}:\n    type: loki\n    endpoint: http://{address}\n    timeout: 5s\n    connect_timeout: 2s\n    \
                 retry: {{initial: 100ms, max: 2s}}\n    buffer: {buffer}\n"
            )?;
        }
        write!(text, "  beside:\n    type: file\n    path: {home}/beside.jsonl\n")?;
        fs::write(self.home.path().join("config.yaml"), text).context("the configuration cannot be written")
    }

    fn tell(&mut self, what: String) {
        let at = self.watch.now();
        println!("{at:>7.1} s  {what}");
        self.diary.push((at, what));
    }
}

fn destinations(buffers: Buffers, home: &Path) -> Result<Vec<Destination>> {
    let start = |sink: &'static str, buffer: String| {
        let spool = home.join(format!("{sink}.spool"));
        let name = spool.to_str().context("the temporary directory's name is not UTF-8")?;
        let loki = Peer::start("loki.py", &["--spool", name], 1)?;
        Ok(Destination { sink, buffer, front: Front::before(loki.address())?, spool, _loki: loki })
    };
    match buffers {
        Buffers::Disk => Ok(vec![start("loki", "{type: disk, max_bytes: 4GiB}".to_owned())?]),
        Buffers::Memory(bytes) => [("newest", "drop_newest"), ("oldest", "drop_oldest")]
            .map(|(sink, on_full)| start(sink, format!("{{max_bytes: {bytes}, on_full: {on_full}}}")))
            .into_iter()
            .collect(),
    }
}

fn dropped(scrape: &Scrape, sink: &str) -> BTreeMap<String, f64> {
    scrape.labelled("log_capturer_sink_dropped_records_total", ("sink", sink), "reason")
}
