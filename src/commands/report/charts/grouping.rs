//! Which cells share a chart: those that differ only in what the chart distinguishes.

use std::collections::{BTreeMap, BTreeSet};

use crate::commands::report::charts::units::short;
use crate::commands::report::data::{CONDITIONS, Cell, Data, Facet};
use crate::commands::report::svg::marks::Key;
use crate::compare::axes;
use crate::record::columns::Column;

/// What a line of a chart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineBy {
    /// A backend with its variant, and whether its worker spins or sleeps.
    Series,
    /// A kernel.
    Kernel,
}

impl LineBy {
    /// Whether it determines a column.
    fn decides(self, column: Column) -> bool {
        match self {
            Self::Series => matches!(column, Column::backend | Column::variant | Column::buffers | Column::wait),
            Self::Kernel => column == Column::kernel,
        }
    }
}

/// A line of charts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LineId {
    /// The number of a series or of a kernel.
    pub number: usize,
    /// The number of the way of waiting.
    pub wait: usize,
}

impl LineId {
    /// The line of a cell, among cells whose workers wait in these ways.
    pub(super) fn of_series(series: usize, wait: &str, waits: &[&str]) -> Self {
        Self { number: series, wait: waits.iter().position(|known| *known == wait).unwrap_or(0) }
    }

    /// The name and the look of a series: if there are several ways of waiting, its dashes show which one is its own.
    pub(super) fn key(self, name: &str, waits: &[&str]) -> Key {
        match waits {
            [_, _, ..] => {
                let name = format!("{name}, {}", waiting(waits[self.wait]));
                Key { name, style: self.number, dashes: self.wait }
            }
            _ => Key::new(name, self.number),
        }
    }
}

/// The ways in which the workers of cells wait, spinning first.
pub(super) fn waits<'a>(cells: impl Iterator<Item = &'a Cell>) -> Vec<&'a str> {
    let all: BTreeSet<&str> = cells.map(|cell| cell.get(Column::wait)).filter(|wait| !wait.is_empty()).collect();
    let mut waits: Vec<&str> = all.into_iter().collect();
    waits.sort_by_key(|wait| *wait != "spin");
    waits
}

/// A way of waiting, in words.
fn waiting(wait: &str) -> String {
    if wait == "spin" { "spinning".into() } else { format!("{wait}ing") }
}

/// Cells for one chart.
#[derive(Debug)]
pub(super) struct Group {
    /// What tells it from the other groups.
    pub title: String,
    /// What all its cells share, in the order of [`Facet::all`].
    key: Vec<Option<String>>,
    /// The scenario.
    pub scenario: String,
    /// The cells, by line.
    pub lines: BTreeMap<LineId, Vec<usize>>,
}

/// Sorts cells into groups; the cells of a line differ only in the columns `along`.
pub(super) fn groups(data: &Data, cells: &[usize], along: &[Column], line: LineBy) -> Vec<Group> {
    let waits = waits(cells.iter().map(|&at| &data.cells[at]));
    let kernels = data.distinct(Column::kernel);
    let with_socket = cells.iter().map(|&at| &data.cells[at]).find(|cell| axes::has_socket(cell.get(Column::backend)));
    let of_sockets = |column: Column| {
        const OF_SOCKETS: [Column; 7] = [
            Column::fd_table,
            Column::sockets,
            Column::active,
            Column::skew,
            Column::flows,
            Column::sharding,
            Column::steer,
        ];
        OF_SOCKETS.contains(&column) || CONDITIONS.contains(&column)
    };
    let is_free = |of: Facet| matches!(of, Facet::Of(column) if along.contains(&column) || line.decides(column));
    let mut groups: Vec<Group> = Vec::new();
    let mut known: BTreeMap<Vec<Option<&str>>, usize> = BTreeMap::new();
    for &at in cells {
        let cell = &data.cells[at];
        // A backend without a socket has no descriptor and no queue: it is drawn on the chart of those that have them.
        let text = |of| match of {
            Facet::Of(column) if of_sockets(column) && !axes::has_socket(cell.get(Column::backend)) => {
                with_socket.map_or("", |with_socket| with_socket.get(column))
            }
            _ => cell.text(of),
        };
        let key: Vec<Option<&str>> = Facet::all().map(|of| (!is_free(of)).then(|| text(of))).collect();
        let common = |(of, text): (Facet, &str)| match of {
            // The name of the series contains them all, and distinguishes series if one of them does.
            Facet::Of(Column::backend) => Some(data.series[cell.series].name.clone()),
            Facet::Of(Column::variant | Column::buffers) => None,
            _ => Some(text.to_owned()),
        };
        let owned = || Facet::all().zip(&key).map(|(of, text)| text.and_then(|text| common((of, text)))).collect();
        let next = groups.len();
        let group = *known.entry(key.clone()).or_insert_with(|| {
            let scenario = cell.get(Column::scenario).to_owned();
            groups.push(Group { title: String::new(), key: owned(), scenario, lines: BTreeMap::new() });
            next
        });
        let line = match line {
            LineBy::Series => LineId::of_series(cell.series, cell.get(Column::wait), &waits),
            LineBy::Kernel => {
                let number = kernels.iter().position(|kernel| *kernel == cell.get(Column::kernel)).unwrap_or(0);
                LineId { number, wait: 0 }
            }
        };
        groups[group].lines.entry(line).or_default().push(at);
    }
    let titles = titles(data, &groups);
    groups.iter_mut().zip(titles).for_each(|(group, title)| group.title = title);
    groups
}

