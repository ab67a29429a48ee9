use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use capture_common::Stream;

use super::encode::Batcher;
use super::labels::Labels;
use super::push::PushRequest;
use super::refusals;
use super::*;
use crate::config::SinkContext;
use crate::containers::directory::Metadata;
use crate::pipeline::record::{Attributes, Content, Level, Origin, Writer};
use crate::sinks::encode::{Encoder, Encoding};

const NOW: i64 = 1_700_000_000_000_000_000;

fn origin(name: &str) -> Arc<Origin> {
    let metadata = Metadata { id: "ab".repeat(32), name: name.to_owned(), ..Metadata::default() };
    Arc::new(Origin::new("ab".repeat(32).into(), Some(Arc::new(metadata)), Arc::default()))
}

fn record(origin: &Arc<Origin>, timestamp: i64, content: Content) -> Record {
    Record {
        origin: Arc::clone(origin),
        stream: Stream::Stdout,
        timestamp,
        completed: 0,
        position: 0,
        content,
        attributes: None,
    }
}

fn line(origin: &Arc<Origin>, timestamp: i64, message: &'static [u8]) -> Record {
    let message = Bytes::from_static(message);
    record(origin, timestamp, Content::Line { message, newline: true, partial: false, omitted: 0 })
}

fn batcher(labels: &[(&str, &str)], metadata: Vec<MetadataField>) -> Batcher {
    let labels: BTreeMap<_, _> = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Batcher::new(Labels::parse(&labels).unwrap(), "h1".to_owned(), None, metadata)
}

/// Time since [`NOW`] and line of each entry of each stream.
fn seen(request: &PushRequest) -> Vec<(String, Vec<(i64, String)>)> {
    let entry =
        |entry: &push::Entry| (entry.timestamp.unwrap().nanos() - NOW, String::from_utf8(entry.line.to_vec()).unwrap());
    request.streams.iter().map(|stream| (stream.labels.clone(), stream.entries.iter().map(entry).collect())).collect()
}

fn metadata(entry: &push::Entry) -> Vec<(&str, &str)> {
    entry.structured_metadata.iter().map(|pair| (&*pair.name, &*pair.value)).collect()
}

