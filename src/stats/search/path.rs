//! The way of one goal: from its coarsest target to the last one, which load is to be tried next.

use std::ops::RangeInclusive;

use super::goal::{Goal, Target};
use super::loads::{Ask, Bounds, Loads};

/// Where the search for one goal is.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// From the coarsest to the goal's own.
    targets: Vec<Target>,
    at: usize,
    /// What the target before this one has found, or the first trials: tried first.
    hints: Bounds,
    /// How far the next step goes while a bound is missing: the logarithm of a ratio of loads.
    step: f64,
    /// The load of the last such step.
    stepped: Option<u64>,
}

/// By how much the step grows while one of the bounds is still to be found.
const EXPANSION: f64 = 2.0;

impl Path {
    /// The beginning, with two loads between which the border may be.
    pub(super) fn new(goal: &Goal, hints: Bounds) -> Self {
        let targets = goal.targets();
        let mut path = Self { targets, at: 0, hints, step: 0.0, stepped: None };
        path.begin(hints);
        path
    }

    /// What is to be tried next; nothing if the goal is reached, or cannot be.
    pub(super) fn next(&mut self, loads: &Loads, range: &RangeInclusive<u64>) -> Option<Ask> {
        loop {
            let target = self.targets[self.at];
            let bounds = loads.bounds(&target);
            if let Some(load) = self.candidate(bounds, range) {
                return Some(Ask { load, seconds: target.trial_s });
            }
            if self.at + 1 == self.targets.len() {
                return None;
            }
            self.at += 1;
            self.begin(bounds);
        }
    }

    fn begin(&mut self, hints: Bounds) {
        self.hints = hints;
        let between = hints.lower.zip(hints.upper).map_or(0.0, |(lower, upper)| between(lower, upper));
        self.step = between.max(self.width());
        self.stepped = None;
    }

    /// The target's width, as the logarithm of a ratio.
    fn width(&self) -> f64 {
        -(1.0 - self.targets[self.at].width).ln()
    }

    /// The load that the target needs; nothing if it is reached, or cannot be.
    fn candidate(&mut self, bounds: Bounds, range: &RangeInclusive<u64>) -> Option<u64> {
        match (bounds.lower, bounds.upper) {
            (Some(lower), Some(upper)) => self.divide(lower, upper),
            (Some(lower), None) if lower >= *range.end() => None,
            (Some(lower), None) => {
                let hint = self.hints.upper.filter(|&upper| upper > lower);
                Some(hint.unwrap_or_else(|| self.step_from(lower, 1.0, range)))
            }
            (None, Some(upper)) if upper <= *range.start() => None,
            (None, Some(upper)) => {
                let hint = self.hints.lower.filter(|&lower| lower < upper);
                Some(hint.unwrap_or_else(|| self.step_from(upper, -1.0, range)))
            }
            (None, None) => self.first(),
        }
    }

    /// The load that is tried first. Where the hints are one or two widths apart, the middle may spare one of them.
    fn first(&self) -> Option<u64> {
        let Bounds { lower, upper } = self.hints;
        let width = self.width();
        let middle = lower.zip(upper).filter(|&(lower, upper)| {
            let between = between(lower, upper);
            between > width && between <= 2.0 * width
        });
        middle.map(|(lower, upper)| times(lower, between(lower, upper) / 2.0)).or(lower).or(upper)
    }

    /// A load between two bounds, so that both rests are whole numbers of widths if one of them is; nothing if they are near
    /// enough.
    fn divide(&self, lower: u64, upper: u64) -> Option<u64> {
        let (between, width) = (between(lower, upper), self.width());
        // Rounding to whole datagrams per second makes no difference.
        if upper - lower <= 1 || between <= width * (1.0 + 1e-9) {
            return None;
        }
        let parts = (between / width - 1e-9).ceil();
        let load = times(lower, between * (parts / 2.0).floor().max(1.0) / parts);
        Some(load.clamp(lower + 1, upper - 1))
    }

    /// The next load in a direction in which the bound is missing. Each step that finds none makes the next one longer.
    fn step_from(&mut self, bound: u64, direction: f64, range: &RangeInclusive<u64>) -> u64 {
        if self.stepped == Some(bound) {
            self.step *= EXPANSION;
        }
        let load = times(bound, direction * self.step);
        let load = if direction > 0.0 { load.max(bound + 1) } else { load.min(bound - 1) };
        // A step that almost reaches an end of the range goes there.
        let (start, end) = (*range.start(), *range.end());
        let load = match load {
            load if load >= end || direction > 0.0 && between(load, end) < self.width() => end,
            load if load <= start || direction < 0.0 && between(start, load) < self.width() => start,
            load => load,
        };
        self.stepped = Some(load);
        load
    }
}

/// The logarithm of the ratio of two loads.
fn between(lower: u64, upper: u64) -> f64 {
    (upper as f64 / lower as f64).ln()
}

/// A load times a ratio, given as a logarithm.
fn times(load: u64, ratio: f64) -> u64 {
    ((load as f64 * ratio.exp()).round() as u64).max(1)
}
