//! `capture-agent audit` against real containers: equal where it is, and a difference is told with its place.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use capture_tests::{Agent, Attach, Container, Engine, engine, process, workspace};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(90);

fn audit(engine: &Engine, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(workspace::agent_binary());
    command.args(["audit", "--docker-host", &engine.host()]).args(words);
    process::output(&mut command, DEADLINE)
}

/// Exit code and report of an audit of these containers.
fn report(engine: &Engine, words: &[&str], containers: &[&Container]) -> Result<(i32, Value)> {
    let names = containers.iter().map(|container| container.name());
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).chain(names).collect();
    let output = audit(engine, &words)?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("no report: {complaints}"))?;
    let code = output.status.code().context("it was killed")?;
    ensure!(report["exit_code"] == code, "it ends with {code}, and says {report:#}");
    Ok((code, report))
}

/// What it says of a stream.
fn stream<'a>(report: &'a Value, container: &Container, name: &str) -> Result<&'a Value> {
    let of = |values: &'a Value, key: &str, value: &str| {
        values.as_array().into_iter().flatten().find(|found| found[key] == value)
    };
    let found = of(&report["containers"], "container", container.name());
    let found = found.and_then(|found| of(&found["streams"], "stream", name));
    found.with_context(|| format!("nothing of {name} of {}: {report:#}", container.name()))
}

fn log_of(container: &Container) -> Result<PathBuf> {
    Ok(container.engine().docker(["inspect", "--format", "{{.LogPath}}", container.name()])?.into())
}

#[test]
fn whatever_is_written_is_equal_also_beside_another_agent() -> Result<()> {
    let engine = engine::ensure()?;
    let start = |topic: &str, options: &[&str], script: &str| {
        Container::builder(&engine, topic)?.options(options.iter().copied()).start(&["sh", "-c", script])
    };
    let lines =
        "i=0; while true; do i=$((i+1)); echo line $i; echo; [ $((i % 5)) = 0 ] && echo err $i >&2; usleep 5000; done";
    let two = start("two-streams", &[], lines)?;
    let same = start("same", &[], "while true; do yes | head -n 5000; usleep 100000; done")?;
    let terminal = start("terminal", &["-t"], "i=0; while true; do i=$((i+1)); echo tty $i; usleep 20000; done")?;
    // Entries of 16 KiB, bytes that are no characters, and lines that do not pass write.
    let long = "head -c 100000 /dev/zero | tr '\\0' x > /tmp/x; echo >> /tmp/x; printf 'b\\377\\303d\\n' >> /tmp/x; \
                while true; do cat /tmp/x; printf 'a\\377\\n' >&2; usleep 100000; done";
    let long = start("long", &[], long)?;
    let rotated = start("rotated", &["--log-opt", "max-size=64k", "--log-opt", "max-file=4"], lines)?;
    let ends = start("ends", &[], "sleep 4; printf 'one\\ntwo'")?;
    let all = [&two, &same, &terminal, &long, &rotated, &ends];

    let beside = Agent::start(Attach::Raw, &["--file-path", "/dev/null"])?;
    // Open, so that no file after it gets its inode.
    let first = fs::File::open(log_of(&rotated)?)?;
    let (code, found) = report(&engine, &["--for", "8s"], &all)?;
    ensure!(code == 0, "{found:#}");
    for (container, name, least) in [
        (&two, "stdout", 500),
        (&two, "stderr", 50),
        (&same, "stdout", 50_000),
        (&terminal, "stdout", 100),
        (&long, "stdout", 40),
        (&long, "stderr", 20),
        (&rotated, "stdout", 500),
        (&rotated, "stderr", 50),
        // The second has no newline, and counts as its container has ended.
        (&ends, "stdout", 2),
    ] {
        let found = stream(&found, container, name)?;
        ensure!(found["result"] == "equal", "{found:#}");
        ensure!(found["lines"].as_u64() >= Some(least), "{found:#}");
    }
    ensure!(stream(&found, &same, "stderr")?["result"] == "nothing", "{found:#}");
    ensure!(stream(&found, &long, "stdout")?["bytes"].as_u64() > Some(2_000_000), "{found:#}");
    let now = fs::metadata(log_of(&rotated)?)?;
    ensure!(now.ino() != first.metadata()?.ino(), "not rotated");
    beside.terminate()?;
    Ok(())
}

