//! The screen as text.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};

use super::format::{age, count, size, spark};
use super::screen::{Screen, Sort, Tail, gone};
use crate::api;
use crate::cli::tail::safe;

/// Sinks that are shown; more are summed up.
const SINKS: usize = 4;
/// Columns of a sparkline: a second each.
const SPARK: usize = 30;

const QUIET: Style = Style::new().fg(Color::DarkGray);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);
const WARN: Style = Style::new().fg(Color::Yellow);
const MARK: Style = Style::new().fg(Color::Cyan);

pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let sinks = sink_lines(screen);
    let heights =
        [Constraint::Length(2), Constraint::Length(sinks.len() as u16), Constraint::Min(3), Constraint::Length(1)];
    let [head, of_sinks, body, foot] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(screen)), head);
    frame.render_widget(Paragraph::new(sinks), of_sinks);
    if let Some(tail) = &screen.tail {
        draw_tail(frame, tail, body);
    } else {
        draw_table(frame, screen, body);
    }
    frame.render_widget(Paragraph::new(foot_line(screen)), foot);
}

fn head_lines(screen: &Screen) -> Vec<Line<'static>> {
    let api::Agent { version, host, uptime_seconds, state, sessions, ring, docker, .. } = &screen.answers.agent;
    let style = if *state == api::State::Capturing { GOOD } else { WARN };
    let first = Line::from(vec![
        Span::from("capture-agent top").bold(),
        Span::styled(format!("  {host}  {version}  up {}  ", age(*uptime_seconds)), QUIET),
        Span::styled(state.as_str(), style),
    ]);
    let containers = &screen.answers.containers.containers;
    let (mut rate, mut lost) = (api::Rate::default(), 0);
    for container in containers {
        rate.bytes += container.rate.bytes;
        rate.lines += container.rate.lines;
        lost += gone(container);
    }
    let percent = 100 * ring.used / ring.size.max(1);
    let second = Line::from(vec![
        Span::styled("containers ", QUIET),
        Span::from(format!("{} of {}", sessions.active, sessions.capacity)),
        if sessions.waiting > 0 { Span::styled(format!(", {} wait", sessions.waiting), BAD) } else { Span::default() },
        Span::styled("   captured ", QUIET),
        Span::from(format!("{}/s", size(whole(rate.bytes)))),
        Span::styled("   lines ", QUIET),
        Span::from(format!("{}/s", count(whole(rate.lines)))),
        Span::styled("   lost ", QUIET),
        if lost > 0 { Span::styled(size(lost), BAD) } else { Span::styled("nothing", GOOD) },
        Span::styled("   ring ", QUIET),
        Span::styled(format!("{percent} %"), if percent > 50 { BAD } else { Style::new() }),
        Span::styled("   docker socket ", QUIET),
        if docker.up {
            Span::styled(format!("up, {:.1} ms", docker.last_request_seconds * 1e3), GOOD)
        } else {
            Span::styled("down", BAD)
        },
    ]);
    vec![first, second]
}

fn sink_lines(screen: &Screen) -> Vec<Line<'static>> {
    let sinks = &screen.answers.sinks.sinks;
    let mut lines: Vec<_> = sinks.iter().take(SINKS).map(|sink| sink_line(screen, sink)).collect();
    if sinks.len() > SINKS {
        let others = &sinks[SINKS..];
        let ill = others.iter().filter(|sink| sink.state != "up").count();
        let style = if ill > 0 { BAD } else { QUIET };
        lines.push(Line::styled(format!("{} more sinks, {ill} of them not up", others.len()), style));
    }
    lines
}

fn sink_line(screen: &Screen, sink: &api::Sink) -> Line<'static> {
    let style = match sink.state.as_str() {
        "up" => GOOD,
        "degraded" => WARN,
        _ => BAD,
    };
    let rate = screen.sink_rates.get(&sink.name).copied().unwrap_or_default();
    let percent = 100 * sink.queue.bytes / sink.queue.capacity_bytes.max(1);
    let mut spans = vec![
        Span::styled("sink ", QUIET),
        Span::from(safe::plain(&sink.name)).bold(),
        Span::styled(format!(" {}", sink.state), style),
        Span::from(format!("  {}/s", count(whole(rate)))),
        Span::styled("  queue ", QUIET),
        Span::styled(format!("{percent} %"), if percent > 50 { WARN } else { Style::new() }),
    ];
    if sink.queue.lag_seconds >= 1.0 {
        spans.push(Span::styled(format!("  {} behind", age(sink.queue.lag_seconds)), WARN));
    }
    let dropped: u64 = sink.dropped.values().sum();
    if dropped > 0 {
        spans.push(Span::styled(format!("  {} dropped", count(dropped)), BAD));
    }
    if let Some(error) = sink.last_error.as_ref().filter(|_| sink.state != "up") {
        spans.push(Span::styled(format!("  {}", safe::plain(error)), QUIET));
    }
    Line::from(spans)
}

