//! What a report shows of a dataset: its cells and series in their order, and the figures of a cell.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::commands::report::environment::Environment;
use crate::commands::report::times::Times;
use crate::compare::axes::{self, By, natural};
use crate::compare::dataset::{Attempt, Dataset, MACHINE};
use crate::compare::merged::{Latencies, Merged};
use crate::compare::metrics;
use crate::plan::cells::Scenario;
use crate::record::cell::{AXES, CellKey};
use crate::record::columns::Column;
use crate::record::row::State;
use crate::stats::median::Median;

/// The percentiles of latency, with the share of datagrams that were faster.
pub(crate) const PERCENTILES: [(Column, f64); 5] = [
    (Column::lat_p50_ns, 0.5),
    (Column::lat_p90_ns, 0.9),
    (Column::lat_p99_ns, 0.99),
    (Column::lat_p999_ns, 0.999),
    (Column::lat_p9999_ns, 0.9999),
];

/// What charts and tables show besides percentiles and metrics.
const SHOWN: [Column; 7] = [
    Column::cpu_ns_per_packet,
    Column::kthread_ns_per_packet,
    Column::softirq_ns_per_packet,
    Column::lat_samples,
    Column::loss_pct,
    Column::drop_socket,
    Column::drop_ring,
];

/// Conditions that must be equal in comparisons, besides [`MACHINE`]. A trial that failed early has none.
pub(crate) const CONDITIONS: [Column; 3] = [Column::rcvbuf, Column::cpu_relation, Column::fill];

/// What identifies the cells of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facet {
    /// A column: an axis, or one of [`MACHINE`] or of [`CONDITIONS`].
    Of(Column),
    /// The file.
    File,
}

impl Facet {
    /// All of them, in their order.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        AXES.iter().copied().chain(MACHINE).chain(CONDITIONS).map(Self::Of).chain([Self::File])
    }
}

/// Trials of one cell, machine and file, under the same conditions.
#[derive(Debug)]
pub(crate) struct Cell {
    /// The cell.
    pub key: CellKey,
    /// The machine: the texts of [`MACHINE`].
    machine: [String; MACHINE.len()],
    /// The conditions: the texts of [`CONDITIONS`]; none if all its trials failed.
    conditions: Option<[String; CONDITIONS.len()]>,
    /// The number of the file, and as text.
    file: (usize, String),
    /// The series: see [`Data::series`].
    pub series: usize,
    /// The attempts at its trials.
    pub attempts: Vec<usize>,
}

impl Cell {
    /// Its text in a column: an axis, or one of [`MACHINE`] or of [`CONDITIONS`].
    pub(crate) fn get(&self, column: Column) -> &str {
        if let Some(at) = CONDITIONS.iter().position(|known| *known == column) {
            return self.conditions.as_ref().map_or("", |conditions| &conditions[at]);
        }
        match MACHINE.iter().position(|known| *known == column) {
            Some(at) => &self.machine[at],
            None => self.key.get(column),
        }
    }

    /// Its text in a facet; for the file, its number.
    pub(crate) fn text(&self, of: Facet) -> &str {
        match of {
            Facet::Of(column) => self.get(column),
            Facet::File => &self.file.1,
        }
    }

    /// The number of its file.
    pub(crate) fn file(&self) -> usize {
        self.file.0
    }

    /// Whether instructions were counted instead of time measured.
    pub(crate) fn is_counted(&self) -> bool {
        self.get(Column::accel) == "icount"
    }
}

/// A backend with its variant.
#[derive(Debug)]
pub(crate) struct Series {
    /// Its name, as asked for.
    pub name: String,
    /// The backend.
    pub backend: String,
    /// Entries of its buffer ring, as written in the file.
    buffers: String,
}

/// The median of some trials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    /// The median with its interval.
    pub median: Median,
    /// How many trials it is of.
    pub trials: usize,
    /// How many datagrams a system call moved.
    pub per_call: Option<f64>,
    /// Whether the generators of any trial could not keep the load.
    pub is_limited: bool,
}

