//! What is on the screen, and what keys do to it.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use ratatui::crossterm::event::KeyCode;
use ratatui::widgets::TableState;

use crate::api;

/// Lines of a tail that are kept.
const LINES: usize = 2000;
/// Rows that a page key goes.
const PAGE: isize = 10;

/// What the agent answers once an interval.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    pub(super) agent: api::Agent,
    pub(super) containers: api::Containers,
    pub(super) sinks: api::Sinks,
}

/// What a key asks for beside the screen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Leave,
    /// Of the container of this id.
    Tail(String),
    StopTail,
}

/// The column that rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Bytes,
    Lines,
    Captured,
    Lost,
    Name,
}

impl Sort {
    pub(super) const ALL: [Self; 5] = [Self::Bytes, Self::Lines, Self::Captured, Self::Lost, Self::Name];

    fn next(self) -> Self {
        let place = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL[(place + 1) % Self::ALL.len()]
    }

    fn compare(self, a: &api::Container, b: &api::Container) -> Ordering {
        let by_name = || (a.shown_name(), &a.id).cmp(&(b.shown_name(), &b.id));
        let by_value = match self {
            Self::Bytes => b.rate.bytes.total_cmp(&a.rate.bytes),
            Self::Lines => b.rate.lines.total_cmp(&a.rate.lines),
            Self::Captured => b.totals.captured.cmp(&a.totals.captured),
            Self::Lost => gone(b).cmp(&gone(a)),
            Self::Name => Ordering::Equal,
        };
        by_value.then_with(by_name)
    }
}

/// Bytes of a container that did not reach every sink.
pub(super) fn gone(container: &api::Container) -> u64 {
    container.totals.lost + container.totals.dropped
}

/// One container's lines, in place of the others.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) name: String,
    /// With whether it is of stderr, or about the tail itself.
    pub(super) lines: VecDeque<(String, bool)>,
}

/// The screen.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) url: String,
    pub(super) answers: Answers,
    /// Records that each sink takes in a second.
    pub(super) sink_rates: HashMap<String, f64>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    pub(super) table: TableState,
    pub(super) tail: Option<Tail>,
    /// Why the agent did not answer.
    pub(super) failure: Option<String>,
    chosen: Option<String>,
    taken: Instant,
}

