//! Trials in which the machine was not as usual: they began other than they went on, or their core was not as fast as
//! in the rest of the run.

use crate::record::row::Row;
use crate::stats::Summary;
use crate::stats::median::TRIALS_MIN;

/// A canary that is further than this from the run's median, …
const CANARY_MAX: f64 = 0.05;
/// … and further than so many median absolute deviations, tells of a core that was slower or faster than usual.
const CANARY_MAX_MAD: f64 = 5.0;

/// What a trial tells of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sign {
    /// The number of its run.
    pub run: usize,
    steady: Option<u8>,
    canary: Option<f64>,
}

impl Sign {
    /// Of the row of a trial.
    pub(crate) fn of(row: &Row, run: usize) -> Self {
        Self { run, steady: row.steady, canary: row.canary_ratio }
    }
}

/// What is usual of the canaries of a run, which only the whole run tells.
#[derive(Clone, Copy, Debug)]
struct Canaries {
    middle: f64,
    mad: f64,
}

impl Canaries {
    fn of(ratios: &[f64]) -> Self {
        let ratios = ratios.iter().copied();
        let middle = Summary::of(ratios.clone()).map(|summary| summary.median);
        let deviation = middle.and_then(|middle| Summary::of(ratios.map(|ratio| (ratio - middle).abs())));
        Self { middle: middle.unwrap_or(1.0), mad: deviation.map_or(0.0, |deviation| deviation.median) }
    }

    fn mark(self, sign: Sign) -> bool {
        let off = sign.canary.map_or(0.0, |ratio| (ratio - self.middle).abs());
        sign.steady == Some(0) || off > CANARY_MAX * self.middle && off > CANARY_MAX_MAD * self.mad
    }
}

/// Which trials are marked, of one or several runs: an answer for each, in their order.
pub(crate) fn marks(signs: impl Iterator<Item = Sign> + Clone) -> Vec<bool> {
    let mut runs: Vec<Vec<f64>> = Vec::new();
    for sign in signs.clone() {
        if runs.len() <= sign.run {
            runs.resize(sign.run + 1, Vec::new());
        }
        runs[sign.run].extend(sign.canary);
    }
    let canaries: Vec<Canaries> = runs.iter().map(|ratios| Canaries::of(ratios)).collect();
    signs.map(|sign| canaries[sign.run].mark(sign)).collect()
}

/// Marks the rows of one run.
pub(crate) fn mark<'a>(rows: impl Iterator<Item = &'a mut Row>) {
    let rows: Vec<&mut Row> = rows.collect();
    let marks = marks(rows.iter().map(|row| Sign::of(row, 0)));
    rows.into_iter().zip(marks).for_each(|(row, is_marked)| row.marked = is_marked);
}

/// Which valid trials of a cell count: marked ones only where the others are too few for a verdict.
pub(crate) fn counting<T>(mut valid: Vec<T>, is_marked: impl Fn(&T) -> bool) -> Vec<T> {
    if valid.iter().filter(|trial| !is_marked(trial)).count() >= TRIALS_MIN {
        valid.retain(|trial| !is_marked(trial));
    }
    valid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(run: usize, canary: f64) -> Sign {
        Sign { run, steady: Some(1), canary: Some(canary) }
    }

    #[test]
    fn what_is_usual_of_one_run_is_not_of_another() {
        let slow = [1.3, 1.3, 1.3, 1.0].map(|canary| sign(1, canary));
        let fast = [1.0, 1.0, 1.0, 1.3].map(|canary| sign(0, canary));
        let mixed = slow.into_iter().zip(fast).flat_map(|(slow, fast)| [slow, fast]);
        assert_eq!(marks(mixed), [false, false, false, false, false, false, true, true]);
    }

    #[test]
    fn small_deviations_and_those_of_a_restless_run_are_usual() {
        assert_eq!(marks([1.0, 1.0, 1.04].map(|canary| sign(0, canary)).into_iter()), [false; 3]);
        assert_eq!(marks([0.8, 0.9, 1.0, 1.1, 1.3].map(|canary| sign(0, canary)).into_iter()), [false; 5]);
    }

    #[test]
    fn what_was_not_steady_is_marked_whatever_its_canary_and_what_has_none_is_not() {
        let unsteady = Sign { steady: Some(0), ..sign(0, 1.0) };
        let unknown = Sign { run: 2, steady: None, canary: None };
        assert_eq!(marks([unsteady, sign(0, 1.0), unknown].into_iter()), [true, false, false]);
    }

    #[test]
    fn marked_trials_count_where_too_few_others_remain_for_a_verdict() {
        let left = |marked: usize| counting((1..=10).collect(), |trial| *trial <= marked).len();
        assert_eq!([0, 1, 4, 5, 9, 10].map(left), [10, 9, 6, 10, 10, 10]);
    }
}
