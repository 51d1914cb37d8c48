//! Which cells are on one chart: those that differ only in what the chart tells apart.

use std::collections::BTreeMap;

use crate::commands::report::charts::units::short;
use crate::commands::report::data::{COUNT, Cell, Data, axis, axis_name};

/// What a line of a chart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineBy {
    /// A backend with its variant.
    Series,
    /// A kernel.
    Kernel,
}

impl LineBy {
    /// The columns that follow from it.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Series => &["backend", "variant", "buffers"],
            Self::Kernel => &["kernel"],
        }
    }
}

/// Cells for one chart.
#[derive(Debug)]
pub(super) struct Group {
    /// What tells it from the other groups.
    pub title: String,
    /// What all its cells have in common.
    key: Vec<Option<String>>,
    /// The cells, by line: a number that stands for the line in all charts.
    pub lines: BTreeMap<usize, Vec<usize>>,
}

/// Sorts cells into groups; those of a line differ in the column `x` only.
pub(super) fn groups(data: &Data, cells: &[usize], x: &str, line: LineBy) -> Vec<Group> {
    let kernels = data.distinct("kernel");
    let is_free = |at: usize| axis_name(at) == x || line.columns().contains(&axis_name(at));
    let mut groups: Vec<Group> = Vec::new();
    let mut known: BTreeMap<Vec<Option<&str>>, usize> = BTreeMap::new();
    for &at in cells {
        let cell = &data.cells[at];
        let key: Vec<Option<&str>> = (0..COUNT).map(|at| (!is_free(at)).then_some(cell.fields[at].as_str())).collect();
        let common = |at: usize| match axis_name(at) {
            // The name of the series has them all, and tells apart where one of them does.
            "backend" => Some(data.series[cell.series].name.clone()),
            "variant" | "buffers" => None,
            _ => key[at].map(str::to_owned),
        };
        let owned = || (0..COUNT).map(|at| key[at].and_then(|_| common(at))).collect();
        let next = groups.len();
        let group = *known.entry(key.clone()).or_insert_with(|| {
            groups.push(Group { title: String::new(), key: owned(), lines: BTreeMap::new() });
            next
        });
        let line = match line {
            LineBy::Series => cell.series,
            LineBy::Kernel => kernels.iter().position(|kernel| *kernel == cell.field("kernel")).unwrap_or(0),
        };
        groups[group].lines.entry(line).or_default().push(at);
    }
    let titles = titles(data, &groups);
    groups.iter_mut().zip(titles).for_each(|(group, title)| group.title = title);
    groups
}

/// What each group is called: its scenario, and the columns that tell it from the others. A column that follows from
/// those before it tells nothing.
fn titles(data: &Data, groups: &[Group]) -> Vec<String> {
    let mut telling = vec![axis("scenario")];
    let several_kernels = data.distinct("kernel").len() > 1;
    for at in 0..COUNT {
        let mut found: BTreeMap<Vec<&Option<String>>, &Option<String>> = BTreeMap::new();
        let follows = groups.iter().all(|group| {
            let key = telling.iter().map(|&at| &group.key[at]).collect();
            *found.entry(key).or_insert(&group.key[at]) == &group.key[at]
        });
        let is_new = !telling.contains(&at) && (!follows || axis_name(at) == "kernel" && several_kernels);
        if is_new {
            telling.push(at);
        }
    }
    let title = |group: &Group| {
        let cell = group.lines.values().flatten().next().map(|&at| &data.cells[at]);
        let parts = telling.iter().filter(|&&at| group.key[at].is_some());
        let texts = parts.filter_map(|&at| cell.map(|cell| told(data, cell, at)));
        texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
    };
    groups.iter().map(title).collect()
}

/// A field of a cell, in words.
fn told(data: &Data, cell: &Cell, at: usize) -> String {
    let value = cell.fields[at].as_str();
    if value.is_empty() {
        return String::new();
    }
    let number = |value: &str| value.parse().map_or_else(|_| value.to_owned(), short);
    match axis_name(at) {
        "scenario" | "addressing" | "accel" => value.into(),
        "backend" => data.series[cell.series].name.clone(),
        "payload" => format!("{value} bytes"),
        "rate_pps" => format!("{}/s", number(value)),
        "wait" => {
            if value == "spin" {
                "spinning".into()
            } else {
                format!("{value}ing")
            }
        }
        "bind" => format!("on {value}"),
        "fd_table" => format!("{value} descriptor table"),
        "workers" => {
            if value == "1" {
                "1 worker".into()
            } else {
                format!("{value} workers")
            }
        }
        "handoff" => {
            if value == "1" {
                "handoff".into()
            } else {
                "no handoff".into()
            }
        }
        "duration_target_s" => format!("{value} s"),
        "warmup_s" => format!("warm-up {value} s"),
        "kernel" => format!("Linux {value}"),
        "file" => file(data, value),
        name => format!("{name} {value}"),
    }
}

/// The name of a file by its number.
fn file(data: &Data, number: &str) -> String {
    let found = number.parse().ok().and_then(|at: usize| data.files.get(at));
    found.map_or_else(String::new, |(name, _)| name.clone())
}

/// What all cells have in common of what matters to a reader, in words.
pub(super) fn common(data: &Data, cells: &[usize]) -> Option<String> {
    const TOLD: [&str; 6] = ["batch", "payload", "round", "rate_pps", "window", "wait"];
    let first = &data.cells[*cells.first()?];
    let is_common = |name: &&&str| cells.iter().all(|&at| data.cells[at].field(name) == first.field(name));
    let words: Vec<String> = TOLD.iter().filter(is_common).map(|name| told(data, first, axis(name))).collect();
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| format!("All of it: {}.", words.join(", ")))
}
