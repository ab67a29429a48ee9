//! Streams laid against logs.

use super::line::Line;
use super::*;

const SETTLED: i64 = 5_000_000_000;
const END: i64 = 30_000_000_000;
const WINDOW: Window = Window { settled: SETTLED, end: END };
const MS: i64 = 1_000_000;

fn line(text: &str, time: i64) -> Line {
    Line { text: text.into(), time, place: time.unsigned_abs() / 1000, gap: None }
}

/// Lines `first..last`, one each 100 ms from the window's beginning on, logged `lag` later.
fn numbered(first: i64, last: i64, lag: i64) -> Vec<Line> {
    (first..last).map(|number| line(&format!("line {number}"), number * 100 * MS + lag)).collect()
}

fn captured(lines: Vec<Line>) -> CapturedLines {
    CapturedLines { lines, head_is_plain: true }
}

#[track_caller]
fn difference(log: &[Line], got: Vec<Line>) -> Difference {
    match compare(log, &captured(got), WINDOW) {
        Verdict::Differs(difference) => difference,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_on_its_way_before_and_what_came_after_does_not_count() {
    // Lines below 0 were written before capture began; those from 300 on after it had ended.
    let log = numbered(-20, 310, 3 * MS);
    let verdict = compare(&log, &captured(numbered(0, 300, 0)), WINDOW);
    let bytes = (0..300).map(|number| format!("line {number}\n").len() as u64).sum();
    assert_eq!(verdict, Verdict::Equal { lines: 300, bytes });
    // Some of these were captured as well: the end comes later than it is told.
    assert!(matches!(compare(&log, &captured(numbered(0, 303, 0)), WINDOW), Verdict::Equal { lines: 303, .. }));
}

#[test]
fn of_the_line_under_way_the_end_counts() {
    let log = [line("abcdef", 100), line("next", 200)];
    let got = |head: &str| captured(vec![line(head, 50), line("next", 150)]);
    assert_eq!(compare(&log, &got("def"), WINDOW), Verdict::Equal { lines: 2, bytes: 9 });
    assert!(matches!(compare(&log, &got("dxf"), WINDOW), Verdict::Differs(_)));
    let unsure = CapturedLines { head_is_plain: false, ..got("dxf") };
    assert!(matches!(compare(&log, &unsure, WINDOW), Verdict::Equal { lines: 2, .. }));
}

#[test]
fn equal_lines_lie_where_they_may() {
    let log: Vec<_> = numbered(-30, 300, 2 * MS).into_iter().map(|l| Line { text: b"y".to_vec(), ..l }).collect();
    let same = |lines: Vec<Line>| lines.into_iter().map(|l| Line { text: b"y".to_vec(), ..l }).collect::<Vec<_>>();
    assert!(matches!(
        compare(&log, &captured(same(numbered(0, 300, 0))), WINDOW),
        Verdict::Equal { lines: 300, bytes: 600 }
    ));
    // So many are missing in the middle that no place makes up for it: they cannot all have been on their way.
    let mut missing = same(numbered(0, 300, 0));
    missing.drain(100..160);
    assert_eq!(difference(&log, missing).log.as_deref(), Some("y"));
}

#[test]
fn a_changed_byte_is_told_with_its_place() {
    let log = numbered(-3, 300, 2 * MS);
    let mut got = numbered(0, 300, 0);
    got[17].text = b"linE 17".to_vec();
    let found = difference(&log, got);
    let before: u64 = (0..17).map(|number| format!("line {number}\n").len() as u64).sum();
    assert_eq!((found.line, found.column, found.offset), (18, 3, before + 3));
    assert_eq!((found.log.as_deref(), found.captured.as_deref()), (Some("line 17"), Some("linE 17")));
    assert_eq!(found.log_place, log[20].place);
}

#[test]
fn a_line_that_is_missing_is_told() {
    let log = numbered(-3, 300, 2 * MS);
    let mut got = numbered(0, 300, 0);
    got.remove(40);
    let found = difference(&log, got);
    assert_eq!((found.log.as_deref(), found.captured.as_deref()), (Some("line 40"), Some("line 41")));
    assert!(!found.same_lines_in_another_order);

    let found = difference(&log, numbered(0, 299, 0));
    assert_eq!((found.line, found.log.as_deref(), found.captured), (300, Some("line 299"), None));
    let found = difference(&log, numbered(60, 300, 0));
    assert_eq!((found.log.as_deref(), found.captured), (Some("line 50"), None), "the first that was logged late");
    let found = difference(&log, Vec::new());
    assert_eq!((found.line, found.log.as_deref(), found.captured), (1, Some("line 50"), None));
    // The log is behind, or lacks it.
    let found = difference(&log[..200], numbered(0, 300, 0));
    assert_eq!((found.log, found.captured.as_deref()), (None, Some("line 197")));
}

#[test]
fn a_gap_is_a_difference_even_where_the_rest_reads_the_same() {
    let log = numbered(-3, 300, 2 * MS);
    let mut got = numbered(0, 300, 0);
    got[9].gap = Some(Gap { at: 2, bytes: 64, reason: Some("ring_full") });
    let found = difference(&log, got);
    assert_eq!((found.line, found.column), (10, 2));
    assert_eq!((found.lost_bytes, found.lost_reason), (Some(64), Some("ring_full")));
    assert_eq!(found.captured.as_deref(), Some("li <64 bytes lost, ring_full>"));
}

#[test]
fn another_order_is_told_as_such() {
    let log = numbered(0, 300, 2 * MS);
    let mut got = numbered(0, 300, 0);
    got.swap(30, 31);
    let found = difference(&log, got);
    assert_eq!((found.line, found.same_lines_in_another_order), (31, true));
}

#[test]
fn silence_is_no_difference() {
    assert_eq!(compare(&[], &captured(Vec::new()), WINDOW), Verdict::Nothing);
    // Written before, and logged in time.
    assert_eq!(compare(&[line("old", 100)], &captured(Vec::new()), WINDOW), Verdict::Nothing);
}
