use bytes::Bytes;

use super::*;

const MS: u64 = 1_000_000;

fn origin(id: &str) -> Arc<Origin> {
    Arc::new(Origin::new(id.into(), None, Arc::default()))
}

/// A line of three bytes with its newline, written at a time in ms.
fn line(origin: &Arc<Origin>, stream: Stream, time: u64, partial: bool) -> Record {
    Record {
        origin: Arc::clone(origin),
        stream,
        timestamp: time.cast_signed(),
        completed: time * MS,
        position: 3 * time,
        content: Content::Line { message: Bytes::from_static(b"ab"), newline: !partial, partial, omitted: 0 },
        attributes: None,
    }
}

fn limit(lines_per_second: u32, burst: Option<u32>) -> RateLimit {
    let config = RateLimitConfig {
        lines_per_second: lines_per_second.try_into().unwrap(),
        burst: burst.map(|burst| burst.try_into().unwrap()),
    };
    config.build()
}

/// Lines as their time, gaps as minus their bytes.
fn text(records: &[Record]) -> Vec<i64> {
    let text = |record: &Record| match record.content {
        Content::Line { .. } => record.timestamp,
        Content::Lines { .. } => unreachable!("single lines"),
        Content::Gap { bytes, reason } => {
            assert_eq!(reason, Some(RATE_LIMIT));
            -bytes.cast_signed()
        }
    };
    records.iter().map(text).collect()
}

#[test]
fn so_many_lines_pass_in_any_second_and_a_burst_after_quiet() {
    let (origin, now, mut out) = (origin("a"), Instant::now(), Vec::new());
    let mut limit = limit(10, Some(3));
    // Three at once, then one each 100 ms.
    let written: Vec<_> = (0..50).map(|index| line(&origin, Stream::Stdout, 1000 + 10 * index, false)).collect();
    limit.process(written, now, &mut out);
    assert_eq!(text(&out), [1000, 1010, 1020, -3 * 7, 1100, -3 * 9, 1200, -3 * 9, 1300, -3 * 9, 1400]);
    assert_eq!(origin.account.streams[0].dropped[DropKind::RateLimit as usize].load(Relaxed), 3 * (50 - 7));
    // The mark stands where the first is missing.
    assert_eq!((out[3].timestamp, out[3].position, out[3].completed), (1030, 3 * 1030, 1030 * MS));
    out.clear();
    limit.process((0..5).map(|_| line(&origin, Stream::Stderr, 9000, false)).collect(), now, &mut out);
    assert_eq!(text(&out), [-3 * 9, 9000, 9000, 9000], "the mark of before comes first");
}

#[test]
fn without_a_burst_a_seconds_worth_is_one() {
    let (origin, mut out) = (origin("a"), Vec::new());
    limit(7, None).process(
        (0..20).map(|_| line(&origin, Stream::Stdout, 5, false)).collect(),
        Instant::now(),
        &mut out,
    );
    assert_eq!(out.len(), 7);
}

#[test]
fn it_is_the_time_of_writing_that_counts() {
    let (origin, now, mut out) = (origin("a"), Instant::now(), Vec::new());
    // Read at once after the agent was away for a minute.
    let written: Vec<_> = (0..600).map(|index| line(&origin, Stream::Stdout, 100 * index, false)).collect();
    limit(10, Some(1)).process(written, now, &mut out);
    assert_eq!(out.len(), 600);
}

#[test]
fn one_container_takes_nothing_from_another() {
    let (noisy, quiet, now, mut out) = (origin("noisy"), origin("quiet"), Instant::now(), Vec::new());
    let mut written = Vec::new();
    for time in 0..1000 {
        written.extend((0..10).map(|_| line(&noisy, Stream::Stdout, time, false)));
        written.extend((time % 100 == 0).then(|| line(&quiet, Stream::Stdout, time, false)));
    }
    limit(10, None).process(written, now, &mut out);
    let quiet_lines = out.iter().filter(|record| Arc::ptr_eq(&record.origin, &quiet)).count();
    assert_eq!((quiet_lines, quiet.account.streams[0].dropped[DropKind::RateLimit as usize].load(Relaxed)), (10, 0));
    assert!(noisy.account.streams[0].dropped[DropKind::RateLimit as usize].load(Relaxed) > 3 * 9900);
}

#[test]
fn the_pieces_of_a_line_pass_together() {
    let (origin, now, mut out) = (origin("a"), Instant::now(), Vec::new());
    let stdout = |time, partial| line(&origin, Stream::Stdout, time, partial);
    let written = vec![
        stdout(1, true),
        line(&origin, Stream::Stderr, 2, false),
        stdout(3, true),
        stdout(4, false),
        // A second later the second line of stderr is let through, and this one goes with its first piece.
        stdout(900, true),
        line(&origin, Stream::Stderr, 1100, false),
        stdout(1200, false),
        stdout(2500, false),
    ];
    limit(1, None).process(written, now, &mut out);
    // 2, 900 and 1200 are missing: 3, 2 and 3 bytes.
    assert_eq!(text(&out), [1, -3, 3, 4, -2, 1100, -3, 2500]);
}

#[test]
fn gaps_always_pass_and_end_the_line_before() {
    let (origin, now, mut out) = (origin("a"), Instant::now(), Vec::new());
    let gap = |time| Record {
        content: Content::Gap { bytes: 9, reason: Some(RATE_LIMIT) },
        ..line(&origin, Stream::Stdout, time, false)
    };
    let written =
        vec![line(&origin, Stream::Stdout, 1, true), gap(2), line(&origin, Stream::Stdout, 3, false), gap(4), gap(5)];
    limit(1, None).process(written, now, &mut out);
    assert_eq!(text(&out), [1, -9, -3, -9, -9], "the line after the gap is another one than before");
}

