//! `capture-agent tail`, as somebody uses it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use capture_tests::agent::{self, COMMAND_DEADLINE};
use capture_tests::{Agent, Attach, Container, engine, process};
use rustix::process::Signal;

use crate::terminal::Terminal;

/// How long a line may take.
const SOON: Duration = Duration::from_secs(30);

/// A command whose output is read as it comes; killed when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts it; standard error is read with standard output.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, lines) = mpsc::channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().context("no standard output")?),
            Box::new(child.stderr.take().context("no standard error")?),
        ];
        for stream in streams {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { child, lines, seen: Vec::new() })
    }

    /// The next line that has this in it.
    pub fn wait_for(&mut self, part: &str) -> Result<String> {
        loop {
            let line = self.lines.recv_timeout(SOON);
            let line = line.with_context(|| format!("no line with `{part}`, but {:?}", self.seen))?;
            self.seen.push(line.clone());
            if line.contains(part) {
                return Ok(line);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(agent: &Agent, arguments: &[&str]) -> Result<Running> {
    let mut command = agent::command()?;
    command.args(["tail", "--url", &format!("http://{}", agent.address())]).args(arguments);
    Running::start(command)
}

#[test]
fn names_stand_before_lines_in_one_column() -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(Attach::Raw, &[])?;
    let script = "while :; do echo from-short; echo wrong-short >&2; sleep 0.2; done";
    let short = Container::start(&engine, "a", script)?;
    let long = Container::start(&engine, "a-longer-name", "while :; do echo from-long; sleep 0.2; done")?;
    agent.wait_for_message(short.name(), "from-short")?;
    agent.wait_for_message(long.name(), "from-long")?;

    let mut all = tail(&agent, &[])?;
    let width = long.name().len();
    assert_eq!(all.wait_for("from-short")?, format!("{:width$} | from-short", short.name()));
    assert_eq!(all.wait_for("from-long")?, format!("{} | from-long", long.name()));
    assert_eq!(all.wait_for("wrong-short")?, format!("{:width$} ! wrong-short", short.name()), "stderr");

    let mut one = tail(&agent, &[short.name(), "--stream", "stderr", "--grep", "^wrong"])?;
    for _ in 0..3 {
        assert_eq!(one.wait_for("")?, format!("{} ! wrong-short", short.name()));
    }
    let mut json = tail(&agent, &["--json", &format!("{}*", long.name())])?;
    let record: serde_json::Value = serde_json::from_str(&json.wait_for("from-long")?)?;
    assert_eq!((&record["message"], &record["container_name"]), (&"from-long".into(), &long.name().into()));
    Ok(())
}

#[test]
fn a_container_does_not_steer_the_terminal() -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(Attach::Raw, &[])?;
    // Clears the screen, asks the terminal where the cursor is, and is red.
    let script = r"while :; do printf 'hid\033[2Jden \033[6n\033[31mred\033[0m\n'; sleep 0.2; done";
    let container = Container::start(&engine, "steers", script)?;
    let mut command = agent::command()?;
    command.args(["tail", "--url", &format!("http://{}", agent.address())]);
    let mut terminal = Terminal::run(&command, 10, 100)?;
    let expected = format!("{} | hid^[[2Jden ^[[6nred", container.name());
    terminal.until("the lines as they are", |text| text.matches(&expected).count() > 3)?;
    terminal.press("\x03")?;
    // By the signal.
    assert_eq!(terminal.wait()?.0, None);
    Ok(())
}

#[test]
fn it_goes_on_when_the_agent_is_restarted() -> Result<()> {
    let engine = engine::ensure()?;
    let address = agent::free_address()?;
    let agent = Agent::spawn_at(address, &[])?;
    agent.wait_ready()?;
    let container = Container::start(&engine, "again", "while :; do echo here; sleep 0.1; done")?;
    let mut shown = tail(&agent, &[container.name(), "--since-start"])?;
    shown.wait_for("this agent keeps nothing of what was before; start it with --recent-size")?;
    shown.wait_for("here")?;
    agent.end(Signal::TERM)?;
    shown.wait_for("asking again")?;
    let _agent = Agent::spawn_at(address, &[])?;
    shown.wait_for("the agent answers again; what was written in between is not shown")?;
    shown.wait_for("here")?;
    Ok(())
}

#[test]
fn nobody_there_is_one_sentence() -> Result<()> {
    let nobody = agent::free_address()?;
    let url = format!("http://{nobody}");
    for command in ["tail", "top"] {
        // On no terminal `top` says so first.
        let mut program = agent::command()?;
        let output = process::output(program.args([command, "--url", &url]), COMMAND_DEADLINE)?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = match command {
            "tail" => format!(
                "capture-agent: no agent answers on {url}: Connection refused (os error 111); start one with `capture-agent \
                 run`, or name another with --url\n"
            ),
            _ => "capture-agent: top needs a terminal; other programs ask for /api/v1/containers, which docs/api.md \
                  describes\n"
                .to_owned(),
        };
        assert_eq!((output.status.code(), told), (Some(1), expected));
    }
    Ok(())
}

#[test]
fn what_cannot_be_asked_for_is_told() -> Result<()> {
    let agent = Agent::start(Attach::Raw, &[])?;
    let mut shown = tail(&agent, &["--grep", "("])?;
    shown.wait_for("refuses (400): `(` is no regular expression: unclosed group")?;
    Ok(())
}
