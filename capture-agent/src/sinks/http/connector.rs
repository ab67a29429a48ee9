//! Connections to one destination.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::endpoint::Endpoint;
use super::failure::Failure;
use super::tls::Tls;
use crate::socket::SocketHealth;
use crate::socket::tcp::{self, Resolver};

/// What HTTP is spoken over.
pub(in crate::sinks) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections. Waits for as long as it may, and leaves nothing behind when that is over.
pub(in crate::sinks) struct Connector {
    pub(in crate::sinks) endpoint: Endpoint,
    pub(in crate::sinks) health: Arc<SocketHealth>,
    pub(in crate::sinks) tls: Option<Tls>,
    resolver: Resolver,
    connect_timeout: Duration,
    /// After this time without an acknowledgement the kernel gives a connection up.
    patience: Duration,
}

impl Connector {
    pub(super) fn new(endpoint: Endpoint, tls: Option<Tls>, connect_timeout: Duration, timeout: Duration) -> Self {
        let (health, resolver) = (Arc::default(), Resolver::default());
        Self { endpoint, health, tls, resolver, connect_timeout, patience: timeout.max(connect_timeout) }
    }

    /// Reads certificates again if they changed; whether they did, and a connection made with the old ones is to end.
    pub(in crate::sinks) fn refresh(&mut self) -> bool {
        self.tls.as_mut().is_some_and(Tls::refresh)
    }

    /// A new connection.
    pub(in crate::sinks) async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        match tokio::time::timeout(self.connect_timeout, self.open()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Failure::of_connect(&error, &self.endpoint)),
            Err(_) => Err(Failure::no_connection(self.connect_timeout, &self.endpoint)),
        }
    }

    async fn open(&self) -> io::Result<Box<dyn Stream>> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let stream = tcp::connect(&self.resolver, host, *port, self.patience).await?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => Ok(Box::new(tls.connector().connect(tls.name(), stream).await?)),
        }
    }
}
