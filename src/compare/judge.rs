//! Two sides of a cell: their figures, and the reasons against a verdict on them.
//!
//! The data decide the statistic ([`crate::stats::estimate`]): blocks, if the sides share blocks of the same runs; else
//! pairs of runs, if the runs are paired; else runs that alternated. If all runs of one side came before all of the
//! other, or a side has only one run, there is no interval: the machine alone moves single runs by more than most
//! changes do.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use crate::compare::cells::{Half, Pair};
use crate::compare::judged::Judged;
use crate::compare::merged::{self, Merged};
use crate::compare::metrics::Metric;
use crate::compare::trials::Trials;
use crate::compare::verdict::{self, Basis, Figures, Ratio, Side, sorted};
use crate::compare::warnings::{Doubt, Reason, Warning};
use crate::gates;
use crate::record::columns::Column;
use crate::record::row::State;
use crate::stats::Summary;
use crate::stats::estimate::{self, BLOCKS_MIN, BLOCKS_OF_RUN_MIN, Estimate, PAIRS_MIN, RUNS_MIN};
use crate::stats::median::Median;

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

/// The logarithm of `new` / `base`; an error if one of them is 0.
fn log_ratio(base: f64, new: f64) -> Result<f64, Reason> {
    let log = verdict::ratio(base, new).ln();
    if log.is_finite() { Ok(log) } else { Err(Reason::NoRatio) }
}

/// The estimate by the blocks that both sides have.
fn by_blocks(base: &Side, new: &Side) -> Result<(Estimate, usize), Reason> {
    let of_base: BTreeMap<usize, f64> = base.iter().copied().collect();
    let of_new: BTreeMap<usize, f64> = new.iter().copied().collect();
    let both = of_new.iter().filter_map(|(block, new)| Some((*of_base.get(block)?, *new)));
    let differences = both.map(|(base, new)| log_ratio(base, new)).collect::<Result<Vec<f64>, Reason>>()?;
    let blocks = differences.len();
    let estimate = estimate::pieces(&differences).ok_or(Reason::TooFewBlocks { blocks, needed: BLOCKS_MIN })?;
    Ok((estimate, blocks))
}

/// Cores are in the same state if the times of a cache line between them differ by less than this factor. The two
/// states of one machine were 50 and 210 ns.
const SAME_STATE: f64 = 1.6;

/// Whether cores are in the same state by the times that a cache line takes between them; so they are where that is not known.
pub(crate) fn is_same_state(a: f64, b: f64) -> bool {
    a.is_nan() || b.is_nan() || a.max(b) < SAME_STATE * a.min(b)
}

/// The middle one of some times, and of an even number the shorter of the two in the middle: between two states there is none.
/// NaN if none is known.
pub(crate) fn usual(times_ns: impl Iterator<Item = f64>) -> f64 {
    let mut known: Vec<f64> = times_ns.filter(|ns| !ns.is_nan()).collect();
    known.sort_unstable_by(f64::total_cmp);
    known.len().checked_sub(1).map_or(f64::NAN, |last| known[last / 2])
}

/// The median time of a cache line in the trials of a pair whose sides share blocks; NaN if not known.
fn usual_transfer_ns(trials: &Trials<'_>, pair: &Pair) -> f64 {
    if !pair.interleaved {
        return f64::NAN;
    }
    let both = pair.base.trials.iter().chain(&pair.new.trials);
    usual(both.map(|&at| trials.attempt(at).core_transfer_ns))
}

/// One side of a comparison.
#[derive(Debug, Default)]
pub(crate) struct Values<'d> {
    /// The values that count, with their blocks.
    pub values: Vec<(usize, f64)>,
    /// Their latencies, if a high quantile is compared and all have them.
    merged: Option<Merged<'d>>,
    /// For each value, its run, the time of a cache line, and how many trials it is of.
    runs: Vec<(u32, f64, u32)>,
    /// How many trials are invalid.
    pub invalid: usize,
    /// How many trials had generators that were the bottleneck.
    pub limited: usize,
    /// Whether those are too many to leave out.
    is_limited: bool,
    /// How many count although they are marked.
    pub marked: usize,
    /// How many are left out because their cores were in a different state from most.
    pub other_state: usize,
}

