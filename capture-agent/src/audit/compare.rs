//! Lines against lines: where the captured ones stand in the log, and where they part.

use serde::Serialize;

use super::captured::CapturedLines;
use super::line::{Gap, Line};

/// How much later than its log entry a write may seem to be: the time of a write is a reading of the monotonic clock,
/// laid onto the time of day twice a second.
const CLOCK_TOLERANCE: i64 = 5_000_000;

/// The window's edges, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// What is logged after this was written after capture had begun.
    pub settled: i64,
    /// What was logged before this was written before capture ended.
    pub end: i64,
}

/// What a comparison says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was written, or no line was ended.
    Nothing,
    /// Every line that the log has of the window was captured, and the other way round.
    Equal {
        /// Lines that were compared.
        lines: u64,
        /// Their bytes, with newlines.
        bytes: u64,
    },
    /// They are not the same.
    Differs(Difference),
}

/// The first difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Number of the line, among those that were compared, from 1.
    pub line: u64,
    /// Place in the compared part of the stream, in bytes, of the first byte that differs.
    pub offset: u64,
    /// Place in that line.
    pub column: u64,
    /// The log's line from about there; `None` where it has none.
    pub log: Option<String>,
    /// Where the log's line begins in its file; the end of what was read where it has none.
    pub log_place: u64,
    /// The captured line from about there; `None` where there is none.
    pub captured: Option<String>,
    /// Bytes that capture lost there, and knows of.
    pub lost_bytes: Option<u64>,
    /// Why it lost them, where there is one reason.
    pub lost_reason: Option<&'static str>,
    /// Whether both have the same lines from there on, in another order.
    pub same_lines_in_another_order: bool,
}

/// Lays what was captured against the log.
#[must_use]
pub fn compare(log: &[Line], captured: &CapturedLines, window: Window) -> Verdict {
    let Some((head, rest)) = captured.lines.split_first() else {
        // Whatever was written while capture was on should have been captured.
        let missing = log.iter().position(|line| line.time > window.settled && line.time < window.end);
        return missing.map_or(Verdict::Nothing, |at| differs(log, at, &[], 0, Sums::default()));
    };
    let matches = common_prefixes(rest, log);
    // `place`: where in the log the line after the head stands; the head is the end of the one before.
    let may_begin = |place: usize| {
        let line = &log[place - 1];
        let reads_so = head.gap.is_none() && (!captured.head_is_plain || line.text.ends_with(&head.text));
        reads_so && line.time + CLOCK_TOLERANCE >= head.time
    };
    let strict_end = log.iter().position(|line| line.time >= window.end).unwrap_or(log.len());
    let is_whole = |place: usize| {
        let end = place + matches[place];
        let none_before = place < 2 || log[place - 2].time <= window.settled;
        none_before && matches[place] == rest.len() && end >= strict_end
    };
    let places = || (1..=log.len()).filter(|place| may_begin(*place));
    if let Some(place) = places().find(|place| is_whole(*place)) {
        let sums = Sums::of(&log[place..place + rest.len()]);
        return Verdict::Equal { lines: sums.lines + 1, bytes: sums.bytes + head.text.len() as u64 + 1 };
    }
    // The place where they go together for longest is where they belong; the first such, as nothing is skipped there.
    let best = places().max_by_key(|place| (matches[*place], std::cmp::Reverse(*place)));
    let Some(place) = best else {
        // No line of the log ends as the first captured one does.
        let at = log.iter().position(|line| line.time + CLOCK_TOLERANCE >= head.time).unwrap_or(log.len());
        return differs(log, at, &captured.lines, 0, Sums::default());
    };
    let unexplained = (0..place - 1).find(|at| log[*at].time > window.settled);
    if let Some(at) = unexplained {
        return differs(log, at, &[], 0, Sums::default());
    }
    let common = matches[place];
    let mut sums = Sums::of(&log[place..place + common]);
    sums.lines += 1;
    sums.bytes += head.text.len() as u64 + 1;
    differs(log, place + common, rest, common, sums)
}

