//! `capture-agent run`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, AgentSettings};
use super::exec;
use super::settings::SettingsArgs;
use super::signals;
use crate::config::reload::{ReloadStats, Reloader};
use crate::config::{Config, Overlay};
use crate::containers::cgroups::CommandCgroup;

/// What the demonstration runs.
const DEMO: &str = "echo 'this line was written to stdout, and captured in the kernel'; \
                    echo 'and this one to stderr' >&2; for n in 1 2 3; do echo \"line $n\"; sleep 0.3; done";

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,

    /// Reload the configuration when its file changes, or a file that it names, as SIGHUP does.
    #[arg(long, env = "CAPTURE_AGENT_WATCH_CONFIG", help_heading = "Configuration")]
    watch_config: bool,

    /// Capture a short command first, so that there is something to see without a container.
    #[arg(long, env = "CAPTURE_AGENT_DEMO")]
    demo: bool,
}

/// Captures until SIGINT or SIGTERM.
pub fn run(args: RunArgs) -> anyhow::Result<u8> {
    let file = args.settings.file();
    let overlay: Box<Overlay> = Box::new(move |config| args.settings.lay_over(config));
    let reloads = Arc::<ReloadStats>::default();
    let reloader = Reloader::new(file, overlay, Arc::clone(&reloads))?;
    let Config { capture, docker, admin, sinks, select, pipeline } = reloader.config().clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        // The one thread stays, so that the number of threads does.
        .thread_keep_alive(Duration::from_hours(24 * 365))
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    let agent = runtime.block_on(async {
        let (shutdown, reload, reopen) = (signals::shutdown()?, signals::reload()?, signals::reopen()?);
        let docker = Some(docker.client());
        let settings =
            AgentSettings { capture, select, pipeline, sinks, admin: Some(admin), docker, reloads, only: None };
        // Where it fails it drops sinks, which may hold a runtime of their own.
        let mut agent = tokio::task::block_in_place(|| settings.build())?;
        tokio::spawn(reloader.run(reload, args.watch_config, agent.apply(), shutdown.clone()));
        let sinks = agent.sinks().clone();
        tokio::spawn(async move {
            loop {
                reopen.notified().await;
                sinks.reopen();
            }
        });
        let demo = args.demo.then(|| demonstrate(&agent, &shutdown));
        agent.run(shutdown).await;
        if let Some(demo) = demo {
            let _ = demo.await;
        }
        anyhow::Ok(agent)
    })?;
    agent.shut_down()?;
    Ok(0)
}

/// Runs the demonstration; what goes wrong with it does not stop the agent.
fn demonstrate(agent: &Agent, shutdown: &CancellationToken) -> tokio::task::JoinHandle<()> {
    let command = ["sh", "-c", DEMO].map(Into::into);
    let (hierarchy, directory) = (agent.hierarchy().clone(), std::sync::Arc::clone(agent.directory()));
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let id = CommandCgroup::random_id();
        let captured = match id {
            Ok(id) => exec::capture(&hierarchy, &directory, &id, "demo", &command, &shutdown).await.map(drop),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = captured {
            tracing::warn!(error = format!("{error:#}"), "the demonstration failed");
        }
    })
}
