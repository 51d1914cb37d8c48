//! The page of a fleet: how a change acts on its hosts. It has a dot for each host, and no rows: thousands of hosts have
//! too many.

use std::collections::BTreeMap;
use std::fmt::Write;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::commands::report::args::ReportArgs;
use crate::commands::report::charts::figure::Table;
use crate::commands::report::page::{POLICY, STYLE, without_controls};
use crate::commands::report::parts::{TEXT_MAX, count, folded, grid};
use crate::commands::report::svg::STYLE as CHART_STYLE;
use crate::commands::report::svg::marks::shortened;
use crate::commands::report::svg::scale;
use crate::commands::report::write;
use crate::compare::answer;
use crate::compare::axes::By;
use crate::compare::comparisons::{CompareError, Settings};
use crate::compare::dataset::Dataset;
use crate::compare::fleets::{Fleet, Fleets};
use crate::compare::metrics;
use crate::compare::sections::{short, telling};
use crate::compare::trials::Trials;
use crate::compare::verdict::{Ratio, Verdict};
use crate::console::{Failure, print, printable, printable_path};
use crate::record::columns::Column;
use crate::record::rows;
use crate::text::percent;

/// The most hosts, and the most groups, that a table names.
const NAMED_MAX: usize = 60;

/// The most changes that the headline names.
const TOLD_MAX: usize = 6;

/// The places of a strip: its name, its dots, its verdict; and its height.
const NAME_WIDTH: f64 = 250.0;
const DOTS_WIDTH: f64 = 480.0;
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 46.0;

/// How far apart dots are.
const STEP: f64 = 3.0;

/// Reads, compares, draws, and writes.
pub(super) fn run(args: &ReportArgs, by: &By) -> Result<u8, Failure> {
    let mut data = Dataset::condensed(metrics::all_defaults().into_iter().map(|metric| metric.column));
    for (path, name) in args.files.iter().zip(rows::file_names(&args.files)) {
        data.begin(&name);
        rows::read_file(path, |_, fields, row| data.add(fields, row)).map_err(CompareError::from)?;
    }
    data.finish();
    let trials = Trials::new(&data, by.clone(), &[]);
    let base = args.base.as_deref().map(printable);
    let threshold = args.threshold.unwrap_or(answer::THRESHOLD);
    let settings = Settings { base: base.as_deref(), threshold, force: false, across_hosts: true, ..answer::SETTINGS };
    let fleets = Fleets::new(&trials, &settings)?;
    let text = without_controls(&page(&fleets, data.files.len()).into_string());
    write::stage(&args.out, &text)?.put()?;
    if !write::is_stdout(&args.out) {
        let (out, size) = (printable_path(&args.out), text.len().div_ceil(1024));
        print(&format!("{out}: {}, {size} KiB\n", count(hosts(&fleets), "host")))?;
    }
    Ok(0)
}

/// The most hosts that count in a row.
fn hosts(fleets: &Fleets) -> usize {
    fleets.rows.iter().map(|row| row.hosts).max().unwrap_or(0)
}

fn page(fleets: &Fleets, files: usize) -> Markup {
    let hosts = count(hosts(fleets), "host");
    let names = Names::of(fleets);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { "hpbench: " (hosts) }
                style { (PreEscaped(CHART_STYLE)) (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        h1 { "hpbench: " (hosts) }
                        p { "Each host is compared with itself, by " (fleets.by) "; from " (count(files, "file")) "." }
                    }
                    section id="answer" class="conclusion" { (answer(fleets, &names)) }
                    section id="hosts" {
                        h2 { "The hosts" }
                        p class="missing" {
                            "A dot for each host: its own change. The line is the median host; the grey band is what does not \
                             matter, " (percent(fleets.threshold)) " either way. Hosts that certainly differ from the median host by \
                             more than that have the other colour, and say their names."
                        }
                        (strips(fleets, &names))
                    }
                    section id="outliers" { h2 { "Hosts that differ" } (outliers(fleets, &names)) }
                    section id="groups" { h2 { "Groups" } (groups(fleets, &names)) }
                    (folded("figures", "Figures", html! { (grid(&figures(fleets, &names))) }))
                    footer { "Made by hpbench " (env!("CARGO_PKG_VERSION")) "." }
                }
            }
        }
    }
}

