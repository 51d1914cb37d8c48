//! `hpbench compare --across host`: a change on many hosts, for people and for programs.

use serde::Serialize;

use super::args::{CompareArgs, FailOn, Format};
use super::export::{Change, number, percent as in_percent};
use super::table::{align, change, signed, verdict};
use crate::compare::comparisons::Settings;
use crate::compare::fleets::{Differing, Fleet, Fleets, Group, LeftOut};
use crate::compare::sections::{short, telling};
use crate::compare::trials::Trials;
use crate::compare::verdict::{Ratio, Verdict};
use crate::compare::warnings::Reason;
use crate::console::{Failure, print, tell};
use crate::record::cell::AXES;
use crate::record::columns::Column;
use crate::text::{percent, plain_table, trim_lines, wrap};

/// The version of the JSON.
const SCHEMA: u32 = 1;

/// More hosts than this are not named in the table.
const NAMED_MAX: usize = 20;

/// Compares, and prints.
pub(super) fn run(args: &CompareArgs, trials: &Trials<'_>, settings: &Settings<'_>) -> Result<u8, Failure> {
    let report = Fleets::new(trials, settings)?;
    match args.format {
        Format::Table => print(&table(&report))?,
        Format::Csv => print(&csv(&report))?,
        Format::Json => print(&json(&report))?,
    }
    if args.format == Format::Csv {
        report.notes.iter().for_each(|note| tell!("note: {note}"));
    }
    let mut worse = report.rows.iter().filter(|row| row.verdict == Verdict::Worse);
    let fails = args.fail_on.is_some_and(|on| match on {
        FailOn::Worse => worse.next().is_some(),
        FailOn::WorseByThreshold => worse.any(|row| row.is_by_threshold(report.threshold)),
    });
    Ok(if fails { 3 } else { 0 })
}

fn table(report: &Fleets) -> String {
    let of_one =
        |a: &Fleet, b: &Fleet| a.metric == b.metric && a.cell.get(Column::scenario) == b.cell.get(Column::scenario);
    // One section for each scenario and metric, in the order in which they come.
    let mut sections: Vec<Vec<&Fleet>> = Vec::new();
    for row in &report.rows {
        match sections.iter_mut().find(|rows| of_one(rows[0], row)) {
            Some(rows) => rows.push(row),
            None => sections.push(vec![row]),
        }
    }
    let mut parts: Vec<String> = sections.iter().map(|rows| section(report, rows)).collect();
    let threshold = percent(report.threshold);
    let legend = wrap(&format!(
        "Each host is compared with itself, by pairs of runs: the change on the median host, with its 95% interval. \
         same: the interval lies within {threshold} (~: yet certainly not equal); better, worse: it does not, it \
         excludes 0, and q is below 0.05; unclear: inconclusive. A host differs if its own change is certainly \
         (q below 0.05) more than {threshold} away from the median host's; a group differs if its median host is that far \
         away from that of all other hosts."
    ));
    parts.push(legend + &report.notes.iter().map(|note| wrap(note)).collect::<String>());
    parts.join("\n")
}

