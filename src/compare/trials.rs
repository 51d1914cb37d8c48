//! The trials that are compared, without what comparing them does not need: a file may have 100,000.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use csv::StringRecord;

use crate::compare::axes::{self, AXES, By, CIRCUMSTANCES, CONDITIONAL, CONDITIONS};
use crate::compare::messages::Messages;
use crate::compare::metrics::{self, METRICS, Metric, Value};
use crate::gates::{self, Sign};
use crate::record::format;
use crate::record::row::{Row, SCHEMA, State};

/// The most values of a circumstance, and variants, that are kept for each side, to be named.
const NAMED_MAX: usize = 8;

/// One trial.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// Which cell, apart from what is compared by.
    pub cell: usize,
    /// Which conditions it had.
    pub conditions: usize,
    /// On which side it is.
    pub side: usize,
    /// Which run and block it is of.
    pub block: usize,
    /// What it says.
    pub state: State,
    /// Why it says nothing.
    reason: usize,
    /// Whether the load was too small to tell.
    pub limited: bool,
    /// Whether the machine was not as usual.
    pub marked: bool,
    /// Datagrams per system call.
    pub per_call: f64,
    attempt: usize,
    sign: Sign,
}

/// Texts by number.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<String, usize>,
    /// The fields of each text.
    pub fields: Vec<Vec<String>>,
}

impl Names {
    /// The number of a list of texts; `joined` is room to put them into.
    pub(crate) fn number<'f>(&mut self, joined: &mut String, fields: impl Iterator<Item = &'f str> + Clone) -> usize {
        joined.clear();
        for field in fields.clone() {
            // Lengths keep lists apart, whatever is in the fields.
            joined.push(length(field));
            joined.push_str(field);
        }
        if let Some(&number) = self.numbers.get(joined.as_str()) {
            return number;
        }
        self.fields.push(fields.map(str::to_owned).collect());
        self.numbers.insert(joined.clone(), self.fields.len() - 1);
        self.fields.len() - 1
    }

    /// The first field of a text.
    pub(crate) fn first(&self, number: usize) -> &str {
        self.fields.get(number).and_then(|fields| fields.first()).map_or("", String::as_str)
    }
}

/// A character for each length of a field; longer ones than any that hpbench writes share one.
fn length(field: &str) -> char {
    u32::try_from(field.len()).ok().and_then(char::from_u32).unwrap_or(char::MAX)
}

/// All trials, of each the last attempt.
#[derive(Debug)]
pub(crate) struct Trials {
    /// What tells sides apart.
    pub by: By,
    /// Which metrics there are values of.
    pub metrics: Vec<&'static Metric>,
    /// The trials.
    pub list: Vec<Trial>,
    /// Their values of all metrics, one trial after the other; NaN where there is none.
    values: Vec<f64>,
    /// The fields of [`AXES`] of each cell; empty where they may differ.
    pub cells: Names,
    /// The fields of [`CONDITIONS`] and [`CONDITIONAL`] of each kind of conditions.
    pub conditions: Names,
    /// The name of each side.
    pub sides: Names,
    /// Of each side the variants that are in it.
    pub variants: Vec<Vec<String>>,
    /// Of each side the values of [`CIRCUMSTANCES`].
    pub circumstances: Vec<Vec<Vec<String>>>,
    /// How many rows of the null backend were left out.
    pub without_kernel: usize,
    /// The last attempts at their trials, by run and place in it: they tell of the machine all the same.
    signs_without_kernel: HashMap<(usize, usize), (usize, Sign)>,
    reasons: Names,
    runs: Names,
    blocks: HashMap<(usize, usize), usize>,
    /// Where each trial is in the list.
    known: HashMap<(usize, usize, usize, usize, usize), usize>,
    columns: Columns,
    joined: String,
}

/// Where columns are in a row.
#[derive(Debug)]
struct Columns {
    by: Option<usize>,
    cell: Vec<Option<usize>>,
    conditions: Vec<Option<usize>>,
    circumstances: Vec<usize>,
}

