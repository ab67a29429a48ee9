//! A soak from its first container to its verdict.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    Completeness, Options, Outcome, Phase, Sample, bars,
    crash_loop::CrashLoops,
    director::{self, Director},
    fleet::{self, Fleet, Member},
    old_way::OldWay,
    report,
    sample::Sampler,
    usage::Usage,
    verdict,
    verify::Collected,
};
use crate::{
    Agent, Engine,
    cgroups::Hierarchy,
    engine,
    fidelity::programs,
    poll::{DEADLINE, settled},
    process,
};

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(5);
/// Between two lines that say how it stands.
const PROGRESS: Duration = Duration::from_secs(30);
/// How long dockerd is watched before the old way begins beside.
const LEAD_IN: Duration = Duration::from_mins(1);

/// Runs a soak and tells how it went; progress goes to standard output.
///
/// # Errors
/// When it cannot be run at all: no engine, no agent, no compiler for the writers, or something broke on the way.
pub fn run(options: &Options) -> Result<Outcome> {
    let old_program = if options.compare { Some(programs::old_way()?) } else { None };
    let hierarchy = Hierarchy::find()?;
    let engine = if options.faults { engine::private_with_live_restore()? } else { engine::private()? };
    fleet::prepare_image(&engine)?;
    let home = tempfile::Builder::new().prefix("soak-").tempdir().context("no directory for the output")?;
    let output = home.path().join("agent");
    std::fs::create_dir(&output)?;
    let agent = start_agent(options, &engine, &output)?;

    println!("starting {} containers", options.containers);
    let fleet = Fleet::start(&engine, options.containers)?;
    let victim = if options.faults { Some(Fleet::extra(&engine, options.containers)?) } else { None };
    let crashing = CrashLoops::start(&engine)?;
    let (old, dockerd_alone) = match &old_program {
        Some(program) => {
            let alone = dockerd_cpu(&engine, LEAD_IN.min(options.length / 4))?;
            (Some(OldWay::start(program, &engine, &home.path().join("old"))?), Some(alone))
        }
        None => (None, None),
    };

    let director = Director::new(&engine, &agent, &crashing, victim.as_ref());
    let mut camera = Sampler::new(&agent, &engine, &hierarchy, fleet.ids());
    let schedule = director::schedule(options);
    let samples = thread::scope(|scope| {
        let directing = scope.spawn(|| director.run(&schedule));
        let samples = watch(options, &mut camera, &director, &crashing, old.as_ref());
        director.over.store(true, Ordering::SeqCst);
        directing.join().unwrap_or_else(|_| bail!("the director panicked"))?;
        samples
    })?;
    let diary = director.diary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);

    let run = Run { options, engine, fleet, victim, crashing, old, agent, samples, diary, dockerd_alone };
    run.finish(&output)
}

fn start_agent(options: &Options, engine: &Engine, output: &Path) -> Result<Agent> {
    let seconds = |length: Duration| format!("{}s", length.as_secs());
    // Series of crashed containers are to come and go within the run, however short it is.
    let grace = Duration::from_mins(5).min(options.length / 6).max(Duration::from_secs(10));
    let agent = Agent::spawn(&[
        "--attach",
        &options.attach,
        "--docker-host",
        &engine.host(),
        "--file-path",
        &Collected::template(output),
        "--file-encoding",
        "raw",
        "--rotation-interval",
        &seconds(options.rotation_interval),
        "--metrics-grace",
        &seconds(grace),
    ])?;
    agent.wait_ready()?;
    Ok(agent)
}

/// CPU seconds per minute of dockerd, over `length`.
fn dockerd_cpu(engine: &Engine, length: Duration) -> Result<f64> {
    let cpu = || -> Result<f64> { Ok(Usage::of(engine.daemon_pid()?.as_raw_nonzero().get().cast_unsigned())?.cpu) };
    println!("watching dockerd alone for {} s", length.as_secs());
    let before = cpu()?;
    thread::sleep(length);
    Ok((cpu()? - before) / length.as_secs_f64() * 60.0)
}

