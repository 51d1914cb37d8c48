//! Summaries of cells: medians with their intervals, how many trials count, and what became of the others.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use crate::compare::axes;
use crate::compare::dataset::{Attempt, Dataset, MACHINE};
use crate::compare::judge::{is_same_state, usual};
use crate::compare::merged::{Latencies, Merged};
use crate::compare::metrics;
use crate::record::cell::{AXES, CellKey};
use crate::record::column::Role;
use crate::record::columns::Column;
use crate::record::row::State;
use crate::stats::Summary;
use crate::stats::median::Median;

/// The columns that are summarised: every metric, and the shares that explain them.
pub(crate) fn columns() -> impl Iterator<Item = Column> {
    let is_metric = |column: &Column| matches!(column.role(), Role::Metric(..));
    Column::all(|_| true).filter(move |column| is_metric(column) || *column == Column::busy_pct)
}

/// A cell on a machine, in a file.
#[derive(Debug)]
pub(crate) struct CellSummary {
    /// The number of its file.
    pub file: u32,
    /// The cell.
    pub cell: CellKey,
    /// The machine and the state: the texts of [`MACHINE`] and of `state`.
    pub machine: [String; MACHINE.len() + 1],
    /// How many trials there are.
    pub trials: usize,
    /// How many of them count.
    pub counting: usize,
    /// How many count although they are marked.
    pub marked: usize,
    /// How many are marked, whether they count or not.
    pub all_marked: usize,
    /// Whether the generators of a trial that counts could not keep the load.
    pub is_limited: bool,
    /// Datagrams per system call, the median.
    pub per_call: Option<f64>,
    /// How many trials are left out because their cores were in another state than those of most, as in comparisons.
    pub other_state: usize,
    /// How many trials are unusable because something disturbed them.
    pub disturbed: usize,
    /// Why trials are unusable: their state, and the reason.
    pub reasons: Vec<(State, String)>,
    medians: HashMap<Column, Median>,
}

/// The columns that distinguish machines, and the state in which a run was made.
pub(crate) const TOLD: [Column; MACHINE.len() + 1] = [MACHINE[0], MACHINE[1], MACHINE[2], Column::state];

impl CellSummary {
    /// The median of a column, with its interval if there is one.
    pub(crate) fn median(&self, column: Column) -> Option<Median> {
        self.medians.get(&column).copied()
    }

    /// Its text in an axis, or in a column of [`TOLD`].
    pub(crate) fn get(&self, column: Column) -> &str {
        match TOLD.iter().position(|known| *known == column) {
            Some(at) => &self.machine[at],
            None => self.cell.get(column),
        }
    }

    /// The name by which users ask for its backend.
    pub(crate) fn name(&self) -> String {
        let get = |column| self.cell.get(column);
        axes::brief(get(Column::backend), get(Column::variant), [get(Column::addressing), get(Column::sockets)])
    }

    fn of(data: &Dataset, first: &Attempt, attempts: &[usize], columns: &[Column], usual_ns: f64) -> Self {
        let of = |at: &usize| &data.attempts[*at];
        let valid: Vec<usize> = attempts.iter().copied().filter(|at| of(at).is_valid()).collect();
        let all_marked = valid.iter().filter(|at| of(at).is_marked).count();
        let mut counting = data.counting(valid);
        let before = counting.len();
        counting.retain(|at| is_same_state(of(at).core_transfer_ns, usual_ns));
        let other_state = before - counting.len();
        let has_tails = !counting.is_empty() && counting.iter().all(|at| data.tail(*at).is_some());
        let mut medians = HashMap::new();
        for &column in columns {
            let tail = metrics::tail(column).filter(|_| has_tails);
            let median = match tail.and_then(|at| merged(data, at, &counting)) {
                Some(merged) => Some(merged.quantile()),
                None => {
                    let mut values: Vec<f64> = counting.iter().filter_map(|at| data.value(*at, column)).collect();
                    values.sort_unstable_by(f64::total_cmp);
                    Median::of_sorted(&values)
                }
            };
            medians.extend(median.map(|median| (column, median)));
        }
        let lost = attempts.iter().map(of).filter(|attempt| !attempt.is_valid());
        // A failed trial has no effective round: the cell of a measured trial says more.
        let told = counting.first().map_or(first, of);
        Self {
            file: first.file,
            cell: data.cell(told.cell),
            machine: TOLD.map(|column| data.text(told, column).to_owned()),
            trials: attempts.len(),
            counting: counting.len(),
            marked: counting.iter().filter(|at| of(at).is_marked).count(),
            all_marked,
            is_limited: counting.iter().any(|at| of(at).is_limited),
            per_call: Summary::of(counting.iter().map(|at| of(at).per_call)).map(|summary| summary.median),
            other_state,
            disturbed: attempts.iter().filter(|at| of(at).is_disturbed).count(),
            reasons: lost.map(|attempt| (attempt.state, data.reason(attempt).to_owned())).collect(),
            medians,
        }
    }
}