/// Copies a container's log as it grows, with a mistake in every thousandth line; until dropped.
struct Forger {
    directory: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forger {
    fn start(container: &Container) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let id = container.id();
        let copy = directory.path().join(id).join(format!("{id}-json.log"));
        fs::create_dir(copy.parent().context("no directory")?)?;
        fs::write(&copy, "")?;
        let (source, stop) = (log_of(container)?, Arc::new(AtomicBool::default()));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut copied = 0;
                while !stop.load(Ordering::Relaxed) {
                    let text = fs::read_to_string(&source).unwrap_or_default();
                    // Whole entries only.
                    let end = text.rfind('\n').map_or(0, |newline| newline + 1);
                    if end > copied {
                        Self::append(&copy, &text[copied..end].replace("000 of\\n", "OOO of\\n"));
                        copied = end;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Ok(Self { directory, stop, thread: Some(thread) })
    }

    fn append(copy: &Path, text: &str) {
        use std::io::Write;
        let file = fs::File::options().append(true).open(copy);
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the copy can be written");
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn a_log_that_says_something_else_is_found_out_at_its_place() -> Result<()> {
    let engine = engine::ensure()?;
    let script = "i=100000; while true; do i=$((i+1)); echo line $i of; usleep 1000; done";
    let container = Container::start(&engine, "forged", script)?;
    let forger = Forger::start(&container)?;
    let directory = forger.directory.path().display().to_string();
    let words = ["--for", "5s", "--log-dir", &directory];
    let (code, found) = report(&engine, &words, &[&container])?;
    ensure!(code == 1, "{found:#}");
    let found = stream(&found, &container, "stdout")?;
    let difference = &found["difference"];
    let text = |key: &str| difference[key].as_str().with_context(|| format!("no {key}: {found:#}"));
    let (logged, captured) = (text("log")?, text("captured")?);
    ensure!(captured.ends_with("000 of") && logged == captured.replace("000 of", "OOO of"), "{found:#}");
    let number = |key: &str| difference[key].as_u64().with_context(|| format!("no {key}: {found:#}"));
    // Every line is as long as the others, and this one differs behind `line 123`.
    let length = captured.len() as u64 + 1;
    let (line, column) = (number("line")?, "line 123".len() as u64);
    ensure!((number("column")?, number("offset")?) == (column, (line - 1) * length + column), "{found:#}");
    ensure!((1..=1000).contains(&line) && found["lines"].as_u64() == Some(line - 1), "the first of them: {found:#}");
    let id = container.id();
    let copy = fs::read_to_string(forger.directory.path().join(id).join(format!("{id}-json.log")))?;
    let entry = copy[usize::try_from(number("log_place")?)?..].lines().next().unwrap_or_default();
    ensure!(entry.contains(logged), "{entry}: {found:#}");

    let table = audit(&engine, &["--for", "3s", "--log-dir", &directory, container.name()])?;
    let table = String::from_utf8(table.stdout)?;
    for words in ["differs in line", "    log       line 1", "    captured  line 1", "entry at byte"] {
        ensure!(table.contains(words), "{words}: {table}");
    }
    Ok(())
}

#[test]
fn what_a_ring_that_is_too_small_lost_is_told_at_its_place() -> Result<()> {
    let engine = engine::ensure()?;
    // 80,000 lines of 50 bytes each time, in one write.
    let script = "seq 100000 179999 | sed 's/$/ of a file that is written in one call, 50 /' > /tmp/x; sleep 3; \
                  while true; do echo small; dd if=/tmp/x bs=8M 2>/dev/null; sleep 1; done";
    let container = Container::start(&engine, "small-ring", script)?;
    let (code, found) = report(&engine, &["--for", "6s", "--ring-size", "256KiB"], &[&container])?;
    ensure!(code == 1, "{found:#}");
    let difference = &stream(&found, &container, "stdout")?["difference"];
    // Its own share of the ring was full.
    ensure!(difference["lost_reason"] == "ring_share" && difference["lost_bytes"].as_u64() > Some(0), "{found:#}");
    let number = |key: &str| difference[key].as_u64().with_context(|| format!("no {key}: {found:#}"));
    let (line, offset, column) = (number("line")?, number("offset")?, number("column")?);
    ensure!(line > 1 && offset == "small\n".len() as u64 + (line - 2) * 50 + column, "{found:#}");
    // It began with `small`.
    let expected = format!("{{\"log\":\"{} of a file", 100_000 + line - 2);
    let log = fs::read_to_string(log_of(&container)?)?;
    ensure!(log[usize::try_from(number("log_place")?)?..].starts_with(&expected), "{expected}: {found:#}");
    ensure!(difference["captured"].as_str().is_some_and(|text| text.contains("bytes lost, ring_share>")), "{found:#}");
    Ok(())
}

#[test]
fn where_there_is_no_saying_it_says_why() -> Result<()> {
    let engine = engine::ensure()?;
    let quiet = Container::start(&engine, "quiet", "sleep 600")?;
    let no_log = Container::builder(&engine, "no-log")?;
    let no_log = no_log.options(["--log-driver", "none"]).start(&["sh", "-c", "sleep 600"])?;

    let output = audit(&engine, &["--for", "1s", quiet.name()])?;
    let table = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(2) && table.contains("nothing was compared"), "{table}");

    let (code, found) = report(&engine, &["--for", "1s"], &[&no_log])?;
    ensure!(code == 2 && found.to_string().contains("its log driver is none"), "{found:#}");

    let (code, found) = report(&engine, &["--for", "1s", "--log-dir", "/nowhere"], &[&quiet])?;
    ensure!(code == 2 && found.to_string().contains("--log-dir"), "{found:#}");

    let output = audit(&engine, &["--for", "1s", "no-such-container"])?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && complaints.contains("no container no-such-container"), "{complaints}");

    let mut command = Command::new(workspace::agent_binary());
    command.args(["audit", "--docker-host", "unix:///nowhere.sock", "--for", "1s"]);
    let output = process::output(&mut command, DEADLINE)?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && complaints.contains("/nowhere.sock"), "{complaints}");
    Ok(())
}
