//! A ring made too small on purpose, and an agent that stands still now and then: what is lost is counted to the byte.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use capture_writers::Content;
use rustix::process::Signal;

use super::{
    Options,
    accounting::Books,
    captured,
    case::{Case, Running},
    judge::Outcome,
    programs::Programs,
    stage::Stage,
};

/// Text that marks a gap in `raw` output; `{bytes}` and `{reason}` are filled in.
const MARK: &str = "<<gap {bytes} {reason}>>";

/// How long the agent stands still at a time: the ring is full after a part of a millisecond. Left alone it keeps up.
const STILL: Duration = Duration::from_millis(50);
/// How long it goes on then.
const AT_WORK: Duration = Duration::from_millis(50);

/// Big writes against the smallest ring.
pub(super) fn run(options: &Options, programs: &Programs) -> Result<Outcome> {
    let stage = Stage::with(options, programs, &["--ring-size", "256KiB", "--gap-marker", MARK])?;
    let case = Case::new("small-ring", &["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do /writer write-8m 1; done"]);
    let container = Running::start(&stage.engine, &case)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let halting = scope.spawn(|| halt_now_and_then(&stage, &done));
        let waited = container.wait();
        done.store(true, Relaxed);
        match halting.join() {
            Ok(halted) => halted.and(waited.map(drop)),
            Err(_) => bail!("who halts the agent panicked"),
        }
    })?;
    let written = Content::Lines(8 << 20).bytes("out", 1).repeat(8);
    let mut outcome = Outcome::default();
    for _ in 0..60 {
        let books = Books::of(&stage.agent.metrics()?, &container.id, "stdout");
        let got = captured::read(&stage.output(), &container.id, "stdout")?;
        let fault = fault(&books, &written, &got);
        outcome = Outcome { stdout: got.len(), fault, books, ..Outcome::default() };
        if outcome.fault.is_none() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    outcome.note = Some("with every gap at its place".to_owned());
    drop(container);
    stage.close()?;
    Ok(outcome)
}

fn halt_now_and_then(stage: &Stage, done: &AtomicBool) -> Result<()> {
    while !done.load(Relaxed) {
        stage.agent.signal(Signal::STOP)?;
        thread::sleep(STILL);
        stage.agent.signal(Signal::CONT)?;
        thread::sleep(AT_WORK);
    }
    Ok(())
}

fn fault(books: &Books, written: &[u8], got: &[u8]) -> Option<String> {
    let Some(parts) = between_marks(got) else { return Some("a mark of a gap is not whole".to_owned()) };
    let (mut at, mut lost) = (0, 0);
    for (gap, bytes) in parts {
        lost += gap;
        at += gap;
        if written.get(at..at + bytes.len()) != Some(bytes) {
            return Some(format!("after gaps of {lost} bytes, the bytes at {at} are others"));
        }
        at += bytes.len();
    }
    if at != written.len() {
        return Some(format!("bytes and gaps make {at}, written were {}", written.len()));
    }
    if lost == 0 {
        return Some("nothing was lost: the ring was not too small".to_owned());
    }
    if books.lost + books.dropped != lost as u64 || books.written != written.len() as u64 {
        return Some(format!("the books say {books:?}, the marks {lost}"));
    }
    books.fault(written.len() - lost)
}

/// The bytes between the marks, each with the gap before it.
fn between_marks(got: &[u8]) -> Option<Vec<(usize, &[u8])>> {
    const START: &[u8] = b"<<gap ";
    let mut parts = Vec::new();
    let (mut gap, mut rest) = (0, got);
    while let Some(at) = rest.windows(START.len()).position(|window| window == START) {
        parts.push((gap, &rest[..at]));
        let mark = &rest[at + START.len()..];
        let end = mark.windows(2).position(|window| window == b">>")?;
        gap = std::str::from_utf8(&mark[..end]).ok()?.split(' ').next()?.parse().ok()?;
        rest = &mark[end + 2..];
    }
    parts.push((gap, rest));
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_found_at_their_places() {
        let parts = between_marks(b"abc<<gap 2 ring_full>>f<<gap 1 fault>>");
        assert_eq!(parts, Some(vec![(0, &b"abc"[..]), (2, b"f"), (1, b"")]));
        assert_eq!(between_marks(b"abc<<gap 2"), None);
    }
}
