//! `GET /`: a page that shows what the API tells. One answer, nothing from elsewhere.
//!
//! Containers decide what is in their logs, names and labels. The page puts all of it in as text, and its policy would stop
//! a script or a style that came in some other way: only those with this answer's nonce count.

use std::fmt::Write as _;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse as _, Response};

const DOCUMENT: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
/// In the order in which they build on each other; together they are one script.
const SCRIPTS: [&str; 5] = [
    include_str!("page/ask.js"),
    include_str!("page/containers.js"),
    include_str!("page/status.js"),
    include_str!("page/tail.js"),
    include_str!("page/keys.js"),
];
const ICON: &str = include_str!("page/icon.svg");

const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");

pub(super) async fn page() -> Response {
    let Ok(nonce) = nonce() else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "no random numbers\n").into_response();
    };
    let script = SCRIPTS.concat();
    let mut document = String::with_capacity(DOCUMENT.len() + STYLE.len() + script.len());
    let mut rest = DOCUMENT;
    // One after the other: what is put in is not looked at again.
    for (mark, text) in [("{{nonce}}", &*nonce), ("{{style}}", STYLE), ("{{nonce}}", &*nonce), ("{{script}}", &*script)]
    {
        if let Some((before, after)) = rest.split_once(mark) {
            document.push_str(before);
            document.push_str(text);
            rest = after;
        }
    }
    document.push_str(rest);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (headers, document).into_response()
}

pub(super) async fn icon() -> Response {
    ([(CONTENT_TYPE, "image/svg+xml")], ICON).into_response()
}

/// 128 random bits.
fn nonce() -> rustix::io::Result<String> {
    let mut bytes = [0; 16];
    let length = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if length < bytes.len() {
        return Err(rustix::io::Errno::IO);
    }
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
