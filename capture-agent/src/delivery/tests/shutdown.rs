use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::pipeline::record::DropKind;

#[test]
fn all_sinks_are_drained_at_once_and_within_the_grace() {
    let grace = Duration::from_millis(300);
    let fanout = Fanout::new(grace);
    let taken = Taken::default();
    let slow = || {
        let taken = taken.clone();
        Box::new(Scripted(move |records: &[Record]| {
            std::thread::sleep(Duration::from_millis(150));
            taken.add(records);
            Ok(Receipt::default())
        }))
    };
    // One never answers, one answers only with failures, and two need half the grace.
    let (hangs, on) = channel::<()>();
    let on = Mutex::new(on);
    let hanging = Box::new(Scripted(move |_: &[Record]| {
        let _ = on.lock().unwrap().recv();
        Ok(Receipt::default())
    }));
    let failing = Box::new(Scripted(|_: &[Record]| Err(retry("down"))));
    let sinks: [(&str, Box<dyn Sink>); 4] = [("a", slow()), ("b", slow()), ("failing", failing), ("hanging", hanging)];
    fanout.control().apply(sinks.into_iter().map(|(name, sink)| Change::Add(spec(name, sink))).collect()).unwrap();
    let origin = origin("a");
    hand_over(&fanout, lines(&origin, 0..100), || false);
    std::thread::sleep(Duration::from_millis(50));
    // Behind what the sinks have in hand.
    hand_over(&fanout, lines(&origin, 100..150), || false);
    let begun = Instant::now();
    fanout.finish();
    let took = begun.elapsed();
    assert!(took >= grace && took < grace * 4, "{took:?}");
    for name in ["a", "b", "failing", "hanging"] {
        let totals = totals(&fanout, name);
        assert_balanced(&totals);
        let expected = if name.len() == 1 { 0 } else { 150 };
        assert_eq!(totals.dropped[reason::SHUTDOWN], Totals { records: expected, bytes: expected * 11 }, "{name}");
    }
    // What a thread does with what was taken from it changes no count.
    drop(hangs);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(totals(&fanout, "hanging").delivered, Totals::default());
    let account = &origin.account.streams[0];
    assert_eq!(account.dropped[DropKind::Undelivered as usize].load(Relaxed), 150 * 11);
    assert_eq!(account.delivered.load(Relaxed), 0);
    // Nothing takes what comes too late, and it is counted.
    hand_over(&fanout, lines(&origin, 0..1), || false);
    assert_eq!(totals(&fanout, "failing").dropped[reason::SHUTDOWN].records, 151);
}
