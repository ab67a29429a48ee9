//! `capture-agent run`.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, AgentSettings};
use super::exec;
use super::settings::SettingsArgs;
use crate::config::Config;
use crate::containers::cgroups::CommandCgroup;

/// What the demonstration runs.
const DEMO: &str = "echo 'this line was written to stdout, and captured in the kernel'; \
                    echo 'and this one to stderr' >&2; for n in 1 2 3; do echo \"line $n\"; sleep 0.3; done";

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,

    /// Capture a short command first, so that there is something to see without a container.
    #[arg(long, env = "CAPTURE_AGENT_DEMO")]
    demo: bool,
}

/// Captures until SIGINT or SIGTERM.
pub fn run(args: RunArgs) -> anyhow::Result<u8> {
    let settings = args.settings;
    let loaded = settings.file().load(&{
        let settings = settings.clone();
        move |config: &mut Config| settings.lay_over(config)
    })?;
    let Config { capture, docker, admin, sinks } = loaded.config;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        // The one thread stays, so that the number of threads does.
        .thread_keep_alive(Duration::from_hours(24 * 365))
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    let agent = runtime.block_on(async {
        let shutdown = shutdown_on_signals()?;
        let mut agent =
            AgentSettings { capture, sinks, admin: Some(admin), docker: docker.client(), only: None }.build()?;
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

/// A token that the first SIGINT or SIGTERM cancels.
pub fn shutdown_on_signals() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    tokio::spawn({
        let token = token.clone();
        async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(token)
}
