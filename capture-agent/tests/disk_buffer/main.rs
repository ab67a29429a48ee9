//! A disk buffer where it is hardest on it: killed at any moment, and with a disk that is full. Needs root, for a small
//! file system.

mod full_disk;
mod killed;

use std::sync::Arc;

use bytes::Bytes;
use capture_agent::delivery::{Fanout, SinkTotals};
use capture_agent::pipeline::record::{Content, Origin, Record};
use capture_common::Stream;

/// A container with nothing known of it but its id.
fn container(number: usize) -> Arc<Origin> {
    Arc::new(Origin::new(format!("{number:064x}").into(), None, Arc::default()))
}

/// A line that says which it is.
fn line(origin: &Arc<Origin>, number: u64, length: usize) -> Record {
    let text = format!("{} {number} ", origin.container_id.trim_start_matches('0'));
    let message: Vec<u8> = text.bytes().chain(std::iter::repeat(b'x')).take(length.max(text.len())).collect();
    Record {
        origin: Arc::clone(origin),
        stream: Stream::Stdout,
        timestamp: 1_700_000_000_000_000_000 + number.cast_signed(),
        completed: number,
        position: number,
        content: Content::Line { message: Bytes::from(message), newline: true, partial: false, omitted: 0 },
        attributes: None,
    }
}

fn totals(fanout: &Fanout) -> SinkTotals {
    fanout.control().status().remove(0).totals
}

/// Everything that was handed to the sink is in one of its counts.
#[track_caller]
fn assert_balanced(totals: &SinkTotals, kept: u64) {
    let dropped: u64 = totals.dropped.values().map(|dropped| dropped.records).sum();
    let came = totals.submitted.records + totals.recovered.records;
    assert_eq!(came, totals.filtered.records + totals.delivered.records + dropped + kept, "{totals:?}");
}
