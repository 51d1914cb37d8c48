//! The table of results: a row for each cell, in 80 columns.

use std::collections::BTreeSet;

use comfy_table::{CellAlignment, Table};

use crate::compare::answer::text::{constants, rate, value_text};
use crate::compare::axes;
use crate::compare::messages::{self, Messages, Similar};
use crate::compare::sections::{self, short};
use crate::compare::summaries::{CellSummary, TOLD};
use crate::record::cell::CellKey;
use crate::record::columns::Column;
use crate::record::row::State;
use crate::stats::median::Median;
use crate::text::{WIDTH, counted, plain_table, trim_lines, width, wrap};

/// Above this share of a cell's cost, in percent, the harness's own cost is worth a note.
const HARNESS_NOTE_PCT: f64 = 5.0;

/// A figure of a cell, or several that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A median with its interval.
    Median(Column, &'static str),
    /// A share in percent, with its number of decimals.
    Share(Column, &'static str, usize),
    /// Datagrams per system call.
    PerCall,
    /// How many cores the worker and the kernel's threads used.
    Cores,
}

/// Scenarios whose figures share columns.
struct Shape {
    scenarios: &'static [&'static str],
    title: &'static str,
    parts: &'static [Part],
}

/// The figures of a load that is offered at a rate.
const AT_A_RATE: [Part; 6] = [
    Part::Median(Column::lat_p50_ns, "p50"),
    Part::Median(Column::lat_p99_ns, "p99"),
    Part::Median(Column::lat_p999_ns, "p99.9"),
    Part::Share(Column::loss_pct, "lost", 2),
    Part::Median(Column::cpu_ns_per_packet, "CPU ns"),
    Part::Cores,
];

const SHAPES: [Shape; 6] = [
    Shape {
        scenarios: &["drain", "send"],
        title: "ns per datagram, of the backend and of its peer",
        parts: &[
            Part::Median(Column::ns_per_packet_p50, "ns"),
            Part::Median(Column::peer_ns_per_packet, "peer ns"),
            Part::PerCall,
        ],
    },
    Shape {
        scenarios: &["flood"],
        title: "datagrams per second under full load",
        parts: &[
            Part::Median(Column::rx_pps, "per second"),
            Part::Share(Column::loss_pct, "lost", 2),
            Part::Share(Column::busy_pct, "busy", 0),
            Part::PerCall,
        ],
    },
    Shape { scenarios: &["pace"], title: "µs from when a datagram was due to its receipt", parts: &AT_A_RATE },
    Shape { scenarios: &["serve"], title: "µs from when a request was due to its answer", parts: &AT_A_RATE },
    Shape {
        scenarios: &["relay"],
        title: "µs from when a datagram was due to each copy of it; CPU of a copy",
        parts: &AT_A_RATE,
    },
    Shape {
        scenarios: &["echo"],
        title: "round-trip time in µs",
        parts: &[
            Part::Median(Column::lat_p50_ns, "p50"),
            Part::Median(Column::lat_p99_ns, "p99"),
            Part::Median(Column::lat_p999_ns, "p99.9"),
            Part::Median(Column::cpu_ns_per_packet, "CPU ns"),
        ],
    },
];

/// Formats cells; `files` are the names of their files.
pub(crate) fn render(cells: &[CellSummary], files: &[String]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for shape in &SHAPES {
        let own: Vec<&CellSummary> =
            cells.iter().filter(|cell| shape.scenarios.contains(&cell.get(Column::scenario))).collect();
        if !own.is_empty() {
            parts.push(section(shape, &own, files));
        }
    }
    let text = parts.join("\n");
    let notes: String = notes(cells).iter().map(|note| wrap(note)).collect();
    let gap = if text.is_empty() || notes.is_empty() { "" } else { "\n" };
    format!("{text}{gap}{notes}")
}

/// The columns, other than the backend's name, that tell cells of some scenarios apart.
fn telling(cells: &[&CellSummary]) -> Vec<Column> {
    let keys: Vec<&CellKey> = cells.iter().map(|cell| &cell.cell).collect();
    let mut axes = sections::telling(&keys);
    axes.retain(|axis| ![Column::backend, Column::variant].contains(axis));
    // The effective round of failed trials is not known.
    let rounds: BTreeSet<&str> =
        keys.iter().map(|key| key.get(Column::round)).filter(|round| !round.is_empty()).collect();
    axes.retain(|axis| *axis != Column::round || rounds.len() > 1);
    axes.extend(TOLD.into_iter().filter(|column| cells.iter().any(|cell| cell.get(*column) != cells[0].get(*column))));
    axes
}

