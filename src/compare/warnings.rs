//! Why a comparison means nothing or has no verdict, and its warnings: as types, and in words.

use std::fmt;

use crate::compare::counts::{RANKS_NOTHING, SETTLED_MAX_PCT};
use crate::gates::LIMITED_ONE_IN;
use crate::record::columns::Column;

/// Why a comparison means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The sides differ in a column that must be equal.
    Differs {
        /// The column.
        column: Column,
        /// The value of the base.
        base: String,
        /// The value of the new side.
        new: String,
    },
    /// Instructions were counted, and counts cannot rank the values of this column.
    Counted {
        /// The column that distinguishes the sides.
        by: Column,
    },
    /// `--paired` asks for differences within blocks, and there are none.
    NoCommonBlocks,
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The comparison means nothing, and was forced.
    Refused(Refusal),
    /// The generators of too many trials were the bottleneck.
    Limited,
    /// A side has no values.
    NoValues,
    /// A side is 0.
    NoRatio,
    /// Too few blocks count on both sides.
    TooFewBlocks {
        /// How many do.
        blocks: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Too few pairs of runs count on both sides.
    TooFewPairs {
        /// How many do.
        pairs: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A side has too few runs.
    TooFewRuns {
        /// How many the side with fewer runs has.
        runs: usize,
        /// How many each side needs.
        needed: usize,
    },
    /// Too few pairs of the runs of a host count for the host to count.
    TooFewOfHost {
        /// How many do.
        pairs: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The other side has no trials.
    OneSided,
    /// All trials of a side failed.
    NothingRan,
    /// Too many runs have too few trials that count.
    ThinRuns {
        /// How many such runs both sides have.
        runs: usize,
        /// How many trials each needs.
        needed: usize,
    },
    /// Too few hosts have pairs of runs.
    TooFewHosts {
        /// How many do.
        hosts: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Too few latencies of a side are above the compared quantile.
    TooFewTail {
        /// How many are.
        above: u64,
        /// How many are needed.
        needed: u64,
    },
    /// The sides have different reference trials, and a high quantile is compared.
    OtherReference,
    /// A side has only one run.
    OneRun,
    /// Too many runs of one side came in a row, or one side came before the other.
    NotAlternated,
    /// Too few pairs of runs had their cores in the same state.
    OtherState {
        /// How many did.
        pairs: usize,
        /// How many are needed.
        needed: usize,
    },
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
    /// Trials that are marked.
    Marked,
    /// Trials whose cores were in a different state from most.
    OtherState,
}

/// A warning about a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Some trials are doubtful.
    Trials {
        /// Which.
        what: Doubt,
        /// How many of the base.
        base: usize,
        /// How many of the new side.
        new: usize,
    },
    /// Counts of a side differ from each other.
    Unsettled,
    /// Runs of one side differ from each other.
    Moved {
        /// How many runs the side has.
        runs: usize,
        /// By how much the highest of them exceeds the lowest, in tenths of a percent.
        permille: u32,
    },
}

impl Reason {
    /// Whether two reasons say the same, except for their numbers.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refused(one), Self::Refused(other)) => one == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// The reason in a few words.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Refused(Refusal::Counted { by }) => format!("counts are not compared by {}", by.name()),
            Self::Limited => "limited by the generators".into(),
            Self::TooFewBlocks { .. } => "too few blocks".into(),
            Self::TooFewPairs { .. } => "too few pairs".into(),
            Self::TooFewRuns { .. } => "too few runs".into(),
            Self::TooFewOfHost { .. } => "too few pairs of the host".into(),
            Self::ThinRuns { .. } => "too few trials of a run".into(),
            Self::TooFewHosts { .. } => "too few hosts".into(),
            Self::TooFewTail { .. } => "too few samples".into(),
            Self::OtherReference => "other references".into(),
            Self::OneRun => "only one run".into(),
            Self::NotAlternated => "not alternated".into(),
            Self::OtherState { .. } => "cores in another state".into(),
            Self::NoRatio => "a side is 0".into(),
            Self::Refused(_) | Self::NoValues | Self::OneSided | Self::NothingRan => self.to_string(),
        }
    }
}

