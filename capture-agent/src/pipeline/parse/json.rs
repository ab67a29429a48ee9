//! Lines that are JSON objects (RFC 8259).

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::{Fields, MOST_FIELDS};

/// How deep values may be nested. What reads them again, here and behind a sink, does so by recursion.
const DEEPEST: usize = 32;

/// The members of an object, in their order; of two of one name the last, where the first stands.
pub(super) fn fields(line: &[u8]) -> Option<Fields> {
    let text = line.trim_ascii();
    if !(text.starts_with(b"{") && text.ends_with(b"}")) {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let fields = deserializer.deserialize_map(Members).ok()?;
    deserializer.end().ok()?;
    (!fields.is_empty()).then_some(fields)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Fields;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::new();
        while let Some((name, value)) = members.next_entry::<String, Value>()? {
            if fields.len() == MOST_FIELDS || !is_flat(&value, DEEPEST) {
                return Err(A::Error::custom("too many members, or too deep"));
            }
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => fields.push((name, value)),
            }
        }
        Ok(fields)
    }
}

fn is_flat(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(values) => depth > 0 && values.iter().all(|value| is_flat(value, depth - 1)),
        Value::Object(members) => depth > 0 && members.values().all(|value| is_flat(value, depth - 1)),
        _ => true,
    }
}
