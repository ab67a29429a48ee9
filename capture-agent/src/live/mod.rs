//! A look at records while they pass: each viewer has a bounded ring, a filter, and a task of the admin server's thread.
//!
//! The reader of the ring buffer hands out reference-counted batches ([`Taps`]) and does nothing else for a viewer: it
//! neither looks into them nor wakes anybody. Where nobody looks, nothing is done at all.

mod events;
mod feed;
mod filter;
mod recent;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::feed::Feed;
pub use self::filter::{Filter, FilterError, Query};
use self::recent::{Recent, Recorder};
use crate::delivery::{Tap, Taps};
use crate::pipeline::record::Record;

/// Bytes of batches that may wait for a viewer's task, as queues of sinks count. Batches are shared among viewers.
const RING: u64 = 8 << 20;
/// How often batches are looked at: short for eyes, and long enough that a flood is looked at in large pieces.
const LOOK: Duration = Duration::from_millis(40);
/// How often what is recent is put in order.
const RECORD: Duration = Duration::from_millis(200);
/// Pieces of about 16 KiB that may wait for a viewer's connection.
const PIECES: usize = 64;

/// What is counted of viewers.
#[derive(Debug, Default)]
pub struct LiveStats {
    /// Streams that are open.
    pub viewers: AtomicU64,
    /// Streams that found no place.
    pub refused: AtomicU64,
    /// Records that were sent.
    pub sent: AtomicU64,
    /// Records that viewers were too slow for.
    pub dropped: AtomicU64,
}

/// How many may look, and what is kept for them.
#[derive(Clone, Copy, Debug)]
pub struct LiveConfig {
    /// Streams at once.
    pub viewers_max: u32,
    /// Bytes of recent records; 0 for none.
    pub recent: u64,
}

/// The live view.
#[derive(Debug)]
pub struct Live {
    config: LiveConfig,
    taps: Arc<Taps>,
    host: String,
    recent: Option<(Tap, Mutex<Recent>)>,
    stats: Arc<LiveStats>,
    ending: CancellationToken,
}

/// No place is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// There never is.
    #[error("admin.viewers_max is 0: nobody may look at log contents here")]
    None,
    /// As many look as may.
    #[error("there are {0} streams already; end one of them, or raise admin.viewers_max")]
    Full(u32),
}

impl LiveConfig {
    /// Looks through `taps` from now on, if something recent is to be kept.
    #[must_use]
    pub fn build(self, taps: Arc<Taps>, stats: Arc<LiveStats>) -> Arc<Live> {
        let recent = (self.recent > 0).then(|| (taps.open(RING), Mutex::new(Recent::new(self.recent))));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Arc::new(Live { config: self, taps, host, recent, stats, ending: CancellationToken::new() })
    }
}

impl Live {
    /// How many may look, and what is kept for them.
    #[must_use]
    pub fn config(&self) -> LiveConfig {
        self.config
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> &LiveStats {
        &self.stats
    }

    /// Name of this machine.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Begins a stream: pieces of `text/event-stream`, in order, until it is dropped or the agent ends. For use within a
    /// runtime, on which the stream's task runs.
    ///
    /// # Errors
    ///
    /// There are as many as there may be.
    pub fn watch(self: &Arc<Self>, filter: Filter, since_start: bool) -> Result<mpsc::Receiver<Bytes>, TooMany> {
        let place = Place::take(&self.stats, self.config.viewers_max)?;
        let (sender, receiver) = mpsc::channel(PIECES);
        let (tap, earlier) = self.open(since_start);
        let feed = Feed::new(tap, filter, sender, self, place);
        let has_earlier = since_start && self.recent.is_some();
        tokio::spawn(feed.run(has_earlier, earlier, self.ending.clone()));
        Ok(receiver)
    }

    /// A tap, and what passed before it was there.
    fn open(&self, since_start: bool) -> (Tap, Vec<Record>) {
        match &self.recent {
            Some((recorder, recent)) if since_start => {
                let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
                let (tap, untaken) = self.taps.open_beside(RING, Some(recorder));
                recent.absorb(&untaken.batches);
                (tap, recent.records())
            }
            _ => (self.taps.open(RING), Vec::new()),
        }
    }

    /// Keeps what is recent, where that is asked for, until the agent ends.
    pub async fn record(self: Arc<Self>) {
        if let Some((tap, recent)) = &self.recent {
            Recorder { tap, recent, interval: RECORD }.run(&self.ending).await;
        }
    }

    /// Ends all streams, each with what it has not sent yet.
    pub fn end(&self) {
        self.ending.cancel();
    }
}

/// One of the places for viewers.
#[derive(Debug)]
struct Place(Arc<LiveStats>);

impl Place {
    fn take(stats: &Arc<LiveStats>, max: u32) -> Result<Self, TooMany> {
        let more = |viewers| (viewers < u64::from(max)).then_some(viewers + 1);
        if stats.viewers.fetch_update(Relaxed, Relaxed, more).is_ok() {
            return Ok(Self(Arc::clone(stats)));
        }
        stats.refused.fetch_add(1, Relaxed);
        Err(if max == 0 { TooMany::None } else { TooMany::Full(max) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