impl Doubt {
    fn words(self) -> &'static str {
        match self {
            Self::Limited => "limited by the generators",
            Self::Failed => "failed trials",
            Self::Invalid => "invalid trials left out",
            Self::OtherState => "trials left out whose cores were in another state (core_transfer_ns)",
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
            Self::NoCommonBlocks => {
                f.write_str("--paired compares within blocks, and the sides share none: they are of different runs")
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |count: &usize| if *count == 1 { "" } else { "s" };
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Limited => write!(
                f,
                "the generators could not keep the worker busy in more than one trial in {LIMITED_ONE_IN}: \
                 the load is the limit"
            ),
            Self::NoValues => f.write_str("one side has no values"),
            Self::NoRatio => f.write_str("a side is 0: there is no ratio"),
            Self::TooFewBlocks { blocks, needed } => write!(
                f,
                "too few blocks: {blocks} block{} count{} on both sides, and a verdict needs {needed}; use more --trials",
                s(blocks),
                if *blocks == 1 { "s" } else { "" },
            ),
            Self::TooFewPairs { pairs, needed } => write!(
                f,
                "too few pairs of runs: {pairs} pair{} count{} on both sides, and a verdict needs {needed}",
                s(pairs),
                if *pairs == 1 { "s" } else { "" },
            ),
            Self::TooFewRuns { runs, needed } => {
                write!(f, "too few runs: a side has {runs}, and a verdict needs {needed} on each side, in alternation")
            }
            Self::TooFewOfHost { needed, .. } => write!(f, "fewer than {needed} pairs of its runs count (column pair)"),
            Self::ThinRuns { runs, needed } => write!(
                f,
                "too few trials of a run: {runs} run{} fewer than {needed} that count, and {} left out; use longer runs",
                if *runs == 1 { " has" } else { "s have" },
                if *runs == 1 { "is" } else { "are" },
            ),
            Self::OneSided => f.write_str("measured on one side only"),
            Self::NothingRan => f.write_str("all trials of a side failed"),
            Self::TooFewHosts { hosts, needed } => write!(
                f,
                "too few hosts: {hosts} host{} two pairs of runs or more that count, and a verdict needs {needed}; scripts/ab makes \
                 pairs, on each host",
                if *hosts == 1 { " has" } else { "s have" },
            ),
            Self::TooFewTail { above, needed } => write!(
                f,
                "too few samples: {above} latenc{} of a side {} above this quantile, and a verdict needs {needed}; use more --trials",
                if *above == 1 { "y" } else { "ies" },
                if *above == 1 { "is" } else { "are" },
            ),
            Self::OtherReference => f.write_str(
                "other references: the sides have different reference trials, and within a run a relative percentile \
                 has no interval; leave out --relative-to, or compare pairs of runs",
            ),
            Self::OneRun => f.write_str(
                "only one run on a side: runs of one command differ by more than most changes; alternate runs of both \
                 sides, as scripts/ab does",
            ),
            Self::OtherState { pairs, needed } => write!(
                f,
                "too few pairs of runs with their cores in the same state (core_transfer_ns): {pairs}, and a verdict needs {needed}"
            ),
            Self::NotAlternated => f.write_str(
                "not alternated: more than two runs of one side came in a row, or one side came before the other, and \
                 the machine drifts; alternate them, as scripts/ab does",
            ),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trials { what, base, new } => write!(f, "{}: {base} of base and {new} of new", what.words()),
            Self::Moved { runs, permille } => write!(
                f,
                "the machine alone moved {runs} runs of one side by up to {}%: a change of that size may not be real",
                f64::from(*permille) / 10.0
            ),
            Self::Unsettled => write!(
                f,
                "not settled: trials of a side differ by more than {SETTLED_MAX_PCT}% from each other, \
                 or there is only one"
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
    fn reasons_that_differ_in_what_they_count_only_are_alike() {
        let few = |blocks| Reason::TooFewBlocks { blocks, needed: 18 };
        assert!(few(3).is_like(&few(4)) && !few(3).is_like(&Reason::OneRun));
        assert_eq!(
            few(1).to_string(),
            "too few blocks: 1 block counts on both sides, and a verdict needs 18; use more --trials"
        );
        let differs =
            |new: &str| Reason::Refused(Refusal::Differs { column: Column::fill, base: "gso".into(), new: new.into() });
        assert!(differs("a").is_like(&differs("a")) && !differs("a").is_like(&differs("b")));
        assert!(Warning::Unsettled.to_string().contains(&format!("more than {SETTLED_MAX_PCT}% ")));
    }
}
