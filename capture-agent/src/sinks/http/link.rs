//! One connection, driven by whoever waits for an answer.
//!
//! No task is spawned for it: between two requests nobody would run that, and a request that is given up leaves neither
//! a task nor a descriptor.

use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use crate::socket::SocketHealth;

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection, and what sends requests over it.
pub(in crate::sinks) struct Link<S> {
    pub(in crate::sinks) sender: S,
    connection: Connection,
    /// Whether an answer came over it.
    pub(in crate::sinks) is_used: bool,
}

/// What has to run so that the sender makes progress.
pub(in crate::sinks) struct Connection {
    driver: Option<Driver>,
    /// What went wrong with it. A request may be told no more than that it was canceled.
    fault: Arc<OnceLock<hyper::Error>>,
    health: Arc<SocketHealth>,
}

impl<S> Link<S> {
    /// `connection` is what hyper gives along with a sender.
    pub(in crate::sinks) fn new(
        sender: S,
        connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static,
        health: &Arc<SocketHealth>,
    ) -> Self {
        health.connection_opened();
        health.opened();
        let fault = Arc::<OnceLock<_>>::default();
        let place = Arc::clone(&fault);
        let driver = async move {
            if let Err(error) = connection.await {
                // It ends once.
                let _ = place.set(error);
            }
        };
        let connection = Connection { driver: Some(Box::pin(driver)), fault, health: Arc::clone(health) };
        Self { sender, connection, is_used: false }
    }

    /// What went wrong with the connection, if it ended by itself.
    pub(in crate::sinks) fn fault(&self) -> Option<&hyper::Error> {
        self.connection.fault.get()
    }

    /// The sender, and what drives it.
    pub(in crate::sinks) fn split(&mut self) -> (&mut S, &mut Connection) {
        (&mut self.sender, &mut self.connection)
    }
}

impl Connection {
    /// Polls `work`, and with it the connection.
    pub(in crate::sinks) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(outcome) = work.as_mut().poll(cx) {
                    return Poll::Ready(outcome);
                }
                let Some(driver) = &mut self.driver else { return Poll::Pending };
                if driver.as_mut().poll(cx).is_pending() {
                    // What it has for `work` wakes this very task.
                    return Poll::Pending;
                }
                // It ended; its last word may be what `work` waits for.
                self.driver = None;
            }
        })
        .await
    }
}

/// Keeps the count of open connections true on every path that closes one.
impl Drop for Connection {
    fn drop(&mut self) {
        self.health.connection_closed();
        self.health.closed();
    }
}
