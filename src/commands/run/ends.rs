//! When a run is over before its plan is: its time is up, its comparisons are precise enough, or the machine lets no trial count.

use std::fmt;
use std::time::{Duration, Instant};

use crate::compare::answer;
use crate::plan::args::RunArgs;
use crate::record::row::Row;
use crate::stats::estimate::BLOCKS_MANY;

/// The blocks before the first look at the precision: from there on an interval is made of ten pieces of ten.
const FIRST_LOOK: usize = 2 * BLOCKS_MANY;
/// The most looks: each is a chance to stop by luck, and with four the interval still holds what it says in 91 to 96% of all runs.
const LOOKS_MAX: usize = 4;
/// A look that finds the interval less than this narrower, as a fraction, finds the floor: what the machine does from one minute
/// to the next does not average out.
const GAIN_MIN: f64 = 0.10;

/// Attempts after which a run whose trials are nearly all disturbed ends, …
const ATTEMPTS_MIN: usize = 200;
/// … if fewer than one in so many counts.
const COUNTS_ONE_IN: usize = 20;

/// Why a run is over although its plan is not.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// The time of `--time` is up.
    Time {
        /// How many blocks there are.
        blocks: usize,
    },
    /// All comparisons are as precise as `--precision` asks.
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
    /// The looks that were planned are used up.
    Looks {
        /// The widest half of an interval, in percent.
        half_pct: f64,
        /// How many blocks there are.
        blocks: usize,
    },
    /// Nearly all trials are disturbed.
    Disturbed {
        /// How many attempts count.
        valid: usize,
        /// Of how many.
        attempts: usize,
        /// Why the last one does not.
        why: String,
    },
}

impl End {
    /// Whether something is amiss.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::Disturbed { .. })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time { blocks } => write!(f, "time is up after {blocks} blocks"),
            Self::Precise { half_pct, blocks } => write!(f, "precise to ±{half_pct:.2}% after {blocks} blocks"),
            Self::Floor { half_pct, blocks } => {
                write!(f, "floor reached: ±{half_pct:.2}% after {blocks} blocks, and more of them gain less than 10%")
            }
            Self::Looks { half_pct, blocks } => write!(
                f,
                "±{half_pct:.2}% after {blocks} blocks and {LOOKS_MAX} looks: more looks would find a precision that is luck"
            ),
            Self::Disturbed { valid, attempts, why } => write!(
                f,
                "only {valid} of {attempts} attempts count, the last one because of: {why}; stop what else runs (`hpbench doctor` \
                 names it), name other cores with --cpu, or use --wait-quiet 60"
            ),
        }
    }
}

/// Decides after each block.
#[derive(Debug)]
pub(super) struct Ends {
    start: Instant,
    time: Option<Duration>,
    precision: Option<Precision>,
    attempts: usize,
    valid: usize,
    why: String,
}

/// The looks at the precision.
#[derive(Debug)]
struct Precision {
    /// The half of an interval that is asked for, as a fraction.
    target: f64,
    /// After how many blocks the next look is.
    next: usize,
    looks: usize,
    /// What the last look found.
    last: Option<f64>,
}

impl Ends {
    /// For a run that begins now, with `rows` of before.
    pub(super) fn new(args: &RunArgs, rows: &[(usize, Row)]) -> Self {
        let precision = args.precision.map(|target| Precision { target, next: FIRST_LOOK, looks: 0, last: None });
        let mut ends =
            Self { start: Instant::now(), time: args.time, precision, attempts: 0, valid: 0, why: String::new() };
        rows.iter().for_each(|(_, row)| ends.note(row));
        ends
    }

    /// Takes note of an attempt.
    pub(super) fn note(&mut self, row: &Row) {
        self.attempts += 1;
        if row.is_disturbed() {
            self.why = row.invalid_reason.to_string();
        } else {
            self.valid += 1;
        }
    }

    /// Whether the run is over after so many blocks.
    pub(super) fn after_block(&mut self, blocks: usize, rows: &[(usize, Row)]) -> Option<End> {
        if self.time.is_some_and(|time| self.start.elapsed() >= time) {
            return Some(End::Time { blocks });
        }
        let looked = self.precision.as_mut().and_then(|precision| precision.look(blocks, || widest(rows)));
        looked.or_else(|| self.of_disturbed(rows))
    }

    /// Whether nearly all trials are disturbed.
    pub(super) fn of_disturbed(&self, _rows: &[(usize, Row)]) -> Option<End> {
        let Self { attempts, valid, .. } = *self;
        let is_so = attempts >= ATTEMPTS_MIN && valid * COUNTS_ONE_IN < attempts;
        is_so.then(|| End::Disturbed { valid, attempts, why: self.why.clone() })
    }
}

/// The widest half of an interval of a comparison of this run, as a fraction.
fn widest(rows: &[(usize, Row)]) -> Option<f64> {
    answer::widest(rows.iter().map(|(_, row)| row))
}

impl Precision {
    fn look(&mut self, blocks: usize, widest: impl FnOnce() -> Option<f64>) -> Option<End> {
        if blocks < self.next {
            return None;
        }
        let Some(half) = widest() else {
            // Too few blocks count yet.
            self.next = blocks + blocks / 2;
            return None;
        };
        self.looks += 1;
        let half_pct = 100.0 * half;
        if half <= self.target {
            return Some(End::Precise { half_pct, blocks });
        }
        if self.last.is_some_and(|last| half > last * (1.0 - GAIN_MIN)) {
            return Some(End::Floor { half_pct, blocks });
        }
        if self.looks == LOOKS_MAX {
            return Some(End::Looks { half_pct, blocks });
        }
        self.last = Some(half);
        let blocks = blocks as f64;
        self.next = (1.5 * blocks).max(1.2 * blocks * (half / self.target).powi(2)) as usize;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(target: f64, halves: &[f64]) -> (Vec<usize>, Option<End>) {
        let mut precision = Precision { target, next: FIRST_LOOK, looks: 0, last: None };
        let mut halves = halves.iter().copied();
        let mut seen = Vec::new();
        for blocks in 1..100_000 {
            let mut looked = false;
            let end = precision.look(blocks, || {
                looked = true;
                halves.next()
            });
            seen.extend(looked.then_some(blocks));
            if end.is_some() {
                return (seen, end);
            }
        }
        (seen, None)
    }

    #[test]
    fn looks_are_planned_and_few() {
        let end = |half_pct: f64, blocks| Some(End::Precise { half_pct, blocks });
        assert_eq!(looks(0.01, &[0.01]), (vec![100], end(1.0, 100)));
        assert_eq!(looks(0.01, &[0.02, 0.01]), (vec![100, 480], end(1.0, 480)));
        let (seen, end) = looks(0.01, &[0.02, 0.019]);
        assert!(seen == [100, 480] && matches!(end, Some(End::Floor { blocks: 480, .. })), "{seen:?} {end:?}");
        let (seen, end) = looks(0.01, &[0.0105, 0.0102, 0.5]);
        assert_eq!((seen, end), (vec![100, 150], Some(End::Floor { half_pct: 1.02, blocks: 150 })));
        let (seen, end) = looks(0.01, &[0.016, 0.014, 0.012, 0.0107, 0.001]);
        assert!(seen.len() == 4 && matches!(end, Some(End::Looks { .. })), "{seen:?} {end:?}");
    }
}
