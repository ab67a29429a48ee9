//! Are two streams the same, and if not, where do they part?

use std::collections::{BTreeMap, HashSet};

/// Bytes shown on either side of a difference.
const AROUND: usize = 24;

/// `None` when equal, else where and how they first differ.
pub(super) fn difference(reference: &[u8], captured: &[u8]) -> Option<String> {
    if reference == captured {
        return None;
    }
    let at = reference.iter().zip(captured).take_while(|(left, right)| left == right).count();
    Some(format!(
        "{} bytes, captured {}; first difference at {at}: {} / {}",
        reference.len(),
        captured.len(),
        excerpt(reference, at),
        excerpt(captured, at)
    ))
}

fn excerpt(bytes: &[u8], at: usize) -> String {
    let shown = &bytes[at.saturating_sub(AROUND)..bytes.len().min(at + AROUND)];
    let end = if at >= bytes.len() { " (end)" } else { "" };
    format!("\"{}\"{end}", shown.escape_ascii())
}

/// As [`difference`], for concurrent writers: each writer's lines in its order, whatever lies between them.
///
/// A writer is known by the first word of its lines, so a torn line shows as one that no writer has written.
pub(super) fn difference_per_writer(reference: &[u8], captured: &[u8]) -> Option<String> {
    let (reference, captured) = (by_writer(reference), by_writer(captured));
    let writers = reference.keys().chain(captured.keys()).collect::<std::collections::BTreeSet<_>>();
    writers.into_iter().find_map(|writer| {
        let lines = |side: &BTreeMap<&[u8], Vec<u8>>| side.get(*writer).cloned().unwrap_or_default();
        difference(&lines(&reference), &lines(&captured))
            .map(|difference| format!("writer {}: {difference}", writer.escape_ascii()))
    })
}

fn by_writer(bytes: &[u8]) -> BTreeMap<&[u8], Vec<u8>> {
    let mut writers = BTreeMap::<&[u8], Vec<u8>>::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let writer = line.split(|&byte| byte == b' ').next().unwrap_or_default();
        writers.entry(writer).or_default().extend_from_slice(line);
    }
    writers
}

/// The lines of `reference` that are in `captured`, where no two lines are the same.
pub(super) fn only_with(reference: &[u8], captured: &[u8]) -> Vec<u8> {
    let lines = |bytes| <[u8]>::split_inclusive(bytes, |&byte| byte == b'\n');
    let there: HashSet<&[u8]> = lines(captured).collect();
    lines(reference).filter(|line| there.contains(line)).collect::<Vec<_>>().concat()
}

/// Undoes what a terminal makes of a newline.
pub(super) fn without_returns(bytes: &[u8]) -> Vec<u8> {
    let followed_by_newline = |at: usize| bytes.get(at + 1) == Some(&b'\n');
    bytes
        .iter()
        .enumerate()
        .filter(|&(at, &byte)| !(byte == b'\r' && followed_by_newline(at)))
        .map(|(_, &byte)| byte)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(difference(b"same", b"same"), None);
        assert!(difference(b"one two", b"one too").is_some_and(|text| text.contains("difference at 5")));
        assert!(difference(b"one", b"on").is_some_and(|text| text.contains("(end)")));
    }

    #[test]
    fn writers_may_interleave_but_not_reorder_or_tear() {
        let reference = b"a 1\nb 1\na 2\n";
        assert_eq!(difference_per_writer(reference, b"a 1\na 2\nb 1\n"), None);
        assert!(difference_per_writer(reference, b"a 2\na 1\nb 1\n").is_some());
        assert!(difference_per_writer(reference, b"a b 1\n1\na 2\n").is_some());
    }

    #[test]
    fn what_is_missing_may_be_left_out_of_what_is_compared() {
        assert_eq!(only_with(b"a 1\na 2\nb 1\n", b"b 1\na 1\nc 1\n"), b"a 1\nb 1\n");
    }

    #[test]
    fn only_a_return_before_a_newline_goes() {
        assert_eq!(without_returns(b"a\r\nb\rc\r\r\n"), b"a\nb\rc\r\n");
    }
}
