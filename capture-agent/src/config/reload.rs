//! A new configuration in place of the one that holds, while the agent runs.
//!
//! It is all or nothing: where the file is no good, changes what only a start can change, or cannot be put to work, the
//! old configuration stays as it is.

mod change;
mod stats;
mod watch;

use std::collections::BTreeSet;
use std::iter;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::change::Change;
use self::change::Fingerprint;
pub use self::stats::ReloadStats;
pub(crate) use self::watch::Stamp;
use self::watch::Watch;
use super::{Config, ConfigError, ConfigFile, Loaded, Overlay, SinkName};

/// How often a file is looked at that is watched.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Why a new configuration does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file is no good.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something that is settled when the agent starts.
    #[error("{} can change at a start only; restart the agent, or take the change back", .0.join(", "))]
    Restart(Vec<String>),
    /// The agent could not do what it says.
    #[error("{0}")]
    Apply(Box<dyn std::error::Error + Send + Sync>),
}

/// What puts a change to work, all of it or nothing.
pub trait Apply: FnMut(&Change) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {}

impl<F: FnMut(&Change) -> Result<(), Box<dyn std::error::Error + Send + Sync>>> Apply for F {}

/// Reads the configuration anew when it is asked to.
pub struct Reloader {
    file: ConfigFile,
    overlay: Box<Overlay>,
    current: Loaded,
    /// What files hold that the configuration names, at the time it was read.
    fingerprint: Fingerprint,
    stats: Arc<ReloadStats>,
    watch: Watch,
    /// How often files are looked at that are watched.
    interval: Duration,
}

impl Reloader {
    /// Reads the configuration for the first time, with `overlay` over it.
    ///
    /// # Errors
    ///
    /// There is none to begin with, and why.
    pub fn new(file: ConfigFile, overlay: Box<Overlay>, stats: Arc<ReloadStats>) -> Result<Self, ConfigError> {
        // Before it is read: what changes meanwhile is seen at the next look.
        let mut seen = watch::look([file.path()]);
        let current = file.load(&*overlay)?;
        let fingerprint = Fingerprint::of(&current.document);
        seen.extend(fingerprint.stamps());
        Ok(Self { file, overlay, current, fingerprint, stats, watch: Watch::new(seen), interval: WATCH_INTERVAL })
    }

    /// The configuration that holds.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.current.config
    }

    /// Reads the configuration anew, and has `apply` put to work what is different; it is not called if nothing is.
    ///
    /// # Errors
    ///
    /// The old configuration stays, and why.
    pub fn reload(&mut self, apply: &mut impl Apply) -> Result<Change, ReloadError> {
        let mut seen = watch::look(self.files());
        let outcome = self.try_reload(apply);
        // Files that are named only now were looked at before they were read.
        for (path, stamp) in self.fingerprint.stamps() {
            seen.entry(path).or_insert(stamp);
        }
        let files: BTreeSet<_> = self.files().map(Path::to_owned).collect();
        seen.retain(|path, _| files.contains(path));
        self.watch = Watch::new(seen);
        match &outcome {
            Ok(change) => {
                self.stats.succeeded();
                let names = |names: &[SinkName]| names.iter().map(SinkName::as_str).collect::<Vec<_>>().join(", ");
                tracing::info!(
                    file = %self.file.path().display(),
                    added = names(&change.added),
                    removed = names(&change.removed),
                    changed = names(&change.changed),
                    "the configuration was reloaded"
                );
            }
            Err(error) => {
                self.stats.failed();
                tracing::error!(
                    file = %self.file.path().display(),
                    %error,
                    "the new configuration is refused, and the old one stays"
                );
            }
        }
        outcome
    }

    fn try_reload(&mut self, apply: &mut impl Apply) -> Result<Change, ReloadError> {
        let loaded = self.file.load(&*self.overlay)?;
        let fingerprint = Fingerprint::of(&loaded.document);
        let change = Change::between((&self.current, &self.fingerprint), (&loaded, &fingerprint))?;
        if !change.is_empty() {
            apply(&change).map_err(ReloadError::Apply)?;
        }
        (self.current, self.fingerprint) = (loaded, fingerprint);
        Ok(change)
    }

    /// Reloads whenever `request` is notified and, with `watch`, whenever the file has changed, or one that a `*_file`
    /// key names; until `shutdown`. Needs a runtime of several threads.
    pub async fn run(mut self, request: Arc<Notify>, watch: bool, mut apply: impl Apply, shutdown: CancellationToken) {
        let mut look = tokio::time::interval(self.interval);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = request.notified() => {}
                _ = look.tick(), if watch => {
                    let now = watch::look(self.files());
                    if !self.watch.has_changed(now) {
                        continue;
                    }
                }
            }
            // Files are read and locked meanwhile, and sinks that are put away may hold a runtime of their own, which
            // must not be dropped where nothing may block. What is wrong has been logged and counted.
            let _ = tokio::task::block_in_place(|| self.reload(&mut apply));
        }
    }

    /// The file, and those that it names.
    fn files(&self) -> impl Iterator<Item = &Path> {
        iter::once(self.file.path()).chain(self.fingerprint.files())
    }
}

#[cfg(test)]
mod tests;
