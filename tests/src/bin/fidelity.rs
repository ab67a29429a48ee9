//! `fidelity`: is what the agent captures byte for byte what Docker's own log has?

use std::process::ExitCode;

use capture_tests::fidelity;
use clap::Parser;

/// Runs every kind of writer in real containers and compares the agent's files with Docker's own logs.
///
/// Exit status: 0 all identical or a stated limit, 1 a difference, or the corpus could not be run.
#[derive(Parser)]
struct Arguments {
    /// 50 instead of 1,000 short-lived containers
    #[arg(long)]
    quick: bool,
    /// Only cases whose name contains this; may be given more than once
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Attach mode of the agent
    #[arg(long, default_value = "auto", value_parser = ["auto", "raw", "syscalls"])]
    attach: String,
    /// Where the agent takes the bytes
    #[arg(long, default_value = "write", value_parser = ["write", "relay"])]
    side: String,
    /// How often the whole corpus runs
    #[arg(long, default_value_t = 1, value_name = "N")]
    repeat: u32,
    /// Also collect the old way, over the Docker API, and show what it got
    #[arg(long)]
    baseline: bool,
}

fn main() -> ExitCode {
    let Arguments { quick, only, attach, side, repeat, baseline } = Arguments::parse();
    match fidelity::run(&fidelity::Options { quick, only, attach, side, repeat, baseline }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fidelity: {error:#}");
            ExitCode::FAILURE
        }
    }
}
