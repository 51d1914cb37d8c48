//! When a trial is unusable: all limits by which a trial is repeated, marked, or made invalid. Nothing is measured
//! here; [`reason`] has the words.
//!
//! - Repeated, up to [`ATTEMPTS_MAX`] attempts in all: a trial that was disturbed ([`disturbances`], [`stop`]). The
//!   last attempt counts, and is invalid if it, too, was disturbed.
//! - Marked: a trial that was not steady ([`is_steady`]), or whose canary or clock source was unlike those of its run ([`marks`]).
//!   Marked trials are left out while enough others of their cell remain ([`counting`]).
//! - Limited: a trial whose load was too small to measure the worker ([`is_busy_enough`], [`keeps_rate`]).
//! - No verdict: too many limited trials ([`limits`]), or too few blocks that count ([`crate::stats::estimate::BLOCKS_MIN`]).

pub mod reason;

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::stats::Summary;
use reason::{Disturbed, Reason};

/// The most attempts at a trial that is disturbed.
pub const ATTEMPTS_MAX: usize = 3;

/// The fewest other trials of a cell for which marked ones are left out: the median of fewer has no interval.
pub const TRIALS_MIN: usize = 6;

/// Trials whose generators were the bottleneck are left out, unless they are more than one in so many: the rest would
/// then be a selection of the trials in which the worker was slow.
pub const LIMITED_ONE_IN: usize = 10;

/// A thread was disturbed if it was kept from its core for more than this share of the trial, in percent, …
pub const RUN_DELAY_MAX_PCT: f64 = 1.0;
/// … and for longer than this. On a quiet machine a trial of 20 ms has 50 to 80 µs, and one trial in ten up to 180 µs.
const RUN_DELAY_MIN_NS: u64 = 200_000;

/// A host disturbed the trial if it took at least so many ticks from its cores, …
pub const STEAL_MIN_TICKS: u64 = 2;
/// … and more than this share of their time, in percent.
pub const STEAL_MAX_PCT: f64 = 1.0;

/// A process was stopped if it did not run for so long although no other had its cores. The timers of a busy virtual
/// machine are late by less.
const STOPPED_MIN_NS: u64 = 20_000_000;

/// A worker that is busy for less than this share of the time shows that the generators are the bottleneck.
const BUSY_MIN: f64 = 0.95;

/// A generator that sent less than this share of its offered load did not keep its rate.
const SENT_MIN: f64 = 0.99;

/// The most that the beginning of a steady measured phase differs from the rest, as a fraction.
const STEADY_WITHIN: f64 = 0.10;

/// A canary shows a core of unusual speed if it is farther than this fraction from the run's median, …
const CANARY_MAX: f64 = 0.05;
/// … and farther than so many median absolute deviations.
const CANARY_MAX_MAD: f64 = 5.0;

/// What happened to the threads of a trial.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    /// Time that a thread was ready to run while another had its core, in nanoseconds.
    pub run_delay_ns: u64,
    /// The same as a share of the watched time, in percent.
    pub run_delay_pct: f64,
    /// Time that the host of a virtual machine took from the cores, in ticks.
    pub steal_ticks: u64,
    /// The same as a share of the cores' time, in percent.
    pub steal_pct: f64,
    /// Page faults that had to wait for a disk.
    pub major_faults: u64,
}

/// Why a trial must be repeated, if so.
pub fn disturbances(watched: Watched) -> impl Iterator<Item = Reason> {
    let Watched { run_delay_ns, run_delay_pct, steal_ticks, steal_pct, major_faults } = watched;
    let is_delayed = run_delay_pct > RUN_DELAY_MAX_PCT && run_delay_ns > RUN_DELAY_MIN_NS;
    let is_stolen = steal_ticks >= STEAL_MIN_TICKS && steal_pct > STEAL_MAX_PCT;
    let found = [
        is_delayed.then_some(Disturbed::RunDelay { ms: run_delay_ns as f64 / 1e6, pct: run_delay_pct }),
        is_stolen.then_some(Disturbed::Steal { pct: steal_pct }),
        (major_faults > 0).then_some(Disturbed::MajorFaults { count: major_faults }),
    ];
    found.into_iter().flatten().map(Reason::Disturbed)
}

