//! The table that ends a run: a median and a spread for each cell, in 80 columns.

use comfy_table::{CellAlignment, Table};

use crate::compare::messages::Messages;
use crate::gates::{self, TRIALS_MIN};
use crate::plan::cells::Scenario;
use crate::record::lat_tail::merged;
use crate::record::row::{Row, State};
use crate::stats::Summary;
use crate::text::{digits, plain_table, thousands, trim_lines, wrap};

/// Above this share of a cell's cost the harness's own is worth a note, in percent.
const HARNESS_NOTE_PCT: f64 = 5.0;

/// Formats the results of a run: `names[i]` and `cells[i]` are the name of a cell's backend and the
/// rows of its trials. With `verbose`, a table of what explains the numbers follows.
pub fn render(groups: &[Group<'_>], verbose: bool) -> String {
    let mut parts = Vec::new();
    for scenario in Scenario::ALL {
        let groups: Vec<&Group<'_>> = groups.iter().filter(|group| group.scenario == scenario).collect();
        if groups.iter().any(|group| group.valid().next().is_some()) {
            parts.push(section(scenario, &groups));
        }
    }
    if verbose {
        parts.extend(mechanism(groups));
    }
    parts.extend(notes(groups));
    parts.join("\n")
}

/// The trials of a cell.
#[derive(Debug)]
pub struct Group<'a> {
    /// What was measured.
    pub scenario: Scenario,
    /// The backend, with its variant if that is not the default.
    pub name: String,
    /// The trials.
    pub rows: Vec<&'a Row>,
}

impl<'a> Group<'a> {
    /// The trials that count.
    fn valid(&self) -> impl Iterator<Item = &'a Row> {
        let valid = self.rows.iter().copied().filter(|row| row.valid == 1).collect();
        gates::counting(valid, |row| row.marked).into_iter()
    }

    /// How many of them are marked.
    fn counted_marked(&self) -> usize {
        self.valid().filter(|row| row.marked).count()
    }

    fn summary(&self, value: impl Fn(&Row) -> Option<f64>) -> Option<Summary> {
        Summary::of(self.valid().filter_map(value))
    }

    fn median(&self, value: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        self.summary(value).map(|summary| summary.median)
    }

    /// The 99th and the 99.9th percentile of the latencies of all trials together, in ns; where one does not keep its latencies,
    /// the medians of the trials' own.
    fn tails(&self) -> [Option<f64>; 2] {
        if self.has_tails() {
            let all = merged(self.valid().map(|row| &row.lat_tail));
            return [0.99, 0.999].map(|at| Some(all.value_at_quantile(at) as f64));
        }
        let median = |value: fn(&Row) -> Option<u64>| self.median(|row| value(row).map(|ns| ns as f64));
        [median(|row| row.lat_p99_ns), median(|row| row.lat_p999_ns)]
    }

    /// Whether its trials keep their latencies.
    fn has_tails(&self) -> bool {
        self.valid().next().is_some() && self.valid().all(|row| !row.lat_tail.is_empty())
    }

    /// Says which cell this is, for a message.
    fn label(&self) -> String {
        let row = self.rows.first();
        let number = |value: Option<usize>| value.map_or_else(String::new, |value| value.to_string());
        format!(
            "{} {}, batch {}, payload {}",
            self.name,
            self.scenario,
            number(row.map(|row| row.batch)),
            number(row.map(|row| row.payload))
        )
    }
}