fn section(shape: &Shape, cells: &[&CellSummary], files: &[String]) -> String {
    let axes = telling(cells);
    let scenarios: BTreeSet<&str> = cells.iter().map(|cell| cell.get(Column::scenario)).collect();
    let has_files = cells.iter().any(|cell| cell.file != cells[0].file);
    let counts: BTreeSet<usize> = cells.iter().map(|cell| cell.counting).collect();
    let constant = [Column::batch, Column::payload, Column::rate_pps, Column::window, Column::wait];
    let constant = constant.into_iter().filter(|column| !axes.contains(column));
    let constant: Vec<(Column, &str)> = constant
        .map(|column| (column, cells[0].get(column)))
        .filter(|(column, value)| !(value.is_empty() || *column == Column::wait && *value == "spin"))
        .collect();
    let ordered: Vec<&str> = shape.scenarios.iter().copied().filter(|name| scenarios.contains(name)).collect();
    let mut title = format!("{}: {}", ordered.join(", "), shape.title);
    if !constant.is_empty() {
        title += &format!("; {}", constants(&constant));
    }
    if let [count] = counts.iter().copied().collect::<Vec<_>>()[..] {
        title += &format!("; {} each", counted(count, "trial"));
    }
    let has_block = cells.iter().any(|cell| cell.get(Column::wait) == "block");
    // A worker that spins uses its whole core at every rate.
    let parts: Vec<Part> = shape
        .parts
        .iter()
        .copied()
        .filter(|part| {
            !matches!(part, Part::Median(Column::cpu_ns_per_packet, _))
                || has_block
                || ordered.iter().any(|name| ["pace", "serve", "relay"].contains(name))
        })
        .collect();

    let mut header: Vec<String> = vec!["backend".into()];
    header.extend(has_files.then(|| "file".to_owned()));
    let mut texts = header.len();
    if scenarios.len() > 1 {
        header.insert(0, "scenario".into());
        texts += 1;
    }
    header.extend(axes.iter().map(|axis| short(*axis).to_owned()));
    header.extend((counts.len() > 1).then(|| "n".to_owned()));
    for part in &parts {
        match part {
            Part::Median(_, name) => header.extend([(*name).to_owned(), "±".to_owned()]),
            Part::Share(_, name, _) => header.push((*name).to_owned()),
            Part::PerCall => header.push("per call".into()),
            Part::Cores => header.push("cores".into()),
        }
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for cell in cells {
        let mut row: Vec<String> = vec![cell.name()];
        row.extend(has_files.then(|| files.get(cell.file as usize).cloned().unwrap_or_default()));
        if scenarios.len() > 1 {
            row.insert(0, cell.get(Column::scenario).to_owned());
        }
        let text = |axis: &Column| {
            let text = cell.get(*axis);
            if *axis == Column::rate_pps { rate(text) } else { text.to_owned() }
        };
        row.extend(axes.iter().map(text));
        row.extend((counts.len() > 1).then(|| cell.counting.to_string()));
        parts.iter().for_each(|part| row.extend(figures(cell, *part, shape)));
        rows.push(row);
    }
    let cut = cut_to_fit(&header, &mut rows, usize::from(scenarios.len() > 1));
    drop_intervals_to_fit(&mut header, &mut rows);
    let mut table = plain_table();
    table.set_header(&header);
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    let is_text = |index: usize| {
        index < texts
            || axes
                .get(index - texts)
                .is_some_and(|axis| cells.iter().any(|cell| cell.get(*axis).parse::<f64>().is_err()))
    };
    align(&mut table, is_text);
    format!("{}{}\n{cut}", wrap(&title), trim_lines(&table.to_string()))
}

/// Cuts the names of backends in a column, so that the table fits, and returns notes with the full names.
fn cut_to_fit(header: &[String], rows: &mut [Vec<String>], names: usize) -> String {
    let over = line_width(header, rows).saturating_sub(WIDTH);
    let most = column_width(header, rows, names).saturating_sub(over).max(8);
    let mut told: Vec<String> = Vec::new();
    for row in rows.iter_mut().filter(|_| over > 0) {
        let name = &mut row[names];
        if width(name) > most {
            // The end of a name tells modes apart, the start the backend.
            let (start, end) = (most.div_ceil(2) - 1, most / 2);
            let characters: Vec<char> = name.chars().collect();
            let short: String =
                characters[..start].iter().chain(&['…']).chain(&characters[characters.len() - end..]).collect();
            let note = format!("{short} is {name}.");
            if !told.contains(&note) {
                told.push(note);
            }
            *name = short;
        }
    }
    told.iter().map(|note| wrap(note)).collect()
}

/// Drops intervals from the right, but not the first, until the table fits: `show --summary` has them all.
fn drop_intervals_to_fit(header: &mut Vec<String>, rows: &mut [Vec<String>]) {
    let first = header.iter().position(|name| name == "±");
    while line_width(header, rows) > WIDTH {
        let Some(at) = header.iter().rposition(|name| name == "±").filter(|at| Some(*at) != first) else { return };
        header.remove(at);
        rows.iter_mut().for_each(|row| drop(row.remove(at)));
    }
}

/// The widest text of a column.
fn column_width(header: &[String], rows: &[Vec<String>], at: usize) -> usize {
    rows.iter().map(|row| width(&row[at])).chain([width(&header[at])]).max().unwrap_or(0)
}

/// How wide the lines of a table are.
fn line_width(header: &[String], rows: &[Vec<String>]) -> usize {
    (0..header.len()).map(|at| column_width(header, rows, at) + 2).sum::<usize>() - 2
}

/// The figures of a part; `-` if there are none.
fn figures(cell: &CellSummary, part: Part, shape: &Shape) -> Vec<String> {
    let none = || "-".to_owned();
    match part {
        Part::Median(column, _) => match cell.median(column) {
            None => vec![none(), String::new()],
            Some(median) => {
                let is_first = shape.parts[0] == part;
                let bound = if is_first && cell.is_limited { "≥ " } else { "" };
                let mark = if is_first && cell.marked > 0 { "*" } else { "" };
                vec![format!("{bound}{}", value_text(column, median.value)), half(median) + mark]
            }
        },
        Part::Share(column, _, decimals) => {
            vec![cell.median(column).map_or_else(none, |median| format!("{:.decimals$}%", median.value))]
        }
        Part::PerCall => vec![cell.per_call.map_or_else(none, |calls| format!("{calls:.1}"))],
        Part::Cores => vec![cores(cell).map_or_else(none, |cores| format!("{cores:.2}"))],
    }
}

/// How many cores the worker and the kernel's threads used: their time per datagram, times the datagrams per second.
fn cores(cell: &CellSummary) -> Option<f64> {
    let ns = |column| cell.median(column).map(|median| median.value);
    let worker_ns = ns(Column::cpu_ns_per_packet)? + ns(Column::kthread_ns_per_packet).unwrap_or(0.0);
    Some(worker_ns * ns(Column::rx_pps)? / 1e9)
}

/// How far the farther end of a median's interval is from it, in percent.
pub(crate) fn half(median: Median) -> String {
    match median.interval {
        Some((low, high)) if median.value > 0.0 => {
            match 100.0 * (high - median.value).max(median.value - low) / median.value {
                99.95.. => ">99%".into(),
                half => format!("{half:.1}%"),
            }
        }
        _ => String::new(),
    }
}

/// Names to the left, numbers to the right.
pub(crate) fn align(table: &mut Table, is_text: impl Fn(usize) -> bool) {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 0 } else { 1 }, 1));
        column.set_cell_alignment(if is_text(index) { CellAlignment::Left } else { CellAlignment::Right });
    }
}

