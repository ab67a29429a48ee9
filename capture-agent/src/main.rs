//! The capture-agent binary.

use std::process::ExitCode;

use capture_agent::cli::Cli;
use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    if cfg!(target_feature = "crt-static") {
        capture_agent::resolver::ask_files_and_dns_only();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if !error.use_stderr() {
                // Help and version.
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            eprintln!("capture-agent: {}", one_sentence(&error.to_string()));
            return ExitCode::FAILURE;
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
    match cli.run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("capture-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is wrong with the arguments, and what to do, in one line.
fn one_sentence(message: &str) -> String {
    let lines = message.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let lines: Vec<_> = lines.filter(|line| !line.is_empty() && !line.starts_with("tip:")).collect();
    let text = lines.join(" ");
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    format!("{text}; see `capture-agent --help`")
}
