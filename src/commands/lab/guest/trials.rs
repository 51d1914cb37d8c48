//! The trials of a run in a guest.

use std::cell::OnceCell;

use anyhow::Context;

use super::plan::GuestPlan;
use super::report::Report;
use super::system;
use crate::commands::bench::{self, Stock};
use crate::commands::lab::accel::Accel;
use crate::commands::lab::args::cells as cells_of;
use crate::compare::counts::SETTLED_MAX_PCT;
use crate::measure::control::Interrupt;
use crate::measure::truesizes::Truesizes;
use crate::plan::args::RunArgs;
use crate::plan::cells::{Cell, Options};
use crate::plan::request;
use crate::plan::schedule::{Planned, Schedule};
use crate::record::environment::Environment;
use crate::record::row::{Row, Run};

/// The most warm-up trials of each scenario with each backend before the first trial that counts.
const SETTLING_MAX: usize = 4;

/// Runs the trials of `hpbench` with `args`, and reports each row as soon as it is there.
pub(super) fn run(plan: &GuestPlan, args: &[String], report: &mut Report) -> anyhow::Result<()> {
    let args = RunArgs::from_words(args)?;
    let cells = cells_of(&args)?;
    let counted = plan.accel == Accel::Icount;
    let options = Options { at_ticks: counted, ..request::options(&args)? };
    let environment = Environment {
        state: args.state.clone().unwrap_or_default(),
        pair: args.pair,
        ..Environment::read(Some(&plan.host), options.cores.places[0].worker)
            .with_path(options.bind.at(0), options.bind.at(0))
    };
    let pools = request::make_pools(&cells, &options, 0)?;
    let run = Run {
        id: plan.run_id.clone(),
        seed: args.seed.unwrap_or(0),
        environment,
        rt_limited: None,
        canary_ns: OnceCell::new(),
        command: String::new(),
        truesizes: Truesizes::default(),
        peer: None,
        options,
    };
    let mut trials = Trials { plan, run: &run, cells: &cells, stock: Stock::new(pools) };
    if counted {
        system::keep_slabs();
        trials.settle()?;
    }
    for planned in Schedule::new(cells.len(), args.trials, run.seed).iter() {
        let row = trials.one(planned)?;
        report.row(&row)?;
    }
    Ok(())
}

/// What to run.
struct Trials<'t> {
    plan: &'t GuestPlan,
    run: &'t Run,
    cells: &'t [Cell],
    stock: Stock,
}

impl Trials<'_> {
    /// Runs and discards trials of each scenario with each backend until their costs no longer change: what a kernel
    /// does for the first time, above all filling its slab caches, costs more.
    fn settle(&mut self) -> anyhow::Result<()> {
        let mut first: Vec<usize> = Vec::new();
        for (index, cell) in self.cells.iter().enumerate() {
            let is_like = |&other: &usize| {
                (self.cells[other].scenario, self.cells[other].variant) == (cell.scenario, cell.variant)
            };
            if !first.iter().any(is_like) {
                first.push(index);
            }
        }
        let mut before = vec![[None; 2]; first.len()];
        for _ in 0..SETTLING_MAX {
            let mut settled = true;
            for (&cell, before) in first.iter().zip(&mut before) {
                let row = self.one(Planned { cell, block: 0, order: 0 })?;
                let now = [row.instructions_per_packet, row.peer_instructions_per_packet];
                settled &= row.is_failed() || agree(*before, now);
                *before = now;
            }
            if settled {
                break;
            }
        }
        Ok(())
    }

    fn one(&mut self, planned: Planned) -> anyhow::Result<Row> {
        let cell = &self.cells[planned.cell];
        let interrupt = Interrupt::default();
        let row = bench::one_trial(self.run, cell, (planned, 1), self.stock.of(cell), &interrupt)?;
        let (mut row, _) = row.context("a trial was interrupted, in a guest where nothing could interrupt it")?;
        self.plan.accel.judge(&mut row);
        (row.accel, row.qemu) = (self.plan.accel.to_string(), self.plan.qemu.clone());
        Ok(row)
    }
}

/// Whether both sides cost the same twice, within the scatter of a settled cell.
fn agree(before: [Option<f64>; 2], now: [Option<f64>; 2]) -> bool {
    let near = |(a, b): (Option<f64>, Option<f64>)| {
        a.zip(b).is_some_and(|(a, b)| (100.0 * (a / b - 1.0)).abs() <= SETTLED_MAX_PCT / 2.0)
    };
    before.into_iter().zip(now).all(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_trials_agree_if_both_sides_do() {
        assert!(agree([Some(1000.0), Some(500.0)], [Some(1000.9), Some(500.0)]));
        assert!(!agree([Some(1000.0), Some(500.0)], [Some(1000.0), Some(501.0)]));
        assert!(!agree([None, Some(500.0)], [None, Some(500.0)]));
    }
}
