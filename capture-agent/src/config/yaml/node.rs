//! The file as a tree.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::Problem;

/// More nodes than any configuration has: aliases of aliases grow without end.
const MAX_NODES: u32 = 100_000;
/// Deeper than any configuration is.
const MAX_DEPTH: usize = 64;

/// A place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl From<&Marker> for Position {
    fn from(marker: &Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

/// A value of the file. Without `Debug`: it may hold secrets.
#[derive(Clone)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// Number within its document, in the order of the file.
    pub(super) id: u32,
    /// The number after the last one below it.
    pub(super) end: u32,
    /// What it is.
    pub value: Value,
}

/// What a [`Node`] is.
#[derive(Clone)]
pub enum Value {
    /// Text, a number, a boolean or nothing: it depends on what is wanted.
    Scalar {
        /// Without quotes and escapes.
        text: String,
        /// Without quotes in the file, so that it may be more than text.
        plain: bool,
        /// As the file has it, if variables of the environment were put in; the text may be a secret then.
        written: Option<String>,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys with values, in the order of the file.
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub at: Position,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value of a key, if this is a mapping and has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        let Value::Mapping(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key)
    }

    /// Takes a key and its value out of a mapping.
    pub fn remove(&mut self, key: &str) {
        if let Value::Mapping(entries) = &mut self.value {
            entries.retain(|entry| entry.key != key);
        }
    }

    /// Where a path such as `sinks.loki.batch` stands, or as much of it as there is; `None` where not even its first
    /// key is there.
    #[must_use]
    pub fn position_of(&self, path: &str) -> Option<Position> {
        let (mut node, mut at) = (self, None);
        for key in path.split('.') {
            let Some(entry) = node.get(key) else { break };
            (node, at) = (&entry.value, Some(entry.at));
        }
        at
    }

    /// Whether two values say the same, wherever they stand.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Scalar { text: a, plain: plain_a, .. }, Value::Scalar { text: b, plain: plain_b, .. }) => {
                (a, plain_a) == (b, plain_b)
            }
            (Value::Sequence(a), Value::Sequence(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.says_the_same(b))
            }
            (Value::Mapping(a), Value::Mapping(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|entry| other.get(&entry.key).is_some_and(|other| entry.value.says_the_same(&other.value)))
            }
            _ => false,
        }
    }

    /// Whether there is nothing: the key stands alone.
    pub(super) fn is_null(&self) -> bool {
        let Value::Scalar { text, plain, .. } = &self.value else { return false };
        *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    fn nothing() -> Self {
        let value = Value::Scalar { text: String::new(), plain: true, written: None };
        Self { at: Position { line: 1, column: 1 }, id: 0, end: 1, value }
    }

    /// Numbers what is here and below, in the order of the file.
    fn number(&mut self, next: &mut u32) {
        self.id = *next;
        *next += 1;
        match &mut self.value {
            Value::Scalar { .. } => {}
            Value::Sequence(nodes) => nodes.iter_mut().for_each(|node| node.number(next)),
            Value::Mapping(entries) => entries.iter_mut().for_each(|entry| entry.value.number(next)),
        }
        self.end = *next;
    }
}

/// Reads a file's text.
///
/// # Errors
///
/// The first place that is no YAML; or all keys that stand twice, tags and the like, which a configuration does not
/// have.
pub fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    let mut builder =
        Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), count: 0, problems: vec![] };
    let root = match builder.document() {
        Ok(root) => root,
        Err(problem) => {
            builder.problems.push(problem);
            return Err(builder.problems);
        }
    };
    if !builder.problems.is_empty() {
        return Err(builder.problems);
    }
    let mut root = root.unwrap_or_else(Node::nothing);
    root.number(&mut 0);
    Ok(root)
}

