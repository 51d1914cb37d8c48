//! The grid as text, in 80 columns.

use std::collections::BTreeSet;
use std::ops::Range;

use anstyle::{AnsiColor, Style};

use crate::compare::answer::grid::{Cell, Change, Grid, Line, Mark, only_reason};
use crate::compare::sections::short;
use crate::compare::verdict::Ratio;
use crate::console::Look;
use crate::record::columns::Column;
use crate::text::{WIDTH, digits, percent, width, wrap};

/// Names of columns are cut to this.
const NAME_MAX: usize = 20;

impl Mark {
    /// The mark as a character.
    fn sign(self, unicode: bool) -> char {
        let [unicode_sign, ascii] = match self {
            Self::Worse => ['▲', '!'],
            Self::Better => ['▽', '*'],
            Self::Same => ['=', '='],
            Self::Certain => ['~', '~'],
            Self::Unclear => ['?', '?'],
            Self::None => ['–', '-'],
            Self::Mixed => ['…', '/'],
        };
        if unicode { unicode_sign } else { ascii }
    }

    /// Its meaning. The threshold is a fraction.
    pub(crate) fn meaning(self, threshold: f64) -> String {
        match self {
            Self::Worse => "worse".into(),
            Self::Better => "better".into(),
            Self::Same => format!("same within {}", percent(threshold)),
            Self::Certain => "same, yet not equal".into(),
            Self::Unclear => "unclear".into(),
            Self::None => "no verdict".into(),
            Self::Mixed => "varies".into(),
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Worse => AnsiColor::Red.on_default().bold(),
            Self::Better => AnsiColor::Green.on_default().bold(),
            Self::Unclear | Self::None => AnsiColor::Yellow.on_default(),
            Self::Same | Self::Certain | Self::Mixed => Style::new(),
        }
    }
}

/// From this ratio on, or below its inverse, a change is shown as a factor.
const FACTOR_MIN: f64 = 2.0;

/// A change in percent; large ones as factors, imprecise ones as the ends of their interval.
pub(crate) fn change_text(change: Change) -> String {
    let is_factor = |ratio: f64| !(1.0 / FACTOR_MIN..FACTOR_MIN).contains(&ratio);
    let factor = |ratio: f64| match ratio {
        100.0.. => format!("x{ratio:.0}"),
        10.0.. => format!("x{ratio:.1}"),
        0.1.. => format!("x{ratio:.2}"),
        _ => format!("x{ratio:.3}"),
    };
    let pct = |ratio: f64| 100.0 * (ratio - 1.0);
    let signed = |pct: f64, decimals: usize| {
        let text = format!("{pct:+.decimals$}");
        // The sign of +0.0 or -0.0 means nothing.
        if text.trim_start_matches(['+', '-', '0', '.']).is_empty() { text[1..].to_owned() } else { text }
    };
    match change {
        Change::Unknown => String::new(),
        Change::Of(Ratio { value, interval: None }) if is_factor(value) => factor(value),
        Change::Of(Ratio { value, interval: None }) => signed(pct(value), 1),
        Change::Of(Ratio { value, interval: Some((low, high)) }) => {
            let half = (high - value).max(value - low);
            match () {
                () if half > 0.1 * value && (is_factor(low) || is_factor(high)) => {
                    format!("{}..{}", factor(low), factor(high).trim_start_matches('x'))
                }
                () if half > 0.1 * value => format!("{}..{}", signed(pct(low), 0), signed(pct(high), 0)),
                () if is_factor(value) => {
                    let text = factor(value);
                    let decimals = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
                    format!("{text} ±{half:.decimals$}")
                }
                () => format!("{} ±{:.1}", signed(pct(value), 1), 100.0 * half),
            }
        }
        Change::Span(low, high) if is_factor(low) || is_factor(high) => {
            format!("{}..{}", factor(low), factor(high).trim_start_matches('x'))
        }
        Change::Span(low, high) => format!("{}..{}", signed(pct(low), 1), signed(pct(high), 1)),
    }
}

