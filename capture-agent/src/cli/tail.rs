//! `capture-agent tail`: records of a running agent as they pass.

mod print;
pub(super) mod safe;

use std::io;
use std::time::Duration;

use clap::Args;

use self::print::Printer;
use super::ask::{AskArgs, FilterArgs};
use crate::api::{Container, Containers, Dropped, Hello};
use crate::client::{Client, ClientError, Event, Events};

/// The first pause before the agent is asked again, and the longest one.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// One JSON object a line, as the sinks write it
    #[arg(long, help_heading = "What is shown")]
    json: bool,

    /// Begin with what the agent still holds (its --recent-size)
    #[arg(long, help_heading = "What is shown")]
    since_start: bool,

    #[command(flatten)]
    ask: AskArgs,
}

/// Why nothing more is shown.
enum End {
    /// Nobody reads what is shown.
    Unread,
    /// The stream is over; it may go on later.
    Over(String),
    /// Nothing can be shown.
    Failed(anyhow::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Unread } else { Self::Failed(error.into()) }
    }
}

/// Shows records until nobody reads them.
pub fn tail(args: &TailArgs) -> anyhow::Result<u8> {
    let client = args.ask.clone().client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(follow(args, &client))
}

async fn follow(args: &TailArgs, client: &Client) -> anyhow::Result<u8> {
    let mut printer = Printer::new(args.json);
    // What is wrong with the question, or that nobody is there, is told at once; later the agent may be restarting.
    let mut stream = client.events(&args.filter.path(args.since_start)).await?;
    if !args.json {
        printer.align(&names(args, client).await);
    }
    loop {
        let cause = match show(&mut stream, args, &mut printer).await {
            Err(End::Over(cause)) => cause,
            Err(End::Unread) | Ok(()) => return Ok(0),
            Err(End::Failed(error)) => return Err(error),
        };
        printer.note(&format!("{}: {cause}; asking again", client.address()));
        stream = again(args, client).await?;
        printer.note("the agent answers again; what was written in between is not shown");
    }
}

/// Asks until the agent answers.
async fn again(args: &TailArgs, client: &Client) -> Result<Events, ClientError> {
    let [mut pause, longest] = PAUSES;
    loop {
        tokio::time::sleep(pause).await;
        match client.events(&args.filter.path(false)).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.may_pass() => pause = (pause * 2).min(longest),
            Err(error) => return Err(error),
        }
    }
}

async fn show(stream: &mut Events, args: &TailArgs, printer: &mut Printer) -> Result<(), End> {
    loop {
        let Event { name, data } = stream.next().await.map_err(End::Over)?;
        match name.as_str() {
            "" => printer.record(&data)?,
            "hello" => {
                let hello: Hello = serde_json::from_slice(&data).unwrap_or_default();
                if args.since_start && !hello.since_start {
                    printer.note("this agent keeps nothing of what was before; start it with --recent-size");
                }
            }
            "dropped" => {
                let Dropped { records } = serde_json::from_slice(&data).unwrap_or_default();
                printer.note(&format!("{records} records are not shown here: this terminal or filter was too slow"));
            }
            "end" => return Err(End::Over("it ends".to_owned())),
            // Of a later agent.
            _ => {}
        }
        if !stream.has_next() {
            printer.flush()?;
        }
    }
}

/// Names that may appear, for their column; none if the agent does not tell.
async fn names(args: &TailArgs, client: &Client) -> Vec<String> {
    let Containers { containers, .. } = client.get("/api/v1/containers").await.unwrap_or_default();
    let patterns = args.filter.names.iter().filter_map(|name| globset::Glob::new(name).ok());
    let patterns: Vec<_> = patterns.map(|pattern| pattern.compile_matcher()).collect();
    let is_meant = |container: &&Container| {
        container.running
            && (patterns.is_empty() || patterns.iter().any(|pattern| pattern.is_match(container.shown_name())))
    };
    containers.iter().filter(is_meant).map(|container| container.shown_name().to_owned()).collect()
}
