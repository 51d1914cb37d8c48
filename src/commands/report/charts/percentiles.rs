//! Latency by percentile, along an axis of nines.

use crate::commands::report::charts::against::{self, tip, value_axis};
use crate::commands::report::charts::figure::{Figure, FigureOrMissing, Missing, Table, legend, limited, parted};
use crate::commands::report::charts::grouping::{self, LineBy};
use crate::commands::report::charts::units::Unit;
use crate::commands::report::data::{Data, Estimate, PERCENTILES};
use crate::commands::report::svg::Chart;
use crate::commands::report::svg::axis::Axis;
use crate::commands::report::svg::lines::{Line, Lines, Point};
use crate::commands::report::svg::marks::Key;
use crate::commands::report::svg::marks::Look;
use crate::commands::report::svg::scale::{Scale, Spread};
use crate::record::columns::Column;
use crate::stats;
use crate::stats::tails::ABOVE_MIN;

/// A percentile that fewer datagrams of a trial are beyond says little, and is left out.
const BEYOND_MIN: f64 = 10.0;

/// The percentiles of a line.
type Known = Vec<(f64, Estimate)>;

/// Percentile curves of `echo` and `pace`.
pub(super) fn figure(data: &Data) -> FigureOrMissing {
    let cells = against::cells(data, |cell| ["echo", "pace"].contains(&cell.get(Column::scenario)));
    let (mut charts, mut is_limited) = (Vec::new(), false);
    let mut table = Table::new(vec!["cell", "backend", "percentile", "latency, µs", "95% interval", "trials"], 2);
    for group in grouping::groups(data, &cells, None, LineBy::Series) {
        let line = |(&line, cells): (&usize, &Vec<usize>)| {
            let known: Known = cells.iter().flat_map(|&cell| percentiles(data, cell)).collect();
            (!known.is_empty()).then(|| (Key { name: data.series[line].name.clone(), style: line }, known))
        };
        let lines: Vec<(Key, Known)> = group.lines.iter().filter_map(line).collect();
        for (key, known) in &lines {
            for (share, estimate) in known {
                table.push(|| row(&group.title, key, *share, estimate));
            }
        }
        is_limited |= lines.iter().flat_map(|(_, known)| known).any(|(_, estimate)| estimate.is_limited);
        let axis = value_axis(lines.iter().flat_map(|(_, known)| known).map(|(_, estimate)| estimate), Unit::Time);
        charts.extend(parted(&group.title, &lines, |title, lines| draw(title, lines, axis.clone())));
    }
    if charts.is_empty() {
        let remedy = "--scenario echo or pace";
        return Err(Some(Missing { what: "latency by percentile", remedy }));
    }
    let (charts, left_out) = limited(charts);
    let mut notes = vec![format!(
        "How long datagrams took, from the median to the slowest few; less is better. In echo the round trip; in pace \
         from when a datagram was due to its receipt. Each point is the median of the trials' percentiles, and from the \
         99th on that of all trials together; those that fewer than {BEYOND_MIN} datagrams of a trial, or {ABOVE_MIN} of all, are \
         beyond are left out."
    )];
    if is_limited {
        notes.push("Hollow points: the generator could not keep the rate.".into());
    }
    notes.extend(grouping::common(data, &cells));
    let (name, title) = ("percentiles", "Latency by percentile");
    Ok(Figure { name, title, notes, legend: legend(&charts), charts, left_out, table })
}

/// The percentiles of a cell that enough datagrams are beyond.
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

fn row(title: &str, key: &Key, share: f64, estimate: &Estimate) -> Vec<String> {
    let unit = Unit::Time;
    let interval = estimate.median.interval;
    vec![
        title.to_owned(),
        key.name.clone(),
        name(share),
        unit.cell(estimate.median.value),
        interval.map_or_else(String::new, |(low, high)| format!("{} – {}", unit.cell(low), unit.cell(high))),
        estimate.trials.to_string(),
    ]
}

fn draw(title: String, lines: &[(Key, Known)], y: Axis) -> Chart {
    let unit = Unit::Time;
    let all = || lines.iter().flat_map(|(_, known)| known);
    let last = all().map(|(share, _)| *share).fold(0.9, f64::max);
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
    })
}
