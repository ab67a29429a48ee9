//! Sockets to the engine, each counted for as long as it is open.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::oneshot;

use super::endpoint::Endpoint;
use super::health::SocketHealth;
use super::tls::Tls;

/// How soon a Unix socket whose accept queue is full is tried again: the kernel has no way to wait for a place in it.
const KNOCK: Duration = Duration::from_millis(20);
/// Shortest time that the kernel takes for keepalive.
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(1);
/// Probes of an idle connection that may go unanswered.
const KEEPALIVE_PROBES: u32 = 3;

/// What HTTP is spoken over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections to one engine. Waits for as long as its caller does, and leaves nothing behind when that gives up.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) endpoint: Endpoint,
    pub(super) tls: Option<Tls>,
    /// After this time without an acknowledgement the kernel gives a TCP connection up.
    pub(super) deadline: Duration,
    pub(super) health: Arc<SocketHealth>,
    pub(super) resolver: Resolver,
}

impl Connector {
    /// A new connection, over which no more than `limit` bytes are read.
    pub(super) async fn connect(&self, limit: u64) -> io::Result<Box<dyn Stream>> {
        let counted = |stream| Counted::new(stream, limit, Arc::clone(&self.health));
        match &self.endpoint {
            Endpoint::Unix(path) => Ok(Box::new(counted(Box::new(connect_unix(path).await?)))),
            Endpoint::Tcp { host, port } => {
                let stream = counted(Box::new(self.connect_tcp(host, *port).await?));
                match &self.tls {
                    None => Ok(Box::new(stream)),
                    Some(tls) => Ok(Box::new(tls.connector().connect(tls.name(), stream).await?)),
                }
            }
        }
    }

    async fn connect_tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.resolver.resolve(host, port).await?,
        };
        // One address that swallows packets must not use up the time of the others.
        let share = self.deadline / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, format!("the host {host} has no address")));
        for address in addresses {
            outcome = match tokio::time::timeout(share, self.connect_address(address)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {address}"))),
            };
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn connect_address(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        let keepalive = self.deadline.max(SHORTEST_KEEPALIVE);
        sockopt::set_tcp_nodelay(&socket, true)?;
        // The event stream is idle for long: without these a peer that vanished is noticed by nobody.
        sockopt::set_tcp_user_timeout(&socket, u32::try_from(self.deadline.as_millis()).unwrap_or(u32::MAX))?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, keepalive)?;
        sockopt::set_tcp_keepintvl(&socket, keepalive)?;
        sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
        socket.connect(address).await
    }
}

async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(KNOCK).await,
            outcome => return outcome,
        }
    }
}

/// Looks host names up, one at a time: the system's resolver cannot be stopped, and each look-up takes a thread.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    /// A look-up that its caller did not wait for is the next caller's: there is only one name.
    running: tokio::sync::Mutex<Option<oneshot::Receiver<io::Result<Vec<SocketAddr>>>>>,
}

impl Resolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut running = self.running.lock().await;
        let answer = match &mut *running {
            Some(answer) => answer,
            None => running.insert(look_up(host.to_owned(), port)?),
        };
        let found = answer.await;
        *running = None;
        found.map_err(io::Error::other)?
    }
}

/// On a thread of its own: those of the runtime have other work, and its end would wait for them.
fn look_up(host: String, port: u16) -> io::Result<oneshot::Receiver<io::Result<Vec<SocketAddr>>>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        // Nobody waits for the answer once the agent ends.
        let _ = sender.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect));
    })?;
    Ok(receiver)
}

/// Keeps the count of open connections true on every path that closes one, and an answer within bounds.
struct Counted {
    stream: Box<dyn Stream>,
    left: u64,
    health: Arc<SocketHealth>,
}

impl Counted {
    fn new(stream: Box<dyn Stream>, limit: u64, health: Arc<SocketHealth>) -> Self {
        health.connection_opened();
        Self { stream, left: limit, health }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.health.connection_closed();
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        match self.left.checked_sub((into.filled().len() - before) as u64) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the answer does not end"))),
        }
        Poll::Ready(Ok(()))
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