/// All trials of all files.
#[derive(Debug)]
pub(crate) struct Data {
    /// Every row, once [`Self::in_time`] was called, in the order in which they began.
    pub set: Dataset,
    /// When the trials began.
    pub times: Times,
    /// The cells, in their order.
    pub cells: Vec<Cell>,
    /// Backends with their variants, in their order.
    pub series: Vec<Series>,
    /// The machines.
    pub environment: Environment,
    /// The cell of each attempt.
    cell_of: Vec<u32>,
}

impl Data {
    /// The columns whose numbers a report needs.
    pub(crate) fn columns() -> impl Iterator<Item = Column> {
        let compared = metrics::all_defaults().into_iter().map(|metric| metric.column);
        compared.chain(PERCENTILES.map(|(column, _)| column)).chain(SHOWN)
    }

    /// From all rows and the times at which they began.
    pub(crate) fn new(set: Dataset, times: Times) -> Self {
        let environment = Environment::of(&set);
        let mut data = Self { set, times, cells: Vec::new(), series: Vec::new(), environment, cell_of: Vec::new() };
        data.find_cells();
        data.lend_conditions();
        data.order_series();
        data.order_cells();
        data
    }

    fn find_cells(&mut self) {
        let mut known: HashMap<(u32, u32, u32), Vec<usize>> = HashMap::new();
        for (at, attempt) in self.set.attempts.iter().enumerate() {
            let next = self.cells.len();
            let alike = known.entry((attempt.cell, self.set.machine(attempt), attempt.file)).or_default();
            let conditions =
                (attempt.state != State::Failed).then(|| CONDITIONS.map(|column| self.set.text(attempt, column)));
            // A failed trial belongs to the same cell, whatever its conditions would have been.
            let fits = |cell: &&usize| match (&self.cells[**cell].conditions, &conditions) {
                (Some(known), Some(found)) => known == found,
                _ => true,
            };
            let cell = alike.iter().find(fits).copied().unwrap_or(next);
            if cell < next && self.cells[cell].conditions.is_none() {
                self.cells[cell].conditions = conditions.map(|texts| texts.map(str::to_owned));
            }
            if cell == next {
                alike.push(next);
                let key = self.set.cell(attempt.cell);
                let series = series_of(&mut self.series, &key);
                let machine = MACHINE.map(|column| self.set.text(attempt, column).to_owned());
                let file = (attempt.file as usize, attempt.file.to_string());
                let conditions = conditions.map(|texts| texts.map(str::to_owned));
                self.cells.push(Cell { key, machine, conditions, file, series, attempts: Vec::new() });
            }
            self.cells[cell].attempts.push(at);
            self.cell_of.push(cell as u32);
        }
    }

    /// Gives cells whose trials all failed the conditions of their scenario's first cell, to appear beside it.
    fn lend_conditions(&mut self) {
        let lent = |cell: &Cell| {
            let scenario = cell.get(Column::scenario);
            let mut others = self.cells.iter().filter(|other| other.get(Column::scenario) == scenario);
            others.find_map(|other| other.conditions.clone())
        };
        let lent: Vec<_> =
            self.cells.iter().map(|cell| if cell.conditions.is_none() { lent(cell) } else { None }).collect();
        self.cells
            .iter_mut()
            .zip(lent)
            .filter(|(_, lent)| lent.is_some())
            .for_each(|(cell, lent)| cell.conditions = lent);
    }

