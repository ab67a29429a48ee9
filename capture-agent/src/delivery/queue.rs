//! A bounded queue in memory: the reader of the ring buffer puts in, a sink's thread takes out.

mod full;
mod rousing;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::rousing::Rousing;
use super::counters::{Counters, reason};
use super::entry::{Entry, pick};
use super::fate::{Fates, Part, Sum, cost_of};
use super::gaps::Gaps;
use super::held::{Held, Room};
use super::load::Load;
use super::settings::{BatchLimits, OnFull};
use super::status::Level;
use crate::pipeline::record::Record;

/// So many records are worth a request of their own where nobody waits for more: they are taken as they are, instead of
/// copied to where others are.
const ENOUGH: usize = 256;

/// How often whoever waits for room looks whether it still may.
const LOOK: Duration = Duration::from_millis(1);

/// A smaller queue may be full before anybody has seen that the sink is late ([`crate::priority`]).
const PATIENT: u64 = 16 << 20;
/// A sink that is in step never lets so much wait, however much has room: a quarter of the smallest queue that is looked at.
const LATE: u64 = 4 << 20;

/// Records that wait for a sink, bounded by bytes.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Signalled when something was put in, or the worker is to look up.
    filled: Condvar,
    /// Signalled when something was taken out and done with.
    emptied: Condvar,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State {
    room: Room,
    on_full: OnFull,
    entries: VecDeque<Entry>,
    /// Of everything that is held, with what the worker has in hand.
    bytes: u64,
    records: u64,
    /// Bytes of output of the entries alone.
    waiting: u64,
    held: Held,
    /// What found no room since the last batch that did.
    refused: Gaps,
    /// What was dropped of what had waited longest.
    evicted: Gaps,
    in_hand: Option<Arc<Load>>,
    rousing: Rousing,
    /// The worker has taken entries and makes a load of them.
    taking: bool,
    nudged: bool,
    closed: bool,
    abandoned: Option<&'static str>,
    last_warning: Option<Instant>,
}

/// What a worker gets when it asks for something to do.
#[derive(Debug)]
pub(super) enum Taken {
    /// Records; to be given back with [`Queue::done`].
    Load(Arc<Load>),
    /// Nothing came for as long as it was willing to wait.
    Idle,
    /// Somebody wants it to look up.
    Nudged,
    /// Nothing will come any more.
    End,
}

impl Queue {
    pub(super) fn new(capacity: u64, on_full: OnFull, counters: Arc<Counters>) -> Self {
        let state = State {
            room: Room { capacity },
            on_full,
            entries: VecDeque::new(),
            bytes: 0,
            records: 0,
            waiting: 0,
            held: Held::default(),
            refused: Gaps::default(),
            evicted: Gaps::default(),
            in_hand: None,
            rousing: Rousing::default(),
            taking: false,
            nudged: false,
            closed: false,
            abandoned: None,
            last_warning: None,
        };
        Self { state: Mutex::new(state), filled: Condvar::new(), emptied: Condvar::new(), counters }
    }

