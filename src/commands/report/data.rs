//! What a report keeps of each trial: a few figures and numbers of texts, so that 100,000 rows are no trouble.

use std::collections::HashMap;

use csv::StringRecord;

use crate::commands::report::environment::Environment;
use crate::compare::axes::{self, AXES, By, natural};
use crate::compare::trials::Names;
use crate::gates::{self, Sign};
use crate::plan::cells::Scenario;
use crate::record::format;
use crate::record::row::{Row, State};
use crate::stats::median::Median;

/// What tells cells apart beside [`AXES`]; the last one is the number of the file.
const OTHERS: [&str; 4] = ["host", "kernel", "accel", "file"];

/// How many columns tell cells apart.
pub(crate) const COUNT: usize = AXES.len() + OTHERS.len();

/// The place of a column among the fields of a cell.
pub(crate) fn axis(name: &str) -> usize {
    AXES.iter().chain(&OTHERS).position(|axis| *axis == name).expect("the name of a column of a cell")
}

/// The name of the column at a place among the fields of a cell.
pub(crate) fn axis_name(at: usize) -> &'static str {
    AXES.iter().chain(&OTHERS).nth(at).copied().unwrap_or("")
}

/// A figure of a trial that charts or tables show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the column of that name")]
pub(crate) enum Value {
    Cost,
    PeerCost,
    Rate,
    Cpu,
    Kthread,
    Instructions,
    PeerInstructions,
    Latency(Percentile),
    Samples,
    Loss,
    DropSocket,
    DropRing,
    PerCall,
}

/// A percentile of latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub(crate) enum Percentile {
    P50,
    P90,
    P99,
    P999,
    P9999,
}

impl Percentile {
    /// All of them, with the share of datagrams that were faster.
    pub(crate) const ALL: [(Self, f64); 5] =
        [(Self::P50, 0.5), (Self::P90, 0.9), (Self::P99, 0.99), (Self::P999, 0.999), (Self::P9999, 0.9999)];
}

/// How many figures a trial has.
const VALUES: usize = 17;

impl Value {
    fn at(self) -> usize {
        match self {
            Self::Cost => 0,
            Self::PeerCost => 1,
            Self::Rate => 2,
            Self::Cpu => 3,
            Self::Kthread => 4,
            Self::Instructions => 5,
            Self::PeerInstructions => 6,
            Self::Samples => 7,
            Self::Loss => 8,
            Self::DropSocket => 9,
            Self::DropRing => 10,
            Self::PerCall => 11,
            Self::Latency(percentile) => 12 + percentile as usize,
        }
    }

    /// All figures of a row, in the order of their places.
    fn all(row: &Row) -> [Option<f64>; VALUES] {
        let whole = |value: Option<u64>| value.map(|value| value as f64);
        [
            row.ns_per_packet_p50,
            row.peer_ns_per_packet,
            row.rx_pps,
            row.cpu_ns_per_packet,
            row.kthread_ns_per_packet,
            row.instructions_per_packet,
            row.peer_instructions_per_packet,
            whole(row.lat_samples),
            row.loss_pct,
            whole(row.drop_socket),
            whole(row.drop_ring),
            row.per_call(),
            whole(row.lat_p50_ns),
            whole(row.lat_p90_ns),
            whole(row.lat_p99_ns),
            whole(row.lat_p999_ns),
            whole(row.lat_p9999_ns),
        ]
    }
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// Of which cell.
    pub cell: usize,
    /// What it says.
    pub state: State,
    /// Why it says nothing.
    pub reason: usize,
    /// The how many-th attempt it is.
    pub attempt: usize,
    /// Whether it was tried again.
    pub is_repeated: bool,
    /// Whether the machine was not as usual.
    pub is_marked: bool,
    /// Whether the generators could not keep the load.
    pub is_limited: bool,
    /// Of which run it is, and how the machine was.
    pub sign: Sign,
}

impl Trial {
    /// Whether it counts, apart from marks.
    pub(crate) fn is_valid(&self) -> bool {
        self.state == State::Valid && !self.is_repeated
    }
}

/// What was measured alike.
#[derive(Debug)]
pub(crate) struct Cell {
    /// The fields of [`axis`].
    pub fields: Vec<String>,
    /// With what: see [`Data::series`].
    pub series: usize,
    /// The trials of it.
    pub trials: Vec<usize>,
}

impl Cell {
    /// A field by the name of its column.
    pub(crate) fn field(&self, name: &str) -> &str {
        &self.fields[axis(name)]
    }

    /// Whether instructions were counted instead of time measured.
    pub(crate) fn is_counted(&self) -> bool {
        self.field("accel") == "icount"
    }
}

/// A backend with its variant.
#[derive(Debug)]
pub(crate) struct Series {
    /// As it is asked for.
    pub name: String,
    /// The backend.
    pub backend: String,
    /// Entries of its buffer ring, in the words of the file.
    buffers: String,
}