impl Columns {
    fn of(by: &By) -> Self {
        let header = format::header();
        let all = format::columns(&header);
        let at = |name: &str| all.iter().position(|column| *column == name);
        let unless_free = |name: &str| if by.frees(name) { None } else { at(name) };
        let in_cell = |name: &&str| if CONDITIONAL.contains(name) { None } else { unless_free(name) };
        Self {
            by: at(by.name()),
            cell: AXES.iter().map(in_cell).collect(),
            conditions: CONDITIONS.iter().chain(&CONDITIONAL).map(|name| unless_free(name)).collect(),
            circumstances: CIRCUMSTANCES.iter().filter_map(|name| at(name)).collect(),
        }
    }
}

/// Columns of fractions that are no metric.
const FRACTIONS: [(&str, Value); 8] = [
    ("duration_target_s", |row| row.duration_target_s),
    ("warmup_s", |row| Some(row.warmup_s)),
    ("duration_s", |row| row.duration_s),
    ("busy_pct", |row| row.busy_pct),
    ("batch_mean", |row| row.batch_mean),
    ("kernel_batch_mean", |row| row.kernel_batch_mean),
    ("steal_pct", |row| row.steal_pct),
    ("canary_ratio", |row| row.canary_ratio),
];

impl Trials {
    /// Without trials. `metrics` are those that the user chose; without, there are all that are compared by default.
    pub(crate) fn new(by: By, metrics: &[&'static Metric]) -> Self {
        let columns = Columns::of(&by);
        let mut chosen: Vec<&'static Metric> = Vec::new();
        let defaults = ["drain", "flood", "echo"].map(|scenario| metrics::defaults(scenario, "")).concat();
        let defaults =
            defaults.iter().chain(metrics::defaults("drain", "icount")).filter_map(|name| metrics::find(name));
        let wanted: Vec<_> = if metrics.is_empty() { defaults.collect() } else { metrics.to_vec() };
        wanted.into_iter().for_each(|metric| {
            if !chosen.contains(&metric) {
                chosen.push(metric);
            }
        });
        Self {
            by,
            metrics: chosen,
            list: Vec::new(),
            values: Vec::new(),
            cells: Names::default(),
            conditions: Names::default(),
            sides: Names::default(),
            variants: Vec::new(),
            circumstances: Vec::new(),
            without_kernel: 0,
            signs_without_kernel: HashMap::new(),
            reasons: Names::default(),
            runs: Names::default(),
            blocks: HashMap::new(),
            known: HashMap::new(),
            columns,
            joined: String::new(),
        }
    }

    /// The trials of rows that are in memory; what cannot be compared is left out.
    pub(crate) fn of_rows<'r>(by: By, rows: impl Iterator<Item = &'r Row>) -> Self {
        let mut trials = Self::new(by, &[]);
        for row in rows {
            let Ok(fields) = format::fields(&format::encode(row, false)) else { continue };
            let _ = trials.add(&fields, row, "");
        }
        trials.mark();
        trials
    }

