//! Streams that are switched to the relay while several processes write, many times over.
//!
//! A stream is switched once in its life, in a microsecond, so one container shows nothing. Here are hundreds: each a
//! cgroup with the name of a container's and a pipe that this process reads, as the runtime's relay does.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::{
    Options,
    accounting::Books,
    compare::{difference_per_writer, only_with},
    judge::Outcome,
    programs,
};
use crate::{Agent, cgroups::Cgroup};

/// Run at a time: more than there are processors, so that writers, switcher and relay take them from one another.
const AT_ONCE: u32 = 4;
/// As much as a runtime's relay reads at once.
const BUFFER: usize = 32 * 1024;
/// How long the agent may take to bring out the rest.
const SETTLING: Duration = Duration::from_secs(6);

/// One that has ended.
struct Ended {
    seed: u32,
    /// What the relay read.
    read: Vec<u8>,
    id: String,
}

/// Runs 1,000 of them (the agent keeps no more series of the dead), or 400. Where a call was overtaken by the switch and its bytes are out of reach, they must be
/// whole lines, and counted as lost to the byte.
pub(super) fn run(options: &Options) -> Result<Outcome> {
    let count = if options.quick { 400 } else { 1000 };
    let writer = programs::writer()?;
    let directory = tempfile::Builder::new().prefix("switched-").tempdir().context("no directory for the output")?;
    let agent = agent(options, &directory)?;
    // Keeps the directory above, which the last one to go would remove.
    let _first = Cgroup::create()?;
    let next = AtomicU32::new(0);
    let ended = thread::scope(|scope| {
        let in_turn = || {
            let seeds = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
            seeds.take_while(|&seed| seed < count).map(|seed| container(&writer, seed)).collect::<Result<Vec<_>>>()
        };
        let starters: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(in_turn)).collect();
        let joined = starters.into_iter().map(|starter| starter.join().unwrap_or_else(|_| bail!("a starter panicked")));
        joined.collect::<Result<Vec<_>>>()
    })?;
    let begun = Instant::now();
    let mut outcome = Outcome::default();
    let (mut incomplete, mut missing) = (0, 0);
    for ended in ended.iter().flatten() {
        let one = judge(directory.path(), ended, begun)?;
        let less = ended.read.len() - one.stdout.min(ended.read.len());
        incomplete += u32::from(less > 0);
        missing += less as u64;
        outcome = outcome.and(one);
    }
    // There are no other containers.
    outcome.books = Books::of_all(&agent.metrics()?, "stdout");
    if outcome.fault.is_none() && outcome.books.lost != missing {
        outcome.fault = Some(format!("{missing} bytes are missing, {} are counted as lost", outcome.books.lost));
    }
    outcome.note = Some(format!("{count} streams, {incomplete} of them without what was overtaken"));
    if options.attach == "syscalls" && outcome.fault.is_some() {
        outcome.limit = Some("calls that move bytes and the relay's reads are watched in raw mode only");
    }
    let end = agent.terminate()?;
    ensure!(end.status.success(), "the agent ended with {}: {}", end.status, end.stderr);
    Ok(outcome)
}

/// Names of containers are nobody's here: no engine knows them.
fn agent(options: &Options, directory: &TempDir) -> Result<Agent> {
    let path = format!("{}/{{container_id}}.{{stream}}", directory.path().display());
    let host = format!("unix://{}/none.sock", directory.path().display());
    let arguments = ["--docker-host", &host, "--file-path", &path, "--file-encoding", "raw", "--gap-marker", ""];
    let side: &[&str] = if options.side == "relay" { &["--side", "relay"] } else { &[] };
    let agent = Agent::spawn(&[&["--attach", &options.attach], side, &arguments[..]].concat())?;
    agent.wait_ready()?;
    Ok(agent)
}

/// Enters a cgroup as a runtime does, executes the writers there, and relays what they write.
fn container(writer: &Path, seed: u32) -> Result<Ended> {
    let cgroup = Cgroup::create()?;
    let (reader, output) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("no pipe")?;
    let enter = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", cgroup.path().display());
    let mut command = Command::new("sh");
    command.args(["-c", &enter, "sh"]).arg(writer).args(["switched", &seed.to_string()]);
    command.stdin(Stdio::null()).stdout::<OwnedFd>(output).stderr(Stdio::null());
    let mut child = command.spawn().context("the writers cannot be started")?;
    // Its end of the pipe.
    drop(command);
    let (mut read, mut reader, mut buffer) = (Vec::new(), File::from(reader), vec![0; BUFFER]);
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            length => read.extend_from_slice(&buffer[..length]),
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "the writers failed with {status}");
    Ok(Ended { seed, read, id: cgroup.id().to_owned() })
}

/// Looks until it is all there, or has had its time since the last one ended.
fn judge(directory: &Path, ended: &Ended, begun: Instant) -> Result<Outcome> {
    let path = directory.join(format!("{}.stdout", ended.id));
    loop {
        let got = std::fs::read(&path).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(error),
        })?;
        if ended.read.len() == got.len() || begun.elapsed() > SETTLING {
            let fault = difference_per_writer(&only_with(&ended.read, &got), &got);
            let fault = fault.map(|fault| format!("seed {}: {fault}", ended.seed));
            return Ok(Outcome { stdout: got.len(), fault, ..Outcome::default() });
        }
        thread::sleep(Duration::from_millis(20));
    }
}