/// The median of some trials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    /// The median with its interval.
    pub median: Median,
    /// Of how many trials.
    pub trials: usize,
    /// How many datagrams a system call moved.
    pub per_call: Option<f64>,
    /// Whether the generators of one could not keep the load.
    pub is_limited: bool,
}

/// All trials of all files.
#[derive(Debug)]
pub(crate) struct Data {
    /// The names of the files, each with its number of rows.
    pub files: Vec<(String, usize)>,
    /// When the first and the last trial began, in the words of the files.
    pub times: Option<(String, String)>,
    /// The cells, in their order once all rows are there.
    pub cells: Vec<Cell>,
    /// Backends with their variants, in their order.
    pub series: Vec<Series>,
    /// Every row, in the order of the files; once all rows are there, in the order in which they began.
    pub trials: Vec<Trial>,
    /// The machines.
    pub environment: Environment,
    values: Vec<f64>,
    /// When each trial began, until they are in order.
    starts: Vec<Box<str>>,
    names: Names,
    reasons: Names,
    runs: Names,
    last: HashMap<(usize, usize, usize, usize), usize>,
    columns: Vec<usize>,
    joined: String,
}

impl Data {
    /// Without trials.
    pub(crate) fn new() -> Self {
        let header = format::header();
        let all = format::columns(&header);
        let columns = AXES.iter().chain(&OTHERS).filter_map(|name| all.iter().position(|column| column == name));
        Self {
            files: Vec::new(),
            times: None,
            cells: Vec::new(),
            series: Vec::new(),
            trials: Vec::new(),
            environment: Environment::new(),
            values: Vec::new(),
            starts: Vec::new(),
            names: Names::default(),
            reasons: Names::default(),
            runs: Names::default(),
            last: HashMap::new(),
            columns: columns.collect(),
            joined: String::new(),
        }
    }

    /// Adds a row of the file that was added last to `files`.
    pub(crate) fn add(&mut self, fields: &StringRecord, row: &Row) {
        let file = self.files.len().saturating_sub(1);
        self.environment.add(fields, file);
        let number = file.to_string();
        let texts = self.columns.iter().map(|&at| fields.get(at).unwrap_or_default()).chain([number.as_str()]);
        let cell = self.names.number(&mut self.joined, texts);
        if cell == self.cells.len() {
            let series = self.series_of(row);
            self.cells.push(Cell { fields: self.names.fields[cell].clone(), series, trials: Vec::new() });
        }
        let run = self.runs.number(&mut self.joined, [row.run_id.as_str(), number.as_str()].into_iter());
        let (state, why) = (row.state(), row.why());
        let reason = self.reasons.number(&mut self.joined, std::iter::once(&*why));
        let at = self.trials.len();
        self.cells[cell].trials.push(at);
        self.trials.push(Trial {
            cell,
            state,
            reason,
            attempt: row.attempt,
            is_repeated: false,
            is_marked: false,
            is_limited: row.generator_limited == Some(1),
            sign: row.sign(run),
        });
        self.values.extend(Value::all(row).map(|value| value.unwrap_or(f64::NAN)));
        self.note_time(&row.started_at);
        // Without its Z, a time with fewer digits comes before those with more.
        self.starts.push(row.started_at.trim_end_matches('Z').into());
        let last = self.last.entry((cell, run, row.order, row.trial)).or_insert(at);
        if *last != at {
            let (earlier, later) = if self.trials[*last].attempt <= row.attempt { (*last, at) } else { (at, *last) };
            self.trials[earlier].is_repeated = true;
            *last = later;
        }
    }

    fn series_of(&mut self, row: &Row) -> usize {
        let buffers = row.buffers.map_or_else(String::new, |buffers| buffers.to_string());
        // What was asked for: the rest of a variant follows from the addressing.
        let name = axes::brief(&row.backend, &row.variant, &row.addressing);
        let is_same = |series: &Series| (&series.name, &series.buffers) == (&name, &buffers);
        self.series.iter().position(is_same).unwrap_or_else(|| {
            self.series.push(Series { name, backend: row.backend.clone(), buffers });
            self.series.len() - 1
        })
    }

    fn note_time(&mut self, started: &str) {
        match &mut self.times {
            None => self.times = Some((started.to_owned(), started.to_owned())),
            Some((first, _)) if started < first.as_str() => *first = started.to_owned(),
            Some((_, last)) if started > last.as_str() => *last = started.to_owned(),
            Some(_) => {}
        }
    }

