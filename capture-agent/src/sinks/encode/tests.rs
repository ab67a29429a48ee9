use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use capture_common::Stream;

use super::*;
use crate::containers::directory::Metadata;
use crate::pipeline::record::{Account, Level, Writer};

fn record(content: Content) -> Record {
    let metadata = Metadata {
        id: "ab".repeat(32),
        name: "web".to_owned(),
        image: "nginx:1".to_owned(),
        labels: BTreeMap::from([("team".to_owned(), "a \"b\"".to_owned())]),
    };
    let origin = Origin::new("ab".repeat(32).into(), Some(Arc::new(metadata)), Arc::new(Account::default()));
    Record {
        origin: Arc::new(origin),
        stream: Stream::Stderr,
        timestamp: 1_700_000_000_000_000_042,
        completed: 0,
        position: 0,
        content,
        attributes: None,
    }
}

fn line(message: &'static [u8], newline: bool, partial: bool) -> Record {
    record(Content::Line { message: Bytes::from_static(message), newline, partial, omitted: 0 })
}

fn encode(encoding: Encoding, record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new(encoding, "host-1".to_owned(), false).encode(record, &mut out);
    out
}

#[test]
fn json_has_the_fields_of_docker_logs() {
    let text = encode(Encoding::Json, &line(b"a\t\"\xff", true, false));
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        value,
        serde_json::json!({
            "timestamp": "2023-11-14T22:13:20.000000042Z", "message": "a\t\"\u{fffd}", "stream": "stderr",
            "_invalid_utf8": true,
            "container_id": "ab".repeat(32), "container_name": "web", "image": "nginx:1",
            "label": {"team": "a \"b\""}, "host": "host-1", "source_type": "ebpf",
        })
    );
    assert_eq!(memchr::memchr_iter(b'\n', &text).count(), 1);
}

#[test]
fn lines_of_one_write_are_as_each_by_itself() {
    let plain = [&b"first"[..], b"", b"\x7f second", &[b'x'; 200]];
    are_as_each_by_itself(&plain);
    for special in [&b"with \"quotes\""[..], b"a\\b", b"\ttab", b"\x1f", "ä".as_bytes(), b"not \xff text"] {
        are_as_each_by_itself(&[&plain[..], &[special]].concat());
        are_as_each_by_itself(&[&[special][..], &plain].concat());
        are_as_each_by_itself(&[&plain[..], &[special, special], &plain, &[special], &plain].concat());
    }
}

fn are_as_each_by_itself(messages: &[&[u8]]) {
    let data: Vec<u8> = messages.iter().flat_map(|message| [message, &b"\n"[..]].concat()).collect();
    let together = record(Content::Lines { data: data.into(), count: messages.len() as u32 });
    assert_eq!(together.lines(), messages.len() as u64);
    for encoding in [Encoding::Json, Encoding::Text, Encoding::Logfmt, Encoding::Raw] {
        let single = |message: &&[u8]| Content::Line {
            message: Bytes::copy_from_slice(message),
            newline: true,
            partial: false,
            omitted: 0,
        };
        let apart: Vec<u8> = messages.iter().flat_map(|message| encode(encoding, &record(single(message)))).collect();
        assert_eq!(encode(encoding, &together), apart, "{encoding:?}");
    }
}

#[test]
fn json_marks_pieces_and_gaps() {
    let piece: serde_json::Value = serde_json::from_slice(&encode(Encoding::Json, &line(b"a", false, true))).unwrap();
    assert_eq!(piece["_partial"], true);
    let gap = record(Content::Gap { bytes: 7, reason: Some("ring_full") });
    let gap: serde_json::Value = serde_json::from_slice(&encode(Encoding::Json, &gap)).unwrap();
    assert_eq!((&gap["lost_bytes"], &gap["lost_reason"]), (&7.into(), &"ring_full".into()));
}

#[test]
fn raw_is_exact() {
    assert_eq!(encode(Encoding::Raw, &line(b"a\xff\0", true, false)), b"a\xff\0\n");
    assert_eq!(encode(Encoding::Raw, &line(b"a", false, false)), b"a");
    let gap = record(Content::Gap { bytes: 7, reason: Some("ring_full") });
    assert!(encode(Encoding::Raw, &gap).ends_with(b"7 bytes of output are missing here: ring_full]\n"));
    let mut out = Vec::new();
    Encoder::new(Encoding::Raw, String::new(), false)
        .gap_marker("<{bytes} {reason}>".to_owned())
        .encode(&gap, &mut out);
    assert_eq!(out, b"<7 ring_full>");
}

#[test]
fn text_names_the_container_and_the_stream() {
    assert_eq!(encode(Encoding::Text, &line(b"hello", false, false)), b"web stderr | hello\n");
}