/// The label of a metric's rows, with the unit.
pub(crate) fn metric_label(column: Column) -> String {
    match column {
        Column::ns_per_packet_p50 => "ns".into(),
        Column::peer_ns_per_packet => "peer ns".into(),
        Column::rx_pps => "per second".into(),
        Column::lat_p50_ns => "p50 µs".into(),
        Column::lat_p99_ns => "p99 µs".into(),
        Column::cpu_ns_per_packet => "CPU ns".into(),
        Column::instructions_per_packet => "instructions".into(),
        Column::peer_instructions_per_packet => "peer instr.".into(),
        other => other.name().into(),
    }
}

/// A value of a metric: latencies in µs, rates in thousands or millions.
pub(crate) fn value_text(column: Column, value: f64) -> String {
    match column {
        _ if is_latency(column) => digits(value / 1e3),
        Column::rx_pps | Column::tx_pps => match value {
            1e6.. => format!("{:.2} M", value / 1e6),
            1e3.. => format!("{:.1} k", value / 1e3),
            _ => digits(value),
        },
        _ => digits(value),
    }
}

/// Whether a column is a latency in ns, which is shown in µs.
pub(crate) fn is_latency(column: Column) -> bool {
    column.name().starts_with("lat_") && column.name().ends_with("_ns")
}

