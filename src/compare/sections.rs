//! The comparisons of a report by scenario and metric, and what tells those of a section apart.

use std::collections::BTreeMap;

use crate::compare::axes::AXES;
use crate::compare::judge::Comparison;
use crate::compare::report::Report;

/// The comparisons by scenario and metric, in the order in which they come.
pub(crate) fn of(report: &Report) -> Vec<Vec<&Comparison>> {
    let mut sections: Vec<Vec<&Comparison>> = Vec::new();
    let mut numbers: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for comparison in &report.comparisons {
        let number = *numbers.entry((comparison.axes[0].as_str(), comparison.metric.name)).or_insert(sections.len());
        if number == sections.len() {
            sections.push(Vec::new());
        }
        sections[number].push(comparison);
    }
    sections
}

/// Which axes tell the rows apart, and the values that all rows have in common of those that matter to a reader. An
/// axis that follows from those before it tells nothing.
pub(crate) fn split_axes<'a>(rows: &[&'a Comparison]) -> (Vec<usize>, Vec<(&'static str, &'a str)>) {
    const TOLD: [&str; 7] = ["backend", "batch", "payload", "round", "rate_pps", "window", "wait"];
    let constant = AXES.iter().enumerate().skip(1).filter_map(|(at, axis)| {
        let first = rows[0].axes[at].as_str();
        let is_told = TOLD.contains(axis) && !first.is_empty() && first != "spin";
        (is_told && rows.iter().all(|row| row.axes[at] == first)).then(|| (short(axis), first))
    });
    let cells: Vec<&[String]> = rows.iter().map(|row| &*row.axes).collect();
    (telling(&cells), constant.collect())
}

/// Which axes tell cells of one scenario apart.
pub(crate) fn telling(cells: &[&[String]]) -> Vec<usize> {
    let mut telling: Vec<usize> = Vec::new();
    for at in 1..AXES.len() {
        let mut known: BTreeMap<Vec<&str>, &str> = BTreeMap::new();
        let follows = cells.iter().all(|axes| {
            let key = telling.iter().map(|&at| axes[at].as_str()).collect();
            *known.entry(key).or_insert(&axes[at]) == axes[at]
        });
        if !follows {
            telling.push(at);
        }
    }
    telling
}

/// The name of an axis in the head of a column.
pub(crate) fn short(axis: &'static str) -> &'static str {
    match axis {
        "payload" => "bytes",
        "rate_pps" => "rate",
        _ => axis,
    }
}
