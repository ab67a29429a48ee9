//! Lengths of time and sizes, as people write them: on the command line, in the environment and in the file.

mod period;
mod size;

use std::fmt;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

pub use self::period::{Period, PeriodError, zero_or_longer};
pub use self::size::{RingSize, Size, SizeError};

/// Reads text by `parse`. What the text is refused for goes into the error as what was expected, apart from the text
/// itself, which may be a secret.
fn from_text<'de, D, T, E>(
    deserializer: D,
    expecting: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: Expects,
{
    struct Text<F>(&'static str, F);

    impl<T, E: Expects, F: Fn(&str) -> Result<T, E>> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }

        fn visit_str<D: Error>(self, text: &str) -> Result<T, D> {
            (self.1)(text).map_err(|error| D::invalid_value(Unexpected::Str(text), &error.expected().as_str()))
        }

        fn visit_u64<D: Error>(self, number: u64) -> Result<T, D> {
            (self.1)(&number.to_string())
                .map_err(|error| D::invalid_value(Unexpected::Unsigned(number), &error.expected().as_str()))
        }
    }

    deserializer.deserialize_any(Text(expecting, parse))
}

/// An error that can say what would be right without saying what was given.
trait Expects {
    fn expected(&self) -> String;
}
