//! One connection to the engine's socket, for one request at a time.
//!
//! bollard's own transports pool connections and spawn their tasks out of reach. Here the task of the connection is
//! held, so that a call that is given up leaves neither a task nor a descriptor.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::{BollardRequest, ClientVersion, Docker};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue};
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::health::{Failure, SocketHealth};

/// A place for one connection. The connection of a request is closed when the next one begins, or with the line.
#[derive(Debug)]
pub(super) struct Line {
    shared: Arc<Shared>,
    deadline: Duration,
}

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    health: Arc<SocketHealth>,
    task: Mutex<Option<AbortHandle>>,
    answered: Notify,
}

impl Line {
    pub(super) fn new(socket: &Path, deadline: Duration, health: Arc<SocketHealth>) -> Self {
        let shared = Shared { socket: socket.to_owned(), health, task: Mutex::default(), answered: Notify::new() };
        Self { shared: Arc::new(shared), deadline }
    }

    /// A client whose requests go over this line.
    pub(super) fn docker(&self, version: &ClientVersion) -> Result<Docker, Failure> {
        let shared = Arc::clone(&self.shared);
        let transport = move |request| Arc::clone(&shared).send(request);
        // The deadline is kept by `call`, to the millisecond; bollard's own is a second net for the head alone.
        let net = self.deadline.as_secs() + 1;
        Docker::connect_with_custom_transport(transport, Some("http://docker"), net, version).map_err(Failure::from)
    }

    /// Runs one request within the deadline, and hangs up.
    pub(super) async fn call<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        let started = Instant::now();
        let outcome = match tokio::time::timeout(self.deadline, request).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(Failure::timeout(self.deadline)),
        };
        self.shared.hang_up();
        self.shared.health.observe(started.elapsed());
        outcome
    }

    /// Resolves once the request that is under way got the head of a good answer.
    pub(super) async fn answered(&self) {
        self.shared.answered.notified().await;
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.hang_up();
    }
}

impl Shared {
    async fn send(self: Arc<Self>, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
        self.hang_up();
        let stream = UnixStream::connect(&self.socket).await?;
        let stream = Counted::new(stream, Arc::clone(&self.health));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // A failure of the connection reaches the request or the body that is being read from it.
        let task = tokio::spawn(async move { drop(connection.await) });
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());

        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        *request.uri_mut() = target.parse::<Uri>().map_err(bollard_http_error)?;
        request.headers_mut().insert(HOST, HeaderValue::from_static("docker"));
        let response = sender.send_request(request).await?;
        if response.status().is_success() {
            self.answered.notify_one();
        }
        Ok(response)
    }

    fn hang_up(&self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

fn bollard_http_error(error: hyper::http::uri::InvalidUri) -> Error {
    Error::HttpClientError { err: error.into() }
}

/// Keeps the count of open connections true on every path that closes one.
struct Counted {
    stream: UnixStream,
    health: Arc<SocketHealth>,
}

impl Counted {
    fn new(stream: UnixStream, health: Arc<SocketHealth>) -> Self {
        health.connection_opened();
        Self { stream, health }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.health.connection_closed();
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
