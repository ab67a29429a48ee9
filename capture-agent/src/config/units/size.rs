//! Numbers of bytes: `4096`, `64KiB`, `32MiB`, `1GiB`.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Expects, from_text};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Sizes that the kernel takes for a ring buffer, if they are powers of two: at least two of the largest records, each
/// within a container's share of half the ring.
const RING: RangeInclusive<u64> = 256 * KIB..=GIB;

/// A number of bytes. More than zero, and no more than 2^63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Why a size cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SizeError {
    /// Not a number with a unit.
    #[error("not a size; write a number of bytes, or one with KiB, MiB or GiB")]
    Syntax,
    /// Zero, or beyond what the argument takes.
    #[error("out of range; it can be from {0} to {1}")]
    Range(Size, Size),
    /// Not a size that the kernel takes for a ring buffer.
    #[error("not a power of two from 256KiB to 1GiB; 32MiB is the default")]
    Ring,
}

impl Expects for SizeError {
    fn expected(&self) -> String {
        match self {
            Self::Syntax => EXPECTED.to_owned(),
            Self::Range(smallest, largest) => format!("a size from {smallest} to {largest}"),
            Self::Ring => "a power of two from 256KiB to 1GiB".to_owned(),
        }
    }
}

const EXPECTED: &str = "a size such as 4096, 64KiB, 16MiB or 1GiB";

impl Size {
    const SMALLEST: Self = Self(1);
    const LARGEST: Self = Self(1 << 63);

    /// So many times 1024 bytes.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count * KIB)
    }

    /// So many times 1024² bytes.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count * MIB)
    }

    /// A value parser for an argument that takes `smallest` to `largest` bytes, both included.
    pub fn between(
        smallest: u64,
        largest: u64,
    ) -> impl Fn(&str) -> Result<Self, SizeError> + Clone + Send + Sync + 'static {
        move |text| match text.parse() {
            Ok(Self(bytes)) if (smallest..=largest).contains(&bytes) => Ok(Self(bytes)),
            Ok(_) | Err(SizeError::Range(..)) => Err(SizeError::Range(Self(smallest), Self(largest))),
            Err(error) => Err(error),
        }
    }

    /// The same for a field of the file, as its `deserialize_with`.
    ///
    /// # Errors
    ///
    /// What is no size, or not within the bounds.
    pub fn deserialize_between<'de, D: Deserializer<'de>, const SMALLEST: u64, const LARGEST: u64>(
        deserializer: D,
    ) -> Result<Self, D::Error> {
        from_text(deserializer, EXPECTED, Self::between(SMALLEST, LARGEST))
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(SizeError::Syntax);
        }
        let factor = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" | "k" => KIB,
            "mib" | "m" => MIB,
            "gib" | "g" => GIB,
            "tib" | "t" => GIB * KIB,
            _ => return Err(SizeError::Syntax),
        };
        // A number that does not fit is too large, and no less a number.
        let bytes = number.parse().ok().and_then(|number: u64| number.checked_mul(factor));
        match bytes.map(Self) {
            Some(size) if (Self::SMALLEST..=Self::LARGEST).contains(&size) => Ok(size),
            _ => Err(SizeError::Range(Self::SMALLEST, Self::LARGEST)),
        }
    }
}

/// In the largest unit that divides it, as [`Size::from_str`] reads it.
impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = [(GIB * KIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")]
            .into_iter()
            .find(|(unit, _)| self.0.is_multiple_of(*unit))
            .unwrap_or((1, ""));
        write!(formatter, "{}{name}", self.0 / unit)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, EXPECTED, Self::from_str)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "format": "size", "examples": ["64KiB", "16MiB", 4096] })
    }
}

/// A [`Size`] that the kernel takes for a ring buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize(pub u32);

impl FromStr for RingSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        match text.parse() {
            Ok(Size(bytes)) if bytes.is_power_of_two() && RING.contains(&bytes) => Ok(Self(bytes as u32)),
            Ok(_) | Err(SizeError::Range(..)) => Err(SizeError::Ring),
            Err(error) => Err(error),
        }
    }
}

impl Serialize for RingSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Size(u64::from(self.0)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RingSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a power of two from 256KiB to 1GiB", Self::from_str)
    }
}

impl JsonSchema for RingSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RingSize".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Size::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_with_units_and_prints_them_back() {
        for (text, bytes) in
            [("4097", 4097), ("64KiB", 65536), ("32MiB", 32 << 20), ("1GiB", 1 << 30), ("8192GiB", 8 << 40)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
        assert_eq!((Size(4097).to_string(), Size(8 << 40).to_string()), ("4097".to_owned(), "8TiB".to_owned()));
        for (text, bytes) in [("32mib", 32 << 20), ("1 GiB", 1 << 30), ("5k", 5 << 10), ("7 b", 7)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MiB", "3 MB", "-1", "1.5GiB"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError::Syntax), "{text}");
        }
    }

    #[test]
    fn the_range_is_inclusive_and_its_bounds_are_named() {
        let parse = Size::between(16, KIB);
        assert_eq!((parse("16"), parse("1KiB")), (Ok(Size(16)), Ok(Size(KIB))));
        for text in ["0", "15", "1025", "99999999999999999999GiB"] {
            assert_eq!(parse(text).unwrap_err().to_string(), "out of range; it can be from 16 to 1KiB", "{text}");
        }
        assert_eq!(parse("soon"), Err(SizeError::Syntax));
        assert_eq!("0".parse::<Size>(), Err(SizeError::Range(Size(1), Size(1 << 63))));
    }

    #[test]
    fn takes_only_ring_sizes_that_the_kernel_takes() {
        assert_eq!("256KiB".parse(), Ok(RingSize(256 << 10)));
        assert_eq!("1GiB".parse(), Ok(RingSize(1 << 30)));
        for text in ["128KiB", "3MiB", "2GiB", "0"] {
            assert_eq!(text.parse::<RingSize>(), Err(SizeError::Ring), "{text}");
        }
    }
}
