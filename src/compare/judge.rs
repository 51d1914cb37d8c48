//! Two sides of a cell: their figures, and what speaks against a verdict on them.
//!
//! What is compared decides by which statistic ([`crate::stats::estimate`]): pairs of runs, where the sides are paired; else
//! the blocks that both sides have; else runs that alternated. All of one side before all of the other, or one run a side,
//! have no interval: the machine alone moves single runs by more than most changes do.

use std::collections::BTreeMap;

use crate::compare::cells::{Half, Pair};
use crate::compare::merged::{self, Merged};
use crate::compare::metrics::Metric;
use crate::compare::trials::Trials;
use crate::compare::verdict::{self, Basis, Figures, Ratio, Side, Verdict, sorted};
use crate::compare::warnings::{Doubt, Reason, Warning};
use crate::gates;
use crate::record::cell::CellKey;
use crate::record::columns::Column;
use crate::record::row::State;
use crate::stats::Summary;
use crate::stats::estimate::{self, BLOCKS_MIN, Estimate, PAIRS_MIN, RUNS_MIN};
use crate::stats::median::{ALPHA, Median};

/// The medians and their ratio.
fn without_interval(base: &Values<'_>, new: &Values<'_>) -> Figures {
    let medians = [base, new].map(Values::median);
    let ratio = medians[0].zip(medians[1]).map(|(base, new)| verdict::ratio(base.value, new.value));
    let ratio = ratio.filter(|ratio| ratio.is_finite()).map(|value| Ratio { value, interval: None });
    Figures { medians, ratio, ..Figures::default() }
}

fn with_estimate(figures: Figures, estimate: Estimate, basis: Basis) -> Figures {
    Figures { ratio: Some(estimate.into()), p: Some(estimate.p), basis, ..figures }
}

/// The logarithm of what `new` is to `base`; none where one of them is 0.
fn log_ratio(base: f64, new: f64) -> Result<f64, Reason> {
    let log = verdict::ratio(base, new).ln();
    if log.is_finite() { Ok(log) } else { Err(Reason::NoRatio) }
}

/// By the blocks that both sides have.
fn by_blocks(base: &Side, new: &Side) -> Result<(Estimate, Basis), Reason> {
    let of_base: BTreeMap<usize, f64> = base.iter().copied().collect();
    let of_new: BTreeMap<usize, f64> = new.iter().copied().collect();
    let both = of_new.iter().filter_map(|(block, new)| Some((*of_base.get(block)?, *new)));
    let differences = both.map(|(base, new)| log_ratio(base, new)).collect::<Result<Vec<f64>, Reason>>()?;
    let blocks = differences.len();
    let estimate = estimate::pieces(&differences).ok_or(Reason::TooFewBlocks { blocks, needed: BLOCKS_MIN })?;
    Ok((estimate, Basis::Blocks { blocks }))
}

/// Times that a cache line takes are of one state of the cores if they differ by less than this factor. The two states of one
/// machine were 50 and 210 ns.
const SAME_STATE: f64 = 1.6;

/// Whether cores are in the same state by the times that a cache line takes between them; so they are where that is not known.
fn is_same_state(a: f64, b: f64) -> bool {
    a.is_nan() || b.is_nan() || a.max(b) < SAME_STATE * a.min(b)
}

/// The time that a cache line took in most trials of a pair whose sides share blocks; NaN if it is not known.
fn usual_transfer_ns(trials: &Trials<'_>, pair: &Pair) -> f64 {
    if !pair.interleaved {
        return f64::NAN;
    }
    let both = pair.base.trials.iter().chain(&pair.new.trials);
    let known = both.map(|&at| trials.attempt(at).core_transfer_ns);
    Summary::of(known).map_or(f64::NAN, |summary| summary.median)
}

