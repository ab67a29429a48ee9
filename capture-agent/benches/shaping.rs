//! Selection and shaping, each stage by itself, on one core.
//!
//! Throughput is bytes of container output.

#![expect(missing_docs, reason = "the macros of criterion make public functions")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use capture_agent::containers::directory::Metadata;
use capture_agent::pipeline::PipelineConfig;
use capture_agent::pipeline::record::{Content, Origin, Record};
use capture_agent::pipeline::select::FilterConfig;
use capture_agent::sinks::encode::{Encoder, Encoding};
use capture_common::Stream;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;

/// Lines of a batch, of each of so many containers.
const LINES: usize = 64;
const CONTAINERS: usize = 10;

fn origins() -> Vec<Arc<Origin>> {
    let origin = |number: usize| {
        let id = format!("{number:064x}");
        let metadata = Metadata {
            id: id.clone(),
            name: format!("shop-web-{number}"),
            image: "registry/shop/web:1.4.2".to_owned(),
            labels: BTreeMap::from([("com.docker.compose.project".to_owned(), "shop".to_owned())]),
        };
        Arc::new(Origin::new(id.into(), Some(Arc::new(metadata)), Arc::default()))
    };
    (0..CONTAINERS).map(origin).collect()
}

/// What the reader hands on: runs of each container's lines, ten microseconds apart.
fn batch(text: &str) -> Vec<Record> {
    let lines: Vec<Bytes> = text.lines().map(|line| Bytes::copy_from_slice(line.as_bytes())).collect();
    let mut records = Vec::new();
    for origin in origins() {
        for message in lines.iter().cycle().take(LINES) {
            let completed = 10_000 * records.len() as u64;
            records.push(Record {
                origin: Arc::clone(&origin),
                stream: Stream::Stdout,
                timestamp: 1_700_000_000_000_000_000 + completed.cast_signed(),
                completed,
                position: 0,
                content: Content::Line { message: message.clone(), newline: true, partial: false, omitted: 0 },
                attributes: None,
            });
        }
    }
    records
}

fn bytes(records: &[Record]) -> u64 {
    records.iter().map(Record::stream_bytes).sum()
}

/// A line of 100 bytes that says nothing special.
const PLAIN: &str =
    "2024-05-01T10:00:00.123Z  INFO shop::orders: order 81723 of customer 991 was packed and sent, took 12 ms";
const JSON: &str = r#"{"time":"2024-05-01T10:00:00.123Z","level":"info","msg":"order sent","order":81723,"took":12.5}"#;
const LOGFMT: &str =
    r#"time=2024-05-01T10:00:00.123Z level=info msg="order sent" order=81723 customer=991 took=12.5ms"#;
const TRACE: &str = include_str!("../src/pipeline/multiline/traces/java.txt");

fn stages(criterion: &mut Criterion) {
    for (name, text, config) in [
        ("nothing", PLAIN, json!({})),
        ("rate limit that nothing exceeds", PLAIN, json!({"rate_limit": {"lines_per_second": 100_000_000}})),
        ("rate limit that drops nearly all", PLAIN, json!({"rate_limit": {"lines_per_second": 1}})),
        ("multiline java, no traces", PLAIN, json!({"multiline": {"preset": "java"}})),
        ("multiline java, traces", TRACE, json!({"multiline": {"preset": "java"}})),
        ("multiline python, no traces", PLAIN, json!({"multiline": {"preset": "python"}})),
        ("multiline indentation", PLAIN, json!({"multiline": {"preset": "indentation"}})),
        ("multiline start_pattern", PLAIN, json!({"multiline": {"start_pattern": r"^\d{4}-\d{2}-\d{2}"}})),
        ("parse json", JSON, json!({"parse": ["json"]})),
        ("parse json, plain lines", PLAIN, json!({"parse": ["json"]})),
        ("parse logfmt", LOGFMT, json!({"parse": ["logfmt"]})),
        ("detect_level", PLAIN, json!({"detect_level": true})),
        ("redact email, none there", PLAIN, json!({"redact": [{"preset": "email"}]})),
        (
            "redact four presets, none there",
            PLAIN,
            json!({"redact": [
            {"preset": "email"}, {"preset": "ipv4"}, {"preset": "credit_card"}, {"preset": "bearer_token"}]}),
        ),
        ("redact a pattern that is there", PLAIN, json!({"redact": [{"pattern": "customer \\d+"}]})),
    ] {
        let records = batch(text);
        let mut pipeline = serde_json::from_value::<PipelineConfig>(config).unwrap().build().unwrap();
        let mut group = criterion.benchmark_group("pipeline");
        group.throughput(Throughput::Bytes(bytes(&records)));
        group.bench_function(name, |bencher| {
            let now = Instant::now();
            bencher.iter_batched(
                || records.clone(),
                |records| {
                    let mut out = Vec::new();
                    pipeline.process(records, now, &mut out);
                    // Given back, so that it is dropped outside of the measured time.
                    out
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

fn select(criterion: &mut Criterion) {
    let records = batch(PLAIN);
    let mut group = criterion.benchmark_group("select");
    group.throughput(Throughput::Bytes(bytes(&records)));
    for (name, config) in [
        ("all", json!({})),
        ("names and labels", json!({"include": {"names": ["shop-*"]}, "exclude": {"labels": {"team": "x*"}}})),
        ("stream and level", json!({"streams": ["stdout"], "min_level": "warn"})),
    ] {
        let mut selection = serde_json::from_value::<FilterConfig>(config).unwrap().build().unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(&records).iter().filter(|record| selection.takes(record)).count());
        });
    }
    group.finish();
}

/// What encoders write of what the pipeline found.
fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, text, config, encoding) in [
        ("plain as json", PLAIN, json!({}), Encoding::Json),
        ("plain as logfmt", PLAIN, json!({}), Encoding::Logfmt),
        ("fields as json", JSON, json!({"parse": ["json"]}), Encoding::Json),
        ("fields as logfmt", JSON, json!({"parse": ["json"]}), Encoding::Logfmt),
    ] {
        let mut records = Vec::new();
        let mut pipeline = serde_json::from_value::<PipelineConfig>(config).unwrap().build().unwrap();
        pipeline.process(batch(text), Instant::now(), &mut records);
        let mut encoder = Encoder::new(encoding, "host-1".to_owned(), false);
        let mut out = Vec::new();
        group.throughput(Throughput::Bytes(bytes(&records)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                for record in black_box(&records) {
                    encoder.encode(record, &mut out);
                }
                black_box(out.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stages, select, encode);
criterion_main!(benches);
