//! The grid: a row for each value swept, a column for each side compared, and a change in each cell.

use std::collections::{BTreeSet, HashMap};

use crate::compare::axes::{self, By};
use crate::compare::comparisons::Comparisons;
use crate::compare::judge::Comparison;
use crate::compare::metrics::{self, Metric};
use crate::compare::sections::split_axes;
use crate::compare::verdict::{Ratio, Verdict};
use crate::compare::warnings::Reason;
use crate::record::columns::Column;

/// The verdict of a cell of the grid, in the order in which the legend explains the marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// Certainly worse.
    Worse,
    /// Certainly better.
    Better,
    /// Same: any difference is within the threshold.
    Same,
    /// Same, but there certainly is a difference.
    Certain,
    /// The trials are inconclusive.
    Unclear,
    /// No verdict.
    None,
    /// Verdicts differ between the values.
    Mixed,
}

impl Mark {
    fn of(one: &Comparison) -> Self {
        match one.verdict {
            Verdict::Worse => Self::Worse,
            Verdict::Better => Self::Better,
            Verdict::Same if one.is_certain() => Self::Certain,
            Verdict::Same => Self::Same,
            Verdict::Unclear => Self::Unclear,
            Verdict::None => Self::None,
        }
    }

    /// Whether the verdict is a difference.
    pub(crate) fn is_difference(self) -> bool {
        matches!(self, Self::Worse | Self::Better)
    }
}

/// How much a side differs from the base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// Not known.
    Unknown,
    /// The ratio to the base, with its interval if there is one.
    Of(Ratio),
    /// The smallest and the largest ratio over several values.
    Span(f64, f64),
}

/// A cell of the grid.
#[derive(Clone, Debug)]
pub(crate) struct Cell<'r> {
    /// The verdict.
    pub mark: Mark,
    /// The change.
    pub change: Change,
    /// Why there is no verdict.
    pub reason: Option<&'r Reason>,
    /// Datagrams per system call of the base and of the side.
    pub per_call: [Option<f64>; 2],
}

impl<'r> Cell<'r> {
    fn of(one: &'r Comparison) -> Self {
        let change = one.figures.ratio.map_or(Change::Unknown, Change::Of);
        Self { mark: Mark::of(one), change, reason: one.reason.as_ref(), per_call: one.per_call }
    }

    /// One cell for several, with the range of their changes.
    fn folded(cells: &[Self]) -> Option<Self> {
        let (first, others) = cells.split_first()?;
        if others.is_empty() {
            return Some(first.clone());
        }
        let is_all = |marks: &[Mark]| cells.iter().all(|cell| marks.contains(&cell.mark));
        let mark = match first.mark {
            mark if is_all(&[mark]) => mark,
            _ if is_all(&[Mark::Same, Mark::Certain]) => Mark::Same,
            _ => Mark::Mixed,
        };
        let ratios = || cells.iter().filter_map(Self::ratio);
        let (low, high) = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max));
        let change = if low <= high { Change::Span(low, high) } else { Change::Unknown };
        Some(Self { mark, change, reason: first.reason, per_call: [None; 2] })
    }

    /// The ratio to the base, if it is one number.
    pub(crate) fn ratio(&self) -> Option<f64> {
        match self.change {
            Change::Of(ratio) => Some(ratio.value),
            _ => None,
        }
    }
}

/// Why cells have no verdict, if all cells without one have the same reason.
pub(crate) fn only_reason<'c, 'r: 'c>(cells: impl Iterator<Item = &'c Cell<'r>>) -> Option<&'r Reason> {
    let mut reasons = cells.filter(|cell| cell.mark == Mark::None).map(|cell| cell.reason);
    let first = reasons.next()??;
    reasons.all(|other| other.is_some_and(|other| other.is_like(first))).then_some(first)
}

/// A row of the grid.
#[derive(Clone, Debug)]
pub(crate) struct Line<'r> {
    /// The scenario.
    pub scenario: &'r str,
    /// The metric.
    pub metric: Metric,
    /// The values of the grid's axes; empty for a line over all values.
    pub values: Vec<&'r str>,
    /// The value of the base, if all columns have the same base.
    pub base: Option<f64>,
    /// One cell for each column; `None` if there is no such trial.
    pub cells: Vec<Option<Cell<'r>>>,
}

