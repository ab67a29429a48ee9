mod order;

use std::collections::BTreeMap;

use bytes::Bytes;
use capture_common::Stream;
use serde_json::json;

use super::*;
use crate::containers::directory::Metadata;
use crate::pipeline::record::{Content, Origin};

const MS: u64 = 1_000_000;

fn origin(id: &str) -> Arc<Origin> {
    Arc::new(Origin::new(id.into(), None, Arc::default()))
}

fn labelled(id: &str, value: &str) -> Arc<Origin> {
    let labels = BTreeMap::from([("capture.multiline".to_owned(), value.to_owned())]);
    let metadata = Metadata { id: id.to_owned(), name: id.to_owned(), image: String::new(), labels };
    Arc::new(Origin::new(id.into(), Some(Arc::new(metadata)), Arc::default()))
}

fn stage(config: serde_json::Value) -> Multiline {
    serde_json::from_value::<MultilineConfig>(config).unwrap().build().unwrap()
}

/// Records of one container, in the order in which they are written; a millisecond between two.
struct Writer {
    origin: Arc<Origin>,
    time: u64,
    positions: [u64; 2],
}

impl Writer {
    fn new(origin: Arc<Origin>) -> Self {
        Self { origin, time: 0, positions: [0; 2] }
    }

    fn record(&mut self, stream: Stream, content: Content) -> Record {
        self.time += 1;
        let position = self.positions[stream as usize];
        let record = Record {
            origin: Arc::clone(&self.origin),
            stream,
            timestamp: self.time.cast_signed(),
            completed: self.time * MS,
            position,
            content,
            attributes: None,
        };
        self.positions[stream as usize] += record.stream_bytes();
        record
    }

    fn line(&mut self, stream: Stream, text: &str) -> Record {
        let message = Bytes::copy_from_slice(text.as_bytes());
        self.record(stream, Content::Line { message, newline: true, partial: false, omitted: 0 })
    }

    fn piece(&mut self, stream: Stream, text: &str) -> Record {
        let message = Bytes::copy_from_slice(text.as_bytes());
        self.record(stream, Content::Line { message, newline: false, partial: true, omitted: 0 })
    }

    fn stdout(&mut self, lines: &[&str]) -> Vec<Record> {
        lines.iter().map(|text| self.line(Stream::Stdout, text)).collect()
    }
}

fn text(record: &Record) -> String {
    match &record.content {
        Content::Line { message, .. } => String::from_utf8(message.to_vec()).unwrap(),
        Content::Lines { .. } => unreachable!("single lines"),
        Content::Gap { bytes, .. } => format!("[{bytes}]"),
    }
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(text).collect()
}

fn run(stage: &mut Multiline, records: Vec<Record>) -> Vec<String> {
    let mut out = Vec::new();
    stage.process(records, Instant::now(), &mut out);
    stage.finish(&mut out);
    texts(&out)
}

#[test]
fn a_record_of_several_lines_stands_for_all_of_them() {
    let mut writer = Writer::new(origin("a"));
    let mut records = writer.stdout(&["one", " two", " three", "four"]);
    if let Content::Line { omitted, .. } = &mut records[1].content {
        *omitted = 1;
    }
    let (bytes, last): (u64, _) = (records[..3].iter().map(Record::stream_bytes).sum(), records[2].completed);
    let mut out = Vec::new();
    stage(json!({"preset": "indentation"})).process(records.clone(), Instant::now(), &mut out);
    assert_eq!(texts(&out), ["one\n two\n three"]);
    let event = &out[0];
    assert_eq!(event.stream_bytes(), bytes);
    assert_eq!((event.timestamp, event.position, event.completed), (1, 0, last));
    assert_eq!(event.uid(), records[0].uid());
    assert!(matches!(event.content, Content::Line { newline: true, partial: false, omitted: 1, .. }));
}

