//! What is left of a plan whose run was started.

use std::collections::{HashMap, HashSet};

use super::{Begun, ResumeError};
use crate::console::printable;
use crate::gates::ATTEMPTS_MAX;
use crate::measure::remote::error::LinkError;
use crate::plan::cells::Cell;
use crate::plan::schedule::{Planned, Schedule};
use crate::record::columns::Column;
use crate::record::format;
use crate::record::row::{Row, Run};

/// What is left of a plan.
#[derive(Debug, Default)]
pub struct Rest {
    /// The rows that are there, each with the index of its cell: of each trial, the last attempt.
    pub rows: Vec<(usize, Row)>,
    /// The trials that are not settled.
    pub lacking: Lacking,
}

/// The trials of a plan that are not settled.
#[derive(Debug, Default)]
pub struct Lacking {
    schedule: Schedule,
    /// Of the trials that have rows, by their position: the next attempt, or none if they are settled.
    next: HashMap<usize, Option<Next>>,
}

/// The next attempt at a trial.
#[derive(Clone, Copy, Debug)]
struct Next {
    attempt: usize,
    /// Whether the last one says nothing of the trial, because the peer was lost: it is made however many there were.
    was_lost: bool,
}

impl Next {
    /// None if the trial need not be tried again after its last row so far.
    fn after(last: &Row) -> Option<Self> {
        let was_lost = LinkError::is_lost(&last.error);
        let is_open = last.valid != 1 && (was_lost || last.is_disturbed() && last.attempt < ATTEMPTS_MAX);
        is_open.then(|| Self { attempt: last.attempt.saturating_add(1), was_lost })
    }
}

impl Lacking {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.schedule.len() - self.next.values().filter(|next| next.is_none()).count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Leaves out those that have been tried that often.
    pub fn give_up_after(&mut self, tries: usize) {
        let is_too_often = |next: Next| next.attempt > tries && !next.was_lost;
        self.next.values_mut().filter(|next| next.is_some_and(is_too_often)).for_each(|next| *next = None);
    }

    /// In the order of the plan, each with the number of its next attempt.
    pub fn iter(&self) -> impl Iterator<Item = (Planned, usize)> {
        let attempt = |planned: &Planned| match self.next.get(&planned.order) {
            None => Some(1),
            Some(next) => next.map(|next| next.attempt),
        };
        self.schedule.iter().filter_map(move |planned| Some((planned, attempt(&planned)?)))
    }
}

impl Begun {
    /// What is left of the plan `schedule` of `run`.
    ///
    /// # Errors
    ///
    /// If a row is not one of that plan.
    pub fn rest(&self, run: &Run, cells: &[Cell], schedule: Schedule) -> Result<Rest, ResumeError> {
        let mut next = HashMap::new();
        let mut rows = Vec::with_capacity(self.rows.len());
        let trials = self.trials(schedule);
        for (index, row) in self.rows.iter().enumerate() {
            // A position that the plan does not have shows when the row is compared with another trial's.
            let Some(&planned) = trials.get(&row.order).or_else(|| trials.get(&1)) else { break };
            let expected = Row::planned(run, &cells[planned.cell], planned, String::new());
            if let Some(column) = differing(row, &expected) {
                return Err(self.other_plan(index + 1, column, (row, &expected), schedule.len()));
            }
            // The last row of a trial decides.
            next.insert(row.order, Next::after(row));
            rows.push((planned.cell, row.clone()));
        }
        Ok(Rest { rows: last_attempts(rows), lacking: Lacking { schedule, next } })
    }

    /// The trials that the rows name, and the first one, by their positions.
    fn trials(&self, schedule: Schedule) -> HashMap<usize, Planned> {
        let in_plan = |order: &usize| (1..=schedule.len()).contains(order);
        let named: HashSet<usize> = self.rows.iter().map(|row| row.order).filter(in_plan).chain([1]).collect();
        let last = named.iter().max().copied().unwrap_or(0);
        let planned = schedule.iter().take(last).filter(|planned| named.contains(&planned.order));
        planned.map(|planned| (planned.order, planned)).collect()
    }

    fn other_plan(&self, row: usize, column: Column, pair: (&Row, &Row), trials: usize) -> ResumeError {
        let (found, expected) = pair;
        let planned = if column == Column::order { format!("1 to {trials}") } else { cell_text(expected, column) };
        ResumeError::OtherPlan {
            path: self.path.clone(),
            row,
            column: column.name(),
            found: cell_text(found, column),
            planned,
        }
    }
}