fn merged<'d>(data: &'d Dataset, at: f64, attempts: &[usize]) -> Option<Merged<'d>> {
    let one = |at: &usize| {
        let attempt = &data.attempts[*at];
        Some(Latencies { block: attempt.block as usize, run: attempt.run, own: data.tail(*at)?, reference: None })
    };
    Merged::of(at, attempts.iter().filter_map(one).collect())
}

/// A summary of each cell, in series: by scenario and backend, then by what varies. Repeated attempts are not counted.
pub(crate) fn of(data: &Dataset) -> Vec<CellSummary> {
    let columns: Vec<Column> = columns().collect();
    let mut cells: Vec<(&Attempt, Vec<usize>)> = Vec::new();
    let rounds = Rounds::of(data);
    let mut known = HashMap::new();
    for (at, attempt) in data.attempts.iter().enumerate().filter(|(_, attempt)| !attempt.is_repeated) {
        let key = (attempt.file, rounds.cell(data, attempt), TOLD.map(|column| data.text(attempt, column)));
        let place = *known.entry(key).or_insert(cells.len());
        if place == cells.len() {
            cells.push((attempt, Vec::new()));
        }
        cells[place].1.push(at);
    }
    // What most trials of a scenario on a machine had, as within a run.
    let place = |attempt: &Attempt| (attempt.file, data.text(attempt, Column::scenario), data.machine(attempt));
    let mut transfers: HashMap<(u32, &str, u32), Vec<f64>> = HashMap::new();
    for attempt in data.attempts.iter().filter(|attempt| attempt.is_valid()) {
        transfers.entry(place(attempt)).or_default().push(attempt.core_transfer_ns);
    }
    let usual_ns: HashMap<_, f64> =
        transfers.into_iter().map(|(place, times)| (place, usual(times.into_iter()))).collect();
    let summary = |(first, attempts): (&Attempt, Vec<usize>)| {
        let usual_ns = usual_ns.get(&place(first)).copied().unwrap_or(f64::NAN);
        CellSummary::of(data, first, &attempts, &columns, usual_ns)
    };
    let mut all: Vec<CellSummary> = cells.into_iter().map(summary).collect();
    all.sort_by(in_series);
    all
}

/// Which planned cells were measured with several rounds. What a trial has is the round in effect, which may differ a little
/// between trials of one cell: it is no axis, unless several were asked for.
struct Rounds(HashMap<u32, Range>);

/// The least and the largest round in effect of a planned cell.
#[derive(Clone, Copy, Debug)]
struct Range {
    least: f64,
    most: f64,
    /// Whether a block has several trials of it.
    is_swept: bool,
}

impl Rounds {
    fn of(data: &Dataset) -> Self {
        let mut ranges: HashMap<u32, Range> = HashMap::new();
        let mut seen: HashSet<[u32; 4]> = HashSet::new();
        let mut of_cells: HashMap<u32, Option<f64>> = HashMap::new();
        for attempt in data.attempts.iter().filter(|attempt| !attempt.is_repeated) {
            let round = || data.cell(attempt.cell).get(Column::round).parse().ok();
            let Some(round) = *of_cells.entry(attempt.cell).or_insert_with(round) else { continue };
            let planned = data.planned(attempt);
            let is_again = !seen.insert([attempt.file, attempt.run, attempt.block, planned]);
            let range = ranges.entry(planned).or_insert(Range { least: round, most: round, is_swept: false });
            let Range { least, most, is_swept } = *range;
            *range = Range { least: least.min(round), most: most.max(round), is_swept: is_swept || is_again };
        }
        Self(ranges)
    }

    /// The cell of an attempt: the planned one, and its own if that was measured with several rounds.
    fn cell(&self, data: &Dataset, attempt: &Attempt) -> (u32, Option<u32>) {
        let planned = data.planned(attempt);
        // Another run may have asked for another round.
        let is_several = |range: &Range| range.least < range.most && (range.is_swept || range.most > 2.0 * range.least);
        (planned, self.0.get(&planned).filter(|range| is_several(range)).map(|_| attempt.cell))
    }
}

fn in_series(a: &CellSummary, b: &CellSummary) -> Ordering {
    let place = |one: &CellSummary| {
        let name = one.get(Column::scenario);
        let place = crate::plan::cells::Scenario::ALL.iter().position(|known| known.name() == name);
        place.unwrap_or(usize::MAX)
    };
    let side = |one: &CellSummary| format!("{}:{}", one.get(Column::backend), one.get(Column::variant));
    let by = axes::By::Column(Column::variant);
    let text = |axis: Column| axes::natural(a.get(axis), b.get(axis)).then_with(|| a.get(axis).cmp(b.get(axis)));
    let axes = || AXES.iter().map(|&axis| text(axis)).find(|order| order.is_ne());
    place(a)
        .cmp(&place(b))
        .then_with(|| by.order(&side(a), &side(b)))
        .then_with(|| axes().unwrap_or(Ordering::Equal))
        .then_with(|| a.file.cmp(&b.file))
        .then_with(|| a.machine.cmp(&b.machine))
}
