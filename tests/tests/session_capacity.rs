//! What happens when there are more containers than sessions, and that series of the dead go.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use capture_tests::cgroups::Hierarchy;
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

in_both_attach_modes!(a_container_beyond_the_maximum_waits_for_a_place);
in_both_attach_modes!(a_cgroup_that_an_engine_left_behind_takes_no_place);
in_both_attach_modes!(series_of_containers_that_are_gone_disappear);

const PRINTER: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done";

fn a_container_beyond_the_maximum_waits_for_a_place(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    // There before the agent, and there after it: both ways a container can find no place.
    let first = Container::start(&engine, "first", PRINTER)?;
    let early = Container::start(&engine, "early", PRINTER)?;
    let agent = Agent::start(attach, &["--sessions-max", "1"])?;
    let late = Container::start(&engine, "late", PRINTER)?;
    let is = |metrics: &HashMap<String, f64>, name: &str, value: f64| (metrics[name] - value).abs() < 1e-9;
    let metrics = eventually("two containers to wait", DEADLINE, || {
        let is_told = |now: &HashMap<String, f64>| {
            is(now, "log_capturer_containers_waiting", 2.0) && is(now, "log_capturer_containers_refused_total", 2.0)
        };
        agent.metrics().ok().filter(is_told)
    })
    .with_context(|| format!("the agent said: {}", agent.stderr()))?;
    assert!(is(&metrics, "log_capturer_active_streams", 1.0));
    assert!(is(&metrics, "log_capturer_stream_pool_utilization", 1.0));
    // Which of the two that were there has the place is not for this test to say.
    let is_captured = |container: &Container| !agent.records_of(container.id()).is_empty();
    agent.wait_until("a line of one of them", |records| !records.is_empty())?;
    let (inside, outside) = if is_captured(&first) { (first, early) } else { (early, first) };
    for refused in [&outside, &late] {
        assert!(!is_captured(refused));
        let error =
            format!("log_capturer_stream_errors_total{{error_type=\"refused\",container_id=\"{}\"}}", refused.id());
        assert!(is(&metrics, &error, 1.0));
        assert!(agent.stderr().contains(refused.id()), "{}", agent.stderr());
    }

    drop(inside);
    agent.wait_until("a line of one that waited", |records| {
        [&outside, &late].iter().any(|waited| records.iter().any(|record| record.is_of(waited.id())))
    })?;
    let (inside, outside) = if is_captured(&outside) { (outside, late) } else { (late, outside) };
    drop(inside);
    agent.wait_until("a line of the last one", |records| records.iter().any(|record| record.is_of(outside.id())))?;
    eventually("nobody to wait", DEADLINE, || {
        agent.metrics().ok().filter(|now| now["log_capturer_containers_waiting"].abs() < 0.5)
    })?;
    // From where it was taken in, nothing is missing.
    let numbers: Vec<u64> =
        agent.records_of(outside.id()).iter().filter_map(|record| record.message().parse().ok()).collect();
    let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
    assert_eq!(numbers, expected);
    Ok(())
}

fn a_cgroup_that_an_engine_left_behind_takes_no_place(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let left_over = LeftOver::make()?;
    let agent = Agent::start(attach, &["--sessions-max", "1"])?;
    let container = Container::start(&engine, "captured", PRINTER)?;
    agent.wait_for_message(container.name(), "1")?;
    assert!(agent.metrics()?["log_capturer_containers_waiting"].abs() < 0.5, "{}", agent.stderr());

    // Somebody enters it after all, once the one place is free.
    drop(container);
    eventually("the place to be free", DEADLINE, || {
        agent.metrics().ok().filter(|now| now["log_capturer_active_streams"].abs() < 0.5)
    })?;
    let entered = left_over.run("echo captured")?;
    assert!(entered.status.success());
    agent.wait_until("its line", |records| records.iter().any(|record| record.is_of(&left_over.id())))?;
    assert_eq!(agent.records_of(&left_over.id())[0].message(), "captured");
    Ok(())
}

/// A container's cgroup without a process.
struct LeftOver(PathBuf);

impl LeftOver {
    fn make() -> Result<Self> {
        let id = format!("{:064x}", std::process::id());
        let path = Hierarchy::find()?.root().join("ct-left-over").join(id);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn id(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Enters it as a runtime does, and then executes a command there.
    fn run(&self, command: &str) -> Result<Output> {
        let enter = format!("echo $$ >{}/cgroup.procs && exec sh -c '{command}'", self.0.display());
        Ok(Command::new("sh").args(["-c", &enter]).output()?)
    }
}

impl Drop for LeftOver {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
        let _ = self.0.parent().map(fs::remove_dir);
    }
}

fn series_of_containers_that_are_gone_disappear(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let state = tempfile::tempdir()?;
    let directory = state.path().display().to_string();
    let agent =
        Agent::start(attach, &["--metrics-grace", "2s", "--rotation-interval", "1s", "--state-dir", &directory])?;
    let stays = Container::start(&engine, "stays", PRINTER)?;
    let mut names = Vec::new();
    for _ in 0..10 {
        names.push(Container::builder(&engine, "goes")?.run(&["sh", "-c", "echo short"])?);
    }
    let gone = names.last().map_or("", String::as_str);
    agent.wait_for_message(gone, "short")?;
    let series_of = |name: &str| {
        let metrics = agent.metrics()?;
        anyhow::Ok(metrics.keys().filter(|series| series.contains(name)).count())
    };
    let label = |name: &str| format!("container_name=\"{name}\"");
    eventually("the series of the dead to go", DEADLINE, || {
        names.iter().all(|name| series_of(&label(name)).is_ok_and(|count| count == 0)).then_some(())
    })?;
    assert!(series_of(&label(stays.name()))? > 0);
    eventually("their states to go", DEADLINE, || {
        let files = std::fs::read_dir(state.path()).ok()?.filter_map(Result::ok);
        let states: Vec<_> = files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
        let is_there = |name: &str| states.iter().any(|state| state.contains(name));
        (is_there(stays.name()) && !names.iter().any(|name| is_there(name))).then_some(())
    })
}
