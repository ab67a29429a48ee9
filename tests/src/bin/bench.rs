//! `bench`: what capture costs.

use std::process::ExitCode;

use capture_tests::bench::{self, Name, overhead::calls};
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
    /// Measure although others trace system calls too, which makes capture look cheaper; writes no page
    #[arg(long)]
    beside_others: bool,
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
    let Arguments { name, quick, beside_others, inner } = Arguments::parse();
    let options = bench::Options { quick, beside_others };
    let outcome = match inner {
        Some(Inner::Calls(calls)) => calls::run(&calls),
        None => match name {
            Some(name) => name.run(options),
            None => Name::ALL.into_iter().try_for_each(|name| name.run(options)),
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
