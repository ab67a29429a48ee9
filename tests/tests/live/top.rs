//! `capture-agent top` in a real terminal.

pub mod picture;

use anyhow::Result;
use capture_tests::agent;
use capture_tests::{Agent, Attach, Container, engine};

use crate::fleet::{self, Fleet};
use crate::terminal::Terminal;

fn top(agent: &Agent, rows: u16, columns: u16) -> Result<Terminal> {
    let mut command = agent::command()?;
    command.args(["top", "--url", &format!("http://{}", agent.address()), "--interval", "500ms"]);
    Terminal::run(&command, rows, columns)
}

#[test]
fn it_shows_sorts_filters_tails_and_leaves() -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(Attach::Raw, &[])?;
    let busy = Container::start(&engine, "busy", "while :; do seq 1 200; sleep 0.2; done")?;
    let quiet = Container::start(&engine, "quiet", "while :; do echo still here; sleep 0.3; done")?;
    let mut terminal = top(&agent, 30, 120)?;
    let before = |text: &str, first: &str, second: &str| {
        text.find(first).zip(text.find(second)).is_some_and(|(first, second)| first < second)
    };
    let text = terminal.until("both, the busy one first", |text| before(text, busy.name(), quiet.name()))?;
    for part in ["capture-agent top", "capturing", "sink default up", "docker socket up", "LAST 30 S", "lost nothing"] {
        assert!(text.contains(part), "no `{part}`:\n{text}");
    }
    terminal.until("a sparkline", |text| text.contains('█'))?;

    // By name, which stands last in the order of columns.
    terminal.press("ssss")?;
    let (first, second) = if busy.name() < quiet.name() { (&busy, &quiet) } else { (&quiet, &busy) };
    terminal.until("both by their names", |text| before(text, first.name(), second.name()))?;

    terminal.press("/quiet\r")?;
    terminal.until("the quiet one alone", |text| text.contains(quiet.name()) && !text.contains(busy.name()))?;
    terminal.press("p")?;
    terminal.until("that it is paused", |text| text.contains("paused"))?;
    terminal.press("p")?;

    terminal.press("j\r")?;
    terminal.until("its lines", |text| text.matches("still here").count() > 3 && !text.contains("LAST 30 S"))?;
    terminal.press("\x1b")?;
    terminal.until("the table again", |text| text.contains("LAST 30 S"))?;
    terminal.press("\x1b")?;
    terminal.until("both again", |text| text.contains(busy.name()) && text.contains(quiet.name()))?;

    // An agent that ends is told, and the screen stays.
    agent.terminate()?;
    terminal.until("that nobody answers", |text| text.contains("no agent answers"))?;
    terminal.press("q")?;
    assert_eq!(terminal.wait()?, (Some(0), true));
    Ok(())
}

#[test]
fn control_c_leaves_and_no_agent_is_one_sentence() -> Result<()> {
    let agent = Agent::start(Attach::Raw, &[])?;
    let mut terminal = top(&agent, 20, 100)?;
    terminal.until("the screen", |text| text.contains("capturing"))?;
    terminal.press("\x03")?;
    assert_eq!(terminal.wait()?, (Some(0), true));
    let nobody = agent.address();
    agent.terminate()?;
    let mut command = agent::command()?;
    command.args(["top", "--url", &format!("http://{nobody}")]);
    let mut terminal = Terminal::run(&command, 20, 200)?;
    assert_eq!(terminal.wait()?.0, Some(1));
    terminal.until("one sentence", |text| text.contains("capture-agent: no agent answers on http://127.0.0.1:"))?;
    Ok(())
}

#[test]
fn pictures_of_twenty_containers_in_top() -> Result<()> {
    let fleet = Fleet::start(20)?;
    let agent = Agent::start(Attach::Raw, &["--docker-host", &fleet.host()])?;
    let mut terminal = top(&agent, 28, 120)?;
    terminal.until("all of them", |text| fleet.names().iter().all(|name| text.contains(name)))?;
    // Enough of a minute to see.
    std::thread::sleep(fleet::scene());
    let text = terminal.until("rates", |text| text.contains("KiB"))?;
    assert_eq!(fleet.names().iter().filter(|name| text.contains(**name)).count(), 20, "{text}");
    fleet::keep("top.svg", terminal.svg("capture-agent top").as_bytes())?;
    terminal.press("q")?;
    assert_eq!(terminal.wait()?, (Some(0), true));
    Ok(())
}