/// Why a trial whose process did not run for so long must be repeated, if so; `continued` if a signal shows that it was
/// stopped, however briefly.
pub fn stop(stopped_ns: u64, continued: bool) -> Option<Reason> {
    let ms = (stopped_ns >= STOPPED_MIN_NS).then_some(stopped_ns as f64 / 1e6);
    (continued || ms.is_some()).then_some(Reason::Disturbed(Disturbed::Stopped { ms }))
}

/// Whether a phase that began with `first` and continued with `rest` was steady.
pub fn is_steady(first: f64, rest: f64) -> bool {
    (first / rest - 1.0).abs() <= STEADY_WITHIN
}

/// Whether a worker was busy for so much of the measured time that the generators were not the bottleneck.
pub fn is_busy_enough(busy_ns: f64, measured_ns: f64) -> bool {
    busy_ns >= BUSY_MIN * measured_ns
}

/// Whether a generator sent the load that it was to offer.
pub fn keeps_rate(sent: f64, offered: f64) -> bool {
    sent >= SENT_MIN * offered
}

/// Whether so many limited trials, among all that count on a side, leave nothing to conclude.
pub fn limits(limited: usize, all: usize) -> bool {
    LIMITED_ONE_IN * limited > all
}

/// What a trial shows about the machine.
#[derive(Clone, Copy, Debug)]
pub struct Sign {
    /// The number of its run.
    pub run: usize,
    /// Whether its measured phase was steady; `None` if not known.
    pub steady: Option<bool>,
    /// How long its canaries took, relative to those of the run's first trial.
    pub canaries: [Option<f64>; 2],
    /// The number of its machine, for one run may be of several.
    pub machine: u32,
    /// The number of its clock source.
    pub clock: u32,
}

/// What is usual of one of the canaries in a run, which only the whole run shows.
#[derive(Clone, Copy, Debug)]
struct Usual {
    middle: f64,
    mad: f64,
}

impl Usual {
    fn of(ratios: &[f64]) -> Self {
        let ratios = ratios.iter().copied();
        let middle = Summary::of(ratios.clone()).map(|summary| summary.median);
        let deviation = middle.and_then(|middle| Summary::of(ratios.map(|ratio| (ratio - middle).abs())));
        Self { middle: middle.unwrap_or(1.0), mad: deviation.map_or(0.0, |deviation| deviation.median) }
    }

    fn is_off(self, ratio: Option<f64>) -> bool {
        let off = ratio.map_or(0.0, |ratio| (ratio - self.middle).abs());
        off > CANARY_MAX * self.middle && off > CANARY_MAX_MAD * self.mad
    }
}

/// Which trials of one or several runs are marked: an answer for each, in order.
pub fn marks(signs: impl Iterator<Item = Sign> + Clone) -> Vec<bool> {
    let mut runs: Vec<[Vec<f64>; 2]> = Vec::new();
    for sign in signs.clone() {
        if runs.len() <= sign.run {
            runs.resize(sign.run + 1, Default::default());
        }
        for (ratios, ratio) in runs[sign.run].iter_mut().zip(sign.canaries) {
            ratios.extend(ratio);
        }
    }
    let usual: Vec<[Usual; 2]> = runs.iter().map(|ratios| [0, 1].map(|at| Usual::of(&ratios[at]))).collect();
    let clocks = usual_clocks(signs.clone());
    let is_off = |sign: &Sign| usual[sign.run].iter().zip(sign.canaries).any(|(usual, ratio)| usual.is_off(ratio));
    let is_marked =
        |sign: Sign| sign.steady == Some(false) || is_off(&sign) || clocks[&(sign.run, sign.machine)] != sign.clock;
    signs.map(is_marked).collect()
}

/// The clock source of most trials of a run, for each machine: the kernel replaces one that it no longer trusts by one
/// that takes far longer to read.
fn usual_clocks(signs: impl Iterator<Item = Sign>) -> HashMap<(usize, u32), u32> {
    let mut counts: HashMap<(usize, u32), HashMap<u32, usize>> = HashMap::new();
    for sign in signs {
        *counts.entry((sign.run, sign.machine)).or_default().entry(sign.clock).or_default() += 1;
    }
    // If two clocks have equally many trials, the first one, which has the lower number.
    let usual = |counts: HashMap<u32, usize>| {
        counts.into_iter().max_by_key(|&(clock, count)| (count, Reverse(clock))).map_or(0, |(clock, _)| clock)
    };
    counts.into_iter().map(|(run, counts)| (run, usual(counts))).collect()
}

