//! The command line: arguments become validated settings here, and nowhere else.

mod agent;
mod ask;
mod audit;
mod docker;
mod doctor;
mod exec;
mod flags;
mod handbook;
mod run;
mod settings;
pub mod signals;
mod tail;
mod top;
mod validate;
mod way;

use std::io::{self, Write as _};

use clap::{Parser, Subcommand};

pub use agent::{Agent, AgentSettings};
pub use flags::{Flag, flag_of};

use crate::config;
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
    /// Check the configuration that `run` would have with the same arguments, and say what was checked.
    Validate(validate::ValidateArgs),
    /// Capture for a while and compare with the engine's own json-file logs on disk, byte for byte: exits with 0 if they
    /// are equal, 1 if they differ, 2 if there is no saying.
    Audit(audit::AuditArgs),
    /// Check what this host gives the agent, and say what is missing, what that costs and what to do: exits with 0 if
    /// all is there, 1 if something is missing, 2 if the agent cannot run.
    Doctor(doctor::DoctorArgs),
    /// Print a JSON Schema of the configuration file, for editors and other tools.
    Schema,
    /// Run a command and capture it like a container; ends with its exit status.
    Exec(exec::ExecArgs),
    /// Show what containers write, all at once, as a running agent captures it.
    Tail(tail::TailArgs),
    /// Show the containers of a running agent on this terminal, by what they write.
    Top(top::TopArgs),
    /// Print completions for a shell: bash, zsh or fish.
    Completions(handbook::CompletionsArgs),
    /// Print the man page, or write the pages of all commands into a directory.
    Man(handbook::ManArgs),
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
            Command::Validate(args) => validate::validate(&args),
            Command::Audit(args) => audit::audit(&args),
            Command::Doctor(args) => doctor::doctor(&args),
            Command::Schema => schema(),
            Command::Exec(args) => exec::exec(args),
            Command::Tail(args) => tail::tail(&args),
            Command::Top(args) => top::top(args),
            Command::Completions(args) => handbook::completions(&args),
            Command::Man(args) => handbook::man(&args),
            Command::EnterCgroup(args) => exec::enter(&args),
        }
    }
}

fn schema() -> anyhow::Result<u8> {
    let schema = serde_json::to_string_pretty(&config::schema())?;
    match writeln!(io::stdout(), "{schema}") {
        // Whoever reads it may have seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}