impl Line<'_> {
    /// Whether it shows the scenario's main metric.
    pub(crate) fn is_primary(&self) -> bool {
        let is_counted = [Column::instructions_per_packet, Column::peer_instructions_per_packet];
        let accel = if is_counted.contains(&self.metric.column) { "icount" } else { "" };
        metrics::defaults(self.scenario, accel).first() == Some(&self.metric.column)
    }
}

/// Changes against one base: one row for each scenario and metric, or the rows of one swept scenario and metric.
#[derive(Clone, Debug)]
pub(crate) struct Grid<'r> {
    /// The axes that tell the rows of one scenario and metric apart; empty if each has one row.
    pub axes: Vec<Column>,
    /// What all rows share.
    pub constant: Vec<(Column, &'r str)>,
    /// The side that all others are compared with; `None` if each is compared with the one before it.
    pub base: Option<String>,
    /// The new side, if there is only one and the columns are backends.
    pub new: Option<String>,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub lines: Vec<Line<'r>>,
}

impl Grid<'_> {
    /// Whether a line spans all swept values.
    pub(crate) fn is_folded(&self, line: &Line<'_>) -> bool {
        line.values.len() < self.axes.len()
    }
}

/// The grids of a report: one for everything that was not swept, and one for each swept scenario and metric.
pub(crate) fn of(report: &Comparisons) -> Vec<Grid<'_>> {
    let mut grids: Vec<Grid<'_>> = Vec::new();
    let mut topics: Vec<(&str, &str, Vec<&Comparison>)> = Vec::new();
    for one in report.comparisons.iter() {
        let new = if is_by_backend(report) || report.in_steps { "" } else { one.sides[1].as_str() };
        let key = (one.cell.get(Column::scenario), new);
        match topics.iter_mut().find(|(scenario, new, _)| (*scenario, *new) == key) {
            Some((.., all)) => all.push(one),
            None => topics.push((key.0, key.1, vec![one])),
        }
    }
    for (_, _, all) in &topics {
        for grid in of_scenario(report, all) {
            let is_like = |known: &&mut Grid<'_>| {
                known.axes.is_empty()
                    && grid.axes.is_empty()
                    && (&known.columns, &known.base, &known.new) == (&grid.columns, &grid.base, &grid.new)
            };
            match grids.iter_mut().find(is_like) {
                Some(known) => known.lines.extend(grid.lines),
                None => grids.push(grid),
            }
        }
    }
    // A grid of several scenarios says only what holds for each that has a value.
    let holds = |(column, value): &(Column, &str)| {
        let values = report.comparisons.iter().map(|one| one.cell.get(*column)).filter(|value| !value.is_empty());
        values.into_iter().all(|other| other == *value)
    };
    for grid in grids.iter_mut().filter(|grid| grid.axes.is_empty()) {
        grid.constant.retain(holds);
    }
    grids
}

fn is_by_backend(report: &Comparisons) -> bool {
    report.by.frees(Column::backend)
}

/// Columns that say which side it is, not what was measured.
const WHO: [Column; 3] = [Column::backend, Column::variant, Column::buffers];

/// The subject of a comparison: if backends are compared, the new side; else the backend, and if each side is compared
/// with the one before it, also the side.
fn who(report: &Comparisons, one: &Comparison) -> String {
    if report.by == By::Column(Column::variant) || report.by == By::Column(Column::backend) {
        return side_name(one, 1);
    }
    if report.in_steps {
        return report.short(&one.sides[1]).to_owned();
    }
    let get = |column| one.cell.get(column);
    axes::brief(get(Column::backend), get(Column::variant), [get(Column::addressing), get(Column::sockets)])
}

/// The name of a side: its backend with the modes that were asked for.
pub(crate) fn side_name(one: &Comparison, side: usize) -> String {
    let side = &one.sides[side];
    let Some((backend, variant, buffers)) = axes::parts(side) else { return side.clone() };
    let brief = axes::brief(backend, variant, [Column::addressing, Column::sockets].map(|axis| one.cell.get(axis)));
    match buffers {
        Some(buffers) => format!("{brief}/{buffers}"),
        None => brief,
    }
}

