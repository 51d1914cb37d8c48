//! Figures of cells against the swept axis: what is drawn, and how.

use crate::commands::report::charts::figure::{Figure, Figures, Missing, NOTHING, legend, limited, parted};
use crate::commands::report::charts::grouping::{self, Group, LineBy, LineId};
use crate::commands::report::charts::units::{Unit, short, short_tick};
use crate::commands::report::data::{Cell, Data, Estimate};
use crate::commands::report::svg::Chart;
use crate::commands::report::svg::axis::Axis;
use crate::commands::report::svg::dots::{Dots, Row};
use crate::commands::report::svg::lines::{Line, Lines, Point};
use crate::commands::report::svg::marks::{Key, Look, WIDE, WIDTH};
use crate::commands::report::svg::scale::{self, Scale, Spread};
use crate::compare::{axes, releases};
use crate::record::columns::Column;
use crate::text::thousands;

/// From this ratio of largest to smallest on, a linear axis would squeeze the small values.
const LOG_FROM: f64 = 20.0;

/// The same for latencies, whose high percentiles are far off.
const LOG_TIMES_FROM: f64 = 3.0;

/// The names of more rates than this take the whole width of the page.
const NARROW_MAX: usize = 7;

/// What to draw.
pub(super) struct Request<'a> {
    /// The name of the figure.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// Which cells.
    pub cells: Vec<usize>,
    /// Which figures of each cell, each with its name in the chart, if it has one.
    pub values: &'a [(&'static str, Unit, Get<'a>)],
    /// The column of the horizontal axis.
    pub x: Column,
    /// What distinguishes the lines.
    pub line: LineBy,
}

/// A figure of a cell.
pub(super) type Get<'a> = &'a dyn Fn(usize) -> Option<Estimate>;

/// The cells for which this is true.
pub(super) fn cells(data: &Data, wanted: impl Fn(&Cell) -> bool) -> Vec<usize> {
    let all = data.cells.iter().enumerate();
    // Without a kernel in the way, figures are so small that they only stretch the axes.
    all.filter(|(_, cell)| axes::has_socket(cell.get(Column::backend)) && wanted(cell)).map(|(at, _)| at).collect()
}

/// What is compared across kernels: instructions if they were counted, else time.
pub(super) struct Costs {
    /// The cells of scenarios with rounds. Counts and times are never mixed.
    pub cells: Vec<usize>,
    /// The column.
    pub value: Column,
    /// Its unit.
    pub unit: Unit,
}

/// What is compared across kernels.
pub(super) fn costs(data: &Data) -> Costs {
    let is_counted = data.cells.iter().any(Cell::is_counted);
    let (value, unit) = if is_counted {
        (Column::instructions_per_packet, Unit::Instructions)
    } else {
        (Column::ns_per_packet_p50, Unit::Cost)
    };
    let cells = cells(data, |cell| is_of_rounds(cell) && cell.is_counted() == is_counted);
    Costs { cells, value, unit }
}

/// Whether it is of a scenario with rounds.
pub(super) fn is_of_rounds(cell: &Cell) -> bool {
    ["drain", "send"].contains(&cell.get(Column::scenario))
}

/// A place on the axis, and the estimate there, or why there is none.
type Known = (f64, Result<Estimate, String>);

/// The lines of a chart.
type Drawn = Vec<(Key, Vec<Known>)>;

/// A kind of chart that some cells have no values for, and what to run to get them.
pub(super) fn missing(data: &Data, cells: &[usize], what: &'static str, remedy: &'static str) -> Missing {
    let counts = cells.iter().any(|&cell| !data.counting(cell).is_empty());
    let remedy = if cells.is_empty() || counts { remedy } else { "none of its trials counts; the gates below say why" };
    Missing { what, remedy }
}

