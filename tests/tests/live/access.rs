//! Log contents go to those who may see them.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result};
use capture_tests::agent::{self, COMMAND_DEADLINE};
use capture_tests::{Agent, process};
use tempfile::TempDir;

/// A CA, a certificate of `localhost` that it signed, and a token.
struct Files(TempDir);

impl Files {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let key = rcgen::KeyPair::generate()?;
        let mut ca = rcgen::CertificateParams::new(Vec::new())?;
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = ca.self_signed(&key)?;
        fs::write(directory.path().join("ca.pem"), certificate.pem())?;
        let issuer = rcgen::Issuer::new(ca, key);
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
        fs::write(directory.path().join("cert.pem"), certificate.pem())?;
        fs::write(directory.path().join("key.pem"), key.serialize_pem())?;
        fs::write(directory.path().join("token"), "a token that nobody guesses\n")?;
        Ok(Self(directory))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

fn free_port() -> Result<u16> {
    Ok(agent::free_address()?.port())
}

/// Starts an agent on all addresses, and waits until it listens.
fn start(port: u16, arguments: &[&str]) -> Result<Agent> {
    let agent = Agent::spawn_at(SocketAddr::from(([0, 0, 0, 0], port)), arguments)?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    capture_tests::poll::eventually("the agent to listen", capture_tests::poll::DEADLINE, || {
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
    })
    .with_context(|| agent.stderr())?;
    Ok(agent)
}

fn tail(arguments: &[&str]) -> Result<Output> {
    process::output(agent::command()?.arg("tail").args(arguments), COMMAND_DEADLINE)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn elsewhere_than_on_loopback_a_token_alone_is_not_enough() -> Result<()> {
    let (files, port) = (Files::new()?, free_port()?);
    let token = files.path("token");
    let _agent = start(port, &["--token-file", &token])?;
    let url = format!("http://127.0.0.1:{port}");
    let output = tail(&["--url", &url, "--token-file", &token])?;
    let told = format!(
        "capture-agent: the agent on {url} refuses (403): containers and their logs are shown on loopback only, or with a \
         token over TLS; set admin.token_file, admin.cert_file and admin.key_file\n"
    );
    assert_eq!((output.status.code(), stderr(&output)), (Some(1), told));
    // What says nothing of log contents is open, as before.
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    for path in ["/metrics", "/healthz", "/"] {
        assert_eq!(capture_tests::http::get(address, path)?.0, 200, "{path}");
    }
    Ok(())
}

#[test]
fn elsewhere_a_token_over_tls_is_shown_the_logs() -> Result<()> {
    let (files, port) = (Files::new()?, free_port()?);
    let (token, certificate, key) = (files.path("token"), files.path("cert.pem"), files.path("key.pem"));
    let _agent = start(port, &["--token-file", &token, "--cert-file", &certificate, "--key-file", &key])?;
    let (url, ca) = (format!("https://localhost:{port}"), files.path("ca.pem"));

    let output = tail(&["--url", &url, "--ca-file", &ca])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("refuses (401): the token is missing"), "{}", stderr(&output));
    let wrong = files.0.path().join("wrong");
    fs::write(&wrong, "a token that somebody guesses\n")?;
    let output = tail(&["--url", &url, "--ca-file", &ca, "--token-file", &wrong.display().to_string()])?;
    assert!(stderr(&output).contains("refuses (401)"), "{}", stderr(&output));
    let output = tail(&["--url", &url, "--token-file", &token])?;
    assert!(stderr(&output).contains("no agent answers on https://localhost"), "nobody vouches: {}", stderr(&output));

    let mut command = agent::command()?;
    command.args(["tail", "--json", "--url", &url, "--ca-file", &ca, "--token-file", &token]);
    let mut shown = crate::tail::Running::start(command)?;
    let marker = format!("shown to who may see it {port}");
    let container = capture_tests::Container::start(
        &capture_tests::engine::ensure()?,
        "secret",
        &format!("while :; do echo {marker}; sleep 0.2; done"),
    )?;
    let line = shown.wait_for(&marker)?;
    assert!(line.contains(container.name()), "{line}");
    Ok(())
}

#[test]
fn a_web_page_cannot_have_its_name_lead_here() -> Result<()> {
    let agent = Agent::start(capture_tests::Attach::Raw, &[])?;
    let ask = |headers: &str| -> Result<String> {
        let mut stream = TcpStream::connect(agent.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET /api/v1/stream HTTP/1.1\r\n{headers}\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(String::from_utf8_lossy(&head).into_owned())
    };
    assert_eq!(ask("Host: localhost:8001")?, "HTTP/1.1 200");
    assert_eq!(ask("Host: attacker.example:8001")?, "HTTP/1.1 403");
    assert_eq!(ask("Host: localhost:8001\r\nOrigin: http://attacker.example")?, "HTTP/1.1 403");
    assert_eq!(ask("Host: localhost:8001\r\nSec-Fetch-Site: cross-site")?, "HTTP/1.1 403");
    assert_eq!(ask("Host: localhost:8001\r\nOrigin: http://localhost:8001")?, "HTTP/1.1 200");
    Ok(())
}

#[test]
fn files_that_are_no_good_are_named_before_anything_starts() -> Result<()> {
    let files = Files::new()?;
    let nowhere: PathBuf = files.0.path().join("nowhere");
    let run = |arguments: &[&str]| -> Result<String> {
        let state = tempfile::tempdir()?;
        let mut command = agent::command()?;
        command.env("CAPTURE_AGENT_STATE_DIR", state.path()).arg("run").args(arguments);
        let output = process::output(&mut command, COMMAND_DEADLINE)?;
        assert_eq!(output.status.code(), Some(1));
        Ok(stderr(&output))
    };
    let told = run(&["--token-file", &nowhere.display().to_string()])?;
    assert!(told.contains(&format!("admin.token_file: {}: cannot be read", nowhere.display())), "{told}");
    let told = run(&["--cert-file", &files.path("cert.pem"), "--key-file", &files.path("token")])?;
    assert!(told.contains("holds no private key in PEM form; check admin.cert_file and admin.key_file"), "{told}");
    let told = run(&["--cert-file", &files.path("cert.pem")])?;
    assert!(told.contains("a certificate and its key go together"), "{told}");
    Ok(())
}
