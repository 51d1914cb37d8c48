//! `hpbench compare`: two or more sets of trials, cell by cell, and what may be said of their difference.
//!
//! - [`axes`] and [`metrics`]: by what trials are told apart, and what is compared of them;
//! - `trials` and `cells`: what is in the files, and which trials are compared with which;
//! - [`verdict`] and `report`: the figures of two sides, and what they are worth; [`counts`]: those without noise;
//! - `table`, `export`, `steps`, `matrix` and [`answer`]: what is printed, here and by [`crate::commands::lab`].

pub mod answer;
pub mod args;
pub mod axes;
pub(crate) mod canaries;
pub(crate) mod cells;
pub mod counts;
mod export;
pub(crate) mod matrix;
pub mod metrics;
pub(crate) mod reasons;
pub mod releases;
pub(crate) mod report;
pub(crate) mod sections;
pub(crate) mod steps;
pub(crate) mod swept;
mod table;
pub(crate) mod trials;
pub mod verdict;

use std::io::{self, IsTerminal};

use crate::command::{Failure, print, tell};
use crate::record::rows::{self, ReadError};
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
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
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
        groups: usize::MAX,
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
    for (path, name) in args.files.iter().zip(rows::file_names(&args.files)) {
        rows::read_file(path, |_, fields, row| trials.add(fields, row, &name))?;
    }
    if trials.list.is_empty() {
        return Err(CompareError::OnlyNull);
    }
    trials.mark();
    Ok(trials)
}

#[cfg(test)]
mod tests;
