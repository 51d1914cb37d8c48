//! The values of each cell on all sides beside each other: kernels as columns.

use std::collections::BTreeMap;

use crate::compare::metrics::{self, Metric};
use crate::compare::trials::Trials;
use crate::compare::verdict::sorted;
use crate::compare::{cells, counts};
use crate::gates;
use crate::record::row::State;
use crate::stats::bootstrap::Side;
use crate::stats::median_of_sorted;

/// What the trials of a cell came to on one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    /// Their median.
    pub median: f64,
    /// Whether they are counts that differ from each other.
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
    /// The fields of [`crate::compare::axes::AXES`].
    pub axes: Vec<String>,
    /// What the values are.
    pub metric: &'static Metric,
    /// For each side one value, where there is one.
    pub values: Vec<Option<Value>>,
}

/// The default metrics of all cells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matrix {
    /// The names of the sides, in their order.
    pub sides: Vec<String>,
    /// The cells, in their order, each metric after the other.
    pub lines: Vec<Line>,
}

impl Matrix {
    /// Of the trials that are valid and count.
    pub(crate) fn of(trials: &Trials) -> Self {
        let order = cells::sides(trials);
        let mut found: BTreeMap<(usize, usize), Vec<Vec<usize>>> = BTreeMap::new();
        for (index, trial) in trials.list.iter().enumerate().filter(|(_, trial)| trial.state == State::Valid) {
            let Some(side) = order.iter().position(|side| *side == trial.side) else { continue };
            let line = found.entry((trial.cell, trial.conditions)).or_insert_with(|| vec![Vec::new(); order.len()]);
            line[side].push(index);
        }
        let mut lines: Vec<Line> = Vec::new();
        for ((cell, conditions), sides) in found {
            let conditions = &trials.conditions.fields[conditions];
            let axes = cells::full_axes(&trials.cells.fields[cell], conditions);
            let accel = conditions.first().map_or("", String::as_str);
            let counting = |side: Vec<usize>| gates::counting(side, |&at| trials.list[at].marked);
            let sides: Vec<Vec<usize>> = sides.into_iter().map(counting).collect();
            for name in metrics::defaults(&axes[0], accel) {
                let metric = trials.metrics.iter().position(|metric| metric.name == *name);
                let Some(metric) = metric else { continue };
                let of = |at: &usize| trials.value(*at, metric).map(|value| (0, value));
                let values = sides.iter().map(|side| Value::of(&side.iter().filter_map(of).collect::<Vec<_>>(), accel));
                let values: Vec<Option<Value>> = values.collect();
                if values.iter().any(Option::is_some) {
                    lines.push(Line { axes: axes.clone(), metric: trials.metrics[metric], values });
                }
            }
        }
        lines.sort_by(|a, b| cells::order(&a.axes, &b.axes));
        Self { sides: order.iter().map(|side| trials.sides.first(*side).to_owned()).collect(), lines }
    }
}
