//! One connection to the engine, for one request at a time.
//!
//! bollard's own transports pool connections and spawn their tasks out of reach. Here whoever waits for an answer drives
//! the connection as well, so that a call that is given up leaves neither a task nor a descriptor.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::{BollardRequest, ClientVersion, Docker};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderValue};
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;

use super::connect::Connector;
use super::failure::Failure;

/// Longest answer to a call, in bytes on the wire: 4,096 containers with 8 KiB of names, labels and mounts each.
const LONGEST_ANSWER: u64 = 32 << 20;

type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A place for one connection. The connection of a request is closed when the next one begins, or with the line.
pub(super) struct Line {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Arc<Connector>,
    connection: Mutex<Option<Connection>>,
}

impl Line {
    pub(super) fn new(connector: &Arc<Connector>) -> Self {
        Self { shared: Arc::new(Shared { connector: Arc::clone(connector), connection: Mutex::default() }) }
    }

    /// A client whose requests go over this line, if they are run by [`Line::call`].
    pub(super) fn docker(&self, version: &ClientVersion) -> Result<Docker, Failure> {
        let shared = Arc::clone(&self.shared);
        let transport = move |request| Arc::clone(&shared).send(request, LONGEST_ANSWER);
        // The deadline is kept by `call`, to the millisecond; bollard's own is a second net for the head alone.
        let net = self.deadline().as_secs() + 1;
        Docker::connect_with_custom_transport(transport, Some("http://docker"), net, version).map_err(Failure::from)
    }

    /// Runs one request within the deadline, and hangs up.
    pub(super) async fn call<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        let outcome = self.within_deadline(request).await;
        self.shared.hang_up();
        outcome
    }

    /// Asks for an answer without an end, and gives its head. The body is read by [`Line::next_piece`].
    pub(super) async fn open(&self, target: &str) -> Result<Response<Incoming>, Failure> {
        let mut request = BollardRequest::new(bollard::body_full(Bytes::new()));
        *request.uri_mut() = target.parse().map_err(invalid_target)?;
        let response = self.within_deadline(Arc::clone(&self.shared).send(request, u64::MAX)).await?;
        if response.status().is_success() { Ok(response) } else { Err(Failure::status(response.status().as_u16())) }
    }

    /// The next bytes of an answer that came over this line; `None` at its end.
    pub(super) async fn next_piece(&self, body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = self.shared.drive(std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await;
            match frame.transpose()?.map(hyper::body::Frame::into_data) {
                None => return Ok(None),
                Some(Ok(piece)) => return Ok(Some(piece)),
                // Trailers say nothing here.
                Some(Err(_)) => {}
            }
        }
    }

    async fn within_deadline<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        let started = Instant::now();
        let outcome = tokio::time::timeout(self.deadline(), self.shared.drive(request)).await;
        self.shared.connector.health.observe(started.elapsed());
        outcome.map_err(|_| Failure::timeout(self.deadline()))?.map_err(Failure::from)
    }

    fn deadline(&self) -> Duration {
        self.shared.connector.deadline
    }
}

impl Shared {
    async fn send(self: Arc<Self>, mut request: BollardRequest, limit: u64) -> Result<Response<Incoming>, Error> {
        self.hang_up();
        let stream = self.connector.connect(limit).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // A failure of the connection reaches the request or the body that is being read from it.
        *self.slot() = Some(Box::pin(async move { drop(connection.await) }));

        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        *request.uri_mut() = target.parse::<Uri>().map_err(invalid_target)?;
        let host = HeaderValue::from_str(&self.connector.endpoint.authority());
        request.headers_mut().insert(HOST, host.unwrap_or(HeaderValue::from_static("docker")));
        Ok(sender.send_request(request).await?)
    }

    /// Polls `work`, and with it the connection that it opened.
    async fn drive<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            let outcome = work.as_mut().poll(cx);
            if outcome.is_pending() {
                // What the connection has for `work` wakes this very task.
                self.poll_connection(cx);
            }
            outcome
        })
        .await
    }

    fn poll_connection(&self, cx: &mut Context<'_>) {
        let mut slot = self.slot();
        if let Some(connection) = &mut *slot
            && let Poll::Ready(()) = connection.as_mut().poll(cx)
        {
            *slot = None;
        }
    }

    fn hang_up(&self) {
        *self.slot() = None;
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn invalid_target(error: hyper::http::uri::InvalidUri) -> Error {
    Error::HttpClientError { err: error.into() }
}
