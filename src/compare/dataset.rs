//! All trials of some files, read once; only what comparisons and reports need is kept: a file may have 100,000 trials.
//!
//! Two rules that everything shares are here: only the last attempt at a trial counts, and the machine is judged by the
//! last attempts of a run ([`crate::gates::marks`]).

use std::collections::{BTreeMap, HashMap};

use csv::StringRecord;

use crate::compare::metrics;
use crate::compare::numbers::Numbers;
use crate::console::printable;
use crate::gates::{self, Sign};
use crate::record::cell::{AXES, CellKey, Circumstances};
use crate::record::column::FieldType;
use crate::record::columns::Column;
use crate::record::format;
use crate::record::lat_tail::{self, LatTail};
use crate::record::row::{Row, SCHEMA, State};
use crate::stats::Summary;

/// The columns that identify a machine.
pub(crate) const MACHINE: [Column; 3] = [Column::host, Column::kernel, Column::accel];

/// One row: an attempt at a trial.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Its file.
    pub file: u32,
    /// Its run, in whatever files.
    pub run: u32,
    /// Its block, of one run on one machine: the guests of a lab, which run one after the other, share no block.
    pub block: u32,
    /// Its cell: see [`Dataset::cell`].
    pub cell: u32,
    /// Its circumstances: see [`Dataset::circumstances`].
    pub circumstances: u32,
    /// Its state.
    pub state: State,
    /// Its number among the attempts at its trial.
    pub number: u32,
    /// Whether a later attempt replaces it.
    pub is_repeated: bool,
    /// Whether it is marked: the conditions were unusual.
    pub is_marked: bool,
    /// Whether the generators could not keep the load.
    pub is_limited: bool,
    /// Whether it is unusable because something disturbed it.
    pub is_disturbed: bool,
    /// How long a cache line took between its cores; NaN if not known.
    pub core_transfer_ns: f64,
    /// Datagrams per system call; NaN if not known.
    pub per_call: f64,
    /// How many trials it stands for: more than one in a condensed dataset.
    pub trials: u32,
    /// The position in the run.
    order: u32,
    reason: u32,
    steady: Option<bool>,
    canaries: [f32; 2],
    clock: u32,
}

impl Attempt {
    /// Its run in its file.
    pub(crate) fn run_in_file(&self) -> (u32, u32) {
        (self.run, self.file)
    }

    /// Whether it counts, apart from marks.
    pub(crate) fn is_valid(&self) -> bool {
        self.state == State::Valid && !self.is_repeated
    }
}

/// How far a dataset is condensed.
#[derive(Debug, Default)]
struct Condensed {
    /// The attempts that are.
    attempts: usize,
    /// The reasons that they have.
    reasons: usize,
    /// The number of the one block of each run on each machine.
    blocks: HashMap<(u32, u32), u32>,
}

/// An attempt that stands for several, with its numbers.
struct One {
    attempt: Attempt,
    values: Vec<f64>,
    tail: LatTail,
}

/// All trials of some files.
#[derive(Debug)]
pub(crate) struct Dataset {
    /// The names of the files.
    pub files: Vec<String>,
    /// Every row, in the order of the files.
    pub attempts: Vec<Attempt>,
    /// The columns whose numbers are kept.
    kept: Vec<Column>,
    /// The numbers, column by column; NaN if there is none. A column ends with the last row that has a number in it.
    values: Vec<Vec<f64>>,
    /// The latencies of attempts, if a kept column is a high quantile; up to the last row that has some.
    tails: Vec<LatTail>,
    cells: Numbers,
    circumstances: Numbers,
    reasons: Numbers,
    runs: Numbers,
    /// For each run, when it began and its pair.
    begun: Vec<(String, Option<u32>)>,
    clocks: Numbers,
    /// The number of each block, by run, machine and number in the run.
    blocks: HashMap<(u32, u32, usize), u32>,
    /// How many blocks were numbered.
    block_count: u32,
    /// For each cell, the number of the planned cell: the effective round may differ between attempts.
    planned: Vec<u32>,
    plans: Numbers,
    /// For each set of circumstances, the number of the machine.
    machine: Vec<u32>,
    machines: Numbers,
    /// The columns of fractions, which cannot be negative or infinite.
    fractions: Vec<Column>,
    /// What is condensed so far, if it is.
    condensed: Option<Condensed>,
}

