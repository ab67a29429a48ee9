//! `baseline`: follows containers the old way, one log stream of the Docker API each. For comparison only.

use std::{collections::HashMap, path::PathBuf};

use anyhow::{Context, Result};
use bollard::{
    Docker,
    container::LogOutput,
    query_parameters::{EventsOptionsBuilder, LogsOptionsBuilder},
};
use clap::Parser;
use futures_util::StreamExt;
use tokio::{fs, io::AsyncWriteExt};

/// Follows every container that starts, and writes its raw bytes into files.
#[derive(Parser)]
struct Arguments {
    /// Address of the engine
    #[arg(long, default_value = "unix:///var/run/docker.sock")]
    docker_host: String,
    /// Where to write; knows `{container_name}`, `{container_id}` and `{stream}`
    #[arg(long)]
    file_path: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let socket = arguments.docker_host.trim_start_matches("unix://");
    let docker = Docker::connect_with_unix(socket, 120, bollard::API_DEFAULT_VERSION)?.negotiate_version().await?;
    let filters = HashMap::from([("type", vec!["container"]), ("event", vec!["start"])]);
    let mut events = docker.events(Some(EventsOptionsBuilder::default().filters(&filters).build()));
    // The request goes out with the first poll; what starts before it is not this program's to have.
    println!("following");
    while let Some(event) = events.next().await {
        let Some(actor) = event.context("the event stream broke")?.actor else { continue };
        let Some(id) = actor.id else { continue };
        let name = actor.attributes.and_then(|mut labels| labels.remove("name")).unwrap_or_default();
        let template = arguments.file_path.replace("{container_name}", &name).replace("{container_id}", &id);
        tokio::spawn(follow(docker.clone(), id, template));
    }
    Ok(())
}

/// Copies one container's stream until it ends; one that cannot be followed is what the comparison shows.
async fn follow(docker: Docker, id: String, template: String) {
    if let Err(error) = copy(&docker, &id, &template).await {
        eprintln!("baseline: {id:.12}: {error:#}");
    }
}

async fn copy(docker: &Docker, id: &str, template: &str) -> Result<()> {
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).build();
    let mut output = docker.logs(id, Some(options));
    let mut files = HashMap::new();
    while let Some(piece) = output.next().await {
        let (stream, bytes) = match piece? {
            LogOutput::StdErr { message } => ("stderr", message),
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                ("stdout", message)
            }
        };
        let file = match files.entry(stream) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let path = PathBuf::from(template.replace("{stream}", stream));
                if let Some(directory) = path.parent() {
                    fs::create_dir_all(directory).await?;
                }
                entry.insert(fs::OpenOptions::new().create(true).append(true).open(path).await?)
            }
        };
        file.write_all(&bytes).await?;
        file.flush().await?;
    }
    Ok(())
}
