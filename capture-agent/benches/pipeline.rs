//! The way of a line through the agent, on one core: framing, encoding, and both.
//!
//! Throughput is bytes of container output, not of what is written.

#![expect(missing_docs, reason = "the macros of criterion make public functions")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use capture_agent::containers::directory::Metadata;
use capture_agent::pipeline::record::{Content, Origin, Record};
use capture_agent::session::framing::{Framed, Framer, Line};
use capture_agent::sinks::encode::{Encoder, Encoding};
use capture_common::Stream;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// What one record of the ring buffer carries when a program writes without pause.
const CHUNK: usize = 64 << 10;
const MAX_LINE: usize = 1 << 20;

/// Chunks of lines of `length` bytes, newline included, as programs write them.
fn chunk(length: usize, special: &str) -> Bytes {
    let mut text = String::new();
    for number in 0..CHUNK / length {
        let line = format!("{number:08} GET /index.html 200 {special} ");
        let line: String = line.chars().chain(std::iter::repeat('x')).take(length - 1).collect();
        text.push_str(&line);
        text.push('\n');
    }
    text.into()
}

fn origin() -> Arc<Origin> {
    let labels = [("com.docker.compose.project", "shop"), ("com.docker.compose.service", "web")];
    let metadata = Metadata {
        id: "4f5b6c7d8e9fa0b1".repeat(4),
        name: "shop-web-1".to_owned(),
        image: "registry/shop/web:1.4.2".to_owned(),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>(),
    };
    let id = Arc::from(metadata.id.as_str());
    Arc::new(Origin::new(id, Some(Arc::new(metadata)), Arc::default()))
}

fn frame(framer: &mut Framer, origin: &Arc<Origin>, chunk: &Bytes, batch: &mut Vec<Record>) {
    framer.push(42, chunk.clone().into(), |framed| {
        let content = match framed {
            Framed::Line(Line { message, newline, partial, omitted, .. }) => {
                Content::Line { message, newline, partial, omitted }
            }
            Framed::Lines { data, count, .. } => Content::Lines { data, count },
        };
        batch.push(Record {
            origin: Arc::clone(origin),
            stream: Stream::Stdout,
            timestamp: 1_700_000_000_000_000_042,
            completed: 42,
            position: 0,
            content,
            attributes: None,
        });
    });
}

fn pipeline(criterion: &mut Criterion) {
    let origin = origin();
    for (name, length, special) in
        [("lines of 100 B", 100, ""), ("lines of 1 KiB", 1024, ""), ("lines of 100 B to be escaped", 100, "\"\\\t→")]
    {
        let chunk = chunk(length, special);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(chunk.len() as u64));

        group.bench_function("framing", |bencher| {
            let (mut framer, mut batch) = (Framer::new(MAX_LINE), Vec::new());
            bencher.iter(|| {
                frame(&mut framer, &origin, black_box(&chunk), &mut batch);
                batch.clear();
            });
        });
        for (name, encoding) in [("json", Encoding::Json), ("text", Encoding::Text), ("raw", Encoding::Raw)] {
            let mut encoder = Encoder::new(encoding, "host-1".to_owned(), false);
            let (mut framer, mut batch, mut out) = (Framer::new(MAX_LINE), Vec::new(), Vec::new());
            frame(&mut framer, &origin, &chunk, &mut batch);
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    out.clear();
                    for record in black_box(&batch) {
                        encoder.encode(record, &mut out);
                    }
                    black_box(out.len())
                });
            });
        }
        group.bench_function("framing + json", |bencher| {
            let mut encoder = Encoder::new(Encoding::Json, "host-1".to_owned(), false);
            let (mut framer, mut batch, mut out) = (Framer::new(MAX_LINE), Vec::new(), Vec::new());
            bencher.iter(|| {
                frame(&mut framer, &origin, black_box(&chunk), &mut batch);
                out.clear();
                for record in batch.drain(..) {
                    encoder.encode(&record, &mut out);
                }
                black_box(out.len())
            });
        });
        group.finish();
    }
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
