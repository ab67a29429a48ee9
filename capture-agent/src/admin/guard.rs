//! Who may ask for what.
//!
//! On loopback the danger is a page in a browser of this machine: it may ask any address, and a name that it owns may lead
//! to loopback (DNS rebinding). So `Host` has to be this machine, and no other page's `Origin` may ask. Elsewhere it is
//! everybody, so that containers and their logs are shown to who has the token, over TLS.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;

use super::api::problem;
use crate::config::reload::Stamp;
use crate::config::{Secret, SecretError};

/// Paths that say whether the agent is there and nothing else; whoever supervises it may ask by any name.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Decides who may ask for what.
#[derive(Debug)]
pub(super) struct Guard {
    is_loopback: bool,
    is_encrypted: bool,
    token: Option<Token>,
}

/// The token, and the file that it is in, which may be written anew.
#[derive(Debug)]
struct Token {
    path: PathBuf,
    read: Mutex<(Option<Stamp>, Secret)>,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// `Host` is not this machine.
    Host,
    /// A page of another origin asks.
    Origin,
    /// Neither loopback nor protected.
    Unprotected,
    /// No token, or not this one.
    Token,
}

impl Guard {
    pub(super) fn new(listen: SocketAddr, token: Option<PathBuf>, is_encrypted: bool) -> Result<Self, SecretError> {
        let token = token.map(|path| {
            let read = (Stamp::of(&path), Secret::from_file(&path)?);
            Ok(Token { path, read: Mutex::new(read) })
        });
        Ok(Self { is_loopback: listen.ip().is_loopback(), is_encrypted, token: token.transpose()? })
    }

    fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        if PROBES.contains(&path) {
            return Ok(());
        }
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = text(HOST.as_str());
        if self.is_loopback && !host.is_none_or(is_this_machine) {
            return Err(Refusal::Host);
        }
        if let Some(origin) = text(ORIGIN.as_str()) {
            let asked_by = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if asked_by.is_none() || asked_by != host {
                return Err(Refusal::Origin);
            }
        }
        if !path.starts_with("/api/") {
            return Ok(());
        }
        // Requests that carry no origin tell so by this one (Fetch Metadata).
        if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
            return Err(Refusal::Origin);
        }
        let is_protected = self.is_encrypted && self.token.is_some();
        if !self.is_loopback && !is_protected {
            return Err(Refusal::Unprotected);
        }
        let Some(token) = &self.token else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        if given.is_some_and(|given| token.is(given)) { Ok(()) } else { Err(Refusal::Token) }
    }
}

impl Token {
    /// Compares in a time that says nothing of where the two differ.
    fn is(&self, given: &[u8]) -> bool {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&self.path);
        if stamp != read.0 {
            read.0 = stamp;
            match Secret::from_file(&self.path) {
                Ok(secret) => read.1 = secret,
                Err(error) => tracing::warn!(%error, "the admin server keeps the token that was read before"),
            }
        }
        read.1.expose().as_bytes().ct_eq(given).into()
    }
}

/// The token of `Bearer <token>`; the scheme's name is of any case (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// Whether a `Host` is a name of loopback, which nobody can make lead anywhere else. A port forward has any port.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Refusal {
    fn answer(self) -> Response {
        let (status, told) = match self {
            Self::Host => {
                (StatusCode::FORBIDDEN, "the Host header is not this machine; ask for localhost or a loopback address")
            }
            Self::Origin => (StatusCode::FORBIDDEN, "a page of another origin may not ask this agent"),
            Self::Unprotected => (
                StatusCode::FORBIDDEN,
                "containers and their logs are shown on loopback only, or with a token over TLS; set admin.token_file, \
                 admin.cert_file and admin.key_file",
            ),
            Self::Token => (
                StatusCode::UNAUTHORIZED,
                "the token is missing or not the one of admin.token_file; send Authorization: Bearer <token>",
            ),
        };
        let mut answer = problem(status, told);
        if self == Self::Token {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"capture-agent\""));
        }
        answer
    }
}

/// What stands before every answer.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await.into_response(),
        Err(refusal) => refusal.answer(),
    }
}

#[cfg(test)]
mod tests;