fn of_scenario<'r>(report: &'r Comparisons, all: &[&'r Comparison]) -> Vec<Grid<'r>> {
    let (mut axes, constant) = split_axes(all);
    let own = |one: &Comparison| who(report, one);
    if !report.in_steps {
        axes.retain(|axis| !WHO.contains(axis));
    }
    let key = |one: &'r Comparison, axes: &[Column]| axes.iter().map(|axis| one.get(*axis)).collect::<Vec<&str>>();
    // Two cells of one backend that differ only in columns that are no longer axes are told apart by all of these.
    let places: BTreeSet<_> = all.iter().map(|one| (key(one, &axes), own(one), one.metric.name())).collect();
    if places.len() < all.len() {
        axes = split_axes(all).0;
    }
    let mut columns: Vec<String> = Vec::new();
    for name in all.iter().map(|one| own(one)) {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    let bases: BTreeSet<&str> = all.iter().map(|one| one.sides[0].as_str()).collect();
    let base = (bases.len() == 1 && !report.in_steps).then(|| report.short(&side_name(all[0], 0)).to_owned());
    let new = (!is_by_backend(report) && !report.in_steps).then(|| report.short(&all[0].sides[1]).to_owned());
    let shown = |column: &Column| *column != Column::backend || !is_by_backend(report) && columns.len() == 1;
    let constant: Vec<(Column, &str)> = constant.into_iter().filter(|(column, _)| shown(column)).collect();

    let places: HashMap<String, usize> = columns.iter().cloned().enumerate().map(|(at, name)| (name, at)).collect();
    let mut lines: Vec<Line<'r>> = Vec::new();
    let mut known: HashMap<(&str, Vec<&str>), usize> = HashMap::new();
    for one in all {
        let values = key(one, &axes);
        let at = *known.entry((one.metric.name(), values.clone())).or_insert(lines.len());
        if at == lines.len() {
            let base = one.figures.medians[0].map(|median| median.value).filter(|_| is_by_backend(report));
            let (scenario, cells) = (one.cell.get(Column::scenario), vec![None; columns.len()]);
            lines.push(Line { scenario, metric: one.metric, values, base, cells });
        }
        lines[at].cells[places[&own(one)]] = Some(Cell::of(one));
    }
    let mut metrics: Vec<Metric> = Vec::new();
    lines.iter().for_each(|line| {
        if !metrics.contains(&line.metric) {
            metrics.push(line.metric);
        }
    });
    let grid = |axes: &[Column], lines| Grid {
        axes: axes.to_vec(),
        constant: constant.clone(),
        base: base.clone(),
        new: new.clone(),
        columns: columns.clone(),
        lines,
    };
    if lines.len() == metrics.len() {
        return vec![grid(&[], lines)];
    }
    let mut grids: Vec<Grid<'r>> = Vec::new();
    for metric in metrics {
        let own: Vec<Line<'r>> = lines.iter().filter(|line| line.metric == metric).cloned().collect();
        match grids.first_mut().filter(|_| is_of_the_peer(metric)) {
            Some(first) => first.lines.push(folded(&own, columns.len())),
            None => grids.push(grid(&axes, own)),
        }
    }
    grids
}

/// The peer's metrics hardly change over a sweep: one line is enough.
fn is_of_the_peer(metric: Metric) -> bool {
    [Column::peer_ns_per_packet, Column::peer_instructions_per_packet].contains(&metric.column)
}

fn folded<'r>(lines: &[Line<'r>], columns: usize) -> Line<'r> {
    let mut bases: Vec<f64> = lines.iter().filter_map(|line| line.base).collect();
    bases.sort_unstable_by(f64::total_cmp);
    let column = |at: usize| lines.iter().filter_map(|line| line.cells[at].clone()).collect::<Vec<Cell<'r>>>();
    Line {
        values: Vec::new(),
        base: bases.get(bases.len() / 2).copied(),
        cells: (0..columns).map(|at| Cell::folded(&column(at))).collect(),
        ..lines[0].clone()
    }
}
