//! The agent needs no file of the machine it runs on: it starts in an empty root, and finds hosts by their names there.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use capture_tests::peers::Peer;
use capture_tests::{process, workspace};
use tempfile::TempDir;

use crate::names::{ADDRESS, NameServer};

const DEADLINE: Duration = Duration::from_secs(30);

/// A root with the agent, a resolver's configuration, and nothing else.
struct EmptyRoot(TempDir);

impl EmptyRoot {
    fn new() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("ct-root-").tempdir()?;
        fs::copy(workspace::agent_binary(), root.path().join("agent")).context("the agent is not built")?;
        fs::create_dir(root.path().join("etc"))?;
        Ok(Self(root))
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        fs::write(self.0.path().join(path), text).with_context(|| path.to_owned())
    }

    fn agent(&self, arguments: &[&str]) -> Result<String> {
        let mut chroot = Command::new("chroot");
        chroot.arg(self.0.path()).arg("/agent").args(arguments);
        let output = process::output(&mut chroot, DEADLINE)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(text(&output.stdout) + &text(&output.stderr))
    }

    /// What `validate` says of a Loki on a host with this name.
    fn reach(&self, host: &str, port: u16) -> Result<String> {
        self.write("agent.yaml", &format!("sinks: {{peer: {{type: loki, endpoint: 'http://{host}:{port}'}}}}\n"))?;
        self.agent(&["validate", "--config", "/agent.yaml"])
    }
}

#[test]
fn it_names_no_interpreter_and_no_library() -> Result<()> {
    let binary = workspace::agent_binary();
    let headers =
        process::text(Command::new("readelf").args(["--program-headers", "--dynamic"]).arg(&binary), DEADLINE)?;
    ensure!(headers.contains("LOAD"), "{headers}");
    ensure!(!headers.contains("INTERP") && !headers.contains("(NEEDED)"), "{}: not static", binary.display());
    let said = process::output(Command::new("ldd").arg(&binary), DEADLINE)?;
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(said.contains("statically linked") || said.contains("not a dynamic executable"), "{said}");
    Ok(())
}

#[test]
fn it_starts_in_an_empty_root() -> Result<()> {
    let said = EmptyRoot::new()?.agent(&["--version"])?;
    ensure!(said.starts_with("capture-agent "), "{said}");
    Ok(())
}

#[test]
fn it_finds_hosts_in_the_hosts_file_and_in_dns() -> Result<()> {
    let loki = Peer::start("loki.py", &[], 1)?;
    let port = loki.address().port();
    let _names = NameServer::start("loki.dns.test")?;
    let root = EmptyRoot::new()?;
    root.write("etc/hosts", "127.0.0.1 loki.file.test\n")?;
    root.write("etc/resolv.conf", &format!("nameserver {ADDRESS}\n"))?;
    // Without /etc/nsswitch.conf; with modules that are not part of the C library; and with one that has the last word,
    // were it asked.
    for services in
        [None, Some("hosts: resolve mymachines files mdns4 dns\n"), Some("hosts: other [UNAVAIL=return] dns\n")]
    {
        if let Some(services) = services {
            root.write("etc/nsswitch.conf", services)?;
        }
        for host in ["loki.file.test", "loki.dns.test"] {
            let said = root.reach(host, port)?;
            ensure!(said.contains("ok      sinks.peer"), "{host} with {services:?}: {said}");
        }
        let said = root.reach("stranger.dns.test", port)?;
        ensure!(said.contains("failed  sinks.peer"), "a name that nobody knows: {said}");
    }
    Ok(())
}