/// The names of rows: what tells them apart.
struct Names {
    axes: Vec<Column>,
    /// Whether there are several new sides.
    has_sides: bool,
}

impl Names {
    fn of(fleets: &Fleets) -> Self {
        let has_sides = fleets.rows.iter().any(|row| row.sides[1] != fleets.rows[0].sides[1]);
        Self { axes: telling(&fleets.rows.iter().map(|row| &row.cell).collect::<Vec<_>>()), has_sides }
    }

    fn name(&self, row: &Fleet) -> String {
        let axes = self.axes.iter().filter(|axis| !row.cell.get(**axis).is_empty());
        let axes: String = axes.map(|axis| format!(", {} {}", short(*axis), row.cell.get(*axis))).collect();
        let side = if self.has_sides { format!("{}, ", row.sides[1]) } else { String::new() };
        format!("{side}{}{axes}: {}", row.cell.get(Column::scenario), row.metric.name())
    }
}

fn signed(ratio: f64) -> String {
    format!("{:+.1}%", 100.0 * (ratio - 1.0))
}

fn with_interval(ratio: Ratio) -> String {
    let interval = ratio.interval.map(|(low, high)| format!(" ({}..{})", signed(low), signed(high)));
    signed(ratio.value) + &interval.unwrap_or_default()
}

fn answer(fleets: &Fleets, names: &Names) -> Markup {
    let of = |verdict: Verdict| fleets.rows.iter().filter(move |row| row.verdict == verdict);
    let all = [Verdict::Worse, Verdict::Better, Verdict::Same, Verdict::Unclear, Verdict::None];
    let counts = all.map(|verdict| (of(verdict).count(), verdict.name()));
    let counts: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
    let differing = outlying(fleets).len();
    let groups = fleets.rows.iter().flat_map(|row| &row.groups).filter(|group| group.differs());
    let mut groups: Vec<String> = groups.map(|group| format!("{} {}", group.column.name(), group.text)).collect();
    groups.sort_unstable();
    groups.dedup();
    let changed: Vec<&Fleet> = of(Verdict::Worse).chain(of(Verdict::Better)).collect();
    html! {
        h2 { "Answer" }
        p class="headline" {
            "On the median host: " (counts.join(", ")) ". "
            (count(differing, "host")) " certainly " (if differing == 1 { "differs" } else { "differ" }) " from it"
            @if groups.is_empty() { ", and no group of hosts." } @else { "; so do the hosts with " (groups.join(", ")) "." }
        }
        ul {
            @for row in changed.iter().take(TOLD_MAX) {
                li { (names.name(row)) " " (row.figures.ratio.map_or_else(String::new, with_interval)) ", " (row.verdict.name()) "; " (row.sides[1]) " against " (row.sides[0]) }
            }
            @if changed.len() > TOLD_MAX { li { (changed.len() - TOLD_MAX) " more, below" } }
        }
        @if !fleets.notes.is_empty() {
            details open[fleets.notes.iter().any(|note| note.starts_with("Left out"))] {
                summary { "Caveats (" (fleets.notes.len()) ")" }
                ul { @for note in &fleets.notes { li { (shortened(note, 4 * TEXT_MAX)) } } }
            }
        }
    }
}

/// The strips, each with a dot for each host; those of a metric have one scale.
fn strips(fleets: &Fleets, names: &Names) -> Markup {
    let mut metrics: Vec<Column> = Vec::new();
    for row in fleets.rows.iter().filter(|row| !row.changes.is_empty()) {
        if !metrics.contains(&row.metric.column) {
            metrics.push(row.metric.column);
        }
    }
    html! {
        @for metric in metrics {
            @let rows: Vec<&Fleet> = fleets.rows.iter().filter(|row| row.metric.column == metric && !row.changes.is_empty()).collect();
            (chart(&rows, names, fleets.threshold))
        }
    }
}