#[test]
fn an_unknown_container_goes_by_its_id() {
    let origin = Origin::new("cd".repeat(32).into(), None, Arc::new(Account::default()));
    let record = Record { origin: Arc::new(origin), ..line(b"x", true, false) };
    let value: serde_json::Value = serde_json::from_slice(&encode(Encoding::Json, &record)).unwrap();
    assert_eq!((value["container_id"].as_str(), value.get("container_name")), (Some(&*"cd".repeat(32)), None));
    assert_eq!(encode(Encoding::Text, &record), format!("{} stderr | x\n", "cd".repeat(32)).into_bytes());
}

/// A record with all that the pipeline can find.
fn described(message: &'static [u8], fields: &serde_json::Value) -> Record {
    let mut comm = [0; 16];
    comm[..6].copy_from_slice(b"ng\"inx");
    let fields = fields.as_object().unwrap().clone().into_iter().collect();
    let writer = Some(Writer { pid: 7, uid: 1000, comm });
    let attributes = Attributes { level: Some(Level::Warn), fields, writer };
    Record { attributes: Some(Box::new(attributes)), ..line(message, true, false) }
}

#[test]
fn json_tells_what_the_pipeline_found() {
    let fields = serde_json::json!({"msg": "hello", "n": [1, {"b": null}], "k\"": "v\n"});
    let value: serde_json::Value =
        serde_json::from_slice(&encode(Encoding::Json, &described(b"{not shown}", &fields))).unwrap();
    assert_eq!((&value["message"], &value["level"]), (&"hello".into(), &"warn".into()));
    assert_eq!(value["fields"], serde_json::json!({"n": [1, {"b": null}], "k\"": "v\n"}), "the text is the message");
    assert_eq!((&value["pid"], &value["uid"], &value["comm"]), (&7.into(), &1000.into(), &"ng\"inx".into()));

    let plain: serde_json::Value =
        serde_json::from_slice(&encode(Encoding::Json, &described(b"plain", &serde_json::json!({})))).unwrap();
    assert_eq!((&plain["message"], plain.get("fields")), (&"plain".into(), None));
    for encoding in [Encoding::Text, Encoding::Raw] {
        let exact = encode(encoding, &described(b"{\"msg\":\"x\"}", &serde_json::json!({"msg": "x"})));
        assert!(exact.ends_with(b"{\"msg\":\"x\"}\n"), "the line itself");
    }
}

#[test]
fn empty_lines_are_lines() {
    for (encoding, expected) in [
        (Encoding::Json, "\"message\":\"\""),
        (Encoding::Logfmt, " message=\"\"\n"),
        (Encoding::Text, "web stderr | \n"),
        (Encoding::Raw, "\n"),
    ] {
        let text = String::from_utf8(encode(encoding, &line(b"", true, false))).unwrap();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn logfmt_has_the_same_names_as_json() {
    let origin = format!("container_id={} container_name=web image=nginx:1 host=host-1", "ab".repeat(32));
    for (record, expected) in [
        (line(b"a \"b\"", true, true), format!("stream=stderr {origin} _partial=true message=\"a \\\"b\\\"\"")),
        (line(b"a\xff", true, false), format!("stream=stderr {origin} message=\"a\u{fffd}\" _invalid_utf8=true")),
        (
            record(Content::Gap { bytes: 7, reason: Some("ring_full") }),
            format!(
                "stream=stderr {origin} lost_bytes=7 lost_reason=ring_full \
                 message=\"[capture-agent: 7 bytes of output are missing here: ring_full]\""
            ),
        ),
        (
            described(b"x", &serde_json::json!({"a b": "c", "message": "hello", "n": [1, "x"], "o": null})),
            format!(
                "level=warn stream=stderr {origin} message=hello fields.a_b=c fields.n=\"[1,\\\"x\\\"]\" fields.o=null \
                 pid=7 uid=1000 comm=\"ng\\\"inx\""
            ),
        ),
    ] {
        let text = String::from_utf8(encode(Encoding::Logfmt, &record)).unwrap();
        assert_eq!(text, format!("timestamp=2023-11-14T22:13:20.000000042Z {expected}\n"));
    }
}

#[test]
fn timestamps_are_what_another_renderer_makes_of_them() {
    let mut clock = TimestampCache::default();
    for nanoseconds in [0, 1, -1, 1_700_000_000_000_000_042, 1_700_000_000_999_999_999, i64::MIN, i64::MAX, 0] {
        let mut out = Vec::new();
        clock.write(nanoseconds, &mut out);
        let expected = Timestamp::from_nanosecond(nanoseconds.into()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected:.9}"));
    }
}