/// Lines and bytes that are the same.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    lines: u64,
    bytes: u64,
}

impl Sums {
    fn of(lines: &[Line]) -> Self {
        Self { lines: lines.len() as u64, bytes: lines.iter().map(|line| line.text.len() as u64 + 1).sum() }
    }
}

/// The difference between line `at` of the log and line `captured_at` of what was captured, after what is the same.
fn differs(log: &[Line], at: usize, captured: &[Line], captured_at: usize, same: Sums) -> Verdict {
    let (logged, got) = (log.get(at), captured.get(captured_at));
    let gap: Option<&Gap> = got.and_then(|line| line.gap.as_ref());
    let column = match (logged, got) {
        (Some(logged), Some(got)) => {
            let common = logged.text.iter().zip(&got.text).take_while(|(a, b)| a == b).count();
            // What stands after a gap may look like what is missing.
            gap.map_or(common, |gap| common.min(gap.at))
        }
        _ => 0,
    };
    let shown = |line: &Line| excerpt(&line.text, column);
    let end = log.last().map_or(0, |line| line.place);
    Verdict::Differs(Difference {
        line: same.lines + 1,
        offset: same.bytes + column as u64,
        column: column as u64,
        log: logged.map(shown),
        log_place: logged.map_or(end, |line| line.place),
        captured: got.map(|line| match &line.gap {
            Some(Gap { bytes, reason, .. }) => {
                let why = reason.map(|reason| format!(", {reason}")).unwrap_or_default();
                format!("{} <{bytes} bytes lost{why}>", excerpt(&line.text[..column], column))
            }
            None => shown(line),
        }),
        lost_bytes: gap.map(|gap| gap.bytes),
        lost_reason: gap.and_then(|gap| gap.reason),
        same_lines_in_another_order: are_reordered(
            &log[at.min(log.len())..],
            &captured[captured_at.min(captured.len())..],
        ),
    })
}

/// Whether the captured lines are, as a whole, the same as as many of the log.
fn are_reordered(log: &[Line], captured: &[Line]) -> bool {
    if captured.is_empty() || captured.len() > log.len() || captured.iter().any(|line| line.gap.is_some()) {
        return false;
    }
    let sorted = |lines: &[Line]| {
        let mut texts: Vec<Vec<u8>> = lines.iter().map(|line| line.text.clone()).collect();
        texts.sort();
        texts
    };
    sorted(&log[..captured.len()]) == sorted(captured)
}

/// Bytes shown on either side of a difference.
const AROUND: usize = 40;

fn excerpt(text: &[u8], at: usize) -> String {
    let (begin, end) = (at.saturating_sub(AROUND), text.len().min(at + AROUND));
    let shown: String = String::from_utf8_lossy(&text[begin..end]).escape_debug().collect();
    let (before, after) = (if begin > 0 { "…" } else { "" }, if end < text.len() { "…" } else { "" });
    format!("{before}{shown}{after}")
}

/// For each place of `text` (its end among them), how many lines of `pattern` stand there from its beginning on: the Z
/// algorithm, which looks at each line a bounded number of times, also where all are the same.
fn common_prefixes(pattern: &[Line], text: &[Line]) -> Vec<usize> {
    let at = |index: usize| if index < pattern.len() { pattern.get(index) } else { text.get(index - pattern.len()) };
    let is_same = |a: usize, b: usize| match (at(a), at(b)) {
        (Some(a), Some(b)) => a.gap.is_none() && b.gap.is_none() && a.text == b.text,
        _ => false,
    };
    let total = pattern.len() + text.len();
    let mut lengths = vec![0; total + 1];
    let (mut left, mut right) = (0, 0);
    for index in 1..total {
        let mut length = if index < right { lengths[index - left].min(right - index) } else { 0 };
        // A match never goes on beyond the pattern's end.
        while length < pattern.len() && index + length < total && is_same(length, index + length) {
            length += 1;
        }
        lengths[index] = length;
        if index + length > right {
            (left, right) = (index, index + length);
        }
    }
    lengths.split_off(pattern.len())
}