/// The caveats below the table.
fn notes(cells: &[CellSummary]) -> Vec<String> {
    let mut notes = Vec::new();
    let of = |scenario: &str| cells.iter().any(|cell| cell.get(Column::scenario) == scenario && cell.is_limited);
    if cells.iter().any(|cell| cell.counting > 0) {
        let limited = if of("flood") { "; ≥: limited by the generators" } else { "" };
        notes.push(format!("±: the farther end of the 95% interval{limited}."));
    }
    if ["pace", "serve", "relay"].into_iter().any(of) {
        let times = if of("relay") { ", in relay times fanout" } else { "" };
        notes.push(format!("≥ The generator could not keep the rate; tx_pps in the CSV is the rate it sent{times}."));
    }
    let all: usize = cells.iter().map(|cell| cell.trials).sum();
    let marked: usize = cells.iter().map(|cell| cell.all_marked - cell.marked).sum();
    let other_state: usize = cells.iter().map(|cell| cell.other_state).sum();
    let few = few_disturbed(cells, all);
    let mut left_out = Vec::new();
    left_out.extend((marked > 0).then(|| format!("{marked} unsteady, or on a slower or faster core")));
    left_out.extend((other_state > 0).then(|| format!("{other_state} with their cores in another state")));
    left_out.extend(few.map(|few| format!("{few} disturbed")));
    if !left_out.is_empty() {
        notes.push(format!("Left out of {all} trials: {}.", left_out.join("; ")));
    }
    let counted: usize = cells.iter().map(|cell| cell.marked).sum();
    if counted > 0 {
        notes.push(format!("* {counted} marked trials count, for lack of others in their cell."));
    }
    notes.extend(harness_note(cells));
    if few.is_none() {
        notes.extend(lost(cells, all));
    }
    notes
}

