//! Charts of one kind with the figures behind them, and how many of them fit on a page.

use std::collections::BTreeMap;

use crate::commands::report::svg::Chart;
use crate::commands::report::svg::marks::Key;

/// The most charts of one kind that are drawn.
const CHARTS_MAX: usize = 16;

/// The most lines of one chart; more lines make several charts.
const LINES_MAX: usize = 8;

/// The most rows of a table.
const ROWS_MAX: usize = 400;

/// The most columns of a table; more become rows instead.
const PIVOTED_MAX: usize = 8;

/// Charts of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Its name, which is part of file names.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// How each series looks.
    pub legend: Vec<Key>,
    /// The charts.
    pub charts: Vec<Chart>,
    /// The titles of the charts that are left out.
    pub left_out: Vec<String>,
    /// The figures.
    pub table: Table,
    /// Whether it is collapsed.
    pub is_folded: bool,
}

/// The figures behind charts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The names of the columns.
    pub header: Vec<String>,
    /// How many columns at the beginning are text.
    pub texts: usize,
    /// The rows.
    pub rows: Vec<Vec<String>>,
    /// How many rows are left out.
    pub left_out: usize,
}

impl Table {
    pub(super) fn new(header: &[&str], texts: usize) -> Self {
        let header = header.iter().map(|&name| name.to_owned()).collect();
        Self { header, texts, rows: Vec::new(), left_out: 0 }
    }

    pub(super) fn push(&mut self, row: impl FnOnce() -> Vec<String>) {
        if self.rows.len() < ROWS_MAX { self.rows.push(row()) } else { self.left_out += 1 }
    }
}

/// What a table shows where there is no value.
pub(super) const NOTHING: &str = "-";

/// Figures, with the rows and columns that they will have.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Row, column and figure.
    all: Vec<([String; 2], String, String)>,
}

impl Figures {
    /// Adds the next figure, of a chart, a place on its axis, and a line.
    pub(super) fn push(&mut self, chart: &str, place: String, line: &str, figure: String) {
        self.all.push(([chart.to_owned(), place], line.to_owned(), figure));
    }

    /// A row for each chart and place, and a column for each line; with too many lines, a row for each figure. `what`
    /// says what the figures are.
    pub(super) fn table(self, what: &str, place: &str, lines: &str) -> Table {
        let mut columns: Vec<&str> = Vec::new();
        for (_, line, _) in &self.all {
            if !columns.contains(&line.as_str()) {
                columns.push(line);
            }
        }
        if columns.len() > PIVOTED_MAX {
            let mut table = Table::new(&["cell", place, lines, what], 3);
            for (row, line, figure) in &self.all {
                table.push(|| row.iter().chain([line, figure]).cloned().collect());
            }
            return table;
        }
        let header: Vec<&str> = [what, place].into_iter().chain(columns.iter().copied()).collect();
        let mut known: BTreeMap<&[String; 2], usize> = BTreeMap::new();
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (row, line, figure) in &self.all {
            let at = *known.entry(row).or_insert_with(|| {
                let nothing = columns.iter().map(|_| NOTHING.to_owned());
                rows.push(row.iter().cloned().chain(nothing).collect());
                rows.len() - 1
            });
            let column = columns.iter().position(|known| known == line).map_or(0, |column| 2 + column);
            rows[at][column].clone_from(figure);
        }
        let mut table = Table::new(&header, 2);
        rows.into_iter().for_each(|row| table.push(|| row));
        table
    }
}

/// A kind of chart of which there are none.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    /// What they would show.
    pub what: &'static str,
    /// What has to be run for them.
    pub remedy: &'static str,
}

/// Charts of one kind; or what they would need, unless they make no sense here.
pub(super) type FigureOrMissing = Result<Figure, Option<Missing>>;

/// Draws lines, on several charts if there are too many for one.
pub(super) fn parted<L>(title: &str, lines: &[L], mut draw: impl FnMut(String, &[L]) -> Chart) -> Vec<(usize, Chart)> {
    let count = lines.len().div_ceil(LINES_MAX);
    let parts = lines.chunks(lines.len().div_ceil(count.max(1)).max(1));
    let numbered = |(index, lines): (usize, &[L])| {
        let part = if count > 1 { format!(" ({} of {count})", index + 1) } else { String::new() };
        (index, draw(format!("{title}{part}"), lines))
    };
    parts.enumerate().map(numbered).collect()
}

/// The charts that are drawn, and the titles of those left out. First parts come first: if not all can be shown, the
/// first lines matter most.
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
    keys.sort_by_key(|key| (key.style, key.dashes));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_swept_are_the_rows_and_a_place_without_a_figure_stays() {
        let mut figures = Figures::default();
        for (place, line, figure) in [("1", "plain", "a"), ("1", "uring", "b"), ("8", "uring", "c")] {
            figures.push("drain", place.into(), line, figure.into());
        }
        let table = figures.table("ns", "batch", "backend");
        assert_eq!(table.header, ["ns", "batch", "plain", "uring"]);
        assert_eq!(table.rows, [["drain", "1", "a", "b"], ["drain", "8", "-", "c"]]);
        let mut many = Figures::default();
        (0..20).for_each(|line| many.push("drain", "1".into(), &format!("uring:{line}"), "a".into()));
        let table = many.table("ns", "batch", "backend");
        assert_eq!((table.rows.len(), table.rows[19].join(" ")), (20, "drain 1 uring:19 a".into()));
    }
}
