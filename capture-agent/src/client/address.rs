//! `http://host:port`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Where an agent listens unless it is told otherwise.
const DEFAULT_PORT: u16 = 8001;

/// Where an agent answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address, an IPv6 one without its brackets.
    pub host: String,
    /// Of TCP.
    pub port: u16,
    /// Whether it is `https`.
    pub is_encrypted: bool,
}

/// No address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address of an agent; write http://host:port or https://host:port")]
pub struct NoAddress;

impl Address {
    /// As in a `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl Default for Address {
    fn default() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT, is_encrypted: false }
    }
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let is_encrypted = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(NoAddress),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => (host, port.strip_prefix(':')),
            Some(_) => return Err(NoAddress),
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = port.map_or(Ok(DEFAULT_PORT), str::parse).map_err(|_| NoAddress)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(NoAddress);
        }
        Ok(Self { host: host.to_owned(), port, is_encrypted })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", if self.is_encrypted { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_people_do() {
        for (text, expected) in [
            ("http://127.0.0.1:8001", "http://127.0.0.1:8001"),
            ("127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("node-7", "http://node-7:8001"),
            ("https://node-7.example:443/", "https://node-7.example:443"),
            ("http://[::1]:8001", "http://[::1]:8001"),
            ("[::1]", "http://[::1]:8001"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "ftp://x", "http://", "http://x:y", "http://x:99999", "http://a b", "http://x/y", "[x]:1"] {
            assert_eq!(text.parse::<Address>(), Err(NoAddress), "{text}");
        }
        assert_eq!(Address::default().to_string(), "http://127.0.0.1:8001");
    }
}
