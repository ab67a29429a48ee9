//! The admin server: `/metrics` and `/healthz`, on a thread of its own so that a busy data path cannot starve them.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::metrics::{self, Metrics};

/// Connections served at once; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 64;
/// Time for a client to send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for everything on one connection, which ends a client that does not read its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept, which for want of descriptors would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const PAGE: &str =
    "capture-agent\n\n/metrics  metrics for Prometheus\n/healthz  200 while output is being captured, 503 before\n";

/// Whether the agent captures.
#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    /// Says from now on whether the agent captures.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether the agent captures.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub struct AdminConfig {
    /// Port 0 takes any free one; see [`AdminHandle::local_addr`].
    pub listen: SocketAddr,
}

/// Why there is no admin server.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Another process has the port.
    #[error(
        "cannot listen on {0}: address already in use; stop the other process or choose another address with --listen"
    )]
    InUse(SocketAddr),
    /// The address belongs to no interface of this machine.
    #[error("cannot listen on {0}: this machine has no such address; choose another one with --listen")]
    NotLocal(SocketAddr),
    /// A port below 1024 without the capability for it.
    #[error(
        "cannot listen on {0}: permission denied; choose a port above 1023 with --listen, or add CAP_NET_BIND_SERVICE"
    )]
    Denied(SocketAddr),
    /// Anything else that the socket said.
    #[error("cannot listen on {0}: {1}; choose another address with --listen")]
    Listen(SocketAddr, #[source] io::Error),
    /// No thread or no event queue.
    #[error("cannot start the thread of the admin server: {0}; raise the limits of threads and open files")]
    Start(#[source] io::Error),
}

impl AdminError {
    fn listen(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::AddrNotAvailable => Self::NotLocal(address),
            io::ErrorKind::PermissionDenied => Self::Denied(address),
            _ => Self::Listen(address, error),
        }
    }
}

impl AdminConfig {
    /// Takes the address at once, before anything else is started. Answers come after [`Admin::spawn`].
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub fn build(&self, metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> Result<Admin, AdminError> {
        let listen = |error| AdminError::listen(self.listen, error);
        let listener = StdTcpListener::bind(self.listen).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Start)?;
        Ok(Admin { listener, local_addr, runtime, router: router(metrics, readiness) })
    }
}

/// An admin server that has its address and does not answer yet.
#[derive(Debug)]
pub struct Admin {
    listener: StdTcpListener,
    local_addr: SocketAddr,
    runtime: Runtime,
    router: Router,
}

impl Admin {
    /// Starts to answer.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn spawn(self) -> Result<AdminHandle, AdminError> {
        let Self { listener, local_addr, runtime, router } = self;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serve = move || {
            let served = runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                tokio::select! {
                    () = stopped.cancelled() => Ok(()),
                    never = serve(listener, router) => match never {},
                }
            });
            if let Err(error) = served {
                let error: io::Error = error;
                error!(%error, "the admin server cannot watch its socket");
            }
            // Connections end with the runtime; a slow client does not hold up the agent's end.
        };
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(serve).map_err(AdminError::Start)?;
        Ok(AdminHandle { local_addr, stop, thread })
    }
}

/// A running admin server. It goes on when the handle is dropped.
#[derive(Debug)]
pub struct AdminHandle {
    local_addr: SocketAddr,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl AdminHandle {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Closes the listener and all connections, and waits for the thread, which takes no longer than one answer.
    pub fn shutdown(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            error!("the thread of the admin server panicked");
        }
    }
}

fn router(metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/", get(async || PAGE))
        .route("/metrics", get(scrape).with_state(metrics))
        .route("/healthz", get(health).with_state(readiness))
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            warn!(%error, "a scrape failed");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

async fn health(State(readiness): State<Arc<Readiness>>) -> (StatusCode, &'static str) {
    if readiness.get() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not capturing yet\n") }
}

async fn serve(listener: TcpListener, router: Router) -> std::convert::Infallible {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            unreachable!("nobody closes the semaphore");
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(answer(stream, router.clone(), place));
            }
            Err(error) => {
                debug!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One request, then the connection ends: an idle client holds nothing.
async fn answer(stream: TcpStream, router: Router, _place: OwnedSemaphorePermit) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection to the admin server failed"),
        Err(_) => debug!("a client of the admin server was too slow"),
    }
}

#[cfg(test)]
mod tests;
