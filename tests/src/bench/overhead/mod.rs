//! What capture costs each system call: with nothing attached, outside of containers, and in one.
//!
//! Rounds go over all settings in turn, so that what disturbs the machine disturbs each of them. Of each operation the
//! fastest sample counts: a disturbance can only add.

mod agent;
pub mod calls;
mod container;
mod figures;
mod limits;
mod page;
mod probes;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::sys::{Stats, enable_stats};
use rustix::thread::{CpuSet, sched_setaffinity};

use self::agent::Agent;
use self::calls::{Operation, Sample};
use self::container::Run;
use self::figures::{Figures, Place, Setting};
pub(super) use self::limits::Limit;
use self::probes::Program;
use super::{Options, chart, machine};
use crate::Attach;
use crate::cgroups::Cgroup;

/// How often a round that somebody else's tracing has spoilt is run again.
const ATTEMPTS: u32 = 10;
/// Operations whose programs' run time is measured by itself.
const TIMED: [(Place, Operation); 5] = [
    (Place::Host, Operation::Getppid),
    (Place::Host, Operation::WriteNull),
    (Place::Container, Operation::WriteNull),
    (Place::Container, Operation::Output100),
    (Place::Container, Operation::Output8k),
];

/// Run time of the programs of one attach mode during one operation.
struct Timed {
    attach: Attach,
    place: Place,
    operation: Operation,
    /// Name, runs, time of all of them.
    programs: Vec<(String, u64, Duration)>,
}

/// Measures, prints and writes the page.
///
/// # Errors
/// When it cannot be run: no agent, no rights, no second CPU.
pub fn run(options: Options) -> Result<()> {
    let machine = machine::describe()?;
    let cpus = machine::cpus();
    ensure!(cpus.len() >= 2, "the measured program and the agent need a CPU each");
    let (measured, rest) = (cpus[0], &cpus[1..]);
    // The agent inherits it.
    let mut set = CpuSet::new();
    for cpu in rest {
        set.set(*cpu);
    }
    sched_setaffinity(None, &set).context("the CPUs cannot be chosen")?;

    let (rounds, samples) = if options.quick { (3, 15) } else { (24, 25) };
    let run = Run { cpu: measured, samples, only: None };
    let mut figures = Figures::default();
    for round in 0..rounds {
        eprintln!("bench: round {} of {rounds}", round + 1);
        for setting in Setting::ALL {
            undisturbed(options, || measure(setting, run, options, &mut figures))?;
        }
        figures.end_round();
    }
    let mut sizes = Vec::new();
    let mut timed = Vec::new();
    for attach in [Attach::Raw, Attach::Syscalls] {
        sizes.push((attach, time_programs(attach, Run { samples: 20, ..run }, &mut timed)?));
    }
    let page = page::render(&machine, rounds, &figures, &sizes, &timed);
    println!("{page}");
    if options.beside_others {
        return Ok(());
    }
    chart::write_bars("overhead", &page::plot(&figures))?;
    machine::write_page("overhead", &page)
}

/// Repeats what others have spoilt.
fn undisturbed(options: Options, mut run: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..ATTEMPTS {
        if !options.beside_others {
            probes::wait_for_quiet()?;
        }
        if run()? {
            return Ok(());
        }
        eprintln!("bench: others have attached programs or used up the CPUs meanwhile; once more");
    }
    anyhow::bail!("others keep tracing, or keep the CPUs busy")
}

/// One setting of one round; `false` if others' programs ran meanwhile, or bytes were lost.
fn measure(setting: Setting, run: Run, options: Options, figures: &mut Figures) -> Result<bool> {
    let is_spoilt = |own| Ok::<_, anyhow::Error>(!options.beside_others && !probes::foreign(own)?.is_empty());
    let Some(attach) = setting.attach() else {
        let _limit = Limit::of(setting)?;
        let host = run.run(None)?;
        if is_spoilt(None)? {
            return Ok(false);
        }
        figures.add(setting, Place::Host, &host);
        return Ok(true);
    };
    let agent = Agent::start(attach)?;
    let host = run.run(None)?;
    let cgroup = Cgroup::create()?;
    let container = run.run(Some(cgroup.path()))?;
    // The machine had no CPU left for the agent.
    let is_whole = agent.lost_none(cgroup.id(), written(&container))?;
    if !is_whole || is_spoilt(Some(agent.id()))? {
        return Ok(false);
    }
    figures.add(setting, Place::Host, &host);
    figures.add(setting, Place::Container, &container);
    Ok(true)
}

fn written(samples: &[Sample]) -> u64 {
    samples.iter().map(|sample| sample.output).sum()
}

/// Sizes of the programs of an attach mode, and their run time. A pass of its own: the statistics cost time themselves.
fn time_programs(attach: Attach, run: Run, timed: &mut Vec<Timed>) -> Result<Vec<Program>> {
    let agent = Agent::start(attach)?;
    for (place, operation) in TIMED {
        let run = Run { only: Some(operation), ..run };
        let before = probes::of(agent.id())?;
        let statistics = enable_stats(Stats::RunTime).context("run time statistics")?;
        match place {
            Place::Host => drop(run.run(None)?),
            Place::Container => drop(run.run(Some(Cgroup::create()?.path()))?),
        }
        drop(statistics);
        let after = probes::of(agent.id())?;
        let programs = before.iter().zip(&after).map(|(before, after)| {
            (after.name.clone(), after.runs - before.runs, after.time.saturating_sub(before.time))
        });
        timed.push(Timed { attach, place, operation, programs: programs.collect() });
    }
    probes::of(agent.id())
}
