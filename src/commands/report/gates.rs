//! What the gates say about the trials: how many count, why the others do not, and what was lost.

use std::collections::BTreeMap;

use crate::commands::report::data::Data;
use crate::compare::dataset::Attempt;
use crate::compare::messages::Messages;
use crate::record::columns::Column;
use crate::record::row::State;
use crate::stats;
use crate::text::thousands;

/// The most reasons that are listed.
const REASONS_MAX: usize = 20;

/// How many trials there are of each kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Rows.
    pub rows: usize,
    /// Rows of attempts that were repeated.
    pub repeated: usize,
    /// Valid trials, marked and limited ones included.
    pub valid: usize,
    /// Those of them under unusual conditions.
    pub marked: usize,
    /// Those of them whose generators could not keep the load.
    pub limited: usize,
    /// Trials that ran but are invalid.
    pub invalid: usize,
    /// Trials that did not run to their end.
    pub failed: usize,
}

/// Totals.
pub(crate) fn counts(data: &Data) -> Totals {
    let mut counts = Totals { rows: data.set.attempts.len(), ..Totals::default() };
    for attempt in &data.set.attempts {
        match attempt.state {
            _ if attempt.is_repeated => counts.repeated += 1,
            State::Failed => counts.failed += 1,
            State::Invalid => counts.invalid += 1,
            State::Valid => {
                counts.valid += 1;
                counts.marked += usize::from(attempt.is_marked);
                counts.limited += usize::from(attempt.is_limited);
            }
        }
    }
    counts
}

/// Why trials are unusable, and what became of them; the most frequent reasons come first.
pub(crate) fn reasons(data: &Data) -> Messages<&'static str> {
    let attempts = data.set.attempts.iter().filter(|attempt| attempt.state != State::Valid);
    let what = |attempt: &Attempt| match attempt.state {
        _ if attempt.is_repeated => "tried again",
        State::Failed => "failed",
        _ => "invalid",
    };
    let mut found = Messages::of(attempts.map(|attempt| (what(attempt), data.set.reason(attempt))));
    found.cut(REASONS_MAX);
    found
}

/// What was lost, in a row for each scenario and backend.
pub(crate) fn losses(data: &Data) -> Vec<Vec<String>> {
    let mut found: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    let scenarios = data.distinct(Column::scenario);
    for (at, _) in data.set.attempts.iter().enumerate().filter(|(_, attempt)| attempt.is_valid()) {
        let cell = &data.cells[data.cell_of(at)];
        let scenario = scenarios.iter().position(|scenario| *scenario == cell.get(Column::scenario)).unwrap_or(0);
        found.entry((scenario, cell.series)).or_default().push(at);
    }
    let row = |((scenario, series), trials): ((usize, usize), Vec<usize>)| {
        let mut loss: Vec<f64> = trials.iter().filter_map(|&at| data.set.value(at, Column::loss_pct)).collect();
        loss.sort_unstable_by(f64::total_cmp);
        let sum = |column| {
            let values = trials.iter().filter_map(|&at| data.set.value(at, column));
            values.reduce(|sum, value| sum + value).map_or_else(String::new, thousands)
        };
        let percent = |loss: Option<f64>| loss.map_or_else(String::new, |loss| format!("{loss:.2}"));
        vec![
            scenarios.get(scenario).copied().unwrap_or_default().to_owned(),
            data.series[series].name.clone(),
            trials.len().to_string(),
            percent(stats::median_of_sorted(&loss)),
            percent(loss.last().copied()),
            sum(Column::drop_socket),
            sum(Column::drop_ring),
        ]
    };
    found.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::report::times::Times;
    use crate::compare::axes::By;
    use crate::compare::dataset::Dataset;
    use crate::compare::trials::Trials;
    use crate::record::row::{Row, SCHEMA};

    #[test]
    fn the_same_trials_are_marked_as_in_a_comparison() {
        let row = |(at, (backend, canary)): (usize, (&str, f64))| Row {
            schema: SCHEMA,
            backend: backend.into(),
            attempt: 2,
            order: at + 1,
            steady: Some(1),
            canary_ratio: Some(canary),
            valid: 1,
            ..Row::default()
        };
        let slow = [1.0, 1.0, 1.0, 1.1, 1.1].map(|canary| ("plain", canary));
        let last: Vec<Row> = slow.into_iter().chain([("null", 1.1); 4]).enumerate().map(row).collect();
        // The usual value of all backends is 1.1, apart from attempts that were repeated.
        let disturbed = |row: &Row| Row { attempt: 1, valid: 0, canary_ratio: Some(1.0), ..row.clone() };
        let rows: Vec<Row> = last.iter().flat_map(|row| [disturbed(row), row.clone()]).collect();
        let data = Data::new(Dataset::of_rows(Data::columns(), rows.iter()), Times::default());
        assert_eq!(counts(&data).marked, 3);
        for by in ["variant", "batch"] {
            let trials = Trials::new(&data.set, By::column(by).expect("a column"), &[]);
            let marked = (0..trials.list.len()).filter(|&trial| trials.attempt(trial).is_marked);
            assert_eq!(marked.count(), 3, "{by}");
        }
    }
}
