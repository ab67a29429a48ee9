//! What the pages say of metrics is so.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Result, ensure};
use capture_tests::workspace;

fn page(name: &str) -> Result<String> {
    Ok(fs::read_to_string(workspace::root().join("docs").join(name))?)
}

/// Names of metrics of the agent in a text; a name that ends with `_` is the beginning of several.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("log_capturer_") || word.starts_with("process_")).collect()
}

#[test]
fn every_metric_that_the_pages_send_to_exists() -> Result<()> {
    let reference = page("metrics.md")?;
    let known = metrics(&reference);
    let (migrating, troubleshooting) = (page("migrating.md")?, page("troubleshooting.md")?);
    // The last column is ours, what is before it somebody else's.
    let ours = migrating.lines().filter_map(|line| line.strip_suffix('|')?.rsplit_once('|'));
    let mut named: BTreeSet<&str> = ours.flat_map(|(_, ours)| metrics(ours)).collect();
    named.extend(metrics(&troubleshooting));
    ensure!(named.len() > 20, "only {named:?}");
    let unknown: Vec<_> = named.difference(&known).collect();
    ensure!(unknown.is_empty(), "not in metrics.md: {unknown:?}");
    Ok(())
}
