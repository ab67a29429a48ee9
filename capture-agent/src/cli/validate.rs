//! `capture-agent validate`.

use std::io::{self, Write};

use clap::Args;

use super::settings::SettingsArgs;
use crate::config::{Config, ConfigError, Loaded, SinkConfig, SinkContext, SinkName};
use crate::containers::directory::Directory;

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    settings: SettingsArgs,

    /// Do not ask the sinks' destinations whether they are there.
    #[arg(long, env = "CAPTURE_AGENT_NO_CONNECT", help_heading = "Configuration")]
    no_connect: bool,
}

/// One thing that was looked at.
struct Check {
    what: String,
    /// What is fine about it, or what is wrong.
    outcome: Result<String, String>,
}

impl Check {
    fn new<E: std::fmt::Display>(what: impl Into<String>, outcome: Result<String, E>) -> Self {
        Self { what: what.into(), outcome: outcome.map_err(|error| error.to_string()) }
    }
}

/// Prints what was checked; 0 if all of it is fine.
pub fn validate(args: &ValidateArgs) -> anyhow::Result<u8> {
    let checks = checks(args);
    report(&checks, &mut io::stdout().lock())?;
    Ok(u8::from(checks.iter().any(|check| check.outcome.is_err())))
}

fn report(checks: &[Check], out: &mut impl Write) -> io::Result<()> {
    for Check { what, outcome } in checks {
        match outcome {
            Ok(fine) => writeln!(out, "ok      {what}: {fine}")?,
            Err(wrong) => {
                // A file may have several mistakes, one a line.
                for line in wrong.lines() {
                    writeln!(out, "failed  {what}: {line}")?;
                }
            }
        }
    }
    match checks.iter().filter(|check| check.outcome.is_err()).count() {
        0 => writeln!(out, "{} checks, all fine", checks.len()),
        failed => writeln!(out, "{} checks, {failed} failed", checks.len()),
    }
}

fn checks(args: &ValidateArgs) -> Vec<Check> {
    let file = args.settings.file();
    let loaded = match file.load(&{
        let settings = args.settings.clone();
        move |config: &mut Config| settings.lay_over(config)
    }) {
        Ok(loaded) => loaded,
        // These begin with the file's name.
        Err(error) => return vec![Check::new("configuration", Err::<String, ConfigError>(error))],
    };
    let mut checks = vec![configuration(&loaded, &file.path().display().to_string()), docker(&loaded.config)];
    checks.extend(admin(&loaded.config));
    for (name, sink) in loaded.config.sinks.or_default().0 {
        checks.push(self::sink(name, &sink, args.no_connect));
    }
    checks
}

fn configuration(loaded: &Loaded, path: &str) -> Check {
    let fine = match &loaded.file {
        Some(_) => format!("{path} has no mistakes"),
        None => format!("there is no {path}: defaults, flags and the environment"),
    };
    Check { what: "configuration".to_owned(), outcome: Ok(fine) }
}

/// The endpoint and the certificates; the engine need not be there for the agent to capture.
fn docker(config: &Config) -> Check {
    let client = config.docker.client();
    let (directory, wanted) = Directory::new();
    let fine = match client.tls {
        Some(_) => format!("{} with TLS, whose files are fine", client.endpoint),
        None => format!("{} is an endpoint", client.endpoint),
    };
    Check::new("docker", client.build(directory, wanted).map(|_| fine))
}

/// Its files; without any there is nothing to say.
fn admin(config: &Config) -> Option<Check> {
    let server = config.admin.server();
    let has_files = server.token_file.is_some() || server.tls.is_some();
    has_files.then(|| Check::new("admin", server.check().map(|()| "its files are fine".to_owned())))
}

fn sink(name: SinkName, config: &SinkConfig, no_connect: bool) -> Check {
    let what = format!("sinks.{name}");
    let kind = config.kind();
    let mut sink = match config.build(SinkContext::new(name)) {
        Ok(sink) => sink,
        Err(error) => return Check::new(what, Err::<String, _>(error.cause)),
    };
    if no_connect {
        return Check { what, outcome: Ok(format!("{kind}; its destination was not asked (--no-connect)")) };
    }
    Check::new(what, sink.check().map(|()| format!("{kind}; its check passed")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ValidateArgs,
    }

    fn told(text: &str, words: &[&str]) -> (String, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml").display().to_string();
        std::fs::write(&path, text).unwrap();
        let words = [&["agent", "--config", &path], words].concat();
        let args = Line::try_parse_from(words).unwrap().args;
        let mut out = Vec::new();
        report(&checks(&args), &mut out).unwrap();
        (String::from_utf8(out).unwrap().replace(&path, "FILE"), path)
    }

    #[test]
    fn what_was_checked_is_told() {
        let text = "sinks:\n  out: {type: console}\n  all: {type: file, path: /tmp/x}\n";
        let rest = "ok      docker: unix:///var/run/docker.sock is an endpoint\n";
        assert_eq!(
            told(text, &[]).0,
            format!(
                "ok      configuration: FILE has no mistakes\n{rest}\
                 ok      sinks.all: file; its check passed\n\
                 ok      sinks.out: console; its check passed\n4 checks, all fine\n"
            )
        );
        assert_eq!(
            told("", &["--no-connect"]).0,
            format!(
                "ok      configuration: FILE has no mistakes\n{rest}\
                 ok      sinks.default: console; its destination was not asked (--no-connect)\n3 checks, all fine\n"
            )
        );
    }

    #[test]
    fn every_mistake_is_told() {
        let text = "capture:\n  side: relai\nsinks:\n  out: {type: console, formt: text}\n";
        assert_eq!(
            told(text, &[]).0,
            "failed  configuration: FILE:2:9: capture.side: expected `write` or `relay`, found `relai`; did you mean \
             `relay`?\n\
             failed  configuration: FILE:4:24: sinks.out: unknown key `formt`; the keys here are `filter`, `encoding`, \
             `gap_marker`, `batch` and `buffer`\n\
             1 checks, 1 failed\n"
        );
    }

    #[test]
    fn files_of_the_admin_server_are_looked_at() {
        let told = |text: &str| told(text, &["--no-connect"]).0;
        assert!(told("admin: {token_file: /nowhere/token}").contains(
            "failed  admin: admin.token_file: /nowhere/token: cannot be read: No such file or directory (os error 2); check \
             the path and who may read it\n"
        ));
        assert!(
            told("admin: {cert_file: /nowhere/cert}")
                .contains("FILE:1:9: admin.cert_file: a certificate and its key go")
        );
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, "hunter2").unwrap();
        let fine = told(&format!("admin: {{token_file: {}}}", token.display()));
        assert!(fine.contains("ok      admin: its files are fine\n"), "{fine}");
    }

    #[test]
    fn flags_count_as_they_do_when_the_agent_runs() {
        let (told, _) = told("capture: {side: relay}", &["--attach", "syscalls", "--docker-host", "ftp://x"]);
        assert_eq!(
            told,
            "failed  configuration: FILE:1:11: capture.side: --side relay needs to see reads, which --attach syscalls \
             does not; use --attach raw or auto\n1 checks, 1 failed\n"
        );
    }

    #[test]
    fn an_endpoint_that_is_none_is_told_with_all_else() {
        let (told, _) = told("docker: {host: 'ftp://x'}", &["--no-connect"]);
        let expected = "failed  docker: cannot use the Docker endpoint ftp://x: give unix:///path/to/docker.sock or \
                        tcp://host:port\nok      sinks.default: console; its destination was not asked \
                        (--no-connect)\n3 checks, 1 failed\n";
        assert!(told.ends_with(expected), "{told}");
    }
}
