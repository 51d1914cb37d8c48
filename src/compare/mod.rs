//! `hpbench compare`: two or more sets of trials, cell by cell, and what may be said of their difference.
//!
//! - [`axes`] and [`metrics`]: by what trials are told apart, and what is compared of them;
//! - `trials` and `cells`: what is in the files, and which trials are compared with which;
//! - [`verdict`] and `report`: the figures of two sides, and what they are worth; [`counts`]: those without noise;
//! - `table`, `export`, `steps`, `matrix` and [`answer`]: what is printed, here and by [`crate::lab`].

pub mod answer;
pub mod args;
pub mod axes;
pub(crate) mod cells;
pub mod counts;
mod export;
pub(crate) mod matrix;
pub mod metrics;
pub(crate) mod report;
mod sections;
pub(crate) mod steps;
mod table;
pub(crate) mod trials;
pub mod verdict;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use crate::command::{Failure, print, tell};
use crate::rows::{Rows, RowsError};
use args::{CompareArgs, FailOn, Format};
use axes::By;
use report::{Report, Settings};
use trials::Trials;
use verdict::Verdict;

/// Why nothing is compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Without `--by`, there are two sides.
    #[error("{0} files: name a base and a new one, or compare by a column with --by COLUMN")]
    NotTwoFiles(usize),
    /// It cannot be opened.
    #[error("cannot open {0}: {error}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It cannot be read.
    #[error("{0}; compare reads what hpbench wrote: remove the line, or measure again")]
    Rows(#[from] RowsError),
    /// Its last row is cut.
    #[error(
        "line {line} of {0} is cut ({bytes} bytes without a line end); remove it, or have its trial run again with \
         --resume", path.display()
    )]
    Cut {
        /// The file.
        path: PathBuf,
        /// Which line.
        line: u64,
        /// Its length.
        bytes: u64,
    },
    /// There are no trials.
    #[error("there are no trials in {0}; a run writes some", path.display())]
    NoTrials {
        /// The file.
        path: PathBuf,
    },
    /// All of them are of the null backend.
    #[error("all trials are of the null backend, which has no kernel and is not compared with others; use --by batch")]
    OnlyNull,
    /// There is nothing to compare with.
    #[error("all trials have the same {by}, '{value}'; compare by another column, or add a file with another {by}")]
    OneSide {
        /// The column.
        by: &'static str,
        /// The value.
        value: String,
    },
    /// The base is none of the sides.
    #[error("--base {base}: no trial has this {by}; there are {sides}")]
    NoSuchBase {
        /// The value asked for.
        base: String,
        /// The column.
        by: &'static str,
        /// The values that there are.
        sides: String,
    },
    /// A backend has more than one variant.
    #[error("{side} has several variants here ({variants}); use --by variant, which compares each of them")]
    SeveralVariants {
        /// The backend.
        side: String,
        /// Its variants.
        variants: String,
    },
    /// A side has trials under more than one kernel, which would be one cell.
    #[error("{side} has trials under several kernels ({kernels}); use --by kernel, or files of one kernel each")]
    SeveralKernels {
        /// The side.
        side: String,
        /// Its kernels.
        kernels: String,
    },
    /// No cell is on two sides.
    #[error("no cell is on two sides{0}; measure the same cells on both")]
    NothingAlike(String),
    /// What could be compared means nothing.
    #[error("refused, for it would mean nothing:\n{0}\nMeasure again, or use --force to have such rows marked invalid")]
    Refused(String),
}

impl From<CompareError> for Failure {
    fn from(error: CompareError) -> Self {
        Self::Usage(error.into())
    }
}

/// Reads, compares, and prints.
pub(crate) fn run(args: &CompareArgs) -> Result<u8, Failure> {
    let trials = read(args)?;
    let settings = Settings {
        base: args.base.as_deref(),
        all_metrics: !args.metric.is_empty(),
        threshold: args.threshold,
        paired: args.paired,
        force: args.force,
    };
    let report = Report::new(&trials, &settings)?;
    match args.format {
        Format::Table => print(&table::render(&report, is_coloured()))?,
        Format::Csv => print(&export::csv(&report))?,
        Format::Json => print(&export::json(&report))?,
    }
    if args.format == Format::Csv {
        report.notes.iter().for_each(|note| tell!("note: {note}"));
    }
    let is_worse = report.comparisons.iter().any(|comparison| comparison.verdict == Verdict::Worse);
    Ok(if args.fail_on == Some(FailOn::Worse) && is_worse { 3 } else { 0 })
}

/// Colours are for terminals, where nobody has asked for none (<https://no-color.org>).
fn is_coloured() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// The trials of all files.
fn read(args: &CompareArgs) -> Result<Trials, CompareError> {
    if args.by.is_none() && args.files.len() != 2 {
        return Err(CompareError::NotTwoFiles(args.files.len()));
    }
    let mut trials = Trials::new(args.by.clone().unwrap_or(By::File), &args.metric);
    for (path, name) in args.files.iter().zip(names(&args.files)) {
        read_file(path, &name, &mut trials)?;
    }
    if trials.list.is_empty() {
        return Err(CompareError::OnlyNull);
    }
    trials.mark();
    Ok(trials)
}

fn read_file(path: &Path, name: &str, trials: &mut Trials) -> Result<(), CompareError> {
    let file = File::open(path).map_err(|error| CompareError::Open { path: path.into(), error })?;
    let mut rows = Rows::new(path, file);
    rows.header()?;
    let mut count = 0_usize;
    while let Some(record) = rows.next_row()? {
        let row = rows.parse(&record)?;
        trials.add(&record.fields, &row, name).map_err(|reason| rows.bad(record.line, reason))?;
        count += 1;
    }
    match rows.cut() {
        0 if count == 0 => Err(CompareError::NoTrials { path: path.into() }),
        0 => Ok(()),
        bytes => Err(CompareError::Cut { path: path.into(), line: rows.last_line(), bytes }),
    }
}

/// What the sides are called where files are compared: as short as they can be told apart.
fn names(files: &[PathBuf]) -> Vec<String> {
    let short = |path: &PathBuf| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let full = |path: &PathBuf| path.display().to_string();
    let is_unique = |names: &[String]| names.iter().enumerate().all(|(at, name)| !names[..at].contains(name));
    let [short, full] = [files.iter().map(short).collect::<Vec<_>>(), files.iter().map(full).collect()];
    match (is_unique(&short), is_unique(&full)) {
        (true, _) => short,
        (_, true) => full,
        _ => full.iter().enumerate().map(|(index, name)| format!("{name} ({})", index + 1)).collect(),
    }
}

#[cfg(test)]
mod tests;
