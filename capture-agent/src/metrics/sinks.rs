//! What is counted of each sink.

use prometheus::proto::MetricFamily;

use super::family::{Definition, Reading, Source, counter, distribution_of, gauge, histogram};
use crate::delivery::{Control, SinkStatus, State, Totals};

const COUNTERS: [Reading<SinkStatus, u64>; 12] = [
    (counter("log_capturer_sink_submitted_records_total", "Records that came for the sink."), |sink| {
        sink.totals.submitted.records
    }),
    (
        counter("log_capturer_sink_filtered_records_total", "Records that came and were not meant for the sink."),
        |sink| sink.totals.filtered.records,
    ),
    (counter("log_capturer_sink_recovered_records_total", "Records that the disk buffer held at the start."), |sink| {
        sink.totals.recovered.records
    }),
    (counter("log_capturer_sink_records_total", "Records that the destination took."), |sink| {
        sink.totals.delivered.records
    }),
    (counter("log_capturer_sink_bytes_total", "Bytes of output that the destination took."), |sink| {
        sink.totals.delivered.bytes
    }),
    (counter("log_capturer_sink_retries_total", "Requests that were made again."), |sink| sink.totals.retries),
    (
        counter("log_capturer_buffer_corrupt_frames_total", "Frames of the disk buffer that were not as written."),
        |sink| sink.totals.corrupt_frames,
    ),
    (
        counter("log_capturer_buffer_torn_bytes_total", "Bytes cut off the end of the disk buffer at the start."),
        |sink| sink.totals.torn_bytes,
    ),
    (counter("log_capturer_buffer_write_errors_total", "Writes to the disk buffer that failed."), |sink| {
        sink.totals.write_errors
    }),
    (gauge("log_capturer_sink_queue_bytes", "Bytes of the sink's buffer that are in use."), |sink| sink.queue.bytes),
    (gauge("log_capturer_sink_queue_capacity_bytes", "Bytes that the sink's buffer may hold."), |sink| {
        sink.queue.capacity
    }),
    (gauge("log_capturer_sink_queue_records", "Records that wait for the sink."), |sink| sink.queue.records),
];

const UP: Definition = gauge("log_capturer_sink_up", "1 unless the destination's last answer was a failure.");

const LAG: Definition =
    gauge("log_capturer_sink_oldest_record_seconds", "Age of the oldest record that waits for the sink.");

const REQUESTS: Definition =
    histogram("log_capturer_sink_request_seconds", "How long requests to the destination took.");

const OPEN: Definition = gauge("log_capturer_sink_open_connections", "Connections to the destination that are open.");

const RECONNECTS: Definition =
    counter("log_capturer_sink_reconnects_total", "Times that the destination answered again after it had not.");

const ERRORS: Definition =
    counter("log_capturer_sink_connection_errors_total", "Requests to the destination that failed.");

const DROPPED: [Reading<Totals, u64>; 2] = [
    (counter("log_capturer_sink_dropped_records_total", "Records that the sink was to have and will not."), |totals| {
        totals.records
    }),
    (
        counter("log_capturer_sink_dropped_bytes_total", "Bytes of output that the sink was to have and will not."),
        |totals| totals.bytes,
    ),
];

impl Source for Control {
    fn read(&self, give: &mut dyn FnMut(MetricFamily)) {
        let sinks = self.status();
        for (definition, read) in &COUNTERS {
            let samples = sinks.iter().map(|sink| definition.sample(read(sink), &[("sink", &*sink.name)]));
            give(definition.family(samples.collect()));
        }
        for (definition, read) in &DROPPED {
            let samples = sinks.iter().flat_map(|sink| {
                let by_reason = sink.totals.dropped.iter();
                by_reason.map(|(reason, totals)| {
                    definition.sample(read(totals), &[("sink", &*sink.name), ("reason", reason)])
                })
            });
            give(definition.family(samples.collect()));
        }
        let up = |sink: &SinkStatus| UP.sample(u64::from(sink.health.state == State::Up), &[("sink", &*sink.name)]);
        give(UP.family(sinks.iter().map(up).collect()));
        let lag = |sink: &SinkStatus| LAG.sample_f64(sink.queue.lag(), &[("sink", &*sink.name)]);
        give(LAG.family(sinks.iter().map(lag).collect()));
        let requests = |sink: &SinkStatus| distribution_of(&sink.requests, &[("sink", &*sink.name)]);
        give(REQUESTS.family(sinks.iter().map(requests).collect()));
        let connected = || sinks.iter().filter_map(|sink| Some((&*sink.name, sink.connections.as_ref()?)));
        give(OPEN.family(connected().map(|(sink, all)| OPEN.sample(all.open, &[("sink", sink)])).collect()));
        let reconnects = connected().map(|(sink, all)| RECONNECTS.sample(all.reconnects, &[("sink", sink)]));
        give(RECONNECTS.family(reconnects.collect()));
        let errors = connected().flat_map(|(sink, all)| {
            all.errors.iter().map(move |(kind, count)| ERRORS.sample(*count, &[("sink", sink), ("kind", kind)]))
        });
        give(ERRORS.family(errors.collect()));
    }
}