fn section(report: &Fleets, rows: &[&Fleet]) -> String {
    let metric = rows[0].metric;
    let mut title = format!(
        "{}: {} in {}, {} is better, across hosts",
        rows[0].cell.get(Column::scenario),
        metric.name(),
        metric.unit,
        metric.better.name()
    );
    let is_one = rows.iter().all(|row| row.sides == rows[0].sides);
    if is_one {
        title += &format!("; {} {} against {}", report.by, rows[0].sides[1], rows[0].sides[0]);
    }
    let axes = telling(&rows.iter().map(|row| &row.cell).collect::<Vec<_>>());
    let mut table = plain_table();
    let sides: &[&str] = if is_one { &[] } else { &["base", "new"] };
    let axes_names = axes.iter().map(|axis| short(*axis));
    let figures = ["hosts", "median", "95% interval", "q", "differ", "verdict"];
    let header: Vec<&str> = sides.iter().copied().chain(axes_names).chain(figures).collect();
    table.set_header(&header);
    for row in rows {
        let mut line: Vec<String> = if is_one { Vec::new() } else { row.sides.to_vec() };
        line.extend(axes.iter().map(|&axis| row.cell.get(axis).to_owned()));
        line.extend(line_of(row));
        table.add_row(line);
    }
    let texts = header.len() - figures.len();
    align(&mut table, |index| index < texts);
    let named = rows.iter().filter(|row| !row.differing.is_empty()).map(|row| {
        let cell: String = axes.iter().map(|axis| format!("{} {}, ", short(*axis), row.cell.get(*axis))).collect();
        let side = if is_one { String::new() } else { format!("{}, ", row.sides[1]) };
        wrap(&format!("{side}{cell}hosts that differ: {}.", names(&row.differing)))
    });
    let groups =
        rows.iter().flat_map(|row| row.groups.iter().filter(|group| group.differs()).map(move |group| (row, group)));
    let groups = groups.map(|(row, group)| {
        let cell: String = axes.iter().map(|axis| format!("{} {}, ", short(*axis), row.cell.get(*axis))).collect();
        let [low, high] = group.ratio.interval.map_or([f64::NAN; 2], |(low, high)| [low, high]).map(signed);
        wrap(&format!(
            "{cell}a group that differs: the {} hosts with {} {}: {} against the others ({low}..{high}).",
            group.hosts,
            group.column.name(),
            group.text,
            signed(group.ratio.value)
        ))
    });
    let groups: String = groups.collect();
    format!("{}{}\n{}{groups}", wrap(&title), trim_lines(&table.to_string()), named.collect::<String>())
}

fn line_of(row: &Fleet) -> [String; 6] {
    let [change, interval, q] = change(row);
    let differing = row.figures.ratio.map_or_else(String::new, |_| row.differing.len().to_string());
    [row.hosts.to_string(), change, interval, q, differing, verdict(row)]
}

/// The hosts with their own changes.
fn names(differing: &[Differing]) -> String {
    let name = |one: &Differing| format!("{} {}", one.host, signed(one.ratio.value));
    let named: Vec<String> = differing.iter().take(NAMED_MAX).map(name).collect();
    match differing.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{}, and {more} more (--format csv names all)", named.join(", ")),
    }
}

/// The column `verdict` of a host that differs from the median host, and of one that does not count.
const DIFFERS: &str = "differs";
const LEFT_OUT: &str = "left_out";
/// The same of a group of hosts.
const GROUP_DIFFERS: &str = "group_differs";

/// A line of the CSV, without what all lines of its cell share.
struct Line<'a> {
    host: &'a str,
    ratio: Option<Ratio>,
    q: Option<f64>,
    verdict: &'a str,
    reason: String,
}

impl<'a> Line<'a> {
    /// A line for the median host, whose name is empty, and one for each host that differs from it or does not count.
    fn of(row: &'a Fleet) -> Vec<Self> {
        let mut lines = vec![Self {
            host: "",
            ratio: row.figures.ratio,
            q: row.q,
            verdict: row.verdict.name(),
            reason: words(row.reason.as_ref()),
        }];
        lines.extend(row.differing.iter().map(|one| Self {
            host: &one.host,
            ratio: Some(one.ratio),
            q: Some(one.q),
            verdict: DIFFERS,
            reason: String::new(),
        }));
        lines.extend(row.groups.iter().filter(|group| group.differs()).map(|group| Self {
            host: "",
            ratio: Some(group.ratio),
            q: Some(group.q),
            verdict: GROUP_DIFFERS,
            reason: format!("{} {}, {} hosts, against all others", group.column.name(), group.text, group.hosts),
        }));
        lines.extend(row.left_out.iter().map(|one| Self {
            host: &one.host,
            ratio: None,
            q: None,
            verdict: LEFT_OUT,
            reason: one.reason.to_string(),
        }));
        lines
    }
}

fn words(reason: Option<&Reason>) -> String {
    reason.map_or_else(String::new, ToString::to_string)
}

