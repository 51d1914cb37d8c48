//! Blocks of three trials of one cell: as it is, as it is again, and with work added.

use std::time::{Duration, Instant};

use hpbench_backends::{FreeList, Pool};
use indicatif::ProgressBar;

use crate::console::Failure;
use crate::gates::ATTEMPTS_MAX;
use crate::measure::control::Interrupt;
use crate::measure::slowed;
use crate::measure::trial::Trial;
use crate::plan::cells::Cell;
use crate::plan::schedule::{Planned, Schedule};
use crate::record::row::{self, Row, Run};
use crate::traffic::wire::Tag;

/// The three sides of a block.
pub(super) const SIDES: usize = 3;
/// Which of them has work added.
pub(super) const SLOWED: usize = 2;

/// What trials need to run.
pub(super) struct Bench<'a> {
    pub run: &'a Run,
    pub cell: &'a Cell,
    pub pool: &'a Pool,
    pub interrupt: &'a Interrupt,
    pub bar: ProgressBar,
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Measured {
    /// The rows of all sides: the last attempt at each trial, with its side.
    pub rows: Vec<(usize, Row)>,
    /// How many blocks there are.
    pub blocks: usize,
    /// The work added to each datagram on one side, in nanoseconds.
    pub added_ns: f64,
    /// How long that took.
    pub elapsed: Duration,
}

impl<'a> Bench<'a> {
    /// Runs at most so many blocks, or as many as fit into a time, with a fraction of a datagram's cost added on one
    /// side.
    pub(super) fn measure(&self, most: usize, time: Option<Duration>, added: f64) -> Result<Measured, Failure> {
        let mut free = self.pool.frames();
        let first = Planned { cell: 0, block: 1, order: 0 };
        // A pilot trial finds the cost of a datagram, and so how much to add.
        let pilot = self.trial((first, 1), 0.0, &mut free)?;
        let added_ns = added * pilot.ns_per_packet_p50.unwrap_or(0.0);
        let start = Instant::now();
        let mut measured = Measured { rows: Vec::new(), blocks: 0, added_ns, elapsed: Duration::ZERO };
        // On a busy machine every trial would be repeated, which takes long and helps little; so repeats are limited.
        let mut repeats = SIDES * 10;
        for planned in Schedule::new(SIDES, most, self.run.seed).iter() {
            if planned.block > measured.blocks {
                if time.is_some_and(|time| start.elapsed() >= time) {
                    break;
                }
                measured.blocks = planned.block;
                repeats += 1;
            }
            for attempt in 1..=ATTEMPTS_MAX {
                if self.interrupt.is_raised() {
                    return Ok(measured);
                }
                let delay_ns = if planned.cell == SLOWED { added_ns } else { 0.0 };
                let row = self.trial((planned, attempt), delay_ns, &mut free)?;
                if !row.is_disturbed() || attempt == ATTEMPTS_MAX || repeats == 0 {
                    measured.rows.push((planned.cell, row));
                    break;
                }
                repeats -= 1;
            }
            self.bar.inc(1);
        }
        self.bar.finish_and_clear();
        row::mark(measured.rows.iter_mut().map(|(_, row)| row));
        measured.elapsed = start.elapsed();
        Ok(measured)
    }

    /// Makes an attempt at a trial. All sides run the same code, even with nothing added: other code would differ by
    /// some nanoseconds just for its place in memory.
    fn trial(
        &self,
        (planned, attempt): (Planned, usize),
        delay_ns: f64,
        free: &mut FreeList<'a>,
    ) -> Result<Row, Failure> {
        let (options, pool, interrupt) = (&self.run.options, self.pool, self.interrupt);
        let truesizes = &self.run.truesizes;
        let trial = Trial { cell: self.cell, options, pool, interrupt, truesizes, tag: Tag::draw(), peer: None };
        slowed::set_delay(delay_ns);
        let result = trial.run_slowed(free);
        match &result {
            Err(error) if !interrupt.is_raised() => {
                let error = anyhow::anyhow!("{error}");
                Err(Failure::Broken(error.context("the cell cannot be measured here")))
            }
            _ => Ok(Row::new(self.run, self.cell, planned, String::new(), attempt, &result)),
        }
    }
}
