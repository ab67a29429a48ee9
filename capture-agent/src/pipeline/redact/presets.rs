//! What is often looked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is often looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedactPreset {
    /// Addresses of mail: `jane.doe+x@example.org`.
    Email,
    /// Addresses of IPv4.
    Ipv4,
    /// Numbers of payment cards, with a right check digit; in groups or not.
    CreditCard,
    /// What follows `Bearer ` (RFC 6750); the word stays.
    BearerToken,
}

impl RedactPreset {
    /// Over bytes: all of what is looked for is ASCII.
    pub(super) fn pattern(self) -> &'static str {
        match self {
            Self::Email => r"(?-u)[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
            Self::Ipv4 => {
                r"(?-u)\b(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\b"
            }
            Self::CreditCard => r"(?-u)\b[0-9](?:[ -]?[0-9]){11,18}\b",
            Self::BearerToken => r"(?i-u)\b(?<keep>bearer )[A-Za-z0-9._~+/-]+=*",
        }
    }

    pub(super) fn check(self) -> fn(&[u8]) -> bool {
        match self {
            Self::CreditCard => has_check_digit,
            Self::Email | Self::Ipv4 | Self::BearerToken => |_| true,
        }
    }
}

/// ISO/IEC 7812-1, annex B: from the last digit on every second one is doubled.
fn has_check_digit(text: &[u8]) -> bool {
    let digits = text.iter().rev().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    let sum: u32 = digits
        .enumerate()
        .map(|(index, digit)| match index % 2 {
            0 => digit,
            _ => 2 * digit / 10 + 2 * digit % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}
