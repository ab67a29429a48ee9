//! The table: one line a case, as soon as it is known.

use std::time::Duration;

use super::{Options, judge::Outcome};

/// One case's line.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) took: Duration,
    pub(super) outcome: Outcome,
}

impl Row {
    /// Whether the case speaks against the agent. A stated limit does not.
    pub(super) fn failed(&self) -> bool {
        self.outcome.fault.is_some() && self.outcome.limit.is_none()
    }
}

pub(super) fn head(options: &Options) {
    let old = if options.baseline { format!(" {:>21}", "old way") } else { String::new() };
    println!("\nattach {}, side {}", options.attach, options.side);
    println!(
        "{:<24} {:>9} {:>9}{old} {:>9} {:>9} {:>6} {:>5}  result",
        "case", "stdout", "stderr", "written", "captured", "lost", "s"
    );
}

pub(super) fn print(row: &Row, baseline: bool) {
    let outcome = &row.outcome;
    let old = match outcome.old_way {
        Some((got, of)) => format!(" {:>21}", format!("{got}/{of}")),
        None if baseline => format!(" {:>21}", "-"),
        None => String::new(),
    };
    let books = outcome.books;
    println!(
        "{:<24} {:>9} {:>9}{old} {:>9} {:>9} {:>6} {:>5.1}  {}",
        row.name,
        outcome.stdout,
        outcome.stderr,
        books.written,
        books.captured,
        books.lost,
        row.took.as_secs_f32(),
        verdict(outcome)
    );
}

fn verdict(outcome: &Outcome) -> String {
    let base = match (&outcome.fault, outcome.limit) {
        (None, _) => "identical".to_owned(),
        (Some(fault), Some(limit)) => format!("limit: {limit} ({fault})"),
        (Some(fault), None) => format!("DIFFERS {fault}"),
    };
    let remark = outcome.remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
    let note = outcome.note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
    base + &remark + &note
}

pub(super) fn summary(rows: usize, failed: &[(u32, Row)]) {
    println!("\n{} of {rows} as they must be", rows - failed.len());
    for (round, row) in failed {
        println!("round {round}, {}: {}", row.name, verdict(&row.outcome));
    }
}
