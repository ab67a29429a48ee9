//! `cargo xtask test`: unit tests, then the real agent against real containers.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use capture_tests::{engine, image};
use clap::Args;

use crate::setup::{self, Need};
use crate::{Outcome, build, workspace};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// What the test binaries reported.
#[derive(Default)]
struct Totals {
    passed: u64,
    failed: u64,
}

/// Runs all tests; the last line of the output is the sum over them.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[
        Need::Bpf,
        Need::Browser,
        Need::Engine,
        Need::Packages,
        Need::Pages,
        Need::Peers,
        Need::Prometheus,
    ])?;
    build::object()?;
    build::agent(true)?;
    // Started once here, so that not every test binary starts and stops one of its own.
    let engine = engine::start_default()?;
    image::busybox(&engine)?;

    let mut totals = Totals::default();
    let filter = options.filter.as_deref();
    cargo_test(&mut totals, "unit tests", &["--workspace", "--exclude", "capture-tests"], filter, &[])?;
    // They share one kernel and one engine: a noisy test beside a quiet one would only make failures hard to read.
    cargo_test(&mut totals, "integration tests", &["--package", "capture-tests"], filter, &["--test-threads=1"])?;
    drop(engine);

    println!("{} passed, {} failed", totals.passed, totals.failed);
    Ok(if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs `cargo test`, passes its output through, and adds up what the binaries report.
fn cargo_test(
    totals: &mut Totals,
    title: &str,
    selection: &[&str],
    filter: Option<&str>,
    harness: &[&str],
) -> Result<()> {
    let begun = Instant::now();
    eprintln!("== {title}");
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--no-fail-fast"]).args(selection).arg("--").args(harness).args(filter);
    let failed_before = totals.failed;
    let succeeded = count(totals, &mut cargo)?;
    if !succeeded && totals.failed == failed_before {
        // Something did not compile, or a test binary died without a report: that is a failure all the same.
        totals.failed += 1;
    }
    eprintln!("== {title}: {} s", begun.elapsed().as_secs());
    Ok(())
}

fn count(totals: &mut Totals, cargo: &mut Command) -> Result<bool> {
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cargo test cannot be started")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("the output of cargo test cannot be read")?;
        let text = String::from_utf8_lossy(&line);
        println!("{text}");
        if let Some(report) = text.strip_prefix("test result: ") {
            totals.passed += number_before(report, " passed");
            totals.failed += number_before(report, " failed");
        }
    }
    Ok(child.wait().context("cargo test cannot be waited for")?.success())
}

/// The number that stands before `word` in `ok. 3 passed; 0 failed; …`.
fn number_before(report: &str, word: &str) -> u64 {
    let before = report.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn a_report_is_read() {
        let report = "FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(number_before(report, " passed"), 12);
        assert_eq!(number_before(report, " failed"), 3);
    }
}
