use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use capture_common::{LostReason, Stream};

use super::*;
use crate::config::SinkContext;
use crate::delivery::{Fanout, SinkSpec};
use crate::pipeline::record::DropKind;
use crate::session::totals::{AgentTotals, ContainerTotals, KernelTotals, SessionError, StreamTotals};
use crate::sinks::console::Console;
use crate::sinks::encode::{Encoder, Encoding};
use crate::sinks::loki::LokiConfig;

const DOCUMENTED: &str = include_str!("../../../docs/metrics.md");

fn container(id: &str, name: &str) -> ContainerTotals {
    let stream = |base: u64| StreamTotals {
        written: base + 1,
        submitted: base + 2,
        lost: [base + 3, base + 4, base + 5, base + 6],
        lines: base + 7,
        delivered: base + 8,
        filtered: base + 9,
        dropped: [base + 10, base + 11, base + 12, base + 13],
    };
    ContainerTotals {
        id: id.into(),
        name: name.into(),
        streams: [stream(100), stream(200)],
        by_sink: vec![("default".into(), 314)],
        rotations: 2,
        errors: [1, 1, 1, 1],
        session_opened: Instant::now(),
        ended: None,
    }
}

/// Metrics of a ledger, and of an agent that has just begun.
pub(crate) fn of(ledger: Ledger) -> Metrics {
    let encoder = Encoder::new(Encoding::Json, String::new(), false);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fanout = Fanout::new(Duration::ZERO);
    let sinks = fanout.control();
    sinks.add(SinkSpec::new("default", Box::new(Console::new("default".parse().unwrap(), encoder)))).unwrap();
    let loki = LokiConfig::at("http://127.0.0.1:1".to_owned());
    let loki = loki.build(SinkContext::new("loki".parse().unwrap())).unwrap();
    sinks.add(SinkSpec::new("loki", Box::new(loki))).unwrap();
    let sources = Sources {
        ledger: Arc::new(ledger),
        docker: Arc::default(),
        reloads: Arc::default(),
        sinks,
        runtime: runtime.handle().clone(),
        live: Arc::default(),
        bpf: Some(Arc::default()),
    };
    Metrics::new(sources)
}

fn encoded(containers: Vec<ContainerTotals>) -> String {
    let ledger = Ledger::new(Duration::from_mins(5));
    ledger.set_agent(AgentTotals {
        active_sessions: 0,
        capacity: 8,
        refused: 3,
        ring_size: 33_554_432,
        ring_high_water: 4096,
        missed_runs: 4,
        ..AgentTotals::default()
    });
    ledger.set_waiting(5);
    ledger.ages.observe(Duration::from_secs(30));
    ledger.latencies.observe(Duration::from_micros(300));
    ledger.state_errors.store(6, Relaxed);
    let counted: Vec<_> = containers
        .iter()
        .map(|container| {
            container.streams.map(|StreamTotals { written, submitted, lost, .. }| KernelTotals {
                written,
                submitted,
                lost,
            })
        })
        .collect();
    ledger.read_kernel_with(move |slot| counted[slot as usize]);
    for (slot, container) in (0..).zip(containers) {
        let account = ledger.open(&container.id, slot);
        ledger.rename(&container.id, &container.name);
        for (account, stream) in account.streams.iter().zip(container.streams) {
            account.lines.store(stream.lines, Relaxed);
            account.delivered.store(stream.delivered, Relaxed);
            account.filtered.store(stream.filtered, Relaxed);
            for (dropped, bytes) in account.dropped.iter().zip(stream.dropped) {
                dropped.store(bytes, Relaxed);
            }
        }
        for (sink, lines) in &container.by_sink {
            account.taken(sink, *lines);
        }
        for _ in 0..container.rotations {
            ledger.rotated(&container.id);
        }
        for error in SessionError::ALL {
            for _ in 0..container.errors[error as usize] {
                ledger.failed(&container.id, error);
            }
        }
    }
    String::from_utf8(of(ledger).encode().unwrap()).unwrap()
}

