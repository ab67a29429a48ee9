//! HTTP to a destination: one connection, one request at a time, and no wait without an end.

pub(in crate::sinks) mod answer;
mod config;
pub(in crate::sinks) mod connector;
mod credentials;
mod endpoint;
pub(in crate::sinks) mod event_loop;
pub(in crate::sinks) mod failure;
pub(in crate::sinks) mod link;
mod tls;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;

use self::answer::Answer;
pub use self::config::{AuthConfig, ClientConfig, ClientError};
use self::connector::Connector;
pub(in crate::sinks) use self::credentials::Credentials;
pub use self::credentials::CredentialsError;
pub use self::endpoint::{Endpoint, EndpointError};
use self::event_loop::EventLoop;
use self::failure::Failure;
use self::link::Link;
use crate::socket::{FailureKind, SocketHealth};

/// Bytes of an answer that are read: enough for any that says something.
pub(in crate::sinks) const LONGEST_ANSWER: usize = 1 << 20;

/// How the agent names itself to a destination.
pub(in crate::sinks) const USER_AGENT_TEXT: &str = concat!("capture-agent/", env!("CARGO_PKG_VERSION"));

/// Sends requests to one destination.
pub struct Client {
    event_loop: EventLoop,
    connector: Connector,
    credentials: Credentials,
    /// Those of every request.
    headers: HeaderMap,
    timeout: Duration,
    link: Option<Link<SendRequest<Full<Bytes>>>>,
}

impl Client {
    fn new(
        connector: Connector,
        mut headers: HeaderMap,
        credentials: Credentials,
        timeout: Duration,
    ) -> io::Result<Self> {
        // What the user sets goes first.
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT_TEXT));
        let host = HeaderValue::from_str(&connector.endpoint.authority).map_err(io::Error::other)?;
        headers.insert(HOST, host);
        Ok(Self { event_loop: EventLoop::new()?, connector, credentials, headers, timeout, link: None })
    }

    /// Where it sends.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.connector.endpoint
    }

    /// How its connection fares.
    #[must_use]
    pub fn health(&self) -> Arc<SocketHealth> {
        Arc::clone(&self.connector.health)
    }

    /// Sends `body` to `path`, which begins where the endpoint's ends. Blocks until there is an answer or none is to be
    /// expected.
    pub(in crate::sinks) fn post(
        &mut self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: &Bytes,
    ) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let mut authorization = self.credentials.header();
        let mut outcome = self.send(path, headers, authorization.as_ref(), body);
        if outcome.as_ref().is_ok_and(Answer::is_unauthorized) {
            // A token may be renewed while a request with the old one is on its way.
            let renewed = self.credentials.header();
            if renewed != authorization {
                authorization = renewed;
                outcome = self.send(path, headers, authorization.as_ref(), body);
            }
        }
        let health = &self.connector.health;
        health.observe(begun.elapsed());
        let failure = match &outcome {
            Ok(answer) => (!answer.status.is_success()).then_some(FailureKind::Status),
            Err(failure) => Some(failure.kind),
        };
        note(health, failure);
        outcome
    }

    fn send(
        &mut self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        authorization: Option<&HeaderValue>,
        body: &Bytes,
    ) -> Result<Answer, Failure> {
        if self.connector.refresh() {
            self.link = None;
        }
        let target: Uri = format!("{}{path}", self.connector.endpoint.path)
            .parse()
            .map_err(|error| Failure::new(FailureKind::Protocol, format!("{path} is no path: {error}")))?;
        let request = || {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = target.clone();
            *request.headers_mut() = self.headers.clone();
            request.headers_mut().extend(headers.iter().cloned());
            // Of an empty body nothing would be said, and some servers insist.
            request.headers_mut().insert(CONTENT_LENGTH, body.len().into());
            if let Some(authorization) = authorization {
                request.headers_mut().insert(AUTHORIZATION, authorization.clone());
            }
            request
        };
        let (connector, link, timeout) = (&self.connector, &mut self.link, self.timeout);
        self.event_loop.run(async {
            // A server may close a connection that is idle just when it is used again: that says nothing of the server.
            let was_used = link.as_ref().is_some_and(|link| link.is_used);
            match exchange(connector, link, request(), timeout).await {
                Err(failure) if was_used && failure.kind != FailureKind::Timeout => {
                    exchange(connector, link, request(), timeout).await
                }
                outcome => outcome,
            }
        })
    }
}

/// Books what became of a request.
pub(in crate::sinks) fn note(health: &SocketHealth, failure: Option<FailureKind>) {
    // An error of the protocol is an answer all the same.
    let is_answer = failure.is_none_or(|kind| kind == FailureKind::Status);
    let was_lost = FailureKind::ALL.iter().any(|kind| *kind != FailureKind::Status && health.errors(*kind) > 0);
    if is_answer && was_lost && !health.up() {
        health.reconnected();
    }
    if let Some(kind) = failure {
        health.failed(kind);
    }
    health.set_up(is_answer);
}

/// Sends one request over the connection that is there, or a new one. Any failure closes it.
async fn exchange(
    connector: &Connector,
    place: &mut Option<Link<SendRequest<Full<Bytes>>>>,
    request: Request<Full<Bytes>>,
    timeout: Duration,
) -> Result<Answer, Failure> {
    let mut link = match place.take() {
        Some(link) if !link.sender.is_closed() => link,
        _ => connect(connector).await?,
    };
    let (answer, may_stay) = tokio::time::timeout(timeout, converse(&mut link, request))
        .await
        .map_err(|_| Failure::no_answer(timeout, &connector.endpoint))?
        .map_err(|error| Failure::of_exchange(link.fault().unwrap_or(&error), &connector.endpoint))?;
    if may_stay && !link.sender.is_closed() {
        link.is_used = true;
        *place = Some(link);
    }
    Ok(answer)
}

async fn connect(connector: &Connector) -> Result<Link<SendRequest<Full<Bytes>>>, Failure> {
    let stream = connector.connect().await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::of_exchange(&error, &connector.endpoint))?;
    Ok(Link::new(sender, connection, &connector.health))
}

/// The answer, and whether the connection can be used again.
async fn converse(
    link: &mut Link<SendRequest<Full<Bytes>>>,
    request: Request<Full<Bytes>>,
) -> Result<(Answer, bool), hyper::Error> {
    let (sender, connection) = link.split();
    connection.drive(sender.ready()).await?;
    let response = connection.drive(sender.send_request(request)).await?;
    let (head, mut rest) = response.into_parts();
    let mut body = BytesMut::new();
    let is_whole = loop {
        match connection.drive(rest.frame()).await.transpose()?.map(hyper::body::Frame::into_data) {
            None => break true,
            Some(Ok(piece)) if body.len() + piece.len() > LONGEST_ANSWER => break false,
            Some(Ok(piece)) => body.extend_from_slice(&piece),
            // Trailers say nothing here.
            Some(Err(_)) => {}
        }
    };
    Ok((Answer { status: head.status, headers: head.headers, body: body.freeze() }, is_whole))
}