/// One side of a comparison.
#[derive(Debug, Default)]
pub(crate) struct Values<'d> {
    /// The values that count, with their blocks.
    pub values: Vec<(usize, f64)>,
    /// Their latencies, if a quantile far out is compared and all have them.
    merged: Option<Merged<'d>>,
    /// The runs that these are of, one for each, with the time that a cache line took.
    runs: Vec<(u32, f64)>,
    /// How many trials are invalid.
    pub invalid: usize,
    /// How many have generators that were the bottleneck, …
    pub limited: usize,
    /// … and whether those are too many to be left out.
    is_limited: bool,
    /// How many count although the machine was not as usual.
    pub marked: usize,
    /// How many are left out because their cores were in another state than those of most.
    pub other_state: usize,
}

impl<'d> Values<'d> {
    /// Of the trials of a half that are valid and count; those whose cores were as far apart as `usual_ns` says, unless that is
    /// NaN.
    fn of(trials: &Trials<'d>, half: &Half, metric: Metric, usual_ns: f64) -> Self {
        let valid = half.trials.iter().copied().filter(|&at| trials.attempt(at).state == State::Valid);
        let valid: Vec<usize> = valid.collect();
        let mut found = Self { invalid: half.trials.len() - valid.len(), ..Self::default() };
        let counting = gates::counting(valid, |&at| trials.attempt(at).is_marked);
        found.limited = counting.iter().filter(|&&at| trials.attempt(at).is_limited).count();
        found.is_limited = gates::limits(found.limited, counting.len());
        let mut latencies = metric.tail().map(|_| Vec::new());
        for at in counting {
            let attempt = trials.attempt(at);
            if attempt.is_limited && !found.is_limited {
                continue;
            }
            found.marked += usize::from(attempt.is_marked);
            if !is_same_state(attempt.core_transfer_ns, usual_ns) {
                found.other_state += 1;
                continue;
            }
            if let Some(value) = trials.value(at, metric) {
                found.values.push((attempt.block as usize, value));
                found.runs.push((attempt.run, attempt.core_transfer_ns));
                latencies = latencies.zip(trials.latencies(at)).map(|(mut all, latencies)| {
                    all.push(latencies);
                    all
                });
            }
        }
        found.merged = metric.tail().zip(latencies).and_then(|(at, latencies)| Merged::of(at, latencies));
        found
    }

    /// The median of each run, or its quantile.
    fn by_run(&self) -> BTreeMap<u32, f64> {
        self.merged.as_ref().map_or_else(|| self.medians(|at| self.values[at].1), Merged::by_run)
    }

    /// The median of all, or their quantile.
    fn median(&self) -> Option<Median> {
        self.merged.as_ref().map(Merged::quantile).or_else(|| Median::of_sorted(&sorted(&self.values)))
    }

    /// The median of some numbers of each run.
    fn medians(&self, number: impl Fn(usize) -> f64) -> BTreeMap<u32, f64> {
        let mut runs: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (at, (run, _)) in self.runs.iter().enumerate() {
            runs.entry(*run).or_default().push(number(at));
        }
        let median = |numbers: Vec<f64>| Summary::of(numbers).map_or(f64::NAN, |summary| summary.median);
        runs.into_iter().map(|(run, numbers)| (run, median(numbers))).collect()
    }
}

/// Both sides of a pair. Latencies are merged where both have them.
pub(crate) fn sides<'d>(trials: &Trials<'d>, pair: &Pair, metric: Metric) -> [Values<'d>; 2] {
    let usual_ns = usual_transfer_ns(trials, pair);
    let mut sides = [&pair.base, &pair.new].map(|half| Values::of(trials, half, metric, usual_ns));
    if sides.iter().any(|side| side.merged.is_none()) {
        sides.iter_mut().for_each(|side| side.merged = None);
    }
    sides
}

/// The pairs of runs of two sides.
#[derive(Debug)]
pub(crate) struct RunPairs {
    /// The logarithms of what the new one is to the base, of the pairs that count.
    pub differences: Vec<f64>,
    /// How many pairs there are.
    all: usize,
}

