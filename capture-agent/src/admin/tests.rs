use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;

use super::*;
use crate::live::{LiveConfig, LiveStats};

struct Started {
    admin: AdminHandle,
    readiness: Arc<Readiness>,
}

fn sources(viewers_max: u32) -> Sources {
    let ledger = Arc::new(Ledger::new(Duration::from_secs(1)));
    let fanout = crate::delivery::Fanout::new(Duration::ZERO);
    let (directory, _) = Directory::new();
    Sources {
        metrics: Arc::new(metrics::tests::of(Ledger::new(Duration::from_secs(1)))),
        ledger,
        directory,
        docker: Arc::default(),
        sinks: fanout.control(),
        live: LiveConfig { viewers_max, recent: 0 }.build(fanout.taps(), Arc::<LiveStats>::default()),
    }
}

fn config() -> AdminConfig {
    AdminConfig { listen: ([127, 0, 0, 1], 0).into(), token_file: None, tls: None }
}

fn start_with(config: &AdminConfig) -> Started {
    let readiness = Arc::new(Readiness::default());
    let admin = config.build(sources(2), Arc::clone(&readiness)).unwrap();
    Started { admin: admin.spawn().unwrap(), readiness }
}

fn start() -> (AdminHandle, Arc<Readiness>) {
    let Started { admin, readiness } = start_with(&config());
    (admin, readiness)
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
fn the_agent_is_ready_while_it_captures_and_alive_from_beginning_to_end() {
    let (admin, readiness) = start();
    for (state, expected) in [(State::Starting, "503"), (State::Capturing, "200"), (State::Draining, "503")] {
        readiness.set(state);
        let answer = ask(&admin, "GET /readyz");
        assert_eq!(status(&answer), expected, "{state:?}");
        assert!(answer.ends_with(&format!("\r\n\r\n{}\n", state.as_str())), "{answer}");
        let answer = ask(&admin, "GET /healthz");
        assert!(status(&answer) == "200" && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        let answer = ask(&admin, "GET /api/v1/agent");
        assert!(answer.contains(&format!("\"state\":\"{}\"", state.as_str())), "{answer}");
    }
    admin.shutdown();
}

#[test]
fn an_agent_whose_reader_is_stuck_is_not_alive() {
    let status = |state, silence| liveness(state, Duration::from_secs(silence)).0.as_u16();
    assert_eq!((status(State::Capturing, 5), status(State::Capturing, 31)), (200, 503));
    assert_eq!((status(State::Starting, 31), status(State::Draining, 31)), (200, 200));
    let ledger = Ledger::new(Duration::from_secs(1));
    std::thread::sleep(Duration::from_millis(300));
    let before = ledger.silence();
    assert!(before >= Duration::from_millis(300));
    ledger.set_agent(crate::session::totals::AgentTotals::default());
    assert!(ledger.silence() < before);
}

#[test]
fn a_name_that_leads_here_is_refused_and_probes_are_not() {
    let (admin, _) = start();
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(admin.local_addr()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for path in ["/", "/metrics", "/api/v1/agent", "/api/v1/stream", "/nothing"] {
        let answer = ask(path);
        assert!(status(&answer) == "403" && answer.contains("{\"error\":\"the Host header"), "{path}: {answer}");
    }
    assert_eq!(status(&ask("/healthz")), "200");
    admin.shutdown();
}

#[test]
fn a_token_is_asked_for_by_the_api_alone() {
    let directory = tempfile::tempdir().unwrap();
    let token_file = directory.path().join("token");
    std::fs::write(&token_file, "hunter2\n").unwrap();
    let Started { admin, .. } = start_with(&AdminConfig { token_file: Some(token_file), ..config() });
    for path in ["/api/v1/agent", "/api/v1/containers", "/api/v1/sinks", "/api/v1/stream", "/api/v1/x"] {
        let answer = ask(&admin, &format!("GET {path}"));
        assert_eq!(status(&answer), "401", "{path}");
        assert!(answer.to_lowercase().contains("\r\nwww-authenticate: bearer realm="), "{answer}");
    }
    assert_eq!(status(&ask(&admin, "GET /")), "200");
    assert_eq!(status(&ask(&admin, "GET /metrics")), "200");
    let mut stream = TcpStream::connect(admin.local_addr()).unwrap();
    let head = "Host: localhost\r\nAuthorization: Bearer hunter2";
    write!(stream, "GET /api/v1/sinks HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(status(&answer) == "200" && answer.ends_with("{\"sinks\":[]}"), "{answer}");
    admin.shutdown();
}

#[test]
fn a_stream_begins_at_once_and_one_too_many_is_refused() {
    let (admin, _) = start();
    let open = || {
        let mut stream = TcpStream::connect(admin.local_addr()).unwrap();
        write!(stream, "GET /api/v1/stream?since_start=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        BufReader::new(stream)
    };
    let until = |stream: &mut BufReader<TcpStream>, wanted: &str| {
        let mut seen = String::new();
        while !seen.contains(wanted) && stream.read_line(&mut seen).unwrap() > 0 {}
        seen
    };
    let mut streams = [open(), open()];
    for stream in &mut streams {
        let seen = until(stream, "since_start");
        assert!(seen.contains("content-type: text/event-stream\r\n"), "{seen}");
        assert!(seen.contains("event: hello\n") && seen.contains("\"since_start\":false"), "{seen}");
    }
    let mut answer = String::new();
    open().read_to_string(&mut answer).unwrap();
    assert!(status(&answer) == "503" && answer.contains("there are 2 streams already"), "{answer}");
    assert_eq!(admin.live.stats().refused.load(Ordering::Relaxed), 1);
    // One that leaves makes room, and the end is told to the one that stays.
    let [first, mut second] = streams;
    drop(first);
    let left = Instant::now();
    while admin.live.stats().viewers.load(Ordering::Relaxed) > 1 && left.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(admin.live.stats().viewers.load(Ordering::Relaxed), 1);
    admin.shutdown();
    let seen = until(&mut second, "event: end");
    assert!(seen.contains("event: end"), "{seen}");
}

#[test]
fn what_cannot_be_asked_for_is_told() {
    let (admin, _) = start();
    for (path, told) in [
        ("stream?grep=(", "`(` is no regular expression: unclosed group"),
        ("stream?name=[", "`[` is no pattern for a name: "),
        ("stream?label=team", "`team` is no label; give key=value"),
        ("stream?stream=stdin", "there is no stream `stdin`; give stdout or stderr"),
        ("stream?since=x", "`since` is unknown here"),
        ("containers?x=1", "`x=1` is unknown here"),
    ] {
        let answer = ask(&admin, &format!("GET /api/v1/{path}"));
        assert!(status(&answer) == "400" && answer.contains(told), "{path}: {answer}");
    }
    admin.shutdown();
}

#[test]
fn the_page_runs_its_own_script_and_no_other() {
    let (admin, _) = start();
    let nonces: Vec<String> = (0..2)
        .map(|_| {
            let answer = ask(&admin, "GET /");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
            assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
            let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
            assert!(nonce.len() == 32 && body.contains(&format!("<script nonce=\"{nonce}\">")), "{head}");
            assert!(!body.contains("{{"), "a mark was left in");
            for outside in ["http://", "https://", "//cdn", "@import", "innerHTML"] {
                assert!(!body.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
            }
            nonce.to_owned()
        })
        .collect();
    assert_ne!(nonces[0], nonces[1]);
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
    assert_eq!(status(&ask(&admin, "GET /debug")), "404");
    assert_eq!(status(&ask(&admin, "POST /metrics")), "405");
    admin.shutdown();
}

#[test]
fn a_silent_client_holds_up_neither_others_nor_the_end() {
    let (admin, _) = start();
    let silent: Vec<_> =
        (0..connection::MAX_CONNECTIONS / 2).map(|_| TcpStream::connect(admin.local_addr()).unwrap()).collect();
    assert_eq!(status(&ask(&admin, "GET /")), "200");
    admin.shutdown();
    drop(silent);
}

#[test]
fn a_port_that_is_taken_is_told_with_what_to_do() {
    let (admin, readiness) = start();
    let again = AdminConfig { listen: admin.local_addr(), ..config() };
    let error = again.build(sources(1), readiness).unwrap_err();
    let expected = format!(
        "cannot listen on {}: address already in use; stop the other process or choose another address with --listen",
        admin.local_addr()
    );
    assert_eq!(error.to_string(), expected);
    admin.shutdown();
}