/// The name of each group: its scenario, and the columns that distinguish it from the others. A column that follows
/// from those before it is left out.
fn titles(data: &Data, groups: &[Group]) -> Vec<String> {
    let facets: Vec<Facet> = Facet::all().collect();
    let is_scenario = |at: &usize| facets[*at] == Facet::Of(Column::scenario);
    let mut telling: Vec<usize> = (0..facets.len()).filter(is_scenario).collect();
    let several_kernels = data.distinct(Column::kernel).len() > 1;
    for (at, of) in facets.iter().enumerate() {
        let mut found: BTreeMap<Vec<&Option<String>>, &Option<String>> = BTreeMap::new();
        let follows = groups.iter().all(|group| {
            let key = telling.iter().map(|&at| &group.key[at]).collect();
            *found.entry(key).or_insert(&group.key[at]) == &group.key[at]
        });
        let is_kernel = *of == Facet::Of(Column::kernel);
        if !telling.contains(&at) && (!follows || is_kernel && several_kernels) {
            telling.push(at);
        }
    }
    let title = |group: &Group| {
        let cell = group.lines.values().flatten().next().map(|&at| &data.cells[at]);
        let parts = telling.iter().filter(|&&at| group.key[at].is_some());
        let texts = parts.filter_map(|&at| cell.map(|cell| told(data, cell, facets[at])));
        texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
    };
    groups.iter().map(title).collect()
}

/// A facet of a cell, in words.
fn told(data: &Data, cell: &Cell, of: Facet) -> String {
    let value = cell.text(of);
    if value.is_empty() {
        return String::new();
    }
    match of {
        Facet::Of(Column::backend) => data.series[cell.series].name.clone(),
        Facet::Of(column) => words(column, value),
        Facet::File => data.set.files[cell.file()].clone(),
    }
}

/// A value of a column, in words.
pub(super) fn words(column: Column, value: &str) -> String {
    let number = |value: &str| value.parse().map_or_else(|_| value.to_owned(), short);
    match column {
        Column::scenario | Column::addressing | Column::accel => value.into(),
        Column::payload => format!("{value} bytes"),
        Column::rate_pps => format!("{}/s", number(value)),
        Column::wait => waiting(value),
        Column::bind => format!("on {value}"),
        Column::fd_table => format!("{value} descriptor table"),
        Column::sockets if value == "1" => "1 socket".into(),
        Column::sockets => format!("{value} sockets"),
        Column::flows if value == "1" => "1 source port".into(),
        Column::flows => format!("{value} source ports"),
        Column::sharding if value == "ports" => "a port for each worker".into(),
        Column::sharding if value == "reuseport" => "one port, a socket for each worker".into(),
        Column::sharding if value == "single" => "one socket for all workers".into(),
        Column::steer if !value.is_empty() => format!("steered by {value}"),
        Column::active => format!("{value} of them with traffic"),
        Column::workers if value == "1" => "1 worker".into(),
        Column::workers => format!("{value} workers"),
        Column::handoff if value == "1" => "handoff".into(),
        Column::handoff => "no handoff".into(),
        Column::duration_target_s => format!("{value} s"),
        Column::warmup_s => format!("warm-up {value} s"),
        Column::kernel => format!("Linux {value}"),
        _ => format!("{} {value}", column.name()),
    }
}

/// What all cells share and a reader needs to know, in words.
pub(super) fn common(data: &Data, cells: &[usize]) -> Option<String> {
    const TOLD: [Column; 6] =
        [Column::batch, Column::payload, Column::round, Column::rate_pps, Column::window, Column::wait];
    let first = &data.cells[*cells.first()?];
    let is_common = |column: &&Column| cells.iter().all(|&at| data.cells[at].get(**column) == first.get(**column));
    let words: Vec<String> =
        TOLD.iter().filter(is_common).map(|column| told(data, first, Facet::Of(*column))).collect();
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| format!("All trials: {}.", words.join(", ")))
}
