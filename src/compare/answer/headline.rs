//! The headline: the grid in words, in at most three lines made from few patterns.

use crate::compare::answer::grid::{Cell, Change, Grid, Line, Mark, only_reason};
use crate::compare::answer::text::{constants, rate};
use crate::compare::verdict::Ratio;
use crate::record::column::Better;
use crate::record::columns::Column;
use crate::text::{WIDTH, percent, width, wrap};

/// The most lines.
const LINES_MAX: usize = 3;

/// How much the headline says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Everything.
    Full,
    /// Without intervals.
    NoIntervals,
    /// Only the scenarios' main metrics.
    PrimaryOnly,
    /// Only differences.
    DifferencesOnly,
}

/// The headline of grids, wrapped; empty if there is none. The threshold is a fraction.
pub(crate) fn of(grids: &[Grid<'_>], threshold: f64) -> String {
    let details = [Detail::Full, Detail::NoIntervals, Detail::PrimaryOnly, Detail::DifferencesOnly];
    let mut text = String::new();
    for detail in details {
        text = wrap(&sentences(grids, threshold, detail).join(" ")).replace("\n  ", "\n");
        if text.lines().count() <= LINES_MAX {
            return if text.trim().is_empty() { String::new() } else { text };
        }
    }
    // The rest is in the grid.
    let lines: Vec<&str> = text.lines().take(LINES_MAX).collect();
    let mut text = lines.join("\n");
    while width(text.lines().last().unwrap_or_default()) + 2 > WIDTH {
        text.truncate(text.rfind(' ').unwrap_or(0));
    }
    text.truncate(text.trim_end_matches([',', ';', ':', ' ']).len());
    text + " …\n"
}

/// A sentence for each scenario of each grid.
fn sentences(grids: &[Grid<'_>], threshold: f64, detail: Detail) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    let mut last_new: Option<String> = None;
    // Scenarios without a difference, and those of which nothing is known.
    let (mut same, mut open): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for grid in grids {
        let mut scenarios: Vec<&str> = Vec::new();
        for line in &grid.lines {
            if !scenarios.contains(&line.scenario) {
                scenarios.push(line.scenario);
            }
        }
        for scenario in scenarios {
            let lines: Vec<&Line<'_>> = grid.lines.iter().filter(|line| line.scenario == scenario).collect();
            let differs =
                lines.iter().flat_map(|line| line.cells.iter().flatten()).any(|cell| cell.mark.is_difference());
            if detail == Detail::DifferencesOnly && !differs {
                let mut cells = lines.iter().flat_map(|line| line.cells.iter().flatten());
                let is_same = cells.all(|cell| matches!(cell.mark, Mark::Same | Mark::Certain));
                let silent = if is_same { &mut same } else { &mut open };
                silent.push(format!("{scenario}{}", metric_suffix(lines[0].metric.column)));
                continue;
            }
            // Both sides are named in the first sentence, and again if another side is meant.
            let is_first = sentences.is_empty() || last_new != grid.new;
            last_new.clone_from(&grid.new);
            let parts = parts(grid, &lines, threshold, detail, is_first);
            if !parts.is_empty() {
                sentences.push(format!("{}: {}.", topic(grid, lines[0], is_first), parts.join("; ")));
            }
        }
    }
    let same_is = format!("no difference beyond {}", percent(threshold));
    for (what, mut scenarios) in [(same_is.as_str(), same), ("undecided", open)] {
        scenarios.dedup();
        if !scenarios.is_empty() {
            sentences.push(format!("{what}: {}.", scenarios.join(", ")));
        }
    }
    sentences.into_iter().map(capital).collect()
}

/// The text with a capital at its start.
fn capital(text: String) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// What tells a metric of a scenario from its main one.
fn metric_suffix(column: Column) -> &'static str {
    match column {
        Column::lat_p99_ns => " (p99)",
        Column::instructions_per_packet => " (instructions)",
        Column::peer_instructions_per_packet => " (peer)",
        _ => "",
    }
}

/// The topic of a sentence.
fn topic(grid: &Grid<'_>, line: &Line<'_>, is_first: bool) -> String {
    let what = match (line.scenario, line.metric.column) {
        (_, Column::cpu_ns_per_packet) => "CPU at a fixed rate",
        ("drain", _) => "receiving",
        ("send", _) => "sending",
        ("flood", _) => "under full load",
        ("pace", Column::lat_p50_ns) => "latency at a fixed rate",
        ("echo", Column::lat_p50_ns) => "round trips",
        ("serve", Column::lat_p50_ns) => "answers at a fixed rate",
        ("relay", Column::lat_p50_ns) => "copies at a fixed rate",
        (scenario, _) => scenario,
    };
    let metric = metric_suffix(line.metric.column);
    let sides = match (&grid.base, &grid.new) {
        (Some(base), Some(new)) if is_first => format!("{new} against {base}, "),
        (Some(base), None) if is_first && !grid.axes.is_empty() => return format!("{what}{metric} (against {base})"),
        _ => String::new(),
    };
    let fixed: Vec<(Column, &str)> =
        grid.constant.iter().copied().filter(|(column, _)| *column == Column::batch).collect();
    let at = if is_first && !fixed.is_empty() { format!(", {}", constants(&fixed)) } else { String::new() };
    format!("{sides}{what}{metric}{at}")
}

/// What to say about the lines of one scenario in one grid.
fn parts(grid: &Grid<'_>, lines: &[&Line<'_>], threshold: f64, detail: Detail, is_first: bool) -> Vec<String> {
    let base = grid.base.as_deref().filter(|_| is_first && grid.new.is_none());
    let is_of_several = lines.iter().filter(|line| line.metric == lines[0].metric && !grid.is_folded(line)).count() > 1;
    let mut parts: Vec<String> = Vec::new();
    let primary: Vec<&Line<'_>> =
        lines.iter().copied().filter(|line| line.metric == lines[0].metric && !grid.is_folded(line)).collect();
    let text = if is_of_several {
        over_values(grid, &primary, threshold, detail)
    } else {
        of_one(grid, primary[0], threshold, detail, base)
    };
    parts.push(text);
    if detail == Detail::Full || detail == Detail::NoIntervals {
        let others = lines.iter().filter(|line| line.metric != lines[0].metric || grid.is_folded(line));
        parts.extend(others.filter_map(|line| beside(grid, line)));
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Names as a list.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

/// A change in words: in percent, or as a factor.
fn words(column: Column, better: Better, low: f64, high: f64, half: Option<f64>) -> String {
    let (is_less, is_one) = (high < 1.0, low == high);
    let is_factor = !(0.5..2.0).contains(&low) || !(0.5..2.0).contains(&high);
    let is_cost = better == Better::Lower;
    let is_time = is_cost && !matches!(column, Column::instructions_per_packet | Column::cpu_ns_per_packet);
    let ends = if is_factor && is_less && is_time {
        [1.0 / high, 1.0 / low]
    } else if is_factor {
        [low, high]
    } else if is_less {
        [100.0 * (1.0 - high), 100.0 * (1.0 - low)]
    } else {
        [100.0 * (low - 1.0), 100.0 * (high - 1.0)]
    };
    let decimals = if is_factor { usize::from(ends[1] < 10.0) } else { usize::from(is_one && ends[1] < 10.0) };
    let [from, to] = ends.map(|end| format!("{end:.decimals$}"));
    let size = if from == to { from } else { format!("{from} to {to}") };
    let size = match half {
        Some(half) if !is_factor => format!("{size}% ±{:.1}", 100.0 * half),
        _ if is_factor => format!("{size} times"),
        _ => format!("{size}%"),
    };
    let direction = match (is_time, is_less, is_factor) {
        (true, true, true) => "as fast",
        (true, true, false) => "faster",
        (true, false, true) => "as slow",
        (true, false, false) => "slower",
        (false, _, true) => "as many",
        (false, true, false) if column == Column::cpu_ns_per_packet => "less",
        (false, false, false) if column == Column::cpu_ns_per_packet => "more",
        (false, true, false) => "fewer",
        (false, false, false) => "more",
    };
    format!("{size} {direction}")
}

/// What to say about a line with one value.
fn of_one(grid: &Grid<'_>, line: &Line<'_>, threshold: f64, detail: Detail, base: Option<&str>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let than = base.map_or_else(String::new, |base| format!(" than {base}"));
    let named = |wanted: fn(Mark) -> bool| -> Vec<&str> {
        let cells = grid.columns.iter().zip(&line.cells);
        cells
            .filter(|(_, cell)| cell.as_ref().is_some_and(|cell| wanted(cell.mark)))
            .map(|(name, _)| name.as_str())
            .collect()
    };
    let mut than = Some(than);
    for (name, cell) in grid.columns.iter().zip(&line.cells) {
        let Some(Cell { mark, change: Change::Of(Ratio { value, interval: Some((low, high)) }), .. }) = cell else {
            continue;
        };
        if !mark.is_difference() && *mark != Mark::Certain {
            continue;
        }
        let half = (high - value).max(value - low);
        let half = Some(half).filter(|half| detail == Detail::Full && *half < 0.1);
        let words = words(line.metric.column, line.metric.better, *value, *value, half);
        // The base is named once.
        let than = than.take_if(|_| words.ends_with("er")).unwrap_or_default();
        parts.push(format!("{name} {words}{than}"));
    }
    let same = named(|mark| mark == Mark::Same);
    if same.len() == grid.columns.len() {
        return format!("no difference beyond {}", percent(threshold));
    }
    if !same.is_empty() {
        parts.push(format!("{} within {}", list(&same), percent(threshold)));
    }
    let unclear = named(|mark| mark == Mark::Unclear);
    if !unclear.is_empty() {
        parts.push(format!("{} unclear", list(&unclear)));
    }
    let none = named(|mark| mark == Mark::None);
    if !none.is_empty() {
        let reason = only_reason(line.cells.iter().flatten());
        let reason = reason.map_or_else(String::new, |reason| format!(" ({})", reason.brief()));
        let who = if none.len() == grid.columns.len() { String::new() } else { format!("{}: ", list(&none)) };
        parts.push(format!("{who}no verdict{reason}"));
    }
    parts.join(", ")
}

/// Neighbouring values at which a side has the same verdict.
struct Stretch<'l, 'r> {
    /// The verdict.
    mark: Mark,
    /// The values.
    cells: Vec<(&'l Line<'r>, &'l Cell<'r>)>,
}

/// With more stretches of one side than this, their cells are counted instead.
const STRETCHES_MAX: usize = 3;

/// What to say about lines that differ in the swept axis.
fn over_values(grid: &Grid<'_>, lines: &[&Line<'_>], threshold: f64, detail: Detail) -> String {
    let mut told: Vec<(String, Vec<&str>)> = Vec::new();
    for (at, name) in grid.columns.iter().enumerate() {
        let cells: Vec<(&Line<'_>, &Cell<'_>)> =
            lines.iter().filter_map(|line| Some((*line, line.cells[at].as_ref()?))).collect();
        let text = side(grid, &cells, lines.len(), threshold, detail);
        match told.iter_mut().find(|(known, _)| *known == text) {
            Some((_, names)) => names.push(name),
            None => told.push((text, vec![name])),
        }
    }
    let told: Vec<String> = told
        .into_iter()
        .map(|(text, names)| match names.len() == grid.columns.len() {
            true => text,
            false => format!("{} {text}", list(&names)),
        })
        .collect();
    told.join("; ")
}

/// What to say about a side over all values.
fn side(grid: &Grid<'_>, cells: &[(&Line<'_>, &Cell<'_>)], of_all: usize, threshold: f64, detail: Detail) -> String {
    let mut stretches: Vec<Stretch<'_, '_>> = Vec::new();
    let simple = |mark: Mark| if mark == Mark::Certain { Mark::Same } else { mark };
    for &(line, cell) in cells {
        let mark = simple(cell.mark);
        match stretches.last_mut().filter(|last| last.mark == mark && grid.axes.len() == 1) {
            Some(last) => last.cells.push((line, cell)),
            None => stretches.push(Stretch { mark, cells: vec![(line, cell)] }),
        }
    }
    if stretches.len() > STRETCHES_MAX || grid.axes.len() > 1 {
        return as_a_whole(cells, threshold);
    }
    let is_one = stretches.len() == 1;
    let last = stretches.len() - 1;
    // If only differences are reported, the others are left out.
    let is_told = |stretch: &Stretch<'_, '_>| detail != Detail::DifferencesOnly || stretch.mark != Mark::Same || is_one;
    let told: Vec<String> = stretches
        .iter()
        .enumerate()
        .filter(|(_, stretch)| is_told(stretch))
        .map(|(at, stretch)| {
            let place = place(grid.axes[0], stretch, at == last && at > 0);
            match is_one && stretch.cells.len() == of_all {
                true => said(stretch.mark, &stretch.cells, threshold),
                false => format!("{} {place}", said(stretch.mark, &stretch.cells, threshold)),
            }
        })
        .collect();
    told.join(", ")
}

/// Where a stretch is.
fn place(axis: Column, stretch: &Stretch<'_, '_>, is_last: bool) -> String {
    let value = |at: &(&Line<'_>, &Cell<'_>)| {
        at.0.values
            .first()
            .map_or_else(String::new, |value| if axis == Column::rate_pps { rate(value) } else { (*value).to_owned() })
    };
    let (name, unit) = match axis {
        Column::batch => ("batch ", ""),
        Column::window => ("window ", ""),
        Column::burst => ("burst ", ""),
        Column::rate_pps => ("", ""),
        Column::payload => ("", " bytes"),
        Column::sockets => ("", " sockets"),
        Column::active => ("", " active sockets"),
        Column::flows => ("", " flows"),
        // Not in an order: each is named.
        other => {
            let values: Vec<String> = stretch.cells.iter().map(value).collect();
            return format!("where {} is {}", other.name(), values.join(" or "));
        }
    };
    match &stretch.cells[..] {
        [] => String::new(),
        [one] => format!("at {name}{}{unit}", value(one)),
        [first, ..] if is_last => format!("from {}{unit} on", value(first)),
        [first, .., last] => format!("at {name}{} to {}{unit}", value(first), value(last)),
    }
}

/// The cells of one verdict, in words.
fn said(mark: Mark, cells: &[(&Line<'_>, &Cell<'_>)], threshold: f64) -> String {
    let ratios: Vec<f64> = cells.iter().filter_map(|(_, cell)| cell.ratio()).collect();
    let ends =
        || ratios.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(*value), high.max(*value)));
    match mark {
        Mark::Worse | Mark::Better => {
            let (metric, (low, high)) = (cells[0].0.metric, ends());
            words(metric.column, metric.better, low, high, None)
        }
        Mark::Same | Mark::Certain => format!("within {}", percent(threshold)),
        Mark::Unclear | Mark::Mixed => "unclear".into(),
        Mark::None => {
            let reason = only_reason(cells.iter().map(|(_, cell)| *cell));
            format!("no verdict{}", reason.map_or_else(String::new, |reason| format!(" ({})", reason.brief())))
        }
    }
}

