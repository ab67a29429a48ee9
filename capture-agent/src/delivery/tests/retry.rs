use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::sinks::delivery::Refused;

fn refused(reason: &'static str) -> SinkError {
    SinkError::Refused { cause: "400 Bad Request".to_owned(), reason }
}

/// Delivers 1,000 lines to a sink that does what the closure says; what it took, and its totals.
fn deliver(
    spec_of: impl FnOnce(SinkSpec) -> SinkSpec,
    mut answer: impl FnMut(&[Record]) -> Result<Receipt, SinkError> + Send + 'static,
) -> (Taken, SinkTotals) {
    let taken = Taken::default();
    let sink = Box::new(Scripted({
        let taken = taken.clone();
        move |records: &[Record]| {
            let answer = answer(records);
            match &answer {
                Ok(receipt) => {
                    let is_refused = |index: usize| receipt.refused.iter().any(|refused| refused.index == index);
                    let took = (0..).zip(records).filter(|(index, _)| !is_refused(*index));
                    taken.add(&took.map(|(_, record)| record.clone()).collect::<Vec<_>>());
                }
                Err(SinkError::Partial { left, .. }) => {
                    let took = (0..).zip(records).filter(|(index, _)| !left.contains(index));
                    taken.add(&took.map(|(_, record)| record.clone()).collect::<Vec<_>>());
                }
                Err(_) => {}
            }
            answer
        }
    }));
    let fanout = fanout([spec_of(spec("s", sink))]);
    let origin = origin("a");
    for batch in 0..10 {
        hand_over(&fanout, lines(&origin, batch * 100..(batch + 1) * 100), || false);
    }
    fanout.finish();
    let totals = totals(&fanout, "s");
    assert_balanced(&totals);
    (taken, totals)
}

#[test]
fn the_same_records_come_again_in_their_order() {
    let (mut calls, mut failed) = (0, Vec::new());
    let (taken, totals) = deliver(
        |spec| spec,
        move |records| {
            calls += 1;
            let numbers: Vec<_> = records.iter().map(number).collect();
            if calls % 4 != 0 {
                assert!(failed.is_empty() || failed == numbers, "other records than those that failed");
                failed = numbers;
                return Err(retry("503 Service Unavailable"));
            }
            failed.clear();
            Ok(Receipt::default())
        },
    );
    assert_eq!(taken.numbers(), (0..1000).collect::<Vec<_>>());
    assert!(totals.retries >= 3);
    assert_eq!(dropped(&totals), BTreeMap::new());
}

#[test]
fn one_bad_record_does_not_cost_the_others() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let (taken, totals) = deliver(
        |spec| spec,
        move |records| {
            counted.fetch_add(1, Relaxed);
            let is_bad = |record: &Record| number(record) == 437;
            if records.iter().any(is_bad) { Err(refused("too_long")) } else { Ok(Receipt::default()) }
        },
    );
    assert_eq!(taken.numbers(), (0..1000).filter(|number| *number != 437).collect::<Vec<_>>());
    assert_eq!(dropped(&totals), BTreeMap::from([("too_long", 1)]));
    assert!(requests.load(Relaxed) < 10 + 2 * 10 + 1, "a search in halves");
}

#[test]
fn what_is_refused_throughout_is_set_aside_within_a_limit() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let limited = |mut spec: SinkSpec| {
        spec.retry.max_splits = 5;
        spec
    };
    let (taken, totals) = deliver(limited, move |_| {
        counted.fetch_add(1, Relaxed);
        Err(refused("unknown_tenant"))
    });
    assert_eq!(taken.numbers(), [0; 0]);
    assert_eq!(dropped(&totals), BTreeMap::from([("unknown_tenant", 1000)]));
    // At most one load for each batch: the load, and two requests for each division.
    assert!(requests.load(Relaxed) <= 10 * (1 + 2 * 5));
}

#[test]
fn records_that_a_receipt_refuses_are_set_aside_and_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("refused.json");
    let path = file.clone();
    let with_dead_letters = |mut spec: SinkSpec| {
        spec.retry.dead_letters = Some(path);
        spec
    };
    let (taken, totals) = deliver(with_dead_letters, |records| {
        let refused = (0..).zip(records).filter(|(_, record)| number(record) % 10 == 3);
        let refused = refused.map(|(index, _)| Refused { index, reason: "too_old" }).collect();
        Ok(Receipt { refused })
    });
    assert_eq!(taken.numbers().len(), 900);
    assert_eq!(dropped(&totals), BTreeMap::from([("too_old", 100)]));
    let text = std::fs::read_to_string(file).unwrap();
    let letters: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), 100);
    let third = line(&origin("a"), 3, 10);
    assert_eq!((&letters[0]["sink"], &letters[0]["reason"]), (&"s".into(), &"too_old".into()));
    assert_eq!(letters[0]["uid"], third.uid().to_string());
    assert_eq!(letters[0]["record"]["message"], "xxxxxxxxxx");
}

