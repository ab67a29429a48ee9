//! Records in files, one for each value of a path template.

mod config;
mod housekeeping;
mod open;
mod portion;
mod room;
mod rotation;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use capture_common::Stream;
use rustix::fs::Access;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::config::{FileConfig, RotationConfig};
use self::housekeeping::Housekeeping;
use self::open::{OpenFiles, named};
use self::portion::{End, Fates, Portion};
pub use self::rotation::{Compression, Rotation};
use super::delivery::{Receipt, Sink, SinkError};
use super::encode::Encoder;
use super::template::{self, Fault, Part};
use crate::config::SinkName;
use crate::pipeline::record::{Origin, Record};

/// How long a file is kept open that nothing is written to.
const IDLE: Duration = Duration::from_mins(5);
/// Bytes that are encoded before they are written. Twice what a write to a pipe or `/dev/null` is best with: the file system
/// takes longer for the last page of a write, which the next one goes on with, than the processor for what left its cache.
const PIECE: usize = 512 << 10;
/// Buffers that are kept for the next records, and how large each may be.
const MAX_SPARE: usize = 8;
const MAX_SPARE_BYTES: usize = 2 << 20;

/// A path with `{container_name}`, `{container_id}` and `{stream}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate(Vec<Part<Field>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    ContainerName,
    ContainerId,
    Stream,
}

const FIELDS: [(&str, Field); 3] =
    [("container_name", Field::ContainerName), ("container_id", Field::ContainerId), ("stream", Field::Stream)];

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
        let parts = template::parse(text, &FIELDS).map_err(|fault| match fault {
            Fault::Unknown(name) => TemplateError::UnknownField(name),
            Fault::Unclosed => TemplateError::Unclosed,
        })?;
        if parts.is_empty() { Err(TemplateError::Empty) } else { Ok(Self(parts)) }
    }
}

/// As [`PathTemplate::from_str`] reads it.
///
/// [`PathTemplate::from_str`]: std::str::FromStr::from_str
impl fmt::Display for PathTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => formatter.write_str(text),
            Part::Field(field) => {
                let name = FIELDS.iter().find(|(_, named)| named == field).map_or("", |(name, _)| name);
                write!(formatter, "{{{name}}}")
            }
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
    /// The directory that all its paths are in.
    fn root(&self) -> PathBuf {
        let Some(Part::Text(constant)) = self.0.first() else { return PathBuf::from(".") };
        match constant.rsplit_once('/') {
            Some(("", _)) => PathBuf::from("/"),
            Some((directory, _)) => PathBuf::from(directory),
            None => PathBuf::from("."),
        }
    }

    fn render(&self, origin: &Origin, stream: Stream) -> PathBuf {
        let mut path = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => path.push_str(text),
                // Docker's names hold no slash; another engine's must not lead out of the directory either.
                Part::Field(Field::ContainerName) => path.push_str(&origin.name().replace('/', "_")),
                Part::Field(Field::ContainerId) => path.push_str(&origin.container_id),
                Part::Field(Field::Stream) => path.push_str(stream.as_str()),
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
    rotation: Rotation,
    idle: Duration,
    open: OpenFiles,
    housekeeping: Housekeeping,
    /// Buffers that are not in use.
    spare: Vec<Vec<u8>>,
}

impl Files {
    /// Files named by `template`, written with `encoder`. Nothing is opened before there is something to write.
    #[must_use]
    pub fn new(name: SinkName, template: PathTemplate, encoder: Encoder) -> Self {
        Self {
            name,
            template,
            encoder,
            rotation: Rotation::default(),
            idle: IDLE,
            open: OpenFiles::default(),
            housekeeping: Housekeeping::default(),
            spare: Vec::new(),
        }
    }

    /// When a file is moved away and the next one begun; without it never.
    #[must_use]
    pub fn rotation(self, rotation: Rotation) -> Self {
        Self { housekeeping: Housekeeping::new(&rotation), rotation, ..self }
    }

