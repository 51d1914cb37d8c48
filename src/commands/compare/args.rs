//! Flags of `hpbench compare`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::compare::axes::{Across, By};
use crate::compare::metrics::Metric;
use crate::plan::values::percentage;
use crate::text::did_you_mean;

/// The end of `-h`.
const EXAMPLES: &str = "\
Examples:
  hpbench compare --by backend run.csv
  hpbench compare --by batch --base 1 run.csv --format csv > verdicts.csv
  hpbench compare before.csv after.csv
  hpbench compare --base-files a1.csv,a2.csv --new-files b1.csv,b2.csv";

/// What to compare with what, and how.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    /// CSV files of runs: the base and the new one, or any number with --by
    #[arg(required_unless_present = "base_files", value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Files of the base, any number; their runs alternated with those of --new-files
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "new_files", conflicts_with_all = ["files", "by"])]
    pub base_files: Vec<PathBuf>,

    /// Files to compare with the base
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "base_files")]
    pub new_files: Vec<PathBuf>,

    /// Compare each host with itself, by the pairs of runs that scripts/ab makes, or by runs that have all sides; report
    /// the change on the median host, and the hosts that differ from it; with --by state, --by kernel or --by backend
    #[arg(long, value_name = "COLUMN", requires = "by", conflicts_with = "paired")]
    pub across: Option<Across>,

    /// Compare costs relative to this backend's in the same block: the machine's speed affects ratios less
    #[arg(long, value_name = "BACKEND")]
    pub relative_to: Option<String>,

    /// Compare the values of a column with each other instead of two files: backend, variant, kernel, batch, host, …
    #[arg(long, value_name = "COLUMN", value_parser = By::column)]
    pub by: Option<By>,

    /// The value to compare the others with [default: the first; for kernels, the one before]
    #[arg(long, value_name = "VALUE", requires = "by")]
    pub base: Option<String>,

    /// Columns to compare [default: by scenario, e.g. ns_per_packet_p50,peer_ns_per_packet for drain]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = metric)]
    pub metric: Vec<Metric>,

    /// The smallest change that matters, above 0% and below 100%
    #[arg(long, value_name = "PERCENT", default_value = "3%", value_parser = percentage)]
    pub threshold: f64,

    /// Refuse sides that share no blocks; shared blocks are compared in any case
    #[arg(long, hide = true)]
    pub paired: bool,

    /// Print a table, CSV or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,

    /// Exit with status 3 if any verdict is `worse`, or if any is certainly worse by the threshold or more
    #[arg(long, value_name = "VERDICT")]
    pub fail_on: Option<FailOn>,

    /// Also list comparisons that are otherwise refused, without a verdict
    #[arg(long)]
    pub force: bool,
}

/// The values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Csv,
    /// For programs.
    Json,
}

/// The values of `--fail-on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Any verdict that is `worse`.
    Worse,
    /// One whose interval lies beyond the threshold.
    WorseByThreshold,
}

fn metric(name: &str) -> Result<Metric, String> {
    Metric::find(name).ok_or_else(|| {
        let all: Vec<&str> = Metric::all().map(Metric::name).collect();
        format!("cannot compare '{name}'; choose from {}{}", all.join(", "), did_you_mean(name, all.iter().copied()))
    })
}
