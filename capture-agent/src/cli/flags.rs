//! Which flag says the same as a field of the file.

use clap::CommandFactory as _;

use super::Cli;

/// Fields of the file with the flags of `run` that win over them.
const FLAGS: [(&str, &str); 21] = [
    ("capture.attach", "attach"),
    ("capture.side", "side"),
    ("capture.ring_size", "ring-size"),
    ("capture.sessions_max", "sessions-max"),
    ("capture.rotation_interval", "rotation-interval"),
    ("capture.max_line_bytes", "max-line"),
    ("docker.host", "docker-host"),
    ("docker.deadline", "docker-deadline"),
    ("docker.resubscribe", "docker-resubscribe"),
    ("docker.tls_ca", "docker-tls-ca"),
    ("docker.tls_cert", "docker-tls-cert"),
    ("docker.tls_key", "docker-tls-key"),
    ("admin.listen", "listen"),
    ("admin.token_file", "token-file"),
    ("admin.cert_file", "cert-file"),
    ("admin.key_file", "key-file"),
    ("admin.viewers_max", "viewers-max"),
    ("admin.recent_size", "recent-size"),
    ("admin.metrics_grace", "metrics-grace"),
    ("admin.bpf_stats", "bpf-stats"),
    ("admin.state_dir", "state-dir"),
];

/// A flag of `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// With its dashes.
    pub flag: String,
    /// Its twin in the environment.
    pub variable: String,
}

/// The flag that wins over a field of the file, such as `capture.ring_size`; `None` where there is none.
#[must_use]
pub fn flag_of(field: &str) -> Option<Flag> {
    let (_, flag) = FLAGS.iter().find(|(path, _)| *path == field)?;
    let mut command = Cli::command();
    let run = command.find_subcommand_mut("run")?;
    let argument = run.get_arguments().find(|argument| argument.get_long() == Some(flag))?;
    let variable = argument.get_env()?.to_string_lossy().into_owned();
    Some(Flag { flag: format!("--{flag}"), variable })
}

#[cfg(test)]
mod tests;
