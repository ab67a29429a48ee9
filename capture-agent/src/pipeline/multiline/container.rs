//! What is held of one container, and the order in which it goes on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use capture_common::Stream;

use super::Settings;
use super::config::Preset;
use super::group::Group;
use super::presets::State;
use super::rules::{Rules, Verdict};
use crate::containers::directory::Metadata;
use crate::pipeline::record::{Content, Origin, Record};

/// What a waiting record costs beyond its message, in bytes.
const RECORD_BYTES: u64 = 128;

/// The records of one container that are held back.
///
/// Both streams of it go on in the order in which the kernel saw the first line of each event: what comes after the
/// first line of an event waits for the event, on the other stream too.
#[derive(Debug, Default)]
pub(super) struct Container {
    /// What the rules were chosen by.
    metadata: Option<Arc<Metadata>>,
    rules: Choice,
    streams: [Lines; Stream::ALL.len()],
    /// Complete, and after the first line of an event that is not; by their places.
    waiting: VecDeque<(u64, Record)>,
    waiting_bytes: u64,
    /// The next record's place among those of the container.
    next: u64,
}

/// Which rules hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Choice {
    /// Those of the configuration, if it has some.
    #[default]
    Configured,
    /// Those that the container names.
    Preset(Preset),
    /// The container wants none.
    Nothing,
}

/// What is remembered of a stream.
#[derive(Debug, Default)]
struct Lines {
    state: State,
    /// Whether the line goes on in the next record.
    goes_on: bool,
    group: Option<Group>,
}

impl Container {
    /// Looks whether the container says by a label what holds for it, if anything is known that was not.
    pub(super) fn choose(&mut self, origin: &Origin, settings: &Settings, out: &mut Vec<Record>) {
        let Some(metadata) = &origin.metadata else { return };
        if self.metadata.as_ref().is_some_and(|known| Arc::ptr_eq(known, metadata)) {
            return;
        }
        self.metadata = Some(Arc::clone(metadata));
        let choice = match metadata.labels.get(&settings.label).map(|value| value.trim()) {
            None | Some("") => Choice::Configured,
            Some("none") => Choice::Nothing,
            Some(value) => Preset::of_label(value).map_or_else(
                || {
                    tracing::warn!(
                        container_id = %origin.container_id,
                        container_name = metadata.name,
                        "the label {}={value} names no preset; those are {}, and `none`",
                        settings.label,
                        Preset::NAMES,
                    );
                    Choice::Configured
                },
                Choice::Preset,
            ),
        };
        if choice != self.rules {
            self.rules = choice;
            for stream in Stream::ALL {
                self.close(stream, false, out);
                self.streams[stream as usize].state = State::default();
            }
        }
    }

    pub(super) fn push(&mut self, record: Record, settings: &Settings, now: Instant, out: &mut Vec<Record>) {
        let place = self.next;
        self.next += 1;
        let stream = record.stream;
        let Content::Line { message, newline, partial, .. } = &record.content else {
            self.close(stream, false, out);
            let lines = &mut self.streams[stream as usize];
            (lines.state, lines.goes_on) = (State::default(), false);
            return self.give((place, record), settings, out);
        };
        let (is_last, goes_on) = (!newline && !partial, *partial && !newline);
        if self.streams[stream as usize]
            .group
            .as_ref()
            .is_some_and(|group| group.is_older_than(&record, settings.timeout))
        {
            self.close(stream, false, out);
        }
        let preset;
        let rules = match self.rules {
            Choice::Configured => settings.rules.as_ref(),
            Choice::Preset(named) => {
                preset = Rules::Preset(named);
                Some(&preset)
            }
            Choice::Nothing => None,
        };
        let lines = &mut self.streams[stream as usize];
        let is_piece = std::mem::replace(&mut lines.goes_on, goes_on);
        let verdict = match rules {
            None => Some(Verdict::Alone),
            Some(_) if is_piece => None,
            Some(rules) => Some(rules.judge(&mut lines.state, message)),
        };
        self.put(verdict, (place, record), settings, now, out);
        if is_last {
            // The stream ends here.
            self.close(stream, false, out);
        }
    }

