//! `GET /api/v1/stream`: records as they pass, as `text/event-stream`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::poll_fn;

use super::api::{Api, problem};
use super::connection::Lease;
use crate::live::Query;

/// What a reverse proxy must not do with a stream: collect it.
const NO_BUFFERING: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

pub(super) async fn stream(
    State(api): State<Arc<Api>>,
    Extension(lease): Extension<Lease>,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = match read(query.as_deref().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(told) => return problem(StatusCode::BAD_REQUEST, told),
    };
    let filter = match asked.query.build() {
        Ok(filter) => filter,
        Err(error) => return problem(StatusCode::BAD_REQUEST, error),
    };
    let mut pieces = match api.sources.live.watch(filter, asked.since_start) {
        Ok(pieces) => pieces,
        Err(error) => {
            let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, error);
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            return answer;
        }
    };
    // Asked for a piece only when there is room for it: the client has read what came before.
    let body = poll_fn(move |context| {
        lease.renew();
        pieces.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), NO_BUFFERING];
    (headers, Body::from_stream(body)).into_response()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    query: Query,
    since_start: bool,
}

fn read(query: &str) -> Result<Asked, String> {
    let mut asked = Asked::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match &*name {
            "name" => asked.query.names.push(value),
            "label" => asked.query.labels.push(value),
            "stream" if asked.query.stream.is_none() => asked.query.stream = Some(value),
            "grep" if asked.query.grep.is_none() => asked.query.grep = Some(value),
            "since_start" => {
                asked.since_start = match value.as_str() {
                    "" | "1" | "true" => true,
                    "0" | "false" => false,
                    _ => return Err("since_start is true or false".to_owned()),
                }
            }
            "stream" | "grep" => return Err(format!("`{name}` can be given once")),
            _ => {
                return Err(format!("`{name}` is unknown here; there are name, label, stream, grep and since_start"));
            }
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_what_is_unknown_is_told() {
        let asked = read("name=web-*&name=db&label=team%3Dshop&stream=stderr&grep=a%2Bb+c&since_start=true").unwrap();
        let expected = Query {
            names: vec!["web-*".to_owned(), "db".to_owned()],
            labels: vec!["team=shop".to_owned()],
            stream: Some("stderr".to_owned()),
            grep: Some("a+b c".to_owned()),
        };
        assert_eq!(asked, Asked { query: expected, since_start: true });
        assert_eq!(read(""), Ok(Asked::default()));
        for wrong in ["nam=x", "grep=a&grep=b", "stream=stdout&stream=stderr", "since_start=yes"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
