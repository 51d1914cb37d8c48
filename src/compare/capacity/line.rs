//! The line of a search and a goal: the bounds, what it costs there, and what stopped it.

use std::collections::BTreeMap;

use crate::compare::axes;
use crate::compare::capacity::judge::Met;
use crate::compare::capacity::past::{Past, Trial};
use crate::compare::capacity::sought::Sought;
use crate::record::cell::CellKey;
use crate::record::columns::Column;
use crate::record::lat_tail::merged;
use crate::stats::Summary;
use crate::stats::search::Found;

/// What was found of a cell for a goal. Rates are those of all workers together.
#[derive(Clone, Debug)]
pub(super) struct Line<'a> {
    pub(super) cell: &'a CellKey,
    pub(super) name: String,
    pub(super) workers: usize,
    pub(super) goal: usize,
    pub(super) lower: Option<f64>,
    pub(super) upper: Option<f64>,
    pub(super) throughput: Option<f64>,
    /// Time of the worker and the kernel's threads at the lower bound, in nanoseconds per datagram: the median of its trials.
    pub(super) cpu_ns: Option<f64>,
    /// The 99th percentile of all latencies there, in nanoseconds.
    pub(super) p99_ns: Option<u64>,
    /// Whether the search has come to its end.
    pub(super) is_over: bool,
    /// Whether more may hold than was found.
    pub(super) is_at_least: bool,
    pub(super) stopped: String,
}

impl<'a> Line<'a> {
    pub(super) fn new(past: &'a Past, goal: usize, sought: &Sought) -> Self {
        let Found { bounds, throughput } = past.search.found(goal);
        let at = |load: Option<u64>| past.trials.iter().filter(move |trial| Some(trial.load) == load);
        // With those that did not hold: a goal lets some of them be.
        let mut holding: Vec<&Trial> = at(bounds.lower).collect();
        // Those that hold although they were disturbed show what the disturbance costs, too.
        if holding.iter().any(|trial| !trial.is_invalid) {
            holding.retain(|trial| !trial.is_invalid);
        }
        let latencies = merged(holding.iter().map(|trial| &trial.tail));
        let is_over = past.search.clone().ask().is_none();
        let why = most(at(bounds.upper).map(|trial| trial.met[goal]));
        let stopped = match (why, bounds.lower) {
            _ if past.failed.is_some() => "failed, see below".into(),
            _ if !is_over => "not finished".into(),
            (Some(met), _) => reason(met, at(bounds.upper), sought),
            (None, Some(_)) => "--rate-max".into(),
            (None, None) => "-".into(),
        };
        let total = |load: u64| load as f64 * past.workers as f64;
        Self {
            cell: &past.cell,
            name: name(&past.cell),
            workers: past.workers,
            goal,
            lower: bounds.lower.map(total),
            upper: bounds.upper.map(total),
            throughput: throughput.map(|throughput| throughput * past.workers as f64),
            cpu_ns: Summary::of(holding.iter().filter_map(|trial| trial.cpu_ns)).map(|summary| summary.median),
            p99_ns: (!latencies.is_empty()).then(|| latencies.value_at_quantile(0.99)),
            is_over,
            is_at_least: is_over && bounds.lower.is_some() && matches!(why, None | Some(Met::Generator)),
            stopped,
        }
    }
}

/// A backend with the modes that were asked for.
pub(super) fn name(cell: &CellKey) -> String {
    let of = [Column::addressing, Column::sockets].map(|column| cell.get(column));
    axes::brief(cell.get(Column::backend), cell.get(Column::variant), of)
}

/// The most frequent reason why trials did not meet a goal.
fn most(met: impl Iterator<Item = Met>) -> Option<Met> {
    let mut counts: BTreeMap<Met, usize> = BTreeMap::new();
    met.filter(|met| *met != Met::Yes).for_each(|met| *counts.entry(met).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(met, _)| met)
}

/// A reason in words; of losses, where most of them were.
fn reason<'t>(met: Met, trials: impl Iterator<Item = &'t Trial>, sought: &Sought) -> String {
    match met {
        Met::Yes => "-".into(),
        Met::Queue => "the queue grew".into(),
        Met::P99 => format!("p99 above {}", p99_max(sought)),
        Met::Generator => "the generator".into(),
        Met::Loss => {
            let mut dropped = [(0, "loss at the socket"), (0, "loss at the ring"), (0, "loss on the way")];
            for trial in trials {
                dropped.iter_mut().zip(trial.dropped).for_each(|((sum, _), own)| *sum += own);
            }
            dropped.into_iter().rev().max_by_key(|(sum, _)| *sum).map_or("loss", |(_, where_)| where_).into()
        }
    }
}

pub(super) fn p99_max(sought: &Sought) -> String {
    let ns = sought.p99_max.as_nanos() as f64;
    if ns < 1e6 { format!("{} µs", ns / 1e3) } else { format!("{} ms", ns / 1e6) }
}
