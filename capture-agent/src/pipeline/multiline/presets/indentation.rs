//! Lines that are indented belong to the one before: statements, pretty printed objects, most stack traces.

use super::State::Outside;
use super::{State, unindented};
use crate::pipeline::multiline::rules::Verdict;

pub(super) fn judge(line: &[u8]) -> (Verdict, State) {
    let (text, is_indented) = unindented(line);
    let verdict = match text.first() {
        // Within an event, if it goes on.
        None => Verdict::Maybe,
        Some(b'}' | b']' | b')') => Verdict::Continue,
        Some(_) if is_indented => Verdict::Continue,
        Some(_) => Verdict::Start,
    };
    (verdict, Outside)
}