/// Draws; an error if there are no values.
pub(super) fn figure(data: &Data, request: Request<'_>) -> Result<Figure, ()> {
    let groups = grouping::groups(data, &request.cells, &[request.x], request.line);
    let waits = grouping::waits(request.cells.iter().map(|&at| &data.cells[at]));
    let kernels = releases::short_names(&data.distinct(Column::kernel));
    let key = |line: &LineId| match request.line {
        LineBy::Series => line.key(&data.series[line.number].name, &waits),
        LineBy::Kernel => Key::new(kernels.get(line.number).map_or("", String::as_str), line.number),
    };
    let place_of = |cell: &usize| data.cells[*cell].get(request.x);
    let several = request.cells.iter().any(|cell| place_of(cell) != place_of(&request.cells[0]));
    let mut panels: Vec<(&Group, usize, Drawn)> = Vec::new();
    for group in &groups {
        for (at, (.., get)) in request.values.iter().enumerate() {
            let lines = group.lines.iter().map(|(line, cells)| (key(line), known(data, cells, request.x, *get)));
            panels.push((group, at, lines.filter(|(_, known)| !known.is_empty()).collect()));
        }
    }
    if !panels.iter().any(|(.., lines)| estimates(lines).next().is_some()) {
        return Err(());
    }
    let (mut charts, mut unknown, mut figures) = (Vec::new(), Vec::new(), Figures::default());
    for (group, at, lines) in &panels {
        let (what, unit, _) = request.values[*at];
        let title = if what.is_empty() { group.title.clone() } else { format!("{}: {what}", group.title) };
        for (key, (x, known)) in lines.iter().flat_map(|(key, all)| all.iter().map(move |known| (key, known))) {
            figures.push(&title, place(request.x, *x), &key.name, cell(unit, known));
        }
        if estimates(lines).next().is_none() {
            let whys = lines.iter().flat_map(|(_, known)| known).filter_map(|(_, known)| known.as_ref().err());
            unknown
                .push(format!("{title}: {NOTHING} ({})", whys.into_iter().next().map_or("no value", String::as_str)));
            continue;
        }
        // Panels of one scenario share a scale, so that they can be compared.
        let alike = panels.iter().filter(|(other, of, _)| (&other.scenario, of) == (&group.scenario, at));
        let axis = value_axis(alike.flat_map(|(.., lines)| estimates(lines)), unit);
        charts
            .extend(parted(&title, lines, |title, lines| draw(title, lines, (request.x, several), unit, axis.clone())));
    }
    let (charts, left_out) = limited(charts);
    let mut notes = request.notes;
    notes.extend(grouping::common(data, &request.cells));
    if !unknown.is_empty() {
        notes.push(without_chart(&unknown));
    }
    let lines = if request.line == LineBy::Kernel { "kernel" } else { "backend" };
    let what = request.values.first().map_or("", |(_, unit, _)| unit.axis());
    let table = figures.table(&format!("{what} (95% interval)"), axis_of(request.x), lines);
    Ok(Figure {
        name: request.name,
        title: request.title,
        notes,
        legend: legend(&charts),
        charts,
        left_out,
        table,
        is_folded: false,
    })
}

/// Says which charts have no data, and why.
pub(super) fn without_chart(unknown: &[String]) -> String {
    const TOLD_MAX: usize = 5;
    let told: Vec<&str> = unknown.iter().take(TOLD_MAX).map(String::as_str).collect();
    let more = unknown.len().saturating_sub(TOLD_MAX);
    let more = if more > 0 { format!("; and {more} more, listed in the table") } else { String::new() };
    format!("Without a chart: {}{more}.", told.join("; "))
}

/// What is known of a line, from left to right.
fn known(data: &Data, cells: &[usize], x: Column, get: Get<'_>) -> Vec<Known> {
    let x = |cell: usize| data.cells[cell].get(x).parse::<f64>().ok().filter(|x| x.is_finite());
    let point = |&cell: &usize| Some((x(cell)?, get(cell).ok_or_else(|| data.why_nothing(cell))));
    let mut known: Vec<Known> = cells.iter().filter_map(point).collect();
    known.sort_by(|a, b| a.0.total_cmp(&b.0));
    known
}

fn estimates(lines: &[(Key, Vec<Known>)]) -> impl Iterator<Item = &Estimate> {
    lines.iter().flat_map(|(_, known)| known).filter_map(|(_, known)| known.as_ref().ok())
}

fn axis_of(x: Column) -> &'static str {
    if x == Column::batch { "batch" } else { "offered per second" }
}

/// A place in a table.
fn place(column: Column, x: f64) -> String {
    if column == Column::batch { format!("{x}") } else { thousands(x) }
}

/// What is known, in a cell of a table.
pub(super) fn cell(unit: Unit, known: &Result<Estimate, String>) -> String {
    let estimate = match known {
        Ok(estimate) => estimate,
        Err(why) => return format!("{NOTHING} ({why})"),
    };
    let limit = if estimate.is_limited { "≥ " } else { "" };
    let mut text = format!("{limit}{}", unit.cell(estimate.median.value));
    if let Some((low, high)) = estimate.median.interval {
        text += &format!(" ({} – {})", unit.cell(low), unit.cell(high));
    }
    text
}

/// The tooltip of a point.
pub(super) fn tip(name: &str, place: &str, unit: Unit, estimate: &Estimate) -> String {
    let limit = if estimate.is_limited { "≥ " } else { "" };
    let mut tip = format!("{name}, {place}: {limit}{}", unit.text(estimate.median.value));
    if let Some((low, high)) = estimate.median.interval {
        tip += &format!(" (95% interval {} to {})", unit.text(low), unit.text(high));
    }
    let s = if estimate.trials == 1 { "" } else { "s" };
    tip += &format!(", {} trial{s}", estimate.trials);
    if let Some(calls) = estimate.per_call {
        tip += &format!(", {calls:.1} datagrams per system call");
    }
    tip
}

