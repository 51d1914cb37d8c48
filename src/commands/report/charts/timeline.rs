//! Trials in the order in which they ran, to show drift.

use std::collections::BTreeSet;

use crate::commands::report::charts::figure::{Figure, FigureOrMissing, Missing, Table, legend};
use crate::commands::report::charts::units::Unit;
use crate::commands::report::data::{Cell, Data};
use crate::commands::report::svg::Chart;
use crate::commands::report::svg::axis::Axis;
use crate::commands::report::svg::lines::{Line, Lines, Point};
use crate::commands::report::svg::marks::{Key, Look, WIDE};
use crate::commands::report::svg::scale::{self, Scale, Spread};
use crate::compare::axes;
use crate::compare::dataset::Attempt;
use crate::plan::cells::Scenario;
use crate::record::columns::Column;
use crate::record::row::State;
use crate::stats;

/// More points than this cannot be told apart: trials are then binned.
const POINTS_MAX: usize = 900;

/// The number of bins, and of trials that are not valid shown beside them.
const BINS: usize = 200;

/// The most lines that show where a run begins.
const RULES_MAX: usize = 12;

/// A trial: which one, and how far it is from the median of its cell, in percent.
type Seen = (usize, f64);

/// A chart for each scenario.
pub(super) fn figure(data: &Data) -> FigureOrMissing {
    let mut charts = Vec::new();
    let mut table = Table::new(
        &["scenario", "trials drawn", "first tenth, %", "last tenth, %", "invalid", "tried again", "marked"],
        1,
    );
    let mut is_thinned = false;
    for scenario in Scenario::ALL {
        let seen = seen(data, scenario.name());
        if seen.len() < 2 {
            continue;
        }
        is_thinned |= seen.len() > POINTS_MAX;
        table.push(|| summary(data, scenario, &seen));
        charts.push(Chart::Lines(draw(data, scenario, &seen)));
    }
    if charts.is_empty() {
        return Err(Some(Missing { what: "trials in time order", remedy: "--trials 10" }));
    }
    let mut notes = vec![
        "Every trial in time order, as its distance from the median of its own cell. Points that rise or fall together \
         are the machine's drift, which hits all backends alike because their trials are interleaved. A dotted line \
         marks where a run begins. Points beyond the axis are drawn at its edge."
            .to_owned(),
    ];
    if is_thinned {
        notes.push(format!(
            "With more than {POINTS_MAX} trials, each point is the median of many that ran one after the other, with \
             the range of their middle 80%; of the trials that are not valid, at most {BINS} are shown."
        ));
    }
    let (name, title) = ("timeline", "Trials in time order");
    Ok(Figure { name, title, notes, legend: legend(&charts), charts, left_out: Vec::new(), table, is_folded: true })
}

/// A scenario's main metric.
fn primary(cell: &Cell) -> Column {
    match cell.get(Column::scenario) {
        _ if cell.is_counted() => Column::instructions_per_packet,
        "drain" | "send" => Column::ns_per_packet_p50,
        "flood" => Column::rx_pps,
        _ => Column::lat_p50_ns,
    }
}

/// All trials of a scenario that have a value, in their order.
fn seen(data: &Data, scenario: &str) -> Vec<Seen> {
    let is_meant = |cell: &Cell| cell.get(Column::scenario) == scenario && axes::has_socket(cell.get(Column::backend));
    let middle = |(at, cell): (usize, &Cell)| {
        let value = primary(cell);
        let estimate = is_meant(cell).then(|| data.estimate(at, |trial| data.set.value(trial, value))).flatten();
        estimate.map(|estimate| estimate.median.value).filter(|middle| *middle > 0.0)
    };
    let middles: Vec<Option<f64>> = data.cells.iter().enumerate().map(middle).collect();
    let distance = |at: usize| {
        let cell = data.cell_of(at);
        let value = data.set.value(at, primary(&data.cells[cell]))?;
        Some((at, 100.0 * (value / middles[cell]? - 1.0)))
    };
    (0..data.set.attempts.len()).filter_map(distance).collect()
}

fn look(attempt: &Attempt) -> Look {
    match attempt {
        _ if attempt.is_repeated => Look::Repeated,
        _ if attempt.state != State::Valid => Look::Hollow,
        _ if attempt.is_marked => Look::Marked,
        _ => Look::Plain,
    }
}

fn draw(data: &Data, scenario: Scenario, seen: &[Seen]) -> Lines {
    let mut sorted: Vec<f64> =
        seen.iter().filter(|(at, _)| data.set.attempts[*at].is_valid()).map(|(_, distance)| *distance).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    // Wild values must not squeeze all others.
    let quantile = |q| stats::quantile_of_sorted(&sorted, q).unwrap_or(0.0);
    let (low, high) = ((1.3 * quantile(0.02)).clamp(-100.0, -5.0), (1.3 * quantile(0.98)).clamp(5.0, 300.0));
    let (y, ticks) = scale::linear(low, high, 5);
    let (first, last) = (seen[0].0 as f64 + 1.0, seen[seen.len() - 1].0 as f64 + 1.0);
    let (_, places) = scale::linear(first, last, 12);
    let x = Scale::new(Spread::Linear, first, last);
    let places = places.into_iter().filter(|place| !x.is_beyond(*place)).collect();
    let label = match scenario {
        Scenario::Flood => "rate, % off its cell's median",
        Scenario::Pace | Scenario::Echo | Scenario::Serve | Scenario::Relay => {
            "median latency, % off its cell's median"
        }
        Scenario::Drain | Scenario::Send => "cost, % off its cell's median",
    };
    Lines {
        title: scenario.name().into(),
        x: Axis::new(x, places, "row, in time order", |row, _| format!("{row}")),
        y: Axis::new(y, ticks, label, |value, step| Unit::Change.tick(value, step)),
        lines: if seen.len() > POINTS_MAX { together(data, seen) } else { apart(data, seen) },
        rules: rules(data, seen),
        level: Some(0.0),
        zone: None,
        width: WIDE,
        is_dodged: false,
    }
}

