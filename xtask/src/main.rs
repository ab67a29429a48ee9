//! Developer commands of capture-agent: `cargo xtask setup`, `build`, `run`, `test`, `image`, `deb`, `docs`, `fidelity`,
//! `soak`, `outage`, `bench`.

mod bench;
mod build;
mod deb;
mod demo;
mod docs;
mod fidelity;
mod image;
mod install;
mod outage;
mod peers;
mod program;
mod run;
mod setup;
mod soak;
mod step;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Developer commands of capture-agent.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building, running and testing need and this machine lacks, and say what and why
    Setup(setup::Options),
    /// Build the eBPF object, and the agent that carries it inside
    Build(build::Options),
    /// Build and run the agent; without an engine it starts one with a demo container for as long as it runs
    Run(run::Options),
    /// Build the agent's container image, from nothing, and load it where a Docker engine answers
    Image(image::Options),
    /// Build the Debian package
    Deb(deb::Options),
    /// Compare what the agent captures with Docker's own log, byte for byte, over a corpus of writers
    Fidelity(program::Options),
    /// Run the agent beside containers with mixed rates, crash loops and faults, and hold its figures against the bars
    Soak(program::Options),
    /// Take a destination away, kill the agent or change its configuration under load, and hold what arrives against the bars
    Outage(program::Options),
    /// Measure what capture costs, and write docs/results
    Bench(program::Options),
    /// Write what is made of the code: docs/configuration.md, and with --pictures docs/images
    Docs(docs::Options),
    /// Run the unit tests, then the integration tests against the kernel and a container engine
    Test(test::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup(options) => setup::command(&options),
        Command::Build(options) => build::command(&options).map(|()| ExitCode::SUCCESS),
        Command::Run(options) => run::command(&options),
        Command::Image(options) => image::command(&options),
        Command::Deb(options) => deb::command(&options),
        Command::Fidelity(options) => fidelity::command(&options),
        Command::Soak(options) => soak::command(&options),
        Command::Outage(options) => outage::command(&options),
        Command::Bench(options) => bench::command(&options),
        Command::Docs(options) => docs::command(&options),
        Command::Test(options) => test::command(&options),
    };
    outcome.unwrap_or_else(|error| report(&error))
}

/// One line per failure, its cause behind it: a developer reads a sentence, not a backtrace.
fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// What a subcommand answers: the exit status to pass on, or what went wrong.
type Outcome = Result<ExitCode>;
