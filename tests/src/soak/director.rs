//! What happens in a soak, and when: pauses of the crash loops, and the faults that are asked for.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Signal, kill_process};

use super::{Options, crash_loop::CrashLoops, fleet::Member, hammer, sample::Phase};
use crate::{Agent, Engine, process::pid_of};

/// Between the end of the last crash loop's container and the first sample that must be exact.
const SETTLE: Duration = Duration::from_secs(3);
/// Long enough for two samples.
const QUIET: Duration = Duration::from_secs(11);
/// Without a daemon, on its restart.
const DAEMON_GONE: Duration = Duration::from_secs(5);

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing runs but the long-lived containers.
    Quiet,
    /// dockerd stands still for so long.
    Freeze(Duration),
    /// dockerd ends and comes back, over running containers.
    Restart,
    /// Containers are killed: those that Docker restarts, and the one that is there for it.
    Kill,
    /// The admin port is hammered for so long.
    Hammer(Duration),
}

/// The events of a soak, each with its time.
pub(super) fn schedule(options: &Options) -> Vec<(Duration, Event)> {
    let length = options.length;
    let mut faults = Vec::new();
    let freeze = options.freeze.or(options.faults.then_some(length / 6));
    if let Some(freeze) = freeze {
        faults.push((length.saturating_sub(freeze) / 2, Event::Freeze(freeze)));
    }
    if options.faults {
        faults.push((length.mul_f64(0.2), Event::Kill));
        faults.push((length.mul_f64(0.3), Event::Hammer(Duration::from_secs(20).min(length / 10))));
        faults.push((length.mul_f64(0.72), Event::Restart));
    }
    // A short run too has three.
    let period = Duration::from_mins(2).min(length / 4);
    let mut events: Vec<_> = std::iter::successors(Some(period / 2), |at| Some(*at + period))
        .take_while(|at| *at + SETTLE + QUIET < length)
        .map(|at| (at, Event::Quiet))
        .filter(|(at, _)| !faults.iter().any(|(fault, event)| overlaps(*at, *fault, *event)))
        .collect();
    events.append(&mut faults);
    events.sort_by_key(|(at, _)| *at);
    events
}

/// Whether a pause at `at` would run into a fault.
fn overlaps(at: Duration, fault: Duration, event: Event) -> bool {
    let length = match event {
        Event::Freeze(length) | Event::Hammer(length) => length,
        Event::Restart => DAEMON_GONE * 2,
        Event::Quiet | Event::Kill => Duration::ZERO,
    };
    let pause = SETTLE + QUIET + Duration::from_secs(10);
    at < fault + length && fault < at + pause
}

/// Makes it happen.
pub(super) struct Director<'a> {
    pub(super) engine: &'a Engine,
    pub(super) agent: &'a Agent,
    pub(super) crashing: &'a CrashLoops,
    /// The one to be killed.
    pub(super) victim: Option<&'a Member>,
    pub(super) phase: Mutex<Phase>,
    /// Set when the run is over, or broke.
    pub(super) over: AtomicBool,
    /// What happened, with seconds since the run began.
    pub(super) diary: Mutex<Vec<(f64, String)>>,
    begun: Instant,
}

