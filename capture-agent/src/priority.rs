//! How soon a thread gets a CPU when it has work.

use std::io;

/// Lets the calling thread run as soon as it has something to do: `SCHED_RR` at the lowest priority of the real-time
/// policies (sched(7)). For one that has little to do each time and must not come late: at a gigabyte a second a ring
/// buffer is full within 30 ms, and on a busy machine a thread of the usual policy waits that long now and then. Nice
/// values would not do: they count within a session or a control group only. Threads that it starts have the usual policy.
///
/// # Errors
///
/// Without `CAP_SYS_NICE`, and where a control group has no real-time budget. The thread goes on as it was.
pub fn raise() -> io::Result<()> {
    // SAFETY: all of it is numbers; zero is one.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = 1;
    // SAFETY: the parameters live through the call, which changes the calling thread (0) and nothing else.
    let outcome =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