/// How many trials were disturbed, if that is the only reason for unusable trials, and fewer than one in twenty are.
fn few_disturbed(cells: &[CellSummary], all: usize) -> Option<usize> {
    let unusable: usize = cells.iter().map(|cell| cell.reasons.len()).sum();
    let disturbed: usize = cells.iter().map(|cell| cell.disturbed).sum();
    (disturbed > 0 && disturbed == unusable && 20 * disturbed < all).then_some(disturbed)
}

/// Why trials are unusable: one note for each kind of reason, across all cells.
fn lost(cells: &[CellSummary], all: usize) -> Vec<String> {
    /// More cells than this are counted, not named.
    const NAMED_MAX: usize = 3;
    let reasons = cells.iter().enumerate().flat_map(|(at, cell)| {
        cell.reasons.iter().filter(|(_, why)| !why.is_empty()).map(move |(state, why)| ((*state, at), why.as_str()))
    });
    let messages = Messages::of(reasons);
    // Those of one kind in several cells are one note.
    let mut kinds: Vec<(State, Similar<Vec<usize>>)> = Vec::new();
    for Similar { of: (state, cell), first, count, differ } in messages.kinds {
        let is_like = |(of, known): &&mut (State, Similar<Vec<usize>>)| {
            *of == state && messages::kind(&known.first) == messages::kind(&first)
        };
        match kinds.iter_mut().find(is_like) {
            Some((_, known)) => {
                known.count += count;
                known.of.push(cell);
            }
            None => kinds.push((state, Similar { of: vec![cell], first, count, differ })),
        }
    }
    let told = kinds.into_iter().map(|(state, Similar { of, first, count, .. })| {
        let what = match (state, count) {
            (State::Failed, _) => "failed",
            (_, 1) => "is invalid and left out",
            _ => "are invalid and left out",
        };
        let names: Vec<String> = of.iter().map(|at| label(&cells[*at], cells)).collect();
        let names = match of.len() {
            count if count > NAMED_MAX => format!("{count} cells"),
            _ => names.join(", "),
        };
        let example = if count > 1 { ", for example" } else { "" };
        format!("{count} of {all} trials {what} ({names}){example}: {first}")
    });
    let others = (messages.others > 0)
        .then(|| format!("{} of {all} trials failed or are invalid for other reasons", messages.others));
    told.chain(others).collect()
}

/// Names a cell in a message, with what tells it from others of its scenario.
fn label(cell: &CellSummary, cells: &[CellSummary]) -> String {
    let same = |other: &&CellSummary| other.get(Column::scenario) == cell.get(Column::scenario);
    let axes = telling(&cells.iter().filter(same).collect::<Vec<_>>());
    let known = axes.iter().filter(|axis| !cell.get(**axis).is_empty());
    let told: String = known.map(|axis| format!(" {} {}", short(*axis), cell.get(*axis))).collect();
    format!("{} {}{told}", cell.name(), cell.get(Column::scenario))
}