#[test]
fn entries_are_grouped_by_stream_and_in_order_of_their_time() {
    let mut batcher = batcher(&[("stream", "{stream}")], Vec::new());
    let (one, two) = (origin("one"), origin("two"));
    let stderr = Record { stream: Stream::Stderr, ..line(&one, NOW + 2, b"e") };
    let records = [line(&one, NOW + 30, b"c"), line(&two, NOW + 10, b"a"), stderr, line(&two, NOW + 20, b"b")];
    let batch = batcher.encode(&records);
    let text = |pairs: &[(i64, &str)]| pairs.iter().map(|(at, line)| (*at, (*line).to_owned())).collect::<Vec<_>>();
    assert_eq!(
        seen(&batch.request),
        [
            (r#"{stream="stdout"}"#.to_owned(), text(&[(10, "a"), (20, "b"), (30, "c")])),
            (r#"{stream="stderr"}"#.to_owned(), text(&[(2, "e")])),
        ]
    );
    let indices: Vec<_> = batch.streams[0].entries.iter().map(|sent| sent.index).collect();
    assert_eq!(indices, [1, 3, 0]);
}

#[test]
fn lines_of_one_write_get_times_of_their_own_over_batches_too() {
    let mut batcher = batcher(&[("container", "{container}")], Vec::new());
    let web = origin("web");
    let times = |batcher: &mut Batcher, records: &[Record], is_delivered: bool| {
        let batch = batcher.encode(records);
        let times: Vec<i64> = seen(&batch.request)[0].1.iter().map(|(time, _)| *time).collect();
        if is_delivered {
            batcher.delivered(batch);
        }
        times
    };
    let first = [line(&web, NOW, b"x"), line(&web, NOW, b"x"), line(&web, NOW, b"y")];
    // What Loki may not have is sent again with the same times, so that it can tell that it has it.
    assert_eq!(times(&mut batcher, &first, false), [0, 1, 2]);
    assert_eq!(times(&mut batcher, &first, true), [0, 1, 2]);
    let second = [line(&web, NOW, b"x"), line(&web, NOW + 2, b"x"), line(&web, NOW + 100, b"x")];
    assert_eq!(times(&mut batcher, &second, true), [3, 4, 100]);
    // Truly older ones stay what they are: Loki takes those of the last hour.
    assert_eq!(times(&mut batcher, &[line(&web, NOW - 50, b"x")], true), [-50]);
}

#[test]
fn metadata_is_what_is_known() {
    use MetadataField::{Comm, ContainerId, Fields, Level as LevelField, LogRecordUid, Pid, Uid};
    let all = vec![ContainerId, LogRecordUid, LevelField, Pid, Uid, Comm, Fields];
    let mut batcher = batcher(&[("container", "{container}")], all);
    let web = origin("web");
    let mut known = line(&web, NOW, b"known");
    let mut comm = [0; 16];
    comm[..5].copy_from_slice(b"nginx");
    known.attributes = Some(Box::new(Attributes {
        level: Some(Level::Warn),
        fields: vec![("status".to_owned(), 500.into()), ("path".to_owned(), "/a".into())],
        writer: Some(Writer { pid: 7, uid: 33, comm }),
    }));
    let partial = Content::Line { message: b"a\xff"[..].into(), newline: false, partial: true, omitted: 0 };
    let gap = Content::Gap { bytes: 7, reason: Some("ring_full") };
    let records = [known, record(&web, NOW + 1, partial), record(&web, NOW + 2, gap)];
    let batch = batcher.encode(&records);
    let entries = &batch.request.streams[0].entries;
    let (id, uids) = ("ab".repeat(32), records.each_ref().map(|record| record.uid().to_string()));
    assert_eq!(
        metadata(&entries[0]),
        [
            ("container_id", &*id),
            ("log_record_uid", &*uids[0]),
            ("level", "warn"),
            ("pid", "7"),
            ("uid", "33"),
            ("comm", "nginx"),
            ("status", "500"),
            ("path", "/a"),
        ]
    );
    assert_eq!(
        metadata(&entries[1]),
        [("container_id", &*id), ("log_record_uid", &*uids[1]), ("partial", "true"), ("invalid_utf8", "true")]
    );
    assert_eq!(&entries[1].line[..], "a\u{fffd}".as_bytes());
    assert_eq!(metadata(&entries[2])[2..], [("lost_bytes", "7"), ("lost_reason", "ring_full")]);
    assert!(entries[2].line.ends_with(b"7 bytes of output are missing here: ring_full]"));
}

#[test]
fn an_empty_list_sends_no_metadata_at_all_and_encodings_end_without_a_newline() {
    let labels = Labels::parse(&BTreeMap::from([("a".to_owned(), "b".to_owned())])).unwrap();
    let encoder = Encoder::new(Encoding::Json, "h1".to_owned(), false);
    let mut batcher = Batcher::new(labels, "h1".to_owned(), Some(encoder), Vec::new());
    let batch = batcher.encode(&[line(&origin("web"), NOW, b"a\xff")]);
    let entry = &batch.request.streams[0].entries[0];
    assert!(entry.structured_metadata.is_empty());
    let value: serde_json::Value = serde_json::from_slice(&entry.line).unwrap();
    assert_eq!((value["message"].as_str(), value["host"].as_str()), (Some("a\u{fffd}"), Some("h1")));
    assert!(entry.line.ends_with(b"}"));
}

/// What Loki says of a push of five lines of `web`, `aaaa` to `eeee`, and one of `db`.
fn refusals_of(text: &str) -> Option<Vec<(usize, &'static str)>> {
    let mut batcher = batcher(&[("container", "{container}"), ("stream", "{stream}")], Vec::new());
    let (web, db) = (origin("web"), origin("db"));
    let lines: [&[u8]; 5] = [b"aaaa", b"bbbb", b"cccccccc", b"dddd", b"eeee"];
    let mut records: Vec<_> = (1..).zip(lines).map(|(at, text)| line(&web, NOW + at, text)).collect();
    records.insert(2, line(&db, NOW, b"db"));
    let batch = batcher.encode(&records);
    let refused = refusals::read(text, &batch.streams)?;
    Some(refused.into_iter().map(|refusal| (refusal.index, refusal.reason)).collect())
}

#[test]
fn the_ingesters_complaint_is_about_the_oldest_of_a_stream() {
    // As `errorForFailedEntries` of pkg/ingester/stream.go writes it, with the label that Loki adds.
    let text = "entry with timestamp 2023-11-14 22:13:20.000000001 +0000 UTC ignored, reason: 'entry too far behind, \
                entry timestamp is: 2023-11-14T22:13:20Z, oldest acceptable timestamp is: 2023-11-15T00:13:20Z',\n\
                entry with timestamp 2023-11-14 22:13:20.000000002 +0000 UTC ignored, reason: 'entry too far behind, \
                entry timestamp is: 2023-11-14T22:13:20Z, oldest acceptable timestamp is: 2023-11-15T00:13:20Z',\n\
                user 'fake', total ignored: 2 out of 5 for stream: {container=\"web\", service_name=\"web\", stream=\"stdout\"}";
    assert_eq!(refusals_of(text), Some(vec![(0, "too_far_behind"), (1, "too_far_behind")]));
    let text = "entry with timestamp 2023-11-14 22:13:20 +0000 UTC ignored, reason: 'entry out of order',\n\
                user 'fake', total ignored: 1 out of 1 for stream: {container=\"db\", stream=\"stdout\"}";
    assert_eq!(refusals_of(text), Some(vec![(2, "out_of_order")]));
}

#[test]
fn complaints_of_single_entries_are_told_apart() {
    let stream = r#"'{container="web", stream="stdout"}'"#;
    let old = format!(
        "entry for stream {stream} has timestamp too old: 2023-11-14T22:13:20Z, oldest acceptable timestamp is: \
         2026-11-14T22:13:20Z"
    );
    assert_eq!(refusals_of(&old), Some(vec![(0, "too_old")]));
    assert_eq!(refusals_of(&format!("2 errors like: {old}")), Some(vec![(0, "too_old"), (1, "too_old")]));
    let new = format!("entry for stream {stream} has timestamp too new: 2023-11-14T22:13:20Z");
    assert_eq!(
        refusals_of(&format!("3 errors like: {old}; 1 errors like: {new}")),
        Some(vec![(0, "too_old"), (1, "too_old"), (3, "too_old"), (5, "too_new")])
    );
    let long =
        format!("Max entry size '5' bytes exceeded for stream {stream} while adding an entry with length '8' bytes");
    assert_eq!(refusals_of(&long), Some(vec![(3, "line_too_long")]));
    let db = r#"'{container="db", stream="stdout"}'"#;
    let disallowed = format!(
        "stream {db} includes structured metadata, but this feature is disallowed. Please see \
         `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it."
    );
    assert_eq!(refusals_of(&disallowed), Some(vec![(2, "structured_metadata")]));
    let labels = format!("entry for stream {db} has 16 label names; limit 15");
    assert_eq!(refusals_of(&labels), Some(vec![(2, "labels")]));
}

#[test]
fn what_is_not_about_entries_is_about_all_of_it() {
    for text in ["", "snappy: corrupt input", "no org id", "proto: illegal wireType 7"] {
        assert_eq!(refusals_of(text), None, "{text}");
    }
}

#[test]
fn settings_that_loki_would_not_take_are_refused() {
    let context = || SinkContext { name: "loki".parse().unwrap(), host: "h1".to_owned() };
    let refusal = |change: fn(&mut LokiConfig)| {
        let mut config = LokiConfig::at("http://127.0.0.1:3100".to_owned());
        change(&mut config);
        config.build(context()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refusal(|_| {}), "");
    assert!(refusal(|config| config.tenant = Some("a b".to_owned())).contains("tenant \"a b\""));
    assert!(refusal(|config| config.tenant = Some("x".repeat(151))).contains("tenant"));
    assert!(refusal(|config| config.labels = BTreeMap::from([("a".into(), "{pid}".into())])).contains("{pid}"));
    assert!(refusal(|config| config.endpoint = "loki:3100".to_owned()).contains("http://host:port"));
    let secret = || serde_json::from_value("x".into()).unwrap();
    let mut config = LokiConfig::at("http://127.0.0.1".to_owned());
    config.headers = BTreeMap::from([("X-Scope-OrgID".to_owned(), secret())]);
    assert!(config.build(context()).err().unwrap().to_string().contains("`tenant`"));
    let whole = LokiConfig::at("http://127.0.0.1:3100/loki/api/v1/push".to_owned()).build(context()).unwrap();
    assert_eq!(whole.client.endpoint().to_string(), "http://127.0.0.1:3100");
}