/// Takes samples until the time is over.
fn watch(
    options: &Options,
    camera: &mut Sampler<'_>,
    director: &Director<'_>,
    crashing: &CrashLoops,
    old: Option<&OldWay>,
) -> Result<Vec<Sample>> {
    let begun = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    let mut told = begun;
    report::progress_head();
    for tick in 0.. {
        let at = begun + PERIOD * tick;
        if at > begun + options.length || director.over.load(Ordering::SeqCst) || crashing.is_broken() {
            break;
        }
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let short_lived =
            crashing.ids().into_iter().chain(director.victim.map(|victim| victim.container.id().to_owned()));
        let before = director.phase();
        let sample = camera.take(before, &short_lived.collect(), old.map(OldWay::sample).transpose()?);
        // What was quiet when the sample began must have been so to its end.
        let after = director.phase();
        let sample = match sample {
            Ok(sample) => Sample { phase: if before == after { before } else { Phase::Busy }, ..sample },
            // Two hundred others are in the queue before it.
            Err(error) if before == Phase::Hammered || after == Phase::Hammered => {
                println!("no sample while the admin port is hammered: {error:#}");
                continue;
            }
            Err(error) => return Err(error),
        };
        if told.elapsed() >= PROGRESS || samples.is_empty() {
            told = Instant::now();
            report::progress(&sample, crashing.count());
        }
        samples.push(sample);
    }
    Ok(samples)
}

/// A soak whose time is over.
struct Run<'a> {
    options: &'a Options,
    engine: Arc<Engine>,
    fleet: Fleet,
    victim: Option<Member>,
    crashing: CrashLoops,
    old: Option<OldWay>,
    agent: Agent,
    samples: Vec<Sample>,
    diary: Vec<(f64, String)>,
    dockerd_alone: Option<f64>,
}

impl Run<'_> {
    /// Ends the containers, waits until everything is drained, and reads back what came out.
    fn finish(mut self, output: &Path) -> Result<Outcome> {
        println!("stopping the containers");
        let machine = machine(&self.engine)?;
        let gone = self.crashing.end()?;
        self.fleet.stop()?;
        let unbalanced = self.drained()?;
        let old_lines = match self.old.take() {
            Some(old) => {
                let directory = old.output().to_owned();
                old.end()?;
                Some(verdict::midway(&directory, &self.fleet.members)?)
            }
            None => None,
        };
        let ended = self.agent.terminate()?;
        ensure!(ended.status.success(), "the agent ended with {}: {}", ended.status, ended.stderr);

        println!("reading back what was captured");
        let collected = Collected::read(output)?;
        let mut completeness = Completeness::new(&collected);
        for member in &self.fleet.members {
            completeness.long_lived(&collected, member)?;
        }
        let killed = u64::from(self.crashing.kills.load(Ordering::SeqCst) > 0);
        for member in &self.crashing.restarted {
            completeness.restarted(&collected, member, killed)?;
        }
        if let Some(victim) = &self.victim {
            completeness.restarted(&collected, victim, 1)?;
        }
        for gone in &gone {
            completeness.gone(&collected, gone);
        }
        let mut outcome = Outcome {
            options: self.options.clone(),
            samples: self.samples,
            diary: self.diary,
            machine,
            completeness,
            old_lines,
            crashed: gone.len(),
            dockerd_alone: self.dockerd_alone,
            bars: Vec::new(),
        };
        outcome.bars = bars::all(&outcome, unbalanced);
        Ok(outcome)
    }

    /// Waits until the agent has handed on all it took, and gives how many bytes its books are off by.
    fn drained(&self) -> Result<f64> {
        let ids = self.fleet.ids();
        settled("the agent's books", DEADLINE, || {
            let scrape = super::scrape::Scrape::new(self.agent.metrics()?);
            let sum = |what: &str| -> f64 {
                let name = format!("log_capturer_{what}_bytes_total");
                let sums = scrape.by_container(&name);
                sums.iter().filter(|(id, _)| ids.contains(**id)).map(|(_, bytes)| bytes).sum()
            };
            let (written, captured, delivered) = (sum("written"), sum("captured"), sum("delivered"));
            let off = (written - captured - sum("lost")).abs() + (captured - delivered - sum("dropped")).abs();
            Ok((off, delivered))
        })
        .map(|(off, _)| off)
    }
}

/// Commit, kernel and engine, for the results page.
/// Commit, kernel and engine.
pub(crate) fn machine(engine: &Engine) -> Result<String> {
    let commit = process::text(
        Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(["describe", "--always", "--dirty"]),
        DEADLINE,
    )?;
    let docker = engine.docker(["version", "--format", "{{.Server.Version}}"])?;
    let system = rustix::system::uname();
    let text = |field: &std::ffi::CStr| field.to_string_lossy().into_owned();
    let (release, machine) = (text(system.release()), text(system.machine()));
    // The rest of a release names a build, and may name its builder.
    let kernel = release.split('-').next().unwrap_or(&release);
    let cores = thread::available_parallelism()?;
    Ok(format!("Commit `{commit}`; {cores} cores, {machine}, Linux {kernel}, Docker {docker}, `json-file`"))
}
