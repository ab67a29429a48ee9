//! How much longer containers take that write as fast as they can, with the agent than without.
//!
//! Where the writer, its shim and the engine come to run decides more about that than any collector: the same gigabyte
//! takes 1.7 s in one run and 3.8 s in the next. So one container writes without end while collectors come and go, and each
//! of them is compared with the times without a collector right before and after it.

#![expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use capture_writers::flood::Flood;

use super::chart::{self, Bars};
use super::load::{Collector, Running, Stage, Writers};
use super::overhead::Limit;
use super::{Options, machine, median};

/// What takes its time from the writer in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Nobody,
    /// The copy of each write into a ring buffer, and nothing more.
    Copy,
    Agent(Collector),
}

const PRESENCES: [Presence; 4] = [
    Presence::Copy,
    Presence::Agent(Collector::AgentNull),
    Presence::Agent(Collector::AgentDefault),
    Presence::Agent(Collector::AgentJson),
];
const BAR: f64 = 1.15;
const LINE: usize = 100;
/// What a program's standard library buffers before it writes to a pipe.
const BUFFERED: usize = 4096;
/// From a collector's readiness, or its end, to the next window.
const SETTLE: Duration = Duration::from_millis(300);
/// Of one window: how fast the writer gets on keeps for about a second, by itself.
const WINDOW: Duration = Duration::from_millis(1200);

/// What was seen in a window.
#[derive(Clone, Copy, Default)]
struct Window {
    /// Bytes a second that the writer got rid of.
    rate: f64,
    /// CPUs of the host that were busy.
    busy: f64,
    /// CPU seconds of the collector for a GB.
    own: f64,
    lost: f64,
}

/// A window with a collector, compared with those around it.
#[derive(Clone, Copy)]
struct Pair {
    alone: Window,
    with: Window,
}

/// Measures, prints and writes the page.
///
/// # Errors
/// When it cannot be run, or the agent does not come to collect.
pub(super) fn run(options: Options) -> Result<()> {
    let machine = machine::describe()?;
    let stage = Stage::new()?;
    let (containers, cycles) = if options.quick { (2, 2) } else { (10, 4) };
    let mut pairs = vec![Vec::new(); PRESENCES.len()];
    for container in 1..=containers {
        eprintln!("bench: wall time, container {container} of {containers}");
        let writer = Endless::start(&stage)?;
        let mut before = writer.window(&stage, Presence::Nobody)?;
        for _ in 0..cycles {
            for (presence, pairs) in PRESENCES.into_iter().zip(&mut pairs) {
                let with = writer.window(&stage, presence)?;
                let after = writer.window(&stage, Presence::Nobody)?;
                let alone = Window {
                    rate: (before.rate * after.rate).sqrt(),
                    busy: f64::midpoint(before.busy, after.busy),
                    ..Window::default()
                };
                pairs.push(Pair { alone, with });
                before = after;
            }
        }
    }
    let mut page = format!(
        "# Wall time\n\n{machine} Written by `cargo xtask bench wall`.\n\n\
         One container writes lines of {LINE} bytes without end, 4 KiB a write, log driver `none`, and collectors come and go: \
         windows\nof {} s, of which every other is without a collector. A ratio is that of the writer's rate without one, right \
         before and right\nafter, to its rate with it, so it is that of wall times for the same bytes; {} ratios a row, in \
         {containers} containers, their geometric mean\nand its standard error. “Copy alone” is a program that copies each write \
         into a ring buffer of the same size and nothing else, as\nin [overhead](overhead.md). The last column is what CPU time \
         alone allows: that of the whole host without a collector and the\ncollector's own, shared by {} CPUs that are never \
         idle. What the wall time is made of: [decision 0017](../decisions/0017-wall-time.md).\n\n\
         | collector | MB/s without | MB/s with | × wall time | CPUs busy without | with | collector s per GB | bytes lost | × at least |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        WINDOW.as_secs_f64(),
        containers * cycles,
        machine::cpus().len(),
    );
    let mut verdict = String::from("\n| | bar | measured | |\n|---|---|---|---|\n");
    let mut bars = Bars::new("wall time of a writing container, of that without a collector");
    for (presence, pairs) in PRESENCES.into_iter().zip(&pairs) {
        bars.add(presence.title(), row(&mut page, &mut verdict, presence, pairs));
    }
    page.push_str(&verdict);
    println!("{page}");
    chart::write_bars("wall", &bars)?;
    machine::write_page("wall", &page)
}