/// CSV: a header, and the lines of each cell.
fn csv(report: &Fleets) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let axes = AXES.iter().map(|axis| axis.name());
    let figures =
        ["base", "new", "host", "hosts", "ratio", "ratio_low", "ratio_high", "delta_pct", "q", "threshold_pct"];
    let header = ["metric", "unit", "better"].into_iter().chain(axes).chain(figures).chain(["verdict", "reason"]);
    writer.write_record(header).expect("memory takes all bytes");
    let threshold = in_percent(report.threshold).to_string();
    for row in &report.rows {
        for Line { host, ratio, q, verdict, reason } in Line::of(row) {
            let first = [row.metric.name(), row.metric.unit, row.metric.better.name()];
            let first = first.into_iter().chain(row.cell.iter().map(|(_, value)| value)).map(str::to_owned);
            let sides = [row.sides[0].clone(), row.sides[1].clone(), host.to_owned(), row.hosts.to_string()];
            let last = [number(q), threshold.clone(), verdict.to_owned(), reason];
            let record = first.chain(sides).chain(Change::of(ratio).texts()).chain(last);
            writer.write_record(record).expect("memory takes all bytes");
        }
    }
    String::from_utf8(writer.into_inner().expect("memory takes all bytes")).expect("text was written")
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    by: &'a str,
    across: &'static str,
    threshold_pct: f64,
    fleets: Vec<Entry<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Entry<'a> {
    metric: &'a str,
    unit: &'a str,
    better: &'a str,
    cell: serde_json::Map<String, serde_json::Value>,
    base: &'a str,
    new: &'a str,
    hosts: usize,
    #[serde(flatten)]
    change: Change,
    q: Option<f64>,
    verdict: Verdict,
    reason: String,
    differing: Vec<One<'a>>,
    groups: Vec<OfGroup<'a>>,
    left_out: Vec<Other<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    host: &'a str,
    #[serde(flatten)]
    change: Change,
    q: Option<f64>,
}

/// A group of hosts against all others.
#[derive(Serialize)]
struct OfGroup<'a> {
    column: &'static str,
    value: &'a str,
    hosts: usize,
    #[serde(flatten)]
    change: Change,
    q: f64,
    differs: bool,
}

#[derive(Serialize)]
struct Other<'a> {
    host: &'a str,
    reason: String,
}

impl<'a> Entry<'a> {
    fn of(row: &'a Fleet) -> Self {
        let cell = row.cell.iter().filter(|(_, value)| !value.is_empty());
        let one = |one: &'a Differing| One { host: &one.host, change: Change::of(Some(one.ratio)), q: Some(one.q) };
        let group = |group: &'a Group| OfGroup {
            column: group.column.name(),
            value: &group.text,
            hosts: group.hosts,
            change: Change::of(Some(group.ratio)),
            q: group.q,
            differs: group.differs(),
        };
        let other = |one: &'a LeftOut| Other { host: &one.host, reason: one.reason.to_string() };
        Self {
            metric: row.metric.name(),
            unit: row.metric.unit,
            better: row.metric.better.name(),
            cell: cell.map(|(axis, value)| (axis.name().to_owned(), value.into())).collect(),
            base: &row.sides[0],
            new: &row.sides[1],
            hosts: row.hosts,
            change: Change::of(row.figures.ratio),
            q: row.q,
            verdict: row.verdict,
            reason: words(row.reason.as_ref()),
            differing: row.differing.iter().map(one).collect(),
            groups: row.groups.iter().map(group).collect(),
            left_out: row.left_out.iter().map(other).collect(),
        }
    }
}

/// JSON: an object with the fleets and the notes.
fn json(report: &Fleets) -> String {
    let document = Document {
        schema: SCHEMA,
        by: report.by,
        across: "host",
        threshold_pct: in_percent(report.threshold),
        fleets: report.rows.iter().map(Entry::of).collect(),
        notes: &report.notes,
    };
    serde_json::to_string_pretty(&document).expect("there are only plain values") + "\n"
}
