//! The command line: arguments become validated settings here, and nowhere else.

mod agent;
mod docker;
mod exec;
mod run;
mod settings;

use clap::{Parser, Subcommand};

pub use agent::{Agent, AgentSettings};

pub use crate::config::units::{Period, PeriodError};

/// Takes container output where it crosses into the kernel.
#[derive(Debug, Parser)]
#[command(name = "capture-agent", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Capture the output of all containers until a signal comes.
    Run(run::RunArgs),
    /// Run a command and capture it like a container; ends with its exit status.
    Exec(exec::ExecArgs),
    /// Move into a cgroup and become a command. What `exec` starts.
    #[command(hide = true)]
    EnterCgroup(exec::EnterArgs),
}

impl Cli {
    /// Does what the arguments say; gives the exit status of the process.
    ///
    /// # Errors
    ///
    /// What stopped it, in one sentence.
    pub fn run(self) -> anyhow::Result<u8> {
        match self.command {
            Command::Run(args) => run::run(args),
            Command::Exec(args) => exec::exec(args),
            Command::EnterCgroup(args) => exec::enter(&args),
        }
    }
}