fn section(scenario: Scenario, groups: &[&Group<'_>]) -> String {
    let title = match scenario {
        Scenario::Drain => "drain: receiving from a full queue; ns per datagram, less is better",
        Scenario::Send => "send: handing datagrams to the kernel; ns per datagram, less is better",
        Scenario::Flood => "flood: datagrams delivered per second under full load, more is better",
        Scenario::Pace => "pace: µs from when a datagram was due to its receipt, less is better",
        Scenario::Echo => "echo: round-trip time in µs, less is better",
    };
    let mut table = plain_table();
    let header: &[&str] = match scenario {
        Scenario::Drain | Scenario::Send => {
            &["backend", "batch", "bytes", "round", "ns", "±", "other side", "per call"]
        }
        Scenario::Flood => &["backend", "batch", "bytes", "from", "per second", "±", "lost", "busy", "per call"],
        Scenario::Pace => &["backend", "batch", "bytes", "rate", "p50", "±", "p99", "p99.9", "lost", "busy"],
        Scenario::Echo => &["backend", "batch", "bytes", "window", "p50", "±", "p99", "p99.9", "busy"],
    };
    table.set_header(header.to_vec());
    for group in groups {
        let Some(first) = group.valid().next() else { continue };
        let mut line = vec![group.name.clone(), first.batch.to_string(), first.payload.to_string()];
        let size = match scenario {
            Scenario::Drain | Scenario::Send => first.round,
            Scenario::Flood => first.generators,
            Scenario::Pace => None,
            Scenario::Echo => first.window,
        };
        let rate = first.rate_pps.filter(|_| scenario == Scenario::Pace);
        line.push(size.map(|size| size.to_string()).or(rate.map(short)).unwrap_or_default());
        line.extend(figures(scenario, group));
        table.add_row(line);
    }
    align(&mut table);
    format!("{title}\n{}\n", trim_lines(&table.to_string()))
}

/// The figures of a cell, in the order of the section's header.
fn figures(scenario: Scenario, group: &Group<'_>) -> Vec<String> {
    let per_call = decimals(group.median(Row::per_call), 1);
    match scenario {
        Scenario::Drain | Scenario::Send => {
            let cost = group.summary(|row| row.ns_per_packet_p50);
            vec![
                decimals(cost.map(|cost| cost.median), 1),
                spread(group, cost),
                decimals(group.median(|row| row.peer_ns_per_packet), 1),
                per_call,
            ]
        }
        Scenario::Flood => {
            let rate = group.summary(|row| row.rx_pps);
            let limited = group.valid().any(|row| row.generator_limited == Some(1));
            let mark = if limited { "≥ " } else { "" };
            vec![
                rate.map_or_else(String::new, |rate| format!("{mark}{}", thousands(rate.median))),
                spread(group, rate),
                percent(group.median(|row| row.loss_pct), 2),
                busy(group),
                per_call,
            ]
        }
        Scenario::Pace | Scenario::Echo => {
            let middle = group.summary(|row| row.lat_p50_ns.map(|ns| ns as f64 / 1e3));
            let figure = |micros: Option<f64>| micros.map_or_else(String::new, latency);
            let [p99, p999] = group.tails().map(|ns| figure(ns.map(|ns| ns / 1e3)));
            let limited = group.valid().any(|row| row.generator_limited == Some(1));
            let mut line = vec![
                format!("{}{}", if limited { "≥ " } else { "" }, figure(middle.map(|middle| middle.median))),
                spread(group, middle),
                p99,
                p999,
            ];
            if scenario == Scenario::Pace {
                line.push(percent(group.median(|row| row.loss_pct), 2));
            }
            line.push(busy(group));
            line
        }
    }
}

/// What a worker cost: the share of time in which it moved datagrams if it spins, its time per datagram if it
/// sleeps in between.
fn busy(group: &Group<'_>) -> String {
    match group.median(|row| row.busy_pct) {
        Some(pct) => percent(Some(pct), 0),
        None => group.median(|row| row.cpu_ns_per_packet).map_or_else(String::new, time),
    }
}

/// A latency in µs; one of seconds, which only a machine that is much too busy has, with its unit, so that the tables fit.
fn latency(micros: f64) -> String {
    if micros < 999_999.5 { digits(micros) } else { format!("{:.1} s", micros / 1e6) }
}

/// A time in at most seven characters, so that the tables fit.
fn time(ns: f64) -> String {
    if ns < 9999.5 { format!("{ns:.0} ns") } else { format!("{:.0} µs", ns / 1e3) }
}

/// A rate in few characters, e.g. `50k`.
fn short(rate: u64) -> String {
    match rate {
        _ if rate >= 1_000_000 && rate.is_multiple_of(100_000) => format!("{}M", rate as f64 / 1e6),
        _ if rate >= 1000 && rate.is_multiple_of(100) => format!("{}k", rate as f64 / 1e3),
        _ => rate.to_string(),
    }
}

/// What explains the numbers: batches, polls, re-arms.
fn mechanism(groups: &[Group<'_>]) -> Option<String> {
    let mut table = plain_table();
    table.set_header(["backend", "scenario", "batch", "bytes", "per rx", "calls each", "empty polls", "re-arms"]);
    for group in groups {
        let Some(first) = group.valid().next() else { continue };
        table.add_row([
            group.name.clone(),
            group.scenario.to_string(),
            first.batch.to_string(),
            first.payload.to_string(),
            decimals(group.median(|row| row.batch_mean), 1),
            decimals(group.median(|row| row.syscalls_per_packet), 4),
            decimals(group.median(|row| row.empty_polls.map(|count| count as f64)), 0),
            decimals(group.median(|row| row.rearms.map(|count| count as f64)), 0),
        ]);
    }
    align(&mut table);
    let sizes: String = groups.iter().filter_map(batch_sizes).collect();
    let title = "medians of what explains the numbers";
    (!table.is_empty()).then(|| format!("{title}\n{}\n{sizes}", trim_lines(&table.to_string())))
}

/// How many datagrams the calls of `rx` that brought any brought, over all trials of a cell: a line.
fn batch_sizes(group: &Group<'_>) -> Option<String> {
    let mut sizes = [0_u64; 11];
    group.valid().for_each(|row| sizes.iter_mut().zip(row.batch_sizes).for_each(|(sum, calls)| *sum += calls));
    let all: u64 = sizes.iter().sum();
    let class = |(class, &calls): (usize, &u64)| {
        let (first, last) = (1_u64 << class, (2_u64 << class) - 1);
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        (calls > 0).then(|| format!("{range}: {:.1}%", 100.0 * calls as f64 / all as f64))
    };
    let classes: Vec<String> = sizes.iter().enumerate().filter_map(class).collect();
    (all > 0).then(|| wrap(&format!("{}: datagrams per rx call: {}", group.label(), classes.join(", "))))
}

/// What a reader must know beside the figures.
fn notes(groups: &[Group<'_>]) -> Option<String> {
    let mut notes = Vec::new();
    let trials = groups.iter().map(|group| group.rows.len()).max().unwrap_or(0);
    if groups.iter().any(|group| group.valid().next().is_some()) {
        notes.push(format!(
            "Medians of up to {trials} trials; ± is half the distance between their quartiles. `per call` is how \
             many datagrams a system call of the backend moved, whatever the batch asked for."
        ));
    }
    if groups.iter().any(Group::has_tails) {
        notes.push(
            "p99 and p99.9 are of the samples of all trials of a cell together, not medians of the trials' own.".into(),
        );
    }
    let limited = |scenario| {
        let mut groups = groups.iter().filter(|group| group.scenario == scenario);
        groups.any(|group| group.valid().any(|row| row.generator_limited == Some(1)))
    };
    if limited(Scenario::Flood) {
        notes.push(
            "≥  The generators could not keep the worker busy (busy below 95%): the rate is what they offered, and \
             ranks nothing."
                .into(),
        );
    }
    if limited(Scenario::Pace) {
        notes.push("≥  The generator could not keep the rate; `tx_pps` in the CSV is what it really sent.".into());
    }
    let all = groups.iter().flat_map(|group| &group.rows);
    let marked = all.clone().filter(|row| row.valid == 1 && row.marked).count();
    if marked > 0 {
        notes.push(format!(
            "{marked} of {} trials are marked (not steady, or on a core that was not as fast as usual): left out where \
             at least {TRIALS_MIN} others of their cell remain.",
            all.count()
        ));
    }
    let counted: usize = groups.iter().map(Group::counted_marked).sum();
    if counted > 0 {
        notes.push(format!("*  {counted} marked trials count, for lack of others of their cell."));
    }
    notes.extend(harness_note(groups));
    for group in groups {
        let reasons = group.rows.iter().map(|row| (row.state(), row.why())).filter(|(_, why)| !why.is_empty());
        let (messages, all) = (Messages::of(reasons), group.rows.len());
        for kind in messages.kinds {
            let what = if kind.of == State::Failed { "failed" } else { "invalid, left out" };
            notes.push(format!("{}: {} of {all} trials {what}: {}", group.label(), kind.count, kind.example()));
        }
        if messages.others > 0 {
            let label = group.label();
            notes.push(format!("{label}: {} of {all} trials failed or are invalid for other reasons", messages.others));
        }
    }
    (!notes.is_empty()).then(|| notes.iter().map(|note| wrap(note)).collect())
}

/// The `null` backend shows what the harness costs; where that matters, the table says so. It is a little more at small batches,
/// and so is beside every sweep over them.
fn harness_note(groups: &[Group<'_>]) -> Option<String> {
    let cost = |group: &Group<'_>| group.median(|row| row.ns_per_packet_p50);
    let drains = || groups.iter().filter(|group| group.scenario == Scenario::Drain);
    let batches = || drains().filter_map(|group| group.rows.first().map(|row| row.batch));
    if drains().all(|group| group.name != "null") && batches().min() != batches().max() {
        return Some(
            "What the harness itself costs differs by a few ns between batches: null among the backends shows it at each."
                .into(),
        );
    }
    for group in groups.iter().filter(|group| group.name != "null" && group.scenario == Scenario::Drain) {
        let same = |other: &&Group<'_>| {
            let key = |group: &Group<'_>| group.rows.first().map(|row| (row.batch, row.payload, row.round));
            other.name == "null" && other.scenario == group.scenario && key(other) == key(group)
        };
        let (Some(null), Some(own)) = (groups.iter().find(same).and_then(&cost), cost(group)) else { continue };
        if 100.0 * null > HARNESS_NOTE_PCT * own {
            return Some(format!(
                "The harness itself takes {null:.1} ns per datagram ({:.0}% of {}).",
                100.0 * null / own,
                group.label()
            ));
        }
    }
    None
}

/// Names to the left, numbers to the right.
fn align(table: &mut Table) {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 0 } else { 1 }, 1));
        column.set_cell_alignment(if index == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
}

fn decimals(value: Option<f64>, count: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.count$}"))
}

