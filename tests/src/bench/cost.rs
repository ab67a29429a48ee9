//! What it costs the host to collect: wall time of the writing containers, CPU of the engine, of its shims and of the
//! collector, side by side in one run.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use capture_writers::flood::Flood;

use super::chart::{self, Bars};
use super::load::stage::EngineCpu;
use super::load::{Collector, Lost, Running, Stage, Writers, plain};
use super::stolen::Watch;
use super::{Options, machine, median};

/// Bytes of a line.
const LINE: usize = 100;
/// What a program's standard library buffers before it writes to a pipe.
const BUFFERED: usize = 4096;
const MB: u64 = 1_000_000;
/// Bytes of the shorter tables.
const SMALL: u64 = 200 * MB;
/// A gigabyte through the slowest way takes minutes.
const DEADLINE: Duration = Duration::from_mins(15);
/// Bytes of a collector's file for a byte of output, at most.
const GROWTH: u64 = 4;
/// From the start of containers that write without end to what is measured beside them.
const SETTLE: Duration = Duration::from_millis(200);

/// Rows of the table: Docker's log driver, and who collects.
const ROWS: [(&str, Collector); 8] = [
    ("none", Collector::Nobody),
    ("none", Collector::AgentNull),
    ("none", Collector::AgentDefault),
    ("none", Collector::AgentJson),
    ("json-file", Collector::Nobody),
    ("json-file", Collector::AgentJson),
    ("json-file", Collector::Follower),
    ("json-file", Collector::Tailer),
];

/// How much is written, by how many, and in what pieces.
#[derive(Clone, Copy)]
struct Load {
    bytes: u64,
    containers: u64,
    chunk: usize,
    /// With log driver `none`, which takes a second.
    rounds: u32,
    /// With `json-file`, which takes a minute with a follower.
    rounds_of_files: u32,
}

impl Load {
    /// How often a row is measured.
    fn rounds_of(self, driver: &str) -> u32 {
        if driver == "none" { self.rounds } else { self.rounds_of_files }
    }

    /// The rows that are measured: a follower takes ten minutes for 1000 MB, and as much for each of them as for 200.
    fn rows(self) -> Vec<(&'static str, Collector)> {
        ROWS.into_iter().filter(|(_, collector)| self.bytes <= SMALL || *collector != Collector::Follower).collect()
    }

    /// Its writers, each with so many lines.
    fn floods(self, lines: u64) -> Vec<Flood> {
        let flood = |number: u64| Flood { name: number.to_string(), lines, length: LINE, chunk: self.chunk, rate: 0 };
        (0..self.containers).map(flood).collect()
    }
}

/// One run of one row.
#[derive(Clone, Copy, Default)]
struct Run {
    wall: f64,
    /// CPUs of the host that were busy until the writers were done.
    busy: f64,
    engine: EngineCpu,
    collector: f64,
    /// Of a program that only writes such files as the agent wrote.
    plain: plain::Cpu,
    lost: Lost,
}

/// The median of each figure over the rounds; bytes lost add up.
struct Row {
    driver: &'static str,
    collector: Collector,
    wall: f64,
    busy: f64,
    daemon: f64,
    shims: f64,
    own: f64,
    plain: plain::Cpu,
    lost: Lost,
}

impl Row {
    fn host(&self) -> f64 {
        self.daemon + self.shims + self.own
    }
}

