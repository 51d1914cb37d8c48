//! The same cells under several kernels, on one map: the change of each backend and mode against its oldest kernel.

use std::collections::HashMap;

use crate::commands::report::charts::figure::{Figure, FigureOrMissing, Figures, NOTHING};
use crate::commands::report::charts::grouping::{self, LineBy};
use crate::commands::report::charts::plot;
use crate::commands::report::charts::units::Unit;
use crate::commands::report::data::Data;
use crate::commands::report::svg::Chart;
use crate::commands::report::svg::heat::{self, Heat, Step};
use crate::compare::comparisons::Comparisons;
use crate::compare::{releases, steps};
use crate::record::cell::CellKey;
use crate::record::columns::Column;
use crate::stats;
use crate::text::percent;

/// The most maps.
const MAPS_MAX: usize = 6;

/// The steps of a metric: by how much a cell changed from one kernel to the next, in percent.
type Steps<'a> = HashMap<(CellKey, &'a str), f64>;

/// A cell under two kernels: its batch, and its value under the first and under this one.
type Changed<'a> = (&'a str, f64, f64);

/// The cells of a line under a kernel: their changes, or why there are none.
type Known<'a> = Result<Vec<Changed<'a>>, String>;

/// A map for each scenario; nothing if there is only one kernel.
pub(super) fn figure(data: &Data, report: Option<&Comparisons>) -> FigureOrMissing {
    let kernels = data.distinct(Column::kernel);
    if kernels.len() < 2 {
        return Err(None);
    }
    let names = releases::short_names(&kernels);
    let plot::Costs { cells, value, unit } = plot::costs(data);
    let is_counted = value == Column::instructions_per_packet;
    let steps = report.map(|report| steps_of(report, value)).unwrap_or_default();
    let along = [Column::kernel, Column::batch];
    let mut maps: Vec<Heat> = Vec::new();
    let mut figures = Figures::default();
    for group in grouping::groups(data, &cells, &along, LineBy::Series) {
        let mut rows = Vec::new();
        for (line, cells) in &group.lines {
            let name = &data.series[line.number].name;
            let by_kernel = by_kernel(data, cells, &kernels, value);
            if by_kernel.iter().filter(|changed| changed.is_ok()).count() < 2 {
                continue;
            }
            let row: Vec<heat::Cell> = names
                .iter()
                .zip(&by_kernel)
                .enumerate()
                .map(|(at, (kernel, changed))| {
                    let step = steps_to(data, cells, kernel, &steps);
                    let is_first = by_kernel[..at].iter().all(Result::is_err);
                    let tip = format!("{name}, {kernel}: ");
                    let cell = cell(&tip, changed, is_first, step, unit);
                    let told = cell.tip.strip_prefix(&tip).unwrap_or(&cell.tip).to_owned();
                    figures.push(&group.title, name.clone(), kernel, told);
                    cell
                })
                .collect();
            rows.push((name.clone(), row));
        }
        if !rows.is_empty() {
            maps.push(Heat { title: group.title.clone(), columns: names.clone(), rows, longest: 0 });
        }
    }
    if maps.is_empty() {
        return Err(None);
    }
    let left_out = maps.split_off(maps.len().min(MAPS_MAX)).into_iter().map(|map| map.title).collect();
    let names_of = |map: &Heat| map.rows.iter().map(|(name, _)| name.chars().count()).max();
    let longest = maps.iter().filter_map(names_of).max().unwrap_or(0);
    let charts = maps.into_iter().map(|map| Chart::Heat(Heat { longest, ..map })).collect();
    let threshold = report.map_or_else(String::new, |report| format!(" of {} or more", percent(report.threshold)));
    let notes = vec![format!(
        "{} of the worker under each kernel: the change in % of each backend and mode against itself under its oldest \
         kernel here, as the median of its batches. ▲ ▽: a step{threshold} up or down from the kernel before, in at \
         least one of its batches. Rows say nothing about which backend is cheaper.",
        if is_counted { "Instructions per datagram" } else { "Cost per datagram" }
    )];
    let (name, title) = ("heat", "Kernels and modes");
    let table = figures.table(unit.axis(), "mode", "kernel");
    Ok(Figure { name, title, notes, legend: Vec::new(), charts, left_out, table, is_folded: false })
}

/// The settled steps of a metric, by cell and kernel.
fn steps_of(report: &Comparisons, value: Column) -> Steps<'_> {
    let all = steps::find(report).into_iter().filter(|step| step.is_settled() && step.column() == value);
    all.map(|step| ((step.cell().clone(), step.to_side()), step.change_pct())).collect()
}

/// The largest step of some cells to a kernel.
fn steps_to(data: &Data, cells: &[usize], kernel: &str, steps: &Steps<'_>) -> Option<f64> {
    let all = cells.iter().filter_map(|&cell| steps.get(&(data.cells[cell].key.clone(), kernel)));
    all.copied().max_by(|a, b| a.abs().total_cmp(&b.abs()))
}

/// The values of a line's cells under each kernel, each beside its value under the first kernel.
fn by_kernel<'a>(data: &'a Data, cells: &[usize], kernels: &[&str], value: Column) -> Vec<Known<'a>> {
    let mut firsts: HashMap<&str, f64> = HashMap::new();
    let mut found = Vec::new();
    for kernel in kernels {
        let here = cells.iter().filter(|&&cell| data.cells[cell].get(Column::kernel) == *kernel);
        let mut changed: Vec<Changed<'a>> = Vec::new();
        let mut why = "not measured".to_owned();
        for &cell in here {
            let batch = data.cells[cell].get(Column::batch);
            let Some(estimate) = data.estimate(cell, |trial| data.set.value(trial, value)) else {
                why = data.why_nothing(cell);
                continue;
            };
            let now = estimate.median.value;
            changed.push((batch, *firsts.entry(batch).or_insert(now), now));
        }
        found.push(if changed.is_empty() { Err(why) } else { Ok(changed) });
    }
    found
}

fn cell(name: &str, known: &Known<'_>, is_first: bool, step_pct: Option<f64>, unit: Unit) -> heat::Cell {
    let changed = match known {
        Ok(changed) => changed,
        Err(why) => {
            let (text, tip) = (NOTHING.into(), format!("{name}{NOTHING} ({why})"));
            return heat::Cell { change_pct: None, text, step: None, tip };
        }
    };
    // There is no percentage against a cost of 0.
    let known = changed.iter().filter(|(_, first, _)| *first > 0.0);
    let mut changes: Vec<f64> = known.map(|(_, first, now)| 100.0 * (now / first - 1.0)).collect();
    changes.sort_unstable_by(f64::total_cmp);
    let middle = stats::median_of_sorted(&changes);
    let text = match middle {
        _ if is_first => "0".into(),
        Some(middle) => format!("{middle:+.1}"),
        None => NOTHING.into(),
    };
    let step = step_pct.map(|pct| if pct > 0.0 { Step::Up } else { Step::Down });
    heat::Cell { change_pct: middle, text, step, tip: tip(name, changed, step_pct, unit) }
}

fn tip(name: &str, changed: &[Changed<'_>], step_pct: Option<f64>, unit: Unit) -> String {
    let batch = |(batch, first, now): &Changed<'_>| {
        let change = if *first > 0.0 { format!(" ({:+.1}%)", 100.0 * (now / first - 1.0)) } else { String::new() };
        format!("batch {batch} {}{change}", unit.text(*now))
    };
    let batches: Vec<String> = changed.iter().map(batch).collect();
    let step = step_pct.map_or_else(String::new, |pct| format!("; step of {pct:+.1}%"));
    format!("{name}{}{step}", batches.join(", "))
}
