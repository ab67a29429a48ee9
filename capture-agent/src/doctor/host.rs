//! Where a host is looked at: its files, below a root that need not be this machine's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::kernel::{Held, Privileges};

/// A host, as far as files tell of it.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    /// Whether it is the one that runs this process, so that the kernel can be asked by doing.
    is_this: bool,
}

/// Why the kernel was not asked to do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untried {
    /// It is not the host that this process runs on.
    OtherHost,
    /// The process lacks a capability, and the kernel would say no more than that.
    Unprivileged,
}

impl Host {
    /// The machine that this process runs on.
    #[must_use]
    pub fn this() -> Self {
        Self { root: PathBuf::from("/"), is_this: true }
    }

    /// A host whose `/proc` and `/sys` stand below `root`. The kernel is not asked to do anything for it.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_this: false }
    }

    /// Whether it is the machine that this process runs on.
    #[must_use]
    pub fn is_this(&self) -> bool {
        self.is_this
    }

    /// Where its files stand.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path of the host: `proc/self/status`, without the slash before it.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's text, without the white space around it.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<String> {
        fs::read_to_string(self.path(path)).map(|text| text.trim().to_owned())
    }

    /// `uname -r`.
    #[must_use]
    pub fn release(&self) -> Option<String> {
        if self.is_this {
            rustix::system::uname().release().to_str().ok().map(str::to_owned)
        } else {
            self.read("proc/sys/kernel/osrelease").ok()
        }
    }

    /// What this process may do; `None` without `/proc`.
    #[must_use]
    pub fn privileges(&self) -> Option<Privileges> {
        Privileges::of_status(&self.read("proc/self/status").ok()?)
    }

    /// Whether the kernel can be asked to make a map or load a program.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_try(&self) -> Result<(), Untried> {
        if !self.is_this {
            return Err(Untried::OtherHost);
        }
        let holds_all = self.privileges().is_none_or(|privileges| {
            crate::kernel::CAPABILITIES.iter().all(|capability| {
                // What it is needed for does not come up in a probe.
                capability.name == "CAP_SYS_PTRACE" || privileges.holds(*capability) != Held::No
            })
        });
        if holds_all { Ok(()) } else { Err(Untried::Unprivileged) }
    }
}

impl Untried {
    /// As a check says it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::OtherHost => "not tried: that is another host",
            Self::Unprivileged => "not tried: that needs CAP_BPF and CAP_PERFMON",
        }
    }
}
