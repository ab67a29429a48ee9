//! How soon a thread gets a CPU when it has work.
//!
//! At a gigabyte a second a ring buffer is full within 30 ms, and on a busy machine a thread of the usual policy waits
//! that long now and then. Nice values would not do: they count within a session or a control group only. So threads that
//! must not come late have `SCHED_RR` at the lowest priority of the real-time policies (sched(7)).
//!
//! That has a price while there is much to do: the kernel wakes a real-time thread where it slept, also when another CPU
//! is idle, and pushes aside what it finds there (`select_task_rq_rt` of `kernel/sched/rt.c`). That is the program whose
//! output is captured, or one that carries it on. So while they have much to do and are in step they have the usual policy,
//! with which they are woken on an idle CPU if there is one, and a [`Warden`] looks after them: once one of them is late, all
//! have priority again, because one may wait for a lock or for room that another is to give. What it brought, and why not
//! `SCHED_IDLE`: `docs/decisions/0017-wall-time.md`.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often it is looked whether a thread that has no priority is late.
const LOOK: Duration = Duration::from_millis(4);
/// For how long all have priority when one was late.
const CATCH_UP: Duration = Duration::from_millis(20);
/// For how long they are looked after when told that there is much to do.
const WATCH: Duration = Duration::from_millis(250);

/// Threads that must not come late.
#[derive(Clone, Debug, Default)]
pub struct Wards(Arc<Inner>);

/// The warden must not wait for a thread that has no priority, so nothing that is done often takes the lock.
#[derive(Debug)]
struct Inner {
    threads: Mutex<Vec<Thread>>,
    warden: OnceLock<thread::Thread>,
    begin: Instant,
    /// They are looked after until so many milliseconds after the beginning; 0 while there is little to do.
    until: AtomicU64,
    stopped: AtomicBool,
}

struct Thread {
    id: libc::pid_t,
    is_late: Box<dyn Fn() -> bool + Send>,
    has_priority: bool,
}

/// A thread among the [`Wards`], for as long as this lives.
#[derive(Debug)]
pub struct Ward {
    wards: Wards,
    id: libc::pid_t,
}

/// The thread that looks after the [`Wards`]; it ends when this is dropped.
#[derive(Debug)]
pub struct Warden {
    wards: Wards,
    thread: Option<JoinHandle<()>>,
}

impl Wards {
    /// Gives the calling thread priority. Threads that it starts have the usual policy.
    ///
    /// `is_late` says whether so much waits for it that it is to have priority again; it is asked every 4 ms
    /// while there is much to do, and must not wait for anything.
    ///
    /// # Errors
    ///
    /// Without `CAP_SYS_NICE`, and where a control group has no real-time budget. The thread goes on as it was.
    pub fn enter(&self, is_late: impl Fn() -> bool + Send + 'static) -> io::Result<Ward> {
        // SAFETY: it has no arguments, and cannot fail.
        let id = unsafe { libc::gettid() };
        set_policy(id, libc::SCHED_RR)?;
        self.0.threads().push(Thread { id, is_late: Box::new(is_late), has_priority: true });
        Ok(Ward { wards: self.clone(), id })
    }

    /// There is much to do: for a while the threads have no priority whenever they are in step.
    pub fn call_warden(&self) {
        let until = self.0.now() + WATCH.as_millis() as u64;
        if self.0.until.swap(until, SeqCst) == 0
            && let Some(warden) = self.0.warden.get()
        {
            warden.unpark();
        }
    }
}

impl Inner {
    fn threads(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    fn watch(&self) {
        let mut hold = 0;
        while !self.stopped.load(SeqCst) {
            let until = self.until.load(SeqCst);
            if until == 0 {
                thread::park();
                continue;
            }
            let now = self.now();
            let is_over = now >= until && self.until.compare_exchange(until, 0, SeqCst, SeqCst).is_ok();
            let mut threads = self.threads();
            if threads.iter().any(|thread| (thread.is_late)()) {
                hold = now + CATCH_UP.as_millis() as u64;
            }
            threads.iter_mut().for_each(|thread| thread.set_priority(is_over || now < hold));
            drop(threads);
            if !is_over {
                thread::sleep(LOOK);
            }
        }
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            threads: Mutex::default(),
            warden: OnceLock::new(),
            begin: Instant::now(),
            until: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }
}

impl Thread {
    fn set_priority(&mut self, has_priority: bool) {
        if has_priority == self.has_priority {
            return;
        }
        // What was refused is not asked for again with every look.
        self.has_priority = has_priority;
        if let Err(error) = set_policy(self.id, if has_priority { libc::SCHED_RR } else { libc::SCHED_OTHER }) {
            tracing::warn!(
                %error,
                thread = self.id,
                has_priority,
                "the policy of a thread cannot be changed: without priority output may be lost on a busy machine; has the \
                 agent lost CAP_SYS_NICE?"
            );
        }
    }
}

impl std::fmt::Debug for Thread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, has_priority, .. } = self;
        f.debug_struct("Thread").field("id", id).field("has_priority", has_priority).finish_non_exhaustive()
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.wards.0.threads().retain(|thread| thread.id != self.id);
    }
}

