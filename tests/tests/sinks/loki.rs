//! Pushes, read by decoders of others and judged by Loki's rules.

use anyhow::{Context, Result, ensure};
use capture_agent::config::Secret;
use capture_agent::sinks::delivery::{Refused, Sink, SinkError};
use capture_agent::sinks::encode::Encoding;
use capture_agent::sinks::loki::{Loki, LokiConfig};
use capture_tests::http;
use capture_tests::peers::Peer;
use serde_json::{Value, json};

use crate::records::{Source, context, now};

const HOUR: i64 = 3_600_000_000_000;

fn start(arguments: &[&str]) -> Result<(Peer, LokiConfig)> {
    let peer = Peer::start("loki.py", arguments, 1)?;
    let config = LokiConfig::at(format!("http://{}", peer.address()));
    Ok((peer, config))
}

fn build(config: &LokiConfig) -> Result<Loki> {
    Ok(config.build(context("loki"))?)
}

/// The streams that are stored.
fn stored(peer: &Peer) -> Result<Vec<Value>> {
    let (status, body) = http::get(peer.address(), "/entries")?;
    ensure!(status == 200, "{status}: {body}");
    serde_json::from_str(&body).context("not JSON")
}

/// The lines of the only stream.
fn lines(peer: &Peer) -> Result<Vec<String>> {
    let streams = stored(peer)?;
    ensure!(streams.len() == 1, "{streams:?}");
    let mut entries = streams[0]["entries"].as_array().context("no entries")?.clone();
    entries.sort_by_key(|entry| entry[0].as_i64());
    Ok(entries.iter().filter_map(|entry| entry[1].as_str().map(str::to_owned)).collect())
}

#[test]
fn labels_lines_times_and_metadata_arrive() -> Result<()> {
    let (peer, config) = start(&["--tenants"])?;
    let config = LokiConfig { tenant: Some("team-a".to_owned()), ..config };
    let mut sink = build(&config)?;
    sink.check()?;
    let mut web = Source::new("web");
    let records = [web.line("first → \"quoted\""), web.line(b"not \xff UTF-8"), web.line(""), web.gap(7)];
    ensure!(sink.write(&records)?.refused.is_empty());
    let streams = stored(&peer)?;
    ensure!(streams.len() == 1 && streams[0]["tenant"] == "team-a", "{streams:?}");
    let labels = json!({
        "container": "web", "stream": "stdout", "host": "host-1", "compose_project": "shop", "compose_service": "web",
        "service_name": "web",
    });
    ensure!(streams[0]["labels"] == labels, "{}", streams[0]["labels"]);
    let metadata = |index: usize| json!({"container_id": web.id(), "log_record_uid": records[index].uid().to_string()});
    let mut marked = metadata(1);
    marked["invalid_utf8"] = "true".into();
    let mut gap = metadata(3);
    (gap["lost_bytes"], gap["lost_reason"]) = ("7".into(), "ring_full".into());
    let missing = "[capture-agent: 7 bytes of output are missing here: ring_full]";
    let expected = json!([
        [records[0].timestamp, "first → \"quoted\"", metadata(0)],
        [records[1].timestamp, "not \u{fffd} UTF-8", marked],
        [records[2].timestamp, "", metadata(2)],
        // The mark has the time of the write before, which is taken.
        [records[3].timestamp + 1, missing, gap],
    ]);
    ensure!(streams[0]["entries"] == expected, "{}", streams[0]["entries"]);
    Ok(())
}

#[test]
fn each_container_and_stream_is_one_of_lokis() -> Result<()> {
    let (peer, config) = start(&[])?;
    let mut sink = build(&config)?;
    let (mut web, mut db) = (Source::new("web"), Source::new("db"));
    let mut records = Vec::new();
    for number in 0..1_000 {
        records.push(web.line(format!("web {number}")));
        records.push(db.line(format!("db {number}")));
    }
    ensure!(sink.write(&records)?.refused.is_empty());
    for stream in stored(&peer)? {
        let name = stream["labels"]["container"].as_str().context("no container")?;
        let lines: Vec<_> = stream["entries"].as_array().context("no entries")?.iter().map(|entry| &entry[1]).collect();
        let expected: Vec<Value> = (0..1_000).map(|number| format!("{name} {number}").into()).collect();
        ensure!(lines == expected.iter().collect::<Vec<_>>(), "{name} is not in order");
    }
    ensure!(stored(&peer)?.len() == 2);
    Ok(())
}

#[test]
fn lines_that_are_equal_are_all_kept_and_a_push_that_is_repeated_is_not() -> Result<()> {
    let (peer, config) = start(&[])?;
    let mut sink = build(&config)?;
    let mut web = Source::new("web");
    // One write of 30 equal lines, which reach the sink in three batches.
    let records: Vec<_> = (0..30).map(|_| web.same_write("same")).collect();
    for batch in records.chunks(10) {
        sink.write(batch)?;
    }
    ensure!(lines(&peer)?.len() == 30, "{} of 30 lines", lines(&peer)?.len());
    // A sink that was started anew gives a batch again that Loki has.
    let mut again = build(&config)?;
    again.write(&records[..10])?;
    ensure!(lines(&peer)?.len() == 30);
    Ok(())
}

