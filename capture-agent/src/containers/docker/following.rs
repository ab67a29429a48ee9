//! The engine is followed beside everything else.

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::DockerClient;

/// A [`DockerClient`] at work; it ends when this is dropped.
#[derive(Debug)]
pub struct Following {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl DockerClient {
    /// Runs on the runtime of the caller.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    #[must_use]
    pub fn spawn(self) -> Following {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.run(stop.clone()));
        Following { stop: stop.drop_guard(), task }
    }
}

impl Following {
    /// Waits until both connections are closed.
    pub async fn end(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}
