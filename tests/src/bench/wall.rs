//! How much longer containers take that write as fast as they can, with the agent than without.
//!
//! Where the writer, its shim and the engine come to run decides more about that than any collector: the same gigabyte
//! takes 1.7 s in one run and 3.8 s in the next, and in one container the rate changes by half within seconds. So one
//! container writes without end while what is measured is switched on and off every half second, and each time with it is compared
//! with the times without it right before and after. The agent is not started and ended for that: the writer is moved out of
//! its container's cgroup, where nobody captures it, and back.

#![expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]

mod endless;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};

use self::endless::{Aside, Endless};
use super::chart::{self, Bars};
use super::load::{Collector, Stage};
use super::stolen::Watch;
use super::{Options, machine, median};

/// What takes its time from the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// Programs that return at once, on the hooks that the agent has by default: what the agent costs a writer that it does not
    /// capture.
    Hooks,
    /// The same for attach mode `syscalls`.
    HooksOfCalls,
    /// The copy of each write into a ring buffer, on the hooks that the agent has by default, and nothing more.
    Copy,
    /// The same, both sides ask whose a write is, stamp and count it, and its reader counts the lines and hands them over to a thread that
    /// writes them to `/dev/null`.
    AccountAndHandOver,
    /// The same on the hooks of attach mode `syscalls`.
    AccountOfCallsAndHandOver,
    /// As [`AccountAndHandOver`](Self::AccountAndHandOver), and that thread makes records of JSON of them.
    AccountHandOverAndEncode,
    /// The same account, and it is its one reader that makes records of JSON, and throws them away: what JSON itself takes.
    AccountAndEncode,
    Agent(Collector),
    /// The agent to null, in attach mode `syscalls`.
    AgentOfCalls,
}

const PRESENCES: [Presence; 11] = [
    Presence::Hooks,
    Presence::HooksOfCalls,
    Presence::Copy,
    Presence::AccountAndHandOver,
    Presence::AccountOfCallsAndHandOver,
    Presence::AccountHandOverAndEncode,
    Presence::AccountAndEncode,
    Presence::Agent(Collector::AgentNull),
    Presence::AgentOfCalls,
    Presence::Agent(Collector::AgentDefault),
    Presence::Agent(Collector::AgentJson),
];
const BAR: f64 = 1.15;
/// Ratios for each container.
const CYCLES: usize = 16;
/// The same, of what is as close to the bar as its error, and of the hooks that it is multiplied with.
const MANY_CYCLES: usize = 32;
/// The same, of what is far from it, or not held against it.
const FEW_CYCLES: usize = 8;
const LINE: usize = 100;
/// Of one window: how fast the writer gets on keeps for about a second, by itself.
const WINDOW: Duration = Duration::from_millis(400);

/// What was seen in a window.
#[derive(Clone, Copy, Default)]
struct Window {
    /// Bytes a second that the writer got rid of.
    rate: f64,
    /// CPUs of the host that were busy.
    busy: f64,
    /// CPU seconds of the collector for a GB.
    own: f64,
}

/// A window with what is measured, compared with those around it.
#[derive(Clone, Copy)]
struct Pair {
    alone: Window,
    with: Window,
}

/// What one of them has come to.
#[derive(Clone, Default)]
struct Outcome {
    pairs: Vec<Pair>,
    lost: Lost,
}

/// Bytes that a collector does not have.
#[derive(Clone, Copy, Default)]
struct Lost {
    /// Because the ring buffer had no room.
    ring: f64,
    /// Because the queue of a sink had none.
    queue: f64,
}