fn chart(rows: &[&Fleet], names: &Names, threshold: f64) -> Markup {
    let changes = rows.iter().flat_map(|row| &row.changes).map(|(_, ratio)| ratio - 1.0);
    let (low, high) =
        changes.fold((-2.0 * threshold, 2.0 * threshold), |(low, high), one| (low.min(one), high.max(one)));
    let (scale, ticks) = scale::linear(low, high, 6);
    let is_whole = |tick: &f64| (100.0 * tick - (100.0 * tick).round()).abs() < 1e-9;
    let digits = usize::from(!ticks.iter().all(is_whole));
    let x = |change: f64| NAME_WIDTH + DOTS_WIDTH * scale.at(change).clamp(0.0, 1.0);
    let height = HEIGHT * rows.len() as f64 + 24.0;
    html! {
        svg class="chart fleet" viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(rows[0].metric.name()) {
            rect class="least" x=(place(x(-threshold))) y="0" width=(place(x(threshold) - x(-threshold))) height=(height - 20.0) {}
            @for tick in ticks.iter().filter(|tick| !scale.is_beyond(**tick)) {
                g class="grid" { path d=(format!("M{} 0V{}", place(x(*tick)), height - 20.0)) {} }
                text class="middle" x=(place(x(*tick))) y=(height - 6.0) { (format!("{:+.digits$}%", 100.0 * tick)) }
            }
            @for (at, row) in rows.iter().enumerate() { (strip(row, names, HEIGHT * (at as f64 + 0.5), &x)) }
        }
    }
}

/// A number of an SVG.
fn place(at: f64) -> String {
    format!("{at:.1}")
}

fn strip(row: &Fleet, names: &Names, middle: f64, x: &dyn Fn(f64) -> f64) -> Markup {
    // Dots that would cover each other are put above and below.
    let mut columns: BTreeMap<i64, u32> = BTreeMap::new();
    let mut dot = |ratio: f64| {
        let at = x(ratio - 1.0);
        let taken = columns.entry((at / STEP) as i64).or_default();
        *taken += 1;
        let rank = f64::from(*taken / 2) * if taken.is_multiple_of(2) { STEP } else { -STEP };
        (at, middle + rank.clamp(-HEIGHT / 2.0 + 3.0, HEIGHT / 2.0 - 3.0))
    };
    let is_far = |host: &str| row.differing.iter().any(|one| one.host == host);
    let (mut near, mut far) = (String::new(), Vec::new());
    for (host, ratio) in &row.changes {
        let (at, y) = dot(*ratio);
        if is_far(host) {
            far.push((host, *ratio, at, y));
        } else {
            // A line of no length with round ends: the shortest way to write a dot.
            write!(near, "M{at:.1} {y:.1}h0").expect("memory takes all text");
        }
    }
    let median = row.figures.ratio.map(|ratio| x(ratio.value - 1.0));
    let told = row
        .figures
        .ratio
        .map_or_else(|| "no verdict".into(), |ratio| format!("{} {}", signed(ratio.value), row.verdict.name()));
    html! {
        text class="label" x="0" y=(place(middle + 4.0)) { (shortened(&names.name(row), 42)) title { (names.name(row)) } }
        path class="hosts" d=(near) {}
        @for (host, ratio, at, y) in far {
            circle class="far" cx=(place(at)) cy=(place(y)) r="2.2" { title { (host) " " (signed(ratio)) } }
        }
        @if let Some(at) = median { path class="median" d=(format!("M{} {}v{}", place(at), middle - HEIGHT / 2.0 + 2.0, HEIGHT - 4.0)) {} }
        text x=(place(NAME_WIDTH + DOTS_WIDTH + 14.0)) y=(place(middle + 4.0)) { (told) }
    }
}

