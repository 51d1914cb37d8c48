//! The change of each backend against the base, with intervals, by the verdicts of `compare`.

use std::collections::BTreeSet;

use crate::commands::report::charts::figure::{Figure, FigureOrMissing, Figures, NOTHING, legend, limited, parted};
use crate::commands::report::charts::grouping::{self, LineId};
use crate::commands::report::charts::plot;
use crate::commands::report::charts::units::Unit;
use crate::commands::report::data::Data;
use crate::commands::report::svg::Chart;
use crate::commands::report::svg::axis::Axis;
use crate::commands::report::svg::dots::{Dots, Row};
use crate::commands::report::svg::lines::{Line, Lines, Point};
use crate::commands::report::svg::marks::{Key, Look, WIDE, WIDTH};
use crate::commands::report::svg::scale;
use crate::compare::answer::grid::side_name;
use crate::compare::comparisons::Comparisons;
use crate::compare::judge::Comparison;
use crate::compare::metrics;
use crate::compare::sections;
use crate::compare::swept::Swept;
use crate::compare::verdict::Verdict;
use crate::record::cell::CellKey;
use crate::record::column::Better;
use crate::record::columns::Column;
use crate::text::percent;

/// A chart with more marks than this takes the whole width of the page.
const NARROW_MAX: usize = 48;

/// With more lines than this, each metric has a chart of its own.
const TOGETHER_MAX: usize = 6;

/// Changes beyond this, in percent, are drawn at the edge of the axis.
const PCT_MAX: f64 = 1000.0;

/// A chart: comparisons that differ only in the swept axis.
struct Panel<'a> {
    title: String,
    scenario: &'a str,
    swept: Column,
    /// Whether all metrics of its scenario are in it.
    has_all: bool,
    lines: Vec<(Place, Key, Vec<Seen<'a>>)>,
}

/// The place of a line among others: by metric, series and way of waiting.
type Place = (usize, LineId);

/// A comparison at a value of the swept axis.
type Seen<'a> = (f64, &'a Comparison);

/// The changes that were compared; nothing if kernels were compared.
pub(super) fn figure(data: &Data, report: Option<&Comparisons>) -> FigureOrMissing {
    let Some(report) = report.filter(|report| report.by.frees(Column::backend)) else { return Err(None) };
    let panels = panels(data, report);
    let Some(first) = panels.iter().flat_map(|panel| &panel.lines).find_map(|(.., seen)| seen.first()) else {
        return Err(None);
    };
    let base = side_name(first.1, 0);
    let (mut charts, mut unknown, mut figures) = (Vec::new(), Vec::new(), Figures::default());
    let reason = |(.., seen): &(Place, Key, Vec<Seen<'_>>)| seen.first().map(|(_, one)| why(one));
    for panel in &panels {
        for (key, (x, one)) in panel.lines.iter().flat_map(|(_, key, seen)| seen.iter().map(move |seen| (key, seen))) {
            figures.push(&panel.title, at(panel.swept, *x), &key.name, told(one));
        }
        // There is nothing to draw: the table and a note say why.
        if !panel.lines.iter().flat_map(|(.., seen)| seen).any(|(_, one)| change(one).is_some()) {
            unknown.push(format!(
                "{}: {NOTHING} ({})",
                panel.title,
                panel.lines.iter().find_map(reason).unwrap_or_default()
            ));
            continue;
        }
        let alike = panels.iter().filter(|other| other.scenario == panel.scenario);
        let (scale, ticks) = scale(alike.flat_map(|panel| &panel.lines).flat_map(|(.., seen)| seen), report.threshold);
        let label = format!("change against {base}, %; {}", direction(panel));
        let axis = Axis::new(scale, ticks, &label, |value, step| Unit::Change.tick(value, step));
        let lines: Vec<(Key, Vec<Seen<'_>>)> =
            panel.lines.iter().map(|(_, key, seen)| (key.clone(), seen.clone())).collect();
        charts.extend(parted(&panel.title, &lines, |title, lines| draw(title, lines, panel, report, axis.clone())));
    }
    let (charts, left_out) = limited(charts);
    let threshold = percent(report.threshold);
    let mut notes = vec![format!(
        "How much more or less each costs than {base} in this run, with 95% intervals; in the grey band a change is \
         below {threshold}. Hollow: unclear, or no verdict; hover over a point for the reason."
    )];
    if !unknown.is_empty() {
        notes.push(plot::without_chart(&unknown));
    }
    let (name, title) = ("change", "Change against the base");
    let table = figures.table("change in % (95% interval)", "swept", "backend");
    Ok(Figure { name, title, notes, legend: legend(&charts), charts, left_out, table, is_folded: false })
}

/// Sorts the comparisons into charts: one for each scenario and each value of what was not swept; with too many lines,
/// one for each metric.
fn panels<'a>(data: &Data, report: &'a Comparisons) -> Vec<Panel<'a>> {
    let waits = grouping::waits(data.cells.iter());
    let mut panels: Vec<(Panel<'a>, PanelKey<'a>)> = Vec::new();
    let swept = Swept::of(report.comparisons.iter().map(|one| &one.cell));
    for section in sections::of(report) {
        let scenario = section[0].cell.get(Column::scenario);
        let metric = section[0].metric.column;
        let Some(number) = metrics::defaults(scenario, "").iter().position(|known| *known == metric) else { continue };
        let swept = swept.axis(scenario);
        let others = |one: &Comparison| one.cell.without(|axis| axis == swept || axis == Column::wait);
        let keys: Vec<CellKey> = section.iter().map(|one| others(one)).collect();
        let telling = sections::telling(&keys.iter().collect::<Vec<_>>());
        let conditions = told_apart(&section);
        let sides: BTreeSet<(&str, &str)> =
            section.iter().map(|one| (one.sides[1].as_str(), one.cell.get(Column::wait))).collect();
        let is_apart = 2 * sides.len() > TOGETHER_MAX;
        for (one, key) in section.iter().zip(keys) {
            let key: PanelKey<'a> = (is_apart.then_some(metric), key, one.conditions.as_slice());
            let at = panels.iter().position(|(_, known)| *known == key).unwrap_or_else(|| {
                let shown = telling.iter().chain(&conditions).map(|&column| (column, one.get(column)));
                let title = title(scenario, is_apart.then(|| what(metric)), shown);
                panels.push((Panel { title, scenario, swept, has_all: !is_apart, lines: Vec::new() }, key));
                panels.len() - 1
            });
            panels[at].0.add(data, one, number, &waits);
        }
    }
    panels.into_iter().map(|(panel, _)| panel).collect()
}