#[test]
fn entries_that_are_too_far_behind_are_refused_alone_and_the_others_kept() -> Result<()> {
    let (peer, config) = start(&[])?;
    let mut sink = build(&config)?;
    sink.write(&[Source::new("web").line("now")])?;
    let mut late = Source::at("web", now() - 2 * HOUR);
    // More than Loki names one by one.
    let mut records = late.lines(15);
    records.insert(7, Source::new("db").line("another stream"));
    records.push(Source::new("web").line("in time"));
    let receipt = sink.write(&records)?;
    let expected: Vec<_> = (0..16).filter(|index| *index != 7).collect();
    let refused: Vec<_> = receipt.refused.iter().map(|refusal| refusal.index).collect();
    ensure!(refused == expected, "{refused:?}");
    ensure!(receipt.refused.iter().all(|refusal| refusal.reason == "too_far_behind"));
    let mut kept: Vec<_> =
        stored(&peer)?.iter().filter_map(|stream| stream["entries"].as_array().cloned()).flatten().collect();
    kept.sort_by_key(|entry| entry[1].to_string());
    let kept: Vec<_> = kept.iter().map(|entry| &entry[1]).collect();
    ensure!(kept == ["another stream", "in time", "now"], "{kept:?}");
    Ok(())
}

#[test]
fn entries_that_are_too_old_too_new_or_too_long_are_counted_by_their_reason() -> Result<()> {
    let (peer, config) = start(&["--max-line", "100", "--window", "100000000"])?;
    let mut sink = build(&config)?;
    let mut records = Source::at("web", now() - 200 * HOUR).lines(2);
    records.extend(Source::at("web", now() + HOUR).lines(1));
    let mut web = Source::new("web");
    records.extend([web.line("fine"), web.line("x".repeat(101)), web.line("y".repeat(100))]);
    let receipt = sink.write(&records)?;
    let expected = [(0, "too_old"), (1, "too_old"), (2, "too_new"), (4, "line_too_long")];
    ensure!(receipt.refused == expected.map(|(index, reason)| Refused { index, reason }), "{:?}", receipt.refused);
    ensure!(lines(&peer)? == ["fine".to_owned(), "y".repeat(100)]);
    Ok(())
}

#[test]
fn a_loki_without_structured_metadata_is_told_none() -> Result<()> {
    let (peer, config) = start(&["--no-metadata"])?;
    let receipt = build(&config)?.write(&Source::new("web").lines(2))?;
    ensure!(receipt.refused.len() == 2 && receipt.refused[0].reason == "structured_metadata", "{receipt:?}");
    let config = LokiConfig { structured_metadata: Vec::new(), encoding: Encoding::Logfmt, ..config };
    ensure!(build(&config)?.write(&Source::new("web").lines(1))?.refused.is_empty());
    let lines = lines(&peer)?;
    ensure!(lines[0].contains("container_name=web") && lines[0].ends_with("message=\"web 0\""), "{lines:?}");
    Ok(())
}

#[test]
fn what_a_front_finds_too_large_is_sent_in_parts_and_one_line_that_is_refused_alone() -> Result<()> {
    let (peer, config) = start(&["--max-body", "3000"])?;
    let mut sink = build(&config)?;
    let mut web = Source::new("web");
    let mut records = web.lines(400);
    // What does not shrink.
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = || {
        // Marsaglia's xorshift.
        for shift in [13, -7, 17_i32] {
            state ^= if shift > 0 { state << shift } else { state >> -shift };
        }
        char::from(b' ' + (state >> 32) as u8 % 94)
    };
    let noise: String = (0..6_000).map(|_| random()).collect();
    records.insert(200, web.line(noise));
    let receipt = sink.write(&records)?;
    ensure!(receipt.refused == [Refused { index: 200, reason: "too_large" }], "{:?}", receipt.refused);
    ensure!(lines(&peer)?.len() == 400);
    Ok(())
}

#[test]
fn a_tenant_that_is_missing_is_told_by_the_check_and_by_what_is_refused() -> Result<()> {
    let (_peer, config) = start(&["--tenants"])?;
    let mut sink = build(&config)?;
    for outcome in [sink.check(), sink.write(&Source::new("web").lines(1)).map(drop)] {
        let is_expected = matches!(&outcome, Err(SinkError::Refused { cause, reason: "unauthorized" })
            if cause.contains("no org id"));
        ensure!(is_expected, "{outcome:?}");
    }
    Ok(())
}

#[test]
fn headers_of_the_user_go_with_each_request() -> Result<()> {
    let (peer, config) = start(&[])?;
    let headers = [("X-Team".to_owned(), Secret::from("blue".to_owned()))].into();
    let mut sink = build(&LokiConfig { headers, ..config })?;
    for _ in 0..2 {
        sink.write(&Source::new("web").lines(1))?;
        let (_, body) = http::get(peer.address(), "/requests")?;
        ensure!(body.to_lowercase().contains("\"x-team\": \"blue\""), "{body}");
    }
    Ok(())
}
