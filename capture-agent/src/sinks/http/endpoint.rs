//! Where a destination is: a URL, taken apart once.

use std::fmt;

use hyper::Uri;
use hyper::http::uri::Scheme;

/// An `http://` or `https://` address with a path to begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether TLS is spoken.
    pub is_tls: bool,
    /// A name or an address; of version 6 without brackets.
    pub host: String,
    /// The port of the scheme where none is given.
    pub port: u16,
    /// As it stands in a `Host` header.
    pub authority: String,
    /// Begins with a slash and does not end with one; empty for the root.
    pub path: String,
}

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EndpointError {
    /// No URL, or none with a host.
    #[error("{0:?} is not a URL; write http://host:port or https://host:port")]
    Syntax(String),
    /// Neither `http` nor `https`.
    #[error("the address is of scheme {0:?}; write http://host:port or https://host:port")]
    Scheme(String),
    /// A name or a password before the host. Not repeated here: it may be a secret.
    #[error("the address holds a user name or a password; give them as username and password_file")]
    User,
    /// A query.
    #[error("the address {0} has a query; leave out what follows the question mark")]
    Query(String),
}

impl std::str::FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        if rest.split(['/', '?', '#']).next().unwrap_or_default().contains('@') {
            return Err(EndpointError::User);
        }
        let syntax = || EndpointError::Syntax(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| syntax())?;
        let scheme = uri.scheme().ok_or_else(syntax)?;
        let is_tls = *scheme == Scheme::HTTPS;
        if !is_tls && *scheme != Scheme::HTTP {
            return Err(EndpointError::Scheme(scheme.to_string()));
        }
        if uri.query().is_some() {
            return Err(EndpointError::Query(text.to_owned()));
        }
        let authority = uri.authority().ok_or_else(syntax)?;
        let (host, port) = authority.as_str().split_at(authority.host().len());
        if !port.is_empty() && authority.port_u16().is_none() {
            return Err(syntax());
        }
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if host.is_empty() {
            return Err(syntax());
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self {
            is_tls,
            host,
            port,
            authority: authority.to_string(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}{}", if self.is_tls { "https" } else { "http" }, self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let endpoint: Endpoint = "https://logs.example:8443/team/a/".parse().unwrap();
        assert_eq!((endpoint.is_tls, &*endpoint.host, endpoint.port), (true, "logs.example", 8443));
        assert_eq!(endpoint.path, "/team/a");
        assert_eq!(endpoint.to_string(), "https://logs.example:8443/team/a");
        let plain: Endpoint = "http://[::1]".parse().unwrap();
        assert_eq!((plain.is_tls, &*plain.host, plain.port, &*plain.path), (false, "::1", 80, ""));
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_a_password_is_not_repeated() {
        for text in ["", "loki", "loki:3100", "http://", "http://a:99999", "http://a b"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        assert_eq!("ftp://a".parse::<Endpoint>(), Err(EndpointError::Scheme("ftp".to_owned())));
        for text in ["http://me:hunter2@a", "me:hunter2@a"] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert_eq!(error, EndpointError::User);
            assert!(!error.to_string().contains("hunter2"));
        }
        assert!(matches!("http://a/b?c".parse::<Endpoint>(), Err(EndpointError::Query(_))));
    }
}