/// The pairs of runs that two sides have; `None` where they have none.
pub(crate) fn run_pairs(trials: &Trials<'_>, base: &Values<'_>, new: &Values<'_>) -> Option<Result<RunPairs, Reason>> {
    // In the order of time: of several runs with one number, each with that of the other side that came like it.
    let numbered = |side: &Values<'_>| {
        let mut pairs: BTreeMap<u32, Vec<(f64, f64)>> = BTreeMap::new();
        let transfers = side.medians(|at| side.runs[at].1);
        let mut runs: Vec<(&str, u32, (f64, f64))> = side
            .by_run()
            .into_iter()
            .filter_map(|(run, median)| Some((trials.started(run), trials.pair(run)?, (median, transfers[&run]))))
            .collect();
        runs.sort_by(|a, b| a.0.cmp(b.0));
        runs.into_iter().for_each(|(_, pair, numbers)| pairs.entry(pair).or_default().push(numbers));
        pairs
    };
    let (base, new) = (numbered(base), numbered(new));
    let both = base.iter().filter_map(|(pair, of_base)| Some((of_base, new.get(pair)?)));
    let both: Vec<_> = both.flat_map(|(base, new)| base.iter().zip(new)).collect();
    if both.is_empty() {
        return None;
    }
    // A pair counts if the cores were in the same state in both runs.
    let alike = both.iter().filter(|(base, new)| is_same_state(base.1, new.1));
    let differences: Result<Vec<f64>, Reason> = alike.map(|(base, new)| log_ratio(base.0, new.0)).collect();
    Some(differences.map(|differences| RunPairs { differences, all: both.len() }))
}

/// By pairs of runs; `None` where the sides have none.
fn by_pairs(trials: &Trials<'_>, base: &Values, new: &Values) -> Option<Result<(Estimate, Basis), Reason>> {
    let found = run_pairs(trials, base, new)?;
    Some(found.and_then(|RunPairs { differences, all }| {
        let (pairs, needed) = (differences.len(), PAIRS_MIN);
        let too_few =
            if all < needed { Reason::TooFewPairs { pairs, needed } } else { Reason::OtherState { pairs, needed } };
        let estimate = estimate::signed_ranks(&differences).ok_or(too_few)?;
        Ok((estimate, Basis::Pairs { pairs }))
    }))
}

/// By runs that alternated.
fn by_runs(trials: &Trials<'_>, base: &Values<'_>, new: &Values<'_>) -> Result<(Estimate, Basis), Reason> {
    let sides = [base.by_run(), new.by_run()];
    let runs = [sides[0].len(), sides[1].len()];
    if runs.contains(&1) {
        return Err(Reason::OneRun);
    }
    let mut order: Vec<(&str, u32, usize)> = Vec::new();
    for (side, medians) in sides.iter().enumerate() {
        order.extend(medians.keys().map(|&run| (trials.started(run), run, side)));
    }
    order.sort_unstable();
    let changes = order.windows(2).filter(|two| two[0].2 != two[1].2).count();
    // Of two sides in random order, half of the neighbours differ; of all of one side before all of the other, one pair.
    if changes < order.len().div_ceil(3) {
        return Err(Reason::NotAlternated);
    }
    let logs = |side: &BTreeMap<u32, f64>| side.values().map(|value| log_ratio(1.0, *value)).collect();
    let [base, new]: [Result<Vec<f64>, Reason>; 2] = [logs(&sides[0]), logs(&sides[1])];
    let estimate = estimate::welch(&base?, &new?);
    let estimate = estimate.ok_or(Reason::TooFewRuns { runs: runs[0].min(runs[1]), needed: RUNS_MIN })?;
    Ok((estimate, Basis::Runs { runs }))
}

