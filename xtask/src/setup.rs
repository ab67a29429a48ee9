//! `cargo xtask setup`: what building, running and testing need, and how this machine gets it.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use capture_tests::image;
use clap::Args;

use crate::install::Installer;
use crate::toolchain::{self, Compiler};
use crate::workspace::find_program;
use crate::{Outcome, deb, peers, step};

/// Options of `cargo xtask setup`.
#[derive(Args)]
pub struct Options {
    /// Only tell what is missing; exit 1 if anything is
    #[arg(long)]
    check: bool,
}

/// What a command cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Building the eBPF object and the agent.
    Bpf,
    /// Containers: the engine, its client, what images are made of.
    Engine,
    /// Peers that sinks send to in tests: brokers, collectors, decoders, a TLS front.
    Peers,
    /// A browser, which shows the agent's page in a test.
    Browser,
    /// Prometheus, which scrapes the agent and evaluates rules and dashboards in a test.
    Prometheus,
    /// Making packages, and checking them and what else is shipped in `deploy/`.
    Packages,
    /// What reads man pages, as people do.
    Pages,
    /// A file tailer, which the benchmarks compare with.
    Tailer,
}

/// One thing that has to be on the machine.
struct Part {
    need: Need,
    name: &'static str,
    why: &'static str,
    /// What is there, if it is.
    find: fn() -> Option<String>,
    install: fn(&mut Installer) -> Result<()>,
}

const PARTS: &[Part] = &[
    Part {
        need: Need::Bpf,
        name: "C compiler",
        why: "links the agent, the BPF linker and the static test programs",
        find: find_c_compiler,
        install: |installer| installer.apt(&["gcc", "libc6-dev"]),
    },
    Part {
        need: Need::Bpf,
        name: "C++, make, perl",
        why: "build the Kafka client that the agent brings, and the TLS that it brings",
        find: || located("g++").and_then(|_| located("make")).and_then(|_| located("perl")),
        install: |installer| installer.apt(&["g++", "make", "perl"]),
    },
    Part {
        need: Need::Bpf,
        name: "BPF compiler",
        why: "compiles the kernel side; stable Rust has no core for bpfel-unknown-none",
        find: || Compiler::find().map(|compiler| compiler.describe()),
        install: Installer::bpf_compiler,
    },
    Part {
        need: Need::Bpf,
        name: "bpf-linker",
        why: "links the kernel side and writes its BTF",
        find: || toolchain::has_linker().then(|| toolchain::LINKER_VERSION.to_owned()),
        install: Installer::bpf_linker,
    },
    Part {
        need: Need::Engine,
        name: "dockerd",
        why: "runs the containers that tests and the demo capture",
        find: || located("dockerd"),
        install: |installer| installer.apt(&["docker.io"]),
    },
    Part {
        need: Need::Engine,
        name: "docker client",
        why: "starts and removes those containers",
        find: || located("docker"),
        // Newer Debian has the client in a package of its own.
        install: |installer| installer.apt(&["docker-cli"]),
    },
    Part {
        need: Need::Engine,
        name: "static busybox",
        why: "is the image of those containers, as there may be no registry",
        find: || image::find_busybox().map(|path| path.display().to_string()),
        install: |installer| installer.apt(&["busybox-static"]),
    },
    Part {
        need: Need::Engine,
        name: "tracefs",
        why: "names the tracepoints of attach mode `syscalls`, which tests use",
        find: find_tracefs,
        install: |_| mount_tracefs(),
    },
    Part {
        need: Need::Prometheus,
        name: "prometheus",
        why: "scrapes the agent in a test, evaluates the dashboards and checks the rules",
        find: find_prometheus,
        // Its service would listen on 9090; the tests start one of their own on another port, so it would not be in the way.
        install: |installer| installer.apt(&["prometheus"]),
    },
    Part {
        need: Need::Browser,
        name: "chromium",
        why: "shows the agent's page in a test, without a screen",
        find: || located("chromium"),
        // Without a font there is nothing to see on a picture.
        install: |installer| installer.apt(&["chromium", "fonts-dejavu-core"]),
    },
    Part {
        need: Need::Pages,
        name: "groff",
        why: "reads the man pages in a test",
        find: || located("groff"),
        install: |installer| installer.apt(&["groff-base"]),
    },
    Part {
        need: Need::Tailer,
        name: "rsyslogd",
        why: "reads Docker's log files in a benchmark, as many hosts do it",
        find: || located("rsyslogd"),
        // Where there is an init its service starts too; the benchmark starts one of its own, with a socket of nobody's.
        install: |installer| installer.apt(&["rsyslog"]),
    },
    Part {
        need: Need::Peers,
        name: "Python with venv",
        why: "runs the peers that sinks send to in tests",
        find: find_python,
        install: |installer| installer.apt(&["python3", "python3-venv"]),
    },
    Part {
        need: Need::Peers,
        name: "peers' packages",
        why: "are a Kafka broker, an OpenTelemetry collector, and decoders to check what sinks send",
        find: peers::find,
        install: |_| peers::install(),
    },
    Part {
        need: Need::Packages,
        name: "cargo-deb",
        why: "makes the Debian package",
        find: deb::find,
        install: |_| Installer::cargo_deb(),
    },
    Part {
        need: Need::Packages,
        name: "docker compose",
        why: "reads deploy/compose.yaml in a test, and runs its agent",
        find: find_compose,
        install: |installer| installer.apt(&["docker-compose"]),
    },
    Part {
        need: Need::Packages,
        name: "kubectl",
        why: "puts the manifests in deploy/kubernetes together in a test",
        find: || located("kubectl"),
        install: |installer| installer.apt(&["kubernetes-client"]),
    },
    Part {
        need: Need::Packages,
        name: "systemd-analyze",
        why: "checks the unit in a test; nothing of systemd is started",
        find: || located("systemd-analyze"),
        install: |installer| installer.apt(&["systemd"]),
    },
    Part {
        need: Need::Peers,
        name: "nginx",
        why: "is the TLS front that asks for certificates in those tests",
        find: || located("nginx").filter(|_| Path::new("/usr/lib/nginx/modules/ngx_stream_module.so").is_file()),
        install: |installer| installer.apt(&["nginx-light", "libnginx-mod-stream"]),
    },
];