    /// Waits until so many bytes have room, at most for a time, and for as long as `may_wait` says so.
    pub(super) fn wait_for_room(&self, bytes: u64, patience: Duration, may_wait: impl Fn() -> bool) {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        if state.is_full(bytes) && state.rousing.rouse() {
            self.filled.notify_one();
        }
        while state.is_full(bytes) && state.abandoned.is_none() && may_wait() && Instant::now() < deadline {
            state = self.emptied.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Puts in the records of a batch, or those at the `picked` places. Never waits: what finds no room is dropped, and
    /// counted. A worker that is fast may sleep on until there is more, or the reader
    /// [pauses](Self::pause).
    pub(super) fn push(&self, records: &Arc<Vec<Record>>, picked: Option<&[u32]>, fates: &Arc<Fates>) {
        let whole = Part::whole(Arc::clone(fates));
        let (records, part) = match picked {
            None => (Arc::clone(records), whole),
            Some(picked) => (Arc::new(pick(records, picked)), whole.pick(picked)),
        };
        if records.is_empty() {
            return;
        }
        let (sum, bytes) =
            if picked.is_none() { (fates.sum, fates.cost) } else { (Sum::of(&*records), cost_of(&*records)) };
        let mut state = self.lock();
        if let Some(reason) = state.abandoned {
            self.refuse(&mut state, &records, &part, 0..records.len() as u32, reason);
            return;
        }
        if state.is_full(bytes) && state.on_full == OnFull::DropOldest {
            self.evict(&mut state, bytes);
        }
        if state.is_full(bytes) {
            let (taken, dropped) = state.room.share(&state.held, state.bytes, &records);
            let taken_records = pick(&records, &taken);
            let marks = state.refused.take_of(&taken_records);
            state.put_marks(marks);
            // What is dropped now follows what is taken now.
            self.refuse(&mut state, &records, &part, dropped, reason::QUEUE_FULL);
            if !taken_records.is_empty() {
                state.held.add_records(&taken_records);
                let (sum, bytes) = (Sum::of(&taken_records), cost_of(&taken_records));
                state.put(Entry::new(Arc::new(taken_records), part.pick(&taken), sum, bytes));
            }
        } else {
            let marks = state.refused.take();
            state.put_marks(marks);
            match picked {
                None => state.held.add_all(fates),
                Some(_) => state.held.add_records(&records),
            }
            state.put(Entry::new(records, part, sum, bytes));
        }
        let State { rousing, waiting, bytes: held, room, .. } = &mut *state;
        let is_roused = rousing.put(bytes, *waiting, *held >= room.capacity / 4);
        // Whoever wakes would have to wait for it.
        drop(state);
        if is_roused {
            self.filled.notify_one();
        }
    }

    /// Whoever puts in pauses.
    pub(super) fn pause(&self, for_a_moment: bool) {
        if self.lock().rousing.pause(for_a_moment) {
            self.filled.notify_one();
        }
    }

    /// What the worker is to deliver next. Waits for it up to `patience`, and for more up to the limits' timeout.
    pub(super) fn take(&self, limits: &BatchLimits, patience: Duration) -> Taken {
        let mut state = self.lock();
        let idle = Instant::now() + patience;
        loop {
            if std::mem::take(&mut state.nudged) {
                return Taken::Nudged;
            }
            let now = Instant::now();
            let until = match state.entries.front() {
                None if state.has_marks() => return self.join(state, limits),
                None if state.closed => return Taken::End,
                None => idle,
                Some(first) => {
                    let is_enough = state.waiting >= limits.max_bytes
                        || state.waiting_records() >= limits.max_records as u64
                        || state.closed;
                    let due = first.since + limits.timeout;
                    if is_enough || now >= due {
                        return self.join(state, limits);
                    }
                    due.min(idle.max(now))
                }
            };
            if now >= until {
                return Taken::Idle;
            }
            state.rousing.sleeps(true);
            state = self.filled.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0;
            state.rousing.sleeps(false);
        }
    }

    /// Makes a load of the next entries. Their records may have to be copied, which nobody is to wait for.
    fn join(&self, mut state: MutexGuard<'_, State>, limits: &BatchLimits) -> Taken {
        let entries = state.choose(limits);
        state.taking = true;
        state.rousing.begin();
        drop(state);
        let load = Arc::new(Entry::join(entries));
        let mut state = self.lock();
        state.taking = false;
        if let Some(reason) = state.abandoned {
            drop(state);
            load.abandon(&self.counters, reason);
            return Taken::End;
        }
        state.in_hand = Some(Arc::clone(&load));
        Taken::Load(load)
    }

    /// The worker is done with what it took.
    pub(super) fn done(&self, load: &Load) {
        // Before anybody is told that it is done.
        load.let_go();
        let cost = load.cost();
        let mut state = self.lock();
        if state.in_hand.take().is_some() {
            state.held.remove_records(load.records());
            state.bytes -= cost;
            state.rousing.end(cost);
            state.records -= load.records().len() as u64;
        }
        drop(state);
        self.emptied.notify_all();
    }

    /// Remembers what the worker dropped, so that the next it takes begins with marks of it.
    pub(super) fn mark_missing<'a>(&self, records: impl IntoIterator<Item = &'a Record>, reason: &'static str) {
        let mut state = self.lock();
        for record in records {
            state.evicted.add(record, reason);
        }
    }

    /// Has the worker look up.
    pub(super) fn nudge(&self) {
        self.lock().nudged = true;
        self.filled.notify_all();
    }

    /// Nothing is put in any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Waits until everything was taken and done with; whether it was by `deadline`.
    pub(super) fn wait_until_empty(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let busy = |state: &mut State| !state.is_empty() && state.abandoned.is_none();
        let (state, _) =
            self.emptied.wait_timeout_while(self.lock(), left, busy).unwrap_or_else(PoisonError::into_inner);
        state.is_empty()
    }

    /// Drops what waits and what the worker has in hand, and all that is put in from now on. What it was.
    pub(super) fn abandon(&self, reason: &'static str) -> Sum {
        let mut state = self.lock();
        state.abandoned = Some(reason);
        state.closed = true;
        let mut sum = state.in_hand.take().map(|load| load.abandon(&self.counters, reason)).unwrap_or_default();
        for entry in std::mem::take(&mut state.entries) {
            let dropped = entry.drop_all(&self.counters, reason);
            sum.lines += dropped.lines;
            sum.bytes += dropped.bytes;
        }
        (state.bytes, state.records, state.waiting) = (0, 0, 0);
        state.held.clear();
        drop(state);
        self.filled.notify_all();
        self.emptied.notify_all();
        sum
    }

    /// Changes its bounds. What it holds beyond them stays.
    pub(super) fn resize(&self, capacity: u64, on_full: OnFull) {
        let mut state = self.lock();
        state.room = Room { capacity };
        state.on_full = on_full;
    }

    /// Whether the sink is falling behind: more than [`LATE`] waits, or there is so little room that it may be full
    /// before anybody looks again. Waits for nobody: where somebody has the queue just now the next look will tell.
    pub(super) fn is_filling_up(&self) -> bool {
        let is_late = |state: &State| state.room.capacity < PATIENT || state.bytes > LATE;
        self.state.try_lock().is_ok_and(|state| is_late(&state))
    }

    pub(super) fn level(&self) -> Level {
        let state = self.lock();
        let in_hand = state.in_hand.as_ref().and_then(|load| load.records().first());
        let oldest = in_hand.or_else(|| state.entries.front().and_then(Entry::first));
        Level {
            bytes: state.bytes,
            capacity: state.room.capacity,
            records: state.records,
            oldest: oldest.map(|record| record.timestamp),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether so many bytes find no room. An empty queue takes whatever it is given.
    fn is_full(&self, bytes: u64) -> bool {
        self.bytes > 0 && self.bytes + bytes > self.room.capacity
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.in_hand.is_none() && !self.taking && !self.has_marks()
    }

    fn has_marks(&self) -> bool {
        !self.evicted.is_empty() || !self.refused.is_empty()
    }

    fn waiting_records(&self) -> u64 {
        self.records - self.in_hand.as_ref().map_or(0, |load| load.records().len() as u64)
    }

    fn put(&mut self, entry: Entry) {
        self.bytes += entry.cost();
        self.records += entry.len() as u64;
        self.waiting += entry.sum().bytes;
        self.entries.push_back(entry);
    }

    fn put_marks(&mut self, marks: Vec<Record>) {
        if !marks.is_empty() {
            self.held.add_records(&marks);
            self.put(Entry::of_marks(marks));
        }
    }

    /// The next records, up to the limits: at least one.
    fn choose(&mut self, limits: &BatchLimits) -> Vec<Entry> {
        let mut marks = self.evicted.take();
        if self.entries.is_empty() {
            marks.extend(self.refused.take());
        }
        if !marks.is_empty() {
            self.held.add_records(&marks);
            let entry = Entry::of_marks(marks);
            self.bytes += entry.cost();
            self.records += entry.len() as u64;
            self.entries.push_front(entry);
        }
        let mut chosen: Vec<Entry> = Vec::new();
        let (mut bytes, mut records) = (0, 0);
        while (records < ENOUGH || !limits.timeout.is_zero())
            && let Some(mut entry) = self.entries.pop_front()
        {
            self.waiting -= entry.sum().bytes;
            let (max_bytes, max_records) =
                (limits.max_bytes.saturating_sub(bytes), limits.max_records.saturating_sub(records));
            let fit = entry.fit(max_bytes, max_records);
            let fit = if chosen.is_empty() { fit.max(1) } else { fit };
            let rest = (fit < entry.len()).then(|| entry.split_off(fit));
            if fit > 0 {
                bytes += entry.sum().bytes;
                records += entry.len();
                chosen.push(entry);
            }
            if let Some(rest) = rest {
                self.waiting += rest.sum().bytes;
                self.entries.push_front(rest);
                break;
            }
        }
        chosen
    }
}
