//! Connections of the admin server, each with a deadline.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::debug;

use super::tls::Tls;

/// Connections served at once; more wait in the listener's queue.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// Time for a client to send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for everything on one connection, which ends a client that does not read its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a handshake of TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept, which for want of descriptors would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a connection may hold of an answer that its client has not read.
const WRITE_BUFFER: usize = 64 << 10;

/// How long a connection may last. A stream renews it for as long as its client reads.
#[derive(Clone, Debug)]
pub(super) struct Lease(Arc<Mutex<Instant>>);

impl Lease {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + CONNECTION_TIMEOUT)))
    }

    /// The client has taken something: it has the whole time again.
    pub(super) fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + CONNECTION_TIMEOUT;
    }

    async fn over(&self) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// Serves connections for ever.
pub(super) async fn serve(listener: TcpListener, router: Router, tls: Option<Tls>) -> Infallible {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tls = tls.map(Arc::new);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            unreachable!("nobody closes the semaphore");
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(take(stream, router.clone(), tls.clone(), place));
            }
            Err(error) => {
                debug!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn take(stream: TcpStream, router: Router, tls: Option<Arc<Tls>>, _place: OwnedSemaphorePermit) {
    // Small answers and events are whole messages: nothing comes that they should wait for.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return answer(stream, router).await };
    let refused = || io::Error::from(io::ErrorKind::TimedOut);
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await;
    match handshake.unwrap_or_else(|_| Err(refused())) {
        Ok(stream) => answer(stream, router).await,
        Err(error) => debug!(%error, "a client of the admin server did not manage a handshake of TLS"),
    }
}

/// One request, then the connection ends: an idle client holds nothing.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let lease = Lease::new();
    let router = router.layer(Extension(lease.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(WRITE_BUFFER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        outcome = connection => if let Err(error) = outcome {
            debug!(%error, "a connection to the admin server failed");
        },
        () = lease.over() => debug!("a client of the admin server was too slow"),
    }
}