impl<'d> Values<'d> {
    /// From the trials of a half that are valid and count, and whose cores were in the state of `usual_ns`, unless that
    /// is NaN.
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
                found.runs.push((attempt.run, attempt.core_transfer_ns, attempt.trials));
                latencies = latencies.zip(trials.latencies(at)).map(|(mut all, latencies)| {
                    all.push(latencies);
                    all
                });
            }
        }
        found.merged = metric.tail().zip(latencies).and_then(|(at, latencies)| Merged::of(at, latencies));
        found
    }

    /// The median or the quantile of each run that has enough trials.
    fn by_run(&self) -> BTreeMap<u32, f64> {
        let median = |values: Vec<f64>| Summary::of(values).map_or(f64::NAN, |summary| summary.median);
        let all = self.merged.as_ref().map_or_else(|| self.of_runs(|at| self.values[at].1, median), Merged::by_run);
        let thin = self.thin_runs();
        all.into_iter().filter(|(run, _)| !thin.contains(run)).collect()
    }

    /// The runs that have values, but too few to count between runs.
    fn thin_runs(&self) -> BTreeSet<u32> {
        let trials = self.of_runs(|at| f64::from(self.runs[at].2), |trials| trials.iter().sum());
        trials.into_iter().filter(|(_, count)| *count < BLOCKS_OF_RUN_MIN as f64).map(|(run, _)| run).collect()
    }

    /// The median or the quantile of all.
    fn median(&self) -> Option<Median> {
        self.merged.as_ref().map(Merged::quantile).or_else(|| Median::of_sorted(&sorted(&self.values)))
    }

    /// The runs that have values.
    fn run_numbers(&self) -> BTreeSet<u32> {
        self.runs.iter().map(|(run, ..)| *run).collect()
    }

    /// The median time of a cache line in each run; NaN if not known.
    fn transfers_ns(&self) -> BTreeMap<u32, f64> {
        self.of_runs(|at| self.runs[at].1, |times_ns| usual(times_ns.into_iter()))
    }

    /// The middle of a number over the trials of each run.
    fn of_runs(&self, number: impl Fn(usize) -> f64, middle: impl Fn(Vec<f64>) -> f64) -> BTreeMap<u32, f64> {
        let mut runs: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (at, (run, ..)) in self.runs.iter().enumerate() {
            runs.entry(*run).or_default().push(number(at));
        }
        runs.into_iter().map(|(run, numbers)| (run, middle(numbers))).collect()
    }
}

/// Both sides of a pair. Latencies are merged if both have them.
pub(crate) fn sides<'d>(trials: &Trials<'d>, pair: &Pair, metric: Metric) -> [Values<'d>; 2] {
    let usual_ns = usual_transfer_ns(trials, pair);
    let mut sides = [&pair.base, &pair.new].map(|half| Values::of(trials, half, metric, usual_ns));
    if sides.iter().any(|side| side.merged.is_none()) {
        sides.iter_mut().for_each(|side| side.merged = None);
    }
    sides
}

/// The reason, if too few runs count because some have too few trials.
pub(crate) fn thin(base: &Values<'_>, new: &Values<'_>) -> Option<Reason> {
    let runs = base.thin_runs().union(&new.thin_runs()).count();
    (runs > 0).then_some(Reason::ThinRuns { runs, needed: BLOCKS_OF_RUN_MIN })
}

/// The pairs of runs of two sides.
#[derive(Debug)]
pub(crate) struct RunPairs {
    /// The logarithms of new / base, of the pairs that count.
    pub differences: Vec<f64>,
    /// How many pairs there are.
    pub all: usize,
}