fn families(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[track_caller]
fn assert_line(text: &str, expected: &str) {
    assert!(text.lines().any(|line| line == expected), "no line {expected:?} in\n{text}");
}

#[test]
fn totals_of_the_agent_stand_as_they_are() {
    let text = encoded(vec![container("a", "x"), container("b", "y")]);
    assert_line(&text, "log_capturer_active_streams 2");
    assert_line(&text, "log_capturer_stream_pool_utilization 0.25");
    assert_line(&text, "log_capturer_containers_refused_total 3");
    assert_line(&text, "log_capturer_ring_size_bytes 33554432");
    assert_line(&text, "log_capturer_ring_used_bytes 0");
    assert_line(&text, "log_capturer_ring_high_water_bytes 4096");
    assert_line(&text, "log_capturer_containers_waiting 5");
    assert_line(&text, "log_capturer_tasks 0");
    assert_line(&text, "log_capturer_reconcile_failures_total 2");
    assert_line(&text, "log_capturer_state_errors_total 6");
    assert_line(&text, "log_capturer_stream_age_seconds_bucket{le=\"15\"} 0");
    assert_line(&text, "log_capturer_stream_age_seconds_bucket{le=\"30\"} 1");
    assert_line(&text, "log_capturer_capture_latency_seconds_bucket{le=\"0.0005\"} 1");
    assert_line(&text, "log_capturer_capture_latency_seconds_sum 0.0003");
    assert_line(&text, "log_capturer_bpf_missed_runs_total 4");
    assert_line(&text, "# TYPE log_capturer_containers_refused_total counter");
}

#[test]
fn totals_of_a_container_are_apart_by_stream_and_reason() {
    let text = encoded(vec![container("ab", "web")]);
    let stderr = r#"container_id="ab",container_name="web",stream="stderr""#;
    assert_line(&text, &format!("log_capturer_written_bytes_total{{{stderr}}} 201"));
    assert_line(&text, &format!("log_capturer_captured_bytes_total{{{stderr}}} 202"));
    assert_line(&text, &format!("log_capturer_delivered_bytes_total{{{stderr}}} 208"));
    assert_line(&text, &format!("log_capturer_filtered_bytes_total{{{stderr}}} 209"));
    for (kind, bytes) in DropKind::ALL.into_iter().zip(210..) {
        let reason = kind.as_str();
        assert_line(&text, &format!("log_capturer_dropped_bytes_total{{{stderr},reason=\"{reason}\"}} {bytes}"));
    }
    for (reason, bytes) in LostReason::ALL.into_iter().zip(203..) {
        let reason = reason.as_str();
        assert_line(&text, &format!("log_capturer_lost_bytes_total{{{stderr},reason=\"{reason}\"}} {bytes}"));
    }
    assert_line(&text, &format!("log_capturer_lines_total{{{stderr}}} 207"));
    let rotations = r#"log_capturer_stream_rotations_total{container_id="ab",container_name="web"} 2"#;
    assert_line(&text, rotations);
    for error in SessionError::ALL.map(SessionError::as_str) {
        let labels = format!("error_type=\"{error}\",container_id=\"ab\"");
        assert_line(&text, &format!("log_capturer_stream_errors_total{{{labels}}} 1"));
    }
    let source = r#"source_type="docker",source_id="ab",pipeline="default""#;
    assert_line(&text, &format!("log_capturer_logs_processed_total{{{source}}} 314"));
}

#[test]
fn losses_are_there_before_the_first_one_happens() {
    let mut quiet = container("ab", "web");
    quiet.streams = Default::default();
    let text = encoded(vec![quiet]);
    let zeros = text.lines().filter(|line| line.starts_with("log_capturer_lost_bytes_total{") && line.ends_with(" 0"));
    assert_eq!(zeros.count(), LostReason::ALL.len() * Stream::ALL.len());
}

#[test]
fn label_values_are_escaped() {
    let text = encoded(vec![container("ab", "a\"b\\c\nd")]);
    let labels = r#"container_id="ab",container_name="a\"b\\c\nd",stream="stdout""#;
    assert_line(&text, &format!("log_capturer_written_bytes_total{{{labels}}} 101"));
}

#[test]
fn no_series_stands_twice() {
    // Two containers may have one name: a renamed one and the one that took its place.
    let text = encoded(vec![container("ab", "web"), container("cd", "web"), container("ef", "")]);
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series), "{series} stands twice");
    }
}

#[test]
fn reloads_are_there_before_the_first_one() {
    let text = encoded(Vec::new());
    assert_line(&text, "log_capturer_config_reloads_total{result=\"success\"} 0");
    assert_line(&text, "log_capturer_config_reloads_total{result=\"failure\"} 0");
    let last = "log_capturer_config_last_reload_success_timestamp_seconds ";
    let last: f64 = text.lines().find_map(|line| line.strip_prefix(last)).unwrap().parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 60.0..=now).contains(&last), "{last}");
}

#[test]
fn the_docker_socket_is_down_and_counted_before_it_is_asked() {
    let text = encoded(Vec::new());
    assert_line(&text, "log_capturer_docker_socket_up 0");
    assert_line(&text, "log_capturer_docker_event_stream_age_seconds 0");
    assert_line(&text, "log_capturer_docker_errors_total{kind=\"timeout\"} 0");
    assert_line(&text, "log_capturer_docker_request_seconds_bucket{le=\"0.001\"} 0");
    assert_line(&text, "log_capturer_docker_request_seconds_bucket{le=\"+Inf\"} 0");
    assert_line(&text, "log_capturer_docker_request_seconds_count 0");
}

#[test]
fn the_page_lists_exactly_what_a_scrape_has() {
    let text = encoded(vec![container("ab", "web")]);
    let listed: BTreeSet<_> =
        DOCUMENTED.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    // Those of the programs need programs: the tests with a kernel see them.
    let (of_programs, listed): (BTreeSet<_>, BTreeSet<_>) =
        listed.into_iter().partition(|name| name.starts_with("log_capturer_bpf_program_"));
    assert_eq!(of_programs.len(), 2);
    assert_eq!(listed, families(&text));
    for name in listed {
        let row = DOCUMENTED.lines().find(|line| line.starts_with(&format!("| `{name}`"))).unwrap_or_default();
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap_or_default();
        assert!(row.contains(&format!("| {kind} |")), "{name} is a {kind}: {row}");
    }
}

#[test]
fn no_family_comes_twice() {
    let text = encoded(vec![container("a", "b")]);
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let distinct: BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), distinct.len(), "{names:?}");
}
