//! Comparisons for people: a table for each scenario and metric, in 80 columns where the cells allow it.

use std::collections::{BTreeMap, BTreeSet};

use anstyle::{AnsiColor, Style};
use comfy_table::CellAlignment;

use crate::compare::axes::AXES;
use crate::compare::report::Report;
use crate::compare::verdict::{Comparison, Verdict};
use crate::compare::{answer, steps};
use crate::stats::median::Median;
use crate::table::{digits, plain_table, trim_lines, wrap};

/// The columns of figures.
const FIGURES: [&str; 6] = ["base ±", "new ±", "change", "95% interval", "q", "verdict"];

/// Formats a report.
pub(crate) fn render(report: &Report, coloured: bool) -> String {
    let mut parts: Vec<String> =
        sections(report).into_values().map(|(_, rows)| section(report, &rows, coloured)).collect();
    let steps = steps::find(report);
    if report.in_steps {
        let steps: String = steps.iter().map(|step| wrap(&step.to_string())).collect();
        parts.push(if steps.is_empty() { "No steps.\n".into() } else { format!("Steps:\n{steps}") });
    }
    let answer: String = answer::lines(report).iter().map(|line| wrap(line)).collect();
    if !answer.is_empty() {
        parts.push(answer);
    }
    parts.push(legend(report) + &report.notes.iter().map(|note| wrap(note)).collect::<String>());
    parts.join("\n")
}

type Section<'a> = (usize, Vec<&'a Comparison>);

/// The comparisons by scenario and metric, in the order in which they come.
fn sections(report: &Report) -> BTreeMap<usize, Section<'_>> {
    let mut sections: BTreeMap<usize, Section<'_>> = BTreeMap::new();
    let mut numbers: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for comparison in &report.comparisons {
        let next = numbers.len();
        let number = *numbers.entry((comparison.axes[0].as_str(), comparison.metric.name)).or_insert(next);
        sections.entry(number).or_insert((number, Vec::new())).1.push(comparison);
    }
    sections
}

fn section(report: &Report, rows: &[&Comparison], coloured: bool) -> String {
    let metric = rows[0].metric;
    let distinct = |side: usize| rows.iter().map(|row| row.sides[side].as_str()).collect::<BTreeSet<_>>();
    let [has_bases, has_news] = [distinct(0).len() > 1, distinct(1).len() > 1];
    let (axes, constant) = split_axes(rows);
    let mut title =
        format!("{}: {} in {}, {} is better", rows[0].axes[0], metric.name, metric.unit, metric.better.name());
    match (has_bases, has_news) {
        (false, false) => title += &format!("; {} against {}", rows[0].sides[1], rows[0].sides[0]),
        (false, true) => title += &format!("; against {} {}", report.by.name(), rows[0].sides[0]),
        _ => {}
    }
    title.extend(constant.iter().map(|(name, value)| format!("; {name} {value}")));
    let mut table = plain_table();
    let mut header: Vec<&str> = Vec::new();
    header.extend(has_bases.then_some("base"));
    header.extend(has_news.then_some(if has_bases { "new" } else { report.by.name() }));
    let names = header.len();
    header.extend(axes.iter().map(|&at| short(AXES[at])));
    let texts = header.len();
    header.extend(FIGURES);
    table.set_header(&header);
    for row in rows {
        let mut line: Vec<String> = Vec::new();
        line.extend(has_bases.then(|| row.sides[0].clone()));
        line.extend(has_news.then(|| row.sides[1].clone()));
        line.extend(axes.iter().map(|&at| row.axes[at].clone()));
        line.extend(figures(row));
        table.add_row(line);
    }
    let last = header.len() - 1;
    for (index, column) in table.column_iter_mut().enumerate() {
        let is_text = index < names || index == last || index < texts && AXES[axes[index - names]] != "batch";
        column.set_padding((u16::from(index > 0), u16::from(index < last)));
        column.set_cell_alignment(if is_text { CellAlignment::Left } else { CellAlignment::Right });
    }
    let text = trim_lines(&table.to_string());
    let text = if coloured { colour(&text, rows) } else { text };
    format!("{}{text}\n", wrap(&title))
}

/// Which axes tell the rows apart, and the values that all rows have in common of those that matter to a reader. An
/// axis that follows from those before it tells nothing.
fn split_axes<'a>(rows: &[&'a Comparison]) -> (Vec<usize>, Vec<(&'static str, &'a str)>) {
    const TOLD: [&str; 7] = ["backend", "batch", "payload", "round", "rate_pps", "window", "wait"];
    let mut shown: Vec<usize> = Vec::new();
    let mut constant = Vec::new();
    for (at, axis) in AXES.iter().enumerate().skip(1) {
        let mut known: BTreeMap<Vec<&str>, &str> = BTreeMap::new();
        let follows = rows.iter().all(|row| {
            let key = shown.iter().map(|&at| row.axes[at].as_str()).collect();
            *known.entry(key).or_insert(&row.axes[at]) == row.axes[at]
        });
        let first = rows[0].axes[at].as_str();
        if !follows {
            shown.push(at);
        } else if TOLD.contains(axis)
            && !first.is_empty()
            && first != "spin"
            && rows.iter().all(|row| row.axes[at] == first)
        {
            constant.push((short(axis), first));
        }
    }
    (shown, constant)
}

fn short(axis: &'static str) -> &'static str {
    match axis {
        "payload" => "bytes",
        "rate_pps" => "rate",
        _ => axis,
    }
}

fn figures(row: &Comparison) -> [String; 6] {
    let [base, new] = row.figures.medians.map(|median| median.map_or_else(|| "-".into(), with_interval));
    let ratio = row.figures.ratio;
    let percent = |ratio: f64| format!("{:+.1}%", 100.0 * (ratio - 1.0));
    [
        base,
        new,
        ratio.map_or_else(|| "-".into(), |ratio| percent(ratio.value)),
        ratio.map_or_else(String::new, |ratio| format!("{}..{}", percent(ratio.low), percent(ratio.high))),
        row.q.map_or_else(String::new, |q| if q < 0.001 { "<.001".into() } else { format!("{q:.3}") }),
        row.verdict.name().into(),
    ]
}

/// A median, and the farther end of its interval in percent of it.
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

/// Colours the verdicts, which end the lines after the header.
fn colour(text: &str, rows: &[&Comparison]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (line, row) in lines.iter_mut().skip(1).zip(rows) {
        let verdict = row.verdict.name();
        let style = match row.verdict {
            Verdict::Better => AnsiColor::Green.on_default().bold(),
            Verdict::Worse => AnsiColor::Red.on_default().bold(),
            Verdict::Unclear | Verdict::Invalid => AnsiColor::Yellow.on_default(),
            Verdict::Same => Style::new(),
        };
        if let Some(rest) = line.strip_suffix(verdict).filter(|_| row.verdict != Verdict::Same) {
            *line = format!("{rest}{style}{verdict}{style:#}");
        }
    }
    lines.join("\n")
}

fn legend(report: &Report) -> String {
    wrap(&format!(
        "Medians with the farther end of their 95% intervals; the change with its interval. better, worse: at least \
         {}, and q below 0.05; same: the interval lies within that; unclear: the trials do not tell.",
        answer::percent(report.threshold)
    ))
}
