//! Each field of the configuration has a test that sets it and sees what it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use capture_tests::agent::{COMMAND_DEADLINE, command};
use capture_tests::{Agent, Attach, Container, engine, process, workspace};
use serde_json::Value;

/// Fields by the names of the schema (of a sink: by its type), and the tests that see their effect.
const EFFECTS: &str = include_str!("fields.txt");

/// Every field of the schema: `Definition.field`, or `type.field` for a sink's.
fn fields() -> Result<BTreeSet<String>> {
    let printed = process::text(command()?.arg("schema"), COMMAND_DEADLINE)?;
    let schema: Value = serde_json::from_str(&printed)?;
    let names = |of: &Value| of["properties"].as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    let mut fields: BTreeSet<String> = BTreeSet::new();
    for (definition, of) in schema["$defs"].as_object().context("no definitions")? {
        for kind in of["oneOf"].as_array().unwrap_or(&vec![of.clone()]) {
            let owner = kind["properties"]["type"]["const"].as_str().unwrap_or(definition);
            let own: Vec<String> = names(kind);
            fields.extend(own.into_iter().map(|field| format!("{owner}.{field}")));
        }
    }
    Ok(fields)
}

/// Names of all functions in the sources of a directory and those below it.
fn functions(directory: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            functions(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn ")?.split(['(', '<']).next());
            found.extend(names.map(str::to_owned));
        }
    }
    Ok(())
}

#[test]
fn each_field_has_a_test_that_sees_its_effect() -> Result<()> {
    let mut effects: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in EFFECTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (field, tests) = line.split_once(' ').with_context(|| format!("{line}: no test"))?;
        ensure!(effects.insert(field, tests.split_whitespace().collect()).is_none(), "{field} is there twice");
    }
    let fields = fields()?;
    let known: BTreeSet<&str> = fields.iter().map(String::as_str).collect();
    let listed: BTreeSet<&str> = effects.keys().copied().collect();
    let (missing, gone): (Vec<_>, Vec<_>) = (known.difference(&listed).collect(), listed.difference(&known).collect());
    ensure!(missing.is_empty() && gone.is_empty(), "without a test: {missing:?}; no fields: {gone:?}");
    let mut tests = BTreeSet::new();
    for sources in ["capture-agent", "tests/tests", "tests/src"] {
        functions(&workspace::root().join(sources), &mut tests)?;
    }
    let absent: Vec<_> = effects.values().flatten().filter(|test| !tests.contains(**test)).collect();
    ensure!(absent.is_empty(), "there are no such tests: {absent:?}");
    Ok(())
}

#[test]
fn a_line_that_is_too_long_for_the_file_comes_in_pieces() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("config.yaml");
    fs::write(&file, "capture:\n  max_line_bytes: 8\n")?;
    let agent = Agent::start(Attach::Raw, &["--config", file.to_str().context("no text")?])?;
    let container = Container::start(&engine::ensure()?, "fields-long", "echo 0123456789; echo end; sleep 600")?;
    agent.wait_for_message(container.name(), "end")?;
    ensure!(
        agent.messages_for(container.name()) == ["01234567", "89", "end"],
        "{:?}",
        agent.messages_for(container.name())
    );
    Ok(())
}
