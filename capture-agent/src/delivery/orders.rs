//! What a worker is told while it works.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::settings::{BatchLimits, RetryPolicy};
use crate::sinks::delivery::Sink;

/// What a worker delivers with.
pub(super) struct Outfit {
    pub(super) sink: Box<dyn Sink>,
    pub(super) limits: BatchLimits,
    pub(super) retry: RetryPolicy,
    /// Cancelled when the destination is gone for good.
    pub(super) closed: Option<CancellationToken>,
}

/// How long it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    #[default]
    Not,
    /// Until everything is delivered.
    Drained,
    /// Until the next answer of the sink.
    Now,
}

#[derive(Default)]
struct State {
    outfit: Option<Outfit>,
    reopen: bool,
    stop: Stop,
}

/// Given by whoever holds the lane, taken by its worker.
#[derive(Default)]
pub(super) struct Orders {
    state: Mutex<State>,
    changed: Condvar,
}

impl Orders {
    /// Deliver with this from the next request on.
    pub(super) fn change(&self, outfit: Outfit) {
        self.lock().outfit = Some(outfit);
        self.changed.notify_all();
    }

    /// Open files anew.
    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
    }

    pub(super) fn stop(&self, stop: Stop) {
        let mut state = self.lock();
        state.stop = state.stop.max(stop);
        self.changed.notify_all();
    }

    pub(super) fn is_to_stop(&self) -> Stop {
        self.lock().stop
    }

    pub(super) fn take_outfit(&self) -> Option<Outfit> {
        self.lock().outfit.take()
    }

    pub(super) fn take_reopen(&self) -> bool {
        std::mem::take(&mut self.lock().reopen)
    }

    /// Sleeps until a time, or until it is told to stop (as `enough` says) or to change. Whether it is to go on.
    pub(super) fn sleep(&self, until: Instant, enough: Stop) -> bool {
        let mut state = self.lock();
        loop {
            if state.stop >= enough {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.outfit.is_some() {
                return true;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
