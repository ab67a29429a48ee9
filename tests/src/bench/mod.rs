//! What capture costs, measured side by side in one run and given as ratios.
//!
//! Each benchmark prints its table and writes `docs/results/<name>.md`. None of them asserts a time: machines differ.

pub mod overhead;

mod machine;

use anyhow::Result;

/// How to run them.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A first look: fewer rounds.
    pub quick: bool,
    /// Measure although others trace system calls too, and write no page of it.
    pub beside_others: bool,
}

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// What capture costs each system call.
    Overhead,
}

impl Name {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 1] = [Self::Overhead];

    /// Runs it.
    ///
    /// # Errors
    /// When it cannot be run: no agent, no rights, no second CPU.
    pub fn run(self, options: Options) -> Result<()> {
        match self {
            Self::Overhead => overhead::run(options),
        }
    }
}
