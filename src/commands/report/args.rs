//! Flags of `hpbench report`.

use std::path::PathBuf;

use clap::Args;

/// The files to report on, and where to write the page.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hpbench report sweep.csv -o sweep.html")]
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

    /// Replace existing files
    #[arg(long)]
    pub force: bool,
}
