//! The trials of a dataset, sorted into sides, cells and conditions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::compare::axes::{self, By};
use crate::compare::dataset::{Attempt, Dataset};
use crate::compare::merged::Latencies;
use crate::compare::messages::Messages;
use crate::compare::metrics::{self, Metric};
use crate::compare::numbers::Numbers;
use crate::compare::releases::Builds;
use crate::gates;
use crate::record::cell::{CellKey, MAY_DIFFER, MUST_BE_EQUAL};
use crate::record::columns::Column;
use crate::record::row::State;

/// The most values of a circumstance, and the most variants, that are kept for each side, to be named.
const NAMED_MAX: usize = 8;

/// Why trials cannot be related to those of a backend.
#[derive(Debug, thiserror::Error)]
#[error("--relative-to {backend}: {why}")]
pub(crate) struct NoReference {
    backend: String,
    why: String,
}

/// Where a trial is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    /// The attempt that counts.
    at: u32,
    /// Its cell, without what distinguishes the sides.
    pub cell: u32,
    /// Its conditions.
    pub conditions: u32,
    /// Its side.
    pub side: u32,
}

/// What is known about a side besides its trials.
#[derive(Debug)]
struct Side {
    /// Its variants.
    variants: Vec<String>,
    /// Its values of each of [`MAY_DIFFER`].
    circumstances: Vec<Vec<String>>,
}

/// All trials to compare, each as the attempt that counts.
#[derive(Debug)]
pub(crate) struct Trials<'d> {
    /// What distinguishes the sides.
    pub by: By,
    /// The metrics to compare.
    pub metrics: Vec<Metric>,
    /// The trials.
    pub list: Vec<Placed>,
    /// Whether trials of the null backend were left out.
    pub is_without_null: bool,
    data: &'d Dataset,
    /// The cells, without what may differ and what is among the conditions.
    cells: Numbers,
    /// The texts of [`MUST_BE_EQUAL`], except what may differ.
    conditions: Numbers,
    names: Numbers,
    /// The builds of kernels, if these are compared.
    builds: Builds,
    /// Whether buffers distinguish sides: there are several numbers of them, and they are not in the cell.
    tells_buffers: bool,
    sides: Vec<Side>,
    /// The reference attempt of each trial; empty if there are none.
    references: Vec<Option<u32>>,
}

impl<'d> Trials<'d> {
    /// Sorts a dataset into the sides that `by` makes. `metrics` are those that the user chose; if empty, all defaults.
    pub(crate) fn new(data: &'d Dataset, by: By, metrics: &[Metric]) -> Self {
        let mut chosen: Vec<Metric> = Vec::new();
        for metric in if metrics.is_empty() { metrics::all_defaults() } else { metrics.to_vec() } {
            if !chosen.contains(&metric) {
                chosen.push(metric);
            }
        }
        let mut trials = Self {
            by,
            metrics: chosen,
            list: Vec::new(),
            is_without_null: false,
            data,
            cells: Numbers::default(),
            conditions: Numbers::default(),
            names: Numbers::default(),
            builds: Builds::default(),
            tells_buffers: false,
            sides: Vec::new(),
            references: Vec::new(),
        };
        trials.sort();
        trials
    }

    fn sort(&mut self) {
        let data = self.data;
        if self.by == By::Column(Column::kernel) {
            for attempt in &data.attempts {
                self.builds.note(data.text(attempt, Column::kernel), data.text(attempt, Column::kernel_build));
            }
        }
        if self.by.frees(Column::buffers) {
            let buffers = data.attempts.iter().map(|attempt| data.text(attempt, Column::buffers));
            let several: BTreeSet<&str> = buffers.filter(|buffers| !buffers.is_empty()).collect();
            self.tells_buffers = several.len() > 1;
        }
        let mut known: HashMap<(u32, u32, u32, State), Option<Placed>> = HashMap::new();
        // All attempts, even those that do not count: numbers are in the order in which they are found.
        let place = |attempt: &Attempt| {
            let key = (attempt.cell, attempt.circumstances, attempt.file, attempt.state);
            *known.entry(key).or_insert_with(|| self.place(attempt))
        };
        let mut all: Vec<Option<Placed>> = data.attempts.iter().map(place).collect();
        // A trial is listed at the position of its first attempt.
        for at in data.last_attempts(self.by == By::File || data.files.len() < 2) {
            self.list.extend(all[at as usize].take().map(|placed| Placed { at, ..placed }));
        }
    }

    /// The place of an attempt; `None` for the null backend, which is not compared with others.
    fn place(&mut self, attempt: &Attempt) -> Option<Placed> {
        if !axes::has_socket(self.data.text(attempt, Column::backend)) && self.by.frees(Column::backend) {
            self.is_without_null = true;
            return None;
        }
        let side = self.side_of(attempt);
        self.note_differences(side, attempt);
        Some(Placed { at: 0, cell: self.cell_of(attempt), conditions: self.conditions_of(attempt), side })
    }