/// What tells charts apart: the metric, if each has a chart of its own; the cell, without what is on the axis or tells
/// lines apart; and the conditions.
type PanelKey<'a> = (Option<Column>, CellKey, &'a [(Column, String)]);

/// The conditions that differ between comparisons.
fn told_apart(section: &[&Comparison]) -> Vec<Column> {
    let differs = |column: &Column| section.iter().any(|one| one.get(*column) != section[0].get(*column));
    section[0].conditions.iter().map(|(column, _)| *column).filter(differs).collect()
}

/// What a metric measures.
fn what(metric: Column) -> &'static str {
    match metric {
        Column::peer_ns_per_packet => "the peer",
        Column::ns_per_packet_p50 => "cost",
        Column::rx_pps => "rate",
        Column::lat_p50_ns => "median latency",
        Column::lat_p99_ns => "99th percentile",
        other => other.name(),
    }
}

fn title<'a>(scenario: &str, what: Option<&str>, telling: impl Iterator<Item = (Column, &'a str)>) -> String {
    let others = telling.filter(|(_, value)| !value.is_empty());
    let others = others.map(|(column, value)| grouping::words(column, value));
    [scenario].into_iter().chain(what).map(str::to_owned).chain(others).collect::<Vec<_>>().join(", ")
}

impl<'a> Panel<'a> {
    /// Adds a comparison of a metric to its line. The scenario's main metric has number 0.
    fn add(&mut self, data: &Data, one: &'a Comparison, metric: usize, waits: &[&str]) {
        let name = side_name(one, 1);
        let begins = |series: &str| series.strip_prefix(&name).is_some_and(|rest| rest.starts_with(", "));
        let series = data.series.iter().position(|series| series.name == name || begins(&series.name));
        let line = LineId::of_series(series.unwrap_or(data.series.len()), one.cell.get(Column::wait), waits);
        let x = one.cell.get(self.swept).parse().unwrap_or(0.0);
        match self.lines.iter_mut().find(|(known, ..)| *known == (metric, line)) {
            Some((.., seen)) => seen.push((x, one)),
            None => {
                let mut key = line.key(&name, waits);
                // If both metrics are in one chart, dashes tell them apart.
                if self.has_all {
                    key.dashes = waits.len().max(1) * metric + line.wait;
                }
                if self.has_all && metric > 0 {
                    key.name += &format!(", {}", what(one.metric.column));
                }
                self.lines.push(((metric, line), key, vec![(x, one)]));
            }
        }
        self.lines.sort_by_key(|(place, ..)| *place);
        self.lines.iter_mut().for_each(|(.., seen)| seen.sort_by(|a, b| a.0.total_cmp(&b.0)));
    }
}

/// The value of the swept axis, in a chart that has only one.
fn only_value<'a>(panel: &Panel<'a>) -> &'a str {
    panel.lines.iter().find_map(|(.., seen)| seen.first()).map_or("", |(_, one)| one.cell.get(panel.swept))
}

