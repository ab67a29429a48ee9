//! Sinks over a network, driven by their own interface, against peers that are real, and peers that are ill.

#[path = "../docker_socket/certificates.rs"]
mod certificates;
mod examples;
mod front;
mod http_ill;
mod http_tls;
mod ill;
mod kafka;
mod kafka_ill;
mod loki;
mod otlp;
mod records;