    /// Marks the trials in which the machine was not as usual, and puts all in order, once all rows are there.
    pub(crate) fn finish(&mut self) {
        (self.last, self.joined) = (HashMap::new(), String::new());
        // As compare does it: attempts that were tried again tell nothing of what is usual.
        let marks = gates::marks(self.trials.iter().filter(|trial| !trial.is_repeated).map(|trial| trial.sign));
        let last = self.trials.iter_mut().filter(|trial| !trial.is_repeated);
        last.zip(marks).for_each(|(trial, is_marked)| trial.is_marked = is_marked);
        self.order_trials();
        self.order_series();
        self.order_cells();
    }

    fn order_trials(&mut self) {
        let starts = std::mem::take(&mut self.starts);
        if starts.is_sorted() {
            return;
        }
        let mut order: Vec<usize> = (0..starts.len()).collect();
        order.sort_by(|&a, &b| starts[a].cmp(&starts[b]));
        self.trials = order.iter().map(|&at| self.trials[at].clone()).collect();
        self.values = order.iter().flat_map(|&at| &self.values[at * VALUES..][..VALUES]).copied().collect();
        self.cells.iter_mut().for_each(|cell| cell.trials.clear());
        for (at, trial) in self.trials.iter().enumerate() {
            self.cells[trial.cell].trials.push(at);
        }
    }

    fn order_series(&mut self) {
        let by = By::Column("variant");
        let mut order: Vec<usize> = (0..self.series.len()).collect();
        // A backend without modes comes before those that have some: its name begins theirs.
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
        let scenario = |name: &str| Scenario::ALL.iter().position(|scenario| scenario.name() == name);
        let kernel = By::Column("kernel");
        let order = |a: &Cell, b: &Cell, at: usize| match axis_name(at) {
            _ if a.fields[at] == b.fields[at] => std::cmp::Ordering::Equal,
            "scenario" => scenario(&a.fields[at]).cmp(&scenario(&b.fields[at])),
            "backend" | "variant" | "buffers" => a.series.cmp(&b.series),
            "kernel" => kernel.order(&a.fields[at], &b.fields[at]),
            _ => natural(&a.fields[at], &b.fields[at]).then_with(|| a.fields[at].cmp(&b.fields[at])),
        };
        let mut cells: Vec<(usize, Cell)> = std::mem::take(&mut self.cells).into_iter().enumerate().collect();
        cells.sort_by(|(_, a), (_, b)| {
            let mut orders = (0..COUNT).map(|at| order(a, b, at));
            orders.find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        });
        let mut places = vec![0; cells.len()];
        cells.iter().enumerate().for_each(|(place, (at, _))| places[*at] = place);
        self.cells = cells.into_iter().map(|(_, cell)| cell).collect();
        self.trials.iter_mut().for_each(|trial| trial.cell = places[trial.cell]);
    }

    /// A figure of a trial, if it has one.
    pub(crate) fn value(&self, trial: usize, value: Value) -> Option<f64> {
        Some(self.values[trial * VALUES + value.at()]).filter(|value| value.is_finite())
    }

    /// The trials of a cell that count.
    pub(crate) fn counting(&self, cell: usize) -> Vec<usize> {
        let valid = |&trial: &usize| self.trials[trial].is_valid();
        let valid = self.cells[cell].trials.iter().copied().filter(valid).collect();
        gates::counting(valid, |&trial| self.trials[trial].is_marked)
    }

    /// The median of a figure in a cell.
    pub(crate) fn estimate(&self, cell: usize, value: impl Fn(usize) -> Option<f64>) -> Option<Estimate> {
        let trials = self.counting(cell);
        let mut values: Vec<f64> = trials.iter().filter_map(|&trial| value(trial)).collect();
        values.sort_unstable_by(f64::total_cmp);
        let median = Median::of_sorted(&values)?;
        let mut calls: Vec<f64> = trials.iter().filter_map(|&trial| self.value(trial, Value::PerCall)).collect();
        calls.sort_unstable_by(f64::total_cmp);
        let per_call = crate::stats::median_of_sorted(&calls);
        let is_limited = trials.iter().any(|&trial| self.trials[trial].is_limited);
        Some(Estimate { median, trials: values.len(), per_call, is_limited })
    }

    /// Why a trial says nothing.
    pub(crate) fn reason(&self, trial: &Trial) -> &str {
        self.reasons.first(trial.reason)
    }

    /// How many runs there are.
    pub(crate) fn runs(&self) -> usize {
        self.runs.fields.len()
    }

    /// The different values of a column of the cells, in their order.
    pub(crate) fn distinct(&self, name: &str) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for cell in &self.cells {
            let value = cell.field(name);
            if !value.is_empty() && !found.contains(&value) {
                found.push(value);
            }
        }
        match name {
            "kernel" => found.sort_by(|a, b| By::Column("kernel").order(a, b)),
            "scenario" | "backend" | "file" | "host" => {}
            _ => found.sort_by(|a, b| natural(a, b).then_with(|| a.cmp(b))),
        }
        found
    }
}
