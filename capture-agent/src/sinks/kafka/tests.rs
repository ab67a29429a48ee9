use std::sync::Arc;

use bytes::Bytes;
use capture_common::Stream;

use super::batch::encode;
use super::*;
use crate::config::{Secret, TlsConfig};
use crate::pipeline::record::{Content, Origin};
use crate::sinks::encode::Encoding;

fn config() -> KafkaConfig {
    KafkaConfig::to(vec!["127.0.0.1:1".to_owned()], "logs".to_owned())
}

fn refusal(config: &KafkaConfig) -> String {
    let context = SinkContext { name: "kafka".parse().unwrap(), host: "h1".to_owned() };
    config.build(context).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    assert_eq!(refusal(&config()), "");
    let brokers = |brokers: &[&str]| KafkaConfig {
        brokers: brokers.iter().map(|broker| (*broker).to_owned()).collect(),
        ..config()
    };
    assert!(refusal(&brokers(&[])).contains("brokers is empty"));
    for broker in ["kafka", "kafka:", "kafka:x", ":9092", "http://kafka:9092", "a:1,b:2"] {
        assert!(refusal(&brokers(&[broker])).contains("host:port"), "{broker}");
    }
    assert_eq!(refusal(&brokers(&["kafka:9092", "[::1]:9092"])), "");
    assert!(refusal(&KafkaConfig { topic: "{pid}".to_owned(), ..config() }).contains("{pid}"));
    let tls = |tls| KafkaConfig { tls: Some(tls), ..config() };
    let half = TlsConfig { key_file: Some("/key".into()), ..TlsConfig::default() };
    assert!(refusal(&tls(half)).contains("tls.cert_file"));
    let missing = TlsConfig { ca_file: Some("/nowhere/ca.pem".into()), ..TlsConfig::default() };
    assert!(refusal(&tls(missing)).contains("/nowhere/ca.pem cannot be read"));
    let named = TlsConfig { server_name: Some("a".to_owned()), ..TlsConfig::default() };
    assert!(refusal(&tls(named)).contains("server_name"));
}

#[test]
fn options_cannot_undo_what_is_promised_and_their_values_are_not_shown() {
    let with = |name: &str, value: &str| {
        let options = [(name.to_owned(), Secret::from(value.to_owned()))].into();
        KafkaConfig { options, ..config() }
    };
    assert_eq!(refusal(&with("client.id", "x")), "");
    assert!(refusal(&with("enable.idempotence", "false")).contains("change their order"));
    assert!(refusal(&with("enable.ssl.certificate.verification", "false")).contains("always checked"));
    for (name, value) in [("no.such.property", "hunter2"), ("socket.timeout.ms", "hunter2")] {
        let refusal = refusal(&with(name, value));
        assert!(refusal.contains(name) && !refusal.contains("hunter2"), "{refusal}");
    }
    assert!(!format!("{:?}", with("ssl.key.password", "hunter2")).contains("hunter2"));
}

#[test]
fn a_value_is_the_line_or_what_an_encoder_makes_of_it() {
    let origin = Arc::new(Origin::new("ab".into(), None, Arc::default()));
    let record = |content| Record {
        origin: Arc::clone(&origin),
        stream: Stream::Stdout,
        timestamp: 0,
        completed: 0,
        position: 0,
        content,
        attributes: None,
    };
    let value = |encoding, record: &Record| {
        let mut value = Vec::new();
        let mut encoder = Encoder::new(encoding, "h1".to_owned(), false);
        encode((encoding != Encoding::Raw).then_some(&mut encoder), record, &mut value);
        value
    };
    let message = Bytes::from_static(b"a\xff\0");
    let line = record(Content::Line { message, newline: true, partial: false, omitted: 0 });
    assert_eq!(value(Encoding::Raw, &line), b"a\xff\0");
    assert_eq!(value(Encoding::Text, &line), b"ab stdout | a\xff\0");
    let json: serde_json::Value = serde_json::from_slice(&value(Encoding::Json, &line)).unwrap();
    assert_eq!(json["message"], "a\u{fffd}\0");
    let gap = record(Content::Gap { bytes: 7, reason: None });
    assert!(value(Encoding::Raw, &gap).ends_with(b"several reasons]"));
}
