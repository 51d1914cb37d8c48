//! Latency by percentile, along an axis of nines.

use crate::commands::report::charts::figure::{Figure, FigureOrMissing, Figures, legend, limited, parted};
use crate::commands::report::charts::grouping::{self, Group, LineBy, LineId};
use crate::commands::report::charts::plot::{self, tip, value_axis};
use crate::commands::report::charts::units::Unit;
use crate::commands::report::data::{Data, Estimate, PERCENTILES};
use crate::commands::report::svg::Chart;
use crate::commands::report::svg::axis::Axis;
use crate::commands::report::svg::lines::{Line, Lines, Point};
use crate::commands::report::svg::marks::{Key, Look, WIDTH};
use crate::commands::report::svg::scale::{Scale, Spread};
use crate::record::columns::Column;
use crate::stats;
use crate::stats::tails::ABOVE_MIN;

/// A percentile with fewer datagrams of a trial beyond it says little, and is left out.
const BEYOND_MIN: f64 = 10.0;

/// More charts than this are collapsed.
const SHOWN_MAX: usize = 6;

/// The percentiles of a line.
type Known = Vec<(f64, Estimate)>;

/// Percentile curves of `echo`, `pace` and `serve`.
pub(super) fn figure(data: &Data) -> FigureOrMissing {
    let cells = plot::cells(data, |cell| ["echo", "pace", "serve", "relay"].contains(&cell.get(Column::scenario)));
    let waits = grouping::waits(cells.iter().map(|&at| &data.cells[at]));
    let groups = grouping::groups(data, &cells, &[], LineBy::Series);
    let lines = |group: &Group| -> Vec<(Key, Known)> {
        let line = |(line, cells): (&LineId, &Vec<usize>)| {
            let known: Known = cells.iter().flat_map(|&cell| percentiles(data, cell)).collect();
            (line.key(&data.series[line.number].name, &waits), known)
        };
        group.lines.iter().map(line).collect()
    };
    let panels: Vec<(&Group, Vec<(Key, Known)>)> = groups.iter().map(|group| (group, lines(group))).collect();
    // All charts share one horizontal axis, and those of one scenario share one vertical axis.
    let last = panels.iter().flat_map(|(_, lines)| points(lines)).map(|(share, _)| *share).fold(0.9, f64::max);
    let (mut charts, mut figures) = (Vec::new(), Figures::default());
    let mut is_limited = false;
    for (group, lines) in &panels {
        for ((key, known), cells) in lines.iter().zip(group.lines.values()) {
            for (share, estimate) in known {
                figures.push(&group.title, name(*share), &key.name, plot::cell(Unit::Time, &Ok(*estimate)));
            }
            if let ([], Some(&cell)) = (&known[..], cells.first()) {
                figures.push(&group.title, name(0.5), &key.name, plot::cell(Unit::Time, &Err(data.why_nothing(cell))));
            }
        }
        is_limited |= points(lines).any(|(_, estimate)| estimate.is_limited);
        let lines: Vec<(Key, Known)> = lines.iter().filter(|(_, known)| !known.is_empty()).cloned().collect();
        let alike = panels.iter().filter(|(other, _)| other.scenario == group.scenario);
        let axis = value_axis(alike.flat_map(|(_, lines)| points(lines)).map(|(_, estimate)| estimate), Unit::Time);
        charts.extend(parted(&group.title, &lines, |title, lines| draw(title, lines, last, axis.clone())));
    }
    if charts.is_empty() {
        return Err(Some(plot::missing(data, &cells, "latency by percentile", "--scenario echo, pace or serve")));
    }
    let is_folded = charts.len() > SHOWN_MAX;
    let (charts, left_out) = limited(charts);
    let mut notes = vec![format!(
        "How long datagrams took, from the median to the slowest few; less is better. In echo, the round trip; in \
         pace, the time from when a datagram was due to its receipt; in serve, to the answer. Each point is the median of the trials' \
         percentiles, or, from the 99th on, the percentile of all trials together. Percentiles with fewer than \
         {BEYOND_MIN} datagrams of a trial beyond them, or fewer than {ABOVE_MIN} of all, are left out."
    )];
    if is_limited {
        notes.push("Hollow points: the generator could not keep the rate.".into());
    }
    notes.extend(grouping::common(data, &cells));
    let table = figures.table("latency, µs (95% interval)", "percentile", "backend");
    let (name, title) = ("percentiles", "Latency by percentile");
    Ok(Figure { name, title, notes, legend: legend(&charts), charts, left_out, table, is_folded })
}

/// The percentiles of a cell that have enough datagrams beyond them.
fn percentiles(data: &Data, cell: usize) -> Vec<(f64, Estimate)> {
    let counting = data.counting(cell);
    let mut samples: Vec<f64> =
        counting.iter().filter_map(|&trial| data.set.value(trial, Column::lat_samples)).collect();
    samples.sort_unstable_by(f64::total_cmp);
    let samples = stats::median_of_sorted(&samples).unwrap_or(f64::INFINITY);
    let is_known = |(percentile, share): &(Column, f64)| match data.merged(cell, *percentile) {
        Some(merged) => merged.check().is_ok(),
        None => samples * (1.0 - share) >= BEYOND_MIN - 1e-6,
    };
    let all = PERCENTILES.into_iter().filter(is_known);
    all.filter_map(|(percentile, share)| Some((share, data.latency(cell, percentile)?))).collect()
}

/// A share as a percentile, e.g. `99.9%`.
fn name(share: f64) -> String {
    format!("{}%", (share * 1e8).round() / 1e6)
}

fn points(lines: &[(Key, Known)]) -> impl Iterator<Item = &(f64, Estimate)> {
    lines.iter().flat_map(|(_, known)| known)
}

fn draw(title: String, lines: &[(Key, Known)], last: f64, y: Axis) -> Chart {
    let unit = Unit::Time;
    let shares: Vec<f64> = PERCENTILES.iter().map(|(_, share)| *share).filter(|share| *share <= last).collect();
    let line = |(key, known): &(Key, Known)| Line {
        key: key.clone(),
        points: known
            .iter()
            .map(|(share, estimate)| Point {
                x: *share,
                y: estimate.median.value,
                interval: estimate.median.interval,
                look: if estimate.is_limited { Look::Hollow } else { Look::Plain },
                tip: tip(&key.name, &name(*share), unit, estimate),
            })
            .collect(),
        is_joined: true,
        gaps: Vec::new(),
    };
    Chart::Lines(Lines {
        title,
        x: Axis::new(Scale::new(Spread::Nines, 0.5, last), shares, "percentile of the datagrams", |share, _| {
            name(share)
        }),
        y,
        lines: lines.iter().map(line).collect(),
        rules: Vec::new(),
        level: None,
        zone: None,
        width: WIDTH,
        is_dodged: true,
    })
}
