//! Which topic a record goes to.

use capture_common::Stream;

use crate::pipeline::record::Origin;
use crate::sinks::template::{self, Fault, Part};

/// Longest name of a topic.
const LONGEST: usize = 249;

/// A name with fields in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part<Field>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    ContainerName,
    ComposeProject,
    ComposeService,
    Stream,
    Host,
}

const FIELDS: [(&str, Field); 5] = [
    ("container_name", Field::ContainerName),
    ("compose_project", Field::ComposeProject),
    ("compose_service", Field::ComposeService),
    ("stream", Field::Stream),
    ("host", Field::Host),
];

/// Why a topic cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TopicError {
    /// Nothing.
    #[error("the topic is empty")]
    Empty,
    /// A name in braces that is not a field.
    #[error("topic: unknown field {{{name}}}; the fields are {}", template::names(&FIELDS))]
    Field {
        /// The name.
        name: String,
    },
    /// `{` without `}`.
    #[error("topic: `{{` without `}}`")]
    Unclosed,
    /// What no name of a topic can hold.
    #[error("topic: {0:?} has other characters than letters, digits, `.`, `_` and `-`")]
    Character(String),
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, TopicError> {
        let parts = template::parse(text, &FIELDS).map_err(|fault| match fault {
            Fault::Unknown(name) => TopicError::Field { name },
            Fault::Unclosed => TopicError::Unclosed,
        })?;
        if parts.is_empty() {
            return Err(TopicError::Empty);
        }
        let is_fine = |part: &Part<Field>| !matches!(part, Part::Text(text) if !text.chars().all(is_legal));
        if parts.iter().all(is_fine) { Ok(Self(parts)) } else { Err(TopicError::Character(text.to_owned())) }
    }

    /// The name, if it is the same for all records.
    pub(super) fn constant(&self) -> Option<&str> {
        match &self.0[..] {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The name for a container. What no name can hold becomes `_`, and so does what is not known.
    pub(super) fn render(&self, origin: &Origin, stream: Stream, host: &str) -> String {
        let label = |key| origin.metadata.as_ref().and_then(|metadata| metadata.labels.get(key)).map(String::as_str);
        let mut name = String::new();
        for part in &self.0 {
            let value = match part {
                Part::Text(text) => text,
                Part::Field(Field::ContainerName) => origin.name(),
                Part::Field(Field::ComposeProject) => label("com.docker.compose.project").unwrap_or("_"),
                Part::Field(Field::ComposeService) => label("com.docker.compose.service").unwrap_or("_"),
                Part::Field(Field::Stream) => stream.as_str(),
                Part::Field(Field::Host) => host,
            };
            name.extend(value.chars().map(|c| if is_legal(c) { c } else { '_' }));
        }
        // All of it is ASCII.
        name.truncate(LONGEST);
        if matches!(&*name, "" | "." | "..") { "_".to_owned() } else { name }
    }
}

/// `Topic.LEGAL_CHARS` of Kafka.
fn is_legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::containers::directory::Metadata;

    #[test]
    fn a_topic_is_a_name_with_fields() {
        let labels = BTreeMap::from([("com.docker.compose.project".to_owned(), "Shop ä/1".to_owned())]);
        let metadata = Metadata { name: "web".to_owned(), labels, ..Metadata::default() };
        let origin = Origin::new("ab".into(), Some(Arc::new(metadata)), Arc::default());
        let render = |text| Template::parse(text).unwrap().render(&origin, Stream::Stderr, "h1");
        assert_eq!(render("logs"), "logs");
        assert_eq!(render("logs.{compose_project}.{compose_service}"), "logs.Shop___1._");
        assert_eq!(render("{host}-{container_name}-{stream}"), "h1-web-stderr");
        let nameless = Origin::new("..".into(), None, Arc::default());
        let render = |text| Template::parse(text).unwrap().render(&nameless, Stream::Stderr, "h1");
        assert_eq!(render("{container_name}"), "_");
        let long = Origin::new("x".repeat(300).into(), None, Arc::default());
        assert_eq!(Template::parse("{container_name}").unwrap().render(&long, Stream::Stdout, "").len(), LONGEST);
        assert_eq!(Template::parse("logs").unwrap().constant(), Some("logs"));
        assert_eq!(Template::parse("{host}").unwrap().constant(), None);
    }

    #[test]
    fn what_no_topic_can_be_is_refused() {
        assert_eq!(Template::parse(""), Err(TopicError::Empty));
        assert_eq!(Template::parse("a{pid}"), Err(TopicError::Field { name: "pid".to_owned() }));
        assert_eq!(Template::parse("a{host"), Err(TopicError::Unclosed));
        assert_eq!(Template::parse("a b{host}"), Err(TopicError::Character("a b{host}".to_owned())));
    }
}
