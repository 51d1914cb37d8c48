//! The trials of searches: one of each search in turn, in shuffled blocks, until all are over.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use crate::commands::bench::{Stock, name, one_trial, progress};
use crate::compare::capacity::{Met, Searches, Sought, judge};
use crate::console::Failure;
use crate::gates::reason::Reason;
use crate::measure::control::Interrupt;
use crate::measure::transfer::core_transfer_ns;
use crate::plan::args::RunArgs;
use crate::plan::cells::Cell;
use crate::plan::schedule::Planned;
use crate::record::output::Output;
use crate::record::row::{Row, Run};
use crate::stats::search::{Ask, Search};

/// A search of a cell, and what it has seen so far.
#[derive(Debug)]
pub(super) struct Subject {
    /// Its run: an index. Runs differ in the number of workers.
    pub(super) run: usize,
    /// What is searched; its rate is that of the trial.
    pub(super) cell: Cell,
    pub(super) search: Search,
    /// Whether there will be no result.
    has_failed: bool,
    /// A trial that was disturbed and did not hold, with the number of the next attempt.
    again: Option<(Planned, usize)>,
}

impl Subject {
    pub(super) fn new(run: usize, cell: Cell, search: Search) -> Self {
        Self { run, cell, search, has_failed: false, again: None }
    }

    /// The trial to run next, unless the search is over.
    fn ask(&mut self) -> Option<Ask> {
        if self.has_failed { None } else { self.search.ask() }
    }
}

/// What trials need to run.
pub(super) struct Bench<'a> {
    pub(super) args: &'a RunArgs,
    /// One for each number of workers.
    pub(super) runs: &'a [Run],
    pub(super) interrupt: &'a Interrupt,
    /// The maximum number of attempts at a trial.
    pub(super) tries: usize,
    pub(super) sought: &'a Sought,
    /// When it ends at the latest.
    pub(super) time: Duration,
}

/// What came of all trials.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// What their rows say.
    pub(super) searches: Searches,
    /// How many rows were written.
    pub(super) rows: usize,
    /// How many trials failed, or do not balance.
    pub(super) bad: usize,
    /// How many attempts did not count.
    pub(super) disturbed: usize,
    /// Why it ended before all searches were over, unless by a signal.
    pub(super) end: Option<End>,
}

/// Why searches end early.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// Their time is up.
    Time,
    /// The process of the peer is lost.
    Peer(String),
    /// Nothing counts any more, the last trial for this reason.
    Disturbed(String),
}

/// After so many disturbed attempts in a row, of all searches together, they end.
const DISTURBED_MAX: usize = 40;

/// Runs trials until all searches are over; each row is written as soon as it is there.
pub(super) fn measure(
    bench: &Bench<'_>,
    subjects: &mut [Subject],
    mut stock: Stock,
    output: &mut Output,
) -> Result<Measured, Failure> {
    let (bar, start) = (progress(bench.args, None), Instant::now());
    let mut random = ChaCha8Rng::seed_from_u64(bench.runs[0].seed);
    let (mut measured, mut order, mut disturbed) = (Measured::default(), 0, 0);
    'blocks: for block in 1.. {
        let mut open: Vec<usize> = (0..subjects.len()).filter(|&at| subjects[at].ask().is_some()).collect();
        if open.is_empty() {
            break;
        }
        open.shuffle(&mut random);
        let transfer_ns = look_at_cores(bench);
        for at in open {
            measured.end = peer_end(bench).or((start.elapsed() >= bench.time).then_some(End::Time));
            if measured.end.is_some() || bench.interrupt.is_raised() {
                break 'blocks;
            }
            let subject = &mut subjects[at];
            let Some(ask) = subject.ask() else { continue };
            bar.set_message(format!("{} {}, {} per second", name(&subject.cell), subject.cell.scenario, ask.load));
            let planned = Planned { cell: at, block, order: order + 1 };
            let (planned, attempt) = subject.again.take().unwrap_or((planned, 1));
            order = order.max(planned.order);
            let attempted = attempt_one(bench, subject, (ask, planned, attempt), &mut stock)?;
            let Some((row, counts)) = attempted else { break 'blocks };
            let row = Row { core_transfer_ns: transfer_ns.filter(|_| !row.is_failed()), ..row };
            output.write(&row)?;
            measured.searches.add_row(&row);
            measured.rows += 1;
            measured.bad += usize::from(row.is_bad());
            measured.disturbed += usize::from(!counts);
            bar.inc(1);
            disturbed = if counts { 0 } else { disturbed + 1 };
            if disturbed >= DISTURBED_MAX {
                measured.end = Some(End::Disturbed(row.why().into_owned()));
                break 'blocks;
            }
        }
    }
    measured.end = measured.end.or_else(|| peer_end(bench));
    bar.finish_and_clear();
    Ok(measured)
}

/// Makes an attempt at a trial, and tells the search what it has shown. Returns its row, and whether it counts; nothing if it was
/// interrupted.
///
/// What holds although something else had a core holds. What was disturbed and does not hold says nothing, and what is invalid for
/// another reason says nothing anyway: it is tried again in a later block; with `--no-gates` it counts.
fn attempt_one(
    bench: &Bench<'_>,
    subject: &mut Subject,
    (ask, planned, attempt): (Ask, Planned, usize),
    stock: &mut Stock,
) -> Result<Option<(Row, bool)>, Failure> {
    let cell = Cell { rate: Some(ask.load), ..subject.cell };
    let trial = one_trial(&bench.runs[subject.run], &cell, (planned, attempt), stock.of(&cell), bench.interrupt);
    let Some((mut row, _)) = trial.map_err(Failure::Broken)? else { return Ok(None) };
    row.goal = bench.sought.to_string();
    let says_nothing = row.is_invalid() && bench.tries > 1;
    let may_hold = row.invalid_reason.iter().all(Reason::is_disturbance);
    let judged = (!row.shows_nothing()).then(|| judge(&row, bench.sought));
    match judged {
        Some(judged) if !says_nothing || may_hold && judged.met.iter().all(|met| *met == Met::Yes) => {
            row.goal_met = judged.met.iter().map(|met| met.name()).collect::<Vec<_>>().join(" ");
            subject.search.note(ask, judged.shown);
            Ok(Some((row, true)))
        }
        _ if says_nothing => {
            // After the last attempt at it, the next one is a trial of its own.
            subject.again = (attempt < bench.tries).then_some((planned, attempt + 1));
            Ok(Some((row, false)))
        }
        _ => {
            subject.has_failed = true;
            Ok(Some((row, true)))
        }
    }
}

/// How far apart the cores of two threads are: hosts move virtual cores during a run.
fn look_at_cores(bench: &Bench<'_>) -> Option<f64> {
    let run = bench.runs.first().filter(|run| run.peer.is_none())?;
    let place = &run.options.cores.places[0];
    let transfer_ns = core_transfer_ns(place.worker, *place.generators.first()?)?;
    Some((10.0 * transfer_ns).round() / 10.0)
}

fn peer_end(bench: &Bench<'_>) -> Option<End> {
    let lost = bench.runs.iter().find_map(|run| run.peer.as_ref()?.link.lost())?;
    Some(End::Peer(lost.to_string()))
}