impl<'a> Director<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        agent: &'a Agent,
        crashing: &'a CrashLoops,
        victim: Option<&'a Member>,
    ) -> Self {
        let (phase, over, diary) = (Mutex::new(Phase::Busy), AtomicBool::new(false), Mutex::default());
        Self { engine, agent, crashing, victim, phase, over, diary, begun: Instant::now() }
    }

    /// Lets one event after the other happen at its time, until all have or the run is over.
    ///
    /// # Errors
    /// When one cannot be brought about.
    pub(super) fn run(&self, schedule: &[(Duration, Event)]) -> Result<()> {
        for (at, event) in schedule {
            if !self.sleep_until(self.begun + *at) {
                return Ok(());
            }
            self.bring_about(*event).with_context(|| format!("{event:?}"))?;
        }
        Ok(())
    }

    /// What goes on now.
    pub(super) fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    fn note(&self, text: String) {
        println!("{:>5.0} s  {text}", self.begun.elapsed().as_secs_f64());
        let at = self.begun.elapsed().as_secs_f64();
        self.diary.lock().unwrap_or_else(PoisonError::into_inner).push((at, text));
    }

    fn bring_about(&self, event: Event) -> Result<()> {
        match event {
            Event::Quiet => {
                self.crashing.pause()?;
                self.sleep(SETTLE);
                self.enter(Phase::Quiet);
                self.sleep(QUIET);
                self.enter(Phase::Busy);
                self.crashing.resume()
            }
            Event::Freeze(length) => {
                self.crashing.pause()?;
                self.sleep(SETTLE);
                self.engine.freeze()?;
                self.note(format!("dockerd stopped (SIGSTOP) for {} s", length.as_secs()));
                self.enter(Phase::Frozen);
                self.sleep(length);
                self.enter(Phase::Busy);
                self.engine.thaw()?;
                self.note("dockerd goes on (SIGCONT)".to_owned());
                self.crashing.resume()
            }
            Event::Restart => {
                self.crashing.pause_loops()?;
                self.note("dockerd restarted, with --live-restore".to_owned());
                self.engine.restart(DAEMON_GONE)?;
                self.note("dockerd answers again".to_owned());
                self.crashing.resume_loops();
                Ok(())
            }
            Event::Kill => {
                self.crashing.kill()?;
                let victim = self.victim.context("there is no container to kill")?;
                let pid = self.engine.docker(["inspect", "--format", "{{.State.Pid}}", victim.container.id()])?;
                kill_process(pid_of(pid.parse().context("no process id")?)?, Signal::KILL)?;
                self.note(format!(
                    "{} and the containers that Docker restarts killed (SIGKILL)",
                    victim.container.name()
                ));
                Ok(())
            }
            Event::Hammer(length) => {
                self.enter(Phase::Hammered);
                let made = hammer::run(self.agent.address(), length);
                // What the agent still waits for then, it has to give up by itself.
                self.sleep(Duration::from_secs(12));
                self.enter(Phase::Busy);
                let (at_once, length) = (hammer::CONNECTIONS, length.as_secs());
                self.note(format!("admin port hammered for {length} s, {at_once} at a time, {made} connections"));
                Ok(())
            }
        }
    }

    fn sleep(&self, length: Duration) {
        self.sleep_until(Instant::now() + length);
    }

    /// False when the run is over before.
    fn sleep_until(&self, end: Instant) -> bool {
        while Instant::now() < end {
            if self.over.load(Ordering::SeqCst) {
                return false;
            }
            thread::sleep(Duration::from_millis(50).min(end - Instant::now().min(end)));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(minutes: u64, faults: bool, freeze: Option<u64>) -> Vec<(Duration, Event)> {
        let length = Duration::from_mins(minutes);
        let freeze = freeze.map(Duration::from_mins);
        schedule(&Options { length, faults, freeze, ..Options::default() })
    }

    #[test]
    fn half_an_hour_has_a_pause_each_two_minutes() {
        let events = of(30, false, None);
        assert_eq!(events.len(), 15);
        assert!(events.iter().all(|(_, event)| *event == Event::Quiet));
        assert!(of(3, false, None).len() >= 3);
    }

    #[test]
    fn a_frozen_daemon_stands_in_the_middle_and_no_pause_runs_into_it() {
        let events = of(30, false, Some(5));
        let freeze = (Duration::from_secs(750), Event::Freeze(Duration::from_mins(5)));
        assert!(events.contains(&freeze));
        let pauses = events.iter().filter(|(_, event)| *event == Event::Quiet);
        assert!(pauses.clone().count() >= 10);
        assert!(pauses.clone().all(|(at, _)| at.as_secs() + 24 <= 750 || at.as_secs() >= 1050));
    }

    #[test]
    fn all_faults_come_one_after_the_other() {
        let events = of(30, true, None);
        let kinds: Vec<_> =
            events.iter().filter(|(_, event)| *event != Event::Quiet).map(|(_, event)| *event).collect();
        let five = Event::Freeze(Duration::from_mins(5));
        assert_eq!(kinds, [Event::Kill, Event::Hammer(Duration::from_secs(20)), five, Event::Restart]);
        assert!(events.is_sorted_by_key(|(at, _)| *at));
    }
}
