//! `capture-agent top`: the containers of a running agent on a terminal, by what they write.

mod draw;
mod format;
mod screen;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::screen::{Answers, Effect, Screen};
use super::ask::AskArgs;
use super::tail::safe;
use crate::client::{Client, ClientError};
use crate::config::units::Period;

/// Keys and lines that may wait to be shown.
const WAITING: usize = 1024;

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// How often the agent is asked: 250ms to 1m [default: 1s]
    #[arg(long, value_name = "PERIOD",
          value_parser = Period::between(Duration::from_millis(250), Duration::from_mins(1)))]
    interval: Option<Period>,

    #[command(flatten)]
    ask: AskArgs,
}

/// What changes the screen.
enum News {
    Key(KeyEvent),
    Resized,
    Answers(Box<Answers>),
    NoAnswer(String),
    Line(String, bool),
    NoMoreLines(String),
}

/// Shows the screen until it is left.
pub fn top(args: TopArgs) -> anyhow::Result<u8> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("top needs a terminal; other programs ask for /api/v1/containers, which docs/api.md describes");
    }
    let client = args.ask.client()?;
    let interval = args.interval.map_or(Duration::from_secs(1), |period| period.0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // What is wrong at the start is told as by any command, before the screen is taken.
        let first = ask(&client).await?;
        let mut terminal = ratatui::try_init()?;
        let outcome = run(&mut terminal, &client, interval, first).await;
        ratatui::restore();
        outcome
    })?;
    // The thread that reads keys waits for one more.
    runtime.shutdown_background();
    Ok(0)
}

async fn run(
    terminal: &mut ratatui::DefaultTerminal,
    client: &Client,
    interval: Duration,
    first: Answers,
) -> anyhow::Result<()> {
    let (sender, mut news) = mpsc::channel(WAITING);
    read_keys(sender.clone())?;
    tokio::spawn(ask_on(client.clone(), interval, sender.clone()));
    let mut screen = Screen::new(client.address().to_string());
    screen.take(first);
    let mut tail: Option<JoinHandle<()>> = None;
    loop {
        terminal.draw(|frame| draw::draw(frame, &mut screen))?;
        let Some(mut next) = news.recv().await else { return Ok(()) };
        // All that has come is one picture.
        loop {
            match handle(next, &mut screen) {
                Effect::Nothing => {}
                Effect::Leave => return Ok(()),
                Effect::Tail(id) => {
                    let follow = tokio::spawn(follow(client.clone(), id, sender.clone()));
                    stop(tail.replace(follow));
                }
                Effect::StopTail => stop(tail.take()),
            }
            match news.try_recv() {
                Ok(more) => next = more,
                Err(_) => break,
            }
        }
    }
}

fn stop(task: Option<JoinHandle<()>>) {
    if let Some(task) = task {
        task.abort();
    }
}

fn handle(news: News, screen: &mut Screen) -> Effect {
    match news {
        News::Key(key) if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') => {
            return Effect::Leave;
        }
        News::Key(key) => return screen.key(key.code),
        News::Resized => {}
        News::Answers(answers) => screen.take(*answers),
        News::NoAnswer(told) => screen.no_answer(told),
        News::Line(line, is_stderr) => screen.line(line, is_stderr),
        News::NoMoreLines(told) => screen.line(told, true),
    }
    Effect::Nothing
}

/// On a thread of its own, which ends with the process: reading a terminal cannot be given up.
fn read_keys(news: mpsc::Sender<News>) -> io::Result<()> {
    let read = move || {
        while let Ok(event) = event::read() {
            let told = match event {
                Event::Key(key) if key.kind != KeyEventKind::Release => News::Key(key),
                Event::Resize(..) => News::Resized,
                _ => continue,
            };
            if news.blocking_send(told).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keys".to_owned()).spawn(read).map(drop)
}

async fn ask(client: &Client) -> Result<Answers, ClientError> {
    let (agent, containers, sinks) = tokio::join!(
        client.get("/api/v1/agent"),
        client.get("/api/v1/containers?history=1"),
        client.get("/api/v1/sinks"),
    );
    Ok(Answers { agent: agent?, containers: containers?, sinks: sinks? })
}

async fn ask_on(client: Client, interval: Duration, news: mpsc::Sender<News>) {
    loop {
        tokio::time::sleep(interval).await;
        let told = match ask(&client).await {
            Ok(answers) => News::Answers(Box::new(answers)),
            Err(error) => News::NoAnswer(error.to_string()),
        };
        if news.send(told).await.is_err() {
            return;
        }
    }
}

/// Lines of one container.
async fn follow(client: Client, id: String, news: mpsc::Sender<News>) {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("name", &id).finish();
    let told = match client.events(&format!("/api/v1/stream?{query}&since_start=true")).await {
        Err(error) => error.to_string(),
        Ok(mut events) => loop {
            let event = match events.next().await {
                Ok(event) => event,
                Err(told) => break told,
            };
            let record: serde_json::Value = serde_json::from_slice(&event.data).unwrap_or_default();
            let line = match event.name.as_str() {
                "" => (safe::plain(record["message"].as_str().unwrap_or_default()), record["stream"] == "stderr"),
                "dropped" => (format!("{} records are not shown here", record["records"]), true),
                _ => continue,
            };
            if news.send(News::Line(line.0, line.1)).await.is_err() {
                return;
            }
        },
    };
    let _ = news.send(News::NoMoreLines(told)).await;
}
