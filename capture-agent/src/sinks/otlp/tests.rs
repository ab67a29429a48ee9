use std::collections::BTreeMap;

use super::*;
use crate::config::{Secret, SinkContext, TlsConfig};

fn context() -> SinkContext {
    SinkContext { name: "otlp".parse().unwrap(), host: "host-1".to_owned() }
}

/// Where a sink sends that is built with these variables, or why there is none.
fn endpoint(config: &OtlpConfig, variables: &[(&str, &str)]) -> String {
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    match config.build_in(context(), find) {
        Err(error) => error.to_string(),
        Ok(sink) => match &sink.transport {
            Transport::Http(http) => http.endpoint(),
            Transport::Grpc(grpc) => format!("grpc {}", grpc.endpoint()),
        },
    }
}

#[test]
fn the_endpoint_is_that_of_the_file_then_of_the_environment_then_the_default() {
    let (plain, grpc) = (OtlpConfig::default(), OtlpConfig { protocol: Some(Protocol::Grpc), ..OtlpConfig::default() });
    assert_eq!(endpoint(&plain, &[]), "http://localhost:4318/v1/logs");
    assert_eq!(endpoint(&grpc, &[]), "grpc http://localhost:4317");
    let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318/base/");
    let logs = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:4318");
    assert_eq!(endpoint(&plain, &[all]), "http://all:4318/base/v1/logs");
    // That of logs alone is taken as it is.
    assert_eq!(endpoint(&plain, &[all, logs]), "http://logs:4318");
    let given = |endpoint: &str| OtlpConfig { endpoint: Some(endpoint.to_owned()), ..OtlpConfig::default() };
    for text in ["http://file:1", "http://file:1/", "http://file:1/v1/logs"] {
        assert_eq!(endpoint(&given(text), &[all, logs]), "http://file:1/v1/logs");
    }
    let bare = ("OTEL_EXPORTER_OTLP_ENDPOINT", "all:4317");
    let insecure = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
    assert_eq!(endpoint(&grpc, &[bare, insecure]), "grpc http://all:4317");
    assert_eq!(endpoint(&plain, &[all, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), "grpc http://all:4318/base");
    assert!(endpoint(&given("file:1"), &[]).contains("not a URL"));
}

#[test]
fn files_of_the_environment_are_for_tls_and_those_of_the_file_win() {
    let ca = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/environment.pem");
    let given = |endpoint: &str, tls| OtlpConfig { endpoint: Some(endpoint.to_owned()), tls, ..OtlpConfig::default() };
    assert_eq!(endpoint(&given("http://a", TlsConfig::default()), &[ca]), "http://a/v1/logs");
    assert!(endpoint(&given("https://a", TlsConfig::default()), &[ca]).contains("/nowhere/environment.pem"));
    let tls = TlsConfig { ca_file: Some("/nowhere/file.pem".into()), ..TlsConfig::default() };
    assert!(endpoint(&given("https://a", tls), &[ca]).contains("/nowhere/file.pem"));
}

#[test]
fn headers_of_the_file_stand_in_place_of_those_of_the_environment() {
    let bad = ("OTEL_EXPORTER_OTLP_HEADERS", "no%20name=%0A");
    assert!(endpoint(&OtlpConfig::default(), &[bad]).contains("header"));
    let headers = BTreeMap::from([("x-key".to_owned(), Secret::from("a".to_owned()))]);
    assert_eq!(endpoint(&OtlpConfig { headers, ..OtlpConfig::default() }, &[bad]), "http://localhost:4318/v1/logs");
}

#[test]
fn a_partial_success_counts_what_was_rejected() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;
    let mut sink = OtlpConfig::default().build_in(context(), |_| None).unwrap();
    let mut refused = |rejected_log_records, count| {
        let partial = ExportLogsPartialSuccess { rejected_log_records, error_message: "because".to_owned() };
        sink.refused(&ExportLogsServiceResponse { partial_success: Some(partial) }, count).len()
    };
    assert_eq!([refused(0, 5), refused(2, 5), refused(9, 5), refused(-1, 5)], [0, 2, 5, 0]);
    assert!(sink.refused(&ExportLogsServiceResponse::default(), 5).is_empty());
}
