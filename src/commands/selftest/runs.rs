//! Pairs of runs of one cell with itself: what `scripts/ab` would find if there is nothing to find.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use indicatif::ProgressStyle;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::commands::bench::progress;
use crate::compare::axes::By;
use crate::compare::comparisons;
use crate::compare::dataset::Dataset;
use crate::compare::metrics::Metric;
use crate::compare::trials::Trials;
use crate::console::{Failure, broken};
use crate::measure::control::Interrupt;
use crate::record::columns::Column;
use crate::record::rows;
use crate::stats::estimate::{PAIRS_MIN, signed_ranks};
use crate::text::wrap;

use super::args::SelftestArgs;
use super::report::{counted, half, line, pct};
use super::resolve::{self, Counted};

/// How often a run is looked at. It measures meanwhile, on the same cores.
const LOOK: Duration = Duration::from_millis(100);

/// The pairs of one comparison: the default of `scripts/ab`.
const PAIRS: usize = 20;

/// The logarithms of run B / run A, which ran in random order, of the pairs that count by the rules of `compare`. Fewer
/// after an interrupt.
pub(super) fn measure(args: &SelftestArgs, runs: usize, seed: u64, interrupt: &Interrupt) -> Result<Vec<f64>, Failure> {
    let home = tempfile::tempdir().context("cannot make a temporary directory").map_err(broken)?;
    let program = std::env::current_exe().context("cannot find this program").map_err(broken)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut data = Dataset::new([Column::ns_per_packet_p50]);
    data.begin("runs");
    let bar = progress(&args.run_args().map_err(Failure::Usage)?, Some(runs));
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} runs, {eta} left");
    bar.set_style(style.expect("the template is valid"));
    for pair in 1..=runs / 2 {
        let first = random.random_range(0..2);
        for side in [first, 1 - first] {
            if interrupt.is_raised() {
                return Ok(differences(data));
            }
            let file = home.path().join("run.csv");
            one(&program, args, (STATES[side], pair), &file, interrupt).map_err(broken)?;
            // A run that wrote nothing does not count.
            let _ = rows::read_file(&file, |_, fields, row| data.add(fields, row));
            bar.inc(1);
            fs::remove_file(&file).or_else(ignore_missing).context("cannot remove what a run wrote").map_err(broken)?;
        }
    }
    bar.finish_and_clear();
    Ok(differences(data))
}

/// The names of both sides.
const STATES: [&str; 2] = ["A", "B"];

/// The differences of the pairs that count.
fn differences(mut data: Dataset) -> Vec<f64> {
    data.finish();
    let metric = Metric::of(Column::ns_per_packet_p50).expect("a column that is compared");
    let trials = Trials::new(&data, By::Column(Column::state), &[metric]);
    comparisons::run_differences(&trials, metric)
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// A run in a process of its own, which gets an interrupt, too.
fn one(
    program: &Path,
    args: &SelftestArgs,
    (state, pair): (&str, usize),
    file: &Path,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let words = [
        ("--scenario", args.scenario.to_string()),
        ("--backend", args.backend.choice.to_string()),
        ("--batch", args.batch.to_string()),
        ("--duration", args.duration.as_secs_f64().to_string()),
        ("--time", args.run_time.as_secs_f64().to_string()),
        ("--state", state.to_owned()),
        ("--pair", pair.to_string()),
    ];
    let words = words.iter().flat_map(|(flag, value)| [*flag, value.as_str()]);
    let mut command = Command::new(program);
    command.arg("--quiet").args(words).arg("-o").arg(file).stdin(Stdio::null()).stdout(Stdio::null());
    let mut said = tempfile::tempfile().context("cannot make a temporary file")?;
    let stderr = said.try_clone().context("cannot have a descriptor more")?;
    let mut child = command.stderr(stderr).spawn().context("cannot start a run")?;
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a run")? {
            break status;
        }
        if interrupt.is_raised() {
            // Ctrl-C has reached it, SIGTERM has not. A second signal would end it without its rows, of which none are used.
            let _ = child.kill();
        }
        thread::sleep(LOOK);
    };
    // A run that ended early, or whose trials are all disturbed, is unusable; one that was refused says why.
    if status.code() == Some(2) {
        let mut text = String::new();
        said.seek(SeekFrom::Start(0))
            .and_then(|_| said.read_to_string(&mut text))
            .context("cannot read what it said")?;
        return Err(anyhow!("{}", text.trim().to_owned()).context("a run was refused"));
    }
    Ok(())
}

