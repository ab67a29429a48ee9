//! What the page's updates take, read from a browser's trace.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use serde_json::Value;

/// What a trace has to be of: the page's own measures, and the tasks of its thread.
pub const CATEGORIES: &[&str] = &["blink.user_timing", "toplevel"];

/// One update of the page, in milliseconds.
#[derive(Debug)]
pub struct Update {
    /// From the answer to the painted frame, as the page itself measures it.
    pub painted: f64,
    /// CPU time of the page's thread in the tasks of that time: script, style, layout, paint.
    pub worked: f64,
}

/// The updates in a trace.
pub fn of(trace: &[Value]) -> Result<Vec<Update>> {
    let mut begun = HashMap::new();
    let mut updates = Vec::new();
    let mut measures: Vec<_> = trace.iter().filter(|event| event["name"] == "update").collect();
    measures.sort_by(|one, other| at_of(one).total_cmp(&at_of(other)));
    for event in measures {
        let id = event["id2"]["local"].as_str().or(event["id"].as_str()).unwrap_or_default();
        match event["ph"].as_str() {
            Some("b") => drop(begun.insert(id, event)),
            Some("e") => updates.extend(begun.remove(id).map(|begin| update(trace, begin, at_of(event)))),
            _ => {}
        }
    }
    ensure!(!updates.is_empty(), "no update in the {} events of the trace", trace.len());
    ensure!(updates.iter().all(|update| update.worked > 0.0), "an update without a task: {updates:?}");
    Ok(updates)
}

fn update(trace: &[Value], begin: &Value, until: f64) -> Update {
    let from = at_of(begin);
    let end_of = |event: &Value| at_of(event) + number(event, "dur");
    // Not all of them by one name: what follows upon an answer is a checkpoint of microtasks, between two tasks.
    let is_task = |event: &&Value| {
        event["ph"] == "X" && event["cat"] == "toplevel" && event["pid"] == begin["pid"] && event["tid"] == begin["tid"]
    };
    let mut tasks: Vec<_> =
        trace.iter().filter(is_task).filter(|task| at_of(task) < until && end_of(task) > from).collect();
    tasks.sort_by(|one, other| at_of(one).total_cmp(&at_of(other)));
    let (mut worked, mut ended) = (0.0, f64::MIN);
    for task in tasks {
        // A task within a task is part of it.
        if at_of(task) >= ended {
            worked += number(task, "tdur");
            ended = end_of(task);
        }
    }
    Update { painted: (until - from) / 1000.0, worked: worked / 1000.0 }
}

/// The value below which so many in a hundred lie.
pub fn at(percent: usize, values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * percent / 100]
}

/// When an event began, in microseconds.
fn at_of(event: &Value) -> f64 {
    number(event, "ts")
}

fn number(event: &Value, key: &str) -> f64 {
    event[key].as_f64().unwrap_or_default()
}