/// The rows without those that a later attempt at the same trial has replaced.
fn last_attempts(mut rows: Vec<(usize, Row)>) -> Vec<(usize, Row)> {
    let mut replaced = HashSet::new();
    rows.reverse();
    rows.retain(|(_, row)| {
        let is_last = !replaced.contains(&row.order);
        if row.attempt > 1 {
            replaced.insert(row.order);
        }
        is_last
    });
    rows.reverse();
    rows
}

/// Columns that are the same in the whole run, besides axes.
const OF_RUN: [Column; 8] = [
    Column::schema,
    Column::run_id,
    Column::seed,
    Column::host,
    Column::state,
    Column::pair,
    Column::kernel,
    Column::peer_host,
];

/// Columns in which the trials of a run differ.
const OF_TRIAL: [Column; 23] = [
    Column::order,
    Column::trial,
    Column::scenario,
    Column::backend,
    Column::variant,
    Column::batch,
    Column::payload,
    Column::rate_pps,
    Column::burst,
    Column::window,
    Column::generators,
    Column::buffers,
    Column::fd_table,
    Column::fill_core,
    Column::sockets,
    Column::active,
    Column::skew,
    Column::work,
    Column::fanout,
    Column::min_wait,
    Column::flows,
    Column::sharding,
    Column::steer,
];

/// The first column in which a row is not the one that was planned. What differs for the whole run comes before
/// what differs for a trial, because another seed or another list of batches moves every trial to another place.
fn differing(found: &Row, planned: &Row) -> Option<Column> {
    let axes = Column::all(|column| column.role.is_axis());
    let others = axes.filter(|column| !OF_TRIAL.contains(column) && *column != Column::round);
    let mut columns = OF_RUN.into_iter().chain(others).chain(OF_TRIAL);
    let fits = match (found.round, planned.round) {
        // The round in effect may be smaller than the one asked for; a trial that failed has the one asked for.
        (Some(in_effect), Some(asked)) if !found.is_failed() => in_effect <= asked,
        (found, asked) => found == asked,
    };
    columns.find(|column| !column.is_same(found, planned)).or((!fits).then_some(Column::round))
}

