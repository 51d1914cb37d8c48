//! Pairs of runs of one cell with itself: what `scripts/ab` would find where there is nothing to be found.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow};
use indicatif::ProgressStyle;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::commands::bench::progress;
use crate::console::{Failure, broken};
use crate::gates;
use crate::measure::control::Interrupt;
use crate::record::row::{self, Row};
use crate::record::rows;
use crate::stats::Summary;
use crate::stats::estimate::{PAIRS_MIN, signed_ranks};
use crate::text::wrap;

use super::args::SelftestArgs;
use super::report::{counted, half, line, pct};
use super::resolve::{self, Counted};

/// The pairs of one comparison, as `scripts/ab` has them by default.
const PAIRS: usize = 20;

/// The logarithms of what the second run of each pair is to the first one, both drawn: of the pairs that count. Fewer after an
/// interrupt.
pub(super) fn measure(args: &SelftestArgs, runs: usize, seed: u64, interrupt: &Interrupt) -> Result<Vec<f64>, Failure> {
    let home = tempfile::tempdir().context("cannot make a temporary directory").map_err(broken)?;
    let program = std::env::current_exe().context("cannot find this program").map_err(broken)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut differences = Vec::new();
    let bar = progress(&args.run_args().map_err(Failure::Usage)?, runs);
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} runs, {eta} left");
    bar.set_style(style.expect("the template is valid"));
    for _ in 0..runs / 2 {
        let mut medians = [None; 2];
        let first = random.random_range(0..2);
        for side in [first, 1 - first] {
            if interrupt.is_raised() {
                return Ok(differences);
            }
            let file = home.path().join("run.csv");
            medians[side] = one(&program, args, &file).map_err(broken)?;
            bar.inc(1);
            fs::remove_file(&file).or_else(ignore_missing).context("cannot remove what a run wrote").map_err(broken)?;
        }
        differences.extend(medians[0].zip(medians[1]).map(|(a, b): (f64, f64)| (b / a).ln()));
    }
    bar.finish_and_clear();
    Ok(differences)
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// The median of a run in a process of its own; none if too few of its trials count.
fn one(program: &Path, args: &SelftestArgs, file: &Path) -> anyhow::Result<Option<f64>> {
    let words = [
        ("--scenario", args.scenario.to_string()),
        ("--backend", args.backend.choice.to_string()),
        ("--batch", args.batch.to_string()),
        ("--duration", args.duration.as_secs_f64().to_string()),
        ("--time", args.run_time.as_secs_f64().to_string()),
    ];
    let words = words.iter().flat_map(|(flag, value)| [*flag, value.as_str()]);
    let mut command = Command::new(program);
    command.arg("--quiet").args(words).arg("-o").arg(file).stdin(Stdio::null()).stdout(Stdio::null());
    let done = command.output().context("cannot start a run")?;
    // One that ended early, or whose trials are all disturbed, says nothing; one that was refused says why.
    if done.status.code() == Some(2) {
        return Err(anyhow!("{}", String::from_utf8_lossy(&done.stderr).trim().to_owned()).context("a run was refused"));
    }
    let mut all: Vec<Row> = Vec::new();
    let read = rows::read_file(file, |_, _, row| {
        all.push(row.clone());
        Ok(())
    });
    if read.is_err() {
        return Ok(None);
    }
    row::mark(all.iter_mut());
    let counting = gates::counting(all.iter().filter(|row| row.valid == 1).collect(), |row| row.marked);
    let is_enough = counting.len() >= gates::TRIALS_MIN;
    let summary = Summary::of(counting.iter().filter_map(|row| row.ns_per_packet_p50)).filter(|_| is_enough);
    Ok(summary.map(|summary| summary.median))
}

/// What is printed, and whether there is anything to say.
pub(super) fn report(args: &SelftestArgs, runs: usize, seed: u64, differences: &[f64]) -> (String, bool) {
    let pairs = differences.len();
    let run_s = args.run_time.as_secs_f64();
    let mut text = format!("\nBetween runs: {} pairs of runs of {run_s} s, all of the same cell\n", runs / 2);
    let Some(found) = signed_ranks(differences) else {
        text += &wrap(&format!(
            "Only {pairs} of {} pairs count, and {PAIRS_MIN} are the least: this machine is too busy to measure anything. Try \
             again with less running beside it, or with a longer --run-time.",
            runs / 2
        ));
        return (text, false);
    };
    text += &format!("{:22}{}  (true: 0%)\n", format!("{pairs} pairs"), line(&found, args.threshold).0);
    let mut sizes: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let size =
        |at: f64| crate::stats::quantile_of_sorted(&sizes, at).map_or_else(String::new, |size| pct(size.exp_m1()));
    // Comparisons of 20 pairs each, or of as many as there are.
    let groups = (pairs / PAIRS).max(1);
    let group = |at: usize| signed_ranks(&differences[at * pairs / groups..(at + 1) * pairs / groups]);
    let wrong = Counted::of((0..groups).filter_map(group), args.threshold);
    text += &wrap(&format!(
        "Two single runs, one after the other, differ by {} in the median, and one pair of ten by {} or more: that is why one run \
         a side has no verdict. {}",
        size(0.5),
        size(0.9),
        counted(wrong, &format!("{} pairs", pairs / groups)),
    ));
    let resolved = resolve::by_pairs(differences, PAIRS, seed);
    text += &resolved.map_or_else(String::new, |resolved| {
        format!("{PAIRS} pairs of runs tell apart{:>8}  (half-width {})\n", pct(resolved.least), half(resolved))
    });
    (text, true)
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    #[test]
    fn pairs_are_judged_together_and_in_groups() {
        let command = SelftestArgs::augment_args(clap::Command::new("selftest").no_binary_name(true));
        let args = SelftestArgs::from_arg_matches(&command.get_matches_from::<_, &str>([])).expect("flags");
        let differences: Vec<f64> = (0..47).map(|at| 0.002 * f64::from(at * 7 % 11 - 5)).collect();
        let (text, is_enough) = report(&args, 100, 1, &differences);
        assert!(is_enough && text.contains("Between runs: 50 pairs of runs of 1 s"), "{text}");
        assert!(text.contains("\n47 pairs ") && text.contains("\n20 pairs of runs tell apart"), "{text}");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("Of 2 comparisons of the cell with itself, of 23 pairs each, 0 have"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let (text, is_enough) = report(&args, 100, 1, &differences[..5]);
        assert!(!is_enough && text.contains("Only 5 of 50 pairs count"), "{text}");
    }
}
