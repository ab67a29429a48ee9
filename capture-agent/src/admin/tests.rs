use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::session::ledger::Ledger;

fn start() -> (AdminHandle, Arc<Readiness>) {
    let metrics = metrics::tests::of(Ledger::new(Duration::from_secs(1)));
    let readiness = Arc::new(Readiness::default());
    let config = AdminConfig { listen: ([127, 0, 0, 1], 0).into() };
    let admin = config.build(Arc::new(metrics), Arc::clone(&readiness)).unwrap();
    (admin.spawn().unwrap(), readiness)
}

fn ask(admin: &AdminHandle, request: &str) -> String {
    let mut stream = TcpStream::connect(admin.local_addr()).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn health_follows_readiness() {
    let (admin, readiness) = start();
    assert_eq!(status(&ask(&admin, "GET /healthz")), "503");
    readiness.set(true);
    let answer = ask(&admin, "GET /healthz");
    assert!(status(&answer) == "200" && answer.ends_with("\r\n\r\nok\n"), "{answer}");
    admin.shutdown();
}

#[test]
fn metrics_are_served_with_the_content_type_of_their_format() {
    let (admin, _) = start();
    let answer = ask(&admin, "GET /metrics").to_lowercase();
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("\nprocess_open_fds "), "{answer}");
    admin.shutdown();
}

#[test]
fn a_head_request_has_the_head_alone() {
    let (admin, _) = start();
    let answer = ask(&admin, "HEAD /metrics");
    assert!(status(&answer) == "200" && answer.ends_with("\r\n\r\n"), "{answer}");
    admin.shutdown();
}

#[test]
fn other_paths_and_methods_are_refused() {
    let (admin, _) = start();
    assert!(ask(&admin, "GET /").contains("/metrics"));
    assert_eq!(status(&ask(&admin, "GET /debug")), "404");
    assert_eq!(status(&ask(&admin, "POST /metrics")), "405");
    admin.shutdown();
}

#[test]
fn a_silent_client_holds_up_neither_others_nor_the_end() {
    let (admin, _) = start();
    let silent: Vec<_> = (0..MAX_CONNECTIONS / 2).map(|_| TcpStream::connect(admin.local_addr()).unwrap()).collect();
    assert_eq!(status(&ask(&admin, "GET /")), "200");
    admin.shutdown();
    drop(silent);
}

#[test]
fn a_port_that_is_taken_is_told_with_what_to_do() {
    let (admin, readiness) = start();
    let metrics = Arc::new(metrics::tests::of(Ledger::new(Duration::from_secs(1))));
    let error = AdminConfig { listen: admin.local_addr() }.build(metrics, readiness).unwrap_err();
    let expected = format!(
        "cannot listen on {}: address already in use; stop the other process or choose another address with --listen",
        admin.local_addr()
    );
    assert_eq!(error.to_string(), expected);
    admin.shutdown();
}
