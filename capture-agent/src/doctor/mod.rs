//! `capture-agent doctor`: what a host gives the agent, and what it lacks.
//!
//! Each check is a function of a [`Host`] and of what was wanted. Where files do not tell, the kernel is asked by doing.

mod clock;
mod containers;
mod engine;
mod hierarchy;
mod host;
mod kernel;
mod memory;
mod privileges;
mod report;

#[cfg(test)]
mod tests;

pub use self::host::{Host, Untried};
pub use self::report::{Check, Report, Status, Verdict};

use crate::config::Config;
use crate::containers::cgroups::Hierarchy;
use crate::containers::docker::{Survey, SurveyError};
use crate::kernel::KernelError;
use crate::kernel::{AttachMode, probe};

/// What the kernel let the agent do; each by itself, as far as it was tried.
#[derive(Debug)]
pub struct Trials {
    /// A ring buffer of the wanted size.
    ring: Result<(), KernelError>,
    /// A program that reads the kernel's memory.
    reads_memory: Result<bool, KernelError>,
    /// The agent's own programs, by the hooks of `raw`.
    raw: Result<(), KernelError>,
    /// The same, by those of `syscalls`.
    syscalls: Result<(), KernelError>,
}

impl Trials {
    /// Tries everything.
    ///
    /// # Errors
    ///
    /// Why nothing can be tried.
    pub fn on(host: &Host, ring_size: u32) -> Result<Self, Untried> {
        host.may_try()?;
        Ok(Self {
            ring: probe::ring(ring_size),
            reads_memory: probe::may_read_kernel_memory(),
            raw: probe::attach(AttachMode::Raw),
            syscalls: probe::attach(AttachMode::Syscalls),
        })
    }
}

/// Looks at everything. `survey` is what the engine said.
#[must_use]
pub fn examine(host: &Host, config: &Config, survey: &Result<Survey, SurveyError>) -> Vec<Check> {
    let ring_size = config.capture.ring_size.0;
    let memory = memory::memory(host, &config.capture);
    // A ring that does not fit is not made: the kernel might end this process, or another one, for want of memory.
    let fits = memory.status != Status::Failed;
    let trials = Trials::on(host, if fits { ring_size } else { kernel::SMALLEST_RING });
    let hierarchy = Hierarchy::find_in(&host.read("proc/self/mountinfo").unwrap_or_default());

    let mut checks = vec![kernel::version(host), kernel::btf(host), kernel::tracefs(host, config.capture.attach)];
    checks.extend(privileges::capabilities(host));
    checks.push(privileges::seccomp(host, &trials));
    checks.push(kernel::lockdown(host, &trials));
    checks.push(kernel::ring(&trials, ring_size, fits));
    checks.push(kernel::attach(&trials, config.capture.attach));
    checks.push(hierarchy::layout(host, &hierarchy));
    checks.push(hierarchy::namespaces(host));
    checks.push(engine::engine(survey));
    checks.extend(containers::containers(host, config, hierarchy.as_ref().ok(), survey.as_ref().ok()));
    checks.push(memory);
    checks.push(clock::clock(host, survey.as_ref().ok()));
    checks
}
