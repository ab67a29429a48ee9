//! A queue that is full: who gives way, and what is said of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::counters::{kind_of, reason};
use super::super::fate::{Part, Sum, cost};
use super::{Queue, State};
use crate::pipeline::record::Record;

/// How often dropped records are spoken of.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Of a full queue, at least this part is freed at a time where the oldest give way.
const EVICTED_PART: u64 = 16;

impl Queue {
    /// Counts what finds no room, and remembers where it is missing.
    pub(super) fn refuse(
        &self,
        state: &mut State,
        records: &[Record],
        part: &Part,
        places: impl IntoIterator<Item = u32>,
        reason: &'static str,
    ) {
        let mut sum = Sum::default();
        for place in places {
            let record = &records[place as usize];
            part.dropped(place as usize, record, kind_of(reason));
            state.refused.add(record, reason);
            sum.add(record);
        }
        self.counters.drop_sum(sum, reason);
        self.warn(state, sum);
    }

    /// Makes room for so many bytes: the oldest records give way, first those of containers that hold much.
    pub(super) fn evict(&self, state: &mut State, bytes: u64) {
        let goal = (state.bytes + bytes).saturating_sub(state.room.capacity).max(state.room.capacity / EVICTED_PART);
        let (mut freed, mut sum) = (0, Sum::default());
        for spares_little in [true, false] {
            let mut kept = VecDeque::new();
            while freed < goal
                && let Some(mut entry) = state.entries.pop_front()
            {
                state.waiting -= entry.sum().bytes;
                let little = state.room.little();
                let (held, evicted) = (&mut state.held, &mut state.evicted);
                let dropped = entry.drop_where(&self.counters, reason::QUEUE_FULL, |record| {
                    let account = &record.origin.account;
                    let gives_way = freed < goal && (!spares_little || held.of(account) > little);
                    if gives_way {
                        freed += cost(record);
                        held.remove(account, cost(record));
                        evicted.add(record, reason::QUEUE_FULL);
                        sum.add(record);
                    }
                    gives_way
                });
                state.records -= dropped as u64;
                if !entry.is_empty() {
                    kept.push_back(entry);
                }
            }
            while let Some(entry) = kept.pop_back() {
                state.waiting += entry.sum().bytes;
                state.entries.push_front(entry);
            }
        }
        state.bytes -= freed;
        self.warn(state, sum);
    }

    fn warn(&self, state: &mut State, sum: Sum) {
        let now = Instant::now();
        let is_time = state.last_warning.is_none_or(|last| now.saturating_duration_since(last) > WARNING_INTERVAL);
        if sum.lines > 0 && is_time && state.abandoned.is_none() {
            state.last_warning = Some(now);
            tracing::warn!(
                sink = &*self.counters.name,
                records = sum.lines,
                "the sink is too slow and its queue is full: records are dropped"
            );
        }
    }
}
