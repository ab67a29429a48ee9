//! What the events of several lines look like that programs of a language write.
//!
//! Each preset is a small machine that looks at the beginning of a line, and sometimes at its end. It may take too much
//! for the beginning of an event: such a line waits for the next one, and is given out alone when that is no part of it.
//! It never takes a line for a part that has not the look of one.

mod go;
mod indentation;
mod java;
mod node;
mod python;
mod ruby;
mod rust;

#[cfg(test)]
mod tests;

use super::config::Preset;
use super::rules::Verdict;

/// Where in an event a stream is. Each preset uses some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Nowhere.
    #[default]
    Outside,
    /// After the place of an error, before its source is quoted.
    Place,
    /// After its source.
    Quoted,
    /// After a line that says that an error follows.
    Header,
    /// In the message of an error.
    Message,
    /// Among the frames of a stack.
    Frames,
    /// Among the properties of an error.
    Properties,
    /// Behind the last frame, where another error may follow.
    Behind,
    /// After the line that says that one does.
    Chained,
    /// In a group of errors.
    Group,
}

pub(super) fn judge(preset: Preset, state: &mut State, line: &[u8]) -> Verdict {
    let (verdict, next) = match preset {
        Preset::Java => java::judge(*state, line),
        Preset::Python => python::judge(*state, line),
        Preset::Go => go::judge(*state, line),
        Preset::Node => node::judge(*state, line),
        Preset::Ruby => ruby::judge(*state, line),
        Preset::Rust => rust::judge(*state, line),
        Preset::Indentation => indentation::judge(line),
    };
    *state = next;
    verdict
}

/// A line without the spaces and tabs before it, and whether there are some.
fn unindented(line: &[u8]) -> (&[u8], bool) {
    let start = line.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    (&line[start..], start > 0)
}

/// What follows the digits that a text begins with; `None` if it does not.
fn after_digits(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| &text[end..])
}

/// Whether a line does nothing but point at the one above.
fn is_pointer(line: &[u8]) -> bool {
    let text = line.trim_ascii();
    text.contains(&b'^') && text.iter().all(|byte| matches!(byte, b'^' | b'~' | b' ' | b'-'))
}

/// Whether a line names an error of one of these kinds: the end of the name of a class, before a colon or at the end.
fn names_error(line: &[u8], kinds: &[memchr::memmem::Finder<'static>]) -> bool {
    kinds.iter().any(|kind| {
        let ends = kind.find_iter(line).map(|start| start + kind.needle().len());
        ends.map(|end| line.get(end)).any(|byte| matches!(byte, None | Some(b':' | b'\r')))
    })
}
