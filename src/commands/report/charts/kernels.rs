//! The same cells under several kernels, as changes against the oldest.

use crate::commands::report::charts::figure::{Figure, FigureOrMissing, Missing, Table, legend, limited, parted};
use crate::commands::report::charts::grouping::{self, LineBy};
use crate::commands::report::charts::plot;
use crate::commands::report::charts::units::Unit;
use crate::commands::report::data::Data;
use crate::commands::report::svg::Chart;
use crate::commands::report::svg::axis::Axis;
use crate::commands::report::svg::lines::{Line, Lines, Point};
use crate::commands::report::svg::marks::{Key, Look, WIDTH};
use crate::commands::report::svg::scale::{self, Scale, Spread};
use crate::compare::releases;
use crate::record::columns::Column;

/// Kernels, and the value under each.
type Known = Vec<(usize, f64)>;

/// Costs by kernel.
pub(super) fn figure(data: &Data) -> FigureOrMissing {
    let kernels = data.distinct(Column::kernel);
    if kernels.len() < 2 {
        let remedy = "hpbench lab, or files of several kernels";
        return Err(Some(Missing { what: "change from kernel to kernel", remedy }));
    }
    let names = releases::short_names(&kernels);
    let plot::Costs { cells, value, unit } = plot::costs(data);
    let waits = grouping::waits(cells.iter().map(|&at| &data.cells[at]));
    let mut charts = Vec::new();
    let mut table = Table::new(&["cell", "backend", "kernel", unit.axis(), "against the first, %", "trials"], 3);
    for group in grouping::groups(data, &cells, &[Column::kernel], LineBy::Series) {
        let mut lines: Vec<(Key, Known)> = Vec::new();
        for (&line, cells) in &group.lines {
            let key = line.key(&data.series[line.number].name, &waits);
            let mut known = Known::new();
            for &cell in cells {
                let Some(at) = kernels.iter().position(|kernel| *kernel == data.cells[cell].get(Column::kernel)) else {
                    continue;
                };
                let Some(estimate) = data.estimate(cell, |trial| data.set.value(trial, value)) else { continue };
                known.push((at, estimate.median.value));
                let (first, median) = (known[0].1, estimate.median.value);
                table.push(|| {
                    // There is no percentage against a value of 0.
                    let changed = (first > 0.0).then(|| Unit::Change.cell(100.0 * (median / first - 1.0)));
                    let change = changed.unwrap_or_default();
                    let texts = [&group.title, &key.name, &names[at]].map(String::clone);
                    texts.into_iter().chain([unit.cell(median), change, estimate.trials.to_string()]).collect()
                });
            }
            if known.len() > 1 && known[0].1 > 0.0 {
                lines.push((key, known));
            }
        }
        let axis = change_axis(&lines, unit);
        charts.extend(parted(&group.title, &lines, |title, lines| draw(title, lines, &names, unit, axis.clone())));
    }
    if charts.is_empty() {
        let remedy = "the same cells of drain or send under each kernel";
        return Err(Some(Missing { what: "change from kernel to kernel", remedy }));
    }
    let (charts, left_out) = limited(charts);
    let mut notes = vec![
        "Each line is one backend and mode against itself under its oldest kernel here; up is more expensive. The \
         charts say nothing about which backend is cheaper."
            .to_owned(),
    ];
    notes.extend(grouping::common(data, &cells));
    let (name, title) = ("kernels", "From kernel to kernel");
    Ok(Figure { name, title, notes, legend: legend(&charts), charts, left_out, table, is_folded: true })
}

/// The change against the first kernel, in percent.
fn change(known: &Known, value: f64) -> f64 {
    100.0 * (value / known[0].1 - 1.0)
}

fn change_axis(lines: &[(Key, Known)], unit: Unit) -> Axis {
    let changes = lines.iter().flat_map(|(_, known)| known.iter().map(|(_, value)| change(known, *value)));
    let (low, high) = changes.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let (scale, ticks) = scale::linear(low, high, 5);
    Axis::new(scale, ticks, &format!("{}, change in %", unit.axis()), |value, step| Unit::Change.tick(value, step))
}

fn draw(title: String, lines: &[(Key, Known)], names: &[String], unit: Unit, y: Axis) -> Chart {
    let point = |key: &Key, known: &Known, at: usize, value: f64| Point {
        x: at as f64,
        y: change(known, value),
        interval: None,
        look: Look::Plain,
        tip: format!("{}, {}: {} ({:+.1}%)", key.name, names[at], unit.text(value), change(known, value)),
    };
    let line = |(key, known): &(Key, Known)| Line {
        key: key.clone(),
        points: known.iter().map(|&(at, value)| point(key, known, at, value)).collect(),
        is_joined: true,
        gaps: Vec::new(),
    };
    Chart::Lines(Lines {
        title,
        x: Axis {
            scale: Scale::new(Spread::Linear, 0.0, (names.len() - 1) as f64),
            ticks: names.iter().enumerate().map(|(at, name)| (at as f64, name.clone())).collect(),
            label: "kernel".into(),
        },
        y,
        lines: lines.iter().map(line).collect(),
        rules: Vec::new(),
        level: Some(0.0),
        zone: None,
        width: WIDTH,
        is_dodged: false,
    })
}
