//! One row of the table: what runs, what happens meanwhile, and what must come out.

use std::{thread, time::Duration};

use anyhow::{Context, Result};
use capture_writers::{CASES, Content, Needs, Order};

use super::{
    judge::{self, Outcome},
    operations, programs, shell,
    stage::Stage,
};
use crate::{Engine, container::unique_name, poll, process};

/// How long a container of the corpus may run.
const DEADLINE: Duration = Duration::from_mins(2);

/// What must be on one stream.
#[derive(Clone)]
pub(super) enum Expected {
    /// Exactly these bytes, in the engine's log and in the agent's file.
    Exactly(Vec<u8>),
    /// Some first part of these bytes: as much as the engine has.
    PrefixOf(Vec<u8>),
    /// Whatever the engine has.
    AsEngine,
}

/// What the corpus does to a running container; by then it may have ended.
pub(super) type During = fn(&Running) -> Result<()>;

/// One case.
pub(super) struct Case {
    pub(super) name: String,
    /// Options of `docker run`.
    pub(super) options: Vec<String>,
    pub(super) words: Vec<String>,
    pub(super) stdout: Expected,
    pub(super) stderr: Expected,
    pub(super) needs: Needs,
    pub(super) order: Order,
    pub(super) during: During,
    /// Containers started at once.
    pub(super) copies: usize,
    /// The exit status does not matter: the case kills or fails on purpose.
    pub(super) may_fail: bool,
}

/// A container of the corpus; removed when dropped.
pub(super) struct Running<'a> {
    pub(super) engine: &'a Engine,
    pub(super) id: String,
    pub(super) name: String,
}

impl Case {
    /// A command in the image, with whatever it writes.
    pub(super) fn new(name: &str, words: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            options: Vec::new(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
            stdout: Expected::AsEngine,
            stderr: Expected::AsEngine,
            needs: Needs::Nothing,
            order: Order::Exact,
            during: |_| Ok(()),
            copies: 1,
            may_fail: false,
        }
    }

    pub(super) fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    pub(super) fn out(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdout = Expected::Exactly(bytes.into());
        self
    }

    pub(super) fn err(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stderr = Expected::Exactly(bytes.into());
        self
    }

    pub(super) fn relay(mut self) -> Self {
        self.needs = Needs::Relay;
        self
    }

    pub(super) fn during(mut self, during: During) -> Self {
        self.during = during;
        self
    }

    pub(super) fn may_fail(mut self) -> Self {
        self.may_fail = true;
        self
    }

    /// Whether an option says that the container has a terminal, where a newline becomes two bytes.
    pub(super) fn terminal(&self) -> bool {
        self.options.iter().any(|option| option == "--tty")
    }

    /// Why an attach mode cannot do this case, where it cannot.
    pub(super) fn limit(&self, attach: &str) -> Option<&'static str> {
        match (attach, self.needs) {
            ("syscalls", Needs::OtherTable) => {
                Some("tracepoints of single calls do not fire for the 32-bit call table")
            }
            ("syscalls", Needs::Entry) => {
                Some("a descriptor is looked up when the call returns; raw mode looks earlier")
            }
            ("syscalls", Needs::Relay) => {
                Some("calls that move bytes and the relay's reads are watched in raw mode only")
            }
            _ => None,
        }
    }
}

/// All cases: the writers, busybox and shell programs, operations of the engine.
pub(super) fn all(seed: u32) -> Vec<Case> {
    let writers = CASES.iter().map(|case| writer(case, seed));
    writers.chain(shell::cases()).chain(operations::cases(seed)).collect()
}

/// A case of the writers as a container.
pub(super) fn writer(case: &'static capture_writers::Case, seed: u32) -> Case {
    let expected = |content: Content, stream: &str| match content {
        Content::PrefixOfLines(_) => Expected::PrefixOf(content.bytes(stream, seed)),
        _ => Expected::Exactly(content.bytes(stream, seed)),
    };
    let mut row = Case::new(case.name, &["/writer", case.name, &seed.to_string()]);
    row.stdout = expected(case.stdout, "out");
    row.stderr = expected(case.stderr, "err");
    row.needs = case.needs;
    row.order = case.order;
    row
}

/// Runs a case to its end and judges it.
pub(super) fn run(stage: &Stage, case: &Case) -> Result<Outcome> {
    let outcomes = thread::scope(|scope| {
        let copies: Vec<_> = (0..case.copies).map(|_| scope.spawn(|| run_one(stage, case))).collect();
        let joined = copies.into_iter().map(|copy| copy.join().unwrap_or_else(|_| anyhow::bail!("a copy panicked")));
        joined.collect::<Result<Vec<_>>>()
    })?;
    outcomes.into_iter().reduce(Outcome::and).context("no copy")
}

fn run_one(stage: &Stage, case: &Case) -> Result<Outcome> {
    let container = Running::start(&stage.engine, case)?;
    (case.during)(&container)?;
    let status = container.wait()?;
    if status != "0" && !case.may_fail {
        return Ok(Outcome::failed(format!("the program failed with {status}: {}", container.complaint())));
    }
    judge::container(stage, case, &container)
}

impl<'a> Running<'a> {
    /// `docker run --detach`.
    pub(super) fn start(engine: &'a Engine, case: &Case) -> Result<Self> {
        let name = unique_name(&format!("fid-{}", case.name));
        let mut client = engine.client();
        client.args(["run", "--detach", "--network", "none", "--name", &name]);
        if !case.options.iter().any(|option| option.starts_with("--log-driver")) {
            client.arg("--log-driver=json-file");
        }
        client.args(&case.options).arg(programs::IMAGE).args(&case.words);
        let id = process::text(&mut client, DEADLINE)?;
        Ok(Self { engine, id, name })
    }

    /// Waits until it has ended for good, and gives its exit status.
    pub(super) fn wait(&self) -> Result<String> {
        poll::eventually("the container's end", DEADLINE, || {
            let state = self.inspect("{{.State.Status}} {{.State.ExitCode}}").ok()?;
            let (status, code) = state.split_once(' ')?;
            (status == "exited").then(|| code.to_owned())
        })
    }

    /// One value of `docker inspect`.
    pub(super) fn inspect(&self, format: &str) -> Result<String> {
        self.engine.docker(["inspect", "--format", format, &self.id])
    }

    /// Process id of the container's init on the host.
    pub(super) fn init(&self) -> Result<i32> {
        self.inspect("{{.State.Pid}}")?.parse().context("the container has no process")
    }

    /// Runs a shell line inside.
    pub(super) fn exec(&self, script: &str) -> Result<String> {
        self.engine.docker(["exec", &self.id, "sh", "-c", script])
    }

    /// What the writer left behind when it failed.
    fn complaint(&self) -> String {
        let mut client = self.engine.client();
        client.args(["cp", &format!("{}:/writer-error", self.id), "-"]);
        process::text(&mut client, DEADLINE).unwrap_or_default().replace('\0', "")
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It may be gone already: that is what this is for.
        let _ = self.engine.docker(["rm", "--force", "--volumes", &self.id]);
    }
}