/// Measures, prints and writes the page.
///
/// # Errors
/// When it cannot be run, or the agent does not come to collect.
pub(super) fn run(options: Options) -> Result<()> {
    let machine = machine::describe()?;
    let watch = Watch::start()?;
    let stage = Stage::new()?;
    let aside = Aside::create()?;
    let containers = if options.quick { 2 } else { 10 };
    let mut outcomes = vec![Outcome::default(); PRESENCES.len()];
    for container in 1..=containers {
        eprintln!("bench: wall time, container {container} of {containers}");
        for (presence, outcome) in PRESENCES.into_iter().zip(&mut outcomes) {
            for _ in 0..presence.turns() {
                // Each in a container of its own: what one has done to the rate for longer must not meet the next one.
                let writer = Endless::start(&stage, &aside)?;
                writer.measure(&stage, presence, presence.cycles() / presence.turns(), outcome)?;
            }
        }
    }
    let mut page = format!(
        "# Wall time\n\n{machine} Written by `cargo xtask bench wall`.\n\n\
         One container writes lines of {LINE} bytes without end, 4 KiB a write, log driver `none`, and what is measured is \
         switched on and off:\nwindows of {} s, of which every other is without it. A ratio is that of the writer's rate \
         without, right before and right after, to its\nrate with it, so it is that of wall times for the same bytes; given are the geometric mean of as many as the second column says, in \
         {containers} containers or more, and its standard\nerror. “Hooks alone” are programs that return at \
         once, on the entry and exit of every system call, or for attach mode `syscalls` on the exit of three; “copy alone” is a program on the former that\ncopies each write into a ring buffer of \
         the same size and nothing else, as in [overhead](overhead.md); “and a thread that writes it” has its reader count the lines and hand them over, a quarter of a megabyte at a time, to one that \
         writes them to `/dev/null`, or, where it “makes JSON of it”, their records;\n“account” is that both sides ask which cgroup has written them, when, and where among its bytes they stand, and count \
         them, which takes less\nthan the agent has to do: it does not ask which file a descriptor stands for, nor bounds what one container holds of the ring buffer;\n“and JSON” has its one reader look at each line there for what would\nhave \
         to be escaped, and copy its record together from it and what is the same for all, and throw it away. The agent runs all the time: without\nmeans that the writer \
         is moved to a cgroup that is nobody's container. So its ratio to a host without any collector is its own times that\nof \
         the hooks alone, which is what is held against the bar. The last column is what CPU time alone allows: that of the whole host\n\
         without it and the collector's own, shared by {} CPUs that are never idle. What the wall time is made of: \
         [decision 0017](../decisions/0017-wall-time.md).\n\n\
         | | ratios | MB/s without | MB/s with | × wall time | CPUs busy without | with | collector s per GB | bytes lost in the ring buffer | in a queue | × at least |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
        WINDOW.as_secs_f64(),
        machine::cpus().len(),
    );
    let mut verdict = String::from("\n| | bar | measured | |\n|---|---|---|---|\n");
    let mut bars = Bars::new("wall time of a writing container, of that without");
    let of = |wanted: Presence| {
        let row = PRESENCES.iter().zip(&outcomes).find(|(presence, _)| **presence == wanted);
        row.map(|(_, outcome)| (wanted.title(), outcome)).context("a row is missing")
    };
    for (presence, outcome) in PRESENCES.into_iter().zip(&outcomes) {
        row(&mut page, presence, outcome);
        if let Some((hooks, simpler)) = presence.beneath() {
            bar(&mut verdict, presence, outcome, of(hooks)?.1.ratio(), of(simpler)?);
        }
        bars.add(presence.title(), outcome.ratio().0);
    }
    page.push_str(&verdict);
    let _ = writeln!(page, "\n{}", watch.end()?);
    println!("{page}");
    chart::write_bars("wall", &bars)?;
    machine::write_page("wall", &page)
}

/// Writes a row of the table.
fn row(page: &mut String, presence: Presence, outcome: &Outcome) {
    let (ratio, error) = outcome.ratio();
    let _ = writeln!(
        page,
        "| {} | {} | {:.0} | {:.0} | {ratio:.3} ± {error:.3} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.2} |",
        presence.title(),
        outcome.pairs.len(),
        outcome.median(|pair| pair.alone.rate) / 1e6,
        outcome.median(|pair| pair.with.rate) / 1e6,
        outcome.median(|pair| pair.alone.busy),
        outcome.median(|pair| pair.with.busy),
        outcome.own(),
        outcome.lost.ring,
        outcome.lost.queue,
        outcome.median(Pair::at_least),
    );
}

/// Writes a row of the verdict. `simpler` is what does no more than the agent has to do as well.
fn bar(verdict: &mut String, presence: Presence, outcome: &Outcome, hooks: (f64, f64), simpler: (&str, &Outcome)) {
    let own = outcome.ratio();
    // Nothing gets faster by them; a figure below 1 is an error.
    let ratio = own.0 * hooks.0.max(1.0);
    // Of independent figures the relative errors add up as squares.
    let error = ratio * (own.1 / own.0).hypot(hooks.1 / hooks.0);
    let result = match (ratio <= BAR, outcome.median(Pair::at_least) <= BAR) {
        (true, _) => "met".to_owned(),
        (false, true) => {
            let (title, simpler) = simpler;
            let (least, error) = simpler.ratio();
            // What the agent undercuts is no limit.
            let how = if least > BAR && least <= ratio { ", nor with" } else { "; with" };
            // What is lost need not be read.
            let lost = match simpler.lost.ring / 1e6 {
                0.0 => String::new(),
                lost => format!(", which lost {lost:.0} MB"),
            };
            format!("not met{how} {title}: {least:.3} ± {error:.3}{lost}")
        }
        (false, false) => "not met, nor could it be with so many CPUs".to_owned(),
    };
    let _ = writeln!(
        verdict,
        "| wall time with {}, of that without a collector | ≤ {BAR:.2} | {ratio:.3} ± {error:.3} | {result} |",
        presence.title()
    );
}

