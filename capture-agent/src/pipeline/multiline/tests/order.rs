//! Whatever is held, nothing overtakes.

use super::*;

#[test]
fn the_streams_of_a_container_keep_their_order() {
    let (mut a, mut b) = (Writer::new(origin("a")), Writer::new(origin("b")));
    let java = json!({"preset": "java"});
    let (now, mut stage, mut out) = (Instant::now(), stage(java), Vec::new());
    let mut records = vec![
        a.line(Stream::Stdout, "before"),
        a.line(Stream::Stderr, "x.Y: oops"),
        a.line(Stream::Stdout, "between"),
        a.line(Stream::Stdout, "z.Z: too"),
        a.line(Stream::Stderr, "\tat x.Y.f(Y.java:1)"),
        a.line(Stream::Stdout, "\tat z.Z.g(Z.java:2)"),
    ];
    records.push(b.line(Stream::Stdout, "of another container"));
    stage.process(records, now, &mut out);
    assert_eq!(texts(&out), ["before", "of another container"]);
    // The second trace ends, and waits for the first.
    stage.process(vec![a.line(Stream::Stdout, "after")], now, &mut out);
    assert_eq!(out.len(), 2);
    stage.process(vec![a.line(Stream::Stderr, "end")], now, &mut out);
    assert_eq!(
        texts(&out)[2..],
        ["x.Y: oops\n\tat x.Y.f(Y.java:1)", "between", "z.Z: too\n\tat z.Z.g(Z.java:2)", "after", "end"]
    );
}

#[test]
fn what_waits_behind_an_event_is_bounded() {
    let mut writer = Writer::new(origin("a"));
    let (mut stage, mut out) = (stage(json!({"preset": "java", "max_bytes": "64KiB"})), Vec::new());
    let mut records = vec![writer.line(Stream::Stderr, "x.Y: oops"), writer.line(Stream::Stderr, "\tat x")];
    records.extend((0..10_000).map(|_| writer.line(Stream::Stdout, "a flood on the other stream")));
    stage.process(records, Instant::now(), &mut out);
    assert_eq!(text(&out[0]), "x.Y: oops\n\tat x");
    assert_eq!(out.len(), 10_001);
}

#[test]
fn every_byte_comes_out_in_order_whatever_is_held() {
    let pool = [
        "plain",
        "  indented",
        "",
        "x.Y: oops",
        "\tat x.Y.f(Y.java:1)",
        "Caused by: z",
        "panic: no",
        "goroutine 1 [running]:",
        "main.f()",
        "\t/a.go:1 +0x1",
        "Traceback (most recent call last):",
        "  File \"x\", line 1",
        "KeyError: 'x'",
        "During handling of the above exception, another exception occurred:",
        "/a.js:1",
        "  ^",
        "Error: e {",
        "}",
        "a.rb:1:in `f': m (E)",
        "\tfrom a.rb:2:in `g'",
        "thread 'main' panicked at a.rs:1:1:",
        "note: x",
        "Error: y",
    ];
    let presets = Preset::NAMES.split(", ").map(|name| json!({"preset": name, "timeout": "20ms", "max_bytes": "1KiB"}));
    let patterns = ["start_pattern", "continuation_pattern"].map(|key| json!({key: "^[ \ta]", "max_bytes": "1KiB"}));
    let mut random = 7u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for config in presets.chain(patterns).cycle().take(9 * 40) {
        let (mut stage, start) = (stage(config.clone()), Instant::now());
        let mut writers = ["a", "b"].map(|id| Writer::new(origin(id)));
        let (mut given, mut batch, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..300 {
            let writer = &mut writers[next(2) as usize];
            let (stream, line) = (Stream::ALL[next(2) as usize], pool[next(pool.len() as u64) as usize]);
            writer.time += if next(20) == 0 { 50 } else { 0 };
            batch.push(match next(30) {
                0 => writer.record(stream, Content::Gap { bytes: 1, reason: None }),
                1..4 => writer.piece(stream, line),
                4 => {
                    let message = Bytes::from_static(line.as_bytes());
                    writer.record(stream, Content::Line { message, newline: false, partial: false, omitted: 2 })
                }
                5 => writer.line(stream, &format!(" {line}").repeat(next(200) as usize)),
                _ => writer.line(stream, line),
            });
            let now = start + Duration::from_millis(step);
            given.push(batch[batch.len() - 1].clone());
            match next(10) {
                0 => stage.process(std::mem::take(&mut batch), now, &mut out),
                1 => stage.tick(now, &mut out),
                2 if next(10) == 0 => stage.forget(["a", "b"][next(2) as usize], &mut out),
                _ => {}
            }
        }
        stage.process(batch, start, &mut out);
        stage.finish(&mut out);
        for id in ["a", "b"] {
            let of = |records: &[Record]| -> Vec<Record> {
                records.iter().filter(|record| &*record.origin.container_id == id).cloned().collect()
            };
            let (given, out) = (of(&given), of(&out));
            assert!(out.is_sorted_by_key(|record| record.timestamp), "{config}");
            for stream in Stream::ALL {
                assert_eq!(bytes(&given, stream), bytes(&out, stream), "{config}");
                let sum = |records: &[Record]| -> u64 {
                    let of = records.iter().filter(|record| record.stream == stream);
                    of.map(Record::stream_bytes).sum()
                };
                assert_eq!(sum(&given), sum(&out), "{config}");
                // Each record begins where the one before it ends.
                let mut position = 0;
                for record in out.iter().filter(|record| record.stream == stream) {
                    assert_eq!(record.position, position, "{config}");
                    position += record.stream_bytes();
                }
            }
        }
    }
}

/// What the raw encoding would write of a stream, with gaps.
fn bytes(records: &[Record], stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records.iter().filter(|record| record.stream == stream) {
        match &record.content {
            Content::Line { message, newline, .. } => {
                bytes.extend_from_slice(message);
                bytes.extend(newline.then_some(b'\n'));
            }
            Content::Lines { data, .. } => bytes.extend_from_slice(data),
            Content::Gap { .. } => bytes.extend_from_slice(b"[gap]"),
        }
    }
    bytes
}
