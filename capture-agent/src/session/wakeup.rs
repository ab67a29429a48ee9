//! How the reader sleeps, is woken, and gets a CPU then.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::fence;
use std::time::{Duration, Instant};

use capture_common::{GlobalCounters, ReaderState};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use super::pace::TICK;
use super::reader::{BATCH_RECORDS, Reader};
use crate::kernel::thread_cpu_time;
use crate::priority::{Ward, Warden, Wards};

const RING: u64 = 0;
const STOP: u64 = 1;

/// A smaller ring buffer may be full before anybody has seen that the reader is late: at a gigabyte a second 32 MiB leave
/// 12 ms, three looks, between an eighth of them, which is late, and the half that one container may hold.
const PATIENT_RING: u64 = 32 << 20;

impl Reader {
    /// Gives the calling thread priority, and has it looked after, for as long as what comes back lives.
    pub(super) fn take_priority(&self, wards: &Wards) -> (Option<Ward>, Option<Warden>) {
        let (ring_use, size) = (Arc::clone(&self.ring_use), self.ring_size);
        // More than a quarter of what one container may hold of it.
        let is_late = move || size < PATIENT_RING || ring_use.bytes() > size / 8;
        let refused = |error| {
            tracing::warn!(%error, "the reader has no priority: on a busy machine it may come late, and output be lost; give the agent \
                CAP_SYS_NICE and, in a container, real-time budget (--cpu-rt-runtime)");
        };
        let Ok(ward) = wards.enter(is_late).map_err(refused) else { return (None, None) };
        let alone = |error| {
            tracing::warn!(%error, "no thread to look after the reader, which keeps its priority while output pours in: \
                containers that write very much are slowed down; give the agent more threads (ulimit -u, TasksMax)");
        };
        (Some(ward), Warden::start(wards).map_err(alone).ok())
    }

    /// Sleeps until there is work, at most for `timeout`; whether it is time to stop.
    pub(super) fn sleep(&mut self, timeout: Duration) -> bool {
        let rests = std::mem::take(&mut self.has_read) || self.pace.rest.expects_more();
        let table = Arc::clone(&self.table);
        let asleep = Asleep::new(table.globals(), rests);
        // Nobody wakes for what was submitted before the kernel side knew that it has to.
        if !rests && (self.drain(BATCH_RECORDS) || self.has_read) {
            return false;
        }
        let longest = match (rests, self.ring_use.bytes()) {
            (true, _) => self.pace.rest.next(Instant::now()),
            (false, 0) => timeout,
            // Whoever completes a record now may find no room for what wakes.
            (false, _) => TICK,
        };
        let timeout = timeout.min(longest);
        let is_time = if rests {
            self.pace.rest.take(|| self.bell.wait(timeout), thread_cpu_time)
        } else {
            self.bell.wait(timeout)
        };
        drop(asleep);
        is_time
    }
}

/// What wakes the reader.
#[derive(Debug)]
pub(super) struct Bell {
    epoll: OwnedFd,
    /// Held, because epoll holds no descriptor open.
    _stop: OwnedFd,
}

impl Bell {
    /// Wakes on a wake-up of the ring buffer's, and when `stop` is readable.
    pub(super) fn new(ring: BorrowedFd<'_>, stop: OwnedFd) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // Edges: that there is something in the ring buffer is no reason to wake, but that the kernel side says so is.
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, ring, epoll::EventData::new_u64(RING), edges)?;
        epoll::add(&epoll, &stop, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN)?;
        Ok(Self { epoll, _stop: stop })
    }

    /// Sleeps, at most for `timeout`; whether it is time to stop.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let timeout = Timespec { tv_sec: timeout.as_secs().cast_signed(), tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 2];
        // `epoll_wait` knows milliseconds only, and rounds up. An interrupted wait is a short one.
        let mut any = [PollFd::new(&self.epoll, PollFlags::IN)];
        if !poll(&mut any, Some(&timeout)).is_ok_and(|ready| ready > 0) {
            return false;
        }
        // Takes the edge off, so that it does not wake once more.
        epoll::wait(&self.epoll, &mut events, Some(&Timespec::default()))
            .is_ok_and(|(events, _)| events.iter().any(|event| event.data.u64() == STOP))
    }
}

/// While it lives the kernel side knows that the reader sleeps.
#[derive(Debug)]
pub(super) struct Asleep<'a>(&'a GlobalCounters);

impl<'a> Asleep<'a> {
    /// Tells the kernel side; what is in the ring buffer by now has to be looked for once more unless it `rests`.
    pub(super) fn new(globals: &'a GlobalCounters, rests: bool) -> Self {
        let state = if rests { ReaderState::Resting } else { ReaderState::Waiting };
        globals.reader.store(state as u64, Relaxed);
        // The look must not come before the state is there to be seen.
        fence(SeqCst);
        Self(globals)
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.reader.store(ReaderState::Busy as u64, Relaxed);
    }
}
