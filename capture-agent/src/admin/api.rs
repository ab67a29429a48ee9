//! `/api/v1`: what `docs/api.md` describes, but for the stream of records.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use capture_common::{LostReason, Stream};
use serde::Serialize;

use super::rates::{INTERVAL, Measured, Rates};
use super::{Readiness, Sources, stream};
use crate::api;
use crate::delivery::SinkStatus;
use crate::histogram::Distribution;
use crate::pipeline::record::DropKind;
use crate::session::totals::{SessionError, StreamTotals};
use crate::socket::{FailureKind, SocketHealth};

/// What the answers are made of.
pub(super) struct Api {
    pub(super) sources: Sources,
    readiness: Arc<Readiness>,
    rates: Arc<Rates>,
    started: Instant,
}

pub(super) fn router(sources: Sources, readiness: Arc<Readiness>) -> Router {
    let rates = Rates::new(Arc::clone(&sources.ledger));
    let api = Arc::new(Api { sources, readiness, rates, started: Instant::now() });
    Router::new()
        .route("/api/v1/agent", get(agent))
        .route("/api/v1/containers", get(containers))
        .route("/api/v1/sinks", get(sinks))
        .route("/api/v1/stream", get(stream::stream))
        .with_state(api)
}

/// An answer that says in one sentence what is wrong.
pub(super) fn problem(status: StatusCode, told: impl Display) -> Response {
    let mut answer = json(&api::Problem { error: told.to_string() });
    *answer.status_mut() = status;
    answer
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        // Does not happen: what is written has text for keys.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn agent(State(api): State<Arc<Api>>) -> Response {
    let Sources { ledger, docker, live, .. } = &api.sources;
    let (totals, _) = ledger.snapshot();
    let (stats, config) = (live.stats(), live.config());
    json(&api::Agent {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        host: live.host().to_owned(),
        uptime_seconds: api.started.elapsed().as_secs_f64(),
        state: api.readiness.get(),
        sessions: api::Sessions {
            active: totals.active_sessions,
            capacity: totals.capacity,
            waiting: totals.waiting,
            refused: totals.refused,
            reconcile_failures: ledger.reconcile_failures(),
            missed_runs: totals.missed_runs,
        },
        ring: api::Ring { size: totals.ring_size, used: totals.ring_used, high_water: totals.ring_high_water },
        docker: socket(docker),
        live: api::Live {
            viewers: stats.viewers.load(Relaxed),
            viewers_max: config.viewers_max.into(),
            refused: stats.refused.load(Relaxed),
            sent: stats.sent.load(Relaxed),
            dropped: stats.dropped.load(Relaxed),
            recent_bytes: config.recent,
        },
    })
}

fn socket(docker: &SocketHealth) -> api::Docker {
    api::Docker {
        up: docker.up(),
        open_connections: docker.open_connections(),
        reconnects: docker.reconnects(),
        last_request_seconds: docker.last_latency().as_secs_f64(),
        subscription_age_seconds: docker.age().map(|age| age.as_secs_f64()),
        errors: named(FailureKind::ALL.map(|kind| (kind.as_str(), docker.errors(kind)))),
    }
}

async fn containers(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    let with_history = match query.as_deref().unwrap_or_default() {
        "" => false,
        "history=1" => true,
        other => return problem(StatusCode::BAD_REQUEST, format_args!("`{other}` is unknown here; only history=1 is")),
    };
    let snapshot = api.rates.ask().await;
    let mut containers: Vec<_> =
        snapshot.containers.iter().map(|container| describe(&api.sources, container, with_history)).collect();
    containers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    json(&api::Containers { at: snapshot.at, interval_seconds: INTERVAL.as_secs_f64(), containers })
}

fn describe(sources: &Sources, container: &Measured, with_history: bool) -> api::Container {
    let Measured { totals, rate, history } = container;
    let metadata = sources.directory.known(&totals.id);
    let streams: BTreeMap<_, _> =
        Stream::ALL.into_iter().map(|stream| (stream.as_str().to_owned(), of(totals.stream(stream)))).collect();
    let mut sum = api::Totals::default();
    for stream in streams.values() {
        let of = &stream.totals;
        sum.written += of.written;
        sum.captured += of.captured;
        sum.delivered += of.delivered;
        sum.filtered += of.filtered;
        sum.lost += of.lost;
        sum.dropped += of.dropped;
        sum.lines += of.lines;
    }
    api::Container {
        id: totals.id.to_string(),
        name: totals.name.to_string(),
        image: metadata.as_ref().map(|metadata| metadata.image.clone()),
        labels: metadata.map(|metadata| metadata.labels.clone()).unwrap_or_default(),
        running: totals.ended.is_none(),
        rate: *rate,
        totals: sum,
        streams,
        session: api::Session {
            age_seconds: totals.session_opened.elapsed().as_secs_f64(),
            rotations: totals.rotations,
            errors: named(SessionError::ALL.map(|error| (error.as_str(), totals.errors[error as usize]))),
        },
        history: if with_history { history.clone() } else { Vec::new() },
    }
}

