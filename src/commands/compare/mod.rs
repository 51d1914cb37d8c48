//! `hpbench compare`: two or more sets of trials, cell by cell, and what may be said of their difference.

pub mod args;
mod export;
mod table;

use crate::compare::axes::By;
use crate::compare::report::{CompareError, Report, Settings};
use crate::compare::trials::Trials;
use crate::compare::verdict::Verdict;
use crate::console::{Failure, is_coloured, print, tell};
use crate::record::rows;
use args::{CompareArgs, FailOn, Format};

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
