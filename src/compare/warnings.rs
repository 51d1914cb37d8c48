//! Why a comparison means nothing, and what a reader must know of it: as types, and in words.

use std::fmt;

use crate::compare::counts::{RANKS_NOTHING, SETTLED_MAX_PCT};
use crate::gates::TRIALS_MIN;
use crate::record::columns::Column;

/// Why a comparison means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The sides differ in what must be equal.
    Differs {
        /// The column.
        column: Column,
        /// What the base has.
        base: String,
        /// What the new side has.
        new: String,
    },
    /// Instructions were counted, which do not rank the values of this column.
    Counted {
        /// The column that is compared by.
        by: Column,
    },
    /// A side has too few trials for a verdict.
    TooFewTrials {
        /// How many it has.
        fewest: usize,
    },
    /// Differences within blocks are asked for, and there are none.
    NoCommonBlocks,
}

/// What a warning counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Trials whose generators were the bottleneck.
    Limited,
    /// Trials that failed.
    Failed,
    /// Trials that are invalid.
    Invalid,
    /// Trials in which the machine was not as usual.
    Marked,
}

/// What a reader must know of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// It means nothing, and was made because that was asked for.
    Refused(Refusal),
    /// Some trials are not as they should be.
    Trials {
        /// Which.
        what: Doubt,
        /// How many of the base.
        base: usize,
        /// How many of the new side.
        new: usize,
    },
    /// The sides share no blocks.
    DifferentRuns,
    /// The base is 0.
    NoRatio,
    /// A side has no values.
    NoValues,
    /// Counts of a side differ from each other.
    Unsettled,
}

impl Warning {
    /// Whether two warnings say the same, whatever they count.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Trials { what, .. }, Self::Trials { what: other, .. }) => what == other,
            _ => self == other,
        }
    }

    /// Why there is no verdict, in a few words.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Refused(Refusal::Counted { by }) => format!("counts are not compared by {}", by.name()),
            Self::Refused(Refusal::TooFewTrials { fewest }) => format!("{fewest} trials are too few"),
            Self::Refused(refusal) => refusal.to_string(),
            Self::Trials { what: Doubt::Invalid, .. } => "too few valid trials".into(),
            Self::Trials { what, .. } => what.words().into(),
            Self::DifferentRuns => "different runs".into(),
            Self::Unsettled => "not settled".into(),
            Self::NoRatio => "the base is 0".into(),
            Self::NoValues => self.to_string(),
        }
    }
}

impl Doubt {
    fn words(self) -> &'static str {
        match self {
            Self::Limited => "limited by the generators",
            Self::Failed => "failed trials",
            Self::Invalid => "invalid trials left out",
            Self::Marked => "trials under unusual conditions counted for lack of others",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs { column, base, new } => {
                let remedy = if *column == Column::host { "; --by host compares them" } else { "" };
                write!(f, "{} is {} and {}{remedy}", column.name(), or_empty(base), or_empty(new))
            }
            Self::Counted { by } => write!(
                f,
                "accel is icount, and counts are not compared by {}. {RANKS_NOTHING} Use --by kernel",
                by.name()
            ),
            Self::TooFewTrials { fewest } => {
                write!(f, "{fewest} trials are too few: a verdict needs {TRIALS_MIN}, and 10 are better")
            }
            Self::NoCommonBlocks => f.write_str(
                "--paired compares within blocks, and the sides have none in common: they are of different runs",
            ),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Trials { what, base, new } => write!(f, "{}: {base} of base and {new} of new", what.words()),
            Self::DifferentRuns => f.write_str("different runs: drift of the machine counts as a difference"),
            Self::NoRatio => f.write_str("the base is 0: there is no ratio"),
            Self::NoValues => f.write_str("one side has no values"),
            Self::Unsettled => write!(
                f,
                "not settled: trials of a side differ by more than {SETTLED_MAX_PCT}% from each other, or there is one only"
            ),
        }
    }
}

/// A value for a message.
pub(crate) fn or_empty(value: &str) -> &str {
    if value.is_empty() { "empty" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_that_differ_in_what_they_count_only_are_alike() {
        let trials = |what, base| Warning::Trials { what, base, new: 1 };
        assert!(trials(Doubt::Failed, 3).is_like(&trials(Doubt::Failed, 4)));
        assert!(!trials(Doubt::Failed, 3).is_like(&trials(Doubt::Invalid, 3)));
        let few = |fewest| Warning::Refused(Refusal::TooFewTrials { fewest });
        assert!(few(3).is_like(&few(3)) && !few(3).is_like(&few(4)));
        assert!(Warning::Unsettled.to_string().contains(&format!("more than {SETTLED_MAX_PCT}% ")));
    }
}