impl Warden {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the process may have no more threads.
    pub fn start(wards: &Wards) -> io::Result<Self> {
        let inner = Arc::clone(&wards.0);
        let watch = move || {
            // The threads have theirs, so it is allowed.
            if let Err(error) = set_policy(0, libc::SCHED_RR) {
                tracing::warn!(%error, "the thread that gives others priority has none");
                return;
            }
            let _ = inner.warden.set(thread::current());
            inner.watch();
        };
        let thread = thread::Builder::new().name("warden".to_owned()).spawn(watch)?;
        Ok(Self { wards: wards.clone(), thread: Some(thread) })
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.wards.0.stopped.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Its panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// `thread`: 0 for the calling one.
fn set_policy(thread: libc::pid_t, policy: libc::c_int) -> io::Result<()> {
    // SAFETY: all of it is numbers; zero is one.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = i32::from(policy == libc::SCHED_RR);
    // SAFETY: the parameters live through the call, which changes how a thread is scheduled and nothing else.
    let outcome =
        unsafe { libc::sched_setscheduler(thread, policy | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A thread among the wards that does nothing until it is dropped.
    struct Idler {
        id: libc::pid_t,
        is_late: Arc<AtomicBool>,
        _ends_it: Sender<()>,
    }

    impl Idler {
        fn start(wards: &Wards) -> Self {
            let (ends_it, end): (_, Receiver<()>) = channel();
            let (entered, has_entered) = channel();
            let (wards, is_late) = (wards.clone(), Arc::<AtomicBool>::default());
            let late = Arc::clone(&is_late);
            thread::spawn(move || {
                let ward = wards.enter(move || late.load(SeqCst)).expect("the tests run with CAP_SYS_NICE");
                entered.send(ward.id).unwrap();
                let _ = end.recv();
            });
            Self { id: has_entered.recv().unwrap(), is_late, _ends_it: ends_it }
        }

        fn has_priority(&self) -> bool {
            // SAFETY: it takes a number and gives one.
            let policy = unsafe { libc::sched_getscheduler(self.id) };
            assert!(policy >= 0, "{}", io::Error::last_os_error());
            policy & !libc::SCHED_RESET_ON_FORK == libc::SCHED_RR
        }
    }

    /// Waits for something that is sure to come; `meanwhile` is done again and again.
    #[track_caller]
    fn wait(what: &str, meanwhile: impl Fn(), is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            meanwhile();
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn all_have_priority_but_while_there_is_much_to_do_and_none_is_late() {
        let wards = Wards::default();
        let (reader, sink) = (Idler::start(&wards), Idler::start(&wards));
        let warden = Warden::start(&wards).unwrap();
        let both = |expected: bool| [&reader, &sink].iter().all(|thread| thread.has_priority() == expected);
        assert!(both(true), "at first");
        wait("none while there is much to do", || wards.call_warden(), || both(false));
        sink.is_late.store(true, SeqCst);
        wait("priority for all when one is late", || wards.call_warden(), || both(true));
        sink.is_late.store(false, SeqCst);
        wait("none once it has caught up", || wards.call_warden(), || both(false));
        wait("priority when there is little to do", || (), || both(true));
        wait("none the second time", || wards.call_warden(), || both(false));
        drop(sink);
        wait("priority for those that are left", || (), || reader.has_priority());
        drop(warden);
    }

    #[test]
    fn a_ward_that_has_gone_is_not_asked() {
        let wards = Wards::default();
        let asked = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&asked);
        let late = move || counter.fetch_add(1, SeqCst) > u64::MAX / 2;
        let gone = wards.clone();
        thread::spawn(move || drop(gone.enter(late).unwrap())).join().unwrap();
        let stays = Idler::start(&wards);
        let _warden = Warden::start(&wards).unwrap();
        wait("none", || wards.call_warden(), || !stays.has_priority());
        assert_eq!(asked.load(SeqCst), 0);
    }
}
