//! `hpbench compare --across host`: a change on many hosts, for people and for programs.

use comfy_table::CellAlignment;
use serde::Serialize;

use super::args::{CompareArgs, FailOn, Format};
use super::export::{percent as in_percent, rounded};
use crate::compare::comparisons::Settings;
use crate::compare::fleets::{Differing, Fleet, Fleets};
use crate::compare::sections::{short, telling};
use crate::compare::trials::Trials;
use crate::compare::verdict::{Ratio, Verdict};
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
    let fails = args.fail_on.is_some_and(|on| match on {
        FailOn::Worse => report.rows.iter().any(|row| row.verdict == Verdict::Worse),
        FailOn::WorseByThreshold => report.rows.iter().any(|row| row.is_worse_by_threshold(report.threshold)),
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
        "Each host is compared with itself, by pairs of runs: the change on the median host, with its 95% interval. same: the \
         interval lies within {threshold} (~ certainly not equal, all the same); better, worse: it does not, it excludes 0, and q is below \
         0.05; unclear: the hosts do not tell. Hosts differ whose own change is certainly (q below 0.05) farther than {threshold} from \
         that of the median host."
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
    let last = header.len() - 1;
    let texts = header.len() - figures.len();
    for (index, column) in table.column_iter_mut().enumerate() {
        let is_text = index < texts || index == last;
        column.set_padding((u16::from(index > 0), u16::from(index < last)));
        column.set_cell_alignment(if is_text { CellAlignment::Left } else { CellAlignment::Right });
    }
    let named = rows.iter().filter(|row| !row.differing.is_empty()).map(|row| {
        let cell: String = axes.iter().map(|axis| format!("{} {}, ", short(*axis), row.cell.get(*axis))).collect();
        let side = if is_one { String::new() } else { format!("{}, ", row.sides[1]) };
        wrap(&format!("{side}{cell}hosts that differ: {}.", names(&row.differing)))
    });
    format!("{}{}\n{}", wrap(&title), trim_lines(&table.to_string()), named.collect::<String>())
}

fn line_of(row: &Fleet) -> [String; 6] {
    let ratio = row.median.map(Ratio::from);
    let change = |ratio: f64| format!("{:+.1}%", 100.0 * (ratio - 1.0));
    let interval = ratio.and_then(|ratio| ratio.interval);
    let certain = if row.is_certain() { " ~" } else { "" };
    [
        row.hosts.to_string(),
        ratio.map_or_else(|| "-".into(), |ratio| change(ratio.value)),
        interval.map_or_else(String::new, |(low, high)| format!("{}..{}", change(low), change(high))),
        row.q.map_or_else(String::new, |q| if q < 0.001 { "<.001".into() } else { format!("{q:.3}") }),
        if row.median.is_some() { row.differing.len().to_string() } else { String::new() },
        format!("{}{certain}", row.verdict.name()),
    ]
}

/// The hosts with their own changes.
fn names(differing: &[Differing]) -> String {
    let name = |one: &Differing| format!("{} {:+.1}%", one.host, 100.0 * (one.ratio.value - 1.0));
    let named: Vec<String> = differing.iter().take(NAMED_MAX).map(name).collect();
    match differing.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{}, and {more} more (--format csv names all)", named.join(", ")),
    }
}

/// The figures of the median host, or of one that differs.
#[derive(Serialize)]
struct Figures {
    ratio: Option<f64>,
    ratio_low: Option<f64>,
    ratio_high: Option<f64>,
    delta_pct: Option<f64>,
    q: Option<f64>,
}

impl Figures {
    fn of(ratio: Option<Ratio>, q: Option<f64>) -> Self {
        let interval = ratio.and_then(|ratio| ratio.interval);
        Self {
            ratio: ratio.map(|ratio| rounded(ratio.value)),
            ratio_low: interval.map(|(low, _)| rounded(low)),
            ratio_high: interval.map(|(_, high)| rounded(high)),
            delta_pct: ratio.map(|ratio| in_percent(ratio.value - 1.0)),
            q,
        }
    }

    fn texts(&self) -> [String; 5] {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        [self.ratio, self.ratio_low, self.ratio_high, self.delta_pct, self.q].map(number)
    }
}

/// What stands in the column `verdict` of a host that differs from the median host.
const DIFFERS: &str = "differs";

/// CSV: a header, and for each cell a line of the median host, whose `host` is empty, and one for each host that differs.
fn csv(report: &Fleets) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let axes = AXES.iter().map(|axis| axis.name());
    let figures =
        ["base", "new", "host", "hosts", "ratio", "ratio_low", "ratio_high", "delta_pct", "q", "threshold_pct"];
    let header = ["metric", "unit", "better"].into_iter().chain(axes).chain(figures).chain(["verdict", "reason"]);
    writer.write_record(header).expect("memory takes all bytes");
    let threshold = in_percent(report.threshold).to_string();
    for row in &report.rows {
        let reason = row.reason.as_ref().map_or_else(String::new, ToString::to_string);
        let median = ("", Figures::of(row.median.map(Ratio::from), row.q), row.verdict.name(), reason.as_str());
        let hosts =
            row.differing.iter().map(|one| (one.host.as_str(), Figures::of(Some(one.ratio), Some(one.q)), DIFFERS, ""));
        for (host, figures, verdict, reason) in std::iter::once(median).chain(hosts) {
            let first = [row.metric.name(), row.metric.unit, row.metric.better.name()];
            let first = first.into_iter().chain(row.cell.iter().map(|(_, value)| value)).map(str::to_owned);
            let sides = [row.sides[0].clone(), row.sides[1].clone(), host.to_owned(), row.hosts.to_string()];
            let last = [threshold.clone(), verdict.to_owned(), reason.to_owned()];
            let record = first.chain(sides).chain(figures.texts()).chain(last);
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
    figures: Figures,
    verdict: Verdict,
    reason: String,
    differing: Vec<One<'a>>,
    left_out: &'a [String],
}

#[derive(Serialize)]
struct One<'a> {
    host: &'a str,
    #[serde(flatten)]
    figures: Figures,
}

impl<'a> Entry<'a> {
    fn of(row: &'a Fleet) -> Self {
        let cell = row.cell.iter().filter(|(_, value)| !value.is_empty());
        let one = |one: &'a Differing| One { host: &one.host, figures: Figures::of(Some(one.ratio), Some(one.q)) };
        Self {
            metric: row.metric.name(),
            unit: row.metric.unit,
            better: row.metric.better.name(),
            cell: cell.map(|(axis, value)| (axis.name().to_owned(), value.into())).collect(),
            base: &row.sides[0],
            new: &row.sides[1],
            hosts: row.hosts,
            figures: Figures::of(row.median.map(Ratio::from), row.q),
            verdict: row.verdict,
            reason: row.reason.as_ref().map_or_else(String::new, ToString::to_string),
            differing: row.differing.iter().map(one).collect(),
            left_out: &row.left_out,
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
