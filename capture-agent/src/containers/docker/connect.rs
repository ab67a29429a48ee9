//! Sockets to the engine, each counted for as long as it is open.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::endpoint::Endpoint;
use super::tls::Tls;
use crate::socket::SocketHealth;
use crate::socket::tcp::{self, Resolver};

/// How soon a Unix socket whose accept queue is full is tried again: the kernel has no way to wait for a place in it.
const KNOCK: Duration = Duration::from_millis(20);

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
                let stream = counted(Box::new(tcp::connect(&self.resolver, host, *port, self.deadline).await?));
                match &self.tls {
                    None => Ok(Box::new(stream)),
                    Some(tls) => Ok(Box::new(tls.connector().connect(tls.name(), stream).await?)),
                }
            }
        }
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
