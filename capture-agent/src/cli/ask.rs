//! Arguments of commands that ask a running agent.

use std::path::PathBuf;

use clap::Args;

use crate::client::{Address, Client, ClientConfig, ClientError};

/// Which agent is asked.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The agent that is asked")]
pub struct AskArgs {
    /// Where it answers [default: <http://127.0.0.1:8001>]
    #[arg(long, value_name = "URL", env = "CAPTURE_AGENT_URL")]
    url: Option<Address>,

    /// File with its token
    #[arg(long, value_name = "FILE", env = "CAPTURE_AGENT_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// Certificates (PEM) of those who may sign its certificate; without it, those that this host trusts
    #[arg(long, value_name = "FILE", env = "CAPTURE_AGENT_CA_FILE")]
    ca_file: Option<PathBuf>,
}

impl AskArgs {
    /// What asks it.
    ///
    /// # Errors
    ///
    /// A file that is no good.
    pub fn client(self) -> Result<Client, ClientError> {
        ClientConfig { url: self.url.unwrap_or_default(), token_file: self.token_file, ca_file: self.ca_file }.build()
    }
}

/// Which records are asked for.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "What is shown")]
pub struct FilterArgs {
    /// Only containers of this name or id; * and ? stand for any characters. Any of several
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Only containers with this label; * and ? in the value stand for any characters. All of several
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,

    /// Only this stream
    #[arg(long, value_parser = ["stdout", "stderr"])]
    pub stream: Option<String>,

    /// Only lines that this regular expression matches somewhere
    #[arg(long, value_name = "RE")]
    pub grep: Option<String>,
}

impl FilterArgs {
    /// The path of the stream.
    #[must_use]
    pub fn path(&self, since_start: bool) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.names.iter().map(|name| ("name", name)));
        query.extend_pairs(self.labels.iter().map(|label| ("label", label)));
        query.extend_pairs(self.stream.iter().map(|stream| ("stream", stream)));
        query.extend_pairs(self.grep.iter().map(|grep| ("grep", grep)));
        if since_start {
            query.append_pair("since_start", "true");
        }
        match query.finish() {
            query if query.is_empty() => "/api/v1/stream".to_owned(),
            query => format!("/api/v1/stream?{query}"),
        }
    }
}
