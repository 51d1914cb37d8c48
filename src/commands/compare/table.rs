//! Comparisons for people: a table for each scenario and metric, in 80 columns where the cells allow it.

use std::collections::BTreeSet;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table};

use crate::compare::answer::Answer;
use crate::compare::comparisons::Comparisons;
use crate::compare::judge::Comparison;
use crate::compare::judged::Judged;
use crate::compare::sections::{self, short, split_axes};
use crate::compare::verdict::{Basis, Verdict};
use crate::compare::{counts, steps};
use crate::console::Look;
use crate::record::columns::Column;
use crate::stats::median::Median;
use crate::text::{digits, percent, plain_table, trim_lines, wrap};

/// The columns of figures.
const FIGURES: [&str; 6] = ["base ±", "new ±", "change", "95% interval", "q", "verdict"];

/// Formats a report.
pub(crate) fn render(report: &Comparisons, look: Look) -> String {
    let mut parts: Vec<String> = vec![Answer::of(report).render(look)];
    parts.extend(sections::of(report).iter().map(|rows| section(report, rows, look.coloured)));
    if report.in_steps {
        parts.push(steps::text(report));
    }
    parts.push(legend(report) + &report.notes.iter().map(|note| wrap(note)).collect::<String>());
    parts.join("\n")
}

fn section(report: &Comparisons, rows: &[&Comparison], coloured: bool) -> String {
    let metric = rows[0].metric;
    let distinct = |side: usize| rows.iter().map(|row| row.sides[side].as_str()).collect::<BTreeSet<_>>();
    let [has_bases, has_news] = [distinct(0).len() > 1, distinct(1).len() > 1];
    let side = |row: &Comparison, at: usize| report.short(&row.sides[at]).to_owned();
    let (axes, constant) = split_axes(rows);
    let scenario = rows[0].cell.get(Column::scenario);
    let mut title = format!("{scenario}: {} in {}, {} is better", metric.name(), metric.unit, metric.better.name());
    match (has_bases, has_news) {
        (false, false) => title += &format!("; {} against {}", side(rows[0], 1), side(rows[0], 0)),
        (false, true) => title += &format!("; against {} {}", report.by.name(), side(rows[0], 0)),
        _ => {}
    }
    title.extend(constant.iter().map(|(axis, value)| format!("; {} {value}", short(*axis))));
    let mut table = plain_table();
    let mut header: Vec<&str> = Vec::new();
    header.extend(has_bases.then_some("base"));
    header.extend(has_news.then_some(if has_bases { "new" } else { report.by.name() }));
    let names = header.len();
    header.extend(axes.iter().map(|&axis| short(axis)));
    let texts = header.len();
    header.extend(FIGURES);
    table.set_header(&header);
    for row in rows {
        let mut line: Vec<String> = Vec::new();
        line.extend(has_bases.then(|| side(row, 0)));
        line.extend(has_news.then(|| side(row, 1)));
        line.extend(axes.iter().map(|&axis| row.get(axis).to_owned()));
        line.extend(figures(row));
        table.add_row(line);
    }
    align(&mut table, |index| index < names || index < texts && axes[index - names] != Column::batch);
    let text = trim_lines(&table.to_string());
    let text = if coloured { colour(&text, rows) } else { text };
    format!("{}{text}\n", wrap(&title))
}

fn figures(row: &Comparison) -> [String; 6] {
    let [base, new] = row.figures.medians.map(|median| median.map_or_else(|| "-".into(), with_interval));
    let [change, interval, q] = change(row);
    [base, new, change, interval, q, verdict(row)]
}

/// The change, its interval and its q.
pub(super) fn change(row: &Judged) -> [String; 3] {
    let ratio = row.figures.ratio;
    let interval = ratio.and_then(|ratio| ratio.interval);
    [
        ratio.map_or_else(|| "-".into(), |ratio| signed(ratio.value)),
        interval.map_or_else(String::new, |(low, high)| format!("{}..{}", signed(low), signed(high))),
        row.q.map_or_else(String::new, |q| if q < 0.001 { "<.001".into() } else { format!("{q:.3}") }),
    ]
}