impl Dataset {
    /// A dataset without trials, which will keep the numbers in these columns.
    pub(crate) fn new(kept: impl IntoIterator<Item = Column>) -> Self {
        let mut columns: Vec<Column> = kept.into_iter().collect();
        columns.sort_unstable();
        columns.dedup();
        Self {
            files: Vec::new(),
            attempts: Vec::new(),
            values: vec![Vec::new(); columns.len()],
            kept: columns,
            tails: Vec::new(),
            cells: Numbers::default(),
            circumstances: Numbers::default(),
            reasons: Numbers::default(),
            runs: Numbers::default(),
            begun: Vec::new(),
            clocks: Numbers::default(),
            blocks: HashMap::new(),
            block_count: 0,
            planned: Vec::new(),
            plans: Numbers::default(),
            machine: Vec::new(),
            machines: Numbers::default(),
            fractions: Column::all(|column| column.field_type == FieldType::Fraction).collect(),
            condensed: None,
        }
    }

    /// A dataset that keeps one attempt for each cell of each run, once its file is read: with the medians of the trials
    /// that count, and all their latencies. It grows with runs and cells, not with trials.
    pub(crate) fn condensed(kept: impl IntoIterator<Item = Column>) -> Self {
        Self { condensed: Some(Condensed::default()), ..Self::new(kept) }
    }