/// The geometric mean of ratios, and its standard error.
fn geometric_mean(ratios: &[f64]) -> (f64, f64) {
    let count = ratios.len() as f64;
    let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / count;
    let squares: f64 = ratios.iter().map(|ratio| (ratio.ln() - mean).powi(2)).sum();
    (mean.exp(), mean.exp() * (squares / (count - 1.0) / count).sqrt())
}

impl Outcome {
    fn ratio(&self) -> (f64, f64) {
        geometric_mean(&self.pairs.iter().map(Pair::ratio).collect::<Vec<_>>())
    }

    fn median(&self, figure: fn(&Pair) -> f64) -> f64 {
        median(self.pairs.iter().map(figure))
    }

    /// CPU seconds of the collector for a GB: the mean, because the kernel counts in ticks that are long for one window.
    fn own(&self) -> f64 {
        self.pairs.iter().map(|pair| pair.with.own).sum::<f64>() / self.pairs.len() as f64
    }
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.alone.rate / self.with.rate
    }

    /// The lowest ratio of wall times for which the CPUs have the time.
    fn at_least(&self) -> f64 {
        let own = self.with.own / 1e9 * self.alone.rate;
        ((self.alone.busy + own) / machine::cpus().len() as f64).max(1.0)
    }
}

impl Presence {
    /// How often it is begun anew for one container's worth of ratios: files grow faster than a disk takes them, and are deleted
    /// before the page cache has so much that writing waits for the disk.
    const fn turns(self) -> usize {
        match self {
            Self::Agent(Collector::AgentJson) => 8,
            _ => 1,
        }
    }

    const fn cycles(self) -> usize {
        match self {
            Self::Hooks | Self::AccountAndHandOver | Self::Agent(Collector::AgentNull) => MANY_CYCLES,
            Self::HooksOfCalls
            | Self::AccountOfCallsAndHandOver
            | Self::AgentOfCalls
            | Self::AccountHandOverAndEncode
            | Self::AccountAndEncode
            | Self::Agent(Collector::AgentDefault) => CYCLES,
            Self::Copy | Self::Agent(_) => FEW_CYCLES,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Hooks => "hooks alone",
            Self::HooksOfCalls => "hooks of `syscalls` alone",
            Self::Copy => "copy alone",
            Self::AccountAndHandOver => "copy, account and a thread that writes it alone",
            Self::AccountOfCallsAndHandOver => "copy, account and a thread, hooks of `syscalls`, alone",
            Self::AccountHandOverAndEncode => "copy, account and a thread that makes JSON of it alone",
            Self::AccountAndEncode => "copy, account and JSON alone",
            Self::Agent(collector) => collector.title(),
            Self::AgentOfCalls => "capture-agent to null, `--attach syscalls`",
        }
    }

    /// Of the agent: what it costs a writer that it does not capture, and what does no more than it has to do as well.
    fn beneath(self) -> Option<(Self, Self)> {
        match self {
            Self::Agent(Collector::AgentNull) => Some((Self::Hooks, Self::AccountAndHandOver)),
            Self::AgentOfCalls => Some((Self::HooksOfCalls, Self::AccountOfCallsAndHandOver)),
            // Not what one thread makes and throws away: a sink must not hold up the reader. Also of a file: what is appended has to be
            // made and handed over first.
            Self::Agent(_) => Some((Self::Hooks, Self::AccountHandOverAndEncode)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_and_half_as_long_are_as_long_in_the_mean() {
        let (mean, error) = geometric_mean(&[0.5, 2.0, 0.5, 2.0]);
        assert!((mean - 1.0).abs() < 1e-9);
        // The logarithms are 0.693 off, four times: 0.8 for one of them, half of it for their mean.
        assert!((error - 0.4).abs() < 0.001, "{error}");
    }

    #[test]
    fn cpu_time_bounds_the_ratio_from_below() {
        let window = |busy, own| Window { rate: 1e9, busy, own };
        let cpus = machine::cpus().len() as f64;
        let pair = |busy, own| Pair { alone: window(busy, 0.0), with: window(0.0, own) };
        assert!((pair(cpus, cpus / 4.0).at_least() - 1.25).abs() < 1e-9);
        assert!((pair(0.0, 0.1).at_least() - 1.0).abs() < 1e-9);
    }
}
