//! The comparisons of a report by scenario and metric, and what distinguishes those of a section.

use std::collections::BTreeMap;

use crate::compare::comparisons::Comparisons;
use crate::compare::judge::Comparison;
use crate::record::cell::{AXES, CellKey};
use crate::record::columns::Column;

/// The comparisons by scenario and metric, in their order.
pub(crate) fn of(report: &Comparisons) -> Vec<Vec<&Comparison>> {
    let mut sections: Vec<Vec<&Comparison>> = Vec::new();
    let mut numbers: BTreeMap<(&str, Column), usize> = BTreeMap::new();
    for comparison in &report.comparisons {
        let key = (comparison.cell.get(Column::scenario), comparison.metric.column);
        let number = *numbers.entry(key).or_insert(sections.len());
        if number == sections.len() {
            sections.push(Vec::new());
        }
        sections[number].push(comparison);
    }
    sections
}

/// The axes that tell the rows apart, and the values that all rows share and a reader needs to know. An axis that
/// follows from those before it is left out.
pub(crate) fn split_axes<'a>(rows: &[&'a Comparison]) -> (Vec<Column>, Vec<(Column, &'a str)>) {
    const TOLD: [Column; 7] = [
        Column::backend,
        Column::batch,
        Column::payload,
        Column::round,
        Column::rate_pps,
        Column::window,
        Column::wait,
    ];
    let constant = rows[0].cell.iter().filter(|(axis, first)| {
        let is_told = TOLD.contains(axis) && !first.is_empty() && *first != "spin";
        is_told && rows.iter().all(|row| row.cell.get(*axis) == *first)
    });
    let cells: Vec<&CellKey> = rows.iter().map(|row| &row.cell).collect();
    let mut axes = telling(&cells);
    // What tells rows apart is shown even if it is a condition: files of two machines have the same cells.
    for &(column, _) in &rows[0].conditions {
        let mut known: BTreeMap<Vec<&str>, &str> = BTreeMap::new();
        let follows = rows.iter().all(|row| {
            let mut key: Vec<&str> = axes.iter().map(|&axis| row.get(axis)).collect();
            key.extend(row.sides.iter().map(String::as_str));
            *known.entry(key).or_insert(row.get(column)) == row.get(column)
        });
        if !follows {
            axes.push(column);
        }
    }
    (axes, constant.collect())
}

/// The axes that tell cells of each scenario apart. Some do not concern all scenarios, and say nothing there.
pub(crate) fn telling(cells: &[&CellKey]) -> Vec<Column> {
    let mut telling: Vec<Column> = Vec::new();
    // What was asked for tells them apart, not a mode that follows from it.
    let (first, others) = ([Column::sockets], AXES.iter().copied());
    let others = others.filter(|axis| *axis != Column::scenario && !first.contains(axis));
    for axis in first.into_iter().chain(others) {
        let mut known: BTreeMap<Vec<&str>, &str> = BTreeMap::new();
        let follows = cells.iter().all(|cell| {
            let key = [Column::scenario].iter().chain(&telling).map(|&axis| cell.get(axis)).collect();
            *known.entry(key).or_insert(cell.get(axis)) == cell.get(axis)
        });
        if !follows {
            telling.push(axis);
        }
    }
    telling.sort_by_key(|axis| AXES.iter().position(|known| known == axis));
    telling
}

/// The name of an axis as a column header.
pub(crate) fn short(axis: Column) -> &'static str {
    match axis {
        Column::payload => "bytes",
        Column::rate_pps => "rate",
        _ => axis.name(),
    }
}
