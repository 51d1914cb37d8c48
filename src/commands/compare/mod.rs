//! `hpbench compare`: two or more sets of trials, cell by cell, and the verdicts on their differences.

use std::path::PathBuf;

mod across;
pub mod args;
mod export;
mod table;

use crate::compare::axes::By;
use crate::compare::comparisons::{CompareError, Comparisons, Settings};
use crate::compare::dataset::Dataset;
use crate::compare::metrics;
use crate::compare::trials::Trials;
use crate::compare::verdict::Verdict;
use crate::console::{Failure, look, print, printable, tell, usage};
use crate::place;
use crate::record::rows;
use args::{CompareArgs, FailOn, Format};

/// Reads, compares, and prints.
pub(crate) fn run(args: &CompareArgs) -> Result<u8, Failure> {
    let inputs = args.files.iter().map(|path| ("", path.as_path()));
    let of_base = args.base_files.iter().map(|path| ("--base-files", path.as_path()));
    let of_new = args.new_files.iter().map(|path| ("--new-files", path.as_path()));
    let inputs: Vec<_> = inputs.chain(of_base).chain(of_new).collect();
    place::check_outputs(&[], &inputs).map_err(usage)?;
    let data = read(args)?;
    let mut trials = Trials::new(&data, args.by.clone().unwrap_or(By::File), &args.metric);
    if let Some(backend) = &args.relative_to {
        trials.relate_to(backend).map_err(CompareError::from)?;
    }
    if trials.list.is_empty() {
        return Err(CompareError::OnlyNull.into());
    }
    let base = args.base.as_deref().map(printable);
    let settings = Settings {
        base: base.as_deref(),
        all_metrics: !args.metric.is_empty(),
        threshold: args.threshold,
        paired: args.paired,
        force: args.force,
        across_hosts: args.across.is_some(),
    };
    if args.across.is_some() {
        return across::run(args, &trials, &settings);
    }
    let report = Comparisons::new(&trials, &settings)?;
    match args.format {
        Format::Table => print(&table::render(&report, look()))?,
        Format::Csv => print(&export::csv(&report))?,
        Format::Json => print(&export::json(&report))?,
    }
    if args.format == Format::Csv {
        report.notes.iter().for_each(|note| tell!("note: {note}"));
    }
    let mut worse = report.comparisons.iter().filter(|comparison| comparison.verdict == Verdict::Worse);
    let fails = args.fail_on.is_some_and(|on| match on {
        FailOn::Worse => worse.next().is_some(),
        FailOn::WorseByThreshold => worse.any(|comparison| comparison.is_by_threshold(args.threshold)),
    });
    Ok(if fails { 3 } else { 0 })
}

/// The trials of all files.
fn read(args: &CompareArgs) -> Result<Dataset, CompareError> {
    let is_of_sides = !args.base_files.is_empty();
    if args.by.is_none() && !is_of_sides && args.files.len() != 2 {
        return Err(CompareError::NotTwoFiles(args.files.len()));
    }
    let metrics = if args.metric.is_empty() { metrics::all_defaults() } else { args.metric.clone() };
    let columns = metrics.into_iter().map(|metric| metric.column);
    // Each host is compared with itself by its runs: single trials of thousands of hosts need not be kept.
    let mut data = if args.across.is_some() { Dataset::condensed(columns) } else { Dataset::new(columns) };
    let files: Vec<PathBuf> = args.files.iter().chain(&args.base_files).chain(&args.new_files).cloned().collect();
    for (at, (path, name)) in files.iter().zip(rows::file_names(&files)).enumerate() {
        let side = if at < args.base_files.len() { "base" } else { "new" };
        data.begin(if is_of_sides { side } else { &name });
        rows::read_file(path, |_, fields, row| data.add(fields, row))?;
    }
    data.finish();
    Ok(data)
}