/// If verdicts change too often: how many cells have each.
fn as_a_whole(cells: &[(&Line<'_>, &Cell<'_>)], threshold: f64) -> String {
    let of = |wanted: &[Mark]| -> Vec<(&Line<'_>, &Cell<'_>)> {
        cells.iter().copied().filter(|(_, cell)| wanted.contains(&cell.mark)).collect()
    };
    let kinds: [&[Mark]; 5] =
        [&[Mark::Better], &[Mark::Worse], &[Mark::Same, Mark::Certain], &[Mark::Unclear, Mark::Mixed], &[Mark::None]];
    let told: Vec<String> = kinds
        .into_iter()
        .map(|kind| (kind[0], of(kind)))
        .filter(|(_, cells)| !cells.is_empty())
        .map(|(mark, own)| match own.len() == cells.len() {
            true => said(mark, &own, threshold),
            false => format!("{} in {}", said(mark, &own, threshold), own.len()),
        })
        .collect();
    match &told[..] {
        [one] => one.clone(),
        several => format!("{} of {} rows", several.join(", "), cells.len()),
    }
}

/// What to say about a metric other than the scenario's main one: only differences.
fn beside(grid: &Grid<'_>, line: &Line<'_>) -> Option<String> {
    let mut told = Vec::new();
    for (name, cell) in grid.columns.iter().zip(&line.cells) {
        let Some(cell) = cell.as_ref().filter(|cell| cell.mark.is_difference()) else { continue };
        let (low, high) = match cell.change {
            Change::Of(ratio) => (ratio.value, ratio.value),
            Change::Span(low, high) => (low, high),
            Change::Unknown => continue,
        };
        // A cost is more or less, not slower or faster.
        let words = words(Column::cpu_ns_per_packet, line.metric.better, low, high, None).replace("as many", "as much");
        told.push(match (line.scenario, line.metric.column) {
            ("drain", Column::peer_ns_per_packet) => format!("sending to {name} costs {words}"),
            ("send", Column::peer_ns_per_packet) => format!("receiving from {name} costs {words}"),
            (_, Column::lat_p99_ns) => {
                format!("p99 {words} with {name}").replace(" more ", " higher ").replace(" less ", " lower ")
            }
            (_, Column::cpu_ns_per_packet) => format!("{name} takes {words} CPU"),
            (_, Column::peer_instructions_per_packet) => format!("the peer of {name} takes {words}"),
            (_, column) => format!("{} {words} with {name}", column.name()),
        });
    }
    (!told.is_empty()).then(|| told.join(", "))
}
