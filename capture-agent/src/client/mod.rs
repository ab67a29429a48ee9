//! Asks an agent over its API: what `tail` and `top` do.

mod address;
mod events;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

pub use self::address::Address;
pub use self::events::{Event, Events};
use crate::api::Problem;
use crate::config::{Secret, SecretError};
use crate::socket::tls::{TlsError, TlsFiles};

/// Longest time for a connection, and for an answer that is no stream.
const DEADLINE: Duration = Duration::from_secs(10);
/// More than the state of any agent takes: 64 Ki containers with their labels.
const LONGEST_ANSWER: usize = 256 << 20;

/// Where an agent answers, and what it is asked with.
#[derive(Clone, Debug, Default)]
pub struct ClientConfig {
    /// `http://host:port` or `https://host:port`.
    pub url: Address,
    /// File with the token.
    pub token_file: Option<PathBuf>,
    /// Who may sign the agent's certificate (PEM); `None` for those that the host trusts.
    pub ca_file: Option<PathBuf>,
}

/// Asks one agent. Each question takes a connection of its own.
#[derive(Clone)]
pub struct Client {
    address: Address,
    token: Option<HeaderValue>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens there, or nothing that answers in time.
    #[error("no agent answers on {0}: {1}; start one with `capture-agent run`, or name another with --url")]
    Unreachable(Address, String),
    /// It says no.
    #[error("the agent on {0} refuses ({1}): {2}")]
    Refused(Address, u16, String),
    /// The agent has no such path, or it is no agent.
    #[error("what answers on {0} is no agent that has this API: {1}; check --url")]
    Strange(Address, String),
    /// The file with the token.
    #[error("--token-file: {0}")]
    Token(#[from] SecretError),
    /// What no header can hold.
    #[error("--token-file: {0}: holds what no header can; a token is one line")]
    NoHeader(PathBuf),
    /// The certificates.
    #[error("--ca-file: {0}")]
    Tls(#[from] TlsError),
    /// The URL's host cannot be in a certificate.
    #[error("--url: `{0}` is no name that a certificate can have")]
    ServerName(String),
}

impl ClientError {
    /// Whether it may be otherwise by and by.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(..) => true,
            Self::Refused(_, status, _) => *status >= 500,
            _ => false,
        }
    }
}

impl ClientConfig {
    /// Reads the files; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them.
    pub fn build(self) -> Result<Client, ClientError> {
        let token = self.token_file.map(|path| {
            let secret = Secret::from_file(&path)?;
            let header = HeaderValue::from_str(&format!("Bearer {}", secret.expose()));
            let mut header = header.map_err(|_| ClientError::NoHeader(path))?;
            header.set_sensitive(true);
            Ok::<_, ClientError>(header)
        });
        let tls = self.url.is_encrypted.then(|| {
            let config = TlsFiles { ca: self.ca_file, client: None }.load()?;
            let host = &self.url.host;
            let name = ServerName::try_from(host.clone()).map_err(|_| ClientError::ServerName(host.clone()))?;
            Ok::<_, ClientError>((TlsConnector::from(Arc::new(config)), name))
        });
        Ok(Client { address: self.url, token: token.transpose()?, tls: tls.transpose()? })
    }
}

impl Client {
    /// Who is asked.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Asks for one answer; `path` begins with a slash.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let ask = async {
            let body = self.ask(path).await?.into_body();
            Limited::new(body, LONGEST_ANSWER).collect().await.map_err(|error| self.unreachable(&*error))
        };
        let answer = tokio::time::timeout(DEADLINE, ask).await;
        let body = answer.map_err(|_| self.unreachable(&"no answer in time"))??.to_bytes();
        serde_json::from_slice(&body).map_err(|error| ClientError::Strange(self.address.clone(), error.to_string()))
    }

    /// Asks for a stream of events; `path` begins with a slash.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn events(&self, path: &str) -> Result<Events, ClientError> {
        let answer = tokio::time::timeout(DEADLINE, self.ask(path)).await;
        let answer = answer.map_err(|_| self.unreachable(&"no answer in time"))??;
        Ok(Events::new(answer.into_body()))
    }

    async fn ask(&self, path: &str) -> Result<Response<Incoming>, ClientError> {
        let connect = TcpStream::connect((self.address.host.as_str(), self.address.port));
        let stream = connect.await.map_err(|error| self.unreachable(&error))?;
        let io: Box<dyn Io> = match &self.tls {
            Some((connector, name)) => {
                let handshake = connector.connect(name.clone(), stream).await;
                Box::new(handshake.map_err(|error| self.unreachable(&error))?)
            }
            None => Box::new(stream),
        };
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(io)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.unreachable(&error))?;
        tokio::spawn(async move {
            // Its failure is told by the answer's body.
            let _ = connection.await;
        });
        let mut request = Request::get(path).header(HOST, self.address.authority()).header(ACCEPT, "*/*");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let strange = |told: String| ClientError::Strange(self.address.clone(), told);
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| strange(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let body = Limited::new(answer.into_body(), 64 << 10).collect().await.map(Collected::to_bytes);
        match body.ok().and_then(|body| serde_json::from_slice::<Problem>(&body).ok()) {
            Some(problem) => Err(ClientError::Refused(self.address.clone(), status.as_u16(), problem.error)),
            None => Err(strange(format!("{path} answers {status}"))),
        }
    }

    fn unreachable(&self, cause: &(impl std::fmt::Display + ?Sized)) -> ClientError {
        ClientError::Unreachable(self.address.clone(), cause.to_string())
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
