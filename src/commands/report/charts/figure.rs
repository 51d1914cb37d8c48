//! Charts of one kind with the figures behind them, and how many of them a page has room for.

use crate::commands::report::svg::Chart;
use crate::commands::report::svg::marks::Key;

/// The most charts of one kind that are drawn.
const CHARTS_MAX: usize = 16;

/// The most lines of one chart; where there are more, there are several charts.
const LINES_MAX: usize = 8;

/// The most rows of a table.
const ROWS_MAX: usize = 400;

/// Charts of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Its name, which is part of names of files.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// How each series looks.
    pub legend: Vec<Key>,
    /// The charts.
    pub charts: Vec<Chart>,
    /// The titles of those that are left out.
    pub left_out: Vec<String>,
    /// The figures.
    pub table: Table,
}

/// The figures behind charts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The names of the columns.
    pub header: Vec<&'static str>,
    /// How many columns at the beginning are text.
    pub texts: usize,
    /// The rows.
    pub rows: Vec<Vec<String>>,
    /// How many rows are left out.
    pub left_out: usize,
}

impl Table {
    pub(super) fn new(header: Vec<&'static str>, texts: usize) -> Self {
        Self { header, texts, rows: Vec::new(), left_out: 0 }
    }

    pub(super) fn push(&mut self, row: impl FnOnce() -> Vec<String>) {
        if self.rows.len() < ROWS_MAX { self.rows.push(row()) } else { self.left_out += 1 }
    }
}

/// A kind of charts of which there are none.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    /// What they would show.
    pub what: &'static str,
    /// What has to be run for them.
    pub remedy: &'static str,
}

/// Charts of one kind; or what there would have to be for them, unless they make no sense here.
pub(super) type FigureOrMissing = Result<Figure, Option<Missing>>;

/// Draws some lines: on several charts where they are too many for one.
pub(super) fn parted<L>(title: &str, lines: &[L], mut draw: impl FnMut(String, &[L]) -> Chart) -> Vec<(usize, Chart)> {
    let count = lines.len().div_ceil(LINES_MAX);
    let parts = lines.chunks(lines.len().div_ceil(count.max(1)).max(1));
    let numbered = |(index, lines): (usize, &[L])| {
        let part = if count > 1 { format!(" ({} of {count})", index + 1) } else { String::new() };
        (index, draw(format!("{title}{part}"), lines))
    };
    parts.enumerate().map(numbered).collect()
}

/// The charts that are drawn, and the titles of those that are too many. The first parts come first: where not all can
/// be shown, the first lines are worth most.
pub(super) fn limited(mut charts: Vec<(usize, Chart)>) -> (Vec<Chart>, Vec<String>) {
    charts.sort_by_key(|(part, _)| *part);
    let mut charts: Vec<Chart> = charts.into_iter().map(|(_, chart)| chart).collect();
    let others = charts.split_off(charts.len().min(CHARTS_MAX));
    (charts, others.iter().map(|chart| chart.title().to_owned()).collect())
}

/// The series that charts show, in their order.
pub(super) fn legend(charts: &[Chart]) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for chart in charts {
        let Chart::Lines(chart) = chart else { continue };
        for line in &chart.lines {
            if !keys.contains(&line.key) {
                keys.push(line.key.clone());
            }
        }
    }
    keys.sort_by_key(|key| key.style);
    keys
}
