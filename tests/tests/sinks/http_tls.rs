//! TLS with certificates on both sides, through nginx; each thing that can be wrong with them is said in one sentence.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use capture_agent::config::TlsConfig;
use capture_agent::sinks::delivery::{Sink, SinkError};
use capture_agent::sinks::http::AuthConfig;
use capture_agent::sinks::loki::{Loki, LokiConfig};
use capture_tests::peers::Peer;

use crate::certificates::Authority;
use crate::front::Front;
use crate::records::{Connected as _, Source, context};

fn config(front: &Front, ca: &Authority, client: Option<&Authority>) -> LokiConfig {
    let tls = TlsConfig {
        ca_file: Some(ca.file("ca.pem")),
        cert_file: client.map(|client| client.file("cert.pem")),
        key_file: client.map(|client| client.file("key.pem")),
        server_name: None,
    };
    LokiConfig { tls, ..LokiConfig::at(format!("https://{}", front.address)) }
}

fn write(sink: &mut Loki) -> Result<(), SinkError> {
    sink.write(&Source::new("web").lines(3)).map(drop)
}

fn assert_says(outcome: &Result<(), SinkError>, sentence: &str) -> Result<()> {
    let text = outcome.as_ref().map_or_else(ToString::to_string, |()| String::from("success"));
    ensure!(text.contains(sentence) && !text.contains("PRIVATE"), "not “{sentence}”: {text}");
    Ok(())
}

#[test]
fn records_arrive_through_a_front_that_asks_for_certificates() -> Result<()> {
    let authority = Authority::new()?;
    let loki = Peer::start("loki.py", &[], 1)?;
    let front = Front::new(&authority, loki.address())?;
    let mut sink = config(&front, &authority, Some(&authority)).build(context("loki"))?;
    sink.check()?;
    for _ in 0..3 {
        write(&mut sink)?;
    }
    ensure!(sink.health().open_connections() == 1 && sink.health().up());
    let (_, body) = capture_tests::http::get(loki.address(), "/requests")?;
    ensure!(body.contains("\"pushes\": 4"), "{body}");
    Ok(())
}

#[test]
fn what_is_wrong_with_certificates_is_one_clear_sentence() -> Result<()> {
    let (authority, stranger) = (Authority::for_host("localhost")?, Authority::new()?);
    let loki = Peer::start("loki.py", &[], 1)?;
    let front = Front::new(&authority, loki.address())?;
    let build = |config: LokiConfig| config.build(context("loki"));

    let mut unknown = build(config(&front, &stranger, Some(&authority)))?;
    assert_says(&write(&mut unknown), "is not signed by a CA that is trusted; check tls.ca_file")?;
    let mut other_name = build(config(&front, &authority, Some(&authority)))?;
    assert_says(&write(&mut other_name), "is for another host name; check the address and tls.server_name")?;
    let mut named = config(&front, &authority, Some(&authority));
    named.tls.server_name = Some("localhost".to_owned());
    write(&mut build(named.clone())?)?;
    // nginx takes the connection and refuses the request.
    let mut nobody =
        LokiConfig { tls: TlsConfig { cert_file: None, key_file: None, ..named.tls.clone() }, ..named.clone() };
    assert_says(&write(&mut build(nobody.clone())?), "No required SSL certificate was sent")?;
    nobody.tls = TlsConfig {
        cert_file: Some(stranger.file("cert.pem")),
        key_file: Some(stranger.file("key.pem")),
        ..nobody.tls
    };
    assert_says(&write(&mut build(nobody)?), "The SSL certificate error")?;
    // A server that speaks no TLS at all.
    let mut plain = LokiConfig { endpoint: format!("https://{}", loki.address()), ..named };
    plain.timeout = capture_agent::config::units::Period::seconds(2);
    assert_says(&write(&mut build(plain)?), "does not speak TLS; check the port")
}

#[test]
fn an_expired_certificate_of_the_server_is_said_to_be() -> Result<()> {
    let authority = Authority::new()?;
    authority.expire_server()?;
    let loki = Peer::start("loki.py", &[], 1)?;
    let front = Front::new(&authority, loki.address())?;
    let mut sink = config(&front, &authority, Some(&authority)).build(context("loki"))?;
    assert_says(&write(&mut sink), "has expired")?;
    assert_says(&sink.check(), "has expired")
}

#[test]
fn a_certificate_that_is_renewed_is_taken_without_a_restart() -> Result<()> {
    let authority = Authority::new()?;
    authority.expire_client()?;
    let loki = Peer::start("loki.py", &[], 1)?;
    let front = Front::new(&authority, loki.address())?;
    let mut sink = config(&front, &authority, Some(&authority)).build(context("loki"))?;
    assert_says(&write(&mut sink), "The SSL certificate error")?;
    authority.renew_client()?;
    write(&mut sink)?;
    // Half a pair, as between two writes of whoever renews it: what was good stays in use.
    let key = fs::read(authority.file("key.pem"))?;
    fs::write(authority.file("key.pem"), "nothing")?;
    write(&mut sink)?;
    fs::write(authority.file("key.pem"), key)?;
    write(&mut sink)?;
    Ok(())
}

#[test]
fn a_token_that_is_renewed_is_taken_without_a_restart() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("token");
    fs::write(&path, "first-token\n")?;
    let loki = Peer::start("loki.py", &["--token", "Bearer first-token"], 1)?;
    let auth = AuthConfig { token_file: Some(path.clone()), ..AuthConfig::default() };
    let config = LokiConfig { auth, ..LokiConfig::at(format!("http://{}", loki.address())) };
    let mut sink = config.build(context("loki"))?;
    write(&mut sink)?;
    set_token(&loki, "Bearer second-token")?;
    assert_says(&write(&mut sink), "401 Unauthorized")?;
    assert_says(&sink.check(), "401 Unauthorized")?;
    fs::write(&path, "second-token\n")?;
    write(&mut sink)?;
    Ok(())
}

#[test]
fn files_that_do_not_fit_are_refused_at_the_start() -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let refusal = |key: &Path| {
        let tls = TlsConfig {
            ca_file: Some(authority.file("ca.pem")),
            cert_file: Some(authority.file("cert.pem")),
            key_file: Some(key.to_owned()),
            server_name: None,
        };
        let config = LokiConfig { tls, ..LokiConfig::at("https://127.0.0.1:1".to_owned()) };
        config.build(context("loki")).err().map(|error| error.to_string()).unwrap_or_default()
    };
    ensure!(refusal(&authority.file("key.pem")).is_empty());
    ensure!(refusal(&stranger.file("key.pem")).contains("does not belong to the certificate"));
    ensure!(refusal(&authority.file("ca.pem")).contains("holds no private key"));
    ensure!(refusal(&authority.file("none.pem")).contains("cannot be read"));
    Ok(())
}

fn set_token(loki: &Peer, token: &str) -> Result<()> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(loki.address())?;
    write!(stream, "PUT / HTTP/1.0\r\nContent-Length: {}\r\n\r\n{token}", token.len())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    ensure!(reply.contains("204"), "{reply}");
    Ok(())
}
