//! What a configuration says of the delivery to files and to the console, seen where it happens: in the files, on the
//! output, and in the calls that the kernel is asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine};
use tempfile::TempDir;

/// Where the kernel's tracing is mounted; `cargo xtask setup` sees to it.
const TRACING: &str = "/sys/kernel/tracing";

/// How long calls are counted.
const WINDOW: Duration = Duration::from_secs(4);

/// An agent with a configuration. `{}` in it stands for the directory, which is given back.
fn agent_with(sinks: &str) -> Result<(Agent, TempDir)> {
    let directory = tempfile::tempdir()?;
    let place = directory.path().to_str().context("no text")?;
    let file = directory.path().join("config.yaml");
    fs::write(&file, format!("sinks:\n{}", sinks.replace("{}", place)))?;
    let agent = Agent::start(Attach::Raw, &["--config", file.to_str().context("no text")?])?;
    Ok((agent, directory))
}

fn has(path: &Path, what: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.contains(what))
}

#[test]
fn a_batch_to_a_file_or_the_console_waits_as_long_as_it_is_told_to() -> Result<()> {
    let (agent, directory) = agent_with(
        "  soon: {type: file, path: '{}/soon'}\n\
         \x20 late: {type: file, path: '{}/late', batch: {timeout: 6s}}\n\
         \x20 full: {type: file, path: '{}/full', batch: {timeout: 1h, max_records: 2}}\n\
         \x20 printed: {type: console, batch: {timeout: 6s}}\n",
    )?;
    let container = Container::start(&engine::ensure()?, "batched", "echo first; sleep 600")?;
    let file = |name: &str| directory.path().join(name);
    let arrives = |name: &str, what: &str| eventually(name, DEADLINE, || has(&file(name), what).then_some(()));
    arrives("soon", "first")?;
    ensure!(!has(&file("late"), "first") && !has(&file("full"), "first"), "a batch does not wait");
    ensure!(agent.messages_for(container.name()).is_empty(), "the console's batch does not wait");
    arrives("late", "first")?;
    agent.wait_for_message(container.name(), "first")?;
    ensure!(!has(&file("full"), "first"), "a batch does not wait for its second record");
    let second = Container::start(&engine::ensure()?, "batched", "echo second; sleep 600")?;
    arrives("full", "first")?;
    arrives("full", second.name())
}

#[test]
fn a_record_that_no_file_takes_is_where_the_retry_section_says() -> Result<()> {
    let (_agent, directory) =
        agent_with("  blocked: {type: file, path: '{}/{container_name}', retry: {dead_letter_path: '{}/refused'}}\n")?;
    let engine = engine::ensure()?;
    let container = Container::start(&engine, "refused", "sleep 1; while :; do echo here; sleep 0.1; done")?;
    // A directory where its file is to be.
    fs::create_dir(directory.path().join(container.name()))?;
    eventually("the record", DEADLINE, || has(&directory.path().join("refused"), "here").then_some(()))
}

/// Calls of `fdatasync` in an instance of the kernel's tracing; the instance is gone when dropped.
struct Syncs(PathBuf);

impl Syncs {
    fn new() -> Result<Self> {
        let instance = Path::new(TRACING).join(format!("instances/capture-test-{}", std::process::id()));
        fs::create_dir(&instance).with_context(|| format!("{}", instance.display()))?;
        Ok(Self(instance))
    }

    /// How often threads of these names make the call, in a window that may get longer on a busy machine; and how long it was.
    fn count<const N: usize>(&self, agent: &Agent, threads: [&str; N]) -> Result<([usize; N], Duration)> {
        let enable = self.0.join("events/syscalls/sys_enter_fdatasync/enable");
        let begun = Instant::now();
        fs::write(&enable, "1")?;
        thread::sleep(WINDOW);
        fs::write(&enable, "0")?;
        let length = begun.elapsed();
        let trace = fs::read_to_string(self.0.join("trace"))?;
        let mut counts = [0; N];
        for (name, count) in threads.iter().zip(&mut counts) {
            let id = thread_of(agent, name)?;
            let caller = format!("{name}-{id}");
            *count = trace.lines().filter(|line| line.trim_start().starts_with(&caller)).count();
        }
        Ok((counts, length))
    }
}

impl Drop for Syncs {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The id of an agent's thread.
fn thread_of(agent: &Agent, name: &str) -> Result<u32> {
    for task in fs::read_dir(format!("/proc/{}/task", agent.id()))? {
        let task = task?;
        if fs::read_to_string(task.path().join("comm"))?.trim_end() == name {
            return task.file_name().to_str().and_then(|id| id.parse().ok()).context("no number");
        }
    }
    anyhow::bail!("no thread {name}")
}

#[test]
fn a_buffer_on_disk_is_synced_as_often_as_it_is_told_to() -> Result<()> {
    let (agent, directory) = agent_with(
        "  each: {type: file, path: '{}/each.log', buffer: {type: disk, path: '{}/each', fsync_interval: 0s}}\n\
         \x20 half: {type: console, buffer: {type: disk, path: '{}/half', fsync_interval: 500ms}}\n\
         \x20 none: {type: file, path: '{}/none.log', buffer: {type: disk, path: '{}/none', fsync_interval: 1h}}\n",
    )?;
    let script = "while :; do echo line; usleep 20000; done";
    let container = Container::start(&engine::ensure()?, "synced", script)?;
    agent.wait_for_message(container.name(), "line")?;
    for name in ["each", "half", "none"] {
        let files = fs::read_dir(directory.path().join(name)).with_context(|| format!("no buffer of {name}"))?;
        ensure!(files.count() > 0, "{name} holds nothing");
    }
    let ([each, half, none], length) = Syncs::new()?.count(&agent, ["disk-each", "disk-half", "disk-none"])?;
    println!("in {length:?}: {each} for each batch, {half} with 500 ms between, {none} with an hour");
    ensure!(none == 0, "{none} before an hour is over");
    // No more than the window has intervals, and one that had begun before; fewer only by as much as the machine is late.
    let most = usize::try_from(length.as_millis() / 500)? + 1;
    ensure!((4..=most).contains(&half), "{half} in {length:?} at every 500 ms");
    ensure!(each > 2 * half, "{each} for some 200 lines, {half} at every 500 ms");
    Ok(())
}