/// The text in a column of a row, for messages.
fn cell_text(row: &Row, column: Column) -> String {
    let fields = format::fields(&format::encode(row, false));
    fields.map(|fields| printable(column.text(&fields)).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::resume::samples::{cells, csv, finished, read, run};

    fn rest_of(rows: &[Row]) -> Result<Rest, ResumeError> {
        let schedule = Schedule::new(cells().len(), 2, 7);
        read(&csv(rows)).expect("rows of ours").rest(&run(), &cells(), schedule)
    }

    #[test]
    fn what_has_no_row_is_lacking_in_the_order_of_the_plan() {
        let mut rows = finished(&run());
        assert!(rest_of(&rows).expect("of the plan").lacking.is_empty());
        rows[20].error = "it failed".into();
        rows[21].valid = 0;
        let gone: Vec<usize> = [25, 11, 3].map(|at| rows.remove(at).order).into();
        rows.reverse();
        let rest = rest_of(&rows).expect("of the plan");
        assert_eq!(
            rest.lacking
                .iter()
                .map(|(planned, _)| planned.order)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>(),
            gone
        );
        assert_eq!(rest.rows.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>(), rows);
        rows[0] =
            Row { error: "it stalled".into(), valid: 0, invalid_reason: "disturbed: x".into(), ..rows[0].clone() };
        let lacking = rest_of(&rows).expect("of the plan").lacking;
        assert!(lacking.iter().any(|(planned, attempt)| (planned.order, attempt) == (rows[0].order, 2)));
        let lost = LinkError::Lost("its output ended".into()).to_string();
        rows[0] = Row { error: lost, attempt: ATTEMPTS_MAX, invalid_reason: "".into(), ..rows[0].clone() };
        let mut lacking = rest_of(&rows).expect("of the plan").lacking;
        lacking.give_up_after(1);
        let again = (rows[0].order, ATTEMPTS_MAX + 1);
        assert!(lacking.iter().any(|(planned, attempt)| (planned.order, attempt) == again), "its peer was lost");
        let cells = cells();
        assert!(rest.rows.iter().all(|(cell, row)| cells[*cell].scenario.name() == row.scenario));
    }

    #[test]
    fn more_trials_than_the_file_was_begun_with_are_more_blocks_of_the_same_plan() {
        let rows = finished(&run());
        let schedule = Schedule::new(cells().len(), 5, 7);
        let rest = read(&csv(&rows)).expect("rows of ours").rest(&run(), &cells(), schedule).expect("of the plan");
        let expected: Vec<_> = schedule.iter().skip(rows.len()).map(|planned| (planned, 1)).collect();
        assert_eq!(rest.lacking.iter().collect::<Vec<_>>(), expected);
        assert_eq!(rest.lacking.len(), expected.len());
    }

    #[test]
    fn a_row_of_another_plan_is_named_with_what_differs() {
        type Change = fn(&mut Row);
        let changes: [(&str, Change); 39] = [
            ("schema", |row| row.schema += 1),
            ("run_id", |row| row.run_id = "beef".into()),
            ("seed", |row| row.seed += 1),
            ("host", |row| row.host = "home".into()),
            ("state", |row| row.state = "B".into()),
            ("pair", |row| row.pair = Some(3)),
            ("kernel", |row| row.kernel = "6.19".into()),
            ("wait", |row| row.wait = "block".into()),
            ("addressing", |row| row.addressing = "none".into()),
            ("bind", |row| row.bind = "::1".into()),
            ("workers", |row| row.workers = 2),
            ("handoff", |row| row.handoff = 1),
            ("fifo", |row| row.fifo = Some(1)),
            ("ring", |row| row.ring *= 2),
            ("verify", |row| row.verify = "full".into()),
            ("duration_target_s", |row| row.duration_target_s = None),
            ("warmup_s", |row| row.warmup_s = f64::NAN),
            ("order", |row| row.order = 3333),
            ("order", |row| row.order = 0),
            ("trial", |row| row.trial += 1),
            ("scenario", |row| row.scenario = "walk".into()),
            ("backend", |row| row.backend = "null".into()),
            ("variant", |row| row.variant = String::new()),
            ("batch", |row| row.batch = 2),
            ("payload", |row| row.payload = 32),
            ("rate_pps", |row| row.rate_pps = Some(77)),
            ("burst", |row| row.burst = Some(77)),
            ("window", |row| row.window = Some(2)),
            ("generators", |row| row.generators = Some(2)),
            ("buffers", |row| row.buffers = Some(8)),
            ("fd_table", |row| row.fd_table = "own".into()),
            ("sockets", |row| row.sockets = Some(7)),
            ("active", |row| row.active = Some(7)),
            ("skew", |row| row.skew = Some(0.5)),
            ("fanout", |row| row.fanout = Some(7)),
            ("min_wait", |row| row.min_wait = "8:50".into()),
            ("flows", |row| row.flows = Some(7)),
            ("sharding", |row| row.sharding = "single".into()),
            ("steer", |row| row.steer = "cpu".into()),
        ];
        for (column, change) in changes {
            let mut rows = finished(&run());
            change(&mut rows[5]);
            let error = rest_of(&rows).expect_err(column);
            let ResumeError::OtherPlan { row: 6, column: found, .. } = &error else { panic!("{column}: {error}") };
            assert_eq!(*found, column, "{error}");
            assert!(error.to_string().contains(&format!("its {column} is '")), "{error}");
        }
        let mut rows = finished(&run());
        rows[0].order = 3333;
        let message = rest_of(&rows).expect_err("no such trial").to_string();
        assert!(message.contains("its order is '3333', and '1 to "), "{message}");
    }

    #[test]
    fn a_round_that_the_queue_made_smaller_is_of_the_plan() {
        let mut rows = finished(&run());
        let at = rows.iter().position(|row| row.scenario == "drain").expect("there is one");
        for (round, error, fits) in [
            (Some(1024), "", true),
            (Some(96), "", true),
            (Some(1024), "failed", true),
            (Some(96), "failed", false),
            (Some(2048), "", false),
            (None, "", false),
        ] {
            (rows[at].round, rows[at].error) = (round, error.into());
            match rest_of(&rows) {
                Ok(_) => assert!(fits, "{round:?} {error}"),
                Err(error) => assert!(!fits && error.to_string().contains("its round is"), "{error}"),
            }
        }
    }
}
