//! What a structure has against a node.

use std::fmt;
use std::ops::Range;

use serde::de::{Error, Expected, Unexpected};

use super::Path;
use crate::config::yaml::{Entry, Node, Position, Problem, Value};

/// The likeness, from 0 to 1, from which on a key may have been meant.
const LIKE: f64 = 0.75;

/// The first thing that a structure has against a node.
#[derive(Debug)]
pub(super) struct Fault {
    kind: Kind,
    /// In a box, since every answer of the deserializer has room for it.
    pub(super) place: Option<Box<Place>>,
}

#[derive(Debug)]
enum Kind {
    UnknownKey { key: String, known: &'static [&'static str] },
    UnknownVariant { found: String, known: &'static [&'static str] },
    MissingKey { key: String, variants: &'static [&'static str] },
    Unexpected { found: String, expected: String },
    Other(String),
}

/// Where a fault is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    at: Position,
    path: String,
    /// The node and all below it.
    pub(super) ids: Range<u32>,
    /// The value as the file has it, where variables of the environment were put in.
    written: Option<String>,
    is_key: bool,
    is_empty: bool,
}

impl Place {
    pub(super) fn of(node: &Node, path: &Path<'_>) -> Self {
        let written = match &node.value {
            Value::Scalar { written, .. } => written.clone(),
            _ => None,
        };
        let is_empty = node.is_null();
        Self { at: node.at, path: path.to_string(), ids: node.id..node.end, written, is_key: false, is_empty }
    }

    /// A key that should not be in the section at `path`.
    pub(super) fn of_key(entry: &Entry, path: &Path<'_>) -> Self {
        Self { at: entry.at, written: None, is_key: true, is_empty: false, ..Self::of(&entry.value, path) }
    }
}

impl Fault {
    fn new(kind: Kind) -> Self {
        Self { kind, place: None }
    }

    pub(super) fn missing_tag(key: &str, variants: &'static [&'static str]) -> Self {
        Self::new(Kind::MissingKey { key: key.to_owned(), variants })
    }

    pub(super) fn no_variant(found: Unexpected<'_>, variants: &'static [&'static str]) -> Self {
        Self::new(Kind::Unexpected { found: in_words(found), expected: one_of(variants) })
    }

    /// Gives it a place, if it has none.
    pub(super) fn at(mut self, place: impl FnOnce() -> Place) -> Self {
        self.place.get_or_insert_with(|| Box::new(place()));
        self
    }

    /// Gives it the place of a key.
    pub(super) fn of_key(self, place: impl FnOnce() -> Place) -> Self {
        self.at(place)
    }

    /// Where there is no value, the key's position is what helps.
    pub(super) fn or_at_key(mut self, entry: &Entry) -> Self {
        if let Some(place) = &mut self.place
            && place.ids.start == entry.value.id
            && place.is_empty
        {
            place.at = entry.at;
        }
        self
    }

    pub(super) fn is_about_key(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.is_key)
    }

    pub(super) fn problem(self) -> Problem {
        let (at, path, written) = match self.place {
            Some(place) => (Some(place.at), place.path, place.written),
            None => (None, String::new(), None),
        };
        Problem { at, path, message: self.kind.sentence(written.as_deref()) }
    }
}

impl Kind {
    /// `written`, if given, is said instead of what was found: that may be a secret.
    fn sentence(self, written: Option<&str>) -> String {
        let found = |found: String| match written {
            Some(written) => format!("what `{written}` stands for"),
            None => found,
        };
        match self {
            Self::UnknownKey { key, known } => match nearest(&key, known) {
                Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
                None if known.is_empty() => format!("unknown key `{key}`; there is none here"),
                None => format!("unknown key `{key}`; the keys here are {}", listed(known)),
            },
            Self::UnknownVariant { found: text, known } => {
                let near = if written.is_none() { nearest(&text, known) } else { None };
                let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                format!("expected {}, found {}{hint}", one_of(known), found(format!("`{text}`")))
            }
            Self::MissingKey { key, variants: [] } => format!("the key `{key}` is missing"),
            Self::MissingKey { key, variants } => format!("the key `{key}` is missing; it is {}", one_of(variants)),
            Self::Unexpected { found: text, expected } => format!("expected {expected}, found {}", found(text)),
            // It may quote the value.
            Self::Other(_) if written.is_some() => format!("{} is not accepted", found(String::new())),
            Self::Other(message) => message,
        }
    }
}

impl Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Kind::Unexpected { found: in_words(found), expected: plain(&expected.to_string()) })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownVariant { found: variant.to_owned(), known: expected })
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey { key: field.to_owned(), known: expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::MissingKey { key: field.to_owned(), variants: &[] })
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Other(message) => formatter.write_str(message),
            other => write!(formatter, "{other:?}"),
        }
    }
}

fn in_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(number) => format!("`{number}`"),
        Unexpected::Signed(number) => format!("`{number}`"),
        Unexpected::Float(number) => format!("`{number}`"),
        Unexpected::Str(text) => format!("`{text}`"),
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a section of keys".to_owned(),
        Unexpected::UnitVariant => "one word".to_owned(),
        other => other.to_string(),
    }
}

/// serde's words for types, as people say them who write no Rust.
fn plain(expected: &str) -> String {
    let limits = |lowest: i128, highest: i128| format!("a whole number from {lowest} to {highest}");
    match expected {
        "a boolean" => "true or false".to_owned(),
        "u8" => limits(0, u8::MAX.into()),
        "u16" => limits(0, u16::MAX.into()),
        "u32" => limits(0, u32::MAX.into()),
        "u64" | "usize" => limits(0, u64::MAX.into()),
        "i32" => limits(i32::MIN.into(), i32::MAX.into()),
        "i64" | "isize" => limits(i64::MIN.into(), i64::MAX.into()),
        "f32" | "f64" => "a number".to_owned(),
        "a string" | "string" => "text".to_owned(),
        "path string" => "a path".to_owned(),
        "socket address" => "an address with its port, such as 127.0.0.1:8001".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" | "newtype variant" | "struct variant" => "a section of keys".to_owned(),
        other if other.starts_with("a nonzero") => "a whole number that is not zero".to_owned(),
        other if other.starts_with("struct ") => "a section of keys".to_owned(),
        other => other.to_owned(),
    }
}

fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.join(""),
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.join(""),
    }
}

/// The word that was most likely meant.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let likeness = |known: &str| {
        // A word that was begun, or said with more or less around it, is like it too.
        let is_part = word.len() > 2 && known.len() > 2 && (known.contains(&word) || word.contains(known));
        strsim::jaro_winkler(&word, known).max(if is_part { LIKE } else { 0.0 })
    };
    let candidates = known.iter().map(|known| (likeness(known), *known));
    candidates.filter(|(likeness, _)| *likeness >= LIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
