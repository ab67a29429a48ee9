use super::*;
use crate::config::file::load;
use crate::config::yaml::Interpolation;

fn sinks(text: &str) -> Result<Sinks, Vec<String>> {
    let loaded = load(text, &Interpolation::Refused, &|_| Vec::new());
    loaded
        .map(|(config, _)| config.sinks)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// All that can be said of a sink over a network.
const NETWORK: &str = r#"
sinks:
  loki:
    type: loki
    endpoint: https://loki.example:3100
    tenant: team-a
    labels: {container: "{container}", job: "docker/{host}"}
    structured_metadata: [container_id, level, fields]
    encoding: logfmt
    auth: {username: agent, password_file: PASSWORD}
    tls: {server_name: loki}
    headers: {X-Team: a}
    connect_timeout: 2s
    timeout: 20s
    filter: {min_level: warn}
    batch: {max_bytes: 512KiB, max_records: 1000, timeout: 2s}
    buffer: {type: disk, max_bytes: 4GiB, path: /buffer, fsync_interval: 5s}
    retry: {initial: 1s, max: 1m, give_up_after: 1h}
  collector:
    type: otlp
    endpoint: http://collector.example:4317
    protocol: grpc
    compression: none
    resource_attributes: {deployment.environment.name: test}
    auth: {token_file: PASSWORD}
    timeout: 5s
  log:
    type: kafka
    brokers: ["127.0.0.1:1", "127.0.0.1:2"]
    topic: logs.{compose_project}
    encoding: raw
    compression: lz4
    message_max_bytes: 2MiB
    tls: {}
    sasl: {mechanism: SCRAM-SHA-512, username: agent, password_file: PASSWORD}
    timeout: 10s
    options: {client.id: capture}
"#;

#[test]
fn sinks_over_a_network_take_what_is_said_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "hunter2").unwrap();
    let text = NETWORK.replace("PASSWORD", password.to_str().unwrap());
    let sinks = sinks(&text).unwrap();
    for (name, sink) in &sinks.0 {
        assert_eq!(sink.build(SinkContext::new(name.clone())).unwrap().name(), name.as_str());
        assert!(!serde_json::to_string(sink).unwrap().contains("hunter2"));
    }
    let get = |name: &str| &sinks.0[&name.parse().unwrap()];
    assert_eq!(get("loki").batch().max_records, 1000);
    assert_eq!((get("collector").kind(), get("log").kind()), ("otlp", "kafka"));
    std::fs::remove_file(&password).unwrap();
    let refused = get("log").build(SinkContext::new("log".parse().unwrap())).err().unwrap().to_string();
    assert!(refused.starts_with("sinks.log: ") && refused.contains(password.to_str().unwrap()), "{refused}");
}
