//! Exports over HTTP and gRPC, read by OpenTelemetry's own Python packages, and passed on by a real collector.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use capture_agent::config::TlsConfig;
use capture_agent::config::units::Period;
use capture_agent::sinks::delivery::{Refused, Sink, SinkError};
use capture_agent::sinks::http::AuthConfig;
use capture_agent::sinks::otlp::{Compression, Otlp, OtlpConfig, Protocol};
use capture_agent::socket::FailureKind;
use capture_tests::agent::free_address;
use capture_tests::http;
use capture_tests::peers::{self, Peer};
use capture_tests::poll::{DEADLINE, eventually};
use serde_json::{Value, json};

use crate::certificates::Authority;
use crate::front::Front;
use crate::ill::{self, Server};
use crate::records::{Connected as _, Source, context};

/// A receiver and how it is reached.
pub struct Receiver(pub Peer);

impl Receiver {
    pub fn start(arguments: &[&str]) -> Result<Self> {
        Ok(Self(Peer::start("otlp.py", arguments, 2)?))
    }

    fn config(&self, protocol: Protocol) -> OtlpConfig {
        let address = self.0.addresses[usize::from(protocol == Protocol::Grpc)];
        let endpoint = Some(format!("http://{address}"));
        OtlpConfig { endpoint, protocol: Some(protocol), ..OtlpConfig::default() }
    }

    fn sink(&self, protocol: Protocol) -> Result<Otlp> {
        Ok(self.config(protocol).build(context("otlp"))?)
    }

    pub fn received(&self) -> Result<Vec<Value>> {
        let (status, body) = http::get(self.0.address(), "/received")?;
        ensure!(status == 200, "{status}: {body}");
        serde_json::from_str(&body).context("not JSON")
    }

    /// The log records of all requests.
    pub fn records(&self) -> Result<Vec<Value>> {
        let all = self.received()?;
        let resources = all.iter().flat_map(|request| list(&request["message"]["resource_logs"]));
        let scopes = resources.flat_map(|resource| list(&resource["scope_logs"]));
        Ok(scopes.flat_map(|scope| list(&scope["log_records"])).cloned().collect())
    }

