//! `cargo xtask run`: the agent from its sources, with something to capture.
//!
//! Standard output is the agent's. Everything that is said here goes to standard error.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::thread;

use anyhow::{Context, Result};
use capture_tests::daemon::answers;
use capture_tests::engine::DEFAULT_SOCKET;
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use crate::demo::Demo;
use crate::setup::{self, Need};
use crate::workspace::{self, find_program};
use crate::{Outcome, build};

/// Options of `cargo xtask run`.
#[derive(Args)]
pub struct Options {
    /// Build the agent without optimisation
    #[arg(long)]
    debug: bool,
    /// Without an engine on the machine, neither install nor start one
    #[arg(long)]
    no_engine: bool,
    /// What the agent is told: flags of its `run`, or a subcommand such as `exec -- CMD ARG…`
    #[arg(last = true, value_name = "AGENT ARGS")]
    agent: Vec<OsString>,
}

/// Builds the agent, runs it, and exits as it does.
pub fn command(options: &Options) -> Outcome {
    setup::ensure(&[Need::Bpf])?;
    build::object()?;
    let binary = build::agent(!options.debug)?;

    let mut agent = Command::new(binary);
    // A trial leaves nothing outside the target directory, and does not meet an agent that is installed.
    if std::env::var_os("CAPTURE_AGENT_STATE_DIR").is_none() {
        agent.env("CAPTURE_AGENT_STATE_DIR", workspace::target_dir().join("xtask/state"));
    }
    let is_run = options.agent.first().is_none_or(|word| word.to_string_lossy().starts_with('-'));
    let asks = options.agent.iter().any(|word| ["-h", "--help", "-V", "--version"].iter().any(|flag| word == flag));
    if is_run {
        agent.arg("run");
    }
    agent.args(&options.agent);
    if !is_run || asks {
        return Running::start(&mut agent)?.wait();
    }

    let socket = docker_socket(&options.agent);
    if socket.as_ref().is_none_or(|socket| answers(socket)) {
        return Running::start(&mut agent)?.wait();
    }
    let is_default = socket.as_ref().is_some_and(|socket| socket.as_os_str() == DEFAULT_SOCKET);
    let may_start = is_default && !options.no_engine && workspace::is_root();
    let can_install = find_program("apt-get").is_some();
    let starts = may_start && (find_program("dockerd").is_some() || can_install);
    eprintln!("{}", announcement(&socket.unwrap_or_default(), starts));
    if starts && let Err(error) = setup::ensure(&[Need::Engine]) {
        eprintln!("no engine: {error:#}");
    }
    let running = Running::start(agent.arg("--demo"))?;
    // The agent is there first: a container that starts later is the more interesting one.
    let demo = if starts && find_program("dockerd").is_some() { Demo::start() } else { Ok(None) };
    let demo = demo.unwrap_or_else(|error| {
        eprintln!("no demo container: {error:#}");
        None
    });
    let outcome = running.wait();
    drop(demo);
    outcome
}

fn announcement(socket: &Path, starts: bool) -> String {
    let then = if starts {
        "a demo command is captured, and an engine with a demo container started until this run ends"
    } else {
        "a demo command is captured, and containers as soon as an engine answers"
    };
    format!("no container engine answers on {}: {then}", socket.display())
}

/// The socket that the agent will ask; `None` where it is told an address that is no socket of this machine.
fn docker_socket(arguments: &[OsString]) -> Option<PathBuf> {
    let mut words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
    let mut host = None;
    while let Some(word) = words.next() {
        if word == "--docker-host" {
            host = words.next();
        } else if let Some(value) = word.strip_prefix("--docker-host=") {
            host = Some(value.to_owned());
        }
    }
    match host {
        None => Some(PathBuf::from(DEFAULT_SOCKET)),
        Some(host) => host.strip_prefix("unix://").map(PathBuf::from),
    }
}

/// The agent as a child that gets the signals this process gets.
struct Running {
    child: std::process::Child,
}

impl Running {
    fn start(agent: &mut Command) -> Result<Self> {
        // From here on a signal must not end this process before the agent, whose end is followed by a clean-up.
        let signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be watched")?;
        let child = agent.spawn().with_context(|| format!("{} cannot be started", agent.get_program().display()))?;
        let pid = Pid::from_raw(child.id().cast_signed()).context("the agent has no process id")?;
        thread::spawn(move || pass_on(signals, pid));
        Ok(Self { child })
    }

    fn wait(mut self) -> Outcome {
        let status = self.child.wait().context("the agent cannot be waited for")?;
        Ok(exit_code(status))
    }
}

/// Ctrl-C reaches the agent by itself, as it is in the terminal's foreground group; what somebody sent does not.
fn pass_on(mut signals: SignalsInfo<WithOrigin>, agent: Pid) {
    for origin in &mut signals {
        if is_from_terminal(&origin) {
            continue;
        }
        if let Some(signal) = Signal::from_named_raw(origin.signal) {
            // The agent may have ended in between.
            let _ = kill_process(agent, signal);
        }
    }
}

fn is_from_terminal(origin: &Origin) -> bool {
    matches!(origin.cause, Cause::Kernel)
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
