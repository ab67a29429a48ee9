//! `capture-agent doctor`.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use clap::Args;

use super::settings::SettingsArgs;
use crate::config::Config;
use crate::doctor::{Check, Host, Report, examine};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    settings: SettingsArgs,

    /// Print JSON, for programs.
    #[arg(long, help_heading = "Report")]
    json: bool,
}

/// Prints what this host gives an agent with these settings: 0 all, 1 something is missing, 2 it cannot run.
pub fn doctor(args: &DoctorArgs) -> anyhow::Result<u8> {
    let (config, configuration) = configuration(&args.settings);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    let survey = runtime.block_on(config.docker.client().survey());
    let mut checks = examine(&Host::this(), &config, &survey);
    checks.push(configuration);
    let report = Report::new(checks);
    let mut out = io::stdout().lock();
    let printed = if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)
    } else {
        let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        report.print(colours, &mut out)
    };
    match printed {
        // Whoever reads it may have seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(report.exit_code),
    }
}

/// What `run` would have with the same arguments. Where it would refuse, the rest is looked at with the defaults.
fn configuration(settings: &SettingsArgs) -> (Config, Check) {
    const ID: &str = "configuration";
    let file = settings.file();
    let overlay = settings.clone();
    match file.load(&move |config: &mut Config| overlay.lay_over(config)) {
        Ok(loaded) => {
            let found = match loaded.file {
                Some(_) => format!("{} has no mistakes", file.path().display()),
                None => format!("there is no {}: defaults, flags and the environment", file.path().display()),
            };
            (loaded.config, Check::ok(ID, found))
        }
        Err(error) => {
            let found = error.to_string().replace('\n', "; ");
            let mut config = Config::default();
            // Its own problems are among those that were just told.
            let _ = settings.lay_over(&mut config);
            (config, Check::failed(ID, found, "correct it; `capture-agent validate` checks its sinks as well"))
        }
    }
}