const TRACEFS: &str = "/sys/kernel/tracing";

fn find_tracefs() -> Option<String> {
    // Listing the directory mounts it where debugfs does so on demand.
    [TRACEFS, "/sys/kernel/debug/tracing"]
        .into_iter()
        .find(|path| Path::new(path).join("events/syscalls").is_dir())
        .map(ToOwned::to_owned)
}

fn mount_tracefs() -> Result<()> {
    let mut mount = Command::new("mount");
    step::run("tracefs", "mount tracefs", mount.args(["-t", "tracefs", "tracefs", TRACEFS]))
}

/// Shows every part, installs the missing ones unless only asked to tell.
pub fn command(options: &Options) -> Outcome {
    let mut missing = Vec::new();
    for part in PARTS {
        if let Some(found) = (part.find)() {
            println!("✓ {:14} {found}", part.name);
        } else if options.check {
            println!("+ {:14} missing: {}", part.name, part.why);
            missing.push(part.name);
        } else {
            install(part, &mut Installer::default())?;
        }
    }
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} missing; `cargo xtask setup` installs what is", missing.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Installs what is missing of `needs`, and says nothing where nothing is.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let mut installer = Installer::default();
    for part in PARTS.iter().filter(|part| needs.contains(&part.need)) {
        if (part.find)().is_none() {
            install(part, &mut installer)?;
        }
    }
    Ok(())
}

/// Installs one part, and looks whether it is really there afterwards.
///
/// A package may be there although its installation failed, for example when its service would not start.
fn install(part: &Part, installer: &mut Installer) -> Result<()> {
    eprintln!("+ {:14} missing: {}", part.name, part.why);
    let outcome = (part.install)(installer);
    match ((part.find)(), outcome) {
        (Some(found), _) => eprintln!("✓ {:14} {found}", part.name),
        (None, Err(error)) => return Err(error.context(format!("{} cannot be installed", part.name))),
        (None, Ok(())) => bail!("{} was installed, but is still not found on this machine", part.name),
    }
    Ok(())
}

fn located(program: &str) -> Option<String> {
    find_program(program).map(|path| path.display().to_string())
}

/// A plugin of the docker client, or a program of its own.
fn find_compose() -> Option<String> {
    let plugin = Command::new("docker").args(["compose", "version", "--short"]).output();
    let plugin = plugin.ok().filter(|output| output.status.success());
    plugin.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).or_else(|| located("docker-compose"))
}

/// The server and the tool that checks rules: Debian has both in one package, others do not.
fn find_prometheus() -> Option<String> {
    located("promtool").and_then(|_| located("prometheus"))
}

/// Debian has the module that makes virtual environments in a package of its own.
fn find_python() -> Option<String> {
    let python = find_program("python3")?;
    let has_venv = Command::new(&python).args(["-c", "import ensurepip, venv"]).output().ok()?.status.success();
    has_venv.then(|| python.display().to_string())
}

/// A C compiler alone is not enough: without the C library's static archive the test programs do not link.
fn find_c_compiler() -> Option<String> {
    let compiler = find_program("cc")?;
    let archive = std::process::Command::new(&compiler).arg("-print-file-name=libc.a").output().ok()?;
    let path = String::from_utf8(archive.stdout).ok()?;
    // The compiler prints the bare name back when it knows no such file.
    path.starts_with('/').then(|| compiler.display().to_string())
}
