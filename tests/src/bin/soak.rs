//! `soak`: does the agent stay flat, and lose nothing, for as long as it runs?

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use capture_tests::soak::{self, Options, plot, report};
use clap::Parser;

/// Runs the agent beside real containers with mixed rates and crash loops, and holds its figures against the bars.
///
/// Exit status: 0 all bars met, 1 one is missed, or the soak could not be run.
#[derive(Parser)]
struct Arguments {
    /// Long-lived containers; crash loops come beside them
    #[arg(long, default_value_t = 55, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    containers: u32,
    /// How long
    #[arg(long, default_value_t = 30.0, value_parser = minutes)]
    minutes: f64,
    /// Also collect the old way over the same containers: one log stream of the Docker API each, opened anew every 30 s
    #[arg(long)]
    compare: bool,
    /// Freeze and restart dockerd, kill containers and hammer the admin port on the way
    #[arg(long)]
    faults: bool,
    /// Only stop dockerd (SIGSTOP) in the middle, for so many minutes
    #[arg(long, value_name = "MINUTES", value_parser = minutes)]
    freeze: Option<f64>,
    /// Rotation interval of the agent
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = seconds)]
    rotation_interval: Duration,
    /// Attach mode of the agent
    #[arg(long, default_value = "auto", value_parser = ["auto", "raw", "syscalls"])]
    attach: String,
    /// Where the page, the table of samples and the plot go; from the root of the repository
    #[arg(long, default_value = "docs/results", value_name = "DIR")]
    out: PathBuf,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.25..=10_000.0).contains(&minutes) { Ok(minutes) } else { Err("0.25 to 10000 minutes".to_owned()) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse().map_err(|_| "seconds, as in 30s".to_owned())?;
    if (1..=3600).contains(&seconds) { Ok(Duration::from_secs(seconds)) } else { Err("1s to 3600s".to_owned()) }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    let Arguments { containers, minutes, compare, faults, freeze, rotation_interval, attach, out } = arguments;
    let length = Duration::from_secs_f64(minutes * 60.0);
    let freeze = freeze.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let outcome = soak::run(&Options { containers, length, rotation_interval, compare, faults, freeze, attach })?;
    println!("\n{}\n{}", report::table(&outcome), report::notes(&outcome));
    report::write(&outcome, &out)?;
    let picture = out.join(format!("{}.svg", outcome.options.name()));
    plot::draw(&outcome, &picture)?;
    println!("written: {} and the .md and .csv beside it", picture.display());
    Ok(outcome.is_met())
}