    /// The number of the side that an attempt is on.
    fn side_of(&mut self, attempt: &Attempt) -> u32 {
        let data = self.data;
        match self.by {
            By::File => self.names.number_of(&data.files[attempt.file as usize]),
            By::Column(Column::variant) => self.names.number_of(&self.variant(attempt)),
            By::Column(Column::kernel) => {
                let [release, build] = [Column::kernel, Column::kernel_build].map(|column| data.text(attempt, column));
                self.names.number_of(&self.builds.name(release, build))
            }
            By::Column(column) => self.names.number_of(data.text(attempt, column)),
        }
    }

    /// The backend and the variant of an attempt, and its buffers, if there are several numbers of them.
    fn variant(&self, attempt: &Attempt) -> String {
        let [backend, variant, buffers] =
            [Column::backend, Column::variant, Column::buffers].map(|column| self.data.text(attempt, column));
        axes::side(backend, variant, Some(buffers).filter(|buffers| self.tells_buffers && !buffers.is_empty()))
    }

    fn cell_of(&mut self, attempt: &Attempt) -> u32 {
        let (data, by) = (self.data, &self.by);
        let text = |axis| data.text(attempt, axis);
        let asked_for = by.decides_variants().then(|| {
            let of = [text(Column::addressing), text(Column::sockets)];
            axes::asked_for(text(Column::backend), text(Column::variant), of)
        });
        let in_cell = |&axis: &Column| match &asked_for {
            _ if axis.role().must_be_equal() || by.frees(axis) || by.decides(axis, text) => "",
            Some(asked_for) if axis == Column::variant => asked_for,
            _ => text(axis),
        };
        self.cells.number(crate::record::cell::AXES.iter().map(in_cell))
    }

    fn conditions_of(&mut self, attempt: &Attempt) -> u32 {
        let (data, by) = (self.data, &self.by);
        let text = |&column: &Column| if by.frees(column) { "" } else { data.text(attempt, column) };
        self.conditions.number(MUST_BE_EQUAL.iter().map(text))
    }

    fn note_differences(&mut self, side: u32, attempt: &Attempt) {
        let (data, variant) = (self.data, self.variant(attempt));
        if self.sides.len() <= side as usize {
            self.sides.push(Side { variants: Vec::new(), circumstances: vec![Vec::new(); MAY_DIFFER.len()] });
        }
        let Side { variants, circumstances } = &mut self.sides[side as usize];
        if variants.len() < NAMED_MAX && !variants.contains(&variant) {
            variants.push(variant);
        }
        for (known, column) in circumstances.iter_mut().zip(MAY_DIFFER) {
            let value = data.text(attempt, *column);
            // Trials that failed early have no values.
            if value.is_empty() && attempt.state == State::Failed {
                continue;
            }
            if known.len() < NAMED_MAX && !known.iter().any(|known| known == value) {
                known.push(value.to_owned());
            }
        }
    }

