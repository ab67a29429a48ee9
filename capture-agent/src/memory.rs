//! Memory that is free goes back to the system.
//!
//! Reading the kernel's types at the start takes some 15 MiB for a moment, and each scrape and burst of output takes some
//! for another. The C library keeps what was in use below what still is.

/// Gives the pages of the heap that nothing is on back to the system: `malloc_trim(3)`. Takes about a millisecond, in which
/// other threads wait that ask the same part of the heap for memory.
#[cfg(target_env = "gnu")]
pub fn give_back() {
    // SAFETY: takes no pointer, and is safe to call from any thread at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give it back by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
