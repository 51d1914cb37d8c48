//! When a run ends before its plan does: its time is up, its comparisons are precise enough, or the machine disturbs
//! nearly every trial.

use std::fmt;
use std::time::{Duration, Instant};

use crate::compare::answer::{self, Precision};
use crate::plan::args::RunArgs;
use crate::record::row::Row;
use crate::stats::looks::{Enough, LOOKS_MAX, Looks, Why};

/// Attempts after which a run whose trials are nearly all disturbed ends, …
const ATTEMPTS_MIN: usize = 200;
/// … if fewer than one in so many counts.
const COUNTS_ONE_IN: usize = 20;

/// Why a run ended before its plan.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// The time of `--time` is up.
    Time {
        /// How many blocks there are.
        blocks: usize,
    },
    /// The main figures of all comparisons are as precise as `--precision` asks.
    Precise {
        /// The widest half of an interval, in percent.
        half_pct: f64,
        /// How many blocks there are.
        blocks: usize,
    },
    /// More blocks would not make them more precise.
    Floor {
        /// The widest half of an interval, in percent.
        half_pct: f64,
        /// How many blocks there are.
        blocks: usize,
    },
    /// All planned looks are used up.
    Looks {
        /// The widest half of an interval, in percent.
        half_pct: f64,
        /// How many blocks there are.
        blocks: usize,
    },
    /// No comparison can become precise.
    Never {
        /// Why the last one cannot.
        why: String,
    },
    /// The process of the peer is lost.
    Peer {
        /// Why.
        why: String,
    },
    /// Nearly all trials are disturbed.
    Disturbed {
        /// How many attempts were.
        disturbed: usize,
        /// Of how many.
        attempts: usize,
        /// What disturbed the last one.
        why: String,
    },
}

impl End {
    fn of(enough: Enough, blocks: usize) -> Self {
        let half_pct = 100.0 * enough.half;
        match enough.why {
            Why::Precise => Self::Precise { half_pct, blocks },
            Why::Floor => Self::Floor { half_pct, blocks },
            Why::Looks => Self::Looks { half_pct, blocks },
        }
    }

    /// Whether the run did not reach its goal.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::Never { .. } | Self::Disturbed { .. } | Self::Peer { .. })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time { blocks } => write!(f, "time is up after {blocks} blocks"),
            Self::Precise { half_pct, blocks } => write!(f, "precise to ±{half_pct:.2}% after {blocks} blocks"),
            Self::Floor { half_pct, blocks } => {
                write!(f, "floor reached: ±{half_pct:.2}% after {blocks} blocks; more blocks would gain less than 10%")
            }
            Self::Looks { half_pct, blocks } => write!(
                f,
                "±{half_pct:.2}% after {blocks} blocks and {LOOKS_MAX} looks: with more looks, precision could be luck"
            ),
            Self::Never { why } => {
                write!(f, "no comparison can reach --precision, the last one because: {why}")
            }
            Self::Disturbed { disturbed, attempts, why } => write!(
                f,
                "{disturbed} of {attempts} attempts do not count, the last one for this reason: {why}. Stop what else runs (`hpbench \
                 doctor` names it), name other cores with --cpu, or use --wait-quiet 60"
            ),
            Self::Peer { why } => write!(f, "{why}; --resume runs the trials that are left"),
        }
    }
}

/// Decides after each block.
#[derive(Debug)]
pub(super) struct Ends {
    start: Instant,
    time: Option<Duration>,
    precision: Option<Looks>,
    /// Whether disturbed trials are repeated: users who turn that off want all rows.
    is_gated: bool,
    attempts: usize,
    disturbed: usize,
    why: String,
}

impl Ends {
    /// For a run that starts now, with earlier `rows`.
    pub(super) fn new(args: &RunArgs, is_gated: bool, rows: &[(usize, Row)]) -> Self {
        let blocks = rows.iter().map(|(_, row)| row.trial).max().unwrap_or(0);
        let precision = args.precision.map(|target| Looks::new(target, blocks));
        let (start, time) = (Instant::now(), args.time);
        let mut ends = Self { start, time, precision, is_gated, attempts: 0, disturbed: 0, why: String::new() };
        rows.iter().for_each(|(_, row)| ends.note(row));
        ends
    }

    /// Counts an attempt.
    pub(super) fn note(&mut self, row: &Row) {
        self.attempts += 1;
        if row.is_disturbed() {
            self.disturbed += 1;
            self.why = row.invalid_reason.to_string();
        }
    }

    /// Whether the run ends after this many blocks.
    pub(super) fn after_block(&mut self, blocks: usize, rows: &[(usize, Row)]) -> Option<End> {
        if self.time.is_some_and(|time| self.start.elapsed() >= time) {
            return Some(End::Time { blocks });
        }
        let mut never = None;
        let half = || match answer::precision(rows.iter().map(|(_, row)| row)) {
            Precision::Half(half) => Some(half),
            Precision::NotYet => None,
            Precision::Never(why) => {
                never = Some(End::Never { why });
                None
            }
        };
        let looked = self.precision.as_mut().and_then(|looks| looks.after(blocks, half));
        looked.map(|enough| End::of(enough, blocks)).or(never).or_else(|| self.of_disturbed())
    }

    /// Whether nearly all trials are disturbed.
    pub(super) fn of_disturbed(&self) -> Option<End> {
        let Self { attempts, disturbed, .. } = *self;
        let is_so = self.is_gated && attempts >= ATTEMPTS_MIN && (attempts - disturbed) * COUNTS_ONE_IN < attempts;
        is_so.then(|| End::Disturbed { disturbed, attempts, why: self.why.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_which_nothing_counts_ends_early_unless_all_rows_are_wanted() {
        let args = RunArgs::from_words::<&str>([]).expect("the defaults");
        let disturbed = Row { invalid_reason: "disturbed: another thread had the core".into(), ..Row::default() };
        let after = |is_gated: bool, count: usize| {
            let mut ends = Ends::new(&args, is_gated, &[]);
            (0..count).for_each(|_| ends.note(&disturbed));
            ends.after_block(10, &[])
        };
        assert_eq!((after(true, ATTEMPTS_MIN - 1), after(false, ATTEMPTS_MIN)), (None, None));
        let end = after(true, ATTEMPTS_MIN).expect("nothing counts");
        assert!(end.is_failure() && end.to_string().starts_with("200 of 200 attempts do not count"), "{end}");
    }
}
