//! What runs while a request does, on the sink's own thread.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// An event loop of one thread. Unlike a bare runtime it can be dropped anywhere: a sink that is configured away before its
/// thread has taken it is dropped where the configuration was read, among asynchronous tasks.
pub(in crate::sinks) struct EventLoop {
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

impl EventLoop {
    /// # Errors
    ///
    /// Where the process may open no more files.
    pub(in crate::sinks) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs until `work` is done. Not to be called from an asynchronous task.
    pub(in crate::sinks) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(runtime) = &self.runtime else { unreachable!("it is taken by its drop only") };
        runtime.block_on(work)
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Nothing is spawned on it, so there is nothing to wait for.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_dropped_among_asynchronous_tasks() {
        let other = Builder::new_current_thread().build().unwrap();
        let event_loop = EventLoop::new().unwrap();
        assert_eq!(event_loop.run(async { 7 }), 7);
        other.block_on(async move { drop(event_loop) });
    }
}
