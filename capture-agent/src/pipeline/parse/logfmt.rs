//! Lines of pairs: `level=info msg="not started" port=80`.

use serde_json::Value;

use super::{Fields, MOST_FIELDS};

/// The pairs of a line, in their order. Every word has to be one: others are text in which an equals sign occurs.
pub(super) fn fields(line: &[u8]) -> Option<Fields> {
    let mut rest = std::str::from_utf8(line).ok()?.trim_ascii();
    let mut fields = Fields::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte > b' ' && byte != b'"');
        if !is_name || fields.len() == MOST_FIELDS {
            return None;
        }
        let (value, after) = value(after)?;
        match fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = Value::String(value),
            None => fields.push((name.to_owned(), Value::String(value))),
        }
        rest = after.trim_ascii_start();
    }
    (!fields.is_empty()).then_some(fields)
}

/// The value that a text begins with, and what follows it: nothing or white space.
fn value(text: &str) -> Option<(String, &str)> {
    let (value, after) = if let Some(quoted) = text.strip_prefix('"') {
        unquote(quoted)?
    } else {
        let (value, after) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
        (!value.contains('"')).then(|| (value.to_owned(), after))?
    };
    (after.is_empty() || after.starts_with([' ', '\t'])).then_some((value, after))
}

/// What stands before the next quote that no backslash precedes, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
    if text.as_bytes()[end] == b'"' {
        return Some((text[..end].to_owned(), &text[end + 1..]));
    }
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    // The escapes of the encoders of this format are those of JSON, or almost.
    let quoted = &text[..end];
    let value = serde_json::from_str(&format!("\"{quoted}\"")).unwrap_or_else(|_| quoted.to_owned());
    Some((value, &text[end + 1..]))
}