/// Measures, prints and writes the page.
///
/// # Errors
/// When it cannot be run, or a collector does not come to rest.
pub(super) fn run(options: Options) -> Result<()> {
    let machine = machine::describe()?;
    let watch = Watch::start()?;
    let stage = Stage::new()?;
    let mut page = format!(
        "# Cost\n\n{machine} Written by `cargo xtask bench cost`.\n\n\
         Lines of {LINE} bytes, as fast as they are taken. CPU seconds of `dockerd` and `containerd`, of the containers' shims \
         and of the\ncollector, from the first write until all of them have come to rest; the collector starts before. Medians \
         over the rounds,\nwhich go over all rows in turn; how many there were is in the table. `none` and `json-file` are Docker's log drivers; to null is the raw \
         encoding to\n`/dev/null`; the follower is one `docker logs --follow` a container, over one client, into files, up to 200 MB; \
         `rsyslogd` reads the files\nof `json-file`. CPUs busy are of the whole host, until the writers were seen to be done.\n\
         Right before each run as much memory as its files will need is written to and given back: the host of a virtual machine takes away what \
         was\nfree for seconds, and what uses it first would pay for that.\n\
         Wall times of whole runs differ by half from one run to the next also without a collector: [wall](wall.md) has better ones.\n"
    );
    let mut bars = Bars::new("CPU seconds of the host, 200 MB by one container");
    for (number, load) in loads(options).into_iter().enumerate() {
        let rows = measure(&stage, load)?;
        let begin = page.len();
        render(&mut page, load, &rows);
        if number == 0 {
            verdict(&mut page, &rows);
            for row in &rows {
                bars.add(&format!("{}, {}", row.driver, row.collector.title()), row.host());
            }
        }
        // A run takes a while, and may be broken off.
        eprint!("{}", &page[begin..]);
    }
    let _ = writeln!(page, "\n{}", watch.end()?);
    println!("{page}");
    chart::write_bars("cost", &bars)?;
    machine::write_page("cost", &page)
}

fn loads(options: Options) -> Vec<Load> {
    let quick = |rounds| if options.quick { 1 } else { rounds };
    let small = |containers, chunk, rounds, rounds_of_files| Load {
        bytes: SMALL,
        containers,
        chunk,
        rounds: quick(rounds),
        rounds_of_files: quick(rounds_of_files),
    };
    let large = |containers| Load { bytes: 1000 * MB, containers, chunk: BUFFERED, rounds: 3, rounds_of_files: 1 };
    // The first one's figures are held against bars.
    let mut loads = vec![small(1, BUFFERED, 9, 3), small(8, BUFFERED, 5, 1), small(1, LINE, 5, 1)];
    if !options.quick {
        loads.extend([large(1), large(8)]);
    }
    loads
}

fn measure(stage: &Stage, load: Load) -> Result<Vec<Row>> {
    let rows = load.rows();
    let mut runs = vec![Vec::new(); rows.len()];
    for round in 1..=load.rounds.max(load.rounds_of_files) {
        for (runs, &(driver, collector)) in runs.iter_mut().zip(&rows) {
            let rounds = load.rounds_of(driver);
            if round > rounds {
                continue;
            }
            eprintln!(
                "bench: {} MB from {}, round {round} of {rounds}: {driver}, {}",
                load.bytes / MB,
                load.containers,
                collector.title()
            );
            runs.push(once(stage, load, driver, collector)?);
        }
    }
    Ok(rows.iter().zip(&runs).map(|(&(driver, collector), runs)| row(driver, collector, runs)).collect())
}

fn row(driver: &'static str, collector: Collector, runs: &[Run]) -> Row {
    let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure));
    Row {
        driver,
        collector,
        wall: of(|run| run.wall),
        busy: of(|run| run.busy),
        daemon: of(|run| run.engine.daemon),
        shims: of(|run| run.engine.shims),
        own: of(|run| run.collector),
        plain: plain::Cpu {
            append: of(|run| run.plain.append),
            encode_and_append: of(|run| run.plain.encode_and_append),
        },
        lost: runs.iter().map(|run| run.lost).sum(),
    }
}

fn once(stage: &Stage, load: Load, driver: &str, collector: Collector) -> Result<Run> {
    let floods = load.floods(load.bytes / load.containers / LINE as u64);
    let running = collector.start(stage, &[])?;
    let writers: Writers = stage.writers(&floods, driver)?;
    let pid = running.as_ref().map(Running::id);
    stage.settle(pid, DEADLINE)?;
    plain::touch(load.bytes * GROWTH)?;
    let before = (stage.cpu(), running.as_ref().map_or(0.0, Running::cpu));
    let (begun, busy) = (Instant::now(), machine::busy()?);
    writers.go()?;
    let wall = writers.done(DEADLINE)?.as_secs_f64();
    let busy = (machine::busy()? - busy) / begun.elapsed().as_secs_f64();
    stage.settle(pid, DEADLINE)?;
    let engine = stage.cpu() - before.0;
    let own = running.as_ref().map_or(0.0, Running::cpu) - before.1;
    let lost = running.as_ref().map(|running| running.lost(&writers)).transpose()?;
    let plain = match running {
        Some(running) if driver == "none" && collector == Collector::AgentJson => {
            let records = running.take_records(writers.lines(), LINE)?;
            drop((running, writers));
            plain_write(stage, load, records)?
        }
        _ => plain::Cpu::default(),
    };
    Ok(Run { wall, busy, engine, collector: own, plain, lost })
}

