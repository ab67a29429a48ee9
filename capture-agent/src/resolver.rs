//! How a static binary looks names up.

use std::ffi::{CStr, c_char, c_int};

/// Lets `getaddrinfo(3)` ask `/etc/hosts` and DNS, whatever else `/etc/nsswitch.conf` names.
///
/// These two are part of the C library (since glibc 2.34); any other is a shared object, made for the C library of the
/// machine and not for the one inside a static binary, which may not survive loading it. To be called before anything is
/// looked up.
#[cfg(target_env = "gnu")]
pub fn ask_files_and_dns_only() {
    const HOSTS: &CStr = c"hosts";
    const SERVICES: &CStr = c"files dns";
    unsafe extern "C" {
        // glibc's `nss.h`: "Overwrite service selection for database DBNAME using specification in STRING."
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    // SAFETY: both are strings that end with a zero and live for ever; glibc locks what it changes.
    unsafe { __nss_configure_lookup(HOSTS.as_ptr(), SERVICES.as_ptr()) };
}

/// Other C libraries load nothing for a name.
#[cfg(not(target_env = "gnu"))]
pub fn ask_files_and_dns_only() {}
