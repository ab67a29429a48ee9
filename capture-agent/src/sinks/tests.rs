use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;

use super::delivery::Receipt;
use super::*;

/// Takes a batch only when it is told to.
struct Slow {
    go: Receiver<()>,
    took: Sender<Vec<Record>>,
}

impl Sink for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        let _ = self.go.recv();
        let _ = self.took.send(records.to_vec());
        Ok(Receipt::default())
    }

    fn check(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

fn origin(id: &str) -> Arc<Origin> {
    Arc::new(Origin::new(id.into(), None, Arc::default()))
}

fn lines(origin: &Arc<Origin>, count: usize, length: usize) -> Vec<Record> {
    let message = Bytes::from(vec![b'x'; length]);
    let line = || Content::Line { message: message.clone(), newline: true, partial: false, omitted: 0 };
    let record = || Record {
        origin: Arc::clone(origin),
        stream: Stream::Stdout,
        timestamp: 0,
        completed: 0,
        position: 0,
        content: line(),
        attributes: None,
    };
    std::iter::repeat_with(record).take(count).collect()
}

#[test]
fn a_container_that_floods_the_queue_costs_a_quiet_one_nothing() {
    let ((go, gone), (took, taken)) = (channel(), channel());
    let mut queue = Queue::start(Box::new(Slow { go: gone, took }), CancellationToken::new()).unwrap();
    let (noisy, quiet) = (origin("noisy"), origin("quiet"));
    // More than there is room for, in batches as the reader makes them.
    for _ in 0..2 * QUEUE_BYTES / (1 << 20) {
        let mut batch = lines(&noisy, 15, 64 << 10);
        batch.extend(lines(&quiet, 1, 100));
        batch.extend(lines(&noisy, 1, 64 << 10));
        queue.deliver(batch, false);
    }
    for _ in 0..100 {
        let _ = go.send(());
    }
    queue.finish();
    let taken: Vec<Record> = taken.try_iter().flatten().collect();
    let of = |origin: &Arc<Origin>| {
        let records = taken.iter().filter(|record| Arc::ptr_eq(&record.origin, origin));
        records.map(Record::stream_bytes).sum::<u64>()
    };
    let dropped = |origin: &Arc<Origin>| origin.account.streams[0].dropped.load(Relaxed);
    assert_eq!((of(&quiet), dropped(&quiet)), (32 * 101, 0));
    let written = 32 * 16 * ((64 << 10) + 1);
    assert!(dropped(&noisy) > written / 4);
    assert_eq!(of(&noisy) + dropped(&noisy), written, "every byte is delivered or counted");
    assert_eq!(noisy.account.queued.load(Relaxed) + quiet.account.queued.load(Relaxed), 0);
}
