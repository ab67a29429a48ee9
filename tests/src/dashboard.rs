//! The shipped Grafana dashboards, read as Grafana reads them.

use std::fmt;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::prometheus::deployed;

/// A dashboard of `deploy/grafana`.
#[derive(Debug)]
pub struct Dashboard {
    /// Its file's name.
    pub file: String,
    /// The file as it is.
    pub text: String,
    /// What it says.
    pub json: Value,
}

/// An expression of a dashboard, and where it stands.
#[derive(Clone, Debug)]
pub struct Expression {
    /// The dashboard's file.
    pub file: String,
    /// The panel's title, or what else holds it.
    pub place: String,
    /// As it stands there, with Grafana's variables.
    pub text: String,
}

impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, `{}`: {}", self.file, self.place, self.text)
    }
}

impl Dashboard {
    /// Every dashboard there is, by file name.
    ///
    /// # Errors
    /// When there is none, or one is no JSON.
    pub fn all() -> Result<Vec<Self>> {
        let directory = deployed("grafana");
        let mut files: Vec<_> = fs::read_dir(&directory)
            .with_context(|| format!("{}", directory.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        ensure!(!files.is_empty(), "{}: no dashboards", directory.display());
        let read = |path: &std::path::PathBuf| -> Result<Self> {
            let text = fs::read_to_string(path)?;
            let json = serde_json::from_str(&text)?;
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Self { file, text, json })
        };
        files.iter().map(|path| read(path).with_context(|| format!("{}", path.display()))).collect()
    }

    /// Its panels, rows apart.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        self.list("panels").filter(|panel| panel["type"] != "row")
    }

    /// The expressions that its panels draw.
    pub fn drawn(&self) -> impl Iterator<Item = Expression> {
        self.panels().flat_map(|panel| {
            let targets = panel["targets"].as_array().into_iter().flatten();
            targets.map(|target| self.expression(text(&panel["title"]), text(&target["expr"])))
        })
    }

    /// The expressions of its variables: `label_values(metric, label)` as what has that label.
    ///
    /// # Errors
    /// When a variable asks for anything else.
    pub fn variables(&self) -> Result<Vec<Expression>> {
        let variables = self.json["templating"]["list"].as_array().into_iter().flatten();
        let queries = variables.filter(|variable| variable["type"] == "query");
        queries
            .map(|variable| {
                let query = text(&variable["query"]["query"]);
                let parts = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
                let (metric, label) = parts
                    .and_then(|parts| parts.rsplit_once(", "))
                    .with_context(|| format!("{}: variable {}: {query}", self.file, variable["name"]))?;
                Ok(self.expression(text(&variable["name"]), &format!("count by ({label}) ({metric}) != 0")))
            })
            .collect()
    }

    /// The expressions of its annotations, which mark events and mostly give nothing.
    pub fn annotations(&self) -> impl Iterator<Item = Expression> {
        let annotations = self.json["annotations"]["list"].as_array().into_iter().flatten();
        annotations.map(|annotation| self.expression(text(&annotation["name"]), text(&annotation["expr"])))
    }

    /// Everything that it asks Prometheus.
    ///
    /// # Errors
    /// As [`Dashboard::variables`].
    pub fn expressions(&self) -> Result<Vec<Expression>> {
        Ok(self.drawn().chain(self.variables()?).chain(self.annotations()).collect())
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.json[key].as_array().into_iter().flatten()
    }

    fn expression(&self, place: &str, text: &str) -> Expression {
        Expression { file: self.file.clone(), place: place.to_owned(), text: text.to_owned() }
    }
}

impl Expression {
    /// The expression as Grafana sends it, for one agent, all containers, and the last half minute.
    #[must_use]
    pub fn filled(&self, instance: &str) -> String {
        self.text
            .replace("$__rate_interval", "30s")
            .replace("$__range", "30s")
            .replace("$instance", &instance.replace('.', "\\\\."))
            .replace("$container", ".*")
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
