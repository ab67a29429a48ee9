use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use capture_common::Stream;
use serde_json::json;

use super::record::{Content, DropKind, Level, Origin};
use super::*;
use crate::containers::directory::Metadata;

fn origin(id: &str) -> Arc<Origin> {
    let metadata = Metadata { id: id.to_owned(), name: id.to_owned(), image: String::new(), labels: BTreeMap::new() };
    Arc::new(Origin::new(id.into(), Some(Arc::new(metadata)), Arc::default()))
}

fn line(origin: &Arc<Origin>, time: u64, text: &str) -> Record {
    Record {
        origin: Arc::clone(origin),
        stream: Stream::Stdout,
        timestamp: time.cast_signed(),
        completed: time,
        position: 0,
        content: Content::Line {
            message: Bytes::copy_from_slice(text.as_bytes()),
            newline: true,
            partial: false,
            omitted: 0,
        },
        attributes: None,
    }
}

fn pipeline(config: serde_json::Value) -> Pipeline {
    serde_json::from_value::<PipelineConfig>(config).unwrap().build().unwrap()
}

fn text(record: &Record) -> String {
    match &record.content {
        Content::Line { message, .. } => String::from_utf8(message.to_vec()).unwrap(),
        Content::Lines { .. } => unreachable!("they are taken apart"),
        Content::Gap { bytes, reason } => format!("[{bytes} {}]", reason.unwrap_or_default()),
    }
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(text).collect()
}

#[test]
fn lines_of_one_write_are_taken_apart_for_a_stage_only() {
    let (origin, now) = (origin("a"), Instant::now());
    let together = Record {
        content: Content::Lines { data: Bytes::from_static(b"ERROR a\n\nWARN b\n"), count: 3 },
        position: 7,
        ..line(&origin, 1, "")
    };
    let mut out = Vec::new();
    pipeline(json!({"detect_level": true})).process(vec![together.clone()], now, &mut out);
    assert_eq!(texts(&out), ["ERROR a", "", "WARN b"]);
    let levels: Vec<_> = out.iter().map(|record| record.attributes.as_ref().and_then(|found| found.level)).collect();
    assert_eq!(levels, [Some(Level::Error), None, Some(Level::Warn)]);
    assert_eq!(out.iter().map(|record| record.position).collect::<Vec<_>>(), [7, 15, 16]);
    assert_eq!(out.iter().map(Record::stream_bytes).sum::<u64>(), together.stream_bytes());

    let mut out = Vec::new();
    pipeline(json!({})).process(vec![together.clone()], now, &mut out);
    assert_eq!(out[0].content, together.content);
}

#[test]
fn without_anything_asked_for_the_records_are_not_touched() {
    let (mut pipeline, origin, now) = (pipeline(json!({})), origin("a"), Instant::now());
    let records = vec![line(&origin, 1, "ERROR a"), line(&origin, 2, " b")];
    let (address, mut out) = (records.as_ptr(), Vec::new());
    pipeline.process(records, now, &mut out);
    assert_eq!(out.as_ptr(), address, "they are where they were");
    pipeline.process(vec![line(&origin, 3, "c")], now, &mut out);
    assert_eq!(texts(&out), ["ERROR a", " b", "c"]);
    assert!(out.iter().all(|record| record.attributes.is_none()));
    pipeline.tick(now, &mut out);
    pipeline.forget("a", now, &mut out);
    pipeline.finish(now, &mut out);
    assert_eq!((out.len(), pipeline.next_deadline()), (3, None));
}