fn percent(value: Option<f64>, count: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.count$}%"))
}

/// How far the trials of a cell are apart, with a mark where those count in which the machine was not as usual.
fn spread(group: &Group<'_>, summary: Option<Summary>) -> String {
    let spread = summary
        .filter(|summary| summary.count > 1)
        .map_or_else(String::new, |summary| format!("{:.1}%", summary.spread_pct));
    if group.counted_marked() > 0 { spread + "*" } else { spread }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ns: f64, valid: u8) -> Row {
        Row {
            batch: 1024,
            payload: 65_507,
            round: Some(1_048_576),
            valid,
            ns_per_packet_p50: Some(ns),
            peer_ns_per_packet: Some(123_456.7),
            kernel_batch_mean: Some(1024.0),
            rx_pps: Some(12_345_678.9),
            generators: Some(64),
            generator_limited: Some(1),
            loss_pct: Some(100.0),
            busy_pct: Some(100.0),
            window: Some(1024),
            lat_p50_ns: Some(12_345_678),
            lat_p99_ns: Some(12_345_678),
            lat_p999_ns: Some(123_456_789),
            invalid_reason: if valid == 1 { "" } else { "3 datagrams unexplained" }.into(),
            ..Row::default()
        }
    }

    #[test]
    fn wide_values_fit_into_80_columns() {
        let rows = [123_456.7, 133_456.7].map(|ns| Row { marked: true, ..row(ns, 1) });
        let groups: Vec<Group<'_>> = Scenario::ALL
            .into_iter()
            .map(|scenario| Group { scenario, name: "plain".into(), rows: rows.iter().collect() })
            .collect();
        let text = render(&groups, true);
        let widest =
            text.lines().take_while(|line| !line.starts_with("Medians")).map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{widest:?} columns:\n{text}");
        assert!(text.contains("≥ 12 345 679"), "{text}");
    }

    #[test]
    fn workers_that_sleep_in_a_busy_machine_fit_into_80_columns() {
        let rows = [1.0, 1.0].map(|ns| Row {
            busy_pct: None,
            cpu_ns_per_packet: Some(12_345.6),
            rate_pps: Some(12_345),
            lat_p50_ns: Some(12_345_678),
            lat_p99_ns: Some(123_456_789),
            loss_pct: Some(0.0),
            ..row(ns, 1)
        });
        let group = Group { scenario: Scenario::Pace, name: "plain/block".into(), rows: rows.iter().collect() };
        let text = render(&[group], false);
        let line = text.lines().find(|line| line.starts_with("plain/block")).expect("a line");
        assert!(line.ends_with(" 12 µs") && line.chars().count() <= 80, "{line}");
        assert_eq!([0.4, 9999.4, 9999.5].map(time), ["0 ns", "9999 ns", "10 µs"]);
        assert_eq!([999_999.0, 2_195_718.0].map(latency), ["999999", "2.2 s"]);
    }

    #[test]
    fn tails_are_of_all_trials_together() {
        let rows = |tails: [&str; 3]| tails.map(|tail| Row { lat_tail: tail.parse().expect("a tail"), ..row(1.0, 1) });
        let told = |rows: &[Row]| {
            let group = Group { scenario: Scenario::Echo, name: "plain".into(), rows: rows.iter().collect() };
            render(&[group], false).replace("\n  ", " ")
        };
        // Most trials have nothing of what is slow in one of them.
        let text = told(&rows(["1/64 8192:100", "1/64 8192:100", "1/64 8192:90 2097152:10"]));
        let of_all = |text: &str| text.contains("p99 and p99.9 are of the samples of all trials");
        assert!(text.contains("  2118   2128  ") && !text.contains("12 346  123 457") && of_all(&text), "{text}");
        let text = told(&rows(["1/64 8192:100", "1/64 8192:100", ""]));
        assert!(!of_all(&text), "{text}");
    }

    #[test]
    fn invalid_trials_are_told_of_and_left_out() {
        let rows = [row(100.0, 1), row(100.0, 1), row(1e9, 0)];
        let group = Group { scenario: Scenario::Drain, name: "mmsg".into(), rows: rows.iter().collect() };
        let text = render(&[group], false);
        assert!(text.contains(" 100.0 "), "{text}");
        assert!(
            text.replace("\n  ", " ").contains("1 of 3 trials invalid, left out: 3 datagrams unexplained"),
            "{text}"
        );
    }

    #[test]
    fn reasons_that_differ_in_numbers_are_one_note_and_failures_another() {
        let mut rows: Vec<Row> = (0..20).map(|_| row(100.0, 0)).collect();
        for (at, row) in rows.iter_mut().enumerate() {
            row.invalid_reason = format!("disturbed: another thread had the core for {at}.5 ms").into();
        }
        let told = |rows: &[Row]| {
            let group = Group { scenario: Scenario::Drain, name: "mmsg".into(), rows: rows.iter().collect() };
            render(&[group], false).replace("\n  ", " ")
        };
        let cell = "mmsg drain, batch 1024, payload 65507";
        let why = "disturbed: another thread had the core for";
        assert_eq!(told(&rows), format!("{cell}: 20 of 20 trials invalid, left out: such as: {why} 0.5 ms\n"));
        let mut many = [rows.as_slice(); 3].concat();
        for (at, row) in many.iter_mut().enumerate() {
            row.invalid_reason = "x".repeat(at + 1).into();
        }
        let text = told(&many);
        assert!(
            text.ends_with(&format!("{cell}: 10 of 60 trials failed or are invalid for other reasons\n")),
            "{text}"
        );
        rows[0].error = rows[1].invalid_reason.to_string();
        assert_eq!(
            told(&rows),
            format!(
                "{cell}: 19 of 20 trials invalid, left out: such as: {why} 1.5 ms\n\
                 {cell}: 1 of 20 trials failed: {why} 1.5 ms\n"
            )
        );
    }

    #[test]
    fn marked_trials_are_left_out_or_count_and_are_told_of() {
        let told = |marked: usize| {
            let mut rows: Vec<Row> = (1..=10).map(|at| row(if at <= marked { 200.0 } else { 100.0 }, 1)).collect();
            rows.iter_mut().take(marked).for_each(|row| row.marked = true);
            let group = Group { scenario: Scenario::Drain, name: "mmsg".into(), rows: rows.iter().collect() };
            render(&[group], false).replace("\n  ", " ")
        };
        let note = |marked: usize| {
            format!(
                "{marked} of 10 trials are marked (not steady, or on a core that was not as fast as usual): left out \
                 where at least 6 others of their cell remain."
            )
        };
        let text = told(4);
        assert!(text.contains(" 100.0  0.0% ") && text.contains(&note(4)) && !text.contains('*'), "{text}");
        let text = told(5);
        assert!(text.contains(" 150.0  33.3%*") && text.contains(&note(5)), "{text}");
        assert!(text.contains("*  5 marked trials count, for lack of others of their cell.\n"), "{text}");
        let text = told(0);
        assert!(!text.contains("marked") && !text.contains('*'), "{text}");
    }

    #[test]
    fn failed_cells_have_no_figures_but_a_reason() {
        let failed = Row { error: "io_uring is refused here".into(), batch: 32, payload: 64, ..Row::default() };
        let group = Group { scenario: Scenario::Drain, name: "uring".into(), rows: vec![&failed, &failed] };
        let text = render(&[group], false);
        assert_eq!(text, "uring drain, batch 32, payload 64: 2 of 2 trials failed: io_uring is refused\n  here\n");
    }
}