/// The `null` backend shows what the harness costs; if that matters, the table says so. The harness costs a little more
/// at small batches, so every sweep over batches has a note.
fn harness_note(cells: &[CellSummary]) -> Option<String> {
    let cost = |cell: &CellSummary| cell.median(Column::ns_per_packet_p50).map(|median| median.value);
    let is_null = |cell: &CellSummary| cell.get(Column::backend) == "null";
    let drains: Vec<&CellSummary> = cells.iter().filter(|cell| cell.get(Column::scenario) == "drain").collect();
    let batches: BTreeSet<&str> = drains.iter().map(|cell| cell.get(Column::batch)).collect();
    if drains.iter().all(|cell| !is_null(cell)) && batches.len() > 1 {
        return Some(
            "The harness's own cost differs by a few ns between batches: add the null backend to see it at each."
                .into(),
        );
    }
    let key =
        |cell: &CellSummary| [Column::batch, Column::payload, Column::round].map(|axis| cell.get(axis).to_owned());
    let share = |cell: &CellSummary| {
        let null = drains.iter().find(|other| is_null(other) && key(other) == key(cell)).and_then(|null| cost(null))?;
        Some((null, 100.0 * null / cost(cell)?))
    };
    let (cell, (null, pct)) = drains
        .iter()
        .filter(|cell| !is_null(cell))
        .filter_map(|cell| Some((*cell, share(cell)?)))
        .max_by(|a, b| a.1.1.total_cmp(&b.1.1))?;
    let names = axes::name(cell.get(Column::backend), "");
    (pct > HARNESS_NOTE_PCT).then(|| {
        format!(
            "The harness itself takes {null:.1} ns per datagram ({pct:.0}% of {names} at batch {}).",
            cell.get(Column::batch)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::dataset::Dataset;
    use crate::compare::summaries;
    use crate::record::row::Row;

    fn row(scenario: &str, trial: usize, ns: f64) -> Row {
        Row {
            schema: 1,
            run_id: "f00d".into(),
            scenario: scenario.into(),
            backend: "uring".into(),
            variant: "recvmsg-multishot+sendmsg+coop".into(),
            batch: 1024,
            payload: 65_507,
            round: ["drain", "send"].contains(&scenario).then_some(1_048_576),
            trial,
            attempt: 1,
            order: trial,
            valid: 1,
            wait: "spin".into(),
            ns_per_packet_p50: Some(ns),
            peer_ns_per_packet: Some(123_456.7),
            kernel_batch_mean: Some(1024.0),
            rx_pps: Some(12_345_678.9),
            generators: Some(64),
            generator_limited: Some(1),
            loss_pct: Some(100.0),
            busy_pct: Some(100.0),
            rate_pps: ["pace", "serve", "relay"].contains(&scenario).then_some(1_234_567),
            fanout: (scenario == "relay").then_some(1024),
            window: (scenario == "echo").then_some(1024),
            lat_p50_ns: Some(12_345_678),
            lat_p99_ns: Some(12_345_678),
            lat_p999_ns: Some(123_456_789),
            cpu_ns_per_packet: Some(12_345.6),
            ..Row::default()
        }
    }

    fn told(rows: &[Row]) -> String {
        let data = Dataset::of_rows(summaries::columns(), rows.iter());
        render(&summaries::of(&data), &["a.csv".into()])
    }

    fn flat(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn wide_values_fit_into_80_columns_and_long_names_are_told_in_full() {
        let scenarios = ["drain", "send", "flood", "pace", "echo", "serve", "relay"];
        let rows: Vec<Row> = scenarios
            .into_iter()
            .flat_map(|scenario| {
                (1..=20).map(move |trial| {
                    let row = row(scenario, trial, 123_456.7 + 10_000.0 * (trial % 2) as f64);
                    let order = row.order + 100 * scenario.len() + usize::from(scenario == "echo") * 1000;
                    Row { order, wait: if trial > 10 { "block" } else { "spin" }.into(), ..row }
                })
            })
            .collect();
        let text = told(&rows);
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        assert!(text.contains("≥ 12.35 M") && flat(&text).contains("12346 0.0%"), "{text}");
        assert!(text.contains(" is uring:recvmsg-multishot+sendmsg+coop."), "{text}");
        assert!(flat(&text).contains("drain, send: ns per datagram"), "{text}");
    }

    #[test]
    fn intervals_that_do_not_fit_are_left_out_from_the_right() {
        let axes = [("spin", 20_000), ("block", 20_000), ("spin", 200_000), ("block", 200_000)];
        let rows: Vec<Row> = axes
            .into_iter()
            .enumerate()
            .flat_map(|(at, (wait, rate))| {
                (1..=6 + at).map(move |trial| Row {
                    wait: wait.into(),
                    rate_pps: Some(rate),
                    order: 100 * at + trial,
                    lat_p99_ns: Some(10_000 * trial as u64),
                    lat_p999_ns: Some(100_000 * trial as u64),
                    cpu_ns_per_packet: Some(1000.0 * trial as f64),
                    ..row("pace", trial, 0.0)
                })
            })
            .collect();
        let text = told(&rows);
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        let header = text.lines().find(|line| line.starts_with("backend")).expect("a header");
        let names: Vec<&str> = header.split_whitespace().collect();
        let place = |name: &str| names.iter().position(|known| *known == name).expect("a column");
        assert_eq!(names[place("p50") + 1], "±", "{text}");
        assert!(place("p99.9") > place("p99") && place("CPU") > place("lost"), "{text}");
    }

    #[test]
    fn what_is_equal_everywhere_is_in_the_title_and_what_varies_a_column() {
        let at = |batch: usize| {
            (1..=8).map(move |trial| Row { batch, order: 100 * batch + trial, ..row("drain", trial, 100.0) })
        };
        let rows: Vec<Row> = at(8).chain(at(32)).chain(at(128)).collect();
        let text = told(&rows);
        assert!(
            flat(&text)
                .starts_with("drain: ns per datagram, of the backend and of its peer; 65507 bytes; 8 trials each")
        );
        let first: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("uring") && !line.contains(" is "))
            .map(|line| line.split_whitespace().nth(1).expect("a batch"))
            .collect();
        assert_eq!(first, ["8", "32", "128"], "in series, by size: {text}");
    }

    #[test]
    fn a_cell_without_figures_stays_and_its_reason_is_told_once() {
        let mut rows: Vec<Row> = (1..=8).map(|trial| row("drain", trial, 100.0)).collect();
        for (at, batch) in [1, 2, 4, 8].into_iter().enumerate() {
            rows.extend((1..=5).map(|trial| Row {
                batch,
                order: 100 * (at + 1) + trial,
                valid: 0,
                invalid_reason: format!("disturbed: another thread had the core for {trial}.5 ms").into(),
                ..row("drain", trial, 1e9)
            }));
        }
        let text = told(&rows);
        assert_eq!(text.lines().filter(|line| line.starts_with("uring") && line.contains(" - ")).count(), 4, "{text}");
        let note = "20 of 28 trials are invalid and left out (4 cells), for example: disturbed: another thread had the core for \
                    1.5 ms";
        assert!(flat(&text).contains(note), "{text}");
        rows.truncate(9);
        let text = flat(&told(&rows));
        assert!(
            text.contains(
                "1 of 9 trials is invalid and left out (uring:recvmsg-multishot+sendmsg+coop drain batch 1): dis"
            ),
            "{text}"
        );
        let failed: Vec<Row> = (1..=2)
            .map(|trial| Row {
                error: "io_uring is refused here".into(),
                valid: 0,
                ns_per_packet_p50: None,
                ..row("drain", trial, 0.0)
            })
            .collect();
        let text = flat(&told(&failed));
        assert!(
            text.contains(
                "2 of 2 trials failed (uring:recvmsg-multishot+sendmsg+coop drain), for example: io_uring is refused"
            ),
            "{text}"
        );
    }

    #[test]
    fn marked_trials_are_left_out_or_count_and_are_told_of() {
        let told = |marked: usize| {
            let rows: Vec<Row> = (1..=10)
                .map(|at| Row {
                    steady: Some(u8::from(at > marked)),
                    ..row("drain", at, if at <= marked { 200.0 } else { 100.0 })
                })
                .collect();
            flat(&told(&rows))
        };
        let text = told(4);
        assert!(text.contains(" 100.0 0.0% ") && text.contains("Left out of 10 trials: 4 unsteady"), "{text}");
        let text = told(5);
        assert!(text.contains("% *") || text.contains("%*"), "{text}");
        assert!(text.contains("* 5 marked trials count, for lack of others in their cell."), "{text}");
        assert!(!told(0).contains("steady"));
    }
}