fn look(estimate: &Estimate) -> Look {
    if estimate.is_limited { Look::Hollow } else { Look::Plain }
}

/// A place in a tooltip.
fn told(column: Column, x: f64) -> String {
    if column == Column::batch { format!("batch {x}") } else { format!("{}/s", short(x)) }
}

fn draw(title: String, lines: &[(Key, Vec<Known>)], x: (Column, bool), unit: Unit, axis: Axis) -> Chart {
    let (column, several_places) = x;
    let mut places: Vec<f64> = lines.iter().flat_map(|(_, known)| known).map(|(x, _)| *x).collect();
    places.sort_unstable_by(f64::total_cmp);
    places.dedup();
    if let [x] = places[..] {
        let title = if several_places { format!("{title}, {}", told(column, x)) } else { title };
        let rows = lines.iter().filter_map(|(key, known)| Some(row(key, &known.first()?.1, &told(column, x), unit)));
        return Chart::Dots(Dots { title, x: axis, rows: rows.collect(), zone: None, level: None });
    }
    let place = |x: f64| told(column, x);
    let line = |(key, all): &(Key, Vec<Known>)| {
        let point = |(x, known): &Known| {
            known.as_ref().ok().map(|estimate| Point {
                x: *x,
                y: estimate.median.value,
                interval: estimate.median.interval,
                look: look(estimate),
                tip: tip(&key.name, &place(*x), unit, estimate),
            })
        };
        let gap = |(x, known): &Known| {
            known.as_ref().err().map(|why| (*x, format!("{}, {}: nothing, {why}", key.name, place(*x))))
        };
        let (points, gaps) = (all.iter().filter_map(point).collect(), all.iter().filter_map(gap).collect());
        Line { key: key.clone(), points, is_joined: true, gaps }
    };
    let lines = lines.iter().map(line).collect();
    // Every rate is named on the axis.
    let is_wide = column == Column::rate_pps && places.len() > NARROW_MAX;
    let width = if is_wide { WIDE } else { WIDTH };
    let x = place_axis(column, places);
    let (rules, level, zone) = (Vec::new(), None, None);
    Chart::Lines(Lines { title, x, y: axis, lines, rules, level, zone, width, is_dodged: true })
}

fn row(key: &Key, known: &Result<Estimate, String>, place: &str, unit: Unit) -> Row {
    match known {
        Ok(estimate) => Row {
            key: key.clone(),
            x: Some(estimate.median.value),
            interval: estimate.median.interval,
            text: format!("{}{}", if estimate.is_limited { "≥ " } else { "" }, unit.text(estimate.median.value)),
            look: look(estimate),
            tip: tip(&key.name, place, unit, estimate),
        },
        Err(why) => Row {
            key: key.clone(),
            x: None,
            interval: None,
            text: format!("{NOTHING} ({why})"),
            look: Look::Hollow,
            tip: format!("{}, {place}: nothing, {why}", key.name),
        },
    }
}

/// An axis of what was swept, with a tick for each place: logarithmic for batches, where ratios matter; for rates, the
/// one with room for more names.
pub(super) fn place_axis(column: Column, places: Vec<f64>) -> Axis {
    let (low, high) = (places.first().copied().unwrap_or(0.0), places.last().copied().unwrap_or(0.0));
    let label = match column {
        Column::batch => "batch: datagrams asked for per call",
        Column::rate_pps => "offered load: datagrams due per second",
        Column::payload => "payload, bytes",
        Column::window => "window: datagrams in flight",
        column => column.name(),
    };
    let text = |value: f64, step| if column == Column::rate_pps { short_tick(value, step) } else { format!("{value}") };
    let axis = |spread, places: Vec<f64>| Axis::new(Scale::new(spread, low, high), places, label, text);
    let log = axis(Spread::Log, places.clone());
    if column == Column::batch {
        return log;
    }
    let linear = axis(Spread::Linear, places);
    let named = |axis: &Axis| axis.spaced(WIDTH * 0.85).iter().filter(|(_, text)| text.is_some()).count();
    if named(&linear) >= named(&log) { linear } else { log }
}

/// An axis for medians and their intervals; logarithmic if they spread wide.
pub(super) fn value_axis<'a>(estimates: impl Iterator<Item = &'a Estimate>, unit: Unit) -> Axis {
    let values = estimates.flat_map(|estimate| {
        let (low, high) = estimate.median.interval.unwrap_or((estimate.median.value, estimate.median.value));
        [low, high, estimate.median.value]
    });
    let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    // An axis of cores begins at 0.
    let low = if unit == Unit::Cores { 0.0 } else { low };
    let wide = low > 0.0 && high / low >= if unit == Unit::Time { LOG_TIMES_FROM } else { LOG_FROM };
    let (scale, ticks) = if wide { scale::log(low, high) } else { scale::linear(low, high, 5) };
    Axis::new(scale, ticks, unit.axis(), |value, step| unit.tick(value, step))
}