fn draw_table(frame: &mut Frame<'_>, screen: &mut Screen, area: Rect) {
    let title = |sort: Sort, name: &'static str| {
        let style = if screen.sort == sort { MARK.add_modifier(Modifier::BOLD) } else { QUIET };
        let shown = if sort == Sort::Name { Line::from(name) } else { Line::from(name).right_aligned() };
        Cell::from(shown).style(style)
    };
    let header = Row::new([
        title(Sort::Name, "CONTAINER"),
        Cell::from(Line::from("LAST 30 S").right_aligned()).style(QUIET),
        title(Sort::Bytes, "BYTES/S"),
        title(Sort::Lines, "LINES/S"),
        title(Sort::Captured, "CAPTURED"),
        title(Sort::Lost, "LOST"),
        Cell::from(Line::from("SESSION").right_aligned()).style(QUIET),
        Cell::from(Line::from("SEALED").right_aligned()).style(QUIET),
    ]);
    let widths = [
        Constraint::Min(16),
        Constraint::Length(SPARK as u16),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(6),
    ];
    let rows: Vec<_> = screen.rows().into_iter().map(row).collect();
    let table = Table::new(rows, widths)
        .header(header)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut screen.table);
}

fn row(container: &api::Container) -> Row<'static> {
    let right = |text: String| Line::from(text).right_aligned();
    let lost = gone(container);
    let is_losing = container.rate.lost > 0.0;
    let session = if container.running { age(container.session.age_seconds) } else { "ended".to_owned() };
    Row::new([
        Cell::from(safe::plain(container.shown_name())),
        Cell::from(spark(&container.history, SPARK)).style(if is_losing { BAD } else { MARK }),
        Cell::from(right(size(whole(container.rate.bytes)))),
        Cell::from(right(count(whole(container.rate.lines)))),
        Cell::from(right(size(container.totals.captured))),
        Cell::from(right(if lost > 0 { size(lost) } else { "0".to_owned() })).style(if lost > 0 { BAD } else { QUIET }),
        Cell::from(right(session)).style(QUIET),
        Cell::from(right(count(container.session.rotations))).style(QUIET),
    ])
    .style(if container.running { Style::new() } else { QUIET })
}

fn draw_tail(frame: &mut Frame<'_>, tail: &Tail, area: Rect) {
    let block =
        Block::bordered().title(Span::styled(format!(" {} ", safe::plain(&tail.name)), MARK)).border_style(QUIET);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let (width, height) = ((inner.width as usize).saturating_sub(1).max(1), inner.height as usize);
    // From the last line upwards, until the room is full.
    let mut rows = Vec::new();
    for (text, is_marked) in tail.lines.iter().rev() {
        if rows.len() >= height {
            break;
        }
        let mark = Span::styled("▏", if *is_marked { BAD } else { QUIET });
        let pieces = wrap(text, width);
        rows.extend(pieces.into_iter().rev().map(|piece| Line::from(vec![mark.clone(), Span::from(piece)])));
    }
    rows.truncate(height);
    rows.reverse();
    frame.render_widget(Paragraph::new(rows), inner);
}

/// The text in pieces that fit into so many columns.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let (mut pieces, mut used) = (vec![String::new()], 0);
    for c in text.chars() {
        // An East Asian character takes two columns, a combining one none.
        let columns = Span::from(c.to_string()).width();
        if used + columns > width {
            pieces.push(String::new());
            used = 0;
        }
        used += columns;
        if let Some(last) = pieces.last_mut() {
            last.push(c);
        }
    }
    pieces
}

fn foot_line(screen: &Screen) -> Line<'static> {
    if let Some(failure) = &screen.failure {
        return Line::styled(failure.clone(), BAD);
    }
    if screen.is_typing {
        return Line::from(vec![Span::styled("filter: ", QUIET), Span::from(screen.filter.clone()), Span::from("▏")]);
    }
    let mut spans = Vec::new();
    if screen.is_paused {
        spans.push(Span::styled("paused  ", WARN));
    }
    if !screen.filter.is_empty() && screen.tail.is_none() {
        spans.push(Span::styled(format!("filter: {}  ", screen.filter), MARK));
    }
    let keys: &[(&str, &str)] = if screen.tail.is_some() {
        &[("p", "pause"), ("esc", "back")]
    } else {
        &[("↑↓", "choose"), ("enter", "tail"), ("s", "sort"), ("/", "filter"), ("p", "pause"), ("q", "leave")]
    };
    for (key, what) in keys {
        spans.push(Span::styled(*key, MARK));
        spans.push(Span::styled(format!(" {what}  "), QUIET));
    }
    spans.push(Span::styled(screen.url.clone(), QUIET));
    Line::from(spans)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is no less than zero")]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}