fn of(stream: &StreamTotals) -> api::Stream {
    api::Stream {
        totals: api::Totals {
            written: stream.written,
            captured: stream.submitted,
            delivered: stream.delivered,
            filtered: stream.filtered,
            lost: stream.lost.iter().sum(),
            dropped: stream.dropped.iter().sum(),
            lines: stream.lines,
        },
        lost_by_reason: named(LostReason::ALL.map(|reason| (reason.as_str(), stream.lost[reason as usize]))),
        dropped_by_reason: named(DropKind::ALL.map(|kind| (kind.as_str(), stream.dropped[kind as usize]))),
    }
}

async fn sinks(State(api): State<Arc<Api>>) -> Response {
    json(&api::Sinks { sinks: api.sources.sinks.status().into_iter().map(sink).collect() })
}

fn sink(status: SinkStatus) -> api::Sink {
    let state = serde_json::to_value(status.health.state).ok();
    api::Sink {
        name: status.name.to_string(),
        state: state.as_ref().and_then(|state| state.as_str()).unwrap_or_default().to_owned(),
        since: status.health.since,
        last_error: status.health.last_error,
        last_error_at: status.health.last_error_at,
        queue: api::Queue {
            bytes: status.queue.bytes,
            capacity_bytes: status.queue.capacity,
            records: status.queue.records,
            lag_seconds: status.queue.lag(),
        },
        submitted: status.totals.submitted.records,
        filtered: status.totals.filtered.records,
        delivered: status.totals.delivered.records,
        delivered_bytes: status.totals.delivered.bytes,
        dropped: named(status.totals.dropped.into_iter().map(|(reason, totals)| (reason, totals.records))),
        retries: status.totals.retries,
        requests: api::Requests {
            count: status.requests.count,
            p50_seconds: quantile(&status.requests, 50),
            p95_seconds: quantile(&status.requests, 95),
        },
    }
}

/// The bound of the bucket that so many of a hundred are not beyond.
fn quantile(requests: &Distribution, percent: u64) -> Option<f64> {
    let is_reached = |(_, count): &&(f64, u64)| requests.count > 0 && count * 100 >= requests.count * percent;
    requests.buckets.iter().find(is_reached).map(|(bound, _)| *bound)
}

/// Those that are not zero.
fn named<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> BTreeMap<String, u64> {
    counts.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_on_the_page() {
        fn look(value: &serde_json::Value, page: &str) {
            match value {
                serde_json::Value::Object(fields) => {
                    for (name, value) in fields {
                        let is_told = page.contains(&format!("\"{name}\"")) || page.contains(&format!("`{name}`"));
                        assert!(is_told, "`{name}` is not in docs/api.md");
                        look(value, page);
                    }
                }
                serde_json::Value::Array(values) => values.iter().for_each(|value| look(value, page)),
                _ => {}
            }
        }
        let streams = BTreeMap::from([("stdout".to_owned(), api::Stream::default())]);
        let container = api::Container { streams, history: vec![1], ..api::Container::default() };
        let containers = api::Containers { containers: vec![container], ..api::Containers::default() };
        let answers = [
            serde_json::to_value(api::Agent::default()),
            serde_json::to_value(containers),
            serde_json::to_value(api::Sinks { sinks: vec![api::Sink::default()] }),
            serde_json::to_value(api::Hello::default()),
            serde_json::to_value(api::Dropped::default()),
            serde_json::to_value(api::Problem::default()),
        ];
        for answer in answers {
            look(&answer.unwrap(), include_str!("../../../docs/api.md"));
        }
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let requests = Distribution { buckets: vec![(0.1, 0), (0.5, 50), (1.0, 94)], count: 100, sum: 0.0 };
        assert_eq!(quantile(&requests, 50), Some(0.5));
        assert_eq!(quantile(&requests, 51), Some(1.0));
        assert_eq!(quantile(&requests, 95), None, "beyond the last bound");
        assert_eq!(quantile(&Distribution { buckets: vec![(0.1, 0)], count: 0, sum: 0.0 }, 50), None);
    }
}
