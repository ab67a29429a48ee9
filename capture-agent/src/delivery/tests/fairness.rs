use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::pipeline::record::DropKind;

const MIB: u64 = 1 << 20;

fn dropped_of(origin: &Arc<Origin>) -> u64 {
    origin.account.streams[0].dropped[DropKind::QueueFull as usize].load(Relaxed)
}

fn delivered_of(origin: &Arc<Origin>) -> u64 {
    origin.account.streams[0].delivered.load(Relaxed)
}

fn bytes_of(taken: &[Record], origin: &Arc<Origin>) -> u64 {
    taken.iter().filter(|record| Arc::ptr_eq(&record.origin, origin)).map(Record::stream_bytes).sum()
}

/// A noisy container among a quiet one, more than there is room for, in batches as the reader makes them.
fn flood(fanout: &Fanout, noisy: &Arc<Origin>, quiet: &Arc<Origin>) {
    for batch in 0..32 {
        let mut records: Vec<_> = (0..15).map(|number| line(noisy, batch * 17 + number, 64 << 10)).collect();
        records.push(line(quiet, batch * 17 + 15, 100));
        records.push(line(noisy, batch * 17 + 16, 64 << 10));
        hand_over(fanout, records, || false);
    }
}

fn assert_only_the_noisy_one_pays(on_full: OnFull) {
    let taken = Taken::default();
    let (go, _asked, sink) = gated(&taken);
    let buffer = Buffer::Memory { capacity: 16 * MIB, on_full };
    let fanout = fanout([SinkSpec { buffer, ..spec("slow", sink) }]);
    let (noisy, quiet) = (origin("noisy"), origin("quiet"));
    flood(&fanout, &noisy, &quiet);
    let level = fanout.control().status()[0].queue;
    assert!(level.bytes <= 16 * MIB + 4 * MIB, "{level:?}");
    drop(go);
    fanout.finish();

    let all = taken.all();
    assert_eq!((bytes_of(&all, &quiet), dropped_of(&quiet)), (32 * 101, 0));
    let written = 32 * 16 * ((64 << 10) + 1);
    assert!(dropped_of(&noisy) > written / 4);
    assert_eq!(bytes_of(&all, &noisy) + dropped_of(&noisy), written, "every byte is delivered or counted");
    assert_eq!((delivered_of(&noisy), delivered_of(&quiet)), (bytes_of(&all, &noisy), 32 * 101));
    let marks: u64 = all
        .iter()
        .map(|record| match record.content {
            Content::Gap { bytes, reason: Some(reason::QUEUE_FULL) } => bytes,
            _ => 0,
        })
        .sum();
    assert_eq!(marks, dropped_of(&noisy), "and marked where it is missing");
    let totals = totals(&fanout, "slow");
    assert_balanced(&totals);
    assert_eq!(totals.dropped[reason::QUEUE_FULL].bytes, dropped_of(&noisy));
    let order: Vec<_> = taken.numbers();
    assert!(order.is_sorted(), "the order is kept");
    let level = fanout.control().status()[0].queue;
    assert_eq!((level.bytes, level.records, level.oldest), (0, 0, None));
}

#[test]
fn a_container_that_floods_the_queue_costs_a_quiet_one_nothing() {
    assert_only_the_noisy_one_pays(OnFull::DropNewest);
}

#[test]
fn nor_where_the_oldest_give_way() {
    assert_only_the_noisy_one_pays(OnFull::DropOldest);
}

/// What a sink has after it was held up over 3,000 lines of about 2 KiB, with room for about half of them.
fn held_up(on_full: OnFull) -> (Vec<Record>, SinkTotals) {
    let taken = Taken::default();
    let (go, asked, sink) = gated(&taken);
    let batch = BatchLimits { max_bytes: 10_000, ..BatchLimits::LOCAL };
    let buffer = Buffer::Memory { capacity: 3 * MIB, on_full };
    let fanout = fanout([SinkSpec { batch, buffer, ..spec("slow", sink) }]);
    let origin = origin("a");
    hand_over(&fanout, vec![line(&origin, 0, 2_000)], || false);
    asked.recv().unwrap();
    for number in 1..3_000 {
        hand_over(&fanout, vec![line(&origin, number, 2_000)], || false);
    }
    drop(go);
    fanout.finish();
    let totals = totals(&fanout, "slow");
    assert_balanced(&totals);
    (taken.all(), totals)
}

#[test]
fn the_newest_give_way_and_a_mark_stands_at_the_end() {
    let (all, totals) = held_up(OnFull::DropNewest);
    let lost = totals.dropped[reason::QUEUE_FULL];
    assert!(lost.records > 1_000, "{lost:?}");
    let (mark, lines) = all.split_last().unwrap();
    assert!(lines.iter().zip(0..).all(|(record, expected)| number(record) == expected), "the first ones are there");
    assert_eq!(lines.len() as u64, 3_000 - lost.records);
    assert_eq!(mark.content, Content::Gap { bytes: lost.bytes, reason: Some(reason::QUEUE_FULL) });
    assert_eq!(mark.position, lines.len() as u64);
}

