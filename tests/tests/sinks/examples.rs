//! Every example of `docs/configuration.md`, run: the real agent with it, a real container, and the destination.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use capture_tests::agent::Ended;
use capture_tests::peers::Peer;
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine, http};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::kafka::Broker;
use crate::otlp::Receiver;

/// Those that a test below runs.
const RUN: [&str; 5] = ["console", "files", "kafka", "loki", "otlp"];

/// One of the examples, with the places of this test in it.
struct Example {
    directory: TempDir,
    file: PathBuf,
}

impl Example {
    /// `exchanges`: what the example says, and what it is to say here. All of it has to be there.
    fn new(name: &str, exchanges: &[(&str, &str)]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut text = fs::read_to_string(examples().join(format!("{name}.yaml")))?;
        let here = |path: &str| directory.path().join(path).display().to_string();
        let places = [("/var/lib/capture-agent", here("state")), ("/var/log/containers", here("logs"))];
        for (from, to) in places {
            text = text.replace(from, &to);
        }
        for (from, to) in exchanges {
            ensure!(text.contains(from), "{name}.yaml does not say {from}");
            text = text.replace(from, to);
        }
        let file = directory.path().join("config.yaml");
        fs::write(&file, text)?;
        Ok(Self { directory, file })
    }

    fn start(&self) -> Result<Agent> {
        Agent::start(Attach::Raw, &["--config", self.file.to_str().context("a path that is no text")?])
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples")
}

/// A container of the compose project `shop` that writes what the script says, and stays.
fn container(name: &str, script: &str) -> Result<Container> {
    let options = ["--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=web"];
    Container::builder(&engine::ensure()?, name)?.options(options).start(&["sh", "-c", &format!("{script}; sleep 600")])
}

fn end(agent: Agent) -> Result<Ended> {
    let ended = agent.end(Signal::TERM)?;
    ensure!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
    Ok(ended)
}

#[test]
fn each_has_a_test() -> Result<()> {
    let mut names: Vec<_> = fs::read_dir(examples())?
        .map(|entry| Ok(entry?.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    ensure!(names == RUN, "{names:?}");
    Ok(())
}

#[test]
fn console() -> Result<()> {
    let agent = Example::new("console", &[])?.start()?;
    let container = container("example-console", "echo to the terminal")?;
    let line = format!("{} stdout | to the terminal", container.name());
    eventually("the line", DEADLINE, || agent.plain_lines().contains(&line).then_some(()))?;
    end(agent).map(drop)
}

#[test]
fn files() -> Result<()> {
    let example = Example::new("files", &[])?;
    let agent = example.start()?;
    let noisy = ["--label", "com.example.noisy=yes"];
    let noisy = Container::builder(&engine::ensure()?, "example-noisy")?.options(noisy);
    let _noisy = noisy.start(&["sh", "-c", "echo noise >&2; sleep 600"])?;
    let container = container("example-files", "printf 'a\\n\\nb'; echo wrong >&2; printf '\\377\\n'")?;
    let logs = example.directory.path().join("logs");
    let read = |path: PathBuf| fs::read(path).unwrap_or_default();
    eventually("the exact bytes", DEADLINE, || {
        let is_there = read(logs.join(container.name()).join("stdout.log")) == b"a\n\nb\xff\n"
            && read(logs.join(container.name()).join("stderr.log")) == b"wrong\n";
        is_there.then_some(())
    })?;
    let errors = eventually("the errors", DEADLINE, || {
        let errors = String::from_utf8(read(logs.join("errors.jsonl"))).ok()?;
        errors.contains(container.name()).then_some(errors)
    })?;
    let errors: Vec<Value> = errors.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let ours = errors.iter().filter(|error| error["container_name"] == container.name());
    ensure!(ours.map(|error| &error["message"]).eq(["wrong"]), "{errors:?}");
    ensure!(errors.iter().all(|error| error["message"] != "noise" && error["stream"] == "stderr"), "{errors:?}");
    end(agent).map(drop)
}

#[test]
fn loki() -> Result<()> {
    let loki = Peer::start("loki.py", &["--tenants"], 1)?;
    let example = Example::new("loki", &[("http://loki:3100", &format!("http://{}", loki.address()))])?;
    let agent = example.start()?;
    let trace = "java.lang.IllegalStateException: no\\n\\tat a.B.c(B.java:1)\\n\\tat a.B.d(B.java:2)\\n";
    let container = container("example-loki", &format!("printf 'ERROR {trace}'; echo after"))?;
    let entries = eventually("both events", DEADLINE, || {
        let (_, body) = http::get(loki.address(), "/entries").ok()?;
        let streams: Vec<Value> = serde_json::from_str(&body).ok()?;
        let ours = streams.into_iter().find(|stream| stream["labels"]["container"] == container.name())?;
        (ours["entries"].as_array()?.len() >= 2).then_some(ours)
    })?;
    ensure!(entries["tenant"] == "platform" && entries["labels"]["compose_project"] == "shop", "{entries}");
    let first = &entries["entries"][0];
    ensure!(first[1].as_str().is_some_and(|line| line.ends_with("at a.B.d(B.java:2)")), "{entries}");
    ensure!(first[2]["level"] == "error" && first[2]["container_id"] == container.id(), "{entries}");
    ensure!(entries["entries"][1][1] == "after" && first[2]["log_record_uid"].is_string(), "{entries}");
    ensure!(example.directory.path().join("state/buffer/loki").is_dir(), "there is no buffer on disk");
    end(agent).map(drop)
}

#[test]
fn otlp() -> Result<()> {
    let receiver = Receiver::start(&[])?;
    let endpoint = format!("http://{}", receiver.0.addresses[1]);
    let agent = Example::new("otlp", &[("http://otel-collector:4317", &endpoint)])?.start()?;
    let line = r#"{"level":"warn","msg":"paid","card":"4111 1111 1111 1111","auth":"Bearer abc.def"}"#;
    let _container = container("example-otlp", &format!("echo level=debug msg=quiet; echo '{line}'"))?;
    let records = eventually("the record", DEADLINE, || {
        let records = receiver.records().ok()?;
        records.iter().any(|record| record["body"]["string_value"] == "paid").then_some(records)
    })?;
    let record = records.iter().find(|record| record["body"]["string_value"] == "paid").context("it was there")?;
    ensure!(record["severity_text"].as_str().is_some_and(|text| text.eq_ignore_ascii_case("warn")), "{record}");
    let text = record.to_string();
    ensure!(!text.contains("4111") && !text.contains("abc.def") && text.contains("Bearer ***"), "{text}");
    ensure!(text.contains("process.pid") || text.contains("\"pid\""), "nobody wrote it: {text}");
    ensure!(records.iter().all(|record| record["body"]["string_value"] != "quiet"), "below min_level: {records:?}");
    let all = serde_json::to_string(&receiver.received()?)?;
    ensure!(all.contains("deployment.environment.name") && all.contains("production"), "{all}");
    end(agent).map(drop)
}

#[test]
fn kafka() -> Result<()> {
    let broker = Broker::start()?;
    broker.create("logs.shop")?;
    let address = broker.address.to_string();
    let example = Example::new("kafka", &[("kafka-1:9092", &address), ("kafka-2:9092", &address)])?;
    let agent = example.start()?;
    let left_out = Container::builder(&engine::ensure()?, "example-debug")?;
    let left_out = left_out.options(["--label", "com.docker.compose.project=ci"]);
    let _left_out = left_out.start(&["sh", "-c", "echo unwanted; sleep 600"])?;
    let container = container("example-kafka", "seq 1 100")?;
    let messages = broker.consume(100, &["logs.shop"])?;
    ensure!(messages.len() == 100, "{} of 100", messages.len());
    for (number, message) in (1..).zip(&messages) {
        let value: Value = serde_json::from_str(&message.text())?;
        ensure!(value["message"] == format!("{number}") && value["container_name"] == container.name(), "{value}");
        ensure!(message.rest["key"] == container.id(), "{}", message.rest);
    }
    end(agent).map(drop)
}
