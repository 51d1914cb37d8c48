//! Flags of `hpbench report`.

use std::path::PathBuf;

use clap::Args;

/// What to make a page of, and where to put it.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hpbench report sweep.csv -o sweep.html")]
pub struct ReportArgs {
    /// CSV files of runs
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// HTML file to write; - writes to standard output
    #[arg(short = 'o', long, value_name = "OUT.html")]
    pub out: PathBuf,

    /// Write each chart to this directory as well, as an SVG file of its own
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,

    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
}
