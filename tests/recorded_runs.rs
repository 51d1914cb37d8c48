//! Verdicts between recorded runs of one command, none of which is better or worse than another.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use common::{Bench, parse};

/// A directory with a file for each of the twelve runs, `run-01.csv` being the first.
fn bench() -> (Bench, Vec<String>) {
    let packed: &[u8] = include_bytes!("fixtures/twelve-runs.csv.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("text, packed");
    let (header, rows) = text.split_once('\n').expect("a header");
    // In the order of their start.
    let mut runs: BTreeMap<&str, (&str, String)> = BTreeMap::new();
    for row in rows.lines() {
        let mut fields = row.splitn(4, ',').skip(1);
        let (run, started) = (fields.next().expect("a run"), fields.next().expect("a time"));
        let (first, content) = runs.entry(run).or_insert_with(|| (started, format!("{header}\n")));
        *first = (*first).min(started);
        *content += &format!("{row}\n");
    }
    let mut runs: Vec<(&str, String)> = runs.into_values().collect();
    runs.sort_unstable();
    let bench = Bench::new();
    let files = runs.iter().enumerate().map(|(at, (_, content))| {
        let name = format!("run-{:02}.csv", at + 1);
        fs::write(bench.path(&name), content).expect("a file");
        name
    });
    let files: Vec<String> = files.collect();
    assert_eq!(files.len(), 12);
    (bench, files)
}

/// The verdicts and their bases.
fn verdicts(bench: &Bench, args: &str) -> Vec<(String, String)> {
    let done = bench.run(&format!("compare {args} --threshold 1% --format csv")).expect(0);
    let rows = parse(&done.stdout);
    assert_eq!(rows.len(), 6, "three backends in two metrics: {}", done.stdout);
    rows.iter().map(|row| (row.text("verdict").into(), row.text("basis").into())).collect()
}

#[test]
fn single_runs_have_no_verdict() {
    let (bench, files) = bench();
    for two in files.windows(2) {
        let found = verdicts(&bench, &two.join(" "));
        assert!(found.iter().all(|(verdict, basis)| verdict == "none" && basis.is_empty()), "{two:?}: {found:?}");
    }
}

#[test]
fn all_of_one_side_before_all_of_the_other_have_no_verdict() {
    let (bench, files) = bench();
    for count in 1..files.len() {
        let (base, new) = files.split_at(count);
        let found = verdicts(&bench, &format!("--base-files {} --new-files {}", base.join(","), new.join(",")));
        assert!(found.iter().all(|(verdict, basis)| verdict == "none" && basis.is_empty()), "{count}: {found:?}");
    }
}

#[test]
fn runs_that_alternate_are_not_different() {
    let (bench, files) = bench();
    let side = |odd: usize| files.iter().skip(odd).step_by(2).cloned().collect::<Vec<_>>().join(",");
    let found = verdicts(&bench, &format!("--base-files {} --new-files {}", side(0), side(1)));
    let is_fine = |(verdict, basis): &(String, String)| (verdict == "same" || verdict == "unclear") && basis == "runs";
    assert!(found.iter().all(is_fine), "{found:?}");
}