/// The output, and whether there is a result.
pub(super) fn report(args: &SelftestArgs, runs: usize, seed: u64, differences: &[f64]) -> (String, bool) {
    let pairs = differences.len();
    let run_s = args.run_time.as_secs_f64();
    let mut text = format!("\nBetween runs: {} pairs of runs of {run_s} s, all of the same cell\n", runs / 2);
    let Some(found) = signed_ranks(differences) else {
        text += &wrap(&format!(
            "Only {pairs} of {} pairs count, and at least {PAIRS_MIN} are needed: this machine is too busy to measure \
             anything. Try again with less running, or with a longer --run-time.",
            runs / 2
        ));
        return (text, false);
    };
    text += &format!("{:22}{}  (true: 0%)\n", format!("{pairs} pairs"), line(&found, args.threshold).0);
    let mut sizes: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let size =
        |at: f64| crate::stats::quantile_of_sorted(&sizes, at).map_or_else(String::new, |size| pct(size.exp_m1()));
    // Comparisons of about 20 pairs each, or of as many as there are.
    let groups = (pairs / PAIRS).max(1);
    let group = |at: usize| signed_ranks(&differences[at * pairs / groups..(at + 1) * pairs / groups]);
    let wrong = Counted::of((0..groups).filter_map(group), args.threshold);
    text += &wrap(&format!(
        "Two consecutive runs differ by {} in the median, and one pair in ten by {} or more: that is why one run a \
         side has no verdict. {}",
        size(0.5),
        size(0.9),
        counted(wrong, &format!("{} pairs", pairs / groups)),
    ));
    let resolved = resolve::by_pairs(differences, PAIRS, seed);
    text += &resolved.map_or_else(String::new, |resolved| {
        format!("{PAIRS} pairs of runs resolve{:>8}  (half-width {})\n", pct(resolved.least), half(resolved))
    });
    (text, true)
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::record::format;
    use crate::record::row::{Row, SCHEMA};

    /// A pair counts if enough trials of both its runs count; marked ones are left out.
    #[test]
    fn pairs_are_those_of_compare() {
        let mut data = Dataset::new([Column::ns_per_packet_p50]);
        data.begin("runs");
        for pair in 1..=3_usize {
            for (side, state) in STATES.into_iter().enumerate() {
                let valid = if (pair, side) == (2, 1) { 5 } else { 20 };
                for trial in 1..=20 {
                    let is_marked = trial > 15;
                    let row = Row {
                        schema: SCHEMA,
                        run_id: format!("{pair}{state}"),
                        started_at: format!("2026-11-29T10:0{pair}:0{side}Z"),
                        backend: "plain".into(),
                        state: state.into(),
                        pair: Some(pair as u32),
                        trial,
                        order: trial,
                        attempt: 1,
                        steady: Some(u8::from(!is_marked)),
                        ns_per_packet_p50: Some(if is_marked { 900.0 } else { [400.0, 440.0][side] }),
                        valid: u8::from(trial <= valid),
                        ..Row::default()
                    };
                    let fields = format::fields(&format::encode(&row, false)).expect("a row");
                    data.add(&fields, &row).expect("a row that can be compared");
                }
            }
        }
        let found = differences(data);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|difference| (difference - 1.1_f64.ln()).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn pairs_are_judged_together_and_in_groups() {
        let command = SelftestArgs::augment_args(clap::Command::new("selftest").no_binary_name(true));
        let args = SelftestArgs::from_arg_matches(&command.get_matches_from::<_, &str>([])).expect("flags");
        let differences: Vec<f64> = (0..47).map(|at| 0.002 * f64::from(at * 7 % 11 - 5)).collect();
        let (text, is_enough) = report(&args, 100, 1, &differences);
        assert!(is_enough && text.contains("Between runs: 50 pairs of runs of 1 s"), "{text}");
        assert!(text.contains("\n47 pairs ") && text.contains("\n20 pairs of runs resolve"), "{text}");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("Of 2 comparisons of the cell with itself, of 23 pairs each, 0 have"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let (text, is_enough) = report(&args, 100, 1, &differences[..5]);
        assert!(!is_enough && text.contains("Only 5 of 50 pairs count"), "{text}");
    }
}
