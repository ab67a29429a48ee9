//! Which lines came out, of every container that a soak had.

use std::{collections::BTreeSet, path::Path};

use anyhow::Result;

use super::{
    crash_loop::Gone,
    fleet::Member,
    verify::{self, Collected, Comparison, Lines, STREAMS},
};

/// Described one by one; more only say the same again.
const NAMED: usize = 10;

/// Whether all lines came out.
#[derive(Clone, Debug, Default)]
pub struct Completeness {
    /// Lines of the containers that ran all the time.
    pub long_lived: Lines,
    /// Lines of crash loops, and of containers that were killed.
    pub short_lived: Lines,
    /// The long-lived, and those that Docker restarts or that were killed, against Docker's own log.
    pub docker: Comparison,
    /// Containers of which not every line is there once.
    pub incomplete: BTreeSet<String>,
    /// Torn lines, which do not say whose they are.
    pub torn: u64,
    /// What is wrong with the first of them.
    pub complaints: Vec<String>,
}

impl Completeness {
    /// Begins with what no container's lines are.
    pub(super) fn new(collected: &Collected) -> Self {
        let complaints = collected.torn.iter().take(NAMED).map(|piece| format!("torn: {piece:.200}")).collect();
        Self { torn: collected.torn.len() as u64, complaints, ..Self::default() }
    }

    /// Whether every line of every container is there, once.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.incomplete.is_empty() && self.torn == 0 && self.docker.only_docker == 0
    }

    /// Checks a container that ran all the time and said its last line.
    pub(super) fn long_lived(&mut self, collected: &Collected, member: &Member) -> Result<()> {
        let lines = self.of(collected, member.container.id(), member.pace.seed, 0);
        self.long_lived = self.long_lived.plus(lines);
        self.against_docker(collected, member)
    }

    /// Checks a container that was killed or restarted, of which `killed` runs may have no end.
    pub(super) fn restarted(&mut self, collected: &Collected, member: &Member, killed: u64) -> Result<()> {
        let lines = self.of(collected, member.container.id(), member.pace.seed, killed);
        self.short_lived = self.short_lived.plus(lines);
        self.against_docker(collected, member)
    }

    /// Checks a container that is gone, and Docker's log with it.
    pub(super) fn gone(&mut self, collected: &Collected, gone: &Gone) {
        let lines = self.of(collected, &gone.id, gone.seed, 0);
        self.short_lived = self.short_lived.plus(lines);
    }

    fn of(&mut self, collected: &Collected, id: &str, seed: u64, killed: u64) -> Lines {
        let mut sum = Lines::default();
        for stream in STREAMS {
            let lines = Lines::read(collected.bytes(seed, stream), stream, seed, false);
            if !lines.is_complete(killed) {
                self.complain(id, &format!("{stream}: {lines:?}"));
            }
            sum = sum.plus(lines);
        }
        sum
    }

    fn against_docker(&mut self, collected: &Collected, member: &Member) -> Result<()> {
        let log = verify::docker_log(&member.log)?;
        let seed = member.pace.seed;
        for stream in STREAMS {
            let logged = log.get(stream).map(Vec::as_slice).unwrap_or_default();
            let comparison = Comparison::of(collected.bytes(seed, stream), logged, stream, seed);
            if comparison.only_docker > 0 {
                self.complain(member.container.id(), &format!("{stream}: {comparison:?}"));
            }
            self.docker = self.docker.plus(comparison);
        }
        Ok(())
    }

    fn complain(&mut self, id: &str, text: &str) {
        self.incomplete.insert(id.to_owned());
        if self.complaints.len() < NAMED * 2 {
            self.complaints.push(format!("{id:.12} {text}"));
        }
    }
}

/// What a collector that came when the containers ran already has of them.
///
/// # Errors
/// When its files cannot be read.
pub(super) fn midway(directory: &Path, members: &[Member]) -> Result<Lines> {
    let collected = Collected::read(directory)?;
    let mut sum = Lines::default();
    for member in members {
        for stream in STREAMS {
            let bytes = collected.bytes(member.pace.seed, stream);
            sum = sum.plus(Lines::read(bytes, stream, member.pace.seed, true));
        }
    }
    Ok(sum)
}