#[test]
fn the_oldest_give_way_and_a_mark_stands_where_they_were() {
    let (all, totals) = held_up(OnFull::DropOldest);
    let lost = totals.dropped[reason::QUEUE_FULL];
    assert!(lost.records > 1_000, "{lost:?}");
    assert_eq!(number(all.last().unwrap()), 2_999, "the newest is there");
    let mark = all.iter().position(|record| matches!(record.content, Content::Gap { .. })).unwrap();
    assert_eq!(all[mark].content, Content::Gap { bytes: lost.bytes, reason: Some(reason::QUEUE_FULL) });
    // What the sink had in hand was taken; then the mark; then the newest in one row.
    assert_eq!(number(&all[mark]), mark as u64);
    assert_eq!(number(&all[mark + 1]), mark as u64 + lost.records);
    assert!(all[mark + 1..].windows(2).all(|pair| number(&pair[0]) + 1 == number(&pair[1])));
}

#[test]
fn a_dead_sink_delays_neither_another_one_nor_the_reader() {
    let taken = Taken::default();
    let dead = Box::new(Scripted(|_: &[Record]| Err(retry("connection refused"))));
    let buffer = Buffer::Memory { capacity: MIB, on_full: OnFull::DropNewest };
    let dead = SinkSpec { buffer, ..spec("dead", dead) };
    let fanout = Fanout::new(Duration::from_millis(50));
    fanout.control().apply(vec![Change::Add(dead), Change::Add(spec("alive", taken.sink()))]).unwrap();
    let origin = origin("a");
    let begun = Instant::now();
    for batch in 0..500 {
        // The reader would wait, if it were alone.
        hand_over(&fanout, lines(&origin, batch * 100..(batch + 1) * 100), || true);
    }
    let took = begun.elapsed();
    eventually("the other sink has everything", || taken.numbers().len() == 50_000);
    assert!(took < Duration::from_secs(2), "the reader was held up for {took:?}");
    let status = fanout.control().status();
    assert_eq!((&*status[1].name, status[1].health.state), ("dead", State::Degraded));
    assert_eq!(status[1].health.last_error.as_deref(), Some("connection refused"));
    assert!(status[1].queue.lag() > 1.0, "the time of the first line was in 2023");
    fanout.finish();

    let (dead, alive) = (totals(&fanout, "dead"), totals(&fanout, "alive"));
    assert_balanced(&dead);
    assert_balanced(&alive);
    assert_eq!((alive.delivered.records, dead.delivered.records), (50_000, 0));
    assert!(dead.retries > 0);
    assert_eq!(dropped(&dead).keys().copied().collect::<Vec<_>>(), [reason::QUEUE_FULL, reason::SHUTDOWN]);
    // Once in the container's account, and as dropped: a sink that was to have it has not.
    let account = &origin.account.streams[0];
    let all = account.dropped.each_ref().map(|bytes| bytes.load(Relaxed));
    assert_eq!((all.iter().sum::<u64>(), account.delivered.load(Relaxed)), (50_000 * 11, 0));
    assert_eq!(origin.account.by_sink(), [("alive".into(), 50_000)]);
}

#[test]
fn each_sink_has_what_its_filter_lets_through_and_what_nobody_has_is_counted_once() {
    let (low, middle) = (Taken::default(), Taken::default());
    let below = |limit: u64| -> Option<Filter> { Some(Box::new(move |record| number(record) < limit)) };
    let fanout = fanout([
        SinkSpec { filter: below(100), ..spec("low", low.sink()) },
        SinkSpec { filter: below(600), ..spec("middle", middle.sink()) },
    ]);
    let origin = origin("a");
    for batch in 0..10 {
        hand_over(&fanout, lines(&origin, batch * 100..(batch + 1) * 100), || false);
    }
    fanout.finish();
    assert_eq!(low.numbers(), (0..100).collect::<Vec<_>>());
    assert_eq!(middle.numbers(), (0..600).collect::<Vec<_>>());
    for (name, filtered) in [("low", 900), ("middle", 400)] {
        let totals = totals(&fanout, name);
        assert_balanced(&totals);
        assert_eq!(totals.filtered, Totals { records: filtered, bytes: filtered * 11 });
    }
    let account = &origin.account.streams[0];
    assert_eq!((account.delivered.load(Relaxed), account.filtered.load(Relaxed)), (600 * 11, 400 * 11));
    assert_eq!(account.lines.load(Relaxed), 600);
}

#[test]
fn the_reader_waits_for_its_only_sink_if_it_may() {
    let taken = Taken::default();
    let (go, _asked, sink) = gated(&taken);
    let buffer = Buffer::Memory { capacity: MIB, on_full: OnFull::DropNewest };
    let fanout = fanout([SinkSpec { buffer, ..spec("slow", sink) }]);
    let origin = origin("a");
    let ticker = std::thread::spawn(move || {
        for _ in 0..1_000 {
            std::thread::sleep(Duration::from_micros(200));
            let _ = go.send(());
        }
    });
    for batch in 0..100 {
        hand_over(&fanout, lines(&origin, batch * 200..(batch + 1) * 200), || true);
    }
    fanout.finish();
    ticker.join().unwrap();
    assert_eq!(dropped(&totals(&fanout, "slow")), BTreeMap::new());
    assert_eq!(taken.numbers().len(), 20_000);
}
