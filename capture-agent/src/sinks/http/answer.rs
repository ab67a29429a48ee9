//! What an answer means for the records that it is about.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};

use super::endpoint::Endpoint;
use crate::sinks::delivery::SinkError;

/// The longest time that a destination may put the agent off: one that says more is mistaken, or hostile.
pub(in crate::sinks) const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Characters of an answer that a message quotes.
const QUOTED: usize = 300;

/// A whole answer.
#[derive(Debug)]
pub(in crate::sinks) struct Answer {
    pub(in crate::sinks) status: StatusCode,
    pub(in crate::sinks) headers: HeaderMap,
    /// Cut off where it was longer than an answer can sensibly be.
    pub(in crate::sinks) body: Bytes,
}

impl Answer {
    /// What HTTP says of records that were not taken: whether to send them again, and why.
    pub(in crate::sinks) fn error(&self, endpoint: &Endpoint) -> SinkError {
        let cause = format!("{endpoint} answers {}{}", self.status, quoted(&String::from_utf8_lossy(&self.body)));
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => self.retry(cause),
            // Whoever redirects has not looked at the records.
            status if status.is_server_error() || !status.is_client_error() => self.retry(cause),
            status => SinkError::Refused { cause, reason: reason(status) },
        }
    }

    /// Whether the destination does not know who asks, or does not let them.
    pub(in crate::sinks) fn is_unauthorized(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    /// That the records are to be sent again, not before the time that the destination asks for.
    pub(in crate::sinks) fn retry(&self, cause: String) -> SinkError {
        SinkError::Retry { cause, after: retry_after(&self.headers, SystemTime::now()) }
    }
}

/// Value of the `reason` label for an answer that will never be another one.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "unauthorized",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => "not_found",
        StatusCode::PAYLOAD_TOO_LARGE => TOO_LARGE,
        _ => "bad_request",
    }
}

/// Value of the `reason` label for a record that is larger than the destination takes.
pub(in crate::sinks) const TOO_LARGE: &str = "too_large";

/// The beginning of what a destination says, on one line, to end a sentence with.
pub(in crate::sinks) fn quoted(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    let printable = text.chars().map(|c| if c.is_control() || c == char::REPLACEMENT_CHARACTER { ' ' } else { c });
    let mut quoted: String = printable.take(QUOTED).collect();
    if text.chars().nth(QUOTED).is_some() {
        quoted.push('…');
    }
    format!(": {quoted}")
}

/// The time of a `Retry-After` header (RFC 9110, section 10.2.3): seconds, or a date.
pub(in crate::sinks) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        // More seconds than there is a number for.
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => LONGEST_WAIT,
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> SinkError {
        let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, headers: pairs.collect(), body: Bytes::copy_from_slice(body.as_bytes()) };
        answer.error(&"http://a:1".parse().unwrap())
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_refused() {
        for status in [408, 429, 500, 502, 503, 504, 599, 302] {
            assert!(matches!(answer(status, &[], ""), SinkError::Retry { after: None, .. }), "{status}");
        }
        for (status, expected) in [
            (400, "bad_request"),
            (401, "unauthorized"),
            (403, "unauthorized"),
            (404, "not_found"),
            (413, "too_large"),
            (422, "bad_request"),
        ] {
            assert!(matches!(answer(status, &[], ""), SinkError::Refused { reason, .. } if reason == expected));
        }
    }

    #[test]
    fn the_destination_says_how_long_to_wait() {
        let now = httpdate::parse_http_date("Fri, 31 Dec 1999 23:57:59 GMT").unwrap();
        let after = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]), now);
        // The two examples of the RFC.
        assert_eq!(after("120"), Some(Duration::from_mins(2)));
        assert_eq!(after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::from_mins(2)));
        assert_eq!(after("Thu, 31 Dec 1998 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(after("99999999999999999999999"), Some(LONGEST_WAIT));
        assert_eq!(after("86400"), Some(LONGEST_WAIT));
        for nonsense in ["", "soon", "-1", "1.5"] {
            assert_eq!(after(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_message_names_the_destination_and_quotes_a_line_of_it() {
        let long = format!("no\n\u{1b}[31m{}", "x".repeat(1000));
        let text = answer(400, &[], &long).to_string();
        assert!(text.starts_with("http://a:1 answers 400 Bad Request: no  [31mxxx") && text.ends_with("x…"), "{text}");
        assert_eq!(answer(503, &[], " ").to_string(), "http://a:1 answers 503 Service Unavailable");
    }
}