/// The pairs of runs of two sides; `None` if there are none.
///
/// Files of several experiments have several runs with the same pair number. These are matched with those of the other
/// side in time order, including runs of which no trial counts. If one side has more of them than the other, nobody
/// knows which belong together, and none of them count.
pub(crate) fn run_pairs(
    trials: &Trials<'_>,
    pair: &Pair,
    base: &Values<'_>,
    new: &Values<'_>,
) -> Option<Result<RunPairs, Reason>> {
    let numbered = |half: &Half, side: &Values<'_>| {
        let (medians, transfers) = (side.by_run(), side.transfers_ns());
        let all: BTreeSet<u32> = half.trials.iter().map(|&at| trials.attempt(at).run).collect();
        let mut all: Vec<(&str, u32)> = all.into_iter().map(|run| (trials.started(run), run)).collect();
        all.sort_unstable();
        let mut pairs: BTreeMap<u32, Vec<Option<(f64, f64)>>> = BTreeMap::new();
        for (_, run) in all {
            let Some(number) = trials.pair(run) else { continue };
            let counting = medians.get(&run).map(|median| (*median, transfers[&run]));
            pairs.entry(number).or_default().push(counting);
        }
        pairs
    };
    let (base, new) = (numbered(&pair.base, base), numbered(&pair.new, new));
    let both = base.iter().filter_map(|(number, of_base)| Some((of_base, new.get(number)?)));
    let both = both.filter(|(base, new)| base.len() == new.len()).flat_map(|(base, new)| base.iter().zip(new));
    let both: Vec<_> = both.filter_map(|(base, new)| (*base).zip(*new)).collect();
    if base.keys().all(|number| !new.contains_key(number)) {
        return None;
    }
    // A pair counts if the cores were in the same state in both runs.
    let alike = both.iter().filter(|(base, new)| is_same_state(base.1, new.1));
    let differences: Result<Vec<f64>, Reason> = alike.map(|(base, new)| log_ratio(base.0, new.0)).collect();
    Some(differences.map(|differences| RunPairs { differences, all: both.len() }))
}

/// The logarithms of new / base of runs that have both sides: each is a pair by itself.
pub(crate) fn within_runs(base: &Values<'_>, new: &Values<'_>) -> Result<Vec<f64>, Reason> {
    let (base, new) = (base.by_run(), new.by_run());
    base.iter().filter_map(|(run, base)| Some(log_ratio(*base, *new.get(run)?))).collect()
}

/// The estimate by pairs of runs; `None` if there are none.
fn by_pairs(
    trials: &Trials<'_>,
    pair: &Pair,
    base: &Values<'_>,
    new: &Values<'_>,
) -> Option<Result<(Estimate, Basis), Reason>> {
    let found = run_pairs(trials, pair, base, new)?;
    Some(found.and_then(|RunPairs { differences, all }| {
        let (pairs, needed) = (differences.len(), PAIRS_MIN);
        let too_few =
            if all < needed { Reason::TooFewPairs { pairs, needed } } else { Reason::OtherState { pairs, needed } };
        let estimate = estimate::signed_ranks(&differences).ok_or_else(|| thin(base, new).unwrap_or(too_few))?;
        Ok((estimate, Basis::Pairs { pairs }))
    }))
}

/// The estimate by runs that alternated.
fn by_runs(trials: &Trials<'_>, base: &Values<'_>, new: &Values<'_>) -> Result<(Estimate, Basis), Reason> {
    if [base, new].iter().any(|side| side.run_numbers().len() == 1) {
        return Err(Reason::OneRun);
    }
    let sides = [base.by_run(), new.by_run()];
    let runs = [sides[0].len(), sides[1].len()];
    let mut order: Vec<(&str, u32, usize)> = Vec::new();
    for (side, medians) in sides.iter().enumerate() {
        order.extend(medians.keys().map(|&run| (trials.started(run), run, side)));
    }
    order.sort_unstable();
    let order: Vec<usize> = order.into_iter().map(|(.., side)| side).collect();
    let reason = || thin(base, new).filter(|_| runs.iter().any(|count| *count < RUNS_MIN));
    if !estimate::alternate(&order) {
        return Err(reason().unwrap_or(Reason::NotAlternated));
    }
    let logs = |side: &BTreeMap<u32, f64>| side.values().map(|value| log_ratio(1.0, *value)).collect();
    let [base, new]: [Result<Vec<f64>, Reason>; 2] = [logs(&sides[0]), logs(&sides[1])];
    let estimate = estimate::welch(&base?, &new?);
    let too_few = Reason::TooFewRuns { runs: runs[0].min(runs[1]), needed: RUNS_MIN };
    let estimate = estimate.ok_or_else(|| reason().unwrap_or(too_few))?;
    Ok((estimate, Basis::Runs { runs }))
}