#[test]
fn what_a_sink_took_of_a_request_that_failed_is_not_given_again() {
    let mut calls = 0;
    let (taken, totals) = deliver(
        |spec| spec,
        move |records| {
            calls += 1;
            // Every second one fails, but for those that the sink will never take.
            let left: Vec<_> = (0..records.len()).filter(|index| index % 2 == 1).collect();
            if left.is_empty() || calls % 5 == 0 {
                return Ok(Receipt::default());
            }
            let refused = vec![Refused { index: 0, reason: "too_old" }];
            Err(SinkError::Partial { cause: "no space".to_owned(), after: None, left, refused })
        },
    );
    let mut numbers = taken.numbers();
    numbers.sort_unstable();
    numbers.dedup();
    let lost = dropped(&totals)["too_old"];
    // The test's own list has the refused ones as well; none stands in it twice.
    assert_eq!((numbers.len(), taken.numbers().len()), (1000, 1000));
    assert_eq!(totals.delivered.records + lost, 1000);
    assert!(lost > 0 && totals.retries > 0);
}

#[test]
fn it_gives_up_after_a_time_if_it_is_told_to_and_marks_what_is_missing() {
    let given_up = Arc::new(AtomicUsize::new(0));
    let limited = |mut spec: SinkSpec| {
        spec.retry.give_up_after = Some(Duration::from_millis(20));
        spec.batch.max_records = 100;
        spec
    };
    let down = Arc::clone(&given_up);
    let (taken, totals) = deliver(limited, move |records| {
        // The first hundred lines are never taken.
        if records.iter().any(|record| number(record) < 100 && matches!(record.content, Content::Line { .. })) {
            down.fetch_add(1, Relaxed);
            return Err(retry("503 Service Unavailable"));
        }
        Ok(Receipt::default())
    });
    assert_eq!(dropped(&totals), BTreeMap::from([(reason::GAVE_UP, 100)]));
    assert_eq!(taken.numbers(), (100..1000).collect::<Vec<_>>());
    assert_eq!(taken.all()[0].content, Content::Gap { bytes: 1100, reason: Some(reason::GAVE_UP) });
    assert!(given_up.load(Relaxed) > 3);
}

#[test]
fn a_record_that_a_sink_panics_over_costs_itself() {
    let (taken, totals) = deliver(
        |spec| spec,
        |records| {
            assert!(records.iter().all(|record| number(record) != 500), "this panic is part of the test");
            Ok(Receipt::default())
        },
    );
    assert_eq!(taken.numbers().len(), 999);
    assert_eq!(dropped(&totals), BTreeMap::from([(reason::PANIC, 1)]));
}

#[test]
fn a_closed_destination_is_told_once_and_what_follows_is_dropped() {
    let gone = CancellationToken::new();
    let closed = gone.clone();
    let (taken, totals) = deliver(
        |spec| SinkSpec { closed: Some(closed), ..spec },
        |_| Err(SinkError::Closed { cause: "standard output: broken pipe".to_owned() }),
    );
    assert!(gone.is_cancelled());
    assert_eq!((taken.numbers().len(), dropped(&totals)), (0, BTreeMap::from([(reason::CLOSED, 1000)])));
}

#[test]
fn a_batch_goes_out_when_it_is_full_or_its_time_is_over() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sizes);
    let sink = Box::new(Scripted(move |records: &[Record]| {
        seen.lock().unwrap().push((records.len(), Instant::now()));
        Ok(Receipt::default())
    }));
    let timeout = Duration::from_millis(200);
    let batch = BatchLimits { max_bytes: 11 * 40, max_records: 1000, timeout };
    let fanout = fanout([SinkSpec { batch, ..spec("s", sink) }]);
    let origin = origin("a");
    let begun = Instant::now();
    for number in 0..100 {
        hand_over(&fanout, lines(&origin, number..number + 1), || false);
    }
    eventually("all are delivered", || sizes.lock().unwrap().iter().map(|(size, _)| size).sum::<usize>() == 100);
    let sizes = sizes.lock().unwrap().clone();
    assert_eq!(sizes.iter().map(|(size, _)| *size).collect::<Vec<_>>(), [40, 40, 20]);
    let last = sizes[2].1 - begun;
    assert!(last >= timeout && last < 10 * timeout, "the rest went out after {last:?}");
    fanout.finish();
}