fn direction(panel: &Panel<'_>) -> &'static str {
    let first = panel.lines.iter().find_map(|(.., seen)| seen.first());
    match first.map(|(_, one)| one.metric.better) {
        Some(Better::Higher) => "more is better",
        _ => "less is better",
    }
}

/// A change in percent, with its interval.
type Change = (f64, Option<(f64, f64)>);

fn change(one: &Comparison) -> Option<Change> {
    let pct = |ratio: f64| 100.0 * (ratio - 1.0);
    let ratio = one.figures.ratio.filter(|ratio| ratio.value.is_finite())?;
    Some((pct(ratio.value), ratio.interval.map(|(low, high)| (pct(low), pct(high)))))
}

/// A change as far as a chart shows it.
fn drawn(one: &Comparison) -> Option<Change> {
    let within = |pct: f64| pct.min(PCT_MAX);
    change(one).map(|(value, interval)| (within(value), interval.map(|(low, high)| (within(low), within(high)))))
}

/// Why there is no verdict.
fn why(one: &Comparison) -> String {
    one.reason.as_ref().map_or_else(|| "no interval".into(), ToString::to_string)
}

fn verdict(one: &Comparison) -> &'static str {
    if one.verdict == Verdict::None { "no verdict" } else { one.verdict.name() }
}

/// A comparison in a table.
fn told(one: &Comparison) -> String {
    let verdict = match one.verdict {
        Verdict::None => format!("no verdict: {}", why(one)),
        verdict => verdict.name().into(),
    };
    match change(one) {
        Some((value, Some((low, high)))) => format!("{value:+.1}% ({low:+.1} – {high:+.1}) {verdict}"),
        Some((value, None)) => format!("{value:+.1}% {verdict}"),
        None => format!("{NOTHING} ({})", why(one)),
    }
}

fn scale<'a>(seen: impl Iterator<Item = &'a Seen<'a>>, threshold: f64) -> (scale::Scale, Vec<f64>) {
    let changes: Vec<_> = seen.filter_map(|(_, one)| drawn(one)).collect();
    // The band is always shown whole.
    let room = 120.0 * threshold;
    let values = changes.iter().map(|(value, _)| *value);
    let (low, high) = values.fold((-room, room), |(low, high), value| (low.min(value), high.max(value)));
    // One wild interval must not squeeze all others.
    let wide = high - low;
    let ends = changes.iter().filter_map(|(_, interval)| *interval);
    let (low, high) = ends
        .fold((low, high), |known, ends| (known.0.min(ends.0.max(low - wide)), known.1.max(ends.1.min(high + wide))));
    scale::linear(low, high, 5)
}

fn at(column: Column, x: f64) -> String {
    if column == Column::batch { format!("batch {x}") } else { grouping::words(column, &format!("{x}")) }
}

fn look(one: &Comparison) -> Look {
    if matches!(one.verdict, Verdict::Unclear | Verdict::None) { Look::Hollow } else { Look::Plain }
}

fn tip(key: &Key, place: &str, one: &Comparison) -> String {
    format!("{}, {place}: {}", key.name, told(one))
}

fn draw(title: String, lines: &[(Key, Vec<Seen<'_>>)], panel: &Panel<'_>, report: &Comparisons, axis: Axis) -> Chart {
    let mut places: Vec<f64> = lines.iter().flat_map(|(_, seen)| seen).map(|(x, _)| *x).collect();
    places.sort_unstable_by(f64::total_cmp);
    places.dedup();
    let place = |x: f64| at(panel.swept, x);
    let (level, zone) = (Some(0.0), Some(band(report.threshold)));
    if let [x] = places[..] {
        let is_told = report.comparisons.iter().any(|one| {
            let is_alike = one.cell.get(Column::scenario) == panel.scenario;
            is_alike && one.cell.get(panel.swept) != only_value(panel)
        });
        let title = if is_told { format!("{title}, {}", place(x)) } else { title };
        let row = |(key, seen): &(Key, Vec<Seen<'_>>)| {
            let (_, one) = *seen.first()?;
            let text = change(one).map_or_else(|| told(one), |(value, _)| format!("{value:+.1}% {}", verdict(one)));
            let tip = tip(key, &place(x), one);
            let (x, interval) = drawn(one).unzip();
            Some(Row { key: key.clone(), x, interval: interval.flatten(), text, look: look(one), tip })
        };
        return Chart::Dots(Dots { title, x: axis, rows: lines.iter().filter_map(row).collect(), zone, level });
    }
    let line = |(key, seen): &(Key, Vec<Seen<'_>>)| {
        let point = |(x, one): &Seen<'_>| {
            drawn(one).map(|(y, interval)| Point {
                x: *x,
                y,
                interval,
                look: look(one),
                tip: tip(key, &place(*x), one),
            })
        };
        let gaps = seen.iter().filter(|(_, one)| change(one).is_none());
        Line {
            key: key.clone(),
            points: seen.iter().filter_map(point).collect(),
            is_joined: true,
            gaps: gaps.map(|(x, one)| (*x, tip(key, &place(*x), one))).collect(),
        }
    };
    let width = if lines.len() * places.len() > NARROW_MAX { WIDE } else { WIDTH };
    let x = plot::place_axis(panel.swept, places);
    let lines = lines.iter().map(line).collect();
    Chart::Lines(Lines { title, x, y: axis, lines, rules: Vec::new(), level, zone, width, is_dodged: true })
}

/// The range of changes below the threshold, in percent.
fn band(threshold: f64) -> (f64, f64) {
    (100.0 * (1.0 / (1.0 + threshold) - 1.0), 100.0 * threshold)
}