/// The figures of two sides, and the reason if there is no interval.
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
    // Runs may have few samples each, but not too few in all.
    let is_enough = || tails.map_or(Ok(()), |(base, new)| base.check().and_then(|()| new.check()));
    let found = match tails {
        _ if pair.interleaved => {
            let values = || by_blocks(&base.values, &new.values);
            let found = tails.map_or_else(values, |(base, new)| merged::by_blocks(base, new));
            let runs = base.run_numbers().intersection(&new.run_numbers()).count();
            found.map(|(estimate, blocks)| (estimate, Basis::Blocks { blocks, runs }))
        }
        _ => is_enough().and_then(|()| by_pairs(trials, pair, base, new).unwrap_or_else(|| by_runs(trials, base, new))),
    };
    match found {
        Ok((estimate, basis)) => (with_estimate(figures, estimate, basis), None),
        Err(reason) => (figures, Some(reason)),
    }
}

/// Two sides of a cell in one metric, and the verdict on them.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What is compared, and the verdict.
    pub judged: Judged,
    /// The conditions under which both sides were measured, with their values.
    pub conditions: Vec<(Column, String)>,
    /// How many trials count on each side.
    pub counts: [usize; 2],
    /// The median of datagrams per system call on each side.
    pub per_call: [Option<f64>; 2],
    /// Whether these are counts of instructions, which have no noise.
    pub counted: bool,
    /// Whether they are counts that have not settled: a change is of these trials only.
    pub unsettled: bool,
    /// Warnings.
    pub warnings: Vec<Warning>,
}

/// A comparison can be read as its [`Judged`].
impl Deref for Comparison {
    type Target = Judged;

    fn deref(&self) -> &Judged {
        &self.judged
    }
}

impl Comparison {
    /// Its value of an axis or of a condition.
    pub fn get(&self, column: Column) -> &str {
        let condition = self.conditions.iter().find(|(known, _)| *known == column);
        condition.map_or_else(|| if column.role().is_axis() { self.cell.get(column) } else { "" }, |(_, text)| text)
    }
}

/// How far apart the runs of one side are, if there is no verdict between runs but a side has several: the machine
/// alone moves runs that much.
pub(crate) fn moved(base: &Values<'_>, new: &Values<'_>, reason: Option<&Reason>) -> Option<Warning> {
    if !matches!(reason, Some(Reason::OneRun | Reason::NotAlternated)) {
        return None;
    }
    let apart = |side: &Values<'_>| {
        let medians: Vec<f64> = side.by_run().into_values().filter(|median| *median > 0.0).collect();
        let (low, high) = medians.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), one| (a.min(*one), b.max(*one)));
        (medians.len() > 1).then(|| (medians.len(), high / low - 1.0))
    };
    let widest = [base, new].into_iter().filter_map(apart).max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(Warning::Moved { runs: widest.0, permille: (1000.0 * widest.1).round() as u32 })
}

/// The warnings about the trials of both sides.
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

/// Why a comparison has no verdict, whatever its figures.
pub(crate) fn refusal(pair: &Pair, base: &Values<'_>, new: &Values<'_>) -> Option<Reason> {
    let refused = pair.refused.first().cloned().map(Reason::Refused);
    refused.or_else(|| (base.is_limited || new.is_limited).then_some(Reason::Limited))
}
