//! How much longer containers take that write as fast as they can, with the agent than without.

#![expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]

use std::fmt::Write as _;

use anyhow::Result;

use super::{BUFFERED, Collector, Load, MB, Options, Row, Stage, machine, measure};

const ROWS: [(&str, Collector); 4] = [
    ("none", Collector::Nobody),
    ("none", Collector::AgentNull),
    ("none", Collector::AgentDefault),
    ("none", Collector::AgentJson),
];
const BAR: f64 = 1.15;

/// Measures; a section of the page, and lines for its table of bars.
///
/// # Errors
/// When it cannot be run, or the agent does not come to rest.
pub(super) fn section(stage: &Stage, options: Options) -> Result<(String, String)> {
    let cpus = machine::cpus().len() as f64;
    let load = |megabytes, rounds| Load { bytes: megabytes * MB, containers: 1, chunk: BUFFERED, rounds };
    let loads = if options.quick { vec![load(200, 3)] } else { vec![load(200, 11), load(1000, 5)] };
    let mut page = format!(
        "\n## Wall time of one container, 4 KiB a write, log driver `none`\n\n\
         The last column is what CPU time alone allows: that of the whole host without a collector and the collector's own, \
         shared by\n{cpus} CPUs that are never idle, of the wall time without a collector. It leaves out what the capture of \
         a write costs the writer.\n\n\
         | MB | rounds | collector | wall s | × no collector | CPUs busy | collector s | bytes lost | × at least |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    let mut bars = String::new();
    for load in loads {
        let rows = measure(stage, load, &ROWS)?;
        let Some(alone) = rows.first() else { continue };
        for row in &rows {
            let ratio = row.wall / alone.wall;
            let least = at_least(alone, row, cpus);
            let (title, megabytes) = (row.collector.title(), load.bytes / MB);
            let lost = row.lost.map_or_else(|| "-".to_owned(), |lost| lost.to_string());
            let _ = writeln!(
                page,
                "| {megabytes} | {} | {title} | {:.3} | {ratio:.2} | {:.2} | {:.2} | {lost} | {least:.2} |",
                load.rounds, row.wall, row.busy, row.own,
            );
            if row.collector != Collector::Nobody {
                let outcome = match (ratio <= BAR, least <= BAR) {
                    (true, _) => "met",
                    (false, true) => "not met",
                    (false, false) => "not met, nor could it be with so many CPUs",
                };
                let _ = writeln!(
                    bars,
                    "| wall time of {megabytes} MB, {title}, of that without a collector | ≤ {BAR:.2} | {ratio:.3} | {outcome} |"
                );
            }
        }
    }
    Ok((page, bars))
}

/// The lowest ratio of wall times for which the CPUs have the time.
fn at_least(alone: &Row, row: &Row, cpus: f64) -> f64 {
    ((alone.busy * alone.wall + row.own) / cpus / alone.wall).max(1.0)
}
