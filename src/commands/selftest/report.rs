//! The output for one run, and the format of figures.

use std::collections::BTreeMap;

use crate::compare::verdict::{self, Verdict};
use crate::gates;
use crate::stats::Summary;
use crate::stats::estimate::{self, BLOCKS_MANY, BLOCKS_MIN, Estimate};
use crate::stats::median::ALPHA;
use crate::text::{percent, wrap};

use super::args::SelftestArgs;
use super::blocks::{Measured, SIDES, SLOWED};
use super::resolve::{self, Counted, Resolved};

/// The run lengths, in seconds, for which the test says what they resolve.
const ASKED_S: [f64; 2] = [10.0, 60.0];

/// The output for one run, and whether there is a result.
pub(super) fn within(args: &SelftestArgs, seed: u64, measured: &Measured) -> (String, bool) {
    let sides: [BTreeMap<usize, f64>; SIDES] = std::array::from_fn(|side| valid(measured, side));
    let mut text = format!(
        "{} with {}, batch {}: {} blocks of {SIDES} trials of {} s, seed {seed}\n",
        args.scenario,
        args.backend.choice,
        args.batch,
        measured.blocks,
        args.duration.as_secs_f64(),
    );
    let [same, added] = [1, SLOWED].map(|side| differences(&sides[0], &sides[side]));
    let estimates = estimate::pieces(&same).zip(estimate::pieces(&added));
    let Some((of_same, of_added)) = estimates else {
        text += &wrap(&format!(
            "Only {} of {} blocks are valid on both sides, and at least {BLOCKS_MIN} are needed: this machine is too \
             busy to measure anything. Try again with less running, or with more --time.",
            same.len().min(added.len()),
            measured.blocks,
        ));
        return (text, false);
    };
    let base = Summary::of(sides[0].values().copied()).map_or(f64::NAN, |summary| summary.median);
    let (added_ns, truth) = (measured.added_ns, measured.added_ns / base);
    text += &format!("{:22}{}  (true: 0%)\n", "the same cell twice", line(&of_same, args.threshold).0);
    let (line, verdict) = line(&of_added, args.threshold);
    text += &format!("{:22}{line}  (true: {:+.2}%)\n", format!("with {added_ns:.1} ns added"), 100.0 * truth);
    text += &wrap(found(&of_added, verdict));
    text += &apart(args, seed, measured, &same);
    let wrong = Counted::by_blocks(&same, args.threshold);
    text += &wrap(&counted(wrong, &format!("{} blocks", same.len().min(BLOCKS_MANY))));
    (text, true)
}

/// The values that count on a side, by block.
fn valid(measured: &Measured, side: usize) -> BTreeMap<usize, f64> {
    let of_side = measured.rows.iter().filter(|(of, row)| *of == side && row.valid == 1).map(|(_, row)| row);
    let counted = gates::counting(of_side.collect(), |row| row.marked).into_iter();
    counted.filter_map(|row| Some((row.trial, row.ns_per_packet_p50?))).collect()
}

/// The logarithms of `new` / `base` in the blocks that both have.
fn differences(base: &BTreeMap<usize, f64>, new: &BTreeMap<usize, f64>) -> Vec<f64> {
    let both = new.iter().filter_map(|(block, new)| Some((base.get(block)?, new)));
    both.map(|(base, new)| (new / base).ln()).filter(|difference| difference.is_finite()).collect()
}

/// Whether the added work was found.
fn found(estimate: &Estimate, verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Worse => "The added work was found.",
        _ if estimate.low > 0.0 => "The added work was found, and is below the threshold.",
        _ => "The added work was not found: it is less than this machine can resolve in this time.",
    }
}

/// What runs of some lengths would resolve.
fn apart(args: &SelftestArgs, seed: u64, measured: &Measured, differences: &[f64]) -> String {
    // A comparison of two cells takes two of the three trials of a block.
    let block_s = measured.elapsed.as_secs_f64() * 2.0 / SIDES as f64 / measured.blocks as f64;
    let all_s = block_s * measured.blocks as f64;
    // Only some of a run's blocks count.
    let counting = differences.len() as f64 / measured.blocks as f64;
    let mut text = wrap(&format!(
        "The smallest difference that this machine finds in 80% of all runs of two cells (below the threshold of {}, \
         the verdict is `same`):",
        percent(args.threshold)
    ));
    let mut lengths: Vec<(f64, usize)> =
        ASKED_S.iter().map(|seconds| (*seconds, (counting * seconds / block_s) as usize)).collect();
    if !ASKED_S.iter().any(|asked| (asked / all_s).ln().abs() < 0.1) {
        lengths.push((all_s, differences.len()));
    }
    lengths.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (seconds, blocks) in lengths {
        let told = match resolve::by_blocks(differences, blocks, seed) {
            Some(resolved) => format!("{:>8}  (half-width {}, {blocks} blocks)", pct(resolved.least), half(resolved)),
            None if seconds > all_s => {
                format!("  not measured: --time {:.0} does", (seconds * SIDES as f64 / 2.0).ceil())
            }
            None => "  too few blocks for a verdict".into(),
        };
        text += &format!("  in {seconds:>4.0} s{told}\n");
    }
    if all_s < ASKED_S[1] {
        text += &wrap("Lengths not measured are not promised: half-widths do not fall with the square root of time.");
    }
    text
}