#[test]
fn a_mark_that_nothing_follows_is_given_out_in_time() {
    let (first, second, now, mut out) = (origin("a"), origin("b"), Instant::now(), Vec::new());
    let mut limit = limit(1, None);
    assert_eq!(limit.next_deadline(), None);
    for (origin, after) in [(&first, 0), (&second, 400)] {
        let now = now + Duration::from_millis(after);
        limit.process((0..4).map(|_| line(origin, Stream::Stdout, 7, false)).collect(), now, &mut out);
    }
    assert_eq!(limit.next_deadline(), Some(now + MARK_DELAY));
    limit.tick(now + Duration::from_millis(999), &mut out);
    assert_eq!(text(&out), [7, 7]);
    limit.tick(now + MARK_DELAY, &mut out);
    assert_eq!(text(&out), [7, 7, -9]);
    assert_eq!(limit.next_deadline(), Some(now + MARK_DELAY + Duration::from_millis(400)));
    limit.finish(&mut out);
    assert_eq!(text(&out), [7, 7, -9, -9]);
    assert_eq!(limit.next_deadline(), None);
}

#[test]
fn every_byte_passes_or_is_counted_and_marked_in_order() {
    let origins = [origin("a"), origin("b"), origin("c")];
    let mut random = 1u64;
    let mut next = |below: u64| {
        // Numerical Recipes' generator; its low bits are poor.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..200 {
        let (mut limit, now, mut out) =
            (limit(1 + next(50) as u32, Some(1 + next(5) as u32)), Instant::now(), Vec::new());
        let (mut written, mut batch, mut time) = (0, Vec::new(), 0);
        let lost = || {
            origins
                .iter()
                .flat_map(|origin| &origin.account.streams)
                .map(|stream| stream.dropped[DropKind::RateLimit as usize].load(Relaxed))
        };
        let before: u64 = lost().sum();
        for _ in 0..200 {
            time += next(40);
            let (origin, stream) = (&origins[next(3) as usize], Stream::ALL[next(2) as usize]);
            batch.push(line(origin, stream, time, next(4) == 0));
            written += batch.last().unwrap().stream_bytes();
            match next(20) {
                0 => limit.process(std::mem::take(&mut batch), now, &mut out),
                1 => limit.tick(now + Duration::from_millis(time), &mut out),
                2 => limit.forget(&origin.container_id, &mut out),
                _ => {}
            }
        }
        limit.process(batch, now, &mut out);
        limit.finish(&mut out);
        let passed: u64 = out.iter().map(Record::stream_bytes).sum();
        let marked: i64 =
            text(&out).iter().zip(&out).filter(|(_, record)| record.stream_bytes() == 0).map(|(n, _)| -n).sum();
        assert_eq!(passed + marked.cast_unsigned(), written);
        assert_eq!(lost().sum::<u64>() - before, marked.cast_unsigned());
        for (origin, stream) in origins.iter().flat_map(|origin| Stream::ALL.map(|stream| (origin, stream))) {
            let of = out.iter().filter(|record| Arc::ptr_eq(&record.origin, origin) && record.stream == stream);
            assert!(of.is_sorted_by_key(|record| record.timestamp));
        }
    }
}

#[test]
fn marks_of_both_streams_stand_in_the_order_of_what_they_mark() {
    let (origin, mut out) = (origin("a"), Vec::new());
    let written = [(Stream::Stdout, 1), (Stream::Stderr, 2), (Stream::Stdout, 3), (Stream::Stdout, 1100)];
    let written = written.map(|(stream, time)| line(&origin, stream, time, false));
    limit(1, None).process(written.into(), Instant::now(), &mut out);
    let marks: Vec<_> = out.iter().map(|record| (record.stream, record.timestamp)).collect();
    let expected = [(Stream::Stdout, 1), (Stream::Stderr, 2), (Stream::Stdout, 3), (Stream::Stdout, 1100)];
    assert_eq!(marks, expected);
}

#[test]
fn nothing_that_matters_is_forgotten() {
    let (now, mut out, mut limit) = (Instant::now(), Vec::new(), limit(1, None));
    let (spent, marked) = (origin("spent"), origin("marked"));
    limit.process((0..2).map(|_| line(&marked, Stream::Stdout, 1, false)).collect(), now, &mut out);
    limit.process(vec![line(&spent, Stream::Stdout, 2000, false)], now, &mut out);
    // The bucket of one is full again by then, and what it dropped is not marked; the other's is empty.
    for number in 0..1000 {
        limit.process(vec![line(&origin(&format!("c{number}")), Stream::Stdout, 2000, false)], now, &mut out);
    }
    out.clear();
    limit.process(vec![line(&spent, Stream::Stdout, 2000, false)], now, &mut out);
    assert_eq!(text(&out), [0; 0]);
    limit.finish(&mut out);
    assert_eq!(text(&out), [-3, -3]);
}

#[test]
fn containers_that_are_gone_are_forgotten() {
    let (now, mut out, mut limit) = (Instant::now(), Vec::new(), limit(10, None));
    for number in 0..10_000 {
        // Each within its limit, a second after the one before.
        limit.process(vec![line(&origin(&format!("c{number}")), Stream::Stdout, 1000 * number, false)], now, &mut out);
    }
    assert_eq!(out.len(), 10_000);
    assert!(limit.containers.len() < 200);
}
