//! What each container more costs: silent ones, so that all there is to see is the agent's own upkeep.

#![expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use capture_writers::flood::Flood;

use super::chart::{self, Lines};
use super::load::{Collector, Running, Stage};
use super::{Options, machine};
use crate::poll::eventually;
use crate::soak::usage::Usage;

const COUNTS: [u32; 6] = [1, 10, 55, 100, 250, 500];
/// Until the agent has found the containers that ran before it, and has come to rest.
const SETTLE: Duration = Duration::from_secs(8);
/// Until the sessions are over in which the containers have written something (`--rotation-interval` is 30 s).
const FALL_SILENT: Duration = Duration::from_secs(36);

/// The agent with so many containers.
struct Row {
    containers: u32,
    usage: Usage,
    tasks: f64,
    /// Resident bytes that are not pages of the ring buffer.
    beyond_ring: u64,
    /// Shares of a core.
    idle: f64,
    wakeups: f64,
    /// CPU seconds of one rotation of one session.
    rotation: f64,
}

/// Measures, prints and writes the page.
///
/// # Errors
/// When the containers do not start, or the agent does not see all of them.
pub(super) fn run(options: Options) -> Result<()> {
    let machine = machine::describe()?;
    let stage = Stage::new()?;
    let (counts, window) = if options.quick { (&COUNTS[..3], 10) } else { (&COUNTS[..], 30) };
    let window = Duration::from_secs(window);
    let mut rows = Vec::new();
    for &containers in counts {
        eprintln!("bench: {containers} containers");
        rows.push(measure(&stage, containers, window)?);
    }
    let page = render(&machine, &rows, window);
    println!("{page}");
    plot(&rows)?;
    machine::write_page("scale", &page)
}

fn measure(stage: &Stage, containers: u32, window: Duration) -> Result<Row> {
    // One line each, and then silence.
    let flood = |number: u32| Flood { name: number.to_string(), lines: 1, length: 100, chunk: 100, rate: 0 };
    let floods: Vec<Flood> = (0..containers).map(flood).collect();
    let running = Collector::AgentNull.start(stage, &[])?.context("the agent")?;
    let writers = stage.writers(&floods, "none")?;
    writers.go()?;
    writers.done(Duration::from_mins(1))?;
    eventually("every container to be captured", Duration::from_mins(1), || {
        (running.lost(&writers).ok()? == 0).then_some(())
    })?;
    thread::sleep(FALL_SILENT);
    let (cpu, switches) = (run_time(running.id())?, switches(running.id())?);
    thread::sleep(window);
    let idle = (run_time(running.id())? - cpu) / window.as_secs_f64();
    let wakeups = (self::switches(running.id())? - switches) / window.as_secs_f64();
    let usage = Usage::of(running.id())?;
    let tasks = running.scrape()?.plain("log_capturer_tasks").context("no count of tasks")?;
    let beyond_ring = beyond_ring(running.id())?;
    drop(running);

    // The same with a rotation each second: what it takes more is what rotations cost.
    let rotating = Collector::AgentNull.start(stage, &["--rotation-interval", "1s"])?.context("the agent")?;
    thread::sleep(SETTLE);
    let cpu = run_time(rotating.id())?;
    let rotations = |running: &Running| {
        let sums = running.scrape()?;
        anyhow::Ok(sums.by_container("log_capturer_stream_rotations_total").values().sum::<f64>())
    };
    let before = rotations(&rotating)?;
    thread::sleep(window);
    let more = (run_time(rotating.id())? - cpu) - idle * window.as_secs_f64();
    let rotated = rotations(&rotating)? - before;
    Ok(Row { containers, usage, tasks, beyond_ring, idle, wakeups, rotation: more.max(0.0) / rotated.max(1.0) })
}

/// CPU seconds of all threads of a process, to the nanosecond (`sched_info` of the kernel's scheduler): a thousandth of a core
/// is one tick in ten seconds, and `utime` counts ticks.
fn run_time(pid: u32) -> Result<f64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).context("the agent is gone")?;
    let nanoseconds = tasks.flatten().map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat"))
            .context("a thread is gone, or the kernel keeps no times")?;
        text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).context("no run time")
    });
    Ok(nanoseconds.sum::<Result<f64>>()? / 1e9)
}

