//! How long a line takes from the write in the kernel to the sink.

#![expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use capture_writers::flood::Flood;

use super::chart::{self, Lines};
use super::load::{Collector, Running, Stage};
use super::{Options, machine};

/// Lines a second.
const RATES: [u64; 3] = [100, 10_000, 100_000];
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];
/// Lines before those that count: the container's name is asked for while they wait.
const WARM_UP: Duration = Duration::from_secs(2);

/// Measures, prints and writes the page.
///
/// # Errors
/// When it cannot be run.
pub(super) fn run(options: Options) -> Result<()> {
    let machine = machine::describe()?;
    let stage = Stage::new()?;
    let length = Duration::from_secs(if options.quick { 5 } else { 30 });
    let mut page = format!(
        "# Latency\n\n{machine} Written by `cargo xtask bench latency`.\n\n\
         From the write in the kernel that completed a line to the hand-over of its record to the sink \
         (`log_capturer_capture_latency_seconds`),\nover {} s; one container, one write a line of 100 bytes, the agent with its \
         defaults, to null. Within a bucket of the histogram\na quantile is interpolated.\n\n\
         | lines/s | p50 ms | p99 ms | p99.9 ms | lines | bytes lost |\n|---|---|---|---|---|---|\n",
        length.as_secs()
    );
    let mut series: Vec<(String, Vec<(f64, f64)>)> =
        QUANTILES.iter().map(|quantile| (format!("p{}", quantile * 100.0), Vec::new())).collect();
    let mut verdict = String::new();
    for (place, rate) in RATES.into_iter().enumerate() {
        eprintln!("bench: {rate} lines/s");
        let (quantiles, lines, lost) = measure(&stage, rate, length)?;
        let [p50, p99, p999] = quantiles.map(|seconds| seconds * 1e3);
        let _ = writeln!(page, "| {rate} | {p50:.2} | {p99:.2} | {p999:.2} | {lines:.0} | {lost} |");
        for ((_, points), quantile) in series.iter_mut().zip([p50, p99, p999]) {
            points.push((place as f64, quantile));
        }
        if rate == 10_000 {
            let met = if p99 <= 5.0 { "met" } else { "not met" };
            verdict = format!(
                "\n| | bar | measured | |\n|---|---|---|---|\n| p99 at {rate} lines/s | ≤ 5 ms | {p99:.2} ms | {met} |\n"
            );
        }
    }
    page.push_str(&verdict);
    println!("{page}");
    let chart = Lines {
        title: "latency at 100, 10 k and 100 k lines/s".to_owned(),
        x: "0: 100, 1: 10 k, 2: 100 k lines/s".to_owned(),
        y: "ms".to_owned(),
        series,
    };
    chart::write_lines("latency", &[chart])?;
    machine::write_page("latency", &page)
}

fn measure(stage: &Stage, rate: u64, length: Duration) -> Result<([f64; 3], f64, u64)> {
    let running = Collector::AgentNull.start(stage, &[])?.context("the agent")?;
    let lines = rate * (length + WARM_UP).as_secs();
    let flood = Flood { name: "paced".to_owned(), lines, length: 100, chunk: 100, rate };
    let writers = stage.writers(&[flood], "none")?;
    writers.go()?;
    std::thread::sleep(WARM_UP);
    let before = buckets(&running)?;
    writers.done(2 * length + WARM_UP)?;
    stage.settle(Some(running.id()), Duration::from_mins(1))?;
    let after = buckets(&running)?;
    let counted: Vec<(f64, f64)> =
        after.iter().zip(&before).map(|((bound, after), (_, before))| (*bound, after - before)).collect();
    let all = counted.last().map_or(0.0, |(_, count)| *count);
    Ok((QUANTILES.map(|quantile| quantile_of(&counted, quantile)), all, running.lost(&writers)?))
}

/// Upper bounds of the histogram in seconds, and how many lines were no slower.
fn buckets(running: &Running) -> Result<Vec<(f64, f64)>> {
    let scrape = running.scrape()?;
    let mut buckets: Vec<(f64, f64)> = scrape
        .by_label("log_capturer_capture_latency_seconds_bucket", "le", |_| true)
        .into_iter()
        .map(|(bound, count)| (if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap_or(f64::NAN) }, count))
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(buckets)
}

/// As `histogram_quantile` of Prometheus does.
fn quantile_of(buckets: &[(f64, f64)], quantile: f64) -> f64 {
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    let rank = quantile * all;
    let mut lower = (0.0, 0.0);
    for &(bound, count) in buckets {
        if count >= rank && count > lower.1 {
            return if bound.is_finite() {
                lower.0 + (bound - lower.0) * (rank - lower.1) / (count - lower.1)
            } else {
                lower.0
            };
        }
        lower = (bound, count);
    }
    f64::NAN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let buckets = [(0.001, 50.0), (0.002, 100.0), (f64::INFINITY, 100.0)];
        assert!((quantile_of(&buckets, 0.5) - 0.001).abs() < 1e-9);
        assert!((quantile_of(&buckets, 0.75) - 0.0015).abs() < 1e-9);
        assert!(quantile_of(&[], 0.5).is_nan());
    }
}