    /// The trials of rows in memory; rows with impossible values are left out.
    pub(crate) fn of_rows<'r>(kept: impl IntoIterator<Item = Column>, rows: impl Iterator<Item = &'r Row>) -> Self {
        let mut data = Self::new(kept);
        data.begin("");
        for row in rows {
            let Ok(fields) = format::fields(&format::encode(row, false)) else { continue };
            let _ = data.add(&fields, row);
        }
        data.finish();
        data
    }

    /// Begins the next file.
    pub(crate) fn begin(&mut self, file: &str) {
        self.condense();
        self.files.push(printable(file).into_owned());
    }

    /// Adds a row of that file.
    ///
    /// # Errors
    ///
    /// Why this row cannot be compared.
    pub(crate) fn add(&mut self, fields: &StringRecord, row: &Row) -> Result<(), String> {
        if row.schema != SCHEMA {
            return Err(format!("its schema is {}, and this version of hpbench reads {SCHEMA}", row.schema));
        }
        for column in &self.fractions {
            if let Some(value) = column.number(row).filter(|value| !(0.0..f64::INFINITY).contains(value)) {
                return Err(format!("{} is {value}, which cannot have been measured", column.name()));
            }
        }
        let cell = self.note_cell(fields);
        let circumstances = self.note_circumstances(fields);
        let machine = self.machine[circumstances as usize];
        let run = self.runs.number_of(&row.run_id);
        match self.begun.get_mut(run as usize) {
            None => self.begun.push((row.started_at.clone(), row.pair)),
            Some((began, _)) if row.started_at < *began => began.clone_from(&row.started_at),
            Some(_) => {}
        }
        let next = self.block_count;
        let block = *self.blocks.entry((run, machine, row.trial)).or_insert(next);
        self.block_count += u32::from(block == next);
        self.attempts.push(Attempt {
            file: self.files.len().saturating_sub(1) as u32,
            run,
            block,
            cell,
            circumstances,
            state: row.state(),
            number: u32::try_from(row.attempt).unwrap_or(u32::MAX),
            is_repeated: false,
            is_marked: false,
            is_limited: row.generator_limited == Some(1),
            is_disturbed: row.is_disturbed(),
            core_transfer_ns: row.core_transfer_ns.unwrap_or(f64::NAN),
            per_call: row.per_call().unwrap_or(f64::NAN),
            trials: 1,
            order: u32::try_from(row.order).unwrap_or(u32::MAX),
            reason: self.reasons.number_of(&row.why()),
            steady: row.steady.map(|steady| steady != 0),
            canaries: [row.canary_ratio, row.kernel_canary_ratio]
                .map(|ratio| ratio.map_or(f32::NAN, |ratio| ratio as f32)),
            clock: self.clocks.number_of(&row.clocksource),
        });
        let at = self.attempts.len() - 1;
        for (column, values) in self.kept.iter().zip(&mut self.values) {
            if let Some(value) = column.number(row) {
                values.resize(at, f64::NAN);
                values.push(value);
            }
        }
        if !row.lat_tail.is_empty() && self.kept.iter().any(|column| metrics::tail(*column).is_some()) {
            self.tails.resize(at, LatTail::default());
            self.tails.push(row.lat_tail.clone());
        }
        Ok(())
    }

    fn note_cell(&mut self, fields: &StringRecord) -> u32 {
        let (cell, is_new) = self.cells.note(CellKey::texts(fields));
        if is_new {
            let planned = |&axis: &Column| if axis == Column::round { "" } else { axis.text(fields) };
            self.planned.push(self.plans.number(AXES.iter().map(planned)));
        }
        cell
    }

    fn note_circumstances(&mut self, fields: &StringRecord) -> u32 {
        let (circumstances, is_new) = self.circumstances.note(Circumstances::texts(fields));
        if is_new {
            self.machine.push(self.machines.number(MACHINE.iter().map(|column| column.text(fields))));
        }
        circumstances
    }

    /// Decides which attempts count and which are marked, once all rows are there.
    pub(crate) fn finish(&mut self) {
        self.condense();
        self.judge(0);
    }

    /// Decides which attempts from this one on count, and which are marked.
    fn judge(&mut self, first: usize) {
        for (at, last) in (first..).zip(self.last_of(first, true)) {
            self.attempts[at].is_repeated = last as usize != at;
        }
        // Repeated attempts say nothing about what is usual.
        let last = || self.attempts[first..].iter().filter(|attempt| !attempt.is_repeated);
        let mut runs: HashMap<u32, usize> = HashMap::new();
        for attempt in last() {
            let next = runs.len();
            runs.entry(attempt.run).or_insert(next);
        }
        let sign = |attempt: &Attempt| Sign {
            run: runs[&attempt.run],
            steady: attempt.steady,
            canaries: attempt.canaries.map(|ratio| Some(f64::from(ratio)).filter(|ratio| ratio.is_finite())),
            machine: self.machine(attempt),
            clock: attempt.clock,
        };
        let marks = gates::marks(last().map(sign));
        let last = self.attempts[first..].iter_mut().filter(|attempt| !attempt.is_repeated);
        last.zip(marks).for_each(|(attempt, is_marked)| attempt.is_marked = is_marked);
    }

    /// For each attempt, the one that counts among those at the same trial: the one with the highest number, and of
    /// equal ones the last in the files. Unless `files_apart`, a trial in several files is one trial.
    pub(crate) fn last_attempts(&self, files_apart: bool) -> Vec<u32> {
        self.last_of(0, files_apart)
    }

    /// The same for the attempts from one on.
    fn last_of(&self, first: usize, files_apart: bool) -> Vec<u32> {
        let identity = |attempt: &Attempt| {
            let file = if files_apart { attempt.file } else { 0 };
            ([file, attempt.block, self.planned[attempt.cell as usize]], attempt.order)
        };
        let of = |at: &u32| &self.attempts[*at as usize];
        // Sorted, not hashed: that takes a tenth of the memory, and files are nearly in this order.
        let mut order: Vec<u32> = (first as u32..self.attempts.len() as u32).collect();
        order.sort_by_key(|at| (identity(of(at)), of(at).number));
        let mut last = vec![0; order.len()];
        for trial in order.chunk_by(|a, b| identity(of(a)) == identity(of(b))) {
            // Equal numbers keep the order of the files.
            let counts = trial[trial.len() - 1];
            trial.iter().for_each(|&at| last[at as usize - first] = counts);
        }
        last
    }

    /// Replaces the attempts since the last time by one for each cell, state and circumstances of each run.
    fn condense(&mut self) {
        let Some(mut done) = self.condensed.take() else { return };
        self.judge(done.attempts);
        let mut groups: BTreeMap<[u32; 4], Vec<usize>> = BTreeMap::new();
        for (at, attempt) in self.attempts.iter().enumerate().skip(done.attempts).filter(|(_, one)| !one.is_repeated) {
            let key = [attempt.run, attempt.cell, attempt.circumstances, attempt.state as u32];
            groups.entry(key).or_default().push(at);
        }
        let reasons: Vec<String> =
            groups.values().map(|group| self.reason(&self.attempts[group[0]]).to_owned()).collect();
        let made: Vec<One> = groups.into_values().map(|group| self.one_of(group)).collect();
        self.attempts.truncate(done.attempts);
        self.values.iter_mut().for_each(|values| values.truncate(done.attempts));
        self.tails.truncate(done.attempts);
        self.reasons.truncate(done.reasons);
        self.blocks.clear();
        for (one, reason) in made.into_iter().zip(reasons) {
            let machine = self.machine(&one.attempt);
            let next = self.block_count;
            let block = *done.blocks.entry((one.attempt.run, machine)).or_insert(next);
            self.block_count += u32::from(block == next);
            let reason = self.reasons.number_of(&reason);
            let at = self.attempts.len();
            self.attempts.push(Attempt { block, reason, ..one.attempt });
            for (values, value) in self.values.iter_mut().zip(one.values) {
                if value.is_finite() {
                    values.resize(at, f64::NAN);
                    values.push(value);
                }
            }
            if !one.tail.is_empty() {
                self.tails.resize(at, LatTail::default());
                self.tails.push(one.tail);
            }
        }
        (done.attempts, done.reasons) = (self.attempts.len(), self.reasons.len());
        self.condensed = Some(done);
    }

    /// One attempt for several of a cell and a run in one state.
    fn one_of(&self, group: Vec<usize>) -> One {
        let first = self.attempts[group[0]].clone();
        let mut counting = self.counting(group);
        let limited = counting.iter().filter(|&&at| self.attempts[at].is_limited).count();
        let is_limited = gates::limits(limited, counting.len());
        counting.retain(|&at| is_limited || !self.attempts[at].is_limited);
        let middle = |numbers: &dyn Fn(usize) -> f64| {
            Summary::of(counting.iter().map(|&at| numbers(at)).filter(|number| number.is_finite()))
                .map_or(f64::NAN, |summary| summary.median)
        };
        let value = |&column: &Column| middle(&|at| self.value(at, column).unwrap_or(f64::NAN));
        let all: Option<Vec<&LatTail>> = counting.iter().map(|&at| self.tail(at)).collect();
        let tail = all.filter(|all| !all.is_empty()).map(|all| LatTail::of(&lat_tail::merged(all)));
        let mut transfers: Vec<f64> = counting.iter().map(|&at| self.attempts[at].core_transfer_ns).collect();
        transfers.retain(|ns| !ns.is_nan());
        transfers.sort_unstable_by(f64::total_cmp);
        let transfer = transfers.len().checked_sub(1).map_or(f64::NAN, |last| transfers[last / 2]);
        let attempt = Attempt {
            number: 1,
            is_marked: false,
            is_limited,
            core_transfer_ns: transfer,
            per_call: middle(&|at| self.attempts[at].per_call),
            trials: counting.len() as u32,
            steady: None,
            canaries: [f32::NAN; 2],
            ..first
        };
        One { attempt, values: self.kept.iter().map(value).collect(), tail: tail.unwrap_or_default() }
    }

    /// When a run began: the text of its first row.
    pub(crate) fn started(&self, run: u32) -> &str {
        &self.begun[run as usize].0
    }

    /// The pair that a run belongs to, if any.
    pub(crate) fn pair(&self, run: u32) -> Option<u32> {
        self.begun[run as usize].1
    }

    /// The number in a column of an attempt, if it has one; the column must be a kept one.
    pub(crate) fn value(&self, at: usize, column: Column) -> Option<f64> {
        let place = self.kept.binary_search(&column).ok()?;
        self.values[place].get(at).copied().filter(|value| value.is_finite())
    }

    /// The latencies of an attempt, if they are known and a kept column is a high quantile.
    pub(crate) fn tail(&self, at: usize) -> Option<&LatTail> {
        self.tails.get(at).filter(|tail| !tail.is_empty())
    }

    /// The text in a column of an attempt: a column of its cell or of its circumstances.
    pub(crate) fn text(&self, attempt: &Attempt, column: Column) -> &str {
        if column.role().is_axis() {
            CellKey::text_of(self.cells.list(attempt.cell), column)
        } else {
            Circumstances::text_of(self.circumstances.list(attempt.circumstances), column)
        }
    }

    /// A cell by its number.
    pub(crate) fn cell(&self, number: u32) -> CellKey {
        CellKey::of_texts(self.cells.list(number).clone())
    }

    /// Circumstances by their number.
    pub(crate) fn circumstances(&self, number: u32) -> Circumstances {
        Circumstances::of_texts(self.circumstances.list(number).clone())
    }

    /// The number of the planned cell of an attempt: the effective round may differ between attempts at one trial.
    pub(crate) fn planned(&self, attempt: &Attempt) -> u32 {
        self.planned[attempt.cell as usize]
    }

    /// The number of the machine of an attempt, by [`MACHINE`].
    pub(crate) fn machine(&self, attempt: &Attempt) -> u32 {
        self.machine[attempt.circumstances as usize]
    }

    /// Why an attempt is unusable.
    pub(crate) fn reason(&self, attempt: &Attempt) -> &str {
        self.reasons.text(attempt.reason)
    }

    /// The valid attempts that count.
    pub(crate) fn counting(&self, valid: Vec<usize>) -> Vec<usize> {
        gates::counting(valid, |&at| self.attempts[at].is_marked)
    }

    /// Puts the attempts into another order.
    pub(crate) fn reorder(&mut self, order: &[u32]) {
        let old = order.iter().map(|&at| at as usize);
        for values in self.values.iter_mut().filter(|values| !values.is_empty()) {
            *values = old.clone().map(|at| values.get(at).copied().unwrap_or(f64::NAN)).collect();
        }
        if !self.tails.is_empty() {
            self.tails = old.clone().map(|at| self.tails.get(at).cloned().unwrap_or_default()).collect();
        }
        self.attempts = old.map(|at| self.attempts[at].clone()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(order: usize, attempt: usize) -> Row {
        Row { schema: SCHEMA, order, attempt, trial: 1, run_id: "f00d".into(), valid: 1, ..Row::default() }
    }

    fn repeated(rows: &[Row]) -> Vec<bool> {
        Dataset::of_rows([], rows.iter()).attempts.iter().map(|attempt| attempt.is_repeated).collect()
    }

    #[test]
    fn the_last_attempt_counts_in_whatever_order_and_with_whatever_round() {
        assert_eq!(repeated(&[row(1, 1), row(1, 2), row(2, 1)]), [true, false, false]);
        assert_eq!(repeated(&[row(1, 2), row(1, 1)]), [false, true]);
        assert_eq!(repeated(&[row(1, 1), row(1, 1)]), [true, false], "of equal ones, the later");
        let smaller = Row { round: Some(96), ..row(1, 2) };
        assert_eq!(repeated(&[Row { round: Some(1024), ..row(1, 1) }, smaller]), [true, false]);
        assert_eq!(repeated(&[row(1, 1), Row { kernel: "6.1".into(), ..row(1, 2) }]), [false, false], "another guest");
    }

    #[test]
    fn trials_under_another_clock_source_are_marked() {
        let clocks = ["tsc", "tsc hpet", "tsc"].into_iter().zip(1..);
        let mut rows: Vec<Row> =
            clocks.map(|(clock, order)| Row { clocksource: clock.into(), ..row(order, 1) }).collect();
        let data = Dataset::of_rows([], rows.iter());
        assert_eq!(data.attempts.iter().map(|attempt| attempt.is_marked).collect::<Vec<_>>(), [false, true, false]);
        crate::record::row::mark(rows.iter_mut());
        assert_eq!(rows.iter().map(|row| row.marked).collect::<Vec<_>>(), [false, true, false], "a run marks the same");
    }

    #[test]
    fn a_trial_of_two_files_is_one_unless_they_are_apart() {
        let mut data = Dataset::new([]);
        let row = row(1, 1);
        let fields = format::fields(&format::encode(&row, false)).expect("a row");
        for file in ["a", "b"] {
            data.begin(file);
            data.add(&fields, &row).expect("a row that can be compared");
        }
        data.finish();
        assert!(data.attempts.iter().all(Attempt::is_valid));
        assert_eq!((data.last_attempts(true), data.last_attempts(false)), (vec![0, 1], vec![1, 1]));
    }

    #[test]
    fn what_is_kept_is_found_again_in_another_order() {
        let rows = [(1, 1.5), (2, 2.5)].map(|(order, ns)| Row {
            ns_per_packet_p50: Some(ns),
            lat_tail: if order == 1 { "1/64 7:1".parse().expect("a tail") } else { LatTail::default() },
            ..row(order, 1)
        });
        let mut data = Dataset::of_rows([Column::rx_pps, Column::ns_per_packet_p50], rows.iter());
        data.reorder(&[1, 0]);
        assert_eq!([0, 1].map(|at| data.value(at, Column::ns_per_packet_p50)), [Some(2.5), Some(1.5)]);
        assert_eq!((data.value(0, Column::rx_pps), data.value(0, Column::loss_pct)), (None, None));
        assert!(data.tails.is_empty(), "nothing needs them");
        let mut data = Dataset::of_rows([Column::lat_p99_ns], rows.iter());
        data.reorder(&[1, 0]);
        assert_eq!([0, 1].map(|at| data.tail(at).map(LatTail::samples)), [None, Some(1)]);
    }
}
