//! What a collector wrote: `<dir>/<container name>/<container id>.<stream>`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result};

/// The path template that the agent gets.
pub(super) fn template(directory: &Path) -> String {
    format!("{}/{{container_name}}/{{container_id}}.{{stream}}", directory.display())
}

/// Everything under a container's id and stream, whatever names it has had, oldest file first.
pub(super) fn read(directory: &Path, id: &str, stream: &str) -> Result<Vec<u8>> {
    let mut files = files(directory, id, stream)?;
    files.sort();
    let parts = files.into_iter().map(|(_, path)| fs::read(&path).with_context(|| format!("{}", path.display())));
    Ok(parts.collect::<Result<Vec<_>>>()?.concat())
}

fn files(directory: &Path, id: &str, stream: &str) -> Result<Vec<(SystemTime, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("{}", directory.display()))? {
        let path = entry?.path().join(format!("{id}.{stream}"));
        if let Ok(metadata) = fs::metadata(&path) {
            files.push((metadata.created().or_else(|_| metadata.modified())?, path));
        }
    }
    Ok(files)
}
