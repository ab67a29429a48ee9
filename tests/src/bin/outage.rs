//! `outage`: what arrives when a destination is away, the agent is killed, or its configuration changes?

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use capture_tests::outage::{self, Buffers, Options, reloads, report};
use clap::Parser;

/// What begins the page.
const INTRODUCTION: &str = "# When a destination is away

Real containers write numbered lines, one `write` each, on a schedule of their own. The agent delivers them to a Loki with
other decoders than its own (`tests/peers/loki.py`), which a front takes away: in the first half of the outage it refuses
connections, in the second it takes them and says nothing. Beside it there is a sink that writes a file. Lines are compared
by (container, number).

What is written while no agent runs cannot be captured. For a `kill -9` under writers who go on, the lines that are missing
are told apart by the time in them, as Docker's own log has it: before the kill (on their way from the ring buffer to the
disk), between the kill and the next agent's readiness, and at any other time. For the second kill the writers hold still,
so that nothing at all may be missing around it.";

/// Takes a destination away under real containers, and holds what arrives against the bars.
///
/// Exit status: 0 all bars met, 1 one is missed, or it could not be run.
#[derive(Parser)]
struct Arguments {
    /// How long the destination is away
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// Containers that write
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    containers: u32,
    /// Lines a second that each of them writes
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// With queues in memory, which overflow, in place of a buffer on disk
    #[arg(long)]
    memory: bool,
    /// In place of an outage: change the configuration so often
    #[arg(long, value_name = "N", conflicts_with_all = ["minutes", "memory"])]
    reloads: Option<u32>,
    /// Where the page goes; from the root of the repository
    #[arg(long, default_value = "docs/results", value_name = "DIR")]
    out: PathBuf,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=10_000.0).contains(&minutes) { Ok(minutes) } else { Err("0.1 to 10000 minutes".to_owned()) }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("outage: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let &Arguments { minutes, containers, rate, memory, reloads, ref out } = arguments;
    let (section, is_met) = if let Some(reloads) = reloads {
        let outcome = reloads::run(reloads::Options { containers, rate, reloads })?;
        (outcome.section(), outcome.is_met())
    } else {
        let outcome = outage::run(&Options {
            containers,
            rate,
            lead_in: Duration::from_secs(10),
            outage: Duration::from_secs_f64(minutes * 60.0),
            // A quarter of a minute of 20 containers at 200 lines a second.
            buffers: if memory { Buffers::Memory(16 << 20) } else { Buffers::Disk },
        })?;
        (report::section(&outcome), outcome.is_met())
    };
    println!("\n{section}");
    let page = out.join("outage.md");
    std::fs::create_dir_all(out)?;
    report::write(&page, INTRODUCTION, &section)?;
    println!("written: {}", page.display());
    Ok(is_met)
}
