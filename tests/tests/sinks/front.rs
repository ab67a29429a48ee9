//! nginx before a server: it speaks TLS, and asks for certificates.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result};
use capture_tests::agent::free_address;
use capture_tests::peers::Peer;
use tempfile::TempDir;

use crate::certificates::Authority;

/// A running nginx.
pub struct Front {
    _nginx: Peer,
    _home: TempDir,
    pub address: SocketAddr,
}

impl Front {
    /// Takes those that `authority` signed, shows what it signed, and passes all on to `server`.
    pub fn new(authority: &Authority, server: SocketAddr) -> Result<Self> {
        Self::passing(authority, &format!("proxy_pass http://{server};"))
    }

    /// The same for gRPC.
    pub fn of_grpc(authority: &Authority, server: SocketAddr) -> Result<Self> {
        Self::passing(authority, &format!("grpc_pass grpc://{server};"))
    }

    /// The same for a protocol that is not HTTP.
    pub fn of_stream(authority: &Authority, address: SocketAddr, server: SocketAddr) -> Result<Self> {
        let modules = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;";
        let server = format!("stream {{\n{}\nproxy_pass {server};\n}}\n}}\n", tls(authority, address, "ssl"));
        Self::start(address, |place| format!("{modules}\n{}{server}", common(place)))
    }

    fn passing(authority: &Authority, pass: &str) -> Result<Self> {
        let address = free_address()?;
        let server = format!("{}\nlocation / {{ {pass} }}\n}}\n}}\n", tls(authority, address, "ssl http2"));
        Self::start(address, |place| {
            let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"));
            format!("{}http {{\n{}access_log off;\n{server}", common(place), paths.concat())
        })
    }

    fn start(address: SocketAddr, configuration: impl FnOnce(&str) -> String) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("ct-nginx-").tempdir().context("no directory for nginx")?;
        let configuration = configuration(&home.path().display().to_string());
        fs::write(home.path().join("nginx.conf"), configuration).context("nginx.conf cannot be written")?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(home.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
        let nginx = Peer::of(&mut command, vec![address])?;
        Ok(Self { _nginx: nginx, _home: home, address })
    }
}

/// One process, which is gone when it is killed.
fn common(place: &str) -> String {
    format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
         events {{ worker_connections 64; }}\n"
    )
}

/// The beginning of a server that asks for certificates.
fn tls(authority: &Authority, address: SocketAddr, flags: &str) -> String {
    let directory = authority.directory().display();
    format!(
        "server {{\nlisten {address} {flags};\n\
         ssl_certificate {directory}/server-cert.pem; ssl_certificate_key {directory}/server-key.pem;\n\
         ssl_client_certificate {directory}/ca.pem; ssl_verify_client on;\n"
    )
}
