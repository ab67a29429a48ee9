//! The highest rate at which nothing is lost, by size of the ring buffer and number of writers, and what happens past it.

#![expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use capture_writers::flood::Flood;

use super::chart::{self, Bars};
use super::load::{Collector, Stage};
use super::stolen::{Stolen, Watch};
use super::{Options, machine};

const RINGS: [&str; 4] = ["256KiB", "1MiB", "4MiB", "32MiB"];
const WRITERS: [u64; 3] = [1, 2, 8];
/// Bytes of a write: a line, what a standard library buffers, what fills a pipe at once.
const CHUNKS: [usize; 3] = [100, 4096, 65_536];
const LINE: usize = 100;
/// More than any rate that a relay carries away.
const BYTES_PER_SECOND: u64 = 3_000_000_000;

/// One setting's outcome.
struct Outcome {
    megabytes: f64,
    lines: f64,
    lost: u64,
    written: u64,
    stolen: Stolen,
}

/// Measures, prints and writes the page.
///
/// # Errors
/// When it cannot be run.
pub(super) fn run(options: Options) -> Result<()> {
    let machine = machine::describe()?;
    let stage = Stage::new()?;
    let (short, long) = if options.quick { (2, 10) } else { (5, 60) };
    let mut page = format!(
        "# Loss\n\n{machine} Written by `cargo xtask bench loss`.\n\n\
         Containers that write lines of {LINE} bytes as fast as Docker's relay carries them away (log driver `none`), for about \
         {short} s each;\nthe agent to null, lines as they came. A write that finds no room in the ring buffer is lost, counted, and marked in the \
         output; the writer never waits.\n\n\
         | ring | writers | bytes a write | MB/s | lines/s | bytes lost | of what was written |\n|---|---|---|---|---|---|---|\n"
    );
    let mut bars = Bars::new("MB/s at which one container lost nothing, 4 KiB a write");
    for ring in RINGS {
        for writers in WRITERS {
            for chunk in CHUNKS {
                eprintln!("bench: ring of {ring}, {writers} writers, {chunk} bytes a write");
                let outcome = measure(&stage, Collector::AgentNull, &["--ring-size", ring], writers, chunk, short)?;
                line(&mut page, ring, writers, chunk, &outcome);
                page.push('\n');
                if (writers, chunk) == (1, 4096) && outcome.lost == 0 {
                    bars.add(ring, outcome.megabytes);
                }
            }
        }
    }
    let _ = writeln!(
        page,
        "\n## Default settings, the full rate that Docker carries, {long} s\n\n\
         No option but the address and the directory for its state: JSON to standard output, which is `/dev/null`. What the host of a virtual\n\
         machine takes away is `steal` of `/proc/stat`: of the time of all CPUs, and at most of one between two looks, 50 ms apart or more.\n\n\
         | ring | writers | bytes a write | MB/s | lines/s | bytes lost | of what was written | taken by the host | at most, ms |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    let mut lost = 0;
    for writers in [1, 8] {
        for chunk in [LINE, 4096] {
            eprintln!("bench: defaults, {writers} writers, {chunk} bytes a write");
            let outcome = measure(&stage, Collector::AgentDefault, &[], writers, chunk, long)?;
            lost += outcome.lost;
            line(&mut page, "32MiB", writers, chunk, &outcome);
            let Stolen { percent, longest } = outcome.stolen;
            let _ = writeln!(page, " {percent:.1} % | {} |", longest.as_millis());
        }
    }
    let met = if lost == 0 { "met" } else { "not met" };
    let _ = writeln!(
        page,
        "\n| | bar | measured | |\n|---|---|---|---|\n| loss with the defaults, 1 and 8 containers, {long} s | 0 bytes | {lost} bytes | {met} |"
    );
    println!("{page}");
    chart::write_bars("loss", &bars)?;
    machine::write_page("loss", &page)
}

fn line(page: &mut String, ring: &str, writers: u64, chunk: usize, outcome: &Outcome) {
    let Outcome { megabytes, lines, lost, written, .. } = outcome;
    let share = *lost as f64 / *written as f64 * 100.0;
    let _ = write!(page, "| {ring} | {writers} | {chunk} | {megabytes:.0} | {lines:.0} | {lost} | {share:.3} % |");
}

/// Writes for about so many seconds: a short run tells how much that is.
#[expect(clippy::cast_sign_loss, reason = "a rate is not negative")]
fn measure(
    stage: &Stage,
    collector: Collector,
    arguments: &[&str],
    writers: u64,
    chunk: usize,
    seconds: u64,
) -> Result<Outcome> {
    let probe = once(stage, collector, arguments, writers, chunk, 200_000)?;
    let lines = (probe.lines * seconds as f64 / writers as f64) as u64;
    once(stage, collector, arguments, writers, chunk, lines.clamp(100_000, BYTES_PER_SECOND / LINE as u64 * seconds))
}

fn once(
    stage: &Stage,
    collector: Collector,
    arguments: &[&str],
    writers: u64,
    chunk: usize,
    lines: u64,
) -> Result<Outcome> {
    let flood = |number: u64| Flood { name: number.to_string(), lines, length: LINE, chunk, rate: 0 };
    let floods: Vec<Flood> = (0..writers).map(flood).collect();
    let running = collector.start(stage, arguments)?.context("the agent")?;
    let writers = stage.writers(&floods, "none")?;
    let watch = Watch::start()?;
    writers.go()?;
    let wall = writers.done(Duration::from_mins(10))?.as_secs_f64();
    stage.settle(Some(running.id()), Duration::from_mins(2))?;
    let stolen = watch.end()?;
    let lost = running.lost(&writers)?;
    let written = writers.bytes();
    Ok(Outcome { megabytes: written as f64 / 1e6 / wall, lines: writers.lines() as f64 / wall, lost, written, stolen })
}
