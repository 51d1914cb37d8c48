//! High quantiles of latency: of all samples of some trials ([`crate::stats::tails`]), not medians of the trials'
//! quantiles. A trial of a thousand samples has one above its 99.9th percentile, which says little; a hundred such
//! trials have a hundred.

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram;

use crate::compare::warnings::Reason;
use crate::record::lat_tail::{LatTail, merged};
use crate::stats::estimate::Estimate;
use crate::stats::median::Median;
use crate::stats::tails::{self, ABOVE_MIN, NoTail, TRIALS_MIN, Tail};

/// The latencies of a trial that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latencies<'d> {
    /// Its block.
    pub block: usize,
    /// Its run.
    pub run: u32,
    /// Its own latencies.
    pub own: &'d LatTail,
    /// The latencies of its reference trial.
    pub reference: Option<&'d LatTail>,
}

/// The latencies of a side, for comparing a quantile.
#[derive(Debug)]
pub(crate) struct Merged<'d> {
    /// Which quantile: 0.99 is the 99th percentile.
    at: f64,
    /// The latencies of each trial, in the order of blocks.
    trials: Vec<Latencies<'d>>,
}

impl<'d> Merged<'d> {
    /// The quantile `at` of these trials; `None` if there are none.
    pub(crate) fn of(at: f64, mut trials: Vec<Latencies<'d>>) -> Option<Self> {
        trials.sort_by_key(|trial| trial.block);
        (!trials.is_empty()).then_some(Self { at, trials })
    }

    /// Whether the trials have reference trials.
    pub(crate) fn is_relative(&self) -> bool {
        self.trials.iter().any(|trial| trial.reference.is_some())
    }

    /// The quantile of some trials, relative to that of their reference trials, if any.
    fn value(&self, trials: &[Latencies<'d>]) -> f64 {
        let quantile = |all: Histogram<u64>| all.value_at_quantile(self.at) as f64;
        let own = quantile(own(trials));
        if self.is_relative() { own / quantile(merged(trials.iter().filter_map(|trial| trial.reference))) } else { own }
    }

    /// The quantile of the side, with its interval if it has one.
    pub(crate) fn quantile(&self) -> Median {
        let tail = if self.is_relative() { None } else { self.tail(&self.trials).ok() };
        tail.map_or_else(
            || Median { value: self.value(&self.trials), interval: None },
            |tail| Median { value: tail.value, interval: Some((tail.low, tail.high)) },
        )
    }

    /// The quantile of each run.
    pub(crate) fn by_run(&self) -> BTreeMap<u32, f64> {
        let mut runs: BTreeMap<u32, Vec<Latencies<'d>>> = BTreeMap::new();
        self.trials.iter().for_each(|trial| runs.entry(trial.run).or_default().push(*trial));
        runs.into_iter().map(|(run, trials)| (run, self.value(&trials))).collect()
    }

    /// Checks that enough samples of all runs are above the quantile.
    pub(crate) fn check(&self) -> Result<(), Reason> {
        let all = own(&self.trials);
        match tails::above(&all, all.value_at_quantile(self.at)) {
            above if above < ABOVE_MIN => Err(Reason::TooFewTail { above, needed: ABOVE_MIN }),
            _ => Ok(()),
        }
    }

    fn tail(&self, trials: &[Latencies<'d>]) -> Result<Tail, Reason> {
        let too_few = Reason::TooFewBlocks { blocks: trials.len(), needed: TRIALS_MIN };
        let Some(pieces) = tails::cut(trials, own) else { return Err(too_few) };
        tails::quantile(&pieces, self.at).map_err(|error| match error {
            NoTail::TooFewAbove(above) => Reason::TooFewTail { above, needed: ABOVE_MIN },
            NoTail::TooFewPieces(_) => too_few,
        })
    }
}

/// All samples of some trials.
fn own(trials: &[Latencies<'_>]) -> Histogram<u64> {
    merged(trials.iter().map(|trial| trial.own))
}

/// The estimate by the blocks that both sides have. Reference trials must be the same on both sides, and then cancel
/// out: within a run, quotients of quantiles have no interval.
pub(crate) fn by_blocks(base: &Merged<'_>, new: &Merged<'_>) -> Result<(Estimate, usize), Reason> {
    let [of_base, of_new] =
        [base, new].map(|side| side.trials.iter().map(|trial| trial.block).collect::<BTreeSet<usize>>());
    let references = |side: &Merged<'_>| -> BTreeMap<usize, *const LatTail> {
        side.trials.iter().filter_map(|trial| Some((trial.block, std::ptr::from_ref(trial.reference?)))).collect()
    };
    let (related_base, related_new) = (references(base), references(new));
    if related_base.iter().any(|(block, reference)| related_new.get(block).is_some_and(|other| other != reference)) {
        return Err(Reason::OtherReference);
    }
    let tail = |side: &Merged<'_>| {
        let is_common = |trial: &&Latencies<'_>| of_base.contains(&trial.block) && of_new.contains(&trial.block);
        side.tail(&side.trials.iter().filter(is_common).copied().collect::<Vec<_>>())
    };
    let estimate = tails::ratio(&tail(base)?, &tail(new)?).ok_or(Reason::NoRatio)?;
    Ok((estimate, of_base.intersection(&of_new).count()))
}
