use axum::http::HeaderName;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    pairs.iter().map(pair).collect()
}

fn guard(listen: &str, token: Option<&str>, is_encrypted: bool) -> (Guard, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    if let Some(token) = token {
        std::fs::write(&path, token).unwrap();
    }
    (Guard::new(listen.parse().unwrap(), token.map(|_| path), is_encrypted).unwrap(), directory)
}

#[test]
fn on_loopback_this_machine_may_ask_and_a_name_that_leads_here_may_not() {
    for listen in ["127.0.0.1:8001", "[::1]:8001"] {
        let (guard, _directory) = guard(listen, None, false);
        for host in ["localhost", "localhost:8001", "LocalHost:1", "127.0.0.1:8001", "127.1.2.3", "[::1]:8001", "[::1]"]
        {
            for path in ["/", "/metrics", "/api/v1/stream"] {
                assert_eq!(guard.check(path, &headers(&[("host", host)])), Ok(()), "{host} {path}");
            }
        }
        for host in [
            "evil.example:8001",
            "localhost.evil.example",
            "10.0.0.1:8001",
            "",
            "127.0.0.1.evil.example",
            "[::2]",
            "[::1",
        ] {
            let asked = headers(&[("host", host)]);
            for path in ["/", "/metrics", "/api/v1/agent", "/api/v1/stream"] {
                assert_eq!(guard.check(path, &asked), Err(Refusal::Host), "{host} {path}");
            }
            assert_eq!(guard.check("/healthz", &asked), Ok(()));
            assert_eq!(guard.check("/readyz", &asked), Ok(()));
        }
        assert_eq!(guard.check("/api/v1/agent", &headers(&[])), Ok(()), "no browser leaves Host out");
    }
}

#[test]
fn a_page_of_another_origin_may_not_ask() {
    let (guard, _directory) = guard("127.0.0.1:8001", None, false);
    let check =
        |origin: &str| guard.check("/api/v1/stream", &headers(&[("host", "localhost:8001"), ("origin", origin)]));
    assert_eq!(check("http://localhost:8001"), Ok(()));
    for origin in ["http://evil.example", "null", "http://localhost:3000", "http://localhost", "file://", "?", ""] {
        assert_eq!(check(origin), Err(Refusal::Origin), "{origin}");
    }
    let site = |path: &str, site: &str| guard.check(path, &headers(&[("host", "localhost"), ("sec-fetch-site", site)]));
    for same in ["same-origin", "none"] {
        assert_eq!(site("/api/v1/containers", same), Ok(()));
    }
    for other in ["cross-site", "same-site"] {
        assert_eq!(site("/api/v1/containers", other), Err(Refusal::Origin));
        assert_eq!(site("/", other), Ok(()), "a link that leads here");
    }
}

#[test]
fn elsewhere_the_api_takes_a_token_and_tls() {
    let foreign = |token: Option<&str>| {
        let mut all = headers(&[("host", "node-7:8001")]);
        if let Some(token) = token {
            all.insert(AUTHORIZATION, HeaderValue::from_bytes(token.as_bytes()).unwrap());
        }
        all
    };
    for (token, is_encrypted) in [(None, false), (None, true), (Some("hunter2"), false)] {
        let (guard, _directory) = guard("0.0.0.0:8001", token, is_encrypted);
        assert_eq!(guard.check("/api/v1/stream", &foreign(Some("Bearer hunter2"))), Err(Refusal::Unprotected));
        for path in ["/metrics", "/", "/healthz"] {
            assert_eq!(guard.check(path, &foreign(None)), Ok(()), "{path}");
        }
    }
    let (guard, _directory) = guard("[::]:8001", Some("hunter2\n"), true);
    for right in ["Bearer hunter2", "bearer hunter2 "] {
        assert_eq!(guard.check("/api/v1/stream", &foreign(Some(right))), Ok(()), "{right}");
    }
    for wrong in ["Bearer hunter", "Bearer hunter22", "Bearer ", "Bearer", "hunter2", "Basic hunter2", "Bearer \u{e9}"]
    {
        assert_eq!(guard.check("/api/v1/stream", &foreign(Some(wrong))), Err(Refusal::Token), "{wrong}");
    }
    assert_eq!(guard.check("/api/v1/agent", &foreign(None)), Err(Refusal::Token));
}

#[test]
fn a_token_counts_on_loopback_too_and_may_be_written_anew() {
    let (guard, directory) = guard("127.0.0.1:8001", Some("first"), false);
    let check = |token: &str| guard.check("/api/v1/agent", &headers(&[("authorization", &format!("Bearer {token}"))]));
    assert_eq!((check("first"), check("second")), (Ok(()), Err(Refusal::Token)));
    std::fs::write(directory.path().join("token"), "second!").unwrap();
    assert_eq!((check("first"), check("second!")), (Err(Refusal::Token), Ok(())));
    std::fs::remove_file(directory.path().join("token")).unwrap();
    assert_eq!(check("second!"), Ok(()), "what was read before is kept");
    assert_eq!(guard.check("/metrics", &headers(&[])), Ok(()));
}