/// Which valid trials of a cell count: marked ones only if the others are too few for a median with an interval.
pub fn counting<T>(mut valid: Vec<T>, is_marked: impl Fn(&T) -> bool) -> Vec<T> {
    if valid.iter().filter(|trial| !is_marked(trial)).count() >= TRIALS_MIN {
        valid.retain(|trial| !is_marked(trial));
    }
    valid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(run: usize, canary: f64) -> Sign {
        Sign { run, steady: Some(true), canaries: [Some(canary), None], machine: 0, clock: 0 }
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
    fn each_canary_marks_for_itself() {
        let both = |canaries: [f64; 2]| Sign { canaries: canaries.map(Some), ..sign(0, 1.0) };
        let usual = [both([1.0, 1.0]); 5];
        let signs = usual.into_iter().chain([both([1.0, 1.3]), both([1.3, 1.0]), both([1.04, 1.04])]);
        assert_eq!(marks(signs)[5..], [true, true, false]);
    }

    #[test]
    fn what_was_not_steady_is_marked_whatever_its_canary_and_what_has_none_is_not() {
        let unsteady = Sign { steady: Some(false), ..sign(0, 1.0) };
        let unknown = Sign { run: 2, steady: None, canaries: [None; 2], ..sign(2, 1.0) };
        assert_eq!(marks([unsteady, sign(0, 1.0), unknown].into_iter()), [true, false, false]);
    }

    #[test]
    fn a_clock_source_that_changes_marks_the_trials_of_the_rarer_one() {
        let with = |machine, clock| Sign { machine, clock, ..sign(0, 1.0) };
        assert_eq!(marks([with(0, 0), with(0, 1), with(0, 1)].into_iter()), [true, false, false]);
        assert_eq!(marks([with(0, 3), with(0, 1)].into_iter()), [true, false], "of equally many, the first");
        assert_eq!(marks([with(0, 0), with(1, 1), with(1, 1)].into_iter()), [false; 3], "of two machines");
    }

    #[test]
    fn a_process_was_stopped_if_it_was_long_absent_or_a_signal_tells() {
        let text = |ns, continued| stop(ns, continued).map(|reason| reason.to_string());
        assert_eq!([text(0, false), text(19_000_000, false)], [None, None]);
        assert_eq!(text(2_000_300_000, true).as_deref(), Some("disturbed: the process was stopped for 2000.3 ms"));
        assert_eq!(text(1_000_000, true).as_deref(), Some("disturbed: the process was stopped"));
    }

    #[test]
    fn marked_trials_count_where_too_few_others_remain_for_a_verdict() {
        let left = |marked: usize| counting((1..=10).collect(), |trial| *trial <= marked).len();
        assert_eq!([0, 1, 4, 5, 9, 10].map(left), [10, 9, 6, 10, 10, 10]);
    }

    #[test]
    fn a_trial_is_disturbed_by_more_than_its_share_and_more_than_a_moment() {
        let quiet = Watched::default();
        for (watched, expected) in [
            (quiet, 0),
            (Watched { run_delay_ns: 190_000, run_delay_pct: 30.0, ..quiet }, 0),
            (Watched { run_delay_ns: 9_000_000, run_delay_pct: 0.9, ..quiet }, 0),
            (Watched { run_delay_ns: 9_000_000, run_delay_pct: 1.1, ..quiet }, 1),
            (Watched { steal_ticks: 1, steal_pct: 30.0, ..quiet }, 0),
            (Watched { steal_ticks: 2, steal_pct: 1.1, major_faults: 1, ..quiet }, 2),
        ] {
            let found: Vec<Reason> = disturbances(watched).collect();
            assert!(found.len() == expected && found.iter().all(Reason::is_disturbance), "{watched:?}: {found:?}");
        }
    }
}