/// The figures of two sides, by what they offer; without an interval, the reason.
pub(crate) fn figures(
    trials: &Trials<'_>,
    pair: &Pair,
    base: &Values<'_>,
    new: &Values<'_>,
) -> (Figures, Option<Reason>) {
    let figures = without_interval(base, new);
    if figures.medians.iter().any(Option::is_none) {
        return (figures, Some(Reason::NoValues));
    }
    let tails = base.merged.as_ref().zip(new.merged.as_ref());
    let found = by_pairs(trials, base, new).unwrap_or_else(|| match tails {
        _ if !pair.interleaved => by_runs(trials, base, new),
        Some((base, new)) if !base.is_relative() => merged::by_blocks(base, new),
        _ => by_blocks(&base.values, &new.values),
    });
    // Quantiles of runs with few samples each may be compared; those of too few in all may not.
    let is_enough = |found| tails.map_or(Ok(()), |(base, new)| base.check().and_then(|()| new.check())).map(|()| found);
    let found = found.and_then(is_enough);
    match found {
        Ok((estimate, basis)) => (with_estimate(figures, estimate, basis), None),
        Err(reason) => (figures, Some(reason)),
    }
}

/// Two sides of a cell in one metric, and what may be said of them.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What is compared.
    pub metric: Metric,
    /// The cell; without what is compared by.
    pub cell: CellKey,
    /// The conditions under which both sides were measured, with their values.
    pub conditions: Vec<(Column, String)>,
    /// The names of both sides.
    pub sides: [String; 2],
    /// How many trials count on each.
    pub counts: [usize; 2],
    /// Datagrams per system call on each: medians.
    pub per_call: [Option<f64>; 2],
    /// The figures.
    pub figures: Figures,
    /// The p-value, adjusted for how many rows there are.
    pub q: Option<f64>,
    /// What may be said.
    pub verdict: Verdict,
    /// Why there is no verdict.
    pub reason: Option<Reason>,
    /// Whether these are counts of instructions, which have no noise.
    pub counted: bool,
    /// Whether they are counts that have not settled: a change is one of these trials only.
    pub unsettled: bool,
    /// What else the reader must know.
    pub warnings: Vec<Warning>,
}

impl Comparison {
    /// Its value of an axis or of a condition.
    pub fn get(&self, column: Column) -> &str {
        let condition = self.conditions.iter().find(|(known, _)| *known == column);
        condition.map_or_else(|| if column.role().is_axis() { self.cell.get(column) } else { "" }, |(_, text)| text)
    }

    /// Whether the sides certainly differ, although by less than the threshold.
    pub fn is_certain(&self) -> bool {
        self.verdict == Verdict::Same && self.q.is_some_and(|q| q < ALPHA)
    }

    /// Whether the change is certainly of at least the threshold.
    pub fn is_by_threshold(&self, threshold: f64) -> bool {
        let least = verdict::least(threshold);
        let interval = self.figures.worse_by(self.metric.better);
        interval.is_some_and(|(low, high)| match self.verdict {
            Verdict::Worse => low >= least,
            Verdict::Better => high <= -least,
            _ => false,
        })
    }
}

/// What the reader must know of the trials of both sides.
pub(crate) fn warnings(base: (&Values<'_>, &Half), new: (&Values<'_>, &Half)) -> Vec<Warning> {
    let both = |count: fn(&Values<'_>, &Half) -> usize| (count(base.0, base.1), count(new.0, new.1));
    let told = [
        (Doubt::Limited, both(|values, _| values.limited)),
        (Doubt::Failed, both(|_, half| half.failed)),
        (Doubt::Invalid, both(|values, _| values.invalid)),
        (Doubt::Marked, both(|values, _| values.marked)),
        (Doubt::OtherState, both(|values, _| values.other_state)),
    ];
    let told = told.into_iter().filter(|(_, (base, new))| base + new > 0);
    told.map(|(what, (base, new))| Warning::Trials { what, base, new }).collect()
}

/// Why a comparison has no verdict whatever its figures are.
pub(crate) fn refusal(pair: &Pair, base: &Values<'_>, new: &Values<'_>) -> Option<Reason> {
    let refused = pair.refused.first().cloned().map(Reason::Refused);
    refused.or_else(|| (base.is_limited || new.is_limited).then_some(Reason::Limited))
}
