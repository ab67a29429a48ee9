//! `bench`: what capture costs.

use std::process::ExitCode;

use capture_tests::bench::{Name, overhead::calls};
use clap::{Parser, Subcommand};

/// Measures what capture costs and writes `docs/results/<name>.md`.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Only this one; all if none is named
    name: Option<Name>,
    /// A first look: fewer rounds
    #[arg(long)]
    quick: bool,
    #[command(subcommand)]
    inner: Option<Inner>,
}

#[derive(Subcommand)]
enum Inner {
    /// The measured program of `overhead`
    #[command(hide = true)]
    Calls(calls::Options),
}

fn main() -> ExitCode {
    let Arguments { name, quick, inner } = Arguments::parse();
    let outcome = match inner {
        Some(Inner::Calls(options)) => calls::run(&options),
        None => match name {
            Some(name) => name.run(quick),
            None => Name::ALL.into_iter().try_for_each(|name| name.run(quick)),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
