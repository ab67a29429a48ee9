//! Programs that must end in time.

use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Runs `command` to its end and gives status and output.
///
/// # Errors
/// When it cannot be started, or is not over within `deadline`; it is killed then.
pub fn output(command: &mut Command, deadline: Duration) -> Result<Output> {
    let name = command.get_program().display().to_string();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name} cannot be started; `cargo xtask setup` installs what tests need"))?;
    let pid = pid_of(child.id())?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // The receiver is gone when the deadline has passed; then nobody wants the output.
        let _ = sender.send(child.wait_with_output());
    });
    let Ok(output) = receiver.recv_timeout(deadline) else {
        // It may have ended just now; then there is nothing to kill.
        let _ = kill_process(pid, Signal::KILL);
        bail!("{}: not over within {} s", line_of(command), deadline.as_secs());
    };
    output.with_context(|| format!("{name}: its output cannot be read"))
}

/// Runs `command`, insists that it succeeds, and gives its standard output without the white space around it.
///
/// # Errors
/// When it fails, or is not over within `deadline`.
pub fn text(command: &mut Command, deadline: Duration) -> Result<String> {
    let output = output(command, deadline)?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", line_of(command), output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A child's process id, as the system-call wrappers take it.
///
/// # Errors
/// When it is no valid process id.
pub fn pid_of(id: u32) -> Result<Pid> {
    Pid::from_raw(id.cast_signed()).context("not a process id")
}

fn line_of(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(command.get_program().to_string_lossy().into_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
