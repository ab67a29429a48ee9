//! Byte for byte what Docker's own log has: a corpus of writers in real containers, the agent beside them, a table.
//!
//! Each `case` names what runs and what must come out; [`run`] starts the agent once with a `file` sink in `raw`
//! encoding, runs the cases one after the other and compares the agent's files with the engine's log on disk and with
//! the bytes that the case must have written.

mod accounting;
mod baseline;
mod captured;
mod case;
mod compare;
mod engine_log;
mod judge;
mod late;
mod operations;
pub(crate) mod programs;
mod shell;
mod short_lived;
mod small_ring;
mod stage;
mod switched;
mod table;

use std::time::Instant;

use anyhow::{Result, bail};

use self::{case::Case, judge::Outcome, stage::Stage, table::Row};

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Fewer short-lived containers, and no repetition of what takes long.
    pub quick: bool,
    /// Only cases whose name contains one of these; all when empty.
    pub only: Vec<String>,
    /// Value of the agent's `--attach`.
    pub attach: String,
    /// Value of the agent's `--side`.
    pub side: String,
    /// How often the whole corpus runs.
    pub repeat: u32,
    /// Whether the old way of collecting runs beside the agent.
    pub baseline: bool,
}

impl Options {
    /// Whether a case is asked for.
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

/// Runs the corpus and prints the table; true when every case is identical or a stated limit.
///
/// # Errors
/// When the corpus cannot be run at all: no engine, no agent, no compiler for the writers.
pub fn run(options: &Options) -> Result<bool> {
    let programs = programs::prepare(options.baseline)?;
    let mut failed = Vec::new();
    let mut rows = 0;
    for round in 1..=options.repeat {
        if options.repeat > 1 {
            println!("round {round} of {}", options.repeat);
        }
        let all = round_of(options, &programs, round)?;
        rows += all.len();
        failed.extend(all.into_iter().filter(Row::failed).map(|row| (round, row)));
    }
    if rows == 0 {
        bail!("no case has such a name");
    }
    table::summary(rows, &failed);
    Ok(failed.is_empty())
}

fn round_of(options: &Options, programs: &programs::Programs, seed: u32) -> Result<Vec<Row>> {
    table::head(options);
    let mut rows = Vec::new();
    let cases: Vec<Case> = case::all(seed).into_iter().filter(|case| options.wants(&case.name)).collect();
    let short_lived = options.wants("short-lived");
    if short_lived || !cases.is_empty() {
        let stage = Stage::open(options, programs)?;
        for case in &cases {
            keep(&mut rows, &case.name, options.baseline, || case::run(&stage, case));
        }
        if short_lived {
            keep(&mut rows, "short-lived", options.baseline, || short_lived::run(&stage, options.quick));
        }
        stage.close()?;
    }
    // These need an agent that starts at another time, or with other options.
    if options.wants("attached-late") {
        keep(&mut rows, "attached-late", options.baseline, || late::run(options, programs));
    }
    if options.wants("small-ring") {
        keep(&mut rows, "small-ring", options.baseline, || small_ring::run(options, programs));
    }
    if options.wants("switched-often") {
        keep(&mut rows, "switched-often", options.baseline, || switched::run(options));
    }
    Ok(rows)
}

/// Runs one case and prints its row at once; a case that cannot be run has failed.
fn keep(rows: &mut Vec<Row>, name: &str, baseline: bool, run: impl FnOnce() -> Result<Outcome>) {
    let begun = Instant::now();
    let outcome = run().unwrap_or_else(|error| Outcome::failed(format!("{error:#}")));
    let row = Row { name: name.to_owned(), took: begun.elapsed(), outcome };
    table::print(&row, baseline);
    rows.push(row);
}
