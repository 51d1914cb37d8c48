//! When a run has measured enough: a few planned looks at the precision of its comparisons.
//!
//! Each look is a chance to stop by luck. With at most four, each planned by what the one before found, the interval of
//! a stopped run holds the truth in more than 90% of all runs (`simulations.rs`); with a look after each block, in 71
//! to 95%.

use super::estimate::BLOCKS_MANY;

/// The blocks before the first look: from there on, an interval is made of ten pieces of ten or more.
pub const FIRST: usize = 2 * BLOCKS_MANY;

/// The most looks.
pub const LOOKS_MAX: usize = 4;

/// If a look finds the interval narrower by less than this fraction, it has found the floor: what the machine does from
/// one minute to the next does not average out.
const GAIN_MIN: f64 = 0.10;

/// The looks at the precision of a run.
#[derive(Clone, Debug)]
pub struct Looks {
    /// The target for half the interval, as a fraction.
    target: f64,
    /// The number of blocks at the next look.
    next: usize,
    looks: usize,
    /// What the last look found.
    last: Option<f64>,
}

/// The result of a look that ends a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Enough {
    /// Why it ends the run.
    pub why: Why,
    /// The widest half of an interval, as a fraction.
    pub half: f64,
}

/// Why a run has measured enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// All comparisons have the target precision.
    Precise,
    /// More blocks would not make them more precise.
    Floor,
    /// All planned looks are used up.
    Looks,
}

impl Looks {
    /// Plans looks for a target of half the interval, as a fraction, in a run that already has so many blocks: it may
    /// have been looked at with these, so the next look is as far away as after any other.
    pub fn new(target: f64, blocks: usize) -> Self {
        Self { target, next: FIRST.max(blocks + blocks / 2), looks: 0, last: None }
    }

    /// Looks after so many blocks, if it is time to, and returns why the run should end, if so; `widest` is the widest
    /// half of an interval, as a fraction, or `None` if too few blocks count.
    pub fn after(&mut self, blocks: usize, widest: impl FnOnce() -> Option<f64>) -> Option<Enough> {
        if blocks < self.next {
            return None;
        }
        let Some(half) = widest() else {
            self.next = blocks + blocks / 2;
            return None;
        };
        self.looks += 1;
        let why = if half <= self.target {
            Why::Precise
        } else if self.last.is_some_and(|last| half > last * (1.0 - GAIN_MIN)) {
            Why::Floor
        } else if self.looks == LOOKS_MAX {
            Why::Looks
        } else {
            self.last = Some(half);
            let blocks = blocks as f64;
            self.next = (1.5 * blocks).max(1.2 * blocks * (half / self.target).powi(2)) as usize;
            return None;
        };
        Some(Enough { why, half })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(target: f64, halves: &[f64]) -> (Vec<usize>, Option<Enough>) {
        let mut precision = Looks::new(target, 0);
        let mut halves = halves.iter().copied();
        let mut seen = Vec::new();
        for blocks in 1..100_000 {
            let mut looked = false;
            let end = precision.after(blocks, || {
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
        let end = |why, half| Some(Enough { why, half });
        assert_eq!(looks(0.01, &[0.01]), (vec![100], end(Why::Precise, 0.01)));
        assert_eq!(looks(0.01, &[0.02, 0.01]), (vec![100, 480], end(Why::Precise, 0.01)));
        assert_eq!(looks(0.01, &[0.02, 0.019]), (vec![100, 480], end(Why::Floor, 0.019)));
        assert_eq!(looks(0.01, &[0.0105, 0.0102, 0.5]), (vec![100, 150], end(Why::Floor, 0.0102)));
        let (seen, end) = looks(0.01, &[0.016, 0.014, 0.012, 0.0107, 0.001]);
        assert!(Looks::new(0.01, 200).after(299, || Some(0.001)).is_none(), "it continues with 200 blocks");
        assert!(Looks::new(0.01, 200).after(300, || Some(0.001)).is_some());
        assert!(seen.len() == 4 && end.is_some_and(|end| end.why == Why::Looks), "{seen:?} {end:?}");
    }
}
