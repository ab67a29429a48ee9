//! The way of a line through the agent on one core: the micro-benchmarks of `capture-agent/benches`, as one table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::chart::{self, Bars};
use super::{Options, machine};
use crate::process;
use crate::workspace::target_dir;

const DEADLINE: Duration = Duration::from_mins(30);
/// What the bar is held against.
const GROUP: &str = "lines of 100 B";
const WAY: &str = "framing + json";
/// GB of output a second on one core.
const BAR: f64 = 1.0;

/// Measures, prints and writes the page.
///
/// # Errors
/// When the benchmarks do not build or run.
pub(super) fn run(options: Options) -> Result<()> {
    let machine = machine::describe()?;
    let results = target_dir().join("criterion");
    // What an earlier version measured is not to be in the table.
    let _ = fs::remove_dir_all(&results);
    let quick: &[&str] = if options.quick { &["--", "--quick"] } else { &[] };
    bench("pipeline", quick)?;
    let allocations = bench("allocations", &[])?;
    let figures = read(&results)?;

    let mut page = format!(
        "# Pipeline\n\n{machine} Written by `cargo xtask bench pipeline`.\n\n\
         GB (10⁹ bytes) of container output a second, on one core, through each stage by itself and through framing and JSON encoding \
         together;\nmedians of criterion's samples.\n\n| | stage | GB/s | ns a line |\n|---|---|---|---|\n"
    );
    let mut bars = Bars::new("GB of 100-byte lines a second on one core");
    for ((group, stage), Figure { rate, line }) in &figures {
        let _ = writeln!(page, "| {group} | {stage} | {rate:.2} | {line:.0} |");
        if group == GROUP {
            bars.add(stage, *rate);
        }
    }
    page.push_str(
        "\nAllocations, once the buffers have their size:\n\n| stage | lines | allocations |\n|---|---|---|\n",
    );
    for line in allocations.lines() {
        let _ = writeln!(page, "| {} |", line.replace('\t', " | "));
    }
    let both = figures.get(&(GROUP.to_owned(), WAY.to_owned())).context("no figure of framing and JSON")?;
    let met = if both.rate >= BAR { "met" } else { "not met" };
    let _ = writeln!(
        page,
        "\n| | bar | measured | |\n|---|---|---|---|\n| {GROUP}: {WAY}, one core | ≥ {BAR} GB/s | {:.2} GB/s | {met} |",
        both.rate
    );
    println!("{page}");
    chart::write_bars("pipeline", &bars)?;
    machine::write_page("pipeline", &page)
}

/// Runs one of the agent's benchmarks and gives what it prints.
fn bench(name: &str, arguments: &[&str]) -> Result<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "bench",
        "--quiet",
        "--package",
        "capture-agent",
        "--bench",
        name,
    ]);
    process::text(cargo.args(arguments), DEADLINE).with_context(|| format!("the benchmark `{name}`"))
}

/// What criterion found for one stage.
struct Figure {
    /// GB a second.
    rate: f64,
    /// Nanoseconds of a line.
    line: f64,
}

/// Every figure below criterion's directory, by group and stage.
fn read(results: &Path) -> Result<BTreeMap<(String, String), Figure>> {
    let mut figures = BTreeMap::new();
    for group in fs::read_dir(results).context("criterion has left no figures")?.flatten() {
        for stage in fs::read_dir(group.path()).into_iter().flatten().flatten() {
            let new = stage.path().join("new");
            let (Some(what), Some(estimates)) = (json(&new.join("benchmark.json")), json(&new.join("estimates.json")))
            else {
                continue;
            };
            let (Some(group), Some(function)) = (what["group_id"].as_str(), what["function_id"].as_str()) else {
                continue;
            };
            let time = estimates["median"]["point_estimate"].as_f64();
            let (Some(time), Some(bytes)) = (time, what["throughput"]["Bytes"].as_f64()) else { continue };
            // Groups are named after the length of their lines.
            let length = if group.contains("KiB") { 1024.0 } else { 100.0 };
            let figure = Figure { rate: bytes / time, line: time * length / bytes };
            figures.insert((group.to_owned(), function.to_owned()), figure);
        }
    }
    Ok(figures)
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