#[test]
fn the_stages_follow_each_other() {
    let config = json!({
        "rate_limit": {"lines_per_second": 1, "burst": 4},
        "multiline": {"preset": "indentation"},
        "parse": ["json"],
        "detect_level": true,
        "redact": [{"pattern": "secret"}, {"pattern": "redacted", "replacement": "gone"}],
    });
    let (mut pipeline, origin, now, mut out) = (pipeline(config), origin("a"), Instant::now(), Vec::new());
    let lines =
        ["{\"level\":\"warn\",", " \"msg\":\"a s\\u0065cret\"}", "ERROR secret", "plain", " dropped", "dropped"];
    let records = lines.into_iter().map(|text| line(&origin, 1, text)).collect();
    pipeline.process(records, now, &mut out);
    pipeline.finish(now, &mut out);
    assert_eq!(
        texts(&out),
        ["{\"level\":\"warn\",\n \"msg\":\"a s\\u0065cret\"}", "ERROR [gone]", "plain", "[17 rate_limit]"]
    );
    let attributes: Vec<_> = out.iter().map(|record| record.attributes.as_deref()).collect();
    let first = attributes[0].unwrap();
    assert_eq!((first.level, first.message()), (Some(Level::Warn), Some("a [gone]")));
    assert_eq!(attributes[1].unwrap().level, Some(Level::Error));
    assert!(attributes[2].is_none() && attributes[3].is_none());
    let written: u64 = lines.iter().map(|line| line.len() as u64 + 1).sum();
    let passed: u64 = out.iter().map(Record::stream_bytes).sum();
    assert_eq!(passed + origin.account.streams[0].dropped[DropKind::RateLimit as usize].load(Relaxed), written);
}

#[test]
fn what_is_held_comes_at_its_deadline_and_is_read_too() {
    let config = json!({
        "rate_limit": {"lines_per_second": 1}, "multiline": {"preset": "indentation", "timeout": "300ms"}, "detect_level": true,
    });
    let (mut pipeline, origin, now, mut out) = (pipeline(config), origin("a"), Instant::now(), Vec::new());
    pipeline.process(vec![line(&origin, 1, "ERROR a"), line(&origin, 1, "b")], now, &mut out);
    assert!(out.is_empty());
    assert_eq!(pipeline.next_deadline(), Some(now + Duration::from_millis(300)));
    pipeline.tick(now + Duration::from_millis(300), &mut out);
    assert_eq!(texts(&out), ["ERROR a"]);
    assert_eq!(out[0].attributes.as_ref().unwrap().level, Some(Level::Error));
    assert_eq!(pipeline.next_deadline(), Some(now + Duration::from_secs(1)));
    pipeline.tick(now + Duration::from_secs(1), &mut out);
    assert_eq!(texts(&out)[1..], ["[2 rate_limit]"]);
    assert_eq!(pipeline.next_deadline(), None);
}

#[test]
fn a_mark_ends_the_event_before_it() {
    let config = json!({"rate_limit": {"lines_per_second": 1, "burst": 2}, "multiline": {"preset": "indentation"}});
    let (mut pipeline, origin, now, mut out) = (pipeline(config), origin("a"), Instant::now(), Vec::new());
    pipeline.process(["a", " b", " c"].map(|text| line(&origin, 1, text)).into(), now, &mut out);
    pipeline.forget("a", now, &mut out);
    assert_eq!(texts(&out), ["a\n b", "[3 rate_limit]"]);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let told = |config: serde_json::Value| {
        serde_json::from_value::<PipelineConfig>(config).unwrap().build().unwrap_err().to_string()
    };
    assert!(told(json!({"multiline": {"start_pattern": "("}})).starts_with("multiline: start_pattern: "));
    assert_eq!(told(json!({"redact": [{"preset": "email"}, {}]})), "redact[1]: give either `pattern` or `preset`");
    for wrong in [
        json!({"rate_limit": {}}),
        json!({"rate_limit": {"lines_per_second": 0}}),
        json!({"rate_limit": {"lines_per_second": 1, "burst": 0}}),
        json!({"parse": ["xml"]}),
        json!({"colour": true}),
    ] {
        assert!(serde_json::from_value::<PipelineConfig>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn a_configuration_reads_what_it_writes() {
    let config = json!({
        "rate_limit": {"lines_per_second": 7, "burst": 9},
        "multiline": {"start_pattern": "^x", "timeout": "2s", "max_bytes": "64KiB"},
        "parse": ["json", "logfmt"], "detect_level": true, "redact": [{"preset": "credit_card"}], "writer": true,
    });
    let config: PipelineConfig = serde_json::from_value(config).unwrap();
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!(serde_json::from_value::<PipelineConfig>(written).unwrap(), config);
    let schema = serde_json::to_value(schemars::schema_for!(PipelineConfig)).unwrap();
    let names: Vec<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["detect_level", "multiline", "parse", "rate_limit", "redact", "writer"]);
}
