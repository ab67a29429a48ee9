//! The page that describes the configuration: `docs/configuration.md`, made of the schema and the examples.

mod table;

use std::fmt::Write as _;

use serde_json::Value;

use self::table::Tables;
use super::schema;

/// What the page begins with.
const INTRODUCTION: &str = include_str!("page/introduction.md");

/// A flag and its variable, if a field has them.
pub type FlagOf<'a> = &'a dyn Fn(&str) -> Option<(String, String)>;

/// The page. Each example is a file's whole text, which begins with a comment: its title in the first line, then what it
/// does.
#[must_use]
pub fn render(flag_of: FlagOf<'_>, examples: &[String]) -> String {
    let schema = schema().to_value();
    let mut page = INTRODUCTION.to_owned();
    let mut tables = Tables::new(&schema, flag_of);
    for section in sections(&schema) {
        tables.section(section, &mut page);
    }
    tables.sinks(&mut page);
    tables.shared(&mut page);
    page.push_str("\n## Examples\n\nEach is a complete file, and a test loads it.\n");
    for example in examples {
        let (title, description, body) = parts(example);
        let _ = write!(page, "\n### {title}\n\n{description}\n\n```yaml\n{body}```\n");
    }
    page
}

/// Title, description and the file without its first comment.
fn parts(example: &str) -> (String, String, String) {
    let comment: Vec<_> = example.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
    let body = example.lines().skip(comment.len()).collect::<Vec<_>>().join("\n");
    let (title, description) = comment.split_first().map_or(("", &[][..]), |(title, rest)| (*title, rest));
    (title.to_owned(), description.join("\n").trim().to_owned(), format!("{}\n", body.trim()))
}

/// The sections of the file but `sinks`, which has a form of its own. First those that are about the agent itself.
fn sections(schema: &Value) -> Vec<&str> {
    let names = schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys().map(String::as_str));
    let mut names: Vec<_> = names.filter(|name| *name != "sinks").collect();
    let first = ["capture", "docker", "admin"];
    names.sort_by_key(|name| first.iter().position(|first| first == name).unwrap_or(first.len()));
    names
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::cli;
    use crate::config::{ConfigFile, SinkContext};

    fn documents() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
    }

    fn examples() -> Vec<(PathBuf, String)> {
        let files = fs::read_dir(documents().join("examples")).unwrap().map(|entry| entry.unwrap().path());
        let mut examples: Vec<_> = files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
        examples.sort();
        examples
    }

    #[test]
    fn the_page_is_current() {
        let flag_of = |field: &str| cli::flag_of(field).map(|flag| (flag.flag, flag.variable));
        let texts: Vec<_> = examples().into_iter().map(|(_, text)| text).collect();
        let page = fs::read_to_string(documents().join("configuration.md")).unwrap_or_default();
        assert!(render(&flag_of, &texts) == page, "docs/configuration.md is stale; run `cargo xtask docs`");
    }

    #[test]
    fn every_example_is_a_configuration() {
        let examples = examples();
        assert!(!examples.is_empty());
        for (path, text) in examples {
            let loaded = ConfigFile::new(Some(path.clone()), false).load(&|_| Vec::new());
            let config = loaded.unwrap_or_else(|error| panic!("{error}")).config;
            assert!(!config.sinks.0.is_empty(), "{}", path.display());
            for (name, sink) in config.sinks.0 {
                let built = sink.build(SinkContext::new(name));
                assert!(built.is_ok(), "{}: {:?}", path.display(), built.err());
            }
            let (title, description, _) = parts(&text);
            assert!(!title.is_empty() && !description.is_empty(), "{}: no title or description", path.display());
        }
    }

    #[test]
    fn every_section_and_field_is_on_the_page() {
        let page = render(&|_| None, &[]);
        let schema = schema().to_value();
        for section in schema["properties"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("### `{section}`")), "{section}");
        }
        for definition in schema["$defs"].as_object().unwrap().values() {
            for kind in definition["oneOf"].as_array().unwrap_or(&vec![definition.clone()]) {
                for field in kind["properties"].as_object().into_iter().flat_map(serde_json::Map::keys) {
                    assert!(page.contains(&format!("| `{field}` |")), "{field}");
                }
                if let Some(value) = kind["const"].as_str() {
                    assert!(page.contains(&format!("`{value}`: ")), "{value}");
                }
            }
        }
    }

    #[test]
    fn an_example_is_its_title_what_it_does_and_the_rest() {
        let (title, description, body) = parts("# Title\n#\n# It does\n# this.\n\nsinks: {}\n# a comment\n");
        assert_eq!((title.as_str(), description.as_str()), ("Title", "It does\nthis."));
        assert_eq!(body, "sinks: {}\n# a comment\n");
    }
}
