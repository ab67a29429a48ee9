//! What is counted of those who look at records while they pass.

use std::sync::atomic::Ordering::Relaxed;

use prometheus::proto::MetricFamily;

use super::family::{Reading, Source, counter, gauge};
use crate::live::LiveStats;

const LIVE: [Reading<LiveStats, u64>; 4] = [
    (gauge("log_capturer_live_viewers", "Live streams of records that are open."), |live| live.viewers.load(Relaxed)),
    (counter("log_capturer_live_refused_total", "Live streams that found no place."), |live| {
        live.refused.load(Relaxed)
    }),
    (counter("log_capturer_live_records_total", "Records that were sent to viewers."), |live| live.sent.load(Relaxed)),
    (
        counter(
            "log_capturer_live_dropped_records_total",
            "Records that viewers were too slow for; no sink misses one.",
        ),
        |live| live.dropped.load(Relaxed),
    ),
];

impl Source for LiveStats {
    fn read(&self, give: &mut dyn FnMut(MetricFamily)) {
        for (definition, read) in &LIVE {
            give(definition.family(vec![definition.sample(read(self), &[])]));
        }
    }
}
