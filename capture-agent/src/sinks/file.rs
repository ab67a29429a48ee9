//! Records in files, one for each value of a path template.

mod config;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use capture_common::Stream;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::config::FileConfig;
use super::delivery::{Receipt, Sink, SinkError};
use super::encode::Encoder;
use crate::config::SinkName;
use crate::pipeline::record::{Origin, Record};

/// Files that are kept open. Those over it are closed, the longest unused first, and opened again when needed.
const MAX_OPEN: usize = 256;

/// A path with `{container_name}`, `{container_id}` and `{stream}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    ContainerName,
    ContainerId,
    Stream,
}

/// Why a path template cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// A name in braces that is not a field.
    #[error("unknown field {{{0}}}; the fields are {{container_name}}, {{container_id}} and {{stream}}")]
    UnknownField(String),
    /// `{` without `}`.
    #[error("`{{` without `}}`")]
    Unclosed,
    /// Nothing.
    #[error("the path is empty")]
    Empty,
}

impl std::str::FromStr for PathTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match field {
                "container_name" => Part::ContainerName,
                "container_id" => Part::ContainerId,
                "stream" => Part::Stream,
                other => return Err(TemplateError::UnknownField(other.to_owned())),
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        if parts.is_empty() { Err(TemplateError::Empty) } else { Ok(Self(parts)) }
    }
}

/// As [`PathTemplate::from_str`] reads it.
///
/// [`PathTemplate::from_str`]: std::str::FromStr::from_str
impl fmt::Display for PathTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| {
            formatter.write_str(match part {
                Part::Text(text) => text,
                Part::ContainerName => "{container_name}",
                Part::ContainerId => "{container_id}",
                Part::Stream => "{stream}",
            })
        })
    }
}

impl Serialize for PathTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PathTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for PathTemplate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PathTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "path template", "examples": ["/var/log/containers/{container_name}/{stream}.log"] })
    }
}

impl PathTemplate {
    fn render(&self, origin: &Origin, stream: Stream) -> PathBuf {
        let mut path = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => path.push_str(text),
                // Docker's names hold no slash; another engine's must not lead out of the directory either.
                Part::ContainerName => path.push_str(&origin.name().replace('/', "_")),
                Part::ContainerId => path.push_str(&origin.container_id),
                Part::Stream => path.push_str(stream.as_str()),
            }
        }
        path.into()
    }
}

/// Appends to files.
#[derive(Debug)]
pub struct Files {
    name: SinkName,
    template: PathTemplate,
    encoder: Encoder,
    open: HashMap<PathBuf, Open>,
    clock: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    buffer: Vec<u8>,
    used: u64,
}

impl Files {
    /// Files named by `template`, written with `encoder`. Nothing is opened before there is something to write.
    #[must_use]
    pub fn new(name: SinkName, template: PathTemplate, encoder: Encoder) -> Self {
        Self { name, template, encoder, open: HashMap::new(), clock: 0 }
    }

    /// The file of a path, opened if it is not.
    fn file(&mut self, path: &Path) -> io::Result<&mut Open> {
        if !self.open.contains_key(path) {
            if self.open.len() >= MAX_OPEN {
                self.close_longest_unused()?;
            }
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|error| named(parent, &error))?;
            }
            let file = OpenOptions::new().append(true).create(true).open(path).map_err(|error| named(path, &error))?;
            self.open.insert(path.to_owned(), Open { file, buffer: Vec::new(), used: 0 });
        }
        self.clock += 1;
        let open = self.open.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        open.used = self.clock;
        Ok(open)
    }

    fn close_longest_unused(&mut self) -> io::Result<()> {
        let path = self.open.iter().min_by_key(|(_, open)| open.used).map(|(path, _)| path.clone());
        match path.and_then(|path| self.open.remove_entry(&path)) {
            Some((path, mut open)) => open.flush(&path),
            None => Ok(()),
        }
    }
}

impl Open {
    fn flush(&mut self, path: &Path) -> io::Result<()> {
        let result = self.file.write_all(&self.buffer).map_err(|error| named(path, &error));
        self.buffer.clear();
        result
    }
}

impl Sink for Files {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        let written = self.append(records);
        written.map(|()| Receipt::default()).map_err(|error| SinkError::Retry { cause: error.to_string(), after: None })
    }

    fn takes_lines_together(&self) -> bool {
        true
    }

    fn check(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Files {
    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        // Most records follow one of the same container and stream.
        let mut last: Option<(&Record, PathBuf)> = None;
        let mut encoded = Vec::new();
        for record in records {
            let path = match last.take() {
                Some((before, path))
                    if std::sync::Arc::ptr_eq(&before.origin, &record.origin) && before.stream == record.stream =>
                {
                    path
                }
                _ => self.template.render(&record.origin, record.stream),
            };
            encoded.clear();
            self.encoder.encode(record, &mut encoded);
            self.file(&path)?.buffer.extend_from_slice(&encoded);
            last = Some((record, path));
        }
        // Each is tried, whatever became of the ones before it.
        self.open
            .iter_mut()
            .filter(|(_, open)| !open.buffer.is_empty())
            .map(|(path, open)| open.flush(path))
            .fold(Ok(()), std::result::Result::and)
    }
}

/// An error that says which file.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::pipeline::record::{Account, Content};
    use crate::sinks::encode::Encoding;

    #[test]
    fn a_template_is_printed_as_it_was_written() {
        let text = "/a/{container_name}-{container_id}/{stream}.log";
        assert_eq!(text.parse::<PathTemplate>().unwrap().to_string(), text);
    }

    #[test]
    fn refuses_unknown_fields() {
        assert_eq!("/a/{name}".parse::<PathTemplate>(), Err(TemplateError::UnknownField("name".to_owned())));
        assert_eq!("/a/{stream".parse::<PathTemplate>(), Err(TemplateError::Unclosed));
        assert_eq!("".parse::<PathTemplate>(), Err(TemplateError::Empty));
    }

    #[test]
    fn writes_each_container_and_stream_to_its_own_file() {
        let dir = tempfile::tempdir().unwrap();
        let template = format!("{}/{{container_name}}/{{container_id}}.{{stream}}", dir.path().display());
        let encoder = Encoder::new(Encoding::Raw, String::new(), false);
        let mut files = Files::new("file".parse().unwrap(), template.parse().unwrap(), encoder);
        let record = |id: &str, stream, message: &'static [u8]| Record {
            origin: Arc::new(Origin::new(id.into(), None, Arc::new(Account::default()))),
            stream,
            completed: 0,
            timestamp: 0,
            position: 0,
            content: Content::Line { message: Bytes::from_static(message), newline: true, partial: false, omitted: 0 },
            attributes: None,
        };
        // More containers than may be open, each twice.
        let ids: Vec<_> = (0..MAX_OPEN + 5).map(|number| format!("c{number}")).collect();
        for _ in 0..2 {
            let records: Vec<_> = ids.iter().map(|id| record(id, Stream::Stdout, b"x\xff")).collect();
            files.write(&records).unwrap();
        }
        files.write(&[record("c0", Stream::Stderr, b"e")]).unwrap();
        for id in &ids {
            assert_eq!(fs::read(dir.path().join(format!("{id}/{id}.stdout"))).unwrap(), b"x\xff\nx\xff\n");
        }
        assert_eq!(fs::read(dir.path().join("c0/c0.stderr")).unwrap(), b"e\n");
        assert!(files.open.len() <= MAX_OPEN);
    }
}
