//! `capture-agent exec`: a command in a cgroup of its own, captured like a container.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::agent::AgentSettings;
use super::settings::{CaptureArgs, SinkArgs};
use super::signals;
use crate::config::Config;
use crate::containers::cgroups::{CommandCgroup, Hierarchy};
use crate::containers::directory::{Directory, Metadata};

/// Exit status of a command that does not exist, as shells have it.
const NOT_FOUND: u8 = 127;

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    #[command(flatten)]
    capture: CaptureArgs,

    #[command(flatten)]
    sink: SinkArgs,

    /// Name that stands in the records; the command's own, if not given.
    #[arg(long, env = "CAPTURE_AGENT_NAME")]
    name: Option<String>,

    /// The command and its arguments.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Arguments of the hidden command that `exec` starts.
#[derive(Debug, Args)]
pub struct EnterArgs {
    #[arg(long)]
    cgroup: PathBuf,

    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Captures one command, and nothing is asked of an engine.
pub fn exec(args: ExecArgs) -> anyhow::Result<u8> {
    let name = args.name.unwrap_or_else(|| {
        Path::new(&args.command[0]).file_name().unwrap_or(&args.command[0]).to_string_lossy().into_owned()
    });
    if !exists(&args.command[0]) {
        eprintln!("capture-agent: {} is not an executable file in PATH; check the name", args.command[0].display());
        return Ok(NOT_FOUND);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    let (agent, status) = runtime.block_on(async {
        let shutdown = signals::shutdown()?;
        let id = CommandCgroup::random_id().context("no random numbers")?;
        let mut config = Config::default();
        args.capture.lay_over(&mut config.capture);
        args.sink.lay_over(&mut config.sinks);
        let agent = AgentSettings {
            capture: config.capture,
            select: config.select,
            pipeline: config.pipeline,
            sinks: config.sinks,
            admin: None,
            docker: None,
            reloads: Arc::default(),
            only: Some(id.clone()),
        }
        .build()?;
        let status = capture(agent.hierarchy(), agent.directory(), &id, &name, &args.command, &shutdown).await?;
        anyhow::Ok((agent, status))
    })?;
    agent.shut_down()?;
    // Like a shell: 128 + the signal that ended it.
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Runs `command` in a cgroup of its own until it ends; cancelled, it is asked to end by SIGTERM.
pub async fn capture(
    hierarchy: &Hierarchy,
    directory: &Directory,
    id: &str,
    name: &str,
    command: &[OsString],
    shutdown: &CancellationToken,
) -> anyhow::Result<ExitStatus> {
    directory.insert(Metadata { id: id.to_owned(), name: name.to_owned(), ..Metadata::default() });
    let cgroup = CommandCgroup::create(hierarchy, id).with_context(|| {
        format!(
            "no cgroup can be made below {}; mount the host's cgroup hierarchy with write access",
            hierarchy.root().display()
        )
    })?;
    let agent = std::env::current_exe().context("the agent's own binary cannot be found; is /proc mounted?")?;
    let mut child = Command::new(agent)
        .arg("enter-cgroup")
        .arg("--cgroup")
        .arg(&cgroup.path)
        .arg("--")
        .args(command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the command cannot be started")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // The relay of this command: what it reads has been captured, so it is dropped.
    let relays = [tokio::spawn(discard(stdout)), tokio::spawn(discard(stderr))];
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    let status = tokio::select! {
        status = child.wait() => status,
        () = shutdown.cancelled() => {
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            child.wait().await
        }
    }
    .context("the command's end cannot be awaited")?;
    // Children that it left behind go with it, as in a container.
    cgroup.remove();
    for relay in relays {
        let _ = relay.await;
    }
    Ok(status)
}

async fn discard(stream: Option<impl tokio::io::AsyncRead + Unpin>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 64 << 10];
    while matches!(stream.read(&mut buffer).await, Ok(length) if length > 0) {}
}

/// Moves this process into a cgroup and becomes the command. A process of its own, because that is what a runtime does:
/// the hook on exec finds the command's streams in place.
pub fn enter(args: &EnterArgs) -> anyhow::Result<u8> {
    std::fs::write(args.cgroup.join("cgroup.procs"), "0").context("the cgroup cannot be entered")?;
    let error = std::process::Command::new(&args.command[0]).args(&args.command[1..]).exec();
    bail!("{} cannot be executed: {error}", args.command[0].display())
}

/// Whether `execvp` will find it.
fn exists(command: &OsString) -> bool {
    let is_executable = |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if command.as_bytes().contains(&b'/') {
        return is_executable(Path::new(command));
    }
    std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|directory| is_executable(&directory.join(command))))
}
