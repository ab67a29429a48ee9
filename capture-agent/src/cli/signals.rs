//! What signals ask of the agent.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A token that the first SIGINT or SIGTERM cancels.
///
/// # Errors
///
/// The kernel refuses to report the signals.
pub fn shutdown() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    tokio::spawn({
        let token = token.clone();
        async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(token)
}

/// Notified by each SIGHUP: read the configuration anew. Several at once are one.
///
/// # Errors
///
/// The kernel refuses to report the signal.
pub fn reload() -> anyhow::Result<Arc<Notify>> {
    notified_by(SignalKind::hangup()).context("SIGHUP cannot be caught")
}

/// Notified by each SIGUSR1: open files anew, after somebody has moved them away. Several at once are one.
///
/// # Errors
///
/// The kernel refuses to report the signal.
pub fn reopen() -> anyhow::Result<Arc<Notify>> {
    notified_by(SignalKind::user_defined1()).context("SIGUSR1 cannot be caught")
}

fn notified_by(kind: SignalKind) -> std::io::Result<Arc<Notify>> {
    let notify = Arc::new(Notify::new());
    let mut signals = signal(kind)?;
    tokio::spawn({
        let notify = Arc::clone(&notify);
        async move {
            while signals.recv().await.is_some() {
                notify.notify_one();
            }
        }
    });
    Ok(notify)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn each_signal_asks_for_its_own() {
        let (reload, reopen) = (reload().unwrap(), reopen().unwrap());
        for (signal, asked, other) in [(Signal::HUP, &reload, &reopen), (Signal::USR1, &reopen, &reload)] {
            kill_process(getpid(), signal).unwrap();
            tokio::time::timeout(Duration::from_secs(10), asked.notified()).await.unwrap();
            assert!(tokio::time::timeout(Duration::from_millis(50), other.notified()).await.is_err());
        }
    }
}