struct Builder<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    count: u32,
    problems: Vec<Problem>,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Position), Problem> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, Position::from(&span.start))),
            Some(Err(error)) => {
                Err(Problem::at(error.marker().into(), "", format!("this is not YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, Position { line: 1, column: 1 })),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Problem> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(_), at) if root.is_some() => {
                    return Err(Problem::at(at, "", "a second document begins here; a configuration is one document"));
                }
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
                (event, at) => root = Some(self.node(event, at, 0)?),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, at: Position, depth: usize) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            return Err(Problem::at(at, "", format!("this is nested more than {MAX_DEPTH} levels deep")));
        }
        let (value, anchor, tag) = match event {
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Problem::at(at, "", "this alias stands within what it is an alias of"));
                };
                self.grow(node.end, at)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (Value::Scalar { text: text.into_owned(), plain, written: None }, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => (Value::Sequence(self.sequence(depth)?), anchor, tag),
            Event::MappingStart(anchor, tag) => (Value::Mapping(self.mapping(depth)?), anchor, tag),
            // The parser gives out nothing else within a document.
            _ => return Err(Problem::at(at, "", "this is not YAML")),
        };
        if tag.is_some() {
            self.problems.push(Problem::at(at, "", "tags (`!name`) have no meaning here; take it away"));
        }
        self.grow(1, at)?;
        let mut node = Node { at, id: 0, end: 0, value };
        if anchor > 0 {
            // How many there are below it is known by counting them.
            node.number(&mut 0);
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(nodes),
                (event, at) => nodes.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(entries);
            }
            let key = self.node(event, at, depth + 1)?;
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at, depth + 1)?;
            let Value::Scalar { text: key, .. } = key.value else {
                self.problems.push(Problem::at(at, "", "a key is one word, not a list or a section"));
                continue;
            };
            match entries.iter().find(|entry| entry.key == key) {
                Some(first) => {
                    let text = format!("the key `{key}` stands twice; it is in line {} already", first.at.line);
                    self.problems.push(Problem::at(at, "", text));
                }
                None => entries.push(Entry { key, at, value }),
            }
        }
    }

    fn grow(&mut self, nodes: u32, at: Position) -> Result<(), Problem> {
        self.count = self.count.saturating_add(nodes);
        if self.count > MAX_NODES {
            return Err(Problem::at(at, "", format!("there are more than {MAX_NODES} values up to here")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        parse(text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn positions_are_those_of_an_editor() {
        let root = parse("# über\nä: {b: [1, 2]}\n\"c d\": e\n").ok().unwrap();
        assert_eq!(root.position_of("ä"), Some(Position { line: 2, column: 1 }));
        assert_eq!(root.position_of("ä.b"), Some(Position { line: 2, column: 5 }));
        assert_eq!(root.position_of("c d"), Some(Position { line: 3, column: 1 }));
        // As much of it as there is.
        assert_eq!(root.position_of("ä.x.y"), Some(Position { line: 2, column: 1 }));
        assert_eq!(root.position_of("nothing"), None);
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        for text in ["", "\n", "# only a comment\n", "---\n", "---\n...\n"] {
            assert!(parse(text).ok().unwrap().is_null(), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        assert_eq!(
            problems("a: [1, 2\n"),
            ["2:1: this is not YAML: while parsing a flow sequence, expected ',' or ']'"]
        );
        assert_eq!(
            problems("a: 1\n---\nb: 2\n"),
            ["2:1: a second document begins here; a configuration is one document"]
        );
    }

    #[test]
    fn everything_that_a_configuration_does_not_have_is_told_at_once() {
        assert_eq!(
            problems("a: 1\nb: !secret x\na: 2\n[c]: 3\n"),
            [
                "2:4: tags (`!name`) have no meaning here; take it away",
                "3:1: the key `a` stands twice; it is in line 1 already",
                "4:1: a key is one word, not a list or a section",
            ]
        );
    }

    #[test]
    fn an_alias_is_what_its_anchor_is() {
        let root = parse("a: &x {b: [1]}\nc: *x\n").ok().unwrap();
        let (a, c) = (&root.get("a").unwrap().value, &root.get("c").unwrap().value);
        assert!(a.says_the_same(c));
        assert_ne!(a.id, c.id);
        assert_eq!(problems("a: &x [*x]\n"), ["1:8: this alias stands within what it is an alias of"]);
    }

    #[test]
    fn aliases_do_not_grow_without_end() {
        let line =
            |level: usize| format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
        let text: String = (1..10).map(line).collect();
        let text = format!("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{text}");
        assert_eq!(problems(&text), ["5:45: there are more than 100000 values up to here"]);
        let deep = "[".repeat(80);
        assert_eq!(problems(&deep), ["1:66: this is nested more than 64 levels deep"]);
    }

    #[test]
    fn order_and_place_do_not_change_what_is_said() {
        let one = parse("a: 1\nb: [x, {c: y}]\n").ok().unwrap();
        let same = parse("\nb:\n- x\n- c: y\na: 1\n").ok().unwrap();
        assert!(one.says_the_same(&same));
        for other in ["a: 1\nb: [x]\n", "a: '1'\nb: [x, {c: y}]\n", "a: 1\nb: [x, {c: y, d: z}]\n", "a: 1"] {
            assert!(!one.says_the_same(&parse(other).ok().unwrap()), "{other}");
        }
    }
}
