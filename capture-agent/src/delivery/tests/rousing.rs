//! When a sink that is fast is woken.

use super::*;

const BATCHES: u64 = 8;

#[test]
fn a_fast_sink_is_woken_when_the_reader_pauses() {
    let taken = Taken::default();
    let fanout = fanout([spec("a", taken.sink())]);
    let origin = origin("c");
    let begun = Instant::now();
    for batch in 0..BATCHES {
        fanout.deliver(lines(&origin, batch * 10..batch * 10 + 10), || false);
        fanout.pause(false);
        eventually("the batch", || taken.numbers().len() as u64 == batch * 10 + 10);
    }
    // By itself it looks once a second.
    assert!(begun.elapsed() < Duration::from_secs(BATCHES / 2), "{:?}", begun.elapsed());
}
