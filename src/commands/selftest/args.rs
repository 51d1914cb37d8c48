//! Flags of `hpbench selftest`.

use std::time::Duration;

use clap::Args;

use crate::plan::args::RunArgs;
use crate::plan::cells::{Asked, Scenario};
use crate::plan::lists::{List, backends};
use crate::plan::values::{amount, percentage, seconds, whole};
use crate::stats::estimate::{BLOCKS_MIN, PAIRS_MIN};
use crate::text::did_you_mean;

/// The end of `-h`.
const EXAMPLES: &str = "\
Examples:
  hpbench selftest                     within a run
  hpbench selftest --runs 40           between runs, too";

/// What to measure, and for how long.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SelftestArgs {
    /// The cell's scenario: drain or send
    #[arg(long, value_name = "SCENARIO", default_value = "drain", value_parser = scenario)]
    pub scenario: Scenario,

    /// The cell's backend, with an optional variant
    #[arg(long, value_name = "BACKEND", default_value = "plain", value_parser = backend)]
    pub backend: Asked,

    /// The cell's batch, 1 to 1024
    #[arg(long, value_name = "N", default_value = "32", value_parser = |text: &str| amount(text, 1, 1024))]
    pub batch: usize,

    /// Measure as many blocks of three trials as fit into this time, up to 3600 seconds
    #[arg(long, value_name = "TIME", default_value = "20", value_parser = |text: &str| seconds(text, 0.1))]
    pub time: Duration,

    /// Blocks of three trials, 18 to 10000, instead of --time
    #[arg(long, value_name = "N", conflicts_with = "time", value_parser = |text: &str| amount(text, BLOCKS_MIN, BLOCKS_MAX))]
    pub trials: Option<usize>,

    /// Measured phase of a trial, up to 3600 seconds
    #[arg(short = 't', long, value_name = "TIME", default_value = "0.01", value_parser = |text: &str| seconds(text, 0.001))]
    pub duration: Duration,

    /// The work to add and find again, as a share of a datagram's cost
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = percentage)]
    pub added: f64,

    /// Also measure between runs: the cell against itself in so many runs, 12 to 10000, as pairs in random order
    #[arg(long, value_name = "N", value_parser = |text: &str| amount(text, 2 * PAIRS_MIN, 10_000))]
    pub runs: Option<usize>,

    /// Length of each of these runs, up to 3600 seconds
    #[arg(long, value_name = "TIME", default_value = "1", requires = "runs", value_parser = |text: &str| seconds(text, 0.1))]
    pub run_time: Duration,

    /// The smallest change that matters, as in compare
    #[arg(long, value_name = "PERCENT", default_value = "3%", value_parser = percentage)]
    pub threshold: f64,

    /// Seed of the order of trials within a block, and of runs within a pair [default: random]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub seed: Option<u64>,
}

/// The most blocks.
pub(super) const BLOCKS_MAX: usize = 10_000;

impl SelftestArgs {
    /// The flags of a run of the one cell.
    pub(super) fn run_args(&self) -> anyhow::Result<RunArgs> {
        let run = RunArgs::from_words::<&str>([])?;
        Ok(RunArgs {
            backend: List(vec![self.backend]),
            scenario: List(vec![self.scenario]),
            batch: List(vec![self.batch]),
            trials: self.trials.unwrap_or(BLOCKS_MAX),
            duration: Some(self.duration),
            ..run
        })
    }
}

fn scenario(text: &str) -> Result<Scenario, String> {
    let known = Scenario::ALL.into_iter().filter(|scenario| scenario.has_rounds());
    let found = known.into_iter().find(|scenario| scenario.name() == text);
    // In the other scenarios a slower worker need not show: the generators may be slower still.
    found.ok_or_else(|| {
        let meant = did_you_mean(text, ["drain", "send"]);
        format!("'{text}' is not a scenario to which a known cost can be added; choose drain or send{meant}")
    })
}

fn backend(text: &str) -> Result<Asked, String> {
    match backends(text)?.0.as_slice() {
        [one] => Ok(*one),
        _ => Err(format!("'{text}' is more than one backend; the test takes one")),
    }
}