/// The hosts that differ, with the rows in which they do and the change that is the farthest from that of the median host.
fn outlying(fleets: &Fleets) -> Vec<(&str, usize, &Fleet, Ratio)> {
    let mut found: BTreeMap<&str, (usize, &Fleet, Ratio)> = BTreeMap::new();
    let far = |row: &Fleet, ratio: &Ratio| {
        let median = row.figures.ratio.map_or(1.0, |median| median.value);
        (ratio.value / median).ln().abs()
    };
    for row in &fleets.rows {
        for one in &row.differing {
            let known = found.entry(&one.host).or_insert((0, row, one.ratio));
            known.0 += 1;
            if far(row, &one.ratio) > far(known.1, &known.2) {
                (known.1, known.2) = (row, one.ratio);
            }
        }
    }
    let mut found: Vec<_> = found.into_iter().map(|(host, (rows, row, ratio))| (host, rows, row, ratio)).collect();
    found.sort_by(|a, b| b.1.cmp(&a.1).then(far(b.2, &b.3).total_cmp(&far(a.2, &a.3))));
    found
}

fn outliers(fleets: &Fleets, names: &Names) -> Markup {
    let found = outlying(fleets);
    let line = |(host, rows, row, ratio): &(&str, usize, &Fleet, Ratio)| {
        vec![(*host).to_owned(), names.name(row), rows.to_string(), with_interval(*ratio)]
    };
    let table = Table {
        header: ["host", "farthest in", "rows", "its change there"].map(str::to_owned).into(),
        texts: 2,
        rows: found.iter().take(NAMED_MAX).map(line).collect(),
        left_out: found.len().saturating_sub(NAMED_MAX),
    };
    html! {
        @if found.is_empty() { p { "None: no host certainly differs from the median host by more than " (percent(fleets.threshold)) "." } }
        @else { (grid(&table)) }
    }
}

fn groups(fleets: &Fleets, names: &Names) -> Markup {
    let mut all: Vec<_> = fleets.rows.iter().flat_map(|row| row.groups.iter().map(move |group| (row, group))).collect();
    // Those that differ come first.
    all.sort_by_key(|(_, group)| !group.differs());
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|(row, group)| {
            let verdict = if group.differs() { "differs" } else { "" };
            vec![
                group.column.name().to_owned(),
                group.text.clone(),
                names.name(row),
                verdict.to_owned(),
                group.hosts.to_string(),
                with_interval(group.ratio),
                format!("{:.3}", group.q),
            ]
        })
        .collect();
    let table = Table {
        header: ["of", "group", "row", "verdict", "hosts", "against all others", "q"].map(str::to_owned).into(),
        texts: 4,
        left_out: rows.len().saturating_sub(NAMED_MAX),
        rows: rows.into_iter().take(NAMED_MAX).collect(),
    };
    html! {
        @if table.rows.is_empty() { p { "No group of six hosts or more has six others to be compared with." } }
        @else {
            p class="missing" { "The median host of each group against that of all other hosts. Groups overlap: which of two properties is the cause, nobody can say from this." }
            (grid(&table))
        }
    }
}

fn figures(fleets: &Fleets, names: &Names) -> Table {
    let line = |row: &Fleet| {
        vec![
            names.name(row),
            format!("{} against {}", row.sides[1], row.sides[0]),
            row.verdict.name().to_owned(),
            row.hosts.to_string(),
            row.figures.ratio.map_or_else(String::new, with_interval),
            row.q.map_or_else(String::new, |q| format!("{q:.3}")),
            row.differing.len().to_string(),
            row.left_out.len().to_string(),
        ]
    };
    Table {
        header: ["row", "sides", "verdict", "hosts", "median host", "q", "differ", "left out"]
            .map(str::to_owned)
            .into(),
        texts: 3,
        rows: fleets.rows.iter().map(line).collect(),
        left_out: 0,
    }
}
