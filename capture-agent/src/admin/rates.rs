//! Rates of containers, from accounts that are read once a second for as long as somebody asks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::api::Rate;
use crate::session::ledger::Ledger;
use crate::session::totals::{ContainerTotals, StreamTotals};

/// Time between two looks.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// The first rates are those of this time: who asks once does not wait for long.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);
/// Nobody has asked for this long: nobody looks any more.
const IDLE: Duration = Duration::from_secs(15);
/// Points of a history.
const HISTORY: usize = 60;

/// Rates, on demand.
pub(super) struct Rates {
    ledger: Arc<Ledger>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: Option<Instant>,
    is_running: bool,
    tracks: HashMap<Arc<str>, Track>,
    latest: Option<Arc<Snapshot>>,
}

#[derive(Debug, Default)]
struct Track {
    counted: Counted,
    rate: Rate,
    history: VecDeque<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    captured: u64,
    lines: u64,
    lost: u64,
}

/// The accounts at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    taken: Instant,
    /// Seconds since the Unix epoch.
    pub(super) at: f64,
    pub(super) containers: Vec<Measured>,
    /// Whether the rates are known, for which it takes two looks.
    has_rates: bool,
}

/// A container with its rates.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) totals: ContainerTotals,
    pub(super) rate: Rate,
    pub(super) history: Vec<u64>,
}

impl Rates {
    pub(super) fn new(ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self { ledger, state: Mutex::default() })
    }

    /// The accounts, no older than a second. The first one who asks waits for half of one.
    pub(super) async fn ask(self: &Arc<Self>) -> Arc<Snapshot> {
        let is_first = {
            let mut state = self.lock();
            state.asked = Some(Instant::now());
            !std::mem::replace(&mut state.is_running, true)
        };
        if is_first {
            tokio::spawn(Arc::clone(self).run());
        }
        loop {
            if let Some(latest) = self.lock().latest.clone().filter(|latest| latest.has_rates) {
                return latest;
            }
            tokio::time::sleep(FIRST_INTERVAL / 10).await;
        }
    }

    async fn run(self: Arc<Self>) {
        self.look();
        tokio::time::sleep(FIRST_INTERVAL).await;
        loop {
            self.look();
            tokio::time::sleep(INTERVAL).await;
            let mut state = self.lock();
            if state.asked.is_none_or(|asked| asked.elapsed() > IDLE) {
                *state = State::default();
                return;
            }
        }
    }

    fn look(&self) {
        let (_, containers) = self.ledger.snapshot();
        let taken = Instant::now();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut state = self.lock();
        let elapsed = state.latest.as_ref().map(|latest| taken.duration_since(latest.taken));
        let mut tracks = std::mem::take(&mut state.tracks);
        let mut measure = |totals: ContainerTotals| {
            let mut track = tracks.remove(&totals.id).unwrap_or_default();
            if let Some(elapsed) = elapsed {
                track.go_on(Counted::of(&totals.streams), elapsed);
            } else {
                track.counted = Counted::of(&totals.streams);
            }
            let measured = Measured { rate: track.rate, history: track.history.iter().copied().collect(), totals };
            state.tracks.insert(Arc::clone(&measured.totals.id), track);
            measured
        };
        let containers = containers.into_iter().map(&mut measure).collect();
        state.latest = Some(Arc::new(Snapshot { taken, at, containers, has_rates: elapsed.is_some() }));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn of(streams: &[StreamTotals; 2]) -> Self {
        let sum = |read: fn(&StreamTotals) -> u64| streams.iter().map(read).sum();
        Self {
            captured: sum(|stream| stream.submitted),
            lines: sum(|stream| stream.lines),
            lost: sum(|stream| stream.lost.iter().chain(&stream.dropped).sum()),
        }
    }
}

impl Track {
    #[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "what passes in a second is far below 2^53")]
    fn go_on(&mut self, now: Counted, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        self.rate = Rate {
            bytes: rate(now.captured, self.counted.captured),
            lines: rate(now.lines, self.counted.lines),
            lost: rate(now.lost, self.counted.lost),
        };
        self.counted = now;
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(self.rate.bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::totals::KernelTotals;

    fn ledger() -> (Arc<Ledger>, Arc<std::sync::atomic::AtomicU64>) {
        let ledger = Arc::new(Ledger::new(Duration::from_mins(5)));
        let submitted = Arc::<std::sync::atomic::AtomicU64>::default();
        let read = Arc::clone(&submitted);
        ledger.read_kernel_with(move |_| {
            let submitted = read.load(std::sync::atomic::Ordering::Relaxed);
            [KernelTotals { written: submitted, submitted, lost: [0; 4] }, KernelTotals::default()]
        });
        ledger.open(&Arc::from("a"), 1);
        (ledger, submitted)
    }

    #[tokio::test]
    async fn who_asks_once_is_told_a_rate_and_nobody_looks_afterwards() {
        let (ledger, submitted) = ledger();
        submitted.store(1_000_000, std::sync::atomic::Ordering::Relaxed);
        let rates = Rates::new(ledger);
        let asked = tokio::spawn({
            let rates = Arc::clone(&rates);
            async move { rates.ask().await }
        });
        tokio::time::sleep(FIRST_INTERVAL / 2).await;
        submitted.store(1_050_000, std::sync::atomic::Ordering::Relaxed);
        let snapshot = asked.await.unwrap();
        let rate = snapshot.containers[0].rate.bytes;
        // 50 kB in half a second; a machine that is busy may take longer.
        assert!((10_000.0..=100_500.0).contains(&rate), "{rate}");
        assert_eq!(snapshot.containers[0].history.len(), 1);
        rates.lock().asked = Some(Instant::now().checked_sub(IDLE * 2).unwrap());
        tokio::time::sleep(INTERVAL + INTERVAL / 2).await;
        let state = rates.lock();
        assert!(!state.is_running && state.latest.is_none() && state.tracks.is_empty());
    }

    #[test]
    fn a_rate_is_what_came_over_the_time_it_took() {
        let mut track = Track::default();
        track.go_on(Counted { captured: 3000, lines: 30, lost: 0 }, Duration::from_secs(2));
        assert_eq!(track.rate, Rate { bytes: 1500.0, lines: 15.0, lost: 0.0 });
        for _ in 0..HISTORY {
            track.go_on(Counted { captured: 4000, lines: 30, lost: 5 }, Duration::from_secs(1));
        }
        assert_eq!(track.history.len(), HISTORY);
        assert_eq!((track.history[0], track.history[HISTORY - 1]), (1000, 0));
    }
}
