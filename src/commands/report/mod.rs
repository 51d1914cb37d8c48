//! `hpbench report`: one self-contained page of runs, for people.
//!
//! - `data`, `times`, `environment`, `gates`: what is kept of the trials, and what the gates say about them;
//! - `conclusion`: the conclusions, by the verdicts of [`crate::compare`];
//! - `charts` and `svg`: what is drawn, and how;
//! - `fleet`: the page of a fleet, which has no trials, only the changes of hosts;
//! - `embed`, `parts` and `page`: the rows, the parts of sections, and the whole page; `write` writes the files.

pub mod args;
mod charts;
mod conclusion;
mod data;
mod embed;
mod environment;
mod fleet;
mod gates;
mod grid;
mod page;
mod parts;
mod svg;
mod times;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::compare::capacity::{Found, Searches};
use crate::compare::dataset::Dataset;
use crate::console::{Failure, broken, print, printable_path, usage};
use crate::place;
use crate::record::rows;
use args::ReportArgs;
use charts::figure::Figure;
use data::Data;
use embed::{Packed, Packer};
use page::Page;
use times::Times;

/// Reads, draws, and writes.
pub(crate) fn run(args: &ReportArgs) -> Result<u8, Failure> {
    write::check(&args.out, args.force)?;
    check_outputs(args, &[])?;
    if let Some(by) = &args.by {
        return fleet::run(args, by);
    }
    let Read { mut data, packed, searched } = read(&args.files)?;
    let compared = charts::compared(&data);
    let conclusion = conclusion::draw(&data, &compared);
    data.in_time();
    let (figures, missing) = charts::all(&data, compared.as_ref().ok());
    let charts = args.svg.as_deref().map_or_else(|| Ok(Vec::new()), |folder| charts_in(folder, &figures))?;
    // Nothing is written unless everything can be.
    charts.iter().try_for_each(|(path, _)| write::check(path, args.force))?;
    check_outputs(args, &charts)?;
    let page = Page {
        data: &data,
        searched: &searched,
        conclusion: &conclusion,
        figures: &figures,
        missing: &missing,
        packed: &packed,
    };
    let text = page.render();
    let files = charts.iter().map(|(path, chart)| (path.as_path(), chart)).chain([(args.out.as_path(), &text)]);
    let staged: Vec<_> = files.map(|(path, text)| write::stage(path, text)).collect::<Result<_, _>>()?;
    staged.into_iter().try_for_each(write::Staged::put)?;
    if !write::is_stdout(&args.out) {
        let count: usize = figures.iter().map(|figure| figure.charts.len()).sum();
        let (trials, size) = (data.trials(), text.len().div_ceil(1024));
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let (charts_s, trials_s) = (s(count), s(trials));
        let out = printable_path(&args.out);
        print(&format!("{out}: {count} chart{charts_s} of {trials} trial{trials_s}, {size} KiB\n"))?;
    }
    Ok(0)
}

/// Everything in the files.
struct Read {
    data: Data,
    packed: Vec<Packed>,
    /// What searches have found.
    searched: Vec<Found>,
}

fn read(files: &[PathBuf]) -> Result<Read, Failure> {
    let (mut set, mut times, mut searches) = (Dataset::new(Data::columns()), Times::default(), Searches::default());
    let names = rows::file_names(files);
    let mut packed: Vec<Packed> = Vec::new();
    let mut room = Packer::room_for_all();
    for (file, (path, name)) in files.iter().zip(&names).enumerate() {
        let mut packer = Packer::new(name, room).map_err(no_thread)?;
        set.begin(name);
        rows::read_file(path, |columns, fields, row| {
            set.add(fields, row)?;
            searches.add(file, fields, row);
            times.add(row);
            packer.add(columns, fields);
            Ok(())
        })?;
        let done = packer.finish();
        room -= done.len();
        packed.push(done);
    }
    set.finish();
    Ok(Read { data: Data::new(set, times), packed, searched: searches.found(&names) })
}

fn no_thread(error: std::io::Error) -> Failure {
    let what =
        "cannot start a thread for compression; raise the limit of processes and threads (`ulimit -u`, pids.max)";
    broken(anyhow::Error::new(error).context(what))
}

/// Refuses an output that is an input or another output.
fn check_outputs(args: &ReportArgs, charts: &[(PathBuf, String)]) -> Result<(), Failure> {
    let charts = charts.iter().map(|(path, _)| ("--svg", path.as_path()));
    let outputs: Vec<_> = [("-o", args.out.as_path())].into_iter().chain(charts).collect();
    let inputs: Vec<_> = args.files.iter().map(|path| ("", path.as_path())).collect();
    place::check_outputs(&outputs, &inputs).map_err(usage)
}

/// Each chart as a file of its own in a directory, which is created.
fn charts_in(folder: &Path, figures: &[Figure]) -> Result<Vec<(PathBuf, String)>, Failure> {
    write::folder(folder)?;
    let mut names = BTreeSet::new();
    let mut files = Vec::new();
    for figure in figures {
        for chart in &figure.charts {
            let name = file_name(figure.name, chart.title(), &mut names);
            files.push((folder.join(name), page::without_controls(&chart.alone(figure.title))));
        }
    }
    Ok(files)
}

/// A unique name that describes the file, of letters, digits and dashes only.
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
