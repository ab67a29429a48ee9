//! How often the configuration was reloaded.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

/// Counts reloads. Made when the first configuration has been read, which counts as its last success.
#[derive(Debug)]
pub struct ReloadStats {
    successes: AtomicU64,
    failures: AtomicU64,
    /// Milliseconds since the Unix epoch.
    last_success: AtomicU64,
}

impl Default for ReloadStats {
    fn default() -> Self {
        Self { successes: AtomicU64::new(0), failures: AtomicU64::new(0), last_success: AtomicU64::new(now()) }
    }
}

impl ReloadStats {
    pub(super) fn succeeded(&self) {
        self.successes.fetch_add(1, Relaxed);
        self.last_success.store(now(), Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Reloads after which a new configuration held, even if it said the same.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.successes.load(Relaxed)
    }

    /// Reloads after which the old configuration stayed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// When the configuration that holds was read, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn last_success(&self) -> u64 {
        self.last_success.load(Relaxed)
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}
