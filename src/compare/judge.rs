//! Two sides of a cell: their figures, and what speaks against a verdict on them.

use crate::compare::cells::{Half, Pair};
use crate::compare::counts;
use crate::compare::metrics::Metric;
use crate::compare::trials::Trials;
use crate::compare::verdict::{Figures, Ratio, Verdict, sorted};
use crate::compare::warnings::{Doubt, Warning};
use crate::gates;
use crate::record::cell::CellKey;
use crate::record::row::State;
use crate::stats::bootstrap::{self, Bootstrap, Side};
use crate::stats::median::Median;
use crate::stats::ranks::{self, MannWhitney};

/// Works out figures; it remembers what the next comparison may use again.
#[derive(Debug, Default)]
pub struct Judge {
    bootstrap: Bootstrap,
    test: MannWhitney,
    paired: bool,
}

impl Judge {
    /// Tests differences within blocks if `paired`, else the two sides.
    pub fn new(paired: bool) -> Self {
        Self { paired, ..Self::default() }
    }

    /// The figures of values with the numbers of their blocks.
    pub fn figures(&mut self, base: &Side, new: &Side) -> Figures {
        let sorted = [sorted(base), sorted(new)];
        let medians = [Median::of_sorted(&sorted[0]), Median::of_sorted(&sorted[1])];
        let [Some(of_base), Some(of_new)] = medians else { return Figures { medians, ..Figures::default() } };
        let [numbered_base, numbered_new] = numbered(base, new);
        let interval = self.bootstrap.ratio(&numbered_base, &numbered_new);
        let ratio = interval
            .map(|(low, high)| Ratio { value: bootstrap::ratio(of_base.value, of_new.value), low, high })
            .filter(|ratio| ratio.value.is_finite() && ratio.high.is_finite());
        let p = if self.paired {
            ranks::wilcoxon(&differences(&numbered_base, &numbered_new))
        } else {
            self.test.p(&sorted[0], &sorted[1])
        };
        Figures { medians, ratio, p: Some(p) }
    }
}

/// Numbers the blocks from 0 on. A side with two values for a block, as hpbench never writes it, has no blocks.
fn numbered(base: &Side, new: &Side) -> [Vec<(usize, f64)>; 2] {
    let is_unique = |side: &Side| {
        let mut blocks: Vec<usize> = side.iter().map(|value| value.0).collect();
        blocks.sort_unstable();
        blocks.windows(2).all(|two| two[0] != two[1])
    };
    if !is_unique(base) || !is_unique(new) {
        let apart = |side: &Side, first: usize| {
            side.iter().enumerate().map(|(index, value)| (first + index, value.1)).collect()
        };
        return [apart(base, 0), apart(new, base.len())];
    }
    let mut blocks: Vec<usize> = base.iter().chain(new).map(|value| value.0).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let number =
        |side: &Side| side.iter().filter_map(|value| Some((blocks.binary_search(&value.0).ok()?, value.1))).collect();
    [number(base), number(new)]
}

/// New less base, of the blocks that have both.
fn differences(base: &Side, new: &Side) -> Vec<f64> {
    let mut sorted = base.to_vec();
    sorted.sort_unstable_by_key(|value| value.0);
    let of_base = |block| sorted.binary_search_by_key(&block, |value| value.0).ok().map(|at| sorted[at].1);
    new.iter().filter_map(|value| Some(value.1 - of_base(value.0)?)).collect()
}

/// One side of a comparison.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// The values that count, with their blocks.
    pub values: Vec<(usize, f64)>,
    /// How many trials are invalid.
    pub invalid: usize,
    /// How many have generators that were the bottleneck.
    pub limited: usize,
    /// How many count although the machine was not as usual.
    pub marked: usize,
}

impl Values {
    /// Of the trials of a half that are valid and count.
    pub(crate) fn of(trials: &Trials<'_>, half: &Half, metric: Metric) -> Self {
        let valid = half.trials.iter().copied().filter(|&at| trials.attempt(at).state == State::Valid);
        let valid: Vec<usize> = valid.collect();
        let mut found = Self { invalid: half.trials.len() - valid.len(), ..Self::default() };
        for at in gates::counting(valid, |&at| trials.attempt(at).is_marked) {
            let attempt = trials.attempt(at);
            found.limited += usize::from(attempt.is_limited);
            found.marked += usize::from(attempt.is_marked);
            found.values.extend(trials.value(at, metric).map(|value| (attempt.block as usize, value)));
        }
        found
    }
}

/// Two sides of a cell in one metric, and what may be said of them.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What is compared.
    pub metric: Metric,
    /// The cell; without what is compared by.
    pub cell: CellKey,
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
    /// Whether these are counts of instructions, which have no noise.
    pub counted: bool,
    /// Whether they are counts that have not settled: a change is one of these trials only.
    pub unsettled: bool,
    /// What the reader must know.
    pub warnings: Vec<Warning>,
}

/// What speaks against a comparison, and whether it may have a verdict all the same.
pub(crate) fn warnings(pair: &Pair, base: &Values, new: &Values) -> (Vec<Warning>, bool) {
    let mut warnings: Vec<Warning> = pair.refused.iter().cloned().map(Warning::Refused).collect();
    let mut is_valid = warnings.is_empty();
    let both = |count: fn(&Values) -> usize| (count(base), count(new));
    let mut tell = |(of_base, of_new): (usize, usize), what: Doubt, spoils: bool| {
        if of_base + of_new > 0 {
            warnings.push(Warning::Trials { what, base: of_base, new: of_new });
            is_valid &= !spoils;
        }
    };
    let few = |values: &Values| values.values.len() < gates::trials_min(counts::is_counted(&pair.accel));
    tell(both(|values| values.limited), Doubt::Limited, true);
    tell((pair.base.failed, pair.new.failed), Doubt::Failed, few(base) || few(new));
    tell(both(|values| values.invalid), Doubt::Invalid, few(base) || few(new));
    tell(both(|values| values.marked), Doubt::Marked, false);
    if !pair.interleaved && !counts::is_counted(&pair.accel) {
        warnings.push(Warning::DifferentRuns);
    }
    (warnings, is_valid)
}
