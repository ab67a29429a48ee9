//! Nodes into structures.

mod fault;
mod tagged;

use std::collections::HashSet;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IntoDeserializer as _, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use self::fault::{Fault, Place};
use self::tagged::Tagged;
use super::{Entry, Node, Problem, Value};

/// The key that says of what kind a section is.
const TAG: &str = "type";

/// Reads a structure out of a document.
///
/// # Errors
///
/// Everything that is wrong, in the order of the file.
pub fn read<'de, T: Deserialize<'de>>(root: &'de Node) -> Result<T, Vec<Problem>> {
    let mut left_out = HashSet::new();
    let mut problems = Vec::new();
    loop {
        let fault = match T::deserialize(Reader { node: root, path: &Path::Root, left_out: &left_out }) {
            Ok(read) if problems.is_empty() => return Ok(read),
            Ok(_) => break,
            Err(fault) => fault,
        };
        let place = fault.place.clone().unwrap_or_else(|| Box::new(Place::of(root, &Path::Root)));
        // What is missing where something was left out is not worth another word.
        let is_consequence = !fault.is_about_key() && left_out.iter().any(|id| place.ids.contains(id));
        if !is_consequence || problems.is_empty() {
            problems.push(fault.problem());
        }
        // Another round without it, for what else is wrong.
        if place.ids.start == root.id || !left_out.insert(place.ids.start) {
            break;
        }
    }
    problems.sort_by_key(|problem| problem.at);
    Err(problems)
}

/// The way to a node.
#[derive(Clone, Copy)]
enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => formatter.write_str(key),
            Self::Key(parent, key) => write!(formatter, "{parent}.{key}"),
            Self::Index(parent, index) => write!(formatter, "{parent}[{index}]"),
        }
    }
}

#[derive(Clone, Copy)]
struct Reader<'de, 'p> {
    node: &'de Node,
    path: &'p Path<'p>,
    /// Nodes that are read as if they were not there.
    left_out: &'p HashSet<u32>,
}

impl<'de, 'p> Reader<'de, 'p> {
    /// Gives a fault its place, if it is not from further below.
    fn placed<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| fault.at(|| Place::of(self.node, self.path)))
    }

    /// What the node is, for a sentence that says it should be something else.
    fn found(self) -> Unexpected<'de> {
        match &self.node.value {
            Value::Sequence(_) => Unexpected::Seq,
            Value::Mapping(_) => Unexpected::Map,
            Value::Scalar { .. } if self.node.is_null() => Unexpected::Unit,
            Value::Scalar { text, .. } => Unexpected::Str(text),
        }
    }

    fn unexpected<T>(self, visitor: &dyn serde::de::Expected) -> Result<T, Fault> {
        self.placed(Err(Fault::invalid_type(self.found(), visitor)))
    }

    fn scalar(self) -> Option<(&'de str, bool)> {
        match &self.node.value {
            Value::Scalar { text, plain, .. } if !self.node.is_null() => Some((text, *plain)),
            _ => None,
        }
    }

    fn entries(self, skip: Option<&'static str>) -> Entries<'de, 'p> {
        let entries: &[Entry] = match &self.node.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        };
        Entries { rest: entries.iter(), value: None, skip, reader: self }
    }

    fn number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Some((text, true)) = self.scalar() else { return self.unexpected(&visitor) };
        self.placed(match Number::parse(text) {
            Some(Number::Unsigned(number)) => visitor.visit_u64(number),
            Some(Number::Signed(number)) => visitor.visit_i64(number),
            Some(Number::Float(number)) => visitor.visit_f64(number),
            None => return self.unexpected(&visitor),
        })
    }

    fn text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar() {
            Some((text, _)) => self.placed(visitor.visit_borrowed_str(text)),
            None => self.unexpected(&visitor),
        }
    }
}

enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Number {
    /// Decimal numbers only; the others of YAML's core schema are more often identifiers.
    fn parse(text: &str) -> Option<Self> {
        if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.')) {
            return None;
        }
        let unsigned = text.parse().map(Self::Unsigned);
        let signed = || text.parse().map(Self::Signed);
        let float = || text.parse().map(Self::Float);
        unsigned.or_else(|_| signed()).or_else(|_| float()).ok()
    }
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Sequence(_) => self.deserialize_seq(visitor),
            Value::Mapping(_) => self.deserialize_map(visitor),
            Value::Scalar { .. } if self.node.is_null() => self.placed(visitor.visit_unit()),
            Value::Scalar { text, plain: true, .. } if boolean(text).is_some() => self.deserialize_bool(visitor),
            Value::Scalar { text, plain: true, .. } if Number::parse(text).is_some() => self.number(visitor),
            Value::Scalar { .. } => self.text(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar() {
            Some((text, true)) if let Some(value) = boolean(text) => self.placed(visitor.visit_bool(value)),
            _ => self.unexpected(&visitor),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    /// Whatever is written is text where text is wanted: a label's value may be `true` or `8`.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() { self.placed(visitor.visit_none()) } else { self.placed(visitor.visit_some(self)) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.placed(visitor.visit_newtype_struct(self))
    }

    /// A key without a value is an empty list.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let nodes: &[Node] = match &self.node.value {
            Value::Sequence(nodes) => nodes,
            _ if self.node.is_null() => &[],
            _ => return self.unexpected(&visitor),
        };
        self.placed(visitor.visit_seq(Elements { rest: nodes.iter().enumerate(), reader: self }))
    }

    /// A key without a value is an empty section.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if matches!(self.node.value, Value::Mapping(_)) || self.node.is_null() {
            self.placed(visitor.visit_map(self.entries(None)))
        } else {
            self.unexpected(&visitor)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Mapping(_) => match self.node.get(TAG) {
                Some(tag) => self.placed(visitor.visit_enum(Tagged::new(&tag.value, self))),
                None => self.placed(Err(Fault::missing_tag(TAG, variants))),
            },
            Value::Scalar { text, .. } if !self.node.is_null() => {
                self.placed(visitor.visit_enum(StrDeserializer::new(text)))
            }
            _ => self.placed(Err(Fault::no_variant(self.found(), variants))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct tuple tuple_struct identifier }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

struct Elements<'de, 'p> {
    rest: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
    reader: Reader<'de, 'p>,
}

impl<'de> SeqAccess<'de> for Elements<'de, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let left_out = self.reader.left_out;
        let Some((index, node)) = self.rest.find(|(_, node)| !left_out.contains(&node.id)) else { return Ok(None) };
        let path = Path::Index(self.reader.path, index);
        let reader = Reader { node, path: &path, left_out };
        reader.placed(seed.deserialize(reader)).map(Some)
    }
}

struct Entries<'de, 'p> {
    rest: std::slice::Iter<'de, Entry>,
    value: Option<&'de Entry>,
    skip: Option<&'static str>,
    reader: Reader<'de, 'p>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let (left_out, skip) = (self.reader.left_out, self.skip);
        let is_there = |entry: &&Entry| !left_out.contains(&entry.value.id) && Some(entry.key.as_str()) != skip;
        self.value = self.rest.find(is_there);
        let Some(entry) = self.value else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|fault| fault.of_key(|| Place::of_key(entry, self.reader.path)))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some(entry) = self.value.take() else { return Err(Fault::custom("a value without a key")) };
        let path = Path::Key(self.reader.path, &entry.key);
        let reader = Reader { node: &entry.value, path: &path, left_out: self.reader.left_out };
        // A value that does not stand behind its key is looked for where the key stands.
        reader.placed(seed.deserialize(reader)).map_err(|fault| fault.or_at_key(entry))
    }
}

#[cfg(test)]
mod tests;