    /// After how long a file is closed that nothing is written to; without it, after five minutes.
    #[must_use]
    pub fn idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// Encodes records and appends them to their files, piece by piece.
    fn append_all(&mut self, records: &[Record]) -> Fates {
        let mut fates = Fates::default();
        let mut portions: Vec<Portion<'_>> = Vec::new();
        let mut places: HashMap<PathBuf, usize> = HashMap::new();
        // Most records follow one of the same container and stream.
        let mut last: Option<(&Record, usize)> = None;
        for (index, record) in records.iter().enumerate() {
            let place = match last {
                Some((before, place))
                    if Arc::ptr_eq(&before.origin, &record.origin) && before.stream == record.stream =>
                {
                    place
                }
                _ => {
                    let path = self.template.render(&record.origin, record.stream);
                    *places.entry(path).or_insert_with_key(|path| {
                        let bytes = self.spare.pop().unwrap_or_default();
                        portions.push(Portion::new(path.clone(), bytes, self.open.length(path)));
                        portions.len() - 1
                    })
                }
            };
            last = Some((record, place));
            let portion = &mut portions[place];
            if let Some(end) = portion.end {
                fates.add(index, end);
                continue;
            }
            if portion.add(index, record, &mut self.encoder) >= PIECE {
                self.flush(portion, &mut fates);
            }
        }
        // Each is tried, whatever became of the ones before it.
        for mut portion in portions {
            self.flush(&mut portion, &mut fates);
            let bytes = portion.into_memory();
            if self.spare.len() < MAX_SPARE && bytes.capacity() <= MAX_SPARE_BYTES {
                self.spare.push(bytes);
            }
        }
        fates
    }

    /// Appends what a portion holds.
    fn flush(&mut self, portion: &mut Portion<'_>, fates: &mut Fates) {
        let (written, failure) = self.append(portion);
        if let Some(error) = failure {
            let end = if is_hopeless(&error) { End::Hopeless } else { End::Left };
            match end {
                End::Hopeless => tracing::debug!(%error, "no such file can be"),
                End::Left => fates.cause = Some(error.to_string()),
            }
            portion.places(written).for_each(|index| fates.add(index, end));
            portion.end = Some(end);
        }
        portion.clear(self.open.length(&portion.path));
    }

    /// Appends a portion; how many of its records are in the file, and what kept the others from it.
    fn append(&mut self, portion: &Portion<'_>) -> (usize, Option<io::Error>) {
        let mut written = 0;
        while written < portion.len() {
            let mut ends = portion.ends(written);
            let fit = match self.fit(&portion.path, &ends) {
                Ok(fit) => fit,
                Err(error) => return (written, Some(error)),
            };
            ends.truncate(fit);
            let mut bytes = portion.slices(written, ends.last().copied().unwrap_or_default());
            let (taken, failure) = self.open.write(&portion.path, &mut bytes, &ends);
            written += taken;
            if failure.is_some() {
                return (written, failure);
            }
        }
        (written, None)
    }

    /// How many records the file of a path takes, given where they end: at least one, where need be in a new file.
    fn fit(&mut self, path: &Path, ends: &[usize]) -> io::Result<usize> {
        let file = self.open.get(path)?;
        let fit = file.fit(&self.rotation, ends)?;
        if fit > 0 || file.is_empty() {
            return Ok(fit.max(1));
        }
        self.rotate(path)?;
        Ok(self.open.get(path)?.fit(&self.rotation, ends)?.max(1))
    }

    /// Moves a file away.
    fn rotate(&mut self, path: &Path) -> io::Result<()> {
        self.open.close(path);
        rotation::move_away(path).map_err(|error| named(path, &error))?;
        self.housekeeping.tidy(path);
        Ok(())
    }
}

impl Sink for Files {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        let Fates { mut left, mut refused, cause } = self.append_all(records);
        left.sort_unstable();
        refused.sort_unstable_by_key(|refusal| refusal.index);
        match cause {
            None => Ok(Receipt { refused }),
            Some(cause) if left.len() == records.len() => Err(SinkError::Retry { cause, after: None }),
            Some(cause) => Err(SinkError::Partial { cause, after: None, left, refused }),
        }
    }

    fn takes_lines_together(&self) -> bool {
        true
    }

    fn has_priority(&self) -> bool {
        true
    }

    /// Whether files can be made where the template begins.
    fn check(&mut self) -> Result<(), SinkError> {
        let root = self.template.root();
        // What is not there is made; what is there has to let us.
        let existing = root.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
        let retry = |cause| Err(SinkError::Retry { cause, after: None });
        if !existing.is_dir() {
            return retry(format!("no file can be made in {}: {} is no directory", root.display(), existing.display()));
        }
        match rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Ok(()),
            Err(error) => retry(format!("no file can be made in {}: {error}", existing.display())),
        }
    }

    fn reopen(&mut self) {
        self.open.close_all();
    }

    fn tick(&mut self) {
        self.open.close_unused(self.idle);
        for path in self.open.too_old(&self.rotation) {
            if let Err(error) = self.rotate(&path) {
                tracing::warn!(%error, "a file that is old enough cannot be moved away");
            }
        }
    }
}

/// Whether no retry will help: there can be no file of this name.
fn is_hopeless(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidFilename | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory)
}

#[cfg(test)]
mod tests;
