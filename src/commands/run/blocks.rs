//! The blocks of a run: which trial comes next, and when the run is over.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::commands::bench::{Stock, name, one_trial, progress};
use crate::commands::run::ends::{End, Ends};
use crate::commands::run::files::Files;
use crate::console::Failure;
use crate::measure::control::Interrupt;
use crate::measure::transfer::core_transfer_ns;
use crate::plan::args::RunArgs;
use crate::plan::cells::Cell;
use crate::plan::schedule::Planned;
use crate::record::resume::rest::Rest;
use crate::record::row::{Row, Run};

/// What trials need to run.
pub(super) struct Bench<'a> {
    pub args: &'a RunArgs,
    pub run: &'a Run,
    pub cells: &'a [Cell],
    pub interrupt: &'a Interrupt,
    /// The maximum number of attempts at a trial.
    pub tries: usize,
}

impl Bench<'_> {
    /// The end of a run whose peer is lost.
    fn peer_end(&self) -> Option<End> {
        let lost = self.run.peer.as_ref()?.link.lost()?;
        Some(End::Peer { why: lost.to_string() })
    }
}

/// The results of the trials so far.
struct Done<'a> {
    bench: &'a Bench<'a>,
    stock: Stock,
    files: &'a mut Files,
    /// The last attempt at each trial, with its cell.
    rows: Vec<(usize, Row)>,
    /// How long a cache line took between the cores of two threads before this block.
    core_transfer_ns: Option<f64>,
    /// Trials that were disturbed, with the number of the next attempt. Disturbances often last longer than a trial, so
    /// they are repeated in a later block.
    again: VecDeque<(Planned, usize)>,
}

/// The last attempt at each trial, with its cell; and why the run ended, if not with its plan.
type Measured = (Vec<(usize, Row)>, Option<End>);

/// Runs the missing trials; each row is written as soon as it is there.
pub(super) fn measure(bench: &Bench<'_>, stock: Stock, rest: Rest, files: &mut Files) -> Result<Measured, Failure> {
    let Rest { rows, lacking } = rest;
    let bar = progress(bench.args, (!bench.args.is_open_ended()).then_some(lacking.len()));
    let mut ends = Ends::new(bench.args, bench.tries > 1, &rows);
    let mut done = Done { bench, stock, files, rows, core_transfer_ns: None, again: VecDeque::new() };
    let (mut block, mut end) = (0, None);
    for (planned, attempt) in lacking.iter() {
        if planned.block != block {
            done.repeat(&mut ends)?;
            end = if block > 0 { ends.after_block(block, &done.rows) } else { None };
            block = planned.block;
            done.look_at_cores();
        }
        if end.is_some() || bench.interrupt.is_raised() {
            break;
        }
        let cell = &bench.cells[planned.cell];
        bar.set_message(format!("{} {}, batch {}", name(cell), cell.scenario, cell.batch));
        done.attempt(planned, attempt, &mut ends)?;
        bar.inc(1);
        end = bench.peer_end();
        if end.is_some() {
            break;
        }
    }
    end = end.or_else(|| bench.peer_end());
    while end.is_none() && !done.again.is_empty() && !bench.interrupt.is_raised() {
        done.repeat(&mut ends)?;
        end = ends.of_disturbed().or_else(|| bench.peer_end());
    }
    bar.finish_and_clear();
    Ok((done.rows, end))
}

impl Done<'_> {
    /// Measures how far apart the cores of two threads are, if any cell has two. Hosts move virtual cores during a run.
    fn look_at_cores(&mut self) {
        let Bench { run, cells, .. } = *self.bench;
        if run.peer.is_some() {
            return;
        }
        let place = &run.options.cores.places[0];
        let has_two = cells.iter().any(Cell::has_two_threads);
        let generator = place.generators.first().copied().filter(|_| has_two);
        let transfer_ns = generator.and_then(|generator| core_transfer_ns(place.worker, generator));
        self.core_transfer_ns = transfer_ns.map(|ns| (10.0 * ns).round() / 10.0);
    }

    /// Repeats the trials that were disturbed so far, once each.
    fn repeat(&mut self, ends: &mut Ends) -> Result<(), Failure> {
        for _ in 0..self.again.len() {
            let is_over = self.bench.interrupt.is_raised() || self.bench.peer_end().is_some();
            let Some((planned, attempt)) = self.again.pop_front().filter(|_| !is_over) else { break };
            self.attempt(planned, attempt, ends)?;
        }
        Ok(())
    }

    /// Makes an attempt at a trial, and writes its row.
    fn attempt(&mut self, planned: Planned, attempt: usize, ends: &mut Ends) -> Result<(), Failure> {
        let Bench { run, cells, interrupt, tries, .. } = *self.bench;
        let cell = &cells[planned.cell];
        let began = Instant::now();
        let trial = one_trial(run, cell, (planned, attempt), self.stock.of(cell), interrupt);
        let Some((mut row, latency)) = trial.map_err(Failure::Broken)? else { return Ok(()) };
        row.core_transfer_ns = self.core_transfer_ns.filter(|_| cell.has_two_threads() && !row.is_failed());
        self.files.output.write(&row)?;
        if let (Some(hlog), Some(latency)) = (&mut self.files.hlog, latency) {
            let length = Duration::from_secs_f64(row.duration_s.unwrap_or(0.0));
            let since = began.saturating_duration_since(hlog.start()).as_secs_f64();
            hlog.write(&tag(cell, &row), since, length, &latency)?;
        }
        ends.note(&row);
        if attempt > 1 {
            let before = self.rows.iter().rposition(|(_, earlier)| earlier.order == row.order);
            before.map(|at| self.rows.remove(at));
        }
        if row.is_disturbed() && attempt < tries {
            self.again.push_back((planned, attempt + 1));
        }
        self.rows.push((planned.cell, row));
        Ok(())
    }
}

/// The trial whose latencies an interval of the log holds.
fn tag(cell: &Cell, row: &Row) -> String {
    let load = row.rate_pps.map_or_else(
        || format!("window{}", row.window.unwrap_or(0)),
        |rate| format!("rate{rate}-burst{}", row.burst.unwrap_or(1)),
    );
    let fanout = row.fanout.map_or_else(String::new, |fanout| format!("-fanout{fanout}"));
    format!(
        "{}-{}-batch{}-payload{}-{load}{fanout}-trial{}-attempt{}",
        name(cell),
        cell.scenario,
        cell.batch,
        cell.payload,
        row.trial,
        row.attempt
    )
}
