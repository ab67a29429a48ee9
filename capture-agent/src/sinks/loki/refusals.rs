//! What Loki says when it takes a part of a push.
//!
//! A push with one bad entry is answered 400, and yet its other entries are stored. Which ones are not is in the text
//! alone: `pkg/ingester/stream.go`, `pkg/distributor/validator.go` and `pkg/validation/validate.go` of Loki 3.

use super::encode::{Group, Sent};
use crate::sinks::delivery::Refused;

/// One complaint.
#[derive(Debug, PartialEq, Eq)]
struct Complaint<'a> {
    /// Text in which the stream stands in braces.
    stream: &'a str,
    reason: &'static str,
    which: Which,
}

/// The entries of a stream that a complaint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// So many, those of the lowest time.
    Oldest(usize),
    /// So many, those of the highest time.
    Newest(usize),
    /// Lines of more bytes.
    Longer(usize),
    /// So many, those with the most metadata.
    Fullest(usize),
    All,
}

/// How each complaint begins, or what is in it, and what it means.
const VALIDATION: [(&str, &str, Means); 13] = [
    ("entry for stream ", "has timestamp too old:", Means::Oldest("too_old")),
    ("entry for stream ", "has timestamp too new:", Means::Newest("too_new")),
    ("Max entry size ", "exceeded for stream", Means::Longer("line_too_long")),
    ("stream ", "has structured metadata too large:", Means::Fullest("structured_metadata")),
    ("stream ", "has too many structured metadata labels:", Means::Fullest("structured_metadata")),
    ("stream ", "includes structured metadata, but this feature is disallowed", Means::All("structured_metadata")),
    ("entry for stream ", "label names; limit", Means::All("labels")),
    ("stream ", "has label name too long:", Means::All("labels")),
    ("stream ", "has label value too long:", Means::All("labels")),
    ("stream ", "has duplicate label name:", Means::All("labels")),
    ("Error parsing labels ", "with error:", Means::All("labels")),
    ("missing required labels ", "for stream", Means::All("labels")),
    ("error at least one label pair is required per stream", "", Means::All("labels")),
];

#[derive(Clone, Copy)]
enum Means {
    Oldest(&'static str),
    Newest(&'static str),
    Longer(&'static str),
    Fullest(&'static str),
    All(&'static str),
}

/// The records that are not stored; `None` where the text says nothing of single entries or streams.
pub(super) fn read(text: &str, streams: &[Group]) -> Option<Vec<Refused>> {
    let complaints = of_ingester(text).map_or_else(|| of_validation(text), |complaint| vec![complaint]);
    if complaints.is_empty() {
        return None;
    }
    let mut refused: Vec<Refused> = Vec::new();
    for (complaint, group) in complaints.iter().filter_map(|complaint| Some((complaint, group_of(complaint, streams)?)))
    {
        // Two complaints of one stream are about different entries.
        let is_new = |sent: &&Sent| !refused.iter().any(|refusal| refusal.index == sent.index);
        let mut entries: Vec<&Sent> = group.entries.iter().filter(is_new).collect();
        let count = match complaint.which {
            Which::Oldest(count) => count,
            Which::Newest(count) => {
                entries.reverse();
                count
            }
            Which::Fullest(count) => {
                entries.sort_by_key(|sent| std::cmp::Reverse(sent.metadata));
                count
            }
            Which::Longer(length) => {
                entries.retain(|sent| sent.length > length);
                usize::MAX
            }
            Which::All => usize::MAX,
        };
        let refusal = |sent: &Sent| Refused { index: sent.index, reason: complaint.reason };
        let found: Vec<Refused> = entries.into_iter().take(count).map(refusal).collect();
        refused.extend(found);
    }
    refused.sort_by_key(|refusal| refusal.index);
    Some(refused)
}

/// `entry with timestamp T ignored, reason: 'R',` for some entries of one stream, then
/// `user 'U', total ignored: N out of M for stream: {…}`.
fn of_ingester(text: &str) -> Option<Complaint<'_>> {
    let (before, after) = text.split_once("total ignored: ")?;
    let (count, after) = after.split_once(" out of ")?;
    let (_, stream) = after.split_once(" for stream: ")?;
    let reason = if before.contains("entry too far behind") {
        "too_far_behind"
    } else if before.contains("entry out of order") {
        "out_of_order"
    } else {
        "rejected"
    };
    // What is taken raises the time that the next has to reach, and entries are sent in order of their time: those
    // that do not reach it are the first.
    Some(Complaint { stream, reason, which: Which::Oldest(count.trim().parse().ok()?) })
}

/// Complaints of single entries and streams, joined by `; `, equal ones as `N errors like: …`.
fn of_validation(text: &str) -> Vec<Complaint<'_>> {
    // A complaint, or the value of a label in one, may have a semicolon of its own; a number follows only one between
    // two of them.
    let joints = text.match_indices("; ").map(|(at, joint)| (at, at + joint.len()));
    let mut complaints = Vec::new();
    let mut begin = 0;
    for (end, next) in joints.filter(|(_, next)| counted(&text[*next..]).is_some()).chain([(text.len(), 0)]) {
        complaints.extend(complaint(&text[begin..end]));
        begin = next;
    }
    complaints
}

/// How many errors, and like what.
fn counted(text: &str) -> Option<(usize, &str)> {
    let (count, rest) = text.split_once(" errors like: ")?;
    Some((count.parse().ok()?, rest))
}

fn complaint(text: &str) -> Option<Complaint<'_>> {
    let text = text.trim();
    let (count, text) = counted(text).unwrap_or((1, text));
    let (_, _, means) =
        VALIDATION.iter().find(|(begins, contains, _)| text.starts_with(begins) && text.contains(contains))?;
    let (reason, which) = match *means {
        Means::Oldest(reason) => (reason, Which::Oldest(count)),
        Means::Newest(reason) => (reason, Which::Newest(count)),
        Means::Longer(reason) => (reason, Which::Longer(number_in_quotes(text)?)),
        Means::Fullest(reason) => (reason, Which::Fullest(count)),
        Means::All(reason) => (reason, Which::All),
    };
    Some(Complaint { stream: text, reason, which })
}

/// The first of `Max entry size '…' bytes`.
fn number_in_quotes(text: &str) -> Option<usize> {
    text.split('\'').nth(1)?.parse().ok()
}

/// The stream that a text names. Loki adds labels of its own, so that the text has at least those of the stream; where
/// it has those of several, the one with most labels is meant.
fn group_of<'a>(complaint: &Complaint, streams: &'a [Group]) -> Option<&'a Group> {
    let is_named = |group: &&Group| group.pairs.iter().all(|pair| complaint.stream.contains(pair.as_str()));
    streams.iter().filter(is_named).max_by_key(|group| group.pairs.len()).or_else(|| streams.first())
}