/// How many comparisons of a cell with itself were wrong.
pub(super) fn counted(wrong: Counted, of: &str) -> String {
    let Counted { all, excluding, different } = wrong;
    let s = if all == 1 { "" } else { "s" };
    format!(
        "Of {all} comparison{s} of the cell with itself, of {of} each, {excluding} {} an interval that excludes 0 \
         (expect one in twenty), and {different} {} called better or worse.",
        if excluding == 1 { "has" } else { "have" },
        if different == 1 { "is" } else { "are" },
    )
}

/// A change with its interval and its verdict, which is marked if the change is certain but below the threshold.
pub(super) fn line(found: &Estimate, threshold: f64) -> (String, Verdict) {
    let verdict = verdict::verdict(Some((found.low, found.high)), found.p, threshold);
    let pct = |log: f64| format!("{:+.2}%", 100.0 * log.exp_m1());
    let interval = format!("{}..{}", pct(found.low), pct(found.high));
    let certain = if verdict == Verdict::Same && found.p < ALPHA { " ~" } else { "" };
    let word = format!("{}{certain}", verdict.name());
    (format!("{:>8}  {interval:>18}  {word:<7}", pct(found.center)), verdict)
}

/// A fraction as a percentage with two decimals.
pub(super) fn pct(fraction: f64) -> String {
    format!("{:.2}%", 100.0 * fraction)
}

/// Half of an interval.
pub(super) fn half(resolved: Resolved) -> String {
    format!("±{}", pct(resolved.half))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::record::row::Row;

    fn args(words: &[&str]) -> SelftestArgs {
        let command = SelftestArgs::augment_args(clap::Command::new("selftest").no_binary_name(true));
        let matches = command.try_get_matches_from(words).expect("flags");
        SelftestArgs::from_arg_matches(&matches).expect("flags")
    }

    /// So many blocks in 20 s; every fourth trial is disturbed.
    fn measured(blocks: usize) -> Measured {
        let row = |side: usize, block: usize| {
            let noise = 0.5 * ((7 * block + 5 * side) % 11) as f64;
            let ns = 400.0 + noise + if side == SLOWED { 4.0 } else { 0.0 };
            let valid = u8::from(!(block + side).is_multiple_of(4));
            (side, Row { trial: block, ns_per_packet_p50: Some(ns), valid, ..Row::default() })
        };
        let rows = (1..=blocks).flat_map(|block| (0..SIDES).map(move |side| row(side, block)));
        Measured { rows: rows.collect(), blocks, added_ns: 4.0, elapsed: Duration::from_secs(20) }
    }

    #[test]
    fn what_was_measured_is_told_and_no_more() {
        let (text, is_sound) = within(&args(&[]), 1, &measured(400));
        assert!(is_sound && text.starts_with("drain with plain, batch 32: 400 blocks of 3 trials of 0.01 s, seed 1\n"));
        for told in [
            "the same cell twice",
            "with 4.0 ns added",
            "(true: +0.99%)",
            "same ~",
            "The added work was found, and is below the threshold.",
            "in   10 s",
            "blocks)",
            "in   60 s  not measured: --time 90 does",
            "Of 4 comparisons of the cell with itself, of 50 blocks each, 0 have",
        ] {
            assert!(text.contains(told), "{told}: {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let (text, _) = within(&args(&["--threshold", "0.5%"]), 1, &measured(400));
        assert!(text.contains("The added work was found.\n"), "{text}");
    }

    #[test]
    fn too_few_blocks_say_nothing() {
        let (text, is_sound) = within(&args(&[]), 1, &measured(20));
        assert!(!is_sound && text.contains("Only 10 of 20 blocks are valid"), "{text}");
    }
}
