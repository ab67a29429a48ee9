//! Allocations for each record on its way through framing and encoding, once the buffers have their size.
//!
//! Prints a line for each stage: name, records, allocations, separated by tabs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use capture_agent::containers::directory::Metadata;
use capture_agent::pipeline::record::{Content, Origin, Record};
use capture_agent::session::framing::{Framed, Framer, Line};
use capture_agent::sinks::encode::{Encoder, Encoding};
use capture_common::Stream;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const ROUNDS: u64 = 100;

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let line = format!("{}\n", "x".repeat(99));
    let chunk = Bytes::from(line.repeat(650));
    let metadata =
        Metadata { id: "ab".repeat(32), name: "web".to_owned(), image: "web:1".to_owned(), labels: BTreeMap::new() };
    let id = Arc::from(metadata.id.as_str());
    let origin = Arc::new(Origin::new(id, Some(Arc::new(metadata)), Arc::default()));
    let mut framer = Framer::new(1 << 20);
    let mut batch = Vec::new();
    let mut out = Vec::new();

    measure("framing", || {
        batch.clear();
        framer.push(42, chunk.clone().into(), |framed| {
            let content = match framed {
                Framed::Line(Line { message, newline, partial, omitted, .. }) => {
                    Content::Line { message, newline, partial, omitted }
                }
                Framed::Lines { data, count, .. } => Content::Lines { data, count },
            };
            let origin = Arc::clone(&origin);
            batch.push(Record {
                origin,
                stream: Stream::Stdout,
                timestamp: 1_700_000_000_000_000_000,
                completed: 42,
                position: 0,
                content,
                attributes: None,
            });
        });
        batch.iter().map(Record::lines).sum()
    });
    for (name, encoding) in [("json", Encoding::Json), ("text", Encoding::Text), ("raw", Encoding::Raw)] {
        let mut encoder = Encoder::new(encoding, "host-1".to_owned(), false);
        measure(name, || {
            out.clear();
            for record in &batch {
                encoder.encode(record, &mut out);
            }
            batch.iter().map(Record::lines).sum()
        });
    }
}

fn measure(name: &str, mut round: impl FnMut() -> u64) {
    // Buffers grow to their size, and what is rendered once is rendered.
    round();
    let before = dhat::HeapStats::get().total_blocks;
    let records: u64 = (0..ROUNDS).map(|_| round()).sum();
    let allocations = dhat::HeapStats::get().total_blocks - before;
    println!("{name}\t{records}\t{allocations}");
}
