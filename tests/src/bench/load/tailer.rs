//! `rsyslogd` as a tailer of Docker's log files: what many hosts run beside Docker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const PROGRAM: &str = "/usr/sbin/rsyslogd";

/// The command line of an `rsyslogd` that reads every log below `logs` and appends the lines to a file in `output`.
///
/// # Errors
/// When it is not installed, or refuses the configuration.
pub(super) fn command(logs: &Path, output: &Path) -> Result<Command> {
    ensure!(Path::new(PROGRAM).is_file(), "{PROGRAM}: not installed; `cargo xtask setup` installs it");
    let work = output.join("work");
    fs::create_dir(&work)?;
    let configuration = configuration(logs, output, &work);
    let path: PathBuf = output.join("rsyslog.conf");
    fs::write(&path, configuration).context("the configuration of rsyslogd")?;
    let mut command = Command::new(PROGRAM);
    command.arg("-n").arg("-f").arg(&path).arg("-i").arg(output.join("rsyslog.pid"));
    Ok(command)
}

/// As its documentation recommends for containers: `inotify`, a wildcard, and the line as it stands.
fn configuration(logs: &Path, output: &Path, work: &Path) -> String {
    format!(
        "global(workDirectory=\"{work}\" maxMessageSize=\"64k\")\n\
         module(load=\"imfile\" mode=\"inotify\")\n\
         template(name=\"line\" type=\"string\" string=\"%msg%\\n\")\n\
         input(type=\"imfile\" file=\"{logs}/*/*-json.log\" tag=\"docker\" ruleset=\"collect\" addMetadata=\"off\")\n\
         ruleset(name=\"collect\" queue.type=\"LinkedList\" queue.size=\"200000\" queue.dequeueBatchSize=\"4096\") {{\n\
         \taction(type=\"omfile\" file=\"{output}/tailed.log\" template=\"line\" ioBufferSize=\"256k\" \
         flushOnTXEnd=\"on\" asyncWriting=\"off\")\n}}\n",
        work = work.display(),
        logs = logs.display(),
        output = output.display(),
    )
}
