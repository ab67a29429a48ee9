//! The metrics that dashboards rely on are there, and move.

use std::collections::HashMap;

use anyhow::Result;
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

in_both_attach_modes!(captured_lines_and_bytes_are_counted);

fn captured_lines_and_bytes_are_counted(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    let before = agent.metrics()?;
    let container = Container::start(&engine, "metrics", "seq 1 1000; echo end; sleep 600")?;
    agent.wait_for_message(container.name(), "end")?;
    let after = eventually("the lines to be counted", DEADLINE, || {
        let now = agent.metrics().ok()?;
        (sum(&now, "log_capturer_logs_processed_total") >= sum(&before, "log_capturer_logs_processed_total") + 1001.0)
            .then_some(now)
    })?;
    assert!(sum(&after, "log_capturer_active_streams") >= 1.0, "the container is a stream");
    for family in
        ["process_open_fds", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"]
    {
        assert!(after.contains_key(family), "{family} is missing");
    }
    let captured = sum(&after, "log_capturer_captured_bytes_total") - sum(&before, "log_capturer_captured_bytes_total");
    // 1000 numbers, each with a newline, and `end`.
    assert!(captured >= 3897.0, "{captured} bytes");
    assert!(after.keys().any(|name| name.starts_with("log_capturer_lost_bytes_total{") && name.contains("reason=")));
    Ok(())
}

/// The sum of a family over its labels.
fn sum(metrics: &HashMap<String, f64>, family: &str) -> f64 {
    let is_of_family =
        |name: &str| name == family || name.strip_prefix(family).is_some_and(|rest| rest.starts_with('{'));
    metrics.iter().filter(|(name, _)| is_of_family(name)).map(|(_, value)| value).sum()
}
