//! The admin server: probes, metrics, the API and its page, on a thread of its own so that a busy data path cannot starve
//! them.

mod api;
mod connection;
mod guard;
mod page;
mod rates;
mod stream;
mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use self::guard::Guard;
use self::tls::Tls;
use crate::api::State;
use crate::config::SecretError;
use crate::containers::directory::Directory;
use crate::delivery::Control;
use crate::live::Live;
use crate::metrics::{self, Metrics};
use crate::session::ledger::Ledger;
use crate::socket::SocketHealth;
use crate::socket::tls::TlsError;

/// How long streams may take for what they have not sent when the agent ends.
const STREAM_GRACE: Duration = Duration::from_millis(500);

/// The reader writes its totals twice a second; after so long it is not alive.
const READER_SILENCE: Duration = Duration::from_secs(30);

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Where the agent is in its life.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// Says where the agent is from now on.
    pub fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::Release);
    }

    /// Where the agent is.
    pub fn get(&self) -> State {
        let state = self.0.load(Ordering::Acquire);
        [State::Starting, State::Capturing].into_iter().find(|of| *of as u8 == state).unwrap_or(State::Draining)
    }
}

/// Where to listen, and who may ask.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Port 0 takes any free one; see [`AdminHandle::local_addr`].
    pub listen: SocketAddr,
    /// File with the token that the API takes; `None` for no token, which is for loopback alone.
    pub token_file: Option<PathBuf>,
    /// Certificate and key, for TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// What is shown.
pub struct Sources {
    /// For Prometheus.
    pub metrics: Arc<Metrics>,
    /// The accounts.
    pub ledger: Arc<Ledger>,
    /// Names, images, labels.
    pub directory: Arc<Directory>,
    /// The engine's socket.
    pub docker: Arc<SocketHealth>,
    /// The sinks.
    pub sinks: Control,
    /// Records as they pass.
    pub live: Arc<Live>,
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
    /// The token cannot be read.
    #[error("admin.token_file: {0}")]
    Token(#[from] SecretError),
    /// The certificate or its key is no good.
    #[error("the admin server's certificate: {0}; check admin.cert_file and admin.key_file")]
    Tls(#[from] TlsError),
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
    /// Reads the files, and says nothing to anybody.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them.
    pub fn check(&self) -> Result<(), AdminError> {
        self.guard().and_then(|_| self.tls()).map(drop)
    }

    fn guard(&self) -> Result<Guard, AdminError> {
        Ok(Guard::new(self.listen, self.token_file.clone(), self.tls.is_some())?)
    }

    fn tls(&self) -> Result<Option<Tls>, AdminError> {
        let tls = self.tls.clone().map(|(certificate, key)| Tls::new(certificate, key));
        Ok(tls.transpose()?)
    }

    /// Takes the address at once, before anything else is started. Answers come after [`Admin::spawn`].
    ///
    /// # Errors
    ///
    /// The address cannot be had, or a file is no good.
    pub fn build(&self, sources: Sources, readiness: Arc<Readiness>) -> Result<Admin, AdminError> {
        let (guard, tls) = (self.guard()?, self.tls()?);
        let listen = |error| AdminError::listen(self.listen, error);
        let listener = StdTcpListener::bind(self.listen).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Start)?;
        let live = Arc::clone(&sources.live);
        Ok(Admin { listener, local_addr, runtime, router: router(sources, readiness, guard), tls, live })
    }
}

/// An admin server that has its address and does not answer yet.
#[derive(Debug)]
pub struct Admin {
    listener: StdTcpListener,
    local_addr: SocketAddr,
    runtime: Runtime,
    router: Router,
    tls: Option<Tls>,
    live: Arc<Live>,
}

impl Admin {
    /// Starts to answer.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn spawn(self) -> Result<AdminHandle, AdminError> {
        let Self { listener, local_addr, runtime, router, tls, live } = self;
        let stop = CancellationToken::new();
        let recorder = Arc::clone(&live).record();
        let stopped = stop.clone();
        let serve = move || {
            let served = runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                tokio::spawn(recorder);
                tokio::select! {
                    () = stopped.cancelled() => Ok(()),
                    never = connection::serve(listener, router, tls) => match never {},
                }
            });
            if let Err(error) = served {
                let error: io::Error = error;
                error!(%error, "the admin server cannot watch its socket");
            }
            // Connections end with the runtime; a slow client does not hold up the agent's end.
        };
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(serve).map_err(AdminError::Start)?;
        Ok(AdminHandle { local_addr, stop, thread, live })
    }
}

/// A running admin server. It goes on when the handle is dropped.
#[derive(Debug)]
pub struct AdminHandle {
    local_addr: SocketAddr,
    stop: CancellationToken,
    thread: JoinHandle<()>,
    live: Arc<Live>,
}

impl AdminHandle {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends the streams with what they have not sent, which may take half a second, closes the listener and all connections,
    /// and waits for the thread, which takes no longer than one answer.
    pub fn shutdown(self) {
        self.live.end();
        let deadline = Instant::now() + STREAM_GRACE;
        while self.live.stats().viewers.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.stop.cancel();
        if self.thread.join().is_err() {
            error!("the thread of the admin server panicked");
        }
    }
}

fn router(sources: Sources, readiness: Arc<Readiness>, guard: Guard) -> Router {
    let (metrics, ledger) = (Arc::clone(&sources.metrics), Arc::clone(&sources.ledger));
    Router::new()
        .route("/", get(page::page))
        .route("/icon.svg", get(page::icon))
        .route("/metrics", get(scrape).with_state(metrics))
        .route("/healthz", get(health).with_state((ledger, Arc::clone(&readiness))))
        .route("/readyz", get(ready).with_state(Arc::clone(&readiness)))
        .merge(api::router(sources, readiness))
        .fallback(async || api::problem(StatusCode::NOT_FOUND, "there is no such path; see docs/api.md"))
        .layer(axum::middleware::from_fn_with_state(Arc::new(guard), guard::guard))
        .layer(axum::middleware::map_response(sealed))
}

/// No answer is to be kept, or taken for something else.
async fn sealed(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    answer
}

async fn scrape(Shared(metrics): Shared<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            warn!(%error, "a scrape failed");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

/// Whether the agent is alive. It has nothing to do with sinks: no restart makes a destination answer.
async fn health(Shared((ledger, readiness)): Shared<(Arc<Ledger>, Arc<Readiness>)>) -> (StatusCode, String) {
    liveness(readiness.get(), ledger.silence())
}

/// Before and after capture nobody reads.
fn liveness(state: State, silence: Duration) -> (StatusCode, String) {
    if state == State::Capturing && silence > READER_SILENCE {
        let told = format!("the reader of the ring buffer has not moved for {} s\n", silence.as_secs());
        return (StatusCode::SERVICE_UNAVAILABLE, told);
    }
    (StatusCode::OK, "ok\n".to_owned())
}

/// Whether output is being captured.
async fn ready(Shared(readiness): Shared<Arc<Readiness>>) -> (StatusCode, String) {
    let state = readiness.get();
    let status = if state == State::Capturing { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", state.as_str()))
}

#[cfg(test)]
mod tests;