    /// Puts the attempts into the order in which they began.
    pub(crate) fn in_time(&mut self) {
        let starts = self.times.take_starts();
        if starts.is_sorted() {
            return;
        }
        let mut order: Vec<u32> = (0..starts.len() as u32).collect();
        order.sort_by(|&a, &b| starts[a as usize].cmp(&starts[b as usize]));
        self.set.reorder(&order);
        self.cell_of = order.iter().map(|&at| self.cell_of[at as usize]).collect();
        self.cells.iter_mut().for_each(|cell| cell.attempts.clear());
        for (at, &cell) in self.cell_of.iter().enumerate() {
            self.cells[cell as usize].attempts.push(at);
        }
    }

    fn order_series(&mut self) {
        let by = By::Column(Column::variant);
        let mut order: Vec<usize> = (0..self.series.len()).collect();
        // A backend without modes comes before its variants with modes, whose names begin with its name.
        order.sort_by(|&a, &b| {
            let (a, b) = (&self.series[a], &self.series[b]);
            let backends = by.order(&a.backend, &b.backend).then_with(|| a.name.cmp(&b.name));
            backends.then_with(|| natural(&a.buffers, &b.buffers))
        });
        let mut places = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &at)| places[at] = place);
        self.cells.iter_mut().for_each(|cell| cell.series = places[cell.series]);
        let mut series: Vec<(usize, Series)> = places.into_iter().zip(self.series.drain(..)).collect();
        series.sort_by_key(|(place, _)| *place);
        self.series = series.into_iter().map(|(_, series)| series).collect();
        let all: Vec<String> = self.series.iter().map(|series| series.name.clone()).collect();
        for series in &mut self.series {
            if all.iter().filter(|name| **name == series.name).count() > 1 {
                series.name += &format!(", {} buffers", series.buffers);
            }
        }
    }

    fn order_cells(&mut self) {
        let mut cells: Vec<(usize, Cell)> = std::mem::take(&mut self.cells).into_iter().enumerate().collect();
        cells.sort_by(|(_, a), (_, b)| {
            let mut orders = Facet::all().map(|of| order(a, b, of));
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        let mut places = vec![0; cells.len()];
        cells.iter().enumerate().for_each(|(place, (at, _))| places[*at] = place as u32);
        self.cells = cells.into_iter().map(|(_, cell)| cell).collect();
        self.cell_of.iter_mut().for_each(|cell| *cell = places[*cell as usize]);
    }

    /// The number of the cell of an attempt.
    pub(crate) fn cell_of(&self, at: usize) -> usize {
        self.cell_of[at] as usize
    }

    /// The attempts of a cell that count.
    pub(crate) fn counting(&self, cell: usize) -> Vec<usize> {
        let valid = |&at: &usize| self.set.attempts[at].is_valid();
        self.set.counting(self.cells[cell].attempts.iter().copied().filter(valid).collect())
    }

    /// The median of a figure in a cell.
    pub(crate) fn estimate(&self, cell: usize, value: impl Fn(usize) -> Option<f64>) -> Option<Estimate> {
        let counting = self.counting(cell);
        let mut values: Vec<f64> = counting.iter().filter_map(|&at| value(at)).collect();
        values.sort_unstable_by(f64::total_cmp);
        Some(self.described(&counting, Median::of_sorted(&values)?, values.len()))
    }

    /// Why a cell has no figure: what is wrong with one of its trials.
    pub(crate) fn why_nothing(&self, cell: usize) -> String {
        let last = self.cells[cell].attempts.iter().map(|&at| &self.set.attempts[at]).filter(|one| !one.is_repeated);
        let told = |attempt: &Attempt| match attempt.state {
            State::Valid => None,
            State::Failed => Some(format!("failed: {}", self.set.reason(attempt))),
            State::Invalid => Some(format!("invalid: {}", self.set.reason(attempt))),
        };
        last.into_iter().find_map(told).unwrap_or_else(|| "no value".into())
    }

    /// A percentile of latency in a cell: from the 99th on, that of all trials together, if they keep their latencies.
    pub(crate) fn latency(&self, cell: usize, column: Column) -> Option<Estimate> {
        let Some(merged) = self.merged(cell, column) else {
            return self.estimate(cell, |at| self.set.value(at, column));
        };
        let counting = self.counting(cell);
        Some(self.described(&counting, merged.quantile(), counting.len()))
    }

    /// The merged latencies of a cell, if a column is the 99th percentile or higher and all trials that count keep
    /// them.
    pub(crate) fn merged(&self, cell: usize, column: Column) -> Option<Merged<'_>> {
        let quantile = metrics::tail(column)?;
        let latencies = |at: usize| {
            let Attempt { block, run, .. } = self.set.attempts[at];
            Some(Latencies { block: block as usize, run, own: self.set.tail(at)?, reference: None })
        };
        Merged::of(quantile, self.counting(cell).into_iter().map(latencies).collect::<Option<_>>()?)
    }

    /// A median with what else is known about its trials.
    fn described(&self, counting: &[usize], median: Median, trials: usize) -> Estimate {
        let attempts = || counting.iter().map(|&at| &self.set.attempts[at]);
        let mut calls: Vec<f64> =
            attempts().map(|attempt| attempt.per_call).filter(|calls| calls.is_finite()).collect();
        calls.sort_unstable_by(f64::total_cmp);
        let per_call = crate::stats::median_of_sorted(&calls);
        let is_limited = attempts().any(|attempt| attempt.is_limited);
        Estimate { median, trials, per_call, is_limited }
    }

    /// How many trials there are; repeated attempts do not count.
    pub(crate) fn trials(&self) -> usize {
        self.set.attempts.iter().filter(|attempt| !attempt.is_repeated).count()
    }

    /// How many runs there are; runs of different files are counted separately.
    pub(crate) fn runs(&self) -> usize {
        let mut runs: Vec<(u32, u32)> = self.set.attempts.iter().map(Attempt::run_in_file).collect();
        runs.sort_unstable();
        runs.dedup();
        runs.len()
    }

    /// The distinct values of a column of the cells, in order.
    pub(crate) fn distinct(&self, column: Column) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for cell in &self.cells {
            let value = cell.get(column);
            if !value.is_empty() && !found.contains(&value) {
                found.push(value);
            }
        }
        match column {
            Column::kernel => found.sort_by(|a, b| By::Column(Column::kernel).order(a, b)),
            Column::scenario | Column::backend | Column::host => {}
            _ => found.sort_by(|a, b| natural(a, b).then_with(|| a.cmp(b))),
        }
        found
    }
}

