//! The values of each cell on all sides, side by side: kernels as columns.

use std::collections::BTreeMap;

use crate::compare::metrics::{self, Metric};
use crate::compare::trials::Trials;
use crate::compare::verdict::{Side, sorted};
use crate::compare::{cells, counts};
use crate::gates;
use crate::record::cell::CellKey;
use crate::record::columns::Column;
use crate::record::row::State;
use crate::stats::median_of_sorted;

/// The value of a cell on one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    /// The median of the trials.
    pub median: f64,
    /// Whether the trials are counts that differ from each other.
    pub unsettled: bool,
}

impl Value {
    fn of(values: &Side, accel: &str) -> Option<Self> {
        let sorted = sorted(values);
        let unsettled = counts::is_counted(accel) && !counts::is_settled(&sorted);
        median_of_sorted(&sorted).map(|median| Self { median, unsettled })
    }
}

/// A cell in one metric.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The cell, without the side.
    pub cell: CellKey,
    /// The metric.
    pub metric: Metric,
    /// One value for each side, if there is one.
    pub values: Vec<Option<Value>>,
}

/// The default metrics of all cells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matrix {
    /// The names of the sides, in order.
    pub sides: Vec<String>,
    /// The cells, in order, each with all its metrics.
    pub lines: Vec<Line>,
}

impl Matrix {
    /// From the trials that are valid and count.
    pub(crate) fn of(trials: &Trials<'_>) -> Self {
        let order = cells::sides(trials);
        let mut found: BTreeMap<(u32, u32), Vec<Vec<usize>>> = BTreeMap::new();
        let is_valid = |at: &usize| trials.attempt(*at).state == State::Valid;
        for (index, trial) in (0..trials.list.len()).filter(is_valid).map(|at| (at, trials.list[at])) {
            let Some(side) = order.iter().position(|side| *side == trial.side) else { continue };
            let line = found.entry((trial.cell, trial.conditions)).or_insert_with(|| vec![Vec::new(); order.len()]);
            line[side].push(index);
        }
        let mut lines: Vec<Line> = Vec::new();
        for ((cell, conditions), sides) in found {
            let accel = trials.condition(conditions, Column::accel);
            let cell = trials.full_cell(cell, Some(conditions));
            let counting = |side: Vec<usize>| gates::counting(side, |&at| trials.attempt(at).is_marked);
            let sides: Vec<Vec<usize>> = sides.into_iter().map(counting).collect();
            for column in metrics::defaults(cell.get(Column::scenario), accel) {
                let metric = trials.metrics.iter().find(|metric| metric.column == *column);
                let Some(&metric) = metric else { continue };
                let of = |at: &usize| trials.value(*at, metric).map(|value| (0, value));
                let values = sides.iter().map(|side| Value::of(&side.iter().filter_map(of).collect::<Vec<_>>(), accel));
                let values: Vec<Option<Value>> = values.collect();
                if values.iter().any(Option::is_some) {
                    lines.push(Line { cell: cell.clone(), metric, values });
                }
            }
        }
        lines.sort_by(|a, b| cells::order(&a.cell, &b.cell));
        Self { sides: order.iter().map(|side| trials.side(*side).to_owned()).collect(), lines }
    }
}
