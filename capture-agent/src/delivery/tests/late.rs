use super::super::counters::Counters;
use super::super::fate::Fates;
use super::super::queue::Queue;
use super::*;

const MIB: u64 = 1 << 20;

/// After how many records of a little more than a mebibyte the sink is late.
fn late_after(capacity: u64) -> Option<u64> {
    let queue = Queue::new(capacity, OnFull::DropNewest, Arc::new(Counters::new("s".into())));
    let origin = origin("a");
    (0..capacity / MIB).find(|number| {
        let is_late = queue.is_filling_up();
        let records = Arc::new(vec![line(&origin, *number, 1 << 20)]);
        queue.push(&records, None, &Arc::new(Fates::of(&records)));
        is_late
    })
}

#[test]
fn a_sink_is_late_when_much_waits_however_large_its_queue_is() {
    let after: Vec<_> = [4, 8, 15, 16, 32, 1024].into_iter().map(|mebibytes| late_after(mebibytes * MIB)).collect();
    assert_eq!(after, [0, 0, 0, 4, 4, 4].map(Some));
}