/// The series of a cell; a new one if it has none.
fn series_of(series: &mut Vec<Series>, cell: &CellKey) -> usize {
    let [backend, variant, addressing, sockets, buffers] =
        [Column::backend, Column::variant, Column::addressing, Column::sockets, Column::buffers]
            .map(|axis| cell.get(axis));
    // The modes that were asked for: the others follow from the addressing and the sockets.
    let name = axes::brief(backend, variant, [addressing, sockets]);
    let found = series.iter().position(|series| (series.name.as_str(), series.buffers.as_str()) == (&name, buffers));
    found.unwrap_or_else(|| {
        series.push(Series { name, backend: backend.to_owned(), buffers: buffers.to_owned() });
        series.len() - 1
    })
}

/// The order of two cells by one facet.
fn order(a: &Cell, b: &Cell, of: Facet) -> Ordering {
    let (of_a, of_b) = (a.text(of), b.text(of));
    let scenario = |name: &str| Scenario::ALL.iter().position(|scenario| scenario.name() == name);
    match of {
        _ if of_a == of_b => Ordering::Equal,
        Facet::Of(Column::scenario) => scenario(of_a).cmp(&scenario(of_b)),
        Facet::Of(Column::backend | Column::variant | Column::buffers) => a.series.cmp(&b.series),
        Facet::Of(Column::kernel) => By::Column(Column::kernel).order(of_a, of_b),
        _ => natural(of_a, of_b).then_with(|| of_a.cmp(of_b)),
    }
}