/// A point for each trial.
fn apart(data: &Data, seen: &[Seen]) -> Vec<Line> {
    let series: BTreeSet<usize> = seen.iter().map(|(at, _)| data.cells[data.cell_of(*at)].series).collect();
    let line = |series: usize| Line {
        key: Key::new(&data.series[series].name, series),
        points: seen
            .iter()
            .filter(|(at, _)| data.cells[data.cell_of(*at)].series == series)
            .map(|seen| point(data, seen))
            .collect(),
        is_joined: false,
        gaps: Vec::new(),
    };
    series.into_iter().map(line).collect()
}

fn point(data: &Data, &(at, distance): &Seen) -> Point {
    let attempt = &data.set.attempts[at];
    let cell = &data.cells[data.cell_of(at)];
    let what = match look(attempt) {
        Look::Plain => String::new(),
        Look::Marked => ", marked: unusual conditions".into(),
        Look::Repeated => format!(", tried again: {}", data.set.reason(attempt)),
        Look::Hollow => format!(", invalid: {}", data.set.reason(attempt)),
    };
    let number = if attempt.number > 1 { format!(", attempt {}", attempt.number) } else { String::new() };
    let name = &data.series[cell.series].name;
    let batch = cell.get(Column::batch);
    Point {
        x: at as f64 + 1.0,
        y: distance,
        interval: None,
        look: look(attempt),
        tip: format!("row {}, {name}, batch {batch}{number}: {distance:+.1}%{what}", at + 1),
    }
}

/// Points for many trials each, with those that are not valid beside them.
fn together(data: &Data, seen: &[Seen]) -> Vec<Line> {
    let (valid, others): (Vec<Seen>, Vec<Seen>) = seen.iter().partition(|(at, _)| data.set.attempts[*at].is_valid());
    let point_of = |bin: &[Seen]| {
        let mut sorted: Vec<f64> = bin.iter().map(|(_, distance)| *distance).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let quantile = |q| stats::quantile_of_sorted(&sorted, q).unwrap_or(0.0);
        let (low, middle, high) = (quantile(0.1), quantile(0.5), quantile(0.9));
        let (first, last) = (bin[0].0 + 1, bin[bin.len() - 1].0 + 1);
        Point {
            x: (first + last) as f64 / 2.0,
            y: middle,
            interval: Some((low, high)),
            look: Look::Plain,
            tip: format!("rows {first} to {last}: {middle:+.1}%, middle 80% from {low:+.1}% to {high:+.1}%"),
        }
    };
    let bins = valid.chunks(valid.len().div_ceil(BINS).max(1)).map(point_of).collect();
    let skipped = others.iter().step_by(others.len().div_ceil(BINS).max(1));
    // All have one look: they are of many series.
    let style = data.series.len();
    let line =
        |name: &str, style, points| Line { key: Key::new(name, style), points, is_joined: false, gaps: Vec::new() };
    let all = line("all backends", style, bins);
    let bad: Vec<Point> = skipped.map(|seen| point(data, seen)).collect();
    let bad = (!bad.is_empty()).then(|| line("not valid", style + 1, bad));
    std::iter::once(all).chain(bad).collect()
}

/// Where runs begin.
fn rules(data: &Data, seen: &[Seen]) -> Vec<(f64, String)> {
    let run = |at: usize| data.set.attempts[at].run_in_file();
    let begins = seen.windows(2).filter(|two| run(two[0].0) != run(two[1].0));
    let rules: Vec<(f64, String)> = begins.map(|two| (two[1].0 as f64 + 0.5, "a run begins".to_owned())).collect();
    if rules.len() > RULES_MAX { Vec::new() } else { rules }
}

/// How far off the first and the last tenth of the trials are, and how many are invalid, tried again or marked.
fn summary(data: &Data, scenario: Scenario, seen: &[Seen]) -> Vec<String> {
    let valid: Vec<f64> =
        seen.iter().filter(|(at, _)| data.set.attempts[*at].is_valid()).map(|(_, distance)| *distance).collect();
    let tenth = valid.len().div_ceil(10);
    let median = |part: &[f64]| {
        let mut sorted = part.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        stats::median_of_sorted(&sorted).map_or_else(String::new, |median| format!("{median:+.1}"))
    };
    let count =
        |wanted: Look| seen.iter().filter(|(at, _)| look(&data.set.attempts[*at]) == wanted).count().to_string();
    vec![
        scenario.name().into(),
        seen.len().to_string(),
        median(&valid[..tenth]),
        median(&valid[valid.len() - tenth..]),
        count(Look::Hollow),
        count(Look::Repeated),
        count(Look::Marked),
    ]
}
