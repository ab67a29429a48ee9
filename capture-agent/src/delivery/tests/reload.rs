use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::*;

/// Delivers numbered lines until it is told to stop; how many.
fn writer(fanout: Arc<Fanout>, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let origin = origin("a");
        let mut next = 0;
        while !stop.load(Relaxed) {
            hand_over(&fanout, lines(&origin, next..next + 7), || false);
            next += 7;
            std::thread::sleep(Duration::from_micros(100));
        }
        next
    })
}

#[test]
fn a_thousand_changes_under_load_neither_lose_nor_double_a_line() {
    let (always, evens, odds) = (Taken::default(), Taken::default(), Taken::default());
    let parity = |parity: u64| -> Option<Filter> { Some(Box::new(move |record| number(record) % 2 == parity)) };
    let fanout =
        Arc::new(fanout([spec("always", always.sink()), SinkSpec { filter: parity(0), ..spec("half", evens.sink()) }]));
    let control = fanout.control();
    let stop = Arc::<AtomicBool>::default();
    let writer = writer(Arc::clone(&fanout), Arc::clone(&stop));
    // The half goes to one destination or the other, by turns: replaced, with its backlog, or removed and added.
    for round in 0..1_000 {
        let taken = if round % 2 == 0 { &odds } else { &evens };
        let half = || SinkSpec { filter: parity((round + 1) % 2), ..spec("half", taken.sink()) };
        let change = match round % 4 {
            0 | 1 => vec![Change::Replace(half())],
            2 => vec![Change::Remove("half".into()), Change::Add(half())],
            // The filter alone, and a sink that takes the place of one just like it.
            _ => vec![
                Change::Filter("half".into(), parity((round + 1) % 2)),
                Change::Replace(spec("always", always.sink())),
            ],
        };
        control.apply(change).unwrap();
        std::thread::sleep(Duration::from_micros(200));
    }
    stop.store(true, Relaxed);
    let written = writer.join().unwrap();
    fanout.finish();
    assert!(written > 1_000, "{written} lines are no load");
    assert_eq!(always.numbers(), (0..written).collect::<Vec<_>>(), "in order, each once");
    let mut halves = [evens.numbers(), odds.numbers()].concat();
    let seen = halves.len();
    halves.sort_unstable();
    halves.dedup();
    assert_eq!(halves.len(), seen, "none twice");
    for name in ["always", "half"] {
        let totals = totals(&fanout, name);
        assert_balanced(&totals);
        assert_eq!((totals.submitted.records, dropped(&totals)), (written, BTreeMap::new()), "{name}");
    }
    assert_eq!(totals(&fanout, "half").delivered.records, seen as u64);
}

#[test]
fn a_sink_that_takes_anothers_place_has_its_backlog() {
    let taken = Taken::default();
    let dead = Box::new(Scripted(|_: &[Record]| Err(retry("connection refused"))));
    let patient = RetryPolicy { initial: Duration::from_hours(1), max: Duration::from_hours(1), ..impatient() };
    let fanout = fanout([SinkSpec { retry: patient, ..spec("s", dead) }]);
    hand_over(&fanout, lines(&origin("a"), 0..1000), || false);
    eventually("it fails", || totals_retries(&fanout));
    fanout.control().apply(vec![Change::Replace(spec("s", taken.sink()))]).unwrap();
    eventually("the new sink has what the old one could not deliver", || taken.numbers().len() == 1000);
    let status = fanout.control().status();
    assert_eq!(status[0].health.state, State::Up);
    fanout.finish();
    assert_balanced(&totals(&fanout, "s"));
}

fn totals_retries(fanout: &Fanout) -> bool {
    fanout.control().status()[0].health.state == State::Degraded
}

#[test]
fn what_cannot_be_changed_leaves_everything_as_it_is() {
    let taken = Taken::default();
    let fanout = fanout([spec("a", taken.sink())]);
    let control = fanout.control();
    let other = Taken::default();
    let twice = control.apply(vec![Change::Add(spec("b", other.sink())), Change::Add(spec("a", other.sink()))]);
    assert_eq!(twice.unwrap_err().to_string(), "there is a sink a already; give this one another name");
    let unknown = control.apply(vec![Change::Add(spec("b", other.sink())), Change::Remove("c".into())]);
    assert_eq!(unknown.unwrap_err().to_string(), "there is no sink c");
    assert_eq!(control.names(), ["a".into()]);
    hand_over(&fanout, lines(&origin("a"), 0..10), || false);
    fanout.finish();
    assert_eq!((taken.numbers().len(), other.numbers().len()), (10, 0));
}

