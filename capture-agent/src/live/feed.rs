//! One viewer's task: from its ring through its filter to its connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{SendTimeoutError, TrySendError};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::events::{self, Events, NOTHING};
use super::{Filter, LOOK, Live, Place};
use crate::api::{Dropped, Hello};
use crate::delivery::Tap;
use crate::pipeline::record::Record;

/// A piece goes to the connection when it has so many bytes.
const PIECE: usize = 16 << 10;
/// How long a viewer may take for a piece when all places for pieces are taken. Then records are dropped.
const PATIENCE: Duration = Duration::from_millis(250);
/// The longest silence.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A viewer.
pub(super) struct Feed {
    tap: Tap,
    filter: Filter,
    sender: mpsc::Sender<Bytes>,
    events: Events,
    live: Arc<Live>,
    _place: Place,
    piece: Vec<u8>,
    /// Records in the piece.
    records: u64,
    /// Records that are missing before the next one.
    dropped: u64,
    /// Whether the viewer was too slow and has not caught up.
    is_behind: bool,
}

/// The viewer is gone.
struct Gone;

impl Feed {
    pub(super) fn new(tap: Tap, filter: Filter, sender: mpsc::Sender<Bytes>, live: &Arc<Live>, place: Place) -> Self {
        let events = Events::new(&live.host);
        let (piece, live) = (Vec::with_capacity(PIECE), Arc::clone(live));
        Self { tap, filter, sender, events, live, _place: place, piece, records: 0, dropped: 0, is_behind: false }
    }

    /// Sends `earlier` and then all that comes, until the viewer is gone or the agent ends.
    pub(super) async fn run(mut self, since_start: bool, earlier: Vec<Record>, ending: CancellationToken) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        events::note("hello", &Hello { version, host: self.live.host.clone(), since_start }, &mut self.piece);
        // Whoever has left is noticed by the next piece, at the latest by the one that says nothing.
        let _ = self.send_all(earlier, &ending).await;
    }

    async fn send_all(&mut self, earlier: Vec<Record>, ending: &CancellationToken) -> Result<(), Gone> {
        for record in &earlier {
            self.show(record).await?;
        }
        drop(earlier);
        self.flush().await?;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut spoke = Instant::now();
        loop {
            let is_last = tokio::select! {
                _ = look.tick() => false,
                () = ending.cancelled() => true,
                () = self.sender.closed() => return Err(Gone),
            };
            let taken = self.tap.take();
            for batch in taken.batches {
                for record in &*batch {
                    self.show(record).await?;
                }
                // Others are on this thread: scrapes and probes.
                tokio::task::yield_now().await;
            }
            self.miss(taken.missed);
            if is_last {
                events::note("end", &BTreeMap::<String, String>::new(), &mut self.piece);
            } else if self.piece.is_empty() && spoke.elapsed() >= KEEP_ALIVE {
                self.piece.extend_from_slice(NOTHING);
            }
            if !self.piece.is_empty() {
                spoke = Instant::now();
                self.flush().await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Appends those lines of a record that are wanted.
    async fn show(&mut self, record: &Record) -> Result<(), Gone> {
        if !self.filter.wants(record) {
            return Ok(());
        }
        for line in record.lines_apart() {
            if !self.filter.wants_line(&line) {
                continue;
            }
            if self.is_behind && self.sender.capacity() == 0 {
                self.miss(1);
                continue;
            }
            self.is_behind = false;
            self.tell_dropped();
            self.events.record(&line, &mut self.piece);
            self.records += 1;
            if self.piece.len() >= PIECE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn miss(&mut self, records: u64) {
        self.dropped += records;
        self.live.stats.dropped.fetch_add(records, Relaxed);
    }

    fn tell_dropped(&mut self) {
        if self.dropped > 0 {
            events::note("dropped", &Dropped { records: self.dropped }, &mut self.piece);
            self.dropped = 0;
        }
    }

    /// Hands the piece to the connection; drops it if that has had no room for too long.
    async fn flush(&mut self) -> Result<(), Gone> {
        if self.dropped > 0 && self.sender.capacity() > 0 {
            self.tell_dropped();
        }
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::copy_from_slice(&self.piece);
        self.piece.clear();
        let records = std::mem::take(&mut self.records);
        self.is_behind = match self.sender.try_send(piece) {
            Ok(()) => false,
            Err(TrySendError::Closed(_)) => return Err(Gone),
            Err(TrySendError::Full(_)) if self.is_behind => true,
            Err(TrySendError::Full(piece)) => match self.sender.send_timeout(piece, PATIENCE).await {
                Ok(()) => false,
                Err(SendTimeoutError::Closed(_)) => return Err(Gone),
                Err(SendTimeoutError::Timeout(_)) => true,
            },
        };
        if self.is_behind {
            self.miss(records);
        } else {
            self.live.stats.sent.fetch_add(records, Relaxed);
        }
        // The connection is on this thread as well.
        tokio::task::yield_now().await;
        Ok(())
    }
}