/// Grids, and the legend of their marks.
pub(crate) fn render(grids: &[Grid<'_>], of: &str, threshold: f64, look: Look) -> String {
    let grids_text: Vec<String> = grids.iter().map(|grid| one(grid, of, look)).collect();
    let mut text = grids_text.join("\n");
    let cells = || grids.iter().flat_map(|grid| &grid.lines).flat_map(|line| &line.cells).flatten();
    let marks: BTreeSet<Mark> = cells().map(|cell| cell.mark).collect();
    let why = only_reason(cells()).map_or_else(String::new, |reason| format!(": {}", reason.brief()));
    let meaning = |mark: &Mark| {
        let why = if *mark == Mark::None { why.as_str() } else { "" };
        format!("{} {}{why}", mark.sign(look.unicode), mark.meaning(threshold))
    };
    let meanings = wrap(&marks.iter().map(meaning).collect::<Vec<String>>().join("  "));
    text += &if look.unicode { meanings } else { plain(&meanings) };
    text
}

/// The text in ASCII only.
pub(crate) fn plain(text: &str) -> String {
    let plain = [('±', "+-"), ('µ', "u"), ('–', "-"), ('…', ".."), ('≥', ">=")];
    plain.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// What all rows share, in words.
pub(crate) fn constants(constant: &[(Column, &str)]) -> String {
    let word = |(column, value): &(Column, &str)| match *column {
        Column::payload => format!("{value} bytes"),
        Column::rate_pps => format!("{} per second", rate(value)),
        Column::wait => format!("wait {value}"),
        Column::backend => (*value).to_owned(),
        other => format!("{} {value}", short(other)),
    };
    constant.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// A rate with a unit prefix.
pub(crate) fn rate(value: &str) -> String {
    match value.parse::<u64>() {
        Ok(rate) if rate >= 1_000_000 && rate % 100_000 == 0 => format!("{}M", rate as f64 / 1e6),
        Ok(rate) if rate >= 1000 && rate % 100 == 0 => format!("{}k", rate as f64 / 1e3),
        _ => value.to_owned(),
    }
}

fn title(grid: &Grid<'_>, of: &str) -> String {
    let first = &grid.lines[0];
    let what = if grid.axes.is_empty() {
        "change in %".to_owned()
    } else {
        format!("{}, {}: change in %", first.scenario, metric_label(first.metric.column))
    };
    // These are nearly always the same, and in the table.
    let hidden = [Column::round, Column::window];
    let against = match (&grid.base, &grid.new) {
        (Some(base), Some(new)) => format!("{new} against {base}"),
        (Some(base), None) => format!("against {base}"),
        (None, _) => "against the one before".into(),
    };
    let constants =
        constants(&grid.constant.iter().copied().filter(|(column, _)| !hidden.contains(column)).collect::<Vec<_>>());
    let constants = if constants.is_empty() { constants } else { format!("; {constants}") };
    format!("{what} {against}{of}, ± 95% interval{constants}")
}

/// The head of a row: a text for each column before the base.
fn head(grid: &Grid<'_>, line: &Line<'_>, before: Option<&Line<'_>>) -> Vec<String> {
    let label = metric_label(line.metric.column);
    if grid.axes.is_empty() {
        let is_new = before.is_none_or(|before| before.scenario != line.scenario);
        return vec![if is_new { line.scenario.to_owned() } else { String::new() }, label];
    }
    if grid.is_folded(line) {
        let mut cells = vec![String::new(); grid.axes.len()];
        cells[0] = label;
        return cells;
    }
    let values = grid.axes.iter().zip(&line.values);
    values.map(|(axis, value)| if *axis == Column::rate_pps { rate(value) } else { (*value).to_owned() }).collect()
}

/// A grid laid out in columns: heads, the base, a change for each name, and datagrams per call.
struct Layout<'g, 'r> {
    grid: &'g Grid<'r>,
    look: Look,
    /// The texts before the changes, for the header and for each line.
    left: Vec<Vec<String>>,
    left_widths: Vec<usize>,
    /// The names of the columns, cut to fit.
    names: Vec<String>,
    widths: Vec<usize>,
    /// Datagrams per call, for each line.
    calls: Vec<Option<String>>,
    calls_width: usize,
}

impl<'g, 'r> Layout<'g, 'r> {
    fn new(grid: &'g Grid<'r>, names: Vec<String>, look: Look) -> Self {
        let has_base = grid.lines.iter().any(|line| line.base.is_some());
        let mut top: Vec<String> = match grid.axes[..] {
            [] => vec![String::new(); 2],
            _ => grid.axes.iter().map(|axis| short(*axis).to_owned()).collect(),
        };
        top.extend(has_base.then(|| grid.base.clone().unwrap_or_default()));
        let mut left = vec![top];
        for (at, line) in grid.lines.iter().enumerate() {
            let mut row = head(grid, line, at.checked_sub(1).map(|before| &grid.lines[before]));
            let base = line.base.map_or_else(|| "-".into(), |base| value_text(line.metric.column, base));
            row.extend(has_base.then_some(base));
            left.push(row);
        }
        let widest = |at: usize| left.iter().map(|row| width(&row[at])).max().unwrap_or(0);
        let left_widths = (0..left[0].len()).map(widest).collect();
        let calls: Vec<Option<String>> = grid.lines.iter().map(per_call).collect();
        let calls_width = calls.iter().flatten().map(|text| width(text)).max().unwrap_or(0).max(width(PER_CALL));
        let mut layout = Self { grid, look, left, left_widths, names, widths: Vec::new(), calls, calls_width };
        let of_column = |at: usize| {
            let texts = grid.lines.iter().map(|line| width(&layout.change(&line.cells[at])) + 2);
            texts.chain([width(&layout.names[at])]).max().unwrap_or(0)
        };
        layout.widths = (0..layout.names.len()).map(of_column).collect();
        layout
    }

    /// The change in a cell.
    fn change(&self, cell: &Option<Cell<'_>>) -> String {
        let text = cell.as_ref().map_or_else(String::new, |cell| change_text(cell.change));
        if self.look.unicode { text } else { plain(&text) }
    }

    /// How wide a line is that has these columns of changes.
    fn width(&self, columns: &Range<usize>) -> usize {
        let all = self.left_widths.iter().chain(&self.widths[columns.clone()]);
        all.map(|width| width + 2).sum::<usize>() - 2
    }

    /// The columns of changes, in blocks that fit beside the heads.
    fn blocks(&self) -> Vec<Range<usize>> {
        let mut blocks: Vec<Range<usize>> = Vec::new();
        for at in 0..self.names.len() {
            match blocks.last_mut().filter(|block| self.width(&(block.start..at + 1)) <= WIDTH) {
                Some(block) => block.end = at + 1,
                None => blocks.push(at..at + 1),
            }
        }
        blocks
    }

    /// The header, or a line of the grid, with a block of columns.
    fn line(&self, line: Option<usize>, columns: Range<usize>, has_calls: bool) -> String {
        let mut parts: Vec<String> = Vec::new();
        let heads = if self.grid.axes.is_empty() { 2 } else { self.grid.axes.len() };
        for (at, (part, width)) in self.left[line.map_or(0, |line| line + 1)].iter().zip(&self.left_widths).enumerate()
        {
            let is_text = at < heads && self.grid.axes.get(at).is_none_or(|axis| !is_number(*axis));
            parts.push(if is_text { format!("{part:<width$}") } else { format!("{part:>width$}") });
        }
        for column in columns {
            let width = self.widths[column];
            parts.push(match line.map(|line| &self.grid.lines[line].cells[column]) {
                None => format!("{:>width$}", self.names[column]),
                Some(cell) => {
                    let mark = cell.as_ref().map(|cell| cell.mark);
                    let sign = mark.map_or(' ', |mark| mark.sign(self.look.unicode));
                    let style = mark.filter(|_| self.look.coloured).map_or_else(Style::new, Mark::style);
                    format!("{style}{:>1$} {sign}{style:#}", self.change(cell), width - 2)
                }
            });
        }
        let calls = line.map_or(Some(PER_CALL), |line| self.calls[line].as_deref()).unwrap_or_default();
        parts.extend(has_calls.then(|| format!("{calls:>0$}", self.calls_width)));
        format!("{}\n", parts.join("  ").trim_end())
    }
}

/// The name of the last column.
const PER_CALL: &str = "per call";

fn one(grid: &Grid<'_>, of: &str, look: Look) -> String {
    let mut cut: Vec<String> = Vec::new();
    let names: Vec<String> = grid.columns.iter().map(|name| cut_name(name, &mut cut)).collect();
    let layout = Layout::new(grid, names, look);
    let blocks = layout.blocks();
    let mut text = wrap(&title(grid, of));
    for block in &blocks {
        // More than three sides would be more than a reader can tell apart.
        let has_calls = blocks.len() == 1
            && block.len() <= 3
            && layout.calls.iter().any(Option::is_some)
            && layout.width(block) + 2 + layout.calls_width <= WIDTH;
        let lines = std::iter::once(None).chain((0..grid.lines.len()).map(Some));
        text.extend(lines.map(|line| layout.line(line, block.clone(), has_calls)));
    }
    text.extend(cut.iter().map(|full| wrap(full)));
    if look.unicode { text } else { plain(&text) }
}

fn is_number(axis: Column) -> bool {
    [Column::batch, Column::payload, Column::round, Column::rate_pps, Column::window, Column::ring].contains(&axis)
}

/// A name, cut to the longest that fits; a cut name is explained in full.
fn cut_name(name: &str, told: &mut Vec<String>) -> String {
    if width(name) <= NAME_MAX {
        return name.to_owned();
    }
    let short: String = name.chars().take(NAME_MAX - 1).chain(['…']).collect();
    told.push(format!("{short} is {name}."));
    short
}

/// How many datagrams a system call moved, for the base and for each side. Only for rows with the scenario's main
/// metric.
fn per_call(line: &Line<'_>) -> Option<String> {
    let cells: Vec<&Cell<'_>> = line.cells.iter().flatten().collect();
    let base = cells.first()?.per_call[0];
    let all: Vec<f64> = base.into_iter().chain(cells.iter().filter_map(|cell| cell.per_call[1])).collect();
    let is_whole = line.is_primary() && all.len() == cells.len() + 1;
    let number = |calls: &f64| {
        if *calls < 9.95 && calls.fract().abs() > 0.05 { format!("{calls:.1}") } else { format!("{calls:.0}") }
    };
    is_whole.then(|| all.iter().map(number).collect::<Vec<_>>().join(" / "))
}
