//! Enums that are tagged inside: `type: file` among the fields.
//!
//! They are deserialized as serde's externally tagged ones: the key [`TAG`] chooses the variant, and the other keys are
//! its content. So nothing is buffered, and positions stay.

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess as _, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::fault::{Fault, Place};
use super::{Path, Reader, TAG};
use crate::config::yaml::Node;

/// A section whose kind one of its keys says.
pub(super) struct Tagged<'de, 'p> {
    tag: &'de Node,
    reader: Reader<'de, 'p>,
}

impl<'de, 'p> Tagged<'de, 'p> {
    pub(super) fn new(tag: &'de Node, reader: Reader<'de, 'p>) -> Self {
        Self { tag, reader }
    }
}

impl<'de, 'p> EnumAccess<'de> for Tagged<'de, 'p> {
    type Error = Fault;
    type Variant = Reader<'de, 'p>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self::Variant), Fault> {
        let path = Path::Key(self.reader.path, TAG);
        let tag = Reader { node: self.tag, path: &path, left_out: self.reader.left_out };
        if self.reader.left_out.contains(&self.tag.id) {
            return Err(Fault::custom("its type is not known"));
        }
        tag.placed(seed.deserialize(Name(tag))).map(|variant| (variant, self.reader))
    }
}

/// Text, where an identifier is wanted.
struct Name<'de, 'p>(Reader<'de, 'p>);

impl<'de> Deserializer<'de> for Name<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.0.text(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> VariantAccess<'de> for Reader<'de, '_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        let mut entries = self.entries(Some(TAG));
        match entries.next_key::<String>()? {
            None => Ok(()),
            Some(key) => Err(Fault::unknown_field(&key, &[]).of_key(|| {
                let entry = self.node.get(&key);
                entry.map_or_else(|| Place::of(self.node, self.path), |entry| Place::of_key(entry, self.path))
            })),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        self.placed(seed.deserialize(Content(self)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.unexpected(&visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.placed(visitor.visit_map(self.entries(Some(TAG))))
    }
}

/// A section without the key that says its kind.
struct Content<'de, 'p>(Reader<'de, 'p>);

impl<'de> Deserializer<'de> for Content<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.0.placed(visitor.visit_map(self.0.entries(Some(TAG))))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