    /// How the next request is answered.
    fn behave(&self, behaviour: &Value) -> Result<()> {
        let body = behaviour.to_string();
        let mut stream = TcpStream::connect(self.0.address())?;
        write!(stream, "PUT /behave HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        ensure!(reply.contains("200 OK"), "{reply}");
        Ok(())
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Attributes by key; of a list, its only text.
fn attributes(value: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| {
        let value = if value["array_value"].is_null() { value } else { &value["array_value"]["values"][0] };
        ["string_value", "int_value", "bool_value"]
            .iter()
            .find_map(|kind| {
                value[kind].as_str().map(str::to_owned).or_else(|| value[kind].as_bool().map(|b| b.to_string()))
            })
            .unwrap_or_default()
    };
    list(value).map(|pair| (pair["key"].as_str().unwrap_or_default().to_owned(), text(&pair["value"]))).collect()
}

const BOTH: [Protocol; 2] = [Protocol::HttpProtobuf, Protocol::Grpc];

#[test]
fn resources_and_records_arrive_whichever_way() -> Result<()> {
    for protocol in BOTH {
        for compression in [Compression::Gzip, Compression::None] {
            let receiver = Receiver::start(&[])?;
            let config = OtlpConfig { compression: Some(compression), ..receiver.config(protocol) };
            let mut sink = config.build(context("otlp"))?;
            sink.check()?;
            let (mut web, mut db) = (Source::new("web"), Source::new("db"));
            let records = [web.line("first → \"x\""), db.line("other"), web.line(b"a\xff"), web.gap(7)];
            ensure!(sink.write(&records)?.refused.is_empty());
            check_arrival(&receiver, &records.map(|record| (record.timestamp, record.uid().to_string())))
                .with_context(|| format!("{protocol:?} {compression:?}"))?;
            let headers = &receiver.received()?[1]["headers"];
            ensure!(
                headers["user-agent"].as_str().is_some_and(|agent| agent.starts_with("capture-agent/")),
                "{headers}"
            );
            ensure!(sink.health().up() && sink.health().open_connections() == 1);
        }
    }
    Ok(())
}

/// The second request, after the empty one of the check.
fn check_arrival(receiver: &Receiver, identities: &[(i64, String)]) -> Result<()> {
    let requests = receiver.received()?;
    ensure!(requests.len() == 2 && requests[0]["message"] == json!({}), "{requests:?}");
    let resources: Vec<&Value> = list(&requests[1]["message"]["resource_logs"]).collect();
    ensure!(resources.len() == 2, "{resources:?}");
    let resource = attributes(&resources[0]["resource"]["attributes"]);
    let expected = [
        ("container.id", &*format!("{:0>64}", "web")),
        ("container.image.name", "registry.example:5000/nginx"),
        ("container.image.tags", "1.25"),
        ("container.label.com.docker.compose.project", "shop"),
        ("container.label.com.docker.compose.service", "web"),
        ("container.label.team", "a b"),
        ("container.name", "web"),
        ("container.runtime.name", "docker"),
        ("host.name", "host-1"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    ensure!(resource == BTreeMap::from(expected), "{resource:?}");
    let logs: Vec<&Value> = list(&resources[0]["scope_logs"][0]["log_records"]).collect();
    ensure!(resources[0]["scope_logs"][0]["scope"]["name"] == "capture-agent" && logs.len() == 3, "{logs:?}");
    for (log, identity) in [(logs[0], 0), (logs[1], 2), (logs[2], 3)] {
        let (time, uid) = (identities[identity].0.to_string(), &identities[identity].1);
        ensure!(log["time_unix_nano"] == time && log["observed_time_unix_nano"] == time, "{log}");
        let found = attributes(&log["attributes"]);
        ensure!(found["log.record.uid"] == *uid && found["log.iostream"] == "stdout", "{log}");
    }
    ensure!(logs[0]["body"] == json!({"string_value": "first → \"x\""}), "{}", logs[0]);
    // Base64 of the exact bytes.
    ensure!(logs[1]["body"] == json!({"bytes_value": "Yf8="}), "{}", logs[1]);
    ensure!(attributes(&logs[2]["attributes"])["capture.lost_bytes"] == "7", "{}", logs[2]);
    Ok(())
}

#[test]
fn a_real_collector_takes_and_passes_on_every_record() -> Result<()> {
    for protocol in BOTH {
        let receiver = Receiver::start(&[])?;
        let (grpc, plain) = (free_address()?, free_address()?);
        let home = tempfile::tempdir()?;
        let mut rotel = Command::new(peers::packaged("rotel/rotel-agent")?);
        rotel.arg("start").arg("--pid-file").arg(home.path().join("pid"));
        rotel.args(["--otlp-grpc-endpoint", &grpc.to_string(), "--otlp-http-endpoint", &plain.to_string()]);
        rotel.args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"]);
        rotel.args(["--otlp-exporter-endpoint", &format!("http://{}", receiver.0.address())]);
        let _collector = Peer::of(rotel.stdout(Stdio::null()), vec![grpc, plain])?;
        let address = if protocol == Protocol::Grpc { grpc } else { plain };
        let config = OtlpConfig { endpoint: Some(format!("http://{address}")), ..receiver.config(protocol) };
        let mut sink = config.build(context("otlp"))?;
        let records = Source::new("web").lines(500);
        for batch in records.chunks(100) {
            ensure!(sink.write(batch)?.refused.is_empty());
        }
        let uids = || -> Result<Vec<String>> {
            Ok(receiver.records()?.iter().map(|log| attributes(&log["attributes"])["log.record.uid"].clone()).collect())
        };
        eventually("all records to come through", DEADLINE, || {
            uids().is_ok_and(|uids| uids.len() >= 500).then_some(())
        })?;
        let expected: Vec<String> = records.iter().map(|record| record.uid().to_string()).collect();
        ensure!(uids()? == expected, "{protocol:?}: other records, or another order");
    }
    Ok(())
}

#[test]
fn a_partial_success_counts_what_was_rejected_and_is_not_tried_again() -> Result<()> {
    for protocol in BOTH {
        let receiver = Receiver::start(&[])?;
        let mut sink = receiver.sink(protocol)?;
        receiver.behave(&json!({"rejected": 3, "message": "too many attributes"}))?;
        let receipt = sink.write(&Source::new("web").lines(10))?;
        let expected = [0, 1, 2].map(|index| Refused { index, reason: "partial_success" });
        ensure!(receipt.refused == expected, "{protocol:?}: {receipt:?}");
        receiver.behave(&json!({"rejected": 0, "message": "a mere warning"}))?;
        ensure!(sink.write(&Source::new("web").lines(10))?.refused.is_empty());
        ensure!(receiver.received()?.len() == 2);
    }
    Ok(())
}

#[test]
fn errors_over_http_are_sorted_as_the_specification_says() -> Result<()> {
    let receiver = Receiver::start(&[])?;
    let mut sink = receiver.sink(Protocol::HttpProtobuf)?;
    for (status, expected) in [
        (429, None),
        (502, None),
        (503, None),
        (504, None),
        (408, None),
        (400, Some("bad_request")),
        (401, Some("unauthorized")),
        (404, Some("not_found")),
        (500, Some("rejected")),
        (501, Some("rejected")),
    ] {
        receiver.behave(&json!({"status": status, "message": "because", "headers": {"Retry-After": "7"}}))?;
        let outcome = sink.write(&Source::new("web").lines(1));
        let is_expected = match (&outcome, expected) {
            (Err(SinkError::Retry { cause, after }), None) => {
                cause.ends_with(": because") && *after == Some(Duration::from_secs(7))
            }
            (Err(SinkError::Refused { cause, reason }), Some(expected)) => {
                cause.ends_with(": because") && *reason == expected
            }
            _ => false,
        };
        ensure!(is_expected, "{status}: {outcome:?}");
    }
    ensure!(receiver.received()?.is_empty() && sink.write(&Source::new("web").lines(1)).is_ok());
    Ok(())
}

#[test]
fn errors_over_grpc_are_sorted_as_the_specification_says() -> Result<()> {
    let receiver = Receiver::start(&[])?;
    let mut sink = receiver.sink(Protocol::Grpc)?;
    for (code, delay, expected) in [
        ("UNAVAILABLE", None, None),
        ("UNAVAILABLE", Some(7), None),
        ("RESOURCE_EXHAUSTED", Some(7), None),
        ("RESOURCE_EXHAUSTED", None, Some("rejected")),
        ("ABORTED", None, None),
        ("DATA_LOSS", None, None),
        ("INVALID_ARGUMENT", None, Some("bad_request")),
        ("UNAUTHENTICATED", None, Some("unauthorized")),
        ("UNIMPLEMENTED", None, Some("not_found")),
        ("INTERNAL", Some(7), Some("rejected")),
    ] {
        let mut behaviour = json!({"code": code, "message": "because"});
        if let Some(delay) = delay {
            behaviour["retry_delay"] = delay.into();
        }
        receiver.behave(&behaviour)?;
        let outcome = sink.write(&Source::new("web").lines(1));
        let is_expected = match (&outcome, expected) {
            (Err(SinkError::Retry { cause, after }), None) => {
                cause.ends_with(": because") && *after == delay.map(Duration::from_secs)
            }
            (Err(SinkError::Refused { cause, reason }), Some(expected)) => {
                cause.ends_with(": because") && *reason == expected
            }
            _ => false,
        };
        ensure!(is_expected, "{code} {delay:?}: {outcome:?}");
    }
    ensure!(receiver.received()?.is_empty() && sink.write(&Source::new("web").lines(1)).is_ok());
    ensure!(sink.health().open_connections() == 1, "errors of the protocol cost the connection");
    Ok(())
}

#[test]
fn what_is_too_large_together_is_sent_in_parts_and_what_is_too_large_alone_refused() -> Result<()> {
    for protocol in BOTH {
        let receiver = Receiver::start(&["--max-bytes", "20000"])?;
        let config = OtlpConfig { compression: Some(Compression::None), ..receiver.config(protocol) };
        let mut sink = config.build(context("otlp"))?;
        let mut web = Source::new("web");
        let mut records = web.lines(300);
        records.insert(100, web.line("x".repeat(30_000)));
        let receipt = sink.write(&records)?;
        ensure!(receipt.refused == [Refused { index: 100, reason: "too_large" }], "{protocol:?}: {receipt:?}");
        ensure!(receiver.records()?.len() == 300);
    }
    Ok(())
}

#[test]
fn whatever_is_wrong_with_a_grpc_server_costs_its_time_and_keeps_nothing_open() -> Result<()> {
    let cases: [(ill::Plain, &str, FailureKind); 4] = [
        (ill::mute, "gave no answer within 600ms", FailureKind::Timeout),
        (ill::babble, "does not speak HTTP", FailureKind::Protocol),
        (ill::hang_up, "the connection to http://", FailureKind::Closed),
        (ill::settings_only, "gave no answer within 600ms", FailureKind::Timeout),
    ];
    let timeout = Period(Duration::from_millis(600));
    for (manner, cause, kind) in cases {
        let server = Server::with(manner)?;
        let config = OtlpConfig {
            endpoint: Some(server.url()),
            protocol: Some(Protocol::Grpc),
            timeout: Some(timeout),
            connect_timeout: Some(timeout),
            ..OtlpConfig::default()
        };
        let mut sink = config.build(context("ill"))?;
        for _ in 0..2 {
            let begun = std::time::Instant::now();
            match sink.write(&Source::new("web").lines(1)) {
                Err(SinkError::Retry { cause: said, .. }) if said.contains(cause) => {}
                other => bail!("not “{cause}”: {other:?}"),
            }
            ensure!(begun.elapsed() < Duration::from_secs(2), "{cause}: after {:?}", begun.elapsed());
        }
        let health = sink.health();
        ensure!(health.errors(kind) == 2, "{cause}: {} errors of kind {}", health.errors(kind), kind.as_str());
        ensure!(!health.up() && health.open_connections() == 0, "{cause}: still connected");
    }
    Ok(())
}

#[test]
fn a_collector_that_is_restarted_is_found_again() -> Result<()> {
    let first = Receiver::start(&[])?;
    let address = first.0.addresses[1];
    let mut sink = first.sink(Protocol::Grpc)?;
    sink.check()?;
    drop(first);
    let outcome = sink.write(&Source::new("web").lines(1));
    ensure!(matches!(outcome, Err(SinkError::Retry { .. })), "{outcome:?}");
    ensure!(!sink.health().up() && sink.health().reconnects() == 0);
    let second = Receiver::start(&["--grpc-port", &address.port().to_string()])?;
    sink.write(&Source::new("web").lines(7))?;
    ensure!(second.records()?.len() == 7 && sink.health().up() && sink.health().reconnects() == 1);
    Ok(())
}

#[test]
fn descriptors_do_not_grow_with_broken_grpc_connections() -> Result<()> {
    let count = || fs::read_dir("/proc/self/fd").map(Iterator::count);
    let server = Server::with(ill::hang_up)?;
    let config = OtlpConfig { endpoint: Some(server.url()), protocol: Some(Protocol::Grpc), ..OtlpConfig::default() };
    let mut sink = config.build(context("ill"))?;
    let mut write = || sink.write(&Source::new("web").lines(1));
    write().unwrap_err();
    let before = count()?;
    for _ in 0..50 {
        write().unwrap_err();
    }
    // The server's threads are in this process too, and may hold a connection for a moment longer.
    eventually("as few descriptors as before", DEADLINE, || {
        count().is_ok_and(|count| count <= before + 1).then_some(())
    })
}

#[test]
fn grpc_goes_through_a_front_that_asks_for_certificates_and_carries_tokens_and_headers() -> Result<()> {
    let authority = Authority::new()?;
    let receiver = Receiver::start(&[])?;
    let front = Front::of_grpc(&authority, receiver.0.addresses[1])?;
    let token = authority.directory().join("token");
    fs::write(&token, "first")?;
    let headers = [("x-team".to_owned(), String::from("a").into())].into();
    let config = OtlpConfig {
        endpoint: Some(format!("https://{}", front.address)),
        tls: TlsConfig {
            ca_file: Some(authority.file("ca.pem")),
            cert_file: Some(authority.file("cert.pem")),
            key_file: Some(authority.file("key.pem")),
            server_name: None,
        },
        auth: AuthConfig { token_file: Some(token.clone()), ..AuthConfig::default() },
        headers,
        ..receiver.config(Protocol::Grpc)
    };
    let mut sink = config.build(context("otlp"))?;
    sink.write(&Source::new("web").lines(5))?;
    fs::write(&token, "second")?;
    sink.write(&Source::new("web").lines(5))?;
    let requests = receiver.received()?;
    let seen: Vec<_> = requests.iter().map(|request| &request["headers"]["authorization"]).collect();
    ensure!(seen == ["Bearer first", "Bearer second"] && requests[0]["headers"]["x-team"] == "a", "{requests:?}");

    let stranger = Authority::new()?;
    let tls = TlsConfig { ca_file: Some(stranger.file("ca.pem")), ..config.tls.clone() };
    let outcome = OtlpConfig { tls, ..config }.build(context("otlp"))?.write(&Source::new("web").lines(1));
    let says = outcome.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(says.contains("is not signed by a CA that is trusted"), "{says}");
    Ok(())
}