#[test]
fn own_patterns_say_where_an_event_begins_or_goes_on() {
    let lines = ["2024 a", "b", "+c", "2024 d", "e", "+f", "g"];
    let run = |config| run(&mut stage(config), Writer::new(origin("a")).stdout(&lines));
    assert_eq!(run(json!({"start_pattern": "^\\d{4} "})), ["2024 a\nb\n+c", "2024 d\ne\n+f\ng"]);
    assert_eq!(run(json!({"continuation_pattern": "^\\+"})), ["2024 a", "b\n+c", "2024 d", "e\n+f", "g"]);
    let both = json!({"start_pattern": "^\\d{4} ", "continuation_pattern": "^[b+]"});
    assert_eq!(run(both), ["2024 a\nb\n+c", "2024 d", "e", "+f", "g"]);
    assert_eq!(run(json!({})), lines, "nothing was asked for");
}

#[test]
fn patterns_look_at_bytes() {
    let mut writer = Writer::new(origin("a"));
    let mut records = writer.stdout(&["a", "b"]);
    if let Content::Line { message, .. } = &mut records[1].content {
        *message = Bytes::from_static(b"\xff\xfeb");
    }
    let mut out = Vec::new();
    stage(json!({"continuation_pattern": "(?-u)^\\xff"})).process(records, Instant::now(), &mut out);
    assert!(out.is_empty(), "it is held as a part");
}

#[test]
fn an_event_waits_for_its_next_line_and_no_longer() {
    let (mut stage, now, mut out) =
        (stage(json!({"preset": "indentation", "timeout": "100ms"})), Instant::now(), Vec::new());
    let mut writer = Writer::new(origin("a"));
    let after = |millis| now + Duration::from_millis(millis);
    stage.process(writer.stdout(&["a"]), now, &mut out);
    assert_eq!(stage.next_deadline(), Some(after(100)));
    stage.process(writer.stdout(&[" b"]), after(90), &mut out);
    stage.tick(after(120), &mut out);
    assert!(out.is_empty(), "the second line has come since");
    assert_eq!(stage.next_deadline(), Some(after(190)));
    stage.tick(after(190), &mut out);
    assert_eq!((texts(&out), stage.next_deadline()), (vec!["a\n b".to_owned()], None));

    // A line each 90 ms goes on for ever.
    out.clear();
    stage.process(writer.stdout(&["c"]), after(1000), &mut out);
    let mut given_out = None;
    for millis in (1090..3000).step_by(90) {
        stage.process(writer.stdout(&[" d"]), after(millis), &mut out);
        stage.tick(after(millis), &mut out);
        given_out = given_out.or((!out.is_empty()).then_some(millis));
    }
    assert_eq!(given_out, Some(1810));
}

#[test]
fn what_was_written_long_after_is_another_event_even_if_it_is_read_at_once() {
    let mut writer = Writer::new(origin("a"));
    let mut records = writer.stdout(&["a", " b"]);
    writer.time += 200;
    records.extend(writer.stdout(&[" c", " d"]));
    let config = json!({"preset": "indentation", "timeout": "100ms"});
    assert_eq!(run(&mut stage(config), records), ["a\n b", " c\n d"]);
}

#[test]
fn an_event_that_is_too_large_is_given_out_in_pieces_with_a_flag() {
    let (line, mut writer) = (format!(" {}", "x".repeat(298)), Writer::new(origin("a")));
    let mut records = writer.stdout(&["a"]);
    records.extend((0..10).map(|_| writer.line(Stream::Stdout, &line)));
    records.extend(writer.stdout(&["b"]));
    let bytes: u64 = records.iter().map(Record::stream_bytes).sum();
    let (mut stage, mut out) = (stage(json!({"preset": "indentation", "max_bytes": "1KiB"})), Vec::new());
    stage.process(records, Instant::now(), &mut out);
    stage.finish(&mut out);
    let flags: Vec<_> =
        out.iter().map(|record| matches!(record.content, Content::Line { partial: true, .. })).collect();
    assert_eq!(flags, [true, true, true, false, false]);
    assert!(out.iter().all(|record| record.stream_bytes() <= 1024));
    assert_eq!(out.iter().map(Record::stream_bytes).sum::<u64>(), bytes);
}