/// A ratio as a change in percent.
pub(super) fn signed(ratio: f64) -> String {
    format!("{:+.1}%", 100.0 * (ratio - 1.0))
}

/// The verdict; `same` has a mark if the sides certainly differ.
pub(super) fn verdict(row: &Judged) -> String {
    format!("{}{}", row.verdict.name(), if row.is_certain() { " ~" } else { "" })
}

/// Aligns texts and the verdict, which comes last, to the left, and figures to the right.
pub(super) fn align(table: &mut Table, is_text: impl Fn(usize) -> bool) {
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((u16::from(index > 0), u16::from(index < last)));
        let to_the_left = index == last || is_text(index);
        column.set_cell_alignment(if to_the_left { CellAlignment::Left } else { CellAlignment::Right });
    }
}

/// A median, and how far the farther end of its interval is from it, in percent.
fn with_interval(median: Median) -> String {
    let value = digits(median.value);
    match median.interval {
        Some((low, high)) if median.value > 0.0 => {
            let half = (high - median.value).max(median.value - low);
            format!("{value} {:.1}%", 100.0 * half / median.value)
        }
        _ => value,
    }
}

/// Colours the verdicts, which are the last words of the lines after the header.
fn colour(text: &str, rows: &[&Comparison]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (line, row) in lines.iter_mut().skip(1).zip(rows) {
        let verdict = row.verdict.name();
        let style = match row.verdict {
            Verdict::Better => AnsiColor::Green.on_default().bold(),
            Verdict::Worse => AnsiColor::Red.on_default().bold(),
            Verdict::Unclear | Verdict::None => AnsiColor::Yellow.on_default(),
            Verdict::Same => Style::new(),
        };
        if let Some(rest) = line.strip_suffix(verdict).filter(|_| row.verdict != Verdict::Same) {
            *line = format!("{rest}{style}{verdict}{style:#}");
        }
    }
    lines.join("\n")
}

/// The runs for which the intervals hold.
fn scopes(report: &Comparisons) -> String {
    let has = |wanted: fn(Basis) -> bool| report.comparisons.iter().any(|row| wanted(row.figures.basis));
    let mut text = String::new();
    if has(|basis| matches!(basis, Basis::Blocks { .. })) {
        let of = if has(|basis| matches!(basis, Basis::Blocks { runs: 2.., .. })) { "these runs" } else { "this run" };
        text += &wrap(&format!(
            "Intervals from blocks hold within {of}: other runs of the same command differ by more. To compare \
             builds, kernels or settings, alternate runs with scripts/ab."
        ));
    }
    if has(|basis| matches!(basis, Basis::Pairs { .. } | Basis::Runs { .. })) {
        text += &wrap("Intervals from pairs of runs, or from runs that alternated, hold between runs.");
    }
    text
}

fn legend(report: &Comparisons) -> String {
    let threshold = percent(report.threshold);
    let timed = format!(
        "Medians with the farther end of their 95% intervals; the change with its 95% interval. same: the interval \
         lies within {threshold} (~: yet certainly not equal); better, worse: it does not, it excludes 0, and q is \
         below 0.05; unclear: inconclusive; none: no verdict, for the reason below."
    );
    let counted = format!(
        "Counts have no noise, and so no q. Medians with the trial farthest from them; the change with its range over \
         all trials. better, worse: at least {threshold}; same: less; unclear: not settled, that is, trials of a side \
         differ by more than {}%, or there is only one.",
        counts::SETTLED_MAX_PCT
    );
    let has = |counted: bool| report.comparisons.iter().any(|comparison| comparison.counted == counted);
    let mut legend = String::new();
    if has(false) {
        legend += &wrap(&timed);
        if report.comparisons.iter().any(|comparison| comparison.metric.tail().is_some()) {
            legend += &wrap(
                "From the 99th on, percentiles are of all samples of a side together, if the rows have lat_tail.",
            );
        }
        legend += &scopes(report);
    }
    if has(true) {
        legend += &wrap(&counted);
    }
    legend
}
