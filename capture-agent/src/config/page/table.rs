//! Tables of fields.

use std::fmt::Write as _;

use serde_json::Value;

use super::FlagOf;

/// Makes the tables of a schema.
pub(super) struct Tables<'a> {
    schema: &'a Value,
    flag_of: FlagOf<'a>,
    /// Sections that stand in other ones, in the order they were met in: their keys, and the name of their definition.
    met: Vec<(Vec<&'a str>, &'a str)>,
}

/// A row has the same cells in all tables of a section, and a flag only where one of them has.
struct Row {
    field: String,
    kind: String,
    default: String,
    flag: Option<(String, String)>,
    meaning: String,
}

impl<'a> Tables<'a> {
    pub(super) fn new(schema: &'a Value, flag_of: FlagOf<'a>) -> Self {
        Self { schema, flag_of, met: Vec::new() }
    }

    /// A section of the file's top level.
    pub(super) fn section(&mut self, name: &'a str, page: &mut String) {
        let field = &self.schema["properties"][name];
        let _ = write!(page, "\n### `{name}`\n\n{}\n\n", one_line(field));
        if let Some((_, definition)) = self.definition(field) {
            self.table(definition, name, page);
        }
    }

    /// The section `sinks`, with a table for each type.
    pub(super) fn sinks(&mut self, page: &mut String) {
        let _ = writeln!(page, "\n### `sinks`\n\n{}", one_line(&self.schema["properties"]["sinks"]));
        let kinds = self.schema["$defs"]["SinkConfig"]["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
        for kind in kinds {
            let name = kind["properties"]["type"]["const"].as_str().unwrap_or_default();
            let _ = write!(page, "\n#### `type: {name}`\n\n{}\n\n", one_line(kind));
            self.table(kind, "sinks.NAME", page);
        }
    }

    /// The sections that stood in those before.
    pub(super) fn shared(&mut self, page: &mut String) {
        let mut next = 0;
        // A section may bring in further ones.
        while let Some((keys, name)) = self.met.get(next).cloned() {
            let definition = &self.schema["$defs"][name];
            let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
            let _ = write!(page, "\n#### {}\n\n{}\n\n", keys.join(", "), one_line(definition));
            self.table(definition, "", page);
            next += 1;
        }
    }

    fn table(&mut self, section: &'a Value, path: &str, page: &mut String) {
        let fields = section["properties"].as_object().into_iter().flatten();
        let is_required = |name: &str| {
            section["required"].as_array().is_some_and(|required| required.iter().any(|required| required == name))
        };
        let mut rows = Vec::new();
        for (name, field) in fields.filter(|(_, field)| field.get("const").is_none()) {
            rows.push(self.row(name, field, path, is_required(name)));
        }
        let has_flags = rows.iter().any(|row| row.flag.is_some());
        page.push_str(if has_flags {
            "| field | value | default | flag, variable | meaning |\n|---|---|---|---|---|\n"
        } else {
            "| field | value | default | meaning |\n|---|---|---|---|\n"
        });
        for Row { field, kind, default, flag, meaning } in rows {
            let _ = write!(page, "| `{field}` | {kind} | {default} | ");
            if has_flags {
                let flag = flag.map(|(flag, variable)| format!("`{flag}`, `{variable}`")).unwrap_or_default();
                let _ = write!(page, "{flag} | ");
            }
            let _ = writeln!(page, "{meaning} |");
        }
    }

    fn row(&mut self, name: &'a str, field: &'a Value, path: &str, is_required: bool) -> Row {
        let mut meaning = one_line(field);
        let mut kind = plain_kind(field);
        let mut is_section = false;
        if let Some((definition_name, definition)) = self.definition(field) {
            if definition["properties"].is_object() {
                is_section = true;
                "section, see below".clone_into(&mut kind);
                self.meet(name, definition_name);
            } else if let Some(values) = words(definition) {
                kind = values.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
                for (word, what) in values {
                    let _ = write!(meaning, " `{word}`: {what}");
                }
            }
        } else if let Some((definition_name, _)) =
            self.definition(&field["items"]).filter(|(_, definition)| definition["properties"].is_object())
        {
            "list of sections, see below".clone_into(&mut kind);
            self.meet(name, definition_name);
        } else if let Some(values) = self.definition(&field["items"]).and_then(|(_, definition)| words(definition)) {
            let listed: Vec<_> = values.iter().map(|(word, _)| format!("`{word}`")).collect();
            kind = format!("list of {}", listed.join(", "));
            for (word, what) in values {
                let _ = write!(meaning, " `{word}`: {what}");
            }
        }
        let default = match &field["default"] {
            _ if is_required => "required".to_owned(),
            _ if is_section => String::new(),
            Value::Null => String::new(),
            Value::String(text) if !text.contains('\n') => format!("`{text}`"),
            Value::Array(values) if values.is_empty() => String::new(),
            Value::Object(fields) if fields.is_empty() => String::new(),
            value => format!("`{value}`"),
        };
        Row {
            field: name.to_owned(),
            kind,
            default: escaped(&default),
            flag: (self.flag_of)(&format!("{path}.{name}")),
            meaning: escaped(&meaning),
        }
    }

    /// Notes a section that stands in another one.
    fn meet(&mut self, key: &'a str, definition: &'a str) {
        match self.met.iter_mut().find(|(_, met)| *met == definition) {
            Some((keys, _)) if keys.contains(&key) => {}
            Some((keys, _)) => keys.push(key),
            None => self.met.push((vec![key], definition)),
        }
    }

    /// The definition that a field refers to, which may be absent from the file.
    fn definition(&self, field: &'a Value) -> Option<(&'a str, &'a Value)> {
        let mut alternatives = field["anyOf"].as_array().into_iter().flatten().chain([field]);
        let reference = alternatives.find_map(|field| field["$ref"].as_str())?;
        let name = reference.strip_prefix("#/$defs/")?;
        Some((name, self.schema["$defs"].get(name)?))
    }
}

/// The words that a value can be, with what they mean.
fn words(definition: &Value) -> Option<Vec<(&str, String)>> {
    let values = definition["oneOf"].as_array()?;
    values.iter().map(|value| Some((value["const"].as_str()?, one_line(value)))).collect()
}

fn plain_kind(field: &Value) -> String {
    let of = |value: &Value| value.as_str().map(str::to_owned);
    let named = match &field["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").and_then(of),
        kind => of(kind),
    };
    match (field["format"].as_str(), named.as_deref()) {
        (Some("period"), _) => "time".to_owned(),
        (Some("size"), _) => "size".to_owned(),
        (Some("path template"), _) => "path template".to_owned(),
        (Some("secret"), _) => "secret text".to_owned(),
        (_, Some("string")) => "text".to_owned(),
        (_, Some("integer")) => "whole number".to_owned(),
        (_, Some("number")) => "number".to_owned(),
        (_, Some("boolean")) => "`true`, `false`".to_owned(),
        (_, Some("array")) => format!("list of {}", plain_kind(&field["items"])),
        (_, Some("object")) => format!("keys with {}", plain_kind(&field["additionalProperties"])),
        _ => "value".to_owned(),
    }
}

/// The description of something, in one line.
fn one_line(value: &Value) -> String {
    value["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// For a cell of a table.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