#[test]
fn what_may_belong_to_a_piece_does_if_the_event_goes_on() {
    let mut writer = Writer::new(origin("a"));
    let (message, frame) = ("m".repeat(500), format!("\tat {}", "f".repeat(600)));
    let records = writer.stdout(&["x.Y: oops", &message, &frame, "end"]);
    let texts = run(&mut stage(json!({"preset": "java", "max_bytes": "1KiB"})), records);
    assert_eq!(texts, [format!("x.Y: oops\n{message}"), frame, "end".to_owned()]);
}

#[test]
fn few_lines_wait_for_what_would_make_them_parts() {
    let mut writer = Writer::new(origin("a"));
    let mut records = writer.stdout(&["x.Y: this is no trace"]);
    records.extend((0..40).map(|number| writer.line(Stream::Stdout, &format!("line {number}"))));
    let (mut stage, mut out) = (stage(json!({"preset": "java"})), Vec::new());
    stage.process(records, Instant::now(), &mut out);
    assert_eq!(out.len(), 41, "none is held any more");
}

#[test]
fn the_pieces_of_a_long_line_are_joined_without_a_newline() {
    let mut writer = Writer::new(origin("a"));
    let mut records = vec![writer.piece(Stream::Stdout, "one "), writer.piece(Stream::Stdout, "two")];
    // Looks like the beginning of an event, and is none.
    records.push(writer.line(Stream::Stdout, "three"));
    records.push(writer.piece(Stream::Stdout, " four "));
    records.push(writer.line(Stream::Stdout, "five"));
    records.push(writer.line(Stream::Stdout, "six"));
    let bytes: u64 = records.iter().map(Record::stream_bytes).sum();
    let (mut stage, mut out) = (stage(json!({"preset": "indentation"})), Vec::new());
    stage.process(records, Instant::now(), &mut out);
    stage.finish(&mut out);
    assert_eq!(texts(&out), ["one twothree\n four five", "six"]);
    assert!(matches!(out[0].content, Content::Line { newline: true, partial: false, .. }));
    assert_eq!(out.iter().map(Record::stream_bytes).sum::<u64>(), bytes);
}

#[test]
fn a_held_line_keeps_no_memory_but_its_own() {
    let arena = Bytes::from(vec![b'x'; 256 << 10]);
    let mut writer = Writer::new(origin("a"));
    let mut slice = |from: usize, to: usize| {
        let content = Content::Line { message: arena.slice(from..to), newline: true, partial: false, omitted: 0 };
        writer.record(Stream::Stdout, content)
    };
    let (mut stage, mut out) = (stage(json!({"start_pattern": "^y"})), Vec::new());
    stage.process(vec![slice(0, 10), slice(10, 1000)], Instant::now(), &mut out);
    assert!(out.is_empty());
    assert!(arena.is_unique());
    stage.finish(&mut out);
    assert_eq!(text(&out[0]), format!("{}\n{}", "x".repeat(10), "x".repeat(990)));
}

#[test]
fn a_gap_ends_an_event() {
    let mut writer = Writer::new(origin("a"));
    let mut records = writer.stdout(&["a", " b"]);
    records.push(writer.piece(Stream::Stdout, " cut"));
    records.push(writer.record(Stream::Stdout, Content::Gap { bytes: 9, reason: None }));
    records.extend(writer.stdout(&[" c", " d"]));
    let mut out = Vec::new();
    let mut stage = stage(json!({"preset": "indentation"}));
    stage.process(records, Instant::now(), &mut out);
    stage.finish(&mut out);
    assert_eq!(texts(&out), ["a\n b\n cut", "[9]", " c\n d"]);
    assert!(matches!(out[0].content, Content::Line { newline: false, partial: true, .. }));
}

