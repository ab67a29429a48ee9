//! Clusters that fall ill, by librdkafka's mock of one; what it has is read by a client that is all Python.

use std::fs;

use anyhow::{Context, Result, ensure};
use capture_agent::config::units::Period;
use capture_agent::sinks::delivery::{Refused, Sink, SinkError};
use capture_agent::sinks::encode::Encoding;
use capture_agent::sinks::kafka::KafkaConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::kafka::{Message, build, consume};
use crate::records::Source;

type Mock = MockCluster<'static, DefaultProducerContext>;

fn mock(brokers: i32, topic: &str) -> Result<(Mock, KafkaConfig)> {
    let cluster = MockCluster::new(brokers)?;
    cluster.create_topic(topic, 3, 1)?;
    let servers = cluster.bootstrap_servers().split(',').map(str::to_owned).collect();
    let config = KafkaConfig {
        timeout: Period::seconds(10),
        encoding: Encoding::Raw,
        ..KafkaConfig::to(servers, topic.to_owned())
    };
    Ok((cluster, config))
}

#[test]
fn what_a_broker_finds_too_large_together_is_sent_one_by_one() -> Result<()> {
    let (cluster, config) = mock(1, "logs")?;
    let mut sink = build(&config)?;
    sink.write(&Source::new("web").lines(1))?;
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let receipt = sink.write(&Source::new("web").lines(20))?;
    ensure!(receipt.refused.is_empty(), "{receipt:?}");
    let values = consume(&cluster.bootstrap_servers(), 21, &["logs"])?;
    ensure!(values.len() == 21, "{} of 21", values.len());
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 2]);
    let receipt = sink.write(&Source::new("web").lines(1))?;
    ensure!(receipt.refused == [Refused { index: 0, reason: "too_large" }], "{receipt:?}");
    Ok(())
}

#[test]
fn what_passes_by_itself_is_not_even_told_and_nothing_is_doubled() -> Result<()> {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as FewReplicas, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as NotLeader,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as TimedOut,
    };
    let (cluster, config) = mock(3, "logs")?;
    let mut sink = build(&config)?;
    let mut web = Source::new("web");
    cluster.request_errors(RDKafkaApiKey::Produce, &[NotLeader, FewReplicas, TimedOut]);
    for _ in 0..5 {
        ensure!(sink.write(&web.lines(10))?.refused.is_empty());
    }
    let values: Vec<_> = consume(&cluster.bootstrap_servers(), 50, &["logs"])?.iter().map(Message::text).collect();
    let expected: Vec<_> = (0..5).flat_map(|_| (0..10).map(|n| format!("web {n}"))).collect();
    ensure!(values == expected, "{values:?}");
    Ok(())
}

#[test]
fn what_is_about_the_record_is_refused_and_what_is_about_rights_is_left() -> Result<()> {
    let (cluster, config) = mock(1, "logs")?;
    let mut sink = build(&config)?;
    sink.write(&Source::new("web").lines(1))?;
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    let receipt = sink.write(&Source::new("web").lines(1))?;
    ensure!(receipt.refused == [Refused { index: 0, reason: "invalid_record" }], "{receipt:?}");
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let outcome = sink.write(&Source::new("web").lines(1));
    ensure!(matches!(&outcome, Err(SinkError::Retry { .. })), "{outcome:?}");
    sink.write(&Source::new("web").lines(1)).context("it does not go on")?;
    Ok(())
}

#[test]
fn threads_and_descriptors_do_not_grow_with_containers() -> Result<()> {
    let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).map(Iterator::count);
    let (_cluster, config) = mock(3, "logs")?;
    let before = count("task")?;
    let mut sink = build(&config)?;
    let mut sources: Vec<Source> = (0..300).map(|number| Source::new(&format!("c{number}"))).collect();
    let mut write = |sources: &mut [Source]| -> Result<()> {
        let records: Vec<_> = sources.iter_mut().flat_map(|source| source.lines(5)).collect();
        Ok(sink.write(&records).map(drop)?)
    };
    // Enough containers to have met each of the three partitions, whose leaders are three brokers.
    write(&mut sources[..20])?;
    let (threads, descriptors) = (count("task")?, count("fd")?);
    write(&mut sources)?;
    write(&mut sources)?;
    ensure!(
        count("task")? <= threads && count("fd")? <= descriptors + 1,
        "{threads} → {} threads, {descriptors} → {} descriptors",
        count("task")?,
        count("fd")?
    );
    println!("{} threads for three brokers", threads - before);
    // Its own, three brokers, and three addresses of brokers at the most.
    ensure!(threads - before <= 8, "{} threads for three brokers", threads - before);
    Ok(())
}
