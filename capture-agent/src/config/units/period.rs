//! Durations: `500ms`, `30s`, `5m`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Expects, from_text};

/// A length of time that an argument or the file gives. Longer than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// Why something is no period.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PeriodError {
    /// Not a number with a unit, or negative.
    #[error("not a length of time; write a number with its unit, such as 500ms, 30s, 5m or 1h")]
    Syntax,
    /// Zero, or beyond what the argument takes.
    #[error("out of range; it can be from {0} to {1}")]
    Range(Period, Period),
    /// Nothing would ever wait.
    #[error("zero; give a time that is longer")]
    Zero,
}

impl Expects for PeriodError {
    fn expected(&self) -> String {
        match self {
            Self::Syntax => EXPECTED.to_owned(),
            Self::Range(shortest, longest) => format!("a length of time from {shortest} to {longest}"),
            Self::Zero => "a length of time that is longer than zero".to_owned(),
        }
    }
}

const EXPECTED: &str = "a length of time such as 500ms, 30s, 5m or 1h";

impl Period {
    /// So many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A value parser for an argument that takes `shortest` to `longest`, both included.
    pub fn between(
        shortest: Duration,
        longest: Duration,
    ) -> impl Fn(&str) -> Result<Self, PeriodError> + Clone + Send + Sync + 'static {
        move |text| match text.parse() {
            Ok(Self(duration)) if (shortest..=longest).contains(&duration) => Ok(Self(duration)),
            Ok(_) | Err(PeriodError::Zero) => Err(PeriodError::Range(Self(shortest), Self(longest))),
            Err(error) => Err(error),
        }
    }

    /// The same for a field of the file, as its `deserialize_with`; the bounds are in milliseconds.
    ///
    /// # Errors
    ///
    /// What is no length of time, or not within the bounds.
    pub fn deserialize_between<'de, D: Deserializer<'de>, const SHORTEST: u64, const LONGEST: u64>(
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let (shortest, longest) = (Duration::from_millis(SHORTEST), Duration::from_millis(LONGEST));
        from_text(deserializer, EXPECTED, Self::between(shortest, longest))
    }
}

/// Reads a field of the file whose zero means something, as its `deserialize_with`.
///
/// # Errors
///
/// What is no length of time.
pub fn zero_or_longer<'de, D: Deserializer<'de>, T: From<Period>>(deserializer: D) -> Result<T, D::Error> {
    let parse = |text: &str| match text.parse() {
        Err(PeriodError::Zero) => Ok(Period(Duration::ZERO)),
        other => other,
    };
    from_text(deserializer, EXPECTED, parse).map(T::from)
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let signed: SignedDuration = text.trim().parse().map_err(|_| PeriodError::Syntax)?;
        let duration = Duration::try_from(signed).map_err(|_| PeriodError::Syntax)?;
        if duration.is_zero() { Err(PeriodError::Zero) } else { Ok(Self(duration)) }
    }
}

/// In the units that [`Period::from_str`] reads.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing that was parsed is longer than the longest signed duration.
        let signed = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        write!(f, "{signed:#}")
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, EXPECTED, Self::from_str)
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "period", "examples": ["500ms", "30s", "1h30m"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_units_that_people_write_and_prints_them_back() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000)] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period, Period(Duration::from_millis(millis)));
            assert_eq!(period.to_string(), text);
        }
        for text in ["1h30m", "1h 30m", "90m", "5400s", " 1.5h ", "90 minutes"] {
            assert_eq!(text.parse(), Ok(Period(Duration::from_mins(90))), "{text}");
        }
        let odd = Period(Duration::new(3_723, 45_000_000));
        assert_eq!(odd.to_string().parse(), Ok(odd), "{odd}");
    }

    #[test]
    fn what_is_no_length_of_time_is_refused_in_one_sentence() {
        for text in ["", "s", "30", "30x", "-1s", "1s ago", "soon", "1mo", "1h30", "99999999999999999999s"] {
            assert_eq!(text.parse::<Period>(), Err(PeriodError::Syntax), "{text}");
        }
        assert_eq!("0s".parse::<Period>(), Err(PeriodError::Zero));
        assert!(!PeriodError::Syntax.to_string().contains(['\n', '.']));
    }

    #[test]
    fn the_range_is_inclusive_and_its_bounds_are_named() {
        let parse = Period::between(Duration::from_secs(1), Duration::from_hours(1));
        assert_eq!(parse("1s"), Ok(Period(Duration::from_secs(1))));
        assert_eq!(parse("60m"), Ok(Period(Duration::from_hours(1))));
        for text in ["0s", "999ms", "61m"] {
            assert_eq!(parse(text).unwrap_err().to_string(), "out of range; it can be from 1s to 1h", "{text}");
        }
        assert_eq!(parse("soon"), Err(PeriodError::Syntax));
    }
}