#[test]
fn the_end_of_a_stream_ends_an_event() {
    let mut writer = Writer::new(origin("a"));
    let mut records = writer.stdout(&["a"]);
    let message = Bytes::from_static(b" b");
    let last = Content::Line { message, newline: false, partial: false, omitted: 0 };
    records.push(writer.record(Stream::Stdout, last));
    let (mut stage, mut out) = (stage(json!({"preset": "indentation"})), Vec::new());
    stage.process(records, Instant::now(), &mut out);
    assert_eq!(texts(&out), ["a\n b"]);
    assert!(matches!(out[0].content, Content::Line { newline: false, partial: false, .. }));
}

#[test]
fn a_container_says_by_its_label_what_holds_for_it() {
    let mut stage = stage(json!({"preset": "indentation"}));
    let lines = ["Traceback (most recent call last):", "  File \"x\"", "ValueError: y", "end"];
    let mut run = |origin| {
        let mut out = Vec::new();
        stage.process(Writer::new(origin).stdout(&lines), Instant::now(), &mut out);
        stage.finish(&mut out);
        out.iter().map(|record| text(record).lines().count()).collect::<Vec<_>>()
    };
    assert_eq!(run(origin("a")), [2, 1, 1]);
    assert_eq!(run(labelled("b", "python")), [3, 1]);
    assert_eq!(run(labelled("c", "none")), [1, 1, 1, 1]);
    assert_eq!(run(labelled("d", "cobol")), [2, 1, 1], "what it says is not known");
    // The engine has not told at first.
    assert_eq!(run(origin("e")), [2, 1, 1]);
    assert_eq!(run(labelled("e", "python")), [3, 1]);
}

#[test]
fn the_label_may_have_another_name() {
    let mut stage = stage(json!({"label": "capture.other"}));
    let lines = ["a", " b"];
    assert_eq!(run(&mut stage, Writer::new(labelled("a", "indentation")).stdout(&lines)), lines);
    let labels = BTreeMap::from([("capture.other".to_owned(), "indentation".to_owned())]);
    let metadata = Metadata { labels, ..Metadata::default() };
    let origin = Arc::new(Origin::new("b".into(), Some(Arc::new(metadata)), Arc::default()));
    assert_eq!(run(&mut stage, Writer::new(origin).stdout(&lines)), ["a\n b"]);
}

#[test]
fn without_a_preset_only_labels_count() {
    let mut stage = stage(json!({}));
    assert_eq!(run(&mut stage, Writer::new(origin("a")).stdout(&["a", " b"])), ["a", " b"]);
    assert_eq!(run(&mut stage, Writer::new(labelled("b", "indentation")).stdout(&["a", " b"])), ["a\n b"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let told = |config: serde_json::Value| {
        serde_json::from_value::<MultilineConfig>(config).unwrap().build().unwrap_err().to_string()
    };
    let both = "`preset` and `start_pattern` exclude each other; take one away";
    assert_eq!(told(json!({"preset": "go", "start_pattern": "a"})), both);
    assert!(told(json!({"preset": "go", "continuation_pattern": "a"})).contains("`continuation_pattern`"));
    assert!(told(json!({"start_pattern": "a("})).starts_with("start_pattern: regex parse error"));
    assert!(told(json!({"label": ""})).starts_with("label: "));
    for wrong in [
        json!({"preset": "cobol"}),
        json!({"timeout": "2m"}),
        json!({"max_bytes": "100"}),
        json!({"max_bytes": "1GiB"}),
        json!({"max_lines": 5}),
    ] {
        assert!(serde_json::from_value::<MultilineConfig>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn the_names_of_presets_are_those_that_labels_take() {
    let names: Vec<_> = Preset::NAMES.split(", ").collect();
    assert_eq!(names.len(), 7);
    assert!(names.iter().all(|name| Preset::of_label(name).is_some()));
}
