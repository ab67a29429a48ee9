//! Refused records in a file, for whoever wants to know what they were.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::fate::Sum;
use crate::pipeline::record::Record;
use crate::sinks::encode::{Encoder, Encoding};
use crate::sinks::json;

/// The file is begun anew at this size; the one before is kept beside it.
const MAX_BYTES: u64 = 64 << 20;

/// Appends one JSON object a line: `sink`, `reason`, `cause`, `uid`, and the record as the JSON encoding writes it.
#[derive(Debug)]
pub(super) struct DeadLetters {
    path: PathBuf,
    file: Option<File>,
    encoder: Encoder,
    buffer: Vec<u8>,
    failing: bool,
}

impl DeadLetters {
    pub(super) fn new(path: PathBuf) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let encoder = Encoder::new(Encoding::Json, host, false);
        Self { path, file: None, encoder, buffer: Vec::new(), failing: false }
    }

    /// Writes records down. A file that cannot be written is spoken of once; the records are counted as dropped anyway.
    pub(super) fn write<'a>(
        &mut self,
        sink: &str,
        reason: &str,
        cause: &str,
        records: impl IntoIterator<Item = &'a Record>,
    ) {
        self.buffer.clear();
        let mut sum = Sum::default();
        for record in records {
            sum.add(record);
            self.buffer.extend_from_slice(b"{\"sink\":");
            json::string(sink.as_bytes(), &mut self.buffer);
            self.buffer.extend_from_slice(b",\"reason\":");
            json::string(reason.as_bytes(), &mut self.buffer);
            self.buffer.extend_from_slice(b",\"cause\":");
            json::string(cause.as_bytes(), &mut self.buffer);
            self.buffer.extend_from_slice(b",\"uid\":");
            json::string(record.uid().to_string().as_bytes(), &mut self.buffer);
            self.buffer.extend_from_slice(b",\"record\":");
            self.encoder.encode(record, &mut self.buffer);
            while self.buffer.last() == Some(&b'\n') {
                self.buffer.pop();
            }
            self.buffer.extend_from_slice(b"}\n");
        }
        let written = self.append();
        if let Err(error) = &written
            && !self.failing
        {
            let file = self.path.display();
            tracing::error!(sink, %file, %error, records = sum.lines, "refused records cannot be written down");
        }
        self.failing = written.is_err();
    }

    fn append(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                // Output may hold secrets.
                let options = OpenOptions::new().append(true).create(true).mode(0o600).clone();
                none.insert(options.open(&self.path)?)
            }
        };
        let size = file.metadata()?.len();
        if size > 0 && size + self.buffer.len() as u64 > MAX_BYTES {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            fs::rename(&self.path, old)?;
            self.file = None;
            return self.append();
        }
        let written = file.write_all(&self.buffer);
        if written.is_err() {
            self.file = None;
        }
        written
    }
}