    /// The attempt that counts of a trial of [`Self::list`].
    pub(crate) fn attempt(&self, trial: usize) -> &'d Attempt {
        &self.data.attempts[self.list[trial].at as usize]
    }

    /// The text in a column of a trial's cell or circumstances.
    pub(crate) fn text(&self, trial: usize, column: Column) -> &'d str {
        self.data.text(self.attempt(trial), column)
    }

    /// The value of a metric in a trial, if it has one; relative to that of its reference trial, if any.
    pub(crate) fn value(&self, trial: usize, metric: Metric) -> Option<f64> {
        let value = self.data.value(self.list[trial].at as usize, metric.column)?;
        match self.references.get(trial) {
            None => Some(value),
            Some(reference) => {
                let reference = self.data.value((*reference)? as usize, metric.column)?;
                Some(value / reference).filter(|relative| relative.is_finite())
            }
        }
    }

    /// The latencies of a trial, if they and those of its reference trial, if any, are known.
    pub(crate) fn latencies(&self, trial: usize) -> Option<Latencies<'d>> {
        let (attempt, own) = (self.attempt(trial), self.data.tail(self.list[trial].at as usize)?);
        let reference = match self.references.get(trial) {
            None => None,
            Some(reference) => Some(self.data.tail((*reference)? as usize)?),
        };
        Some(Latencies { block: attempt.block as usize, run: attempt.run, own, reference })
    }

    /// Gives each trial a reference: that of `backend` in the same block and the same cell, except for the backend.
    /// Trials that would not count on a side are not references. The trials of that backend, which would all be 1, are
    /// left out.
    ///
    /// # Errors
    ///
    /// If there is no such backend, no other backend, or more than one variant of it.
    pub(crate) fn relate_to(&mut self, backend: &str) -> Result<(), NoReference> {
        const OWN: [Column; 3] = [Column::backend, Column::variant, Column::buffers];
        let data = self.data;
        let mut cells = Numbers::default();
        let texts = |attempt: &Attempt| {
            let decides = |axis| By::Column(Column::backend).decides(axis, |column| data.text(attempt, column));
            data.cell(attempt.cell).without(|axis| OWN.contains(&axis) || decides(axis))
        };
        let mut known: HashMap<u32, u32> = HashMap::new();
        let mut key = |attempt: &Attempt| {
            let number = || cells.number(texts(attempt).iter().map(|(_, text)| text));
            (attempt.file, attempt.block, *known.entry(attempt.cell).or_insert_with(number))
        };
        let of = |at: u32| &data.attempts[at as usize];
        let is_reference = |placed: &Placed| data.text(of(placed.at), Column::backend) == backend;
        let mut valid: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut variants: Vec<&str> = Vec::new();
        for placed in self.list.iter().filter(|placed| is_reference(placed)) {
            let attempt = of(placed.at);
            let variant = data.text(attempt, Column::variant);
            if !variants.contains(&variant) {
                variants.push(variant);
            }
            if attempt.state == State::Valid && !attempt.is_limited {
                valid.entry(attempt.cell).or_default().push(placed.at);
            }
        }
        let failed = |why: String| Err(NoReference { backend: backend.into(), why });
        match variants.len() {
            0 => return failed("no trial is of this backend".into()),
            1 => {}
            _ => return failed(format!("it has several variants here ({})", variants.join(", "))),
        }
        let counting = valid.into_values().flat_map(|valid| gates::counting(valid, |&at| of(at).is_marked));
        let references: HashMap<(u32, u32, u32), u32> = counting.map(|at| (key(of(at)), at)).collect();
        self.list.retain(|placed| !is_reference(placed));
        if self.list.is_empty() {
            return failed("all trials are of this backend".into());
        }
        self.references = self.list.iter().map(|placed| references.get(&key(of(placed.at))).copied()).collect();
        Ok(())
    }

    /// When a run began, by its rows.
    pub(crate) fn started(&self, run: u32) -> &str {
        self.data.started(run)
    }

    /// The pair that a run belongs to, if any.
    pub(crate) fn pair(&self, run: u32) -> Option<u32> {
        self.data.pair(run)
    }

    /// A cell by its number, without what may differ and what is among the conditions.
    pub(crate) fn cell(&self, number: u32) -> CellKey {
        CellKey::of_texts(self.cells.list(number).clone())
    }

    /// The text of some conditions in one of [`MUST_BE_EQUAL`].
    pub(crate) fn condition(&self, conditions: u32, column: Column) -> &str {
        let at = MUST_BE_EQUAL.iter().position(|condition| *condition == column);
        at.map_or("", |at| self.conditions.list(conditions).get(at))
    }

    /// A cell with its values on axes that must be equal.
    pub(crate) fn full_cell(&self, cell: u32, conditions: Option<u32>) -> CellKey {
        let cell = self.cell(cell);
        CellKey::of(|axis| match conditions {
            Some(conditions) if axis.role().must_be_equal() => self.condition(conditions, axis),
            _ => cell.get(axis),
        })
    }

    /// The accelerators of all conditions.
    pub(crate) fn accels(&self) -> impl Iterator<Item = &str> {
        (0..self.conditions.len() as u32).map(|conditions| self.condition(conditions, Column::accel))
    }

    /// How many sides there are.
    pub(crate) fn side_count(&self) -> usize {
        self.names.len()
    }

    /// The name of a side.
    pub(crate) fn side(&self, side: u32) -> &str {
        self.names.text(side)
    }

    /// The variants on a side.
    pub(crate) fn variants(&self, side: u32) -> &[String] {
        &self.sides[side as usize].variants
    }

    /// The values of one of [`MAY_DIFFER`] on a side.
    pub(crate) fn circumstances(&self, side: u32, column: Column) -> &[String] {
        let at = MAY_DIFFER.iter().position(|circumstance| *circumstance == column);
        at.map_or(&[], |at| &self.sides[side as usize].circumstances[at])
    }

    /// Why trials in this state are unusable.
    pub(crate) fn reasons(&self, state: State) -> Messages<()> {
        let trials = (0..self.list.len()).map(|trial| self.attempt(trial)).filter(|attempt| attempt.state == state);
        Messages::of(trials.map(|attempt| ((), self.data.reason(attempt))))
    }
}
