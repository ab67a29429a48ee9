//! Which stream of Loki's a record belongs to: labels, of which there must be few.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use capture_common::Stream;

use crate::pipeline::record::Origin;
use crate::sinks::template::{self, Fault, Part};

/// Where compose keeps the names that it gave.
const COMPOSE_PROJECT: &str = "com.docker.compose.project";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";

/// What a template can name. Each has as many values as there are containers, at most: Loki keeps an index and open files
/// for each combination of values, so nothing that is different for each line has a place here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Container,
    Stream,
    Host,
    ComposeProject,
    ComposeService,
    Image,
}

const FIELDS: [(&str, Field); 6] = [
    ("container", Field::Container),
    ("stream", Field::Stream),
    ("host", Field::Host),
    ("compose_project", Field::ComposeProject),
    ("compose_service", Field::ComposeService),
    ("image", Field::Image),
];

/// Why labels cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LabelError {
    /// Loki takes no entry without one.
    #[error("labels is empty; Loki needs at least one, such as `container: \"{{container}}\"`")]
    None,
    /// Not a name that Prometheus and Loki take.
    #[error("{0:?} is no name of a label; take letters, digits and _, not a digit first, and not two _ first")]
    Name(String),
    /// A name in braces that is not a field.
    #[error("label {label}: unknown field {{{field}}}; the fields are {}", template::names(&FIELDS))]
    Field {
        /// The label.
        label: String,
        /// What stands in braces.
        field: String,
    },
    /// `{` without `}`.
    #[error("label {0}: `{{` without `}}`")]
    Unclosed(String),
    /// A line break or another control character.
    #[error("label {0}: a value cannot hold control characters")]
    Control(String),
}

/// Labels with templates of their values.
#[derive(Clone, Debug)]
pub(super) struct Labels(Vec<(String, Vec<Part<Field>>)>);

impl Labels {
    /// From names and templates.
    pub(super) fn parse(templates: &BTreeMap<String, String>) -> Result<Self, LabelError> {
        if templates.is_empty() {
            return Err(LabelError::None);
        }
        let parsed = templates.iter().map(|(label, template)| {
            if !is_name(label) {
                return Err(LabelError::Name(label.clone()));
            }
            Ok((label.clone(), parts(label, template)?))
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// `name="value"` for each label that has a value, in order of their names, as Prometheus writes them.
    pub(super) fn render(&self, origin: &Origin, stream: Stream, host: &str) -> Vec<String> {
        let mut pairs = Vec::with_capacity(self.0.len());
        for (label, parts) in &self.0 {
            let value: String = parts.iter().map(|part| value(part, origin, stream, host)).collect();
            if !value.is_empty() {
                pairs.push(pair(label, &value));
            }
        }
        if pairs.is_empty() {
            // No field that was asked for is known of this container, and Loki takes no entry without a label.
            pairs.push(pair("container", origin.name()));
        }
        pairs
    }
}

/// What a part of a template is for a container's stream.
fn value<'a>(part: &'a Part<Field>, origin: &'a Origin, stream: Stream, host: &'a str) -> &'a str {
    let metadata = origin.metadata.as_deref();
    let label = |key| metadata.and_then(|metadata| metadata.labels.get(key)).map_or("", String::as_str);
    match part {
        Part::Text(text) => text,
        Part::Field(Field::Container) => origin.name(),
        Part::Field(Field::Stream) => stream.as_str(),
        Part::Field(Field::Host) => host,
        Part::Field(Field::ComposeProject) => label(COMPOSE_PROJECT),
        Part::Field(Field::ComposeService) => label(COMPOSE_SERVICE),
        Part::Field(Field::Image) => metadata.map_or("", |metadata| &metadata.image),
    }
}

fn parts(label: &str, text: &str) -> Result<Vec<Part<Field>>, LabelError> {
    if text.chars().any(char::is_control) {
        return Err(LabelError::Control(label.to_owned()));
    }
    template::parse(text, &FIELDS).map_err(|fault| match fault {
        Fault::Unknown(field) => LabelError::Field { label: label.to_owned(), field },
        Fault::Unclosed => LabelError::Unclosed(label.to_owned()),
    })
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, and not one of those that Loki keeps for itself.
fn is_name(name: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_fine) && !name.starts_with("__") && name.starts_with(|c: char| !c.is_ascii_digit())
}

fn pair(name: &str, value: &str) -> String {
    let mut pair = format!("{name}=\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => pair.extend(['\\', c]),
            // In the labels of a container there may be anything, even if nobody does that.
            c if c.is_control() => pair.push('_'),
            c => pair.push(c),
        }
    }
    pair.push('"');
    pair
}

/// As a selector of `LogQL`, which is also how Loki names a stream in its messages.
pub(super) fn selector(pairs: &[String]) -> String {
    let mut selector = String::from("{");
    for (index, pair) in pairs.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(selector, "{}{pair}", if index == 0 { "" } else { ", " });
    }
    selector.push('}');
    selector
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::containers::directory::Metadata;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, LabelError> {
        Labels::parse(&pairs.iter().map(|(name, template)| ((*name).to_owned(), (*template).to_owned())).collect())
    }

    fn origin(metadata: Option<Metadata>) -> Origin {
        Origin::new("ab".repeat(32).into(), metadata.map(Arc::new), Arc::default())
    }

    #[test]
    fn templates_take_known_fields_only() {
        let error = labels(&[("job", "{container_id}")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "label job: unknown field {container_id}; the fields are {container}, {stream}, {host}, \
             {compose_project}, {compose_service}, {image}"
        );
        for field in ["pid", "level", "uid", "message", ""] {
            assert!(matches!(labels(&[("a", &format!("x{{{field}}}"))]), Err(LabelError::Field { .. })), "{field}");
        }
        assert_eq!(labels(&[("a", "{container")]).unwrap_err(), LabelError::Unclosed("a".to_owned()));
        assert_eq!(labels(&[]).unwrap_err(), LabelError::None);
        assert_eq!(labels(&[("a", "b\nc")]).unwrap_err(), LabelError::Control("a".to_owned()));
        for name in ["", "1a", "a-b", "__a", "a.b"] {
            assert_eq!(labels(&[(name, "x")]).unwrap_err(), LabelError::Name(name.to_owned()));
        }
    }

    #[test]
    fn values_are_those_of_the_container_and_empty_ones_are_left_out() {
        let labels = labels(&[
            ("zone", "eu"),
            ("container", "{container}"),
            ("from", "{host}/{stream}"),
            ("service", "{compose_service}"),
            ("project", "{compose_project}"),
            ("image", "{image}"),
        ])
        .unwrap();
        let compose = BTreeMap::from([(COMPOSE_SERVICE.to_owned(), "a \"b\" \\ \n→".to_owned())]);
        let metadata =
            Metadata { name: "web".to_owned(), image: "nginx:1".to_owned(), labels: compose, ..Metadata::default() };
        assert_eq!(
            selector(&labels.render(&origin(Some(metadata)), Stream::Stderr, "h1")),
            r#"{container="web", from="h1/stderr", image="nginx:1", service="a \"b\" \\ _→", zone="eu"}"#
        );
    }

    #[test]
    fn there_is_a_label_whatever_is_known() {
        let labels = labels(&[("project", "{compose_project}")]).unwrap();
        let id = "ab".repeat(32);
        let rendered = labels.render(&origin(None), Stream::Stdout, "h1");
        assert_eq!(selector(&rendered), format!("{{container=\"{id}\"}}"));
    }
}
