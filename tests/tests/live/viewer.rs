//! A client of the stream that is told what to ask for, and reads only when it is told to.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// An open stream.
pub struct Viewer {
    lines: BufReader<TcpStream>,
}

/// One event; a record has no name.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub data: Value,
}

impl Viewer {
    /// Asks, and reads the head of the answer.
    pub fn open(address: SocketAddr, query: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(stream, "GET /api/v1/stream{query} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while lines.read_line(&mut head)? > 2 {}
        ensure!(head.starts_with("HTTP/1.0 200"), "{head}");
        Ok(Self { lines })
    }

    /// The next event.
    pub fn next(&mut self) -> Result<Event> {
        let (mut name, mut data) = (String::new(), None);
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).context("the stream is silent")? == 0 {
                bail!("the stream ended");
            }
            match (line.trim_end(), data.take()) {
                ("", Some(data)) => return Ok(Event { name, data }),
                ("", None) => {}
                (line, before) => {
                    data = before;
                    if let Some(text) = line.strip_prefix("data: ") {
                        data = Some(serde_json::from_str(text)?);
                    } else if let Some(text) = line.strip_prefix("event: ") {
                        text.clone_into(&mut name);
                    }
                }
            }
        }
    }

    /// The next record's container and message; other events are passed over.
    pub fn next_line(&mut self) -> Result<(String, String)> {
        loop {
            let Event { name, data } = self.next()?;
            if name.is_empty() {
                let text = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
                return Ok((text("container_name"), text("message")));
            }
        }
    }
}
