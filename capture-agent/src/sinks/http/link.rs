//! One connection, driven by whoever waits for an answer.
//!
//! No task is spawned for it: between two requests nobody would run that, and a request that is given up leaves neither
//! a task nor a descriptor.

use std::pin::{Pin, pin};
use std::sync::Arc;
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
    health: Arc<SocketHealth>,
}

impl<S> Link<S> {
    pub(in crate::sinks) fn new(sender: S, driver: Driver, health: &Arc<SocketHealth>) -> Self {
        health.connection_opened();
        health.opened();
        Self { sender, connection: Connection { driver: Some(driver), health: Arc::clone(health) }, is_used: false }
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