/// What it takes to write such files and to do nothing else, beside such containers as the agent had beside it: they share caches, memory
/// and perhaps a processor core. Nobody collects what these write.
fn plain_write(stage: &Stage, load: Load, records: plain::Records) -> Result<plain::Cpu> {
    let directory = tempfile::Builder::new().prefix("ct-plain-").tempdir().context("no directory to write to")?;
    let writers = stage.writers(&load.floods(u64::MAX / LINE as u64), "none")?;
    writers.go()?;
    thread::sleep(SETTLE);
    plain::touch(load.bytes * GROWTH)?;
    records.write(directory.path())
}

fn render(page: &mut String, load: Load, rows: &[Row]) {
    let pieces = if load.chunk == LINE { "one line a write" } else { "4 KiB a write" };
    let containers =
        if load.containers == 1 { "one container".to_owned() } else { format!("{} containers", load.containers) };
    let _ = writeln!(
        page,
        "\n## {} MB from {containers}, {pieces}\n\n\
         | log driver | collector | rounds | wall s | × `none` alone | CPUs busy | dockerd s | shims s | collector s | host s | bytes lost |\n\
         |---|---|---|---|---|---|---|---|---|---|---|",
        load.bytes / MB
    );
    let alone = rows.first().map_or(f64::NAN, |row| row.wall);
    for row in rows {
        let lost = row.lost.map_or_else(|| "-".to_owned(), |lost| lost.to_string());
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {lost} |",
            row.driver,
            row.collector.title(),
            load.rounds_of(row.driver),
            row.wall,
            row.wall / alone,
            row.busy,
            row.daemon,
            row.shims,
            row.own,
            row.host(),
        );
    }
}

/// The bars of the first load.
fn verdict(page: &mut String, rows: &[Row]) {
    let find = |driver, collector| rows.iter().find(|row| row.driver == driver && row.collector == collector);
    let (Some(null), Some(encoded), Some(json), Some(follower)) = (
        find("none", Collector::AgentNull),
        find("none", Collector::AgentDefault),
        find("none", Collector::AgentJson),
        find("json-file", Collector::Follower),
    ) else {
        return;
    };
    let gigabytes = 0.2;
    let least = (null.own + json.plain.encode_and_append) / gigabytes;
    let lines = [
        (
            "host CPU, `none` + agent to a JSON file, of `json-file` + follower",
            json.host() / follower.host(),
            1.0 / 9.0,
        ),
        ("agent's CPU to null, s per GB", null.own / gigabytes, 0.7),
        ("agent's CPU to a JSON file, s per GB", json.own / gigabytes, 2.0),
    ];
    let _ = writeln!(page, "\n| | bar | measured | |\n|---|---|---|---|");
    for (what, measured, bar) in lines {
        // As they are printed: 0.14 / 0.2 is a little more than 0.7.
        let thousandths = |figure: f64| (figure * 1e3).round();
        let met = if thousandths(measured) <= thousandths(bar) { "met" } else { "not met" };
        let _ = writeln!(page, "| {what} | ≤ {bar:.2} | {measured:.3} | {met} |");
    }
    let _ = writeln!(
        page,
        "\nOf the agent's CPU to a JSON file, {:.2} s per GB are taken with JSON to null as well. What such a file takes a program that does \
         nothing\nelse, beside such a container that nobody collects from, in memory that a file had a moment before: {:.2} s per GB \
         of lines to append as many\nbytes, {:.2} to look at each line for what would have to be escaped, to copy its record together from \
         it and what is the same for all of them,\nand to append that. With what the agent takes to null, which is to capture, to frame \
         and to hand over, but no further copy, the latter is\n{least:.2}: what an agent would take whose encoder did nothing but look and \
         copy.",
        encoded.own / gigabytes,
        json.plain.append / gigabytes,
        json.plain.encode_and_append / gigabytes,
    );
}
