//! From the reader's hand to a sink that takes everything: records of 100 bytes, in batches as the reader makes them.
//!
//! Each round ends when the sinks have all of it, so both ends of the buffer are in it.

#![expect(missing_docs, reason = "the macros of criterion make public functions")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use capture_agent::delivery::{Buffer, DiskSettings, Fanout, SinkSpec};
use capture_agent::pipeline::record::{Content, Origin, Record};
use capture_agent::sinks::delivery::{Receipt, Sink, SinkError};
use capture_common::Stream;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const BATCH: u64 = 1000;
const LENGTH: usize = 100;

/// Counts.
struct Null(Arc<AtomicU64>);

impl Sink for Null {
    fn name(&self) -> &'static str {
        "null"
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        self.0.fetch_add(records.len() as u64, Relaxed);
        Ok(Receipt::default())
    }

    fn check(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Records of `containers` by turns.
fn batch(containers: usize) -> Vec<Record> {
    let origins: Vec<_> =
        (0..containers).map(|id| Arc::new(Origin::new(format!("{id:064x}").into(), None, Arc::default()))).collect();
    let payload = Bytes::from(vec![b'x'; LENGTH * BATCH as usize]);
    let record = |number: usize| Record {
        origin: Arc::clone(&origins[number / 10 % containers]),
        stream: Stream::Stdout,
        timestamp: 1_700_000_000_000_000_000,
        completed: 42,
        position: (number * LENGTH) as u64,
        content: Content::Line {
            message: payload.slice(number * LENGTH..(number + 1) * LENGTH - 1),
            newline: true,
            partial: false,
            omitted: 0,
        },
        attributes: None,
    };
    (0..BATCH as usize).map(record).collect()
}

/// Spins; a line that is dropped would never come.
fn wait_until(fanout: &Fanout, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        std::thread::yield_now();
        assert!(begun.elapsed() < Duration::from_mins(1), "lines are missing: {:?}", fanout.control().status());
    }
}

fn delivery(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory for the disk buffer");
    let disk = || Buffer::Disk(DiskSettings::new(directory.path().join("buffer")));
    let one: fn(&str) -> SinkSpec = |name| SinkSpec::new(name, Box::new(Null(Arc::default())));
    let half = |name: &str| SinkSpec { filter: Some(Box::new(|record| record.position % 200 == 0)), ..one(name) };
    let cases: [(&str, Vec<SinkSpec>); 5] = [
        ("memory", vec![one("a")]),
        ("memory, 3 sinks", vec![one("a"), one("b"), one("c")]),
        ("memory, half of it filtered", vec![half("a")]),
        ("disk", vec![SinkSpec { buffer: disk(), ..one("a") }]),
        ("disk beside memory", vec![SinkSpec { buffer: disk(), ..one("a") }, one("b")]),
    ];
    let mut group = criterion.benchmark_group("delivery of 100 B lines");
    group.throughput(Throughput::Bytes(BATCH * LENGTH as u64)).sample_size(20);
    for (name, specs) in cases {
        let taken = Arc::<AtomicU64>::default();
        let fanout = Fanout::new(Duration::from_secs(1));
        let mut sinks = 0;
        for spec in specs {
            sinks += if spec.filter.is_some() { BATCH / 2 } else { BATCH };
            let sink = Box::new(Null(Arc::clone(&taken)));
            fanout.control().add(SinkSpec { sink, ..spec }).expect("a sink");
        }
        let records = batch(20);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut batches: Vec<_> = (0..rounds).map(|_| records.clone()).collect();
                let goal = taken.load(Relaxed) + rounds * sinks;
                let begun = Instant::now();
                // So many under way at a time that no queue is ever full, with what a sink has in hand.
                let mut ahead = taken.load(Relaxed);
                while let Some(batch) = batches.pop() {
                    wait_until(&fanout, || ahead <= taken.load(Relaxed) + 8 * sinks);
                    fanout.deliver(batch, || false);
                    ahead += sinks;
                }
                wait_until(&fanout, || taken.load(Relaxed) >= goal);
                begun.elapsed()
            });
        });
        fanout.finish();
    }
    group.finish();
}

criterion_group!(benches, delivery);
criterion_main!(benches);
