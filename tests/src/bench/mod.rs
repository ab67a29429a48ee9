//! What capture costs, measured side by side in one run and given as ratios.
//!
//! Each benchmark prints its table and writes `docs/results/<name>.md`. None of them asserts a time: machines differ.

pub mod overhead;

mod chart;
mod cost;
mod latency;
mod load;
mod loss;
mod machine;
mod pipeline;
mod scale;
mod stolen;
mod wall;

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
    /// What it costs the host to collect, beside other ways.
    Cost,
    /// How much longer containers take that write as fast as they can.
    Wall,
    /// What each container more costs the agent.
    Scale,
    /// From the write in the kernel to the sink.
    Latency,
    /// The highest rate at which nothing is lost.
    Loss,
    /// Framing and encoding on one core.
    Pipeline,
}

impl Name {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 7] =
        [Self::Overhead, Self::Cost, Self::Wall, Self::Scale, Self::Latency, Self::Loss, Self::Pipeline];

    /// Runs it.
    ///
    /// # Errors
    /// When it cannot be run: no agent, no rights, no second CPU.
    pub fn run(self, options: Options) -> Result<()> {
        match self {
            Self::Overhead => overhead::run(options),
            Self::Cost => cost::run(options),
            Self::Wall => wall::run(options),
            Self::Scale => scale::run(options),
            Self::Latency => latency::run(options),
            Self::Loss => loss::run(options),
            Self::Pipeline => pipeline::run(options),
        }
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let (left, right) = (figures.len().saturating_sub(1) / 2, figures.len() / 2);
    match (figures.get(left), figures.get(right)) {
        (Some(left), Some(right)) => f64::midpoint(*left, *right),
        _ => f64::NAN,
    }
}
