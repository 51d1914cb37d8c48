//! The search for the highest load that holds: MLRsearch, as RFC 9971 defines it.
//!
//! Many short trials at a load say more than a long one: a load holds if at most a share of them, the exceed ratio, loses more
//! than the goal allows ([`classify`]). Two loads at most a width apart, of which the lower one holds and the upper one does not,
//! are the result, for each of one or several goals. How the next load is chosen is left open by the RFC; here it is so:
//!
//! 1. The first trial is at the highest load, the second at what got through, and the third at what got through then, or one step
//!    above it if that held.
//! 2. Each goal has coarser targets before it, with fewer trials at a load and bounds farther apart. While a bound is missing,
//!    steps away from the other one become longer; then the interval is divided.
//! 3. A finer target first tries what the coarser one has found.
//! 4. Of the loads that several goals want to try, the lowest is tried, for all of them.
//!
//! Nothing is measured here: [`Search::ask`] asks for a trial, and [`Search::note`] takes its result.

pub mod goal;
mod loads;
mod path;
pub mod tally;

use std::ops::RangeInclusive;

pub use self::goal::Goal;
pub use self::loads::{Ask, Bounds};
pub use self::tally::{Class, Trial, classify, throughput_ratio};

use self::loads::Loads;
use self::path::Path;

/// What a trial has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// The share of its load that did not get through; 1 if it failed for another reason than loss.
    pub loss_ratio: f64,
    /// How much got through, in datagrams per second: a hint for the next load.
    pub forwarded: f64,
}

/// The result for a goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The bounds. Without a lower one not even the least load holds; without an upper one the highest load holds, if the search is
    /// over.
    pub bounds: Bounds,
    /// The conditional throughput at the lower bound: what gets through there even in the worst of the trials that count.
    pub throughput: Option<f64>,
}

/// A search in progress.
#[derive(Clone, Debug)]
pub struct Search {
    goals: Vec<Goal>,
    range: RangeInclusive<u64>,
    loads: Loads,
    stage: Stage,
}

/// How far a search is.
#[derive(Clone, Debug)]
enum Stage {
    /// The first trials. Those so far, and the load of the next one.
    First(Vec<u64>, u64),
    /// The way of each goal.
    Paths(Vec<Path>),
}

impl Search {
    /// A search for these goals, at loads in a range.
    pub fn new(goals: Vec<Goal>, range: RangeInclusive<u64>) -> Self {
        let highest = *range.end();
        Self { goals, range, loads: Loads::default(), stage: Stage::First(Vec::new(), highest) }
    }

    /// The trial to run next; nothing if the search is over. The same one again until its result is noted.
    pub fn ask(&mut self) -> Option<Ask> {
        match &mut self.stage {
            Stage::First(_, load) => {
                let lengths = self.goals.iter().map(|goal| goal.initial_trial_s);
                Some(Ask { load: *load, seconds: lengths.fold(0.0, f64::max) })
            }
            Stage::Paths(paths) => {
                let asked = paths.iter_mut().filter_map(|path| path.next(&self.loads, &self.range));
                // Of trials at one load, the longest says something to all goals.
                asked.min_by(|a, b| a.load.cmp(&b.load).then(b.seconds.total_cmp(&a.seconds)))
            }
        }
    }

    /// Takes the result of a trial.
    pub fn note(&mut self, ask: Ask, shown: Shown) {
        self.loads.add(ask.load, Trial { seconds: ask.seconds, loss_ratio: shown.loss_ratio });
        let Stage::First(tried, load) = &self.stage else { return };
        if *load != ask.load {
            return;
        }
        let tried = [tried.as_slice(), &[ask.load]].concat();
        self.stage = match self.after_first(&tried, shown) {
            Some(load) => Stage::First(tried, load),
            None => {
                // The first one is far away if it was not the only one.
                let last = &tried[1.min(tried.len() - 1)..];
                let hints = Bounds { lower: last.iter().min().copied(), upper: last.iter().max().copied() };
                Stage::Paths(self.goals.iter().map(|goal| Path::new(goal, hints)).collect())
            }
        };
    }

    /// Where the next of the first trials is, if there is one more: three are enough.
    fn after_first(&self, tried: &[u64], shown: Shown) -> Option<u64> {
        let strictest = self.goals.iter().map(|goal| goal.loss_ratio).fold(1.0, f64::min);
        let width = self.goals.iter().map(|goal| goal.targets()[0].width).fold(0.0, f64::max);
        let (last, highest) = (*tried.last()?, *self.range.end());
        let held = shown.loss_ratio <= strictest;
        let next = match (tried.len(), held) {
            (1, true) => return None,
            (1 | 2, false) => (shown.forwarded / (1.0 - strictest)).min(last as f64 * (1.0 - width)),
            (2, true) => (last as f64 / (1.0 - width)).min(highest as f64),
            _ => return None,
        };
        let next = (next as u64).clamp(*self.range.start(), highest);
        (!tried.contains(&next)).then_some(next)
    }

    /// What is known of a goal, by its place.
    pub fn found(&self, goal: usize) -> Found {
        let target = *self.goals[goal].targets().last().expect("a goal has its own target");
        let bounds = self.loads.bounds(&target);
        let ratio = |load: u64| throughput_ratio(self.loads.of(load), &target);
        Found { bounds, throughput: bounds.lower.map(|load| load as f64 * ratio(load)) }
    }
}

#[cfg(test)]
mod tests;