    /// Adds a row; `file` is the name of the side where files are compared.
    ///
    /// # Errors
    ///
    /// Why this row cannot be compared.
    pub(crate) fn add(&mut self, fields: &StringRecord, row: &Row, file: &str) -> Result<(), String> {
        if row.schema != SCHEMA {
            return Err(format!("its schema is {}, and this version of hpbench reads {SCHEMA}", row.schema));
        }
        let all = METRICS.iter().map(|metric| (metric.name, metric.value)).chain(FRACTIONS);
        for (name, value) in all {
            if let Some(value) = value(row).filter(|value| !(0.0..f64::INFINITY).contains(value)) {
                return Err(format!("{name} is {value}, which nobody can have measured"));
            }
        }
        let run = self.runs.number(&mut self.joined, std::iter::once(row.run_id.as_str()));
        if row.backend == "null" && self.by.frees("backend") {
            self.without_kernel += 1;
            let last = self.signs_without_kernel.entry((run, row.order)).or_insert((0, row.sign(run)));
            if last.0 <= row.attempt {
                *last = (row.attempt, row.sign(run));
            }
            return Ok(());
        }
        let field = |at: usize| fields.get(at).unwrap_or_default();
        let or_empty = |at: &Option<usize>| at.map_or("", field);
        let variant = format!("{}:{}", row.backend, row.variant);
        let side = match (&self.by, self.columns.by) {
            (By::Column("variant"), _) => variant.as_str(),
            (_, Some(at)) => field(at),
            (_, None) => file,
        };
        let joined = &mut self.joined;
        let side = self.sides.number(joined, std::iter::once(side));
        let decided = self.by.decides_variants();
        let asked_for = decided.then(|| axes::asked_for(&row.backend, &row.variant, &row.addressing));
        let in_cell = |(axis, at): (&&str, &Option<usize>)| match &asked_for {
            Some(asked_for) if *axis == "variant" => asked_for.as_str(),
            _ => or_empty(at),
        };
        let cell = self.cells.number(joined, AXES.iter().zip(&self.columns.cell).map(in_cell));
        let conditions = self.conditions.number(joined, self.columns.conditions.iter().map(or_empty));
        self.note_differences(side, fields, variant, row.is_failed());
        let next = self.blocks.len();
        let block = *self.blocks.entry((run, row.trial)).or_insert(next);
        let (state, why) = (row.state(), row.why());
        let reason = self.reasons.number(&mut self.joined, std::iter::once(&*why));
        let trial = Trial {
            cell,
            conditions,
            side,
            block,
            state,
            reason,
            limited: row.generator_limited == Some(1),
            marked: false,
            per_call: row.per_call().unwrap_or(f64::NAN),
            attempt: row.attempt,
            sign: row.sign(run),
        };
        self.put((side, cell, run, row.order, row.trial), trial, row);
        Ok(())
    }

    /// Puts a trial into the list, or in the place of an earlier attempt at it.
    fn put(&mut self, identity: (usize, usize, usize, usize, usize), trial: Trial, row: &Row) {
        let values = self.metrics.iter().map(|metric| (metric.value)(row).unwrap_or(f64::NAN));
        match self.known.entry(identity) {
            Entry::Vacant(entry) => {
                entry.insert(self.list.len());
                self.list.push(trial);
                self.values.extend(values);
            }
            Entry::Occupied(entry) if self.list[*entry.get()].attempt <= trial.attempt => {
                let (at, count) = (*entry.get(), self.metrics.len());
                self.list[at] = trial;
                self.values[at * count..][..count].iter_mut().zip(values).for_each(|(old, new)| *old = new);
            }
            Entry::Occupied(_) => {}
        }
    }

    fn note_differences(&mut self, side: usize, fields: &StringRecord, variant: String, is_failed: bool) {
        if side == self.variants.len() {
            self.variants.push(Vec::new());
            self.circumstances.push(vec![Vec::new(); CIRCUMSTANCES.len()]);
        }
        if self.variants[side].len() < NAMED_MAX && !self.variants[side].contains(&variant) {
            self.variants[side].push(variant);
        }
        for (known, at) in self.circumstances[side].iter_mut().zip(&self.columns.circumstances) {
            let value = fields.get(*at).unwrap_or_default();
            // What failed early does not tell.
            if value.is_empty() && is_failed {
                continue;
            }
            if known.len() < NAMED_MAX && !known.iter().any(|known| known == value) {
                known.push(value.to_owned());
            }
        }
    }

    /// The value of a metric in a trial, if it has one.
    pub(crate) fn value(&self, trial: usize, metric: usize) -> Option<f64> {
        let value = self.values.get(trial * self.metrics.len() + metric).copied();
        value.filter(|value| !value.is_nan())
    }

    /// Marks the trials in which the machine was not as usual, once all are there.
    pub(crate) fn mark(&mut self) {
        let others = self.signs_without_kernel.values().map(|(_, sign)| *sign);
        let marks = gates::marks(self.list.iter().map(|trial| trial.sign).chain(others));
        self.list.iter_mut().zip(marks).for_each(|(trial, marked)| trial.marked = marked);
    }

    /// Why trials in this state say nothing.
    pub(crate) fn reasons(&self, state: State) -> Messages<()> {
        let trials = self.list.iter().filter(|trial| trial.state == state);
        Messages::of(trials.map(|trial| ((), self.reasons.first(trial.reason))))
    }
}
