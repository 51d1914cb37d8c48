//! All trials of a search, by their load, and the bounds that they make.

use std::collections::BTreeMap;

use super::goal::Target;
use super::tally::{Class, Trial, classify};

/// A trial to run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask {
    /// At this load, in datagrams per second.
    pub load: u64,
    /// For so many seconds.
    pub seconds: f64,
}

/// The bounds of a target, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The greatest lower bound below all upper ones.
    pub lower: Option<u64>,
    /// The least upper bound.
    pub upper: Option<u64>,
}

/// The trials of each load.
#[derive(Clone, Debug, Default)]
pub(super) struct Loads(BTreeMap<u64, Vec<Trial>>);

impl Loads {
    /// Adds a trial.
    pub(super) fn add(&mut self, load: u64, trial: Trial) {
        self.0.entry(load).or_default().push(trial);
    }

    /// The trials of a load.
    pub(super) fn of(&self, load: u64) -> &[Trial] {
        self.0.get(&load).map_or(&[], Vec::as_slice)
    }

    /// The bounds that are relevant by RFC 9971. Loads that hold above one that does not are luck, and do not count.
    pub(super) fn bounds(&self, target: &Target) -> Bounds {
        let mut bounds = Bounds::default();
        for (&load, trials) in &self.0 {
            match classify(trials, target) {
                Class::Lower => bounds.lower = Some(load),
                Class::Upper => return Bounds { upper: Some(load), ..bounds },
                Class::Undecided => {}
            }
        }
        bounds
    }
}