#[test]
fn every_sink_opens_its_files_anew_when_it_is_told() {
    struct Reopens(Arc<AtomicBool>);
    impl Sink for Reopens {
        fn name(&self) -> &'static str {
            "reopens"
        }
        fn write(&mut self, _: &[Record]) -> Result<Receipt, SinkError> {
            Ok(Receipt::default())
        }
        fn check(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn reopen(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let reopened = Arc::<AtomicBool>::default();
    let fanout = fanout([spec("s", Box::new(Reopens(Arc::clone(&reopened))))]);
    fanout.control().reopen();
    eventually("the sink is told", || reopened.load(Relaxed));
    fanout.finish();
}

#[test]
fn buffers_are_exchanged_under_load_without_a_lost_or_doubled_line() {
    let directory = tempfile::tempdir().unwrap();
    let taken = Taken::default();
    let fanout = Arc::new(fanout([spec("s", taken.sink())]));
    let stop = Arc::<AtomicBool>::default();
    let writer = writer(Arc::clone(&fanout), Arc::clone(&stop));
    for round in 0..60 {
        let buffer = match round % 3 {
            // The old one is drained beside the new one.
            0 => Buffer::Disk(DiskSettings::new(directory.path().join(round.to_string()))),
            // The same, in the same directory: the backlog stays where it is.
            1 => Buffer::Disk(DiskSettings::new(directory.path().join((round - 1).to_string())).capacity(8 << 20)),
            _ => Buffer::MEMORY,
        };
        fanout.control().apply(vec![Change::Replace(SinkSpec { buffer, ..spec("s", taken.sink()) })]).unwrap();
        std::thread::sleep(Duration::from_millis(3));
    }
    stop.store(true, Relaxed);
    let written = writer.join().unwrap();
    fanout.finish();
    let mut numbers = taken.numbers();
    numbers.sort_unstable();
    assert!(written > 500, "{written} lines are no load");
    assert_eq!(numbers, (0..written).collect::<Vec<_>>());
    let totals = totals(&fanout, "s");
    assert_balanced(&totals);
    assert_eq!((totals.delivered.records, dropped(&totals)), (written, BTreeMap::new()));
}

#[test]
fn a_sink_that_is_removed_leaves_its_disk_buffer_to_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let on_disk = |sink| {
        let buffer = Buffer::Disk(DiskSettings::new(directory.path().join("buffer")));
        SinkSpec { buffer, ..spec("s", sink) }
    };
    let dead = Box::new(Scripted(|_: &[Record]| Err(retry("connection refused"))));
    let (taken, other) = (Taken::default(), Taken::default());
    let fanout = fanout([on_disk(dead), spec("other", other.sink())]);
    let origin = origin("a");
    hand_over(&fanout, lines(&origin, 0..1000), || false);
    fanout.control().apply(vec![Change::Remove("s".into())]).unwrap();
    hand_over(&fanout, lines(&origin, 1000..1100), || false);
    // The directory is the old one's until it has ended, which does not wait for a destination that fails.
    eventually("the directory is free", || fanout.control().add(on_disk(taken.sink())).is_ok());
    hand_over(&fanout, lines(&origin, 1100..1200), || false);
    eventually("all are delivered", || taken.numbers().len() == 1100);
    fanout.finish();
    assert_eq!(taken.numbers(), (0..1000).chain(1100..1200).collect::<Vec<_>>());
    assert_eq!(other.numbers(), (0..1200).collect::<Vec<_>>());
    let totals = totals(&fanout, "s");
    assert_balanced(&totals);
    assert_eq!((totals.recovered.records, totals.recovered.bytes), (1000, 11_000));
    assert_eq!(origin.account.streams[0].delivered.load(Relaxed), 1200 * 11, "what was on disk counts as delivered");
}

#[test]
fn two_sinks_do_not_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let taken = Taken::default();
    let on_disk = |name: &str| {
        let buffer = Buffer::Disk(DiskSettings::new(directory.path().to_owned()));
        SinkSpec { buffer, ..spec(name, taken.sink()) }
    };
    let fanout = fanout([on_disk("a")]);
    let refused = fanout.control().add(on_disk("b")).unwrap_err().to_string();
    assert!(refused.starts_with("sink b: ") && refused.contains("in use by another sink"), "{refused}");
    assert_eq!(fanout.control().names(), ["a".into()]);
    fanout.finish();
}
