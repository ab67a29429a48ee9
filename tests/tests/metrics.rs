//! The metrics that dashboards rely on are there, and move.

use std::collections::HashMap;

use anyhow::Result;
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

in_both_attach_modes!(captured_lines_and_bytes_are_counted);

fn captured_lines_and_bytes_are_counted(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    let container = Container::start(&engine, "metrics", "seq 1 1000; echo end; sleep 600")?;
    agent.wait_for_message(container.name(), "end")?;
    let of = |metrics: &HashMap<String, f64>, family: &str| sum(metrics, family, container.id());
    // The families are brought up to date one after another, a moment after the lines are out.
    let metrics = eventually("the lines to be counted", DEADLINE, || {
        let now = agent.metrics().ok()?;
        let is_counted = of(&now, "log_capturer_logs_processed_total") >= 1001.0
            && sum(&now, "log_capturer_active_streams", "") >= 1.0;
        is_counted.then_some(now)
    })?;
    assert!((of(&metrics, "log_capturer_logs_processed_total") - 1001.0).abs() < 0.5, "a line was counted twice");
    for family in
        ["process_open_fds", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"]
    {
        assert!(metrics.contains_key(family), "{family} is missing");
    }
    // 1000 numbers, each with a newline, and `end`.
    for family in ["written", "captured", "delivered"] {
        let bytes = of(&metrics, &format!("log_capturer_{family}_bytes_total"));
        assert!((bytes - 3897.0).abs() < 0.5, "{bytes} bytes {family}");
    }
    let is_loss =
        |name: &str| name.starts_with("log_capturer_lost_bytes_total{") && name.contains("reason=\"ring_full\"");
    assert!(metrics.keys().any(|name| is_loss(name)));
    assert!(of(&metrics, "log_capturer_lost_bytes_total").abs() < 0.5);
    Ok(())
}

/// The sum of a family over those of its series whose labels contain `part`.
fn sum(metrics: &HashMap<String, f64>, family: &str, part: &str) -> f64 {
    let is_meant = |name: &str| {
        let labels = name.strip_prefix(family).filter(|rest| rest.is_empty() || rest.starts_with('{'));
        labels.is_some_and(|labels| labels.contains(part))
    };
    metrics.iter().filter(|(name, _)| is_meant(name)).map(|(_, value)| value).sum()
}
