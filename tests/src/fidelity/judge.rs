//! The verdict on one container: engine's log, agent's files, the expected bytes and the books against one another.

use std::{
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use capture_writers::{Needs, Order};

use super::{
    accounting::{self, Books},
    captured,
    case::{Case, Expected, Running},
    compare::{difference, difference_per_writer, only_with, without_returns},
    engine_log,
    stage::Stage,
};
use crate::poll::settled;

/// How long the agent may take to bring out what a container that has ended wrote.
const SETTLING: Duration = Duration::from_secs(6);
/// The same, for a case that the attach mode is known not to be able to do.
const SETTLING_WITHIN_LIMIT: Duration = Duration::from_secs(1);

/// What a row shows.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) stdout: usize,
    pub(super) stderr: usize,
    /// The first thing that is wrong.
    pub(super) fault: Option<String>,
    /// Why the mode cannot do better, if it cannot.
    pub(super) limit: Option<&'static str>,
    /// What the comparison does not cover.
    pub(super) remark: Option<&'static str>,
    pub(super) books: Books,
    /// Bytes, or containers, that the old way got, of how many.
    pub(super) old_way: Option<(usize, usize)>,
    /// What else there is to say: reasons of losses, counts of containers.
    pub(super) note: Option<String>,
}

impl Outcome {
    pub(super) fn failed(fault: String) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    /// The sum of two containers of one case.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            stdout: self.stdout + other.stdout,
            stderr: self.stderr + other.stderr,
            fault: self.fault.or(other.fault),
            limit: self.limit,
            remark: self.remark,
            books: self.books.plus(other.books),
            old_way: self.old_way.zip(other.old_way).map(|(one, two)| (one.0 + two.0, one.1 + two.1)),
            note: self.note,
        }
    }
}

/// Compares a container that has ended.
pub(super) fn container(stage: &Stage, case: &Case, container: &Running) -> Result<Outcome> {
    let begun = Instant::now();
    // What a mode cannot do does not come later either.
    let settling = if case.limit(&stage.attach).is_some() { SETTLING_WITHIN_LIMIT } else { SETTLING };
    loop {
        // Read anew each time: the engine, too, may still be writing.
        let mut outcome = compare(stage, case, container, engine(container)?.as_ref())?;
        if outcome.fault.is_none() || begun.elapsed() > settling {
            outcome.old_way = old_way(stage, container)?;
            outcome.limit = outcome.limit.or(case.limit(&stage.attach)).filter(|_| outcome.fault.is_some());
            return Ok(outcome);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Bytes that the old way has got, of those in the engine's log, once it gets no more.
fn old_way(stage: &Stage, container: &Running) -> Result<Option<(usize, usize)>> {
    let Some(baseline) = &stage.baseline else { return Ok(None) };
    let all = engine(container)?.map_or(0, |streams| streams.iter().map(Vec::len).sum());
    let got = settled("the old way", Duration::from_secs(20), || {
        let streams = ["stdout", "stderr"].map(|stream| captured::read(&baseline.output, &container.id, stream));
        streams.into_iter().try_fold(0, |sum, bytes| Ok(sum + bytes?.len()))
    })?;
    Ok(Some((got, all)))
}

/// What the engine has: its file on disk, or what `docker logs` gives where the driver has no such file.
fn engine(container: &Running) -> Result<Option<[Vec<u8>; 2]>> {
    match container.inspect("{{.HostConfig.LogConfig.Type}}")?.as_str() {
        "json-file" => {
            let entries = engine_log::read(Path::new(&container.inspect("{{.LogPath}}")?))?;
            Ok(Some(["stdout", "stderr"].map(|stream| engine_log::stream(&entries, stream))))
        }
        "local" => {
            let output = container.engine.client().args(["logs", &container.id]).output()?;
            Ok(Some([output.stdout, output.stderr]))
        }
        _ => Ok(None),
    }
}

fn compare(stage: &Stage, case: &Case, container: &Running, engine: Option<&[Vec<u8>; 2]>) -> Result<Outcome> {
    let metrics = stage.agent.metrics()?;
    let mut outcome = Outcome::default();
    let mut faults = String::new();
    for (index, stream) in ["stdout", "stderr"].into_iter().enumerate() {
        let got = captured::read(&stage.output(), &container.id, stream)?;
        let books = Books::of(&metrics, &container.id, stream);
        outcome.books = outcome.books.plus(books);
        *[&mut outcome.stdout, &mut outcome.stderr][index] = got.len();
        let engine = engine.map(|streams| streams[index].as_slice());
        let expected = [&case.stdout, &case.stderr][index];
        // What the relay read of a terminal has the carriage returns that the file leaves out, as the engine's log has.
        let delivered = match engine {
            Some(engine) if case.terminal() && books.delivered == engine.len() as u64 => engine.len(),
            _ => got.len(),
        };
        let fault = stream_fault(stage, case, engine, expected, &got).or_else(|| books.fault(delivered));
        if fault.is_some() && was_overtaken(case, expected, &got, &books) {
            outcome.limit = Some("a call that the switch to the relay has overtaken, counted as lost");
        }
        if let Some(fault) = fault {
            let _ = write!(faults, "{}{stream}: {fault}", if faults.is_empty() { "" } else { "; " });
        }
    }
    outcome.note = accounting::reasons(&metrics, &container.id);
    outcome.fault = (!faults.is_empty()).then_some(faults);
    outcome.remark = match (case.order, stage.relay, case.terminal()) {
        (Order::PerWriter, false, _) => Some("order per writer"),
        (_, _, true) => Some("after undoing the terminal's \\r\\n"),
        _ => None,
    };
    Ok(outcome)
}

/// Whether nothing is missing but lines of concurrent writers that a switch to the relay has overtaken, every byte of which
/// is counted.
fn was_overtaken(case: &Case, expected: &Expected, got: &[u8], books: &Books) -> bool {
    let Expected::Exactly(bytes) = expected else { return false };
    (case.needs, case.order) == (Needs::Relay, Order::PerWriter)
        && books.fault(got.len()).is_none()
        && books.lost + got.len() as u64 == bytes.len() as u64
        && difference_per_writer(&only_with(bytes, got), got).is_none()
}

fn stream_fault(stage: &Stage, case: &Case, engine: Option<&[u8]>, expected: &Expected, got: &[u8]) -> Option<String> {
    let plain = |bytes: &[u8]| if case.terminal() { without_returns(bytes) } else { bytes.to_vec() };
    let got = plain(got);
    let engine = engine.map(plain);
    // The engine's order is the truth; only relay capture promises it for writers that run at once.
    let per_writer = case.order == Order::PerWriter;
    let against_engine = if per_writer && !stage.relay { difference_per_writer } else { difference };
    let against_expected = if per_writer { difference_per_writer } else { difference };
    match expected {
        Expected::Exactly(bytes) => {
            let engine_fault =
                engine.as_ref().and_then(|engine| against_expected(&engine_log::as_logged(bytes), engine));
            if let Some(fault) = engine_fault {
                return Some(format!("the engine itself has not what was written: {fault}"));
            }
            if let Some(fault) = against_expected(bytes, &got) {
                return Some(fault);
            }
        }
        Expected::PrefixOf(bytes) if !bytes.starts_with(&got) => {
            return Some(format!("no first part of what was written: {}", difference(bytes, &got).unwrap_or_default()));
        }
        Expected::PrefixOf(_) | Expected::AsEngine => {}
    }
    engine.and_then(|engine| against_engine(&engine, &engine_log::as_logged(&got)))
}