    /// Puts a line where it belongs; without a verdict it is a piece of the line before.
    fn put(
        &mut self,
        verdict: Option<Verdict>,
        part: (u64, Record),
        settings: &Settings,
        now: Instant,
        out: &mut Vec<Record>,
    ) {
        let stream = part.1.stream;
        let group = &mut self.streams[stream as usize].group;
        let has_room = group.as_ref().is_none_or(|group| group.has_room(&part.1, settings.max_bytes));
        match (verdict, group) {
            (Some(Verdict::Continue), Some(group)) if has_room => group.add(part, now),
            (Some(Verdict::Maybe), Some(group)) if has_room && group.may_be_unsure() => group.add_unsure(part, now),
            (None, Some(group)) if has_room => group.add_piece(part, now),
            (None, None) | (Some(Verdict::Alone | Verdict::Maybe), _) => {
                self.close(stream, false, out);
                self.give(part, settings, out);
            }
            (verdict, _) => {
                // Where it goes on there was no room for more.
                self.close(stream, verdict != Some(Verdict::Start), out);
                self.streams[stream as usize].group = Some(Group::new(part, now));
            }
        }
    }

    /// Gives out the event that a stream is in.
    fn close(&mut self, stream: Stream, goes_on: bool, out: &mut Vec<Record>) {
        let Some(group) = self.streams[stream as usize].group.take() else { return };
        for part in group.give_out(goes_on) {
            self.wait(part);
        }
        self.release(out);
    }

    /// Lets a record go on, after what came before it.
    fn give(&mut self, part: (u64, Record), settings: &Settings, out: &mut Vec<Record>) {
        if self.waiting.is_empty() && self.held_from() > part.0 {
            return out.push(part.1);
        }
        self.wait(part);
        self.release(out);
        while self.waiting_bytes > settings.max_bytes
            && let Some(stream) = Stream::ALL.into_iter().min_by_key(|stream| self.place(*stream))
        {
            self.close(stream, false, out);
        }
    }

    fn wait(&mut self, part: (u64, Record)) {
        self.waiting_bytes += part.1.stream_bytes() + RECORD_BYTES;
        let index = self.waiting.partition_point(|(place, _)| *place < part.0);
        self.waiting.insert(index, part);
    }

    /// Lets go what no longer waits for an event.
    fn release(&mut self, out: &mut Vec<Record>) {
        let until = self.held_from();
        while let Some((_, record)) = self.waiting.pop_front_if(|(place, _)| *place < until) {
            self.waiting_bytes -= record.stream_bytes() + RECORD_BYTES;
            out.push(record);
        }
    }

    /// Place of the first line that is held.
    fn held_from(&self) -> u64 {
        Stream::ALL.into_iter().map(|stream| self.place(stream)).min().unwrap_or(u64::MAX)
    }

    fn place(&self, stream: Stream) -> u64 {
        self.streams[stream as usize].group.as_ref().map_or(u64::MAX, Group::place)
    }

    /// Lets go of memory that is not the held lines' own.
    pub(super) fn detach(&mut self) {
        for group in self.streams.iter_mut().filter_map(|lines| lines.group.as_mut()) {
            group.detach();
        }
    }

    /// When the first event is given out.
    pub(super) fn deadline(&self, settings: &Settings) -> Option<Instant> {
        let groups = self.streams.iter().filter_map(|lines| lines.group.as_ref());
        groups.map(|group| group.deadline(settings.timeout)).min()
    }

    /// Gives out the events that have waited long enough.
    pub(super) fn expire(&mut self, settings: &Settings, now: Instant, out: &mut Vec<Record>) {
        for stream in Stream::ALL {
            let group = self.streams[stream as usize].group.as_ref();
            if group.is_some_and(|group| group.deadline(settings.timeout) <= now) {
                self.close(stream, false, out);
            }
        }
    }

    /// Gives out everything.
    pub(super) fn finish(&mut self, out: &mut Vec<Record>) {
        for stream in Stream::ALL {
            self.close(stream, false, out);
            self.streams[stream as usize] = Lines::default();
        }
    }

    /// Whether nothing of it matters to what comes.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.iter().all(|lines| lines.group.is_none() && !lines.goes_on)
    }
}
