//! Prints `docs/configuration.md`. `cargo xtask docs` runs it.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use capture_agent::{cli, config};

fn main() -> anyhow::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let files = fs::read_dir(&directory).with_context(|| format!("{}: cannot be read", directory.display()))?;
    let mut files = files.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    files.sort();
    let examples = files.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
    let flag_of = |field: &str| cli::flag_of(field).map(|flag| (flag.flag, flag.variable));
    print!("{}", config::page::render(&flag_of, &examples));
    Ok(())
}
