//! Names over `tcp://`, and over TLS with client certificates; what is wrong with those is said in one sentence.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use capture_tests::agent::{COMMAND_DEADLINE, command};
use capture_tests::daemon::Tcp;
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, Engine, engine, process};

use crate::certificates::Authority;

const PRINTER: &str = "while :; do echo here; sleep 0.1; done";

#[test]
fn names_and_labels_arrive_over_tcp() -> Result<()> {
    let (engine, port) = engine_over_tcp(None)?;
    let agent = Agent::start(Attach::Raw, &["--docker-host", &format!("tcp://localhost:{port}")])?;
    assert_named(&agent, &engine)
}

#[test]
fn names_and_labels_arrive_over_tls() -> Result<()> {
    let authority = Authority::new()?;
    let (engine, port) = engine_over_tcp(Some(&authority))?;
    let host = format!("tcp://127.0.0.1:{port}");
    let agent = Agent::start(Attach::Raw, &with_tls(&host, &authority, &authority).each_ref().map(String::as_str))?;
    assert_named(&agent, &engine)
}

#[test]
fn what_is_wrong_with_certificates_is_one_clear_sentence_and_no_line_is_missing() -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let (engine, port) = engine_over_tcp(Some(&authority))?;
    let host = format!("tcp://127.0.0.1:{port}");
    let container = Container::start(&engine, "untrusted", PRINTER)?;

    let wrong_ca = with_tls(&host, &stranger, &authority);
    assert_refused(&wrong_ca, &container, "not signed by the CA of --docker-tls-ca")?;
    let wrong_client = with_tls(&host, &authority, &stranger);
    assert_refused(&wrong_client, &container, "check --docker-tls-cert and --docker-tls-key")?;
    let no_client = &with_tls(&host, &authority, &authority)[..4];
    assert_refused(no_client, &container, "--docker-tls-cert and --docker-tls-key")?;
    // The certificate is for the address alone.
    let other_name = with_tls(&format!("tcp://localhost:{port}"), &authority, &authority);
    assert_refused(&other_name, &container, "for another host name than that of --docker-host")
}

#[test]
fn an_expired_certificate_of_the_engine_is_said_to_be() -> Result<()> {
    let authority = Authority::new()?;
    authority.expire_server()?;
    let (engine, port) = engine_over_tcp(Some(&authority))?;
    let container = Container::start(&engine, "expired", PRINTER)?;
    let arguments = with_tls(&format!("tcp://127.0.0.1:{port}"), &authority, &authority);
    assert_refused(&arguments, &container, "the engine's certificate has expired")
}

#[test]
fn a_certificate_that_is_renewed_is_taken_without_a_restart() -> Result<()> {
    let authority = Authority::new()?;
    authority.expire_client()?;
    let (engine, port) = engine_over_tcp(Some(&authority))?;
    let container = Container::start(&engine, "renewed", PRINTER)?;
    let arguments = with_tls(&format!("tcp://127.0.0.1:{port}"), &authority, &authority);
    let agent = Agent::start(Attach::Raw, &arguments.each_ref().map(String::as_str))?;
    wait_for_failure(&agent)?;
    authority.renew_client()?;
    agent.wait_until("a named line", |records| records.iter().any(|record| record.is_named(container.name())))
}

#[test]
fn the_environment_of_the_docker_command_is_enough() -> Result<()> {
    let authority = Authority::new()?;
    let (_engine, port) = engine_over_tcp(Some(&authority))?;
    // An agent that must end by itself: the port of its metrics is taken.
    let (taken, state) = (TcpListener::bind("127.0.0.1:0")?, tempfile::tempdir()?);
    let run = |directory: &Path| {
        let mut command = command()?;
        command.args(["run", "--listen", &taken.local_addr()?.to_string()]);
        command.arg("--state-dir").arg(state.path());
        command.env("DOCKER_HOST", format!("tcp://127.0.0.1:{port}"));
        command.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", directory);
        let output = process::output(&mut command, COMMAND_DEADLINE)?;
        anyhow::Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let found = run(authority.directory())?;
    ensure!(!found.contains(".pem"), "{found}");
    let empty = tempfile::tempdir()?;
    let missing = run(empty.path())?;
    let path = empty.path().join("ca.pem");
    ensure!(missing.contains(&format!("{} cannot be read", path.display())), "{missing}");
    Ok(())
}

#[test]
fn files_that_do_not_fit_are_refused_at_the_start() -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let run = |key: &Path| {
        let mut command = command()?;
        command.args(["run", "--docker-host", "tcp://127.0.0.1:1"]);
        command.arg("--docker-tls-ca").arg(authority.file("ca.pem"));
        command.arg("--docker-tls-cert").arg(authority.file("cert.pem")).arg("--docker-tls-key").arg(key);
        let output = process::output(&mut command, COMMAND_DEADLINE)?;
        ensure!(!output.status.success(), "the agent took {}", key.display());
        anyhow::Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let mismatch = run(&stranger.file("key.pem"))?;
    ensure!(mismatch.contains("does not belong to the certificate"), "{mismatch}");
    let no_key = run(&authority.file("ca.pem"))?;
    ensure!(no_key.contains("holds no private key"), "{no_key}");
    Ok(())
}

fn engine_over_tcp(authority: Option<&Authority>) -> Result<(Arc<Engine>, u16)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let tls = authority.map(|authority| authority.directory().to_owned());
    Ok((engine::private_over_tcp(Tcp { listener, tls })?, port))
}

fn with_tls(host: &str, ca: &Authority, client: &Authority) -> [String; 8] {
    let file = |path: std::path::PathBuf| path.display().to_string();
    let flag = |name: &str| format!("--docker-{name}");
    [
        flag("host"),
        host.to_owned(),
        flag("tls-ca"),
        file(ca.file("ca.pem")),
        flag("tls-cert"),
        file(client.file("cert.pem")),
        flag("tls-key"),
        file(client.file("key.pem")),
    ]
}

fn assert_named(agent: &Agent, engine: &Arc<Engine>) -> Result<()> {
    let builder = Container::builder(engine, "named")?.options(["--label", "tier=front"]);
    let container = builder.start(&["sh", "-c", PRINTER])?;
    agent.wait_until("a line with name and label", |records| {
        records.iter().any(|record| record.is_named(container.name()) && record.label("tier") == Some("front"))
    })
}

fn wait_for_failure(agent: &Agent) -> Result<()> {
    eventually("a failure of TLS", DEADLINE, || {
        agent.metrics().is_ok_and(|all| all[r#"log_capturer_docker_errors_total{kind="tls"}"#] >= 1.0).then_some(())
    })
    .with_context(|| format!("the agent said: {}", agent.stderr()))
}

/// The failure is counted and told once, whoever it is that refuses, and lines of the container come without a name.
fn assert_refused(arguments: &[String], container: &Container, sentence: &str) -> Result<()> {
    let agent = Agent::start(Attach::Raw, &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    wait_for_failure(&agent)?;
    agent.wait_until("lines with the id alone", |records| {
        records.iter().filter(|record| record.is_of(container.id()) && record.text("container_name").is_empty()).count()
            > 10
    })?;
    let ended = agent.terminate()?;
    let told = ended.stderr.lines().filter(|line| line.contains(sentence)).count();
    ensure!(told == 1, "told {told} times, not once, that “{sentence}”: {}", ended.stderr);
    ensure!(!ended.stderr.contains("PRIVATE KEY"), "a key in the log: {}", ended.stderr);
    Ok(())
}