impl Screen {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            answers: Answers::default(),
            sink_rates: HashMap::new(),
            sort: Sort::Bytes,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            table: TableState::default(),
            tail: None,
            failure: None,
            chosen: None,
            taken: Instant::now(),
        }
    }

    /// Shows what the agent answered, unless the screen is to stand still.
    pub(super) fn take(&mut self, answers: Answers) {
        self.failure = None;
        if self.is_paused {
            return;
        }
        let seconds = self.taken.elapsed().as_secs_f64().max(0.001);
        let before: HashMap<_, _> =
            self.answers.sinks.sinks.iter().map(|sink| (sink.name.as_str(), sink.delivered)).collect();
        let rate = |sink: &api::Sink| {
            let before = before.get(sink.name.as_str()).copied().unwrap_or(sink.delivered);
            #[expect(clippy::cast_precision_loss, reason = "a rate for eyes")]
            let rate = sink.delivered.saturating_sub(before) as f64 / seconds;
            (sink.name.clone(), rate)
        };
        let rates = answers.sinks.sinks.iter().map(rate).collect();
        self.sink_rates = rates;
        self.answers = answers;
        self.taken = Instant::now();
        self.arrange();
    }

    pub(super) fn no_answer(&mut self, told: String) {
        self.failure = Some(told);
    }

    /// A line of the container that is looked at.
    pub(super) fn line(&mut self, line: String, is_marked: bool) {
        let Some(tail) = &mut self.tail else { return };
        if self.is_paused {
            return;
        }
        if tail.lines.len() == LINES {
            tail.lines.pop_front();
        }
        tail.lines.push_back((line, is_marked));
    }

    /// Rows in their order.
    pub(super) fn rows(&self) -> Vec<&api::Container> {
        let filter = self.filter.to_lowercase();
        let is_shown = |container: &&api::Container| container.shown_name().to_lowercase().contains(&filter);
        let mut rows: Vec<_> = self.answers.containers.containers.iter().filter(is_shown).collect();
        rows.sort_by(|a, b| self.sort.compare(a, b));
        rows
    }

    pub(super) fn key(&mut self, key: KeyCode) -> Effect {
        if self.is_typing {
            match key {
                KeyCode::Char(c) => self.filter.push(c),
                KeyCode::Backspace => drop(self.filter.pop()),
                KeyCode::Enter => self.is_typing = false,
                KeyCode::Esc => {
                    self.filter.clear();
                    self.is_typing = false;
                }
                _ => {}
            }
            self.arrange();
            return Effect::Nothing;
        }
        if self.tail.is_some() {
            return self.key_in_tail(key);
        }
        match key {
            KeyCode::Char('q') => return Effect::Leave,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/' | 'f') => self.is_typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Enter => {
                let chosen = self.table.selected().and_then(|place| self.rows().get(place).copied().cloned());
                if let Some(container) = chosen {
                    let name = container.shown_name().to_owned();
                    self.tail = Some(Tail { name, lines: VecDeque::new() });
                    return Effect::Tail(container.id);
                }
            }
            _ => {}
        }
        self.arrange();
        Effect::Nothing
    }

    fn key_in_tail(&mut self, key: KeyCode) -> Effect {
        match key {
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Esc | KeyCode::Char('q') | KeyCode::Enter => {
                self.tail = None;
                self.is_paused = false;
                return Effect::StopTail;
            }
            _ => {}
        }
        Effect::Nothing
    }

    /// The chosen row stays the chosen container's, wherever that stands now.
    fn arrange(&mut self) {
        let place = self.chosen.as_ref().and_then(|id| self.rows().iter().position(|row| row.id == *id));
        self.table.select(place);
        if place.is_none() {
            self.chosen = None;
        }
    }

    fn step(&mut self, by: isize) {
        let rows = self.rows();
        let Some(last) = rows.len().checked_sub(1) else { return };
        let place = match self.table.selected() {
            Some(place) => place.saturating_add_signed(by).min(last),
            None if by < 0 => 0,
            None => usize::try_from(by - 1).unwrap_or(0).min(last),
        };
        self.chosen = Some(rows[place].id.clone());
        self.table.select(Some(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, bytes: f64, lost: u64) -> api::Container {
        api::Container {
            id: format!("{name:0>64}"),
            name: name.to_owned(),
            rate: api::Rate { bytes, lines: 1.0, lost: 0.0 },
            totals: api::Totals { lost, ..api::Totals::default() },
            ..api::Container::default()
        }
    }

    fn answers(containers: Vec<api::Container>) -> Answers {
        let containers = api::Containers { containers, ..api::Containers::default() };
        Answers { containers, ..Answers::default() }
    }

    fn names(screen: &Screen) -> Vec<&str> {
        screen.rows().iter().map(|row| row.shown_name()).collect()
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let mut screen = Screen::new(String::new());
        screen.take(answers(vec![container("a", 1.0, 9), container("b", 3.0, 0), container("cb", 2.0, 10)]));
        assert_eq!(names(&screen), ["b", "cb", "a"]);
        let expected = [["a", "b", "cb"], ["a", "b", "cb"], ["cb", "a", "b"], ["a", "b", "cb"], ["b", "cb", "a"]];
        for order in expected {
            screen.key(KeyCode::Char('s'));
            assert_eq!(names(&screen), order, "{:?}", screen.sort);
        }
        for key in ['/', 'B'] {
            screen.key(KeyCode::Char(key));
        }
        assert_eq!(names(&screen), ["b", "cb"]);
        // In the middle of typing these are letters.
        assert_eq!(screen.key(KeyCode::Char('q')), Effect::Nothing);
        assert!(names(&screen).is_empty());
        screen.key(KeyCode::Esc);
        assert_eq!(names(&screen).len(), 3);
        assert_eq!(screen.key(KeyCode::Char('q')), Effect::Leave);
    }

    #[test]
    fn what_is_chosen_stays_chosen_wherever_it_goes() {
        let mut screen = Screen::new(String::new());
        screen.take(answers(vec![container("a", 3.0, 0), container("b", 2.0, 0), container("c", 1.0, 0)]));
        screen.key(KeyCode::Down);
        screen.key(KeyCode::Down);
        assert_eq!(screen.table.selected(), Some(1));
        screen.take(answers(vec![container("a", 1.0, 0), container("b", 5.0, 0), container("c", 2.0, 0)]));
        assert_eq!((screen.table.selected(), names(&screen)[0]), (Some(0), "b"));
        screen.key(KeyCode::End);
        assert_eq!(screen.table.selected(), Some(2));
        screen.key(KeyCode::PageUp);
        assert_eq!(screen.key(KeyCode::Enter), Effect::Tail(format!("{:0>64}", "b")));
        screen.line("first".to_owned(), false);
        assert_eq!(screen.tail.as_ref().unwrap().lines.len(), 1);
        assert_eq!(screen.key(KeyCode::Char('q')), Effect::StopTail);
        assert!(screen.tail.is_none());
        screen.take(answers(vec![container("a", 1.0, 0)]));
        assert_eq!(screen.table.selected(), None, "it is gone");
        assert_eq!(screen.key(KeyCode::Enter), Effect::Nothing);
    }

    #[test]
    fn a_screen_that_is_paused_stands_still() {
        let mut screen = Screen::new(String::new());
        screen.take(answers(vec![container("a", 3.0, 0)]));
        screen.key(KeyCode::Char('p'));
        screen.take(answers(vec![]));
        assert_eq!(names(&screen), ["a"]);
        screen.key(KeyCode::Char('p'));
        screen.take(answers(vec![]));
        assert!(names(&screen).is_empty());
    }
}