/// Times that a thread of a process went to sleep by itself and was woken.
fn switches(pid: u32) -> Result<f64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).context("the agent is gone")?;
    let of = |status: String| {
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse::<f64>().ok()
    };
    Ok(tasks.flatten().filter_map(|task| of(fs::read_to_string(task.path().join("status")).ok()?)).sum())
}

/// Resident bytes of all mappings but those of BPF maps.
fn beyond_ring(pid: u32) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).context("the agent is gone")?;
    let mut is_map = false;
    let mut kib = 0;
    for line in maps.lines() {
        // A mapping begins with its range of addresses; the other lines begin with a capital.
        if line.starts_with(|first: char| first.is_ascii_digit() || first.is_ascii_lowercase()) {
            is_map = line.contains("bpf-map");
        } else if let Some(value) = line.strip_prefix("Rss:")
            && !is_map
        {
            kib += value.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
        }
    }
    Ok(kib * 1024)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn render(machine: &str, rows: &[Row], window: Duration) -> String {
    let mut page = format!(
        "# Scale\n\n{machine} Written by `cargo xtask bench scale`.\n\n\
         Containers that have written one line and are silent, also since their last rotation; the agent with its defaults, to null. Idle CPU and wake-ups (voluntary\n\
         context switches of all threads) over {} s. The cost of a rotation is what an agent that rotates each second takes more than\n\
         one that rotates every 30 s, by the number of rotations. RSS is without the pages of BPF maps, which belong to the kernel.\n\n\
         | containers | open files | tasks | threads | RSS beyond the ring, MiB | idle CPU, % of a core | wake-ups/s | CPU per rotation, µs |\n\
         |---|---|---|---|---|---|---|---|\n",
        window.as_secs()
    );
    for row in rows {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {:.1} | {:.2} | {:.0} | {:.1} |",
            row.containers,
            row.usage.fds,
            row.tasks,
            row.usage.threads,
            mib(row.beyond_ring),
            row.idle * 100.0,
            row.wakeups,
            row.rotation * 1e6
        );
    }
    let flat = |figure: fn(&Row) -> f64| rows.windows(2).all(|pair| (figure(&pair[0]) - figure(&pair[1])).abs() < 0.5);
    let at = |count: u32| rows.iter().find(|row| row.containers >= count);
    let mut bars = vec![(
        "open files, tasks, threads".to_owned(),
        "constant".to_owned(),
        String::new(),
        flat(|row| row.usage.fds as f64) && flat(|row| row.tasks) && flat(|row| row.usage.threads as f64),
    )];
    // The bars are of 55 and 500 containers; a quick run has no more than 55.
    let many = at(55).or(rows.last());
    for (row, bar) in [(many, 24.0), (at(500), 40.0)] {
        if let Some(row) = row {
            let measured = mib(row.beyond_ring);
            bars.push((
                format!("RSS beyond the ring with {} containers", row.containers),
                format!("≤ {bar} MiB"),
                format!("{measured:.1} MiB"),
                measured <= bar,
            ));
        }
    }
    if let Some(row) = many {
        let measured = row.idle * 100.0;
        let what = format!("idle with {} silent containers", row.containers);
        bars.push((what, "≤ 0.1 % of a core".to_owned(), format!("{measured:.2} %"), measured <= 0.1));
    }
    page.push_str("\n| | bar | measured | |\n|---|---|---|---|\n");
    for (what, bar, measured, met) in bars {
        let _ = writeln!(page, "| {what} | {bar} | {measured} | {} |", if met { "met" } else { "not met" });
    }
    page
}

fn plot(rows: &[Row]) -> Result<()> {
    let chart = |title: &str, y: &str, figure: fn(&Row) -> f64| Lines {
        title: title.to_owned(),
        x: "containers".to_owned(),
        y: y.to_owned(),
        series: vec![(title.to_owned(), rows.iter().map(|row| (f64::from(row.containers), figure(row))).collect())],
    };
    let charts = [
        chart("open files", "", |row| row.usage.fds as f64),
        chart("threads", "", |row| row.usage.threads as f64),
        chart("RSS beyond the ring", "MiB", |row| mib(row.beyond_ring)),
        chart("idle CPU", "% of a core", |row| row.idle * 100.0),
    ];
    chart::write_lines("scale", &charts)
}