/// Writes a row of the table and one of the verdict; gives the ratio.
fn row(page: &mut String, verdict: &mut String, presence: Presence, pairs: &[Pair]) -> f64 {
    let title = presence.title();
    let of = |figure: fn(&Pair) -> f64| median(pairs.iter().map(figure));
    let (ratio, error) = geometric_mean(&pairs.iter().map(Pair::ratio).collect::<Vec<_>>());
    let least = of(Pair::at_least);
    let lost: f64 = pairs.iter().map(|pair| pair.with.lost).sum();
    let _ = writeln!(
        page,
        "| {title} | {:.0} | {:.0} | {ratio:.3} ± {error:.3} | {:.2} | {:.2} | {:.2} | {lost:.0} | {least:.2} |",
        of(|pair| pair.alone.rate) / 1e6,
        of(|pair| pair.with.rate) / 1e6,
        of(|pair| pair.alone.busy),
        of(|pair| pair.with.busy),
        of(|pair| pair.with.own),
    );
    if let Presence::Agent(_) = presence {
        let outcome = match (ratio <= BAR, least <= BAR) {
            (true, _) => "met",
            (false, true) => "not met",
            (false, false) => "not met, nor could it be with so many CPUs",
        };
        let _ = writeln!(
            verdict,
            "| wall time with {title}, of that without a collector | ≤ {BAR:.2} | {ratio:.3} ± {error:.3} | {outcome} |"
        );
    }
    ratio
}

/// The geometric mean of ratios, and its standard error.
fn geometric_mean(ratios: &[f64]) -> (f64, f64) {
    let count = ratios.len() as f64;
    let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / count;
    let squares: f64 = ratios.iter().map(|ratio| (ratio.ln() - mean).powi(2)).sum();
    (mean.exp(), mean.exp() * (squares / (count - 1.0) / count).sqrt())
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
    fn title(self) -> &'static str {
        match self {
            Self::Nobody => "no collector",
            Self::Copy => "copy alone",
            Self::Agent(collector) => collector.title(),
        }
    }
}

/// A container that writes until it is removed.
struct Endless {
    /// Held, because it is removed with it.
    _writers: Writers,
    pid: u32,
}

impl Endless {
    fn start(stage: &Stage) -> Result<Self> {
        let lines = u64::MAX / LINE as u64;
        let flood = Flood { name: "0".to_owned(), lines, length: LINE, chunk: BUFFERED, rate: 0 };
        let writers = stage.writers(&[flood], "none")?;
        let id = writers.ids().first().copied().context("no container")?.to_owned();
        let pid = stage.engine.docker(["inspect", "--format", "{{.State.Pid}}", &id])?;
        let pid = pid.parse().context("no process id")?;
        writers.go()?;
        thread::sleep(SETTLE);
        Ok(Self { _writers: writers, pid })
    }

    /// How it gets on meanwhile.
    fn window(&self, stage: &Stage, presence: Presence) -> Result<Window> {
        let _copy = if presence == Presence::Copy { Some(Limit::copy()?) } else { None };
        let running = match presence {
            Presence::Agent(collector) => collector.start(stage, &[])?,
            Presence::Nobody | Presence::Copy => None,
        };
        thread::sleep(SETTLE);
        let own = || running.as_ref().map_or(0.0, Running::cpu);
        let (begun, written, busy, cpu) = (Instant::now(), self.written()?, machine::busy()?, own());
        thread::sleep(WINDOW);
        let (elapsed, written) = (begun.elapsed().as_secs_f64(), self.written()? - written);
        let (busy, cpu) = (machine::busy()? - busy, own() - cpu);
        let lost = running.as_ref().map_or(Ok(0.0), Running::lost_so_far)?;
        Ok(Window { rate: written / elapsed, busy: busy / elapsed, own: cpu / (written / 1e9), lost })
    }

    /// Bytes so far (`wchar` of `proc_pid_io(5)`).
    fn written(&self) -> Result<f64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid)).context("the writer is gone")?;
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).context("the kernel counts no bytes")?;
        line.trim().parse().context("no number of bytes")
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
        let window = |busy, own| Window { rate: 1e9, busy, own, lost: 0.0 };
        let cpus = machine::cpus().len() as f64;
        let pair = |busy, own| Pair { alone: window(busy, 0.0), with: window(0.0, own) };
        assert!((pair(cpus, cpus / 4.0).at_least() - 1.25).abs() < 1e-9);
        assert!((pair(0.0, 0.1).at_least() - 1.0).abs() < 1e-9);
    }
}
