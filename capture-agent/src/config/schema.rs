//! The JSON Schema of the file.

use schemars::{Schema, generate::SchemaSettings};

use super::Config;

/// A JSON Schema (draft 2020-12) of what may stand in the file, with the comments of the code as descriptions.
#[must_use]
pub fn schema() -> Schema {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>();
    schema.insert("title".to_owned(), "Configuration of capture-agent".into());
    schema
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Calls `visit` with each `properties` entry of a schema: its path and itself.
    fn fields(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
        match schema {
            Value::Object(object) => {
                for (key, value) in object {
                    let path = format!("{path}/{key}");
                    if key == "properties"
                        && let Value::Object(properties) = value
                    {
                        for (name, field) in properties {
                            let path = format!("{path}/{name}");
                            visit(&path, field);
                            fields(field, &path, visit);
                        }
                    } else {
                        fields(value, &path, visit);
                    }
                }
            }
            Value::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    fields(value, &format!("{path}/{index}"), visit);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn every_field_and_every_kind_of_value_is_described() {
        let schema = schema().to_value();
        let mut count = 0;
        let mut bare = Vec::new();
        fields(&schema, "", &mut |path, field| {
            count += 1;
            // The tag of a kind of sink has one value, and the kind is described.
            let is_described = field["description"].as_str().is_some_and(|text| !text.is_empty());
            if !is_described && field.get("const").is_none() {
                bare.push(path.to_owned());
            }
        });
        assert!(count > 30, "{count}");
        assert_eq!(bare, [""; 0]);
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            assert!(definition["description"].is_string(), "{name}");
            for variant in definition["oneOf"].as_array().into_iter().flatten() {
                assert!(variant["description"].is_string(), "{name}: {variant}");
            }
        }
    }

    #[test]
    fn nothing_that_is_not_known_is_allowed() {
        let schema = schema().to_value();
        assert_eq!(schema["additionalProperties"], false);
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            let sections = definition["oneOf"].as_array().cloned().unwrap_or_else(|| vec![definition.clone()]);
            for section in sections.iter().filter(|section| section["type"] == "object") {
                assert_eq!(section["additionalProperties"], false, "{name}");
            }
        }
    }

    #[test]
    fn defaults_are_those_that_hold() {
        let schema = schema().to_value();
        let capture = &schema["$defs"]["CaptureSection"]["properties"];
        assert_eq!(
            (&capture["ring_size"]["default"], &capture["sessions_max"]["default"]),
            (&"32MiB".into(), &4096.into())
        );
        assert_eq!(schema["$defs"]["AdminSection"]["properties"]["metrics_grace"]["default"], "5m");
    }
}
