//! Flags of `hpbench report`.

use std::path::PathBuf;

use clap::Args;

use crate::compare::axes::{Across, By};
use crate::plan::values::percentage;

/// The files to report on, and where to write the page.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hpbench report sweep.csv -o sweep.html\n  hpbench report --by state --across host fleet/*.csv -o fleet.html"
)]
pub struct ReportArgs {
    /// CSV files of runs
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// HTML file to write; - writes to standard output
    #[arg(short = 'o', long, value_name = "OUT.html")]
    pub out: PathBuf,

    /// Also write each chart to this directory, as an SVG file
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,

    /// One page of a fleet: each host compared with itself, as in `compare --across host`
    #[arg(long, value_name = "COLUMN", requires = "by", conflicts_with = "svg")]
    pub across: Option<Across>,

    /// With --across: the column whose values are compared: state, kernel, backend, …
    #[arg(long, value_name = "COLUMN", requires = "across", value_parser = By::column)]
    pub by: Option<By>,

    /// With --across: the value to compare the others with [default: the first; for kernels, the one before]
    #[arg(long, value_name = "VALUE", requires = "across")]
    pub base: Option<String>,

    /// With --across: the smallest change that matters [default: 3%]
    #[arg(long, value_name = "PERCENT", requires = "across", value_parser = percentage)]
    pub threshold: Option<f64>,

    /// Replace existing files
    #[arg(long)]
    pub force: bool,
}
