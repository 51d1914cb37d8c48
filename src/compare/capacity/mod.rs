//! What searches have found, from the rows of their trials: those that were just made, or those of a file.
//!
//! A search is run again, with the results that it had: its bounds are those that it would print.

mod judge;
mod line;
mod past;
mod sought;
mod words;

use std::collections::HashMap;
use std::sync::Arc;

use csv::StringRecord;

pub(crate) use judge::{Met, judge};
pub(crate) use past::range;
pub(crate) use sought::Sought;
pub(crate) use words::{Found, Section};

use self::past::{Past, Run};
use crate::record::cell::CellKey;
use crate::record::columns::Column;
use crate::record::format;
use crate::record::row::Row;
use crate::stats::search::Search;

/// The searches in some rows.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    /// In the order in which they come.
    runs: Vec<Run>,
}

impl Searches {
    /// Adds a row of a file, if it is of a search. Returns whether it is.
    pub(crate) fn add(&mut self, file: usize, fields: &StringRecord, row: &Row) -> bool {
        let cell = || CellKey::of_texts(Arc::new(CellKey::texts(fields).collect()));
        !row.goal.is_empty() && self.add_of(file, row, cell)
    }

    /// Adds a row that was just made.
    pub(crate) fn add_row(&mut self, row: &Row) -> bool {
        let Ok(fields) = format::fields(&format::encode(row, false)) else { return false };
        self.add(0, &fields, row)
    }

    fn add_of(&mut self, file: usize, row: &Row, cell: impl FnOnce() -> CellKey) -> bool {
        let (Ok(sought), Some(load)) = (row.goal.parse::<Sought>(), row.rate_pps) else { return false };
        let id = (file, row.run_id.clone());
        let at = self.runs.iter().rposition(|run| run.id == id && run.goal == row.goal).unwrap_or_else(|| {
            let (started_at, goal) = (row.started_at.clone(), row.goal.clone());
            let run = Run { id, started_at, goal, sought, searches: Vec::new(), known: HashMap::new() };
            self.runs.push(run);
            self.runs.len() - 1
        });
        let Run { searches, known, sought, .. } = &mut self.runs[at];
        let cell = cell().without(|axis| axis == Column::rate_pps);
        let at = *known.entry(cell.clone()).or_insert(searches.len());
        if at == searches.len() {
            // The first trial is at the highest load.
            let range = range(row.burst.unwrap_or(1), load, sought);
            let search = Search::new(sought.goals.clone(), range);
            searches.push(Past { cell, workers: row.workers.max(1), search, trials: Vec::new(), failed: None });
        }
        searches[at].add(row, load, sought);
        true
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// What was found, run by run; `files` have these names.
    pub(crate) fn found(&self, files: &[String]) -> Vec<Found> {
        let named = |run: &Run| {
            let file = files.get(run.id.0).map_or("", String::as_str);
            (self.runs.len() > 1).then(|| format!("{file}, search of {}", run.started_at))
        };
        self.runs.iter().map(|run| words::found(run, named(run))).collect()
    }
}

#[cfg(test)]
mod tests;
