//! `hpbench report`: one self-contained page of runs, for people.
//!
//! - `data`, `environment`, `gates`: what is kept of the trials, and what they say;
//! - `conclusion`: what may be said of them, by the verdicts of [`crate::compare`];
//! - `charts` and `svg`: what is drawn, and how;
//! - `embed` and `page`: the rows, and all of it, in one file; `write` puts it there.

pub mod args;
mod charts;
mod conclusion;
mod data;
mod embed;
mod environment;
mod gates;
mod page;
mod svg;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::compare::axes::By;
use crate::compare::trials::Trials;
use crate::console::{Failure, print};
use crate::record::rows::{self, ReadError};
use args::ReportArgs;
use charts::figure::Figure;
use conclusion::Evidence;
use data::Data;
use embed::{Packed, Packer};
use page::Page;

/// Several kernels are compared by a second reading, and what is no file is gone after the first.
#[derive(Debug, thiserror::Error)]
#[error(
    "there are trials under several kernels, so that all is read twice, and {0} is no regular file; save its rows to one \
     first",
    path.display()
)]
struct ReadOnce {
    path: PathBuf,
}

/// Reads, draws, and writes.
pub(crate) fn run(args: &ReportArgs) -> Result<u8, Failure> {
    write::check(&args.out, args.force)?;
    let (data, mut evidence, packed) = read(&args.files)?;
    if data.distinct("kernel").len() > 1 {
        if let Some(path) = args.files.iter().find(|path| !path.is_file()) {
            return Err(Failure::Usage(ReadOnce { path: path.clone() }.into()));
        }
        evidence.by_kernel = Some(read_by_kernel(&args.files)?);
    }
    let conclusion = conclusion::draw(&data, &evidence);
    drop(evidence);
    let (figures, missing) = charts::all(&data);
    if let Some(folder) = &args.svg {
        write_charts(&figures, folder, args.force)?;
    }
    let page = Page { data: &data, conclusion: &conclusion, figures: &figures, missing: &missing, packed: &packed };
    let text = page.render();
    write::whole(&args.out, &text)?;
    if !write::is_stdout(&args.out) {
        let charts: usize = figures.iter().map(|figure| figure.charts.len()).sum();
        let (rows, size) = (data.trials.len(), text.len().div_ceil(1024));
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let (charts_s, rows_s) = (s(charts), s(rows));
        let out = args.out.display();
        print(&format!("{out}: {charts} chart{charts_s} of {rows} trial{rows_s}, {size} KiB\n"))?;
    }
    Ok(0)
}

/// Everything in the files.
fn read(files: &[PathBuf]) -> Result<(Data, Evidence, Vec<Packed>), ReadError> {
    let mut data = Data::new();
    let by_variant = Trials::new(By::Column("variant"), &[]);
    let mut evidence = Evidence { by_variant, by_kernel: None };
    let mut packed: Vec<Packed> = Vec::new();
    let mut room = Packer::room_for_all();
    for (path, name) in files.iter().zip(rows::file_names(files)) {
        let mut packer = Packer::new(&name, room);
        data.files.push((name, 0));
        rows::read_file(path, |columns, fields, row| {
            // This one says as well what cannot have been measured.
            evidence.by_variant.add(fields, row, "")?;
            data.add(fields, row);
            packer.add(columns, fields);
            Ok(())
        })?;
        let done = packer.finish();
        room -= done.len();
        if let Some((_, count)) = data.files.last_mut() {
            *count = done.rows;
        }
        packed.push(done);
    }
    data.finish();
    evidence.by_variant.mark();
    Ok((data, evidence, packed))
}

/// The trials once more, for a comparison of kernels: only few files have several, so the others do not pay for it.
fn read_by_kernel(files: &[PathBuf]) -> Result<Trials, ReadError> {
    let mut trials = Trials::new(By::Column("kernel"), &[]);
    for path in files {
        rows::read_file(path, |_, fields, row| trials.add(fields, row, ""))?;
    }
    trials.mark();
    Ok(trials)
}

/// Writes each chart as a file of its own.
fn write_charts(figures: &[Figure], folder: &Path, force: bool) -> Result<(), Failure> {
    write::folder(folder)?;
    let mut names = BTreeSet::new();
    let mut files = Vec::new();
    for figure in figures {
        for chart in &figure.charts {
            let name = file_name(figure.name, chart.title(), &mut names);
            files.push((folder.join(name), page::without_controls(&chart.alone(figure.title))));
        }
    }
    // Nothing is written where not all can be.
    files.iter().try_for_each(|(path, _)| write::check(path, force))?;
    files.iter().try_for_each(|(path, text)| write::whole(path, text))
}

/// A name that says what is in the file, of letters, digits and dashes only, and that no other file has.
fn file_name(figure: &str, title: &str, names: &mut BTreeSet<String>) -> String {
    const LONGEST: usize = 80;
    let mut name = figure.to_owned();
    for word in title.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter(|word| !word.is_empty()) {
        if name.len() + word.len() < LONGEST {
            name = format!("{name}-{}", word.to_ascii_lowercase());
        }
    }
    let all = std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}-{number}")));
    let free = all.map(|name| name + ".svg").find(|name| !names.contains(name)).expect("numbers do not end");
    names.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_telling_plain_and_different() {
        let mut names = BTreeSet::new();
        assert_eq!(file_name("cost", "drain, 64 bytes", &mut names), "cost-drain-64-bytes.svg");
        assert_eq!(file_name("cost", "drain: 64 BYTES", &mut names), "cost-drain-64-bytes-2.svg");
        assert_eq!(file_name("cost", "../../etc/passwd\0\n", &mut names), "cost-..-..-etc-passwd.svg");
        assert!(file_name("cost", &"long ".repeat(1000), &mut names).len() < 100);
    }
}
