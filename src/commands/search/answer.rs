//! What a search prints: a sentence, and a table of the bounds, what it costs there, and what stopped it.

use std::collections::{BTreeMap, HashSet};

use super::args::SearchArgs;
use super::judge::Met;
use super::trials::Subject;
use crate::commands::bench::name;
use crate::commands::table::align;
use crate::plan::cells::{Cell, Scenario};
use crate::record::lat_tail::merged;
use crate::record::row::Row;
use crate::stats::Summary;
use crate::stats::search::{Found, Goal};
use crate::text::{percent, plain_table, thousands, trim_lines, wrap};

/// What was found of a cell for a goal. Rates are those of all workers together.
#[derive(Clone, Debug)]
struct Line<'a> {
    cell: &'a Cell,
    name: String,
    workers: usize,
    goal: usize,
    lower: Option<f64>,
    upper: Option<f64>,
    throughput: Option<f64>,
    /// Time of the worker and the kernel's threads at the lower bound, in nanoseconds per datagram: the median of its trials.
    cpu_ns: Option<f64>,
    /// The 99th percentile of all latencies there, in nanoseconds.
    p99_ns: Option<u64>,
    /// Whether the search has come to its end.
    is_over: bool,
    /// Whether more may hold than was found.
    is_at_least: bool,
    stopped: String,
}

impl<'a> Line<'a> {
    fn new(subject: &'a Subject, goal: usize, workers: usize, args: &SearchArgs) -> Self {
        let Found { bounds, throughput } = subject.search.found(goal);
        let at =
            |load: Option<u64>| subject.trials.iter().filter(move |(row, _)| row.rate_pps == load && load.is_some());
        let mut holding: Vec<&Row> =
            at(bounds.lower).filter(|(_, met)| met[goal] == Met::Yes).map(|(row, _)| row).collect();
        // Those that hold although they were disturbed show what the disturbance costs, too.
        if holding.iter().any(|row| !row.is_invalid()) {
            holding.retain(|row| !row.is_invalid());
        }
        let cpu_ns = |row: &&Row| Some(row.cpu_ns_per_packet? + row.kthread_ns_per_packet.unwrap_or(0.0));
        let latencies = merged(holding.iter().map(|row| &row.lat_tail));
        let is_over = subject.search.clone().ask().is_none();
        let why = most(at(bounds.upper).map(|(_, met)| met[goal]));
        let stopped = match (why, bounds.lower) {
            _ if subject.failed.is_some() => "failed, see below".into(),
            _ if !is_over => "not finished".into(),
            (Some(met), _) => reason(met, at(bounds.upper).map(|(row, _)| row), args),
            (None, Some(_)) => "--rate-max".into(),
            (None, None) => "-".into(),
        };
        let total = |load: u64| load as f64 * workers as f64;
        Self {
            cell: &subject.cell,
            name: name(&subject.cell),
            workers,
            goal,
            lower: bounds.lower.map(total),
            upper: bounds.upper.map(total),
            throughput: throughput.map(|throughput| throughput * workers as f64),
            cpu_ns: Summary::of(holding.iter().filter_map(cpu_ns)).map(|summary| summary.median),
            p99_ns: (!latencies.is_empty()).then(|| latencies.value_at_quantile(0.99)),
            is_over,
            is_at_least: is_over && bounds.lower.is_some() && matches!(why, None | Some(Met::Generator)),
            stopped,
        }
    }
}

/// The most frequent reason why trials did not meet a goal.
fn most(met: impl Iterator<Item = Met>) -> Option<Met> {
    let mut counts: BTreeMap<Met, usize> = BTreeMap::new();
    met.filter(|met| *met != Met::Yes).for_each(|met| *counts.entry(met).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(met, _)| met)
}

/// A reason in words; of losses, where most of them were.
fn reason<'r>(met: Met, rows: impl Iterator<Item = &'r Row>, args: &SearchArgs) -> String {
    match met {
        Met::Yes => "-".into(),
        Met::Queue => "the queue grew".into(),
        Met::P99 => format!("p99 above {}", time_max(args)),
        Met::Generator => "the generator".into(),
        Met::Loss => {
            let mut dropped = [(0, "loss at the socket"), (0, "loss at the ring"), (0, "loss on the way")];
            for row in rows {
                let own = [row.drop_socket, row.drop_ring, row.lost].map(Option::unwrap_or_default);
                dropped.iter_mut().zip(own).for_each(|((sum, _), own)| *sum += own);
            }
            dropped.into_iter().rev().max_by_key(|(sum, _)| *sum).map_or("loss", |(_, where_)| where_).into()
        }
    }
}

fn time_max(args: &SearchArgs) -> String {
    let ns = args.goal.p99_max.as_nanos() as f64;
    if ns < 1e6 { format!("{} µs", ns / 1e3) } else { format!("{} ms", ns / 1e6) }
}

/// The answer, the table, and its notes; of runs with so many workers each.
pub(super) fn of(subjects: &[Subject], workers: &[usize], args: &SearchArgs, goals: &[Goal]) -> String {
    let lines: Vec<Line<'_>> = subjects
        .iter()
        .flat_map(|subject| (0..goals.len()).map(|goal| Line::new(subject, goal, workers[subject.run], args)))
        .collect();
    let mut parts = vec![headline(&lines, goals)];
    for scenario in [Scenario::Pace, Scenario::Serve] {
        let own: Vec<&Line<'_>> = lines.iter().filter(|line| line.cell.scenario == scenario).collect();
        if !own.is_empty() {
            parts.push(table(scenario, &own, args, goals));
        }
    }
    parts.push(notes(subjects, &lines, goals));
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// What the backends can take, in words: each that differs in nothing else from the first one, against that. Where more than
/// the backend differs, or there are several goals, the table says it better.
fn headline(lines: &[Line<'_>], goals: &[Goal]) -> String {
    let mut groups: Vec<Vec<&Line<'_>>> = Vec::new();
    for line in lines.iter().filter(|line| line.is_over && line.lower.is_some() && line.goal == 0) {
        let alike =
            |group: &&mut Vec<&Line<'_>>| group[0].workers == line.workers && is_alike(group[0].cell, line.cell);
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(line),
            None => groups.push(vec![line]),
        }
    }
    let scenarios: HashSet<&str> = groups.iter().map(|group| group[0].cell.scenario.name()).collect();
    if groups.len() > scenarios.len() || goals.len() > 1 {
        return String::new();
    }
    let sentences: Vec<String> = groups.iter().map(|group| sentence(group, goals[0].width)).collect();
    if sentences.is_empty() { String::new() } else { wrap(&sentences.join(" ")).replace("\n  ", "\n") }
}

/// Whether two cells differ in nothing but the backend and what belongs to it.
fn is_alike(a: &Cell, b: &Cell) -> bool {
    Cell { variant: a.variant, buffers: a.buffers, addressing: a.addressing, ..*b } == *a
}

fn sentence(group: &[&Line<'_>], width: f64) -> String {
    let first = group[0];
    let base = first.lower.unwrap_or(f64::NAN);
    let verb = if first.cell.scenario == Scenario::Serve { "answers" } else { "receives" };
    let at_least = |line: &Line<'_>| if line.is_at_least { "at least " } else { "" };
    let mut text = format!("{} {verb} {}{} datagrams a second", first.name, at_least(first), rounded(base));
    for (at, line) in group.iter().enumerate().skip(1) {
        let change = line.lower.unwrap_or(f64::NAN) / base - 1.0;
        text += if at == 1 { "; " } else { ", " };
        text += &match change {
            // Each is known within a width.
            _ if first.is_at_least || line.is_at_least => {
                format!("{} {}{}", line.name, at_least(line), rounded(line.lower.unwrap_or(0.0)))
            }
            _ if change.abs() <= width => format!("{} as many, within {}", line.name, percent(width)),
            _ if change > 0.0 => format!("{} {:.0}% more", line.name, 100.0 * change),
            _ => format!("{} {:.0}% fewer", line.name, -100.0 * change),
        };
    }
    text + "."
}

fn table(scenario: Scenario, lines: &[&Line<'_>], args: &SearchArgs, goals: &[Goal]) -> String {
    /// A column that is there if its texts differ.
    type Axis = (&'static str, fn(&Line<'_>) -> String);
    const AXES: [Axis; 5] = [
        ("workers", |line| line.workers.to_string()),
        ("batch", |line| line.cell.batch.to_string()),
        ("bytes", |line| line.cell.payload.to_string()),
        ("burst", |line| line.cell.burst.unwrap_or(1).to_string()),
        ("work", |line| line.cell.work.unwrap_or(0).to_string()),
    ];
    let differs = |text: &fn(&Line<'_>) -> String| lines.iter().any(|line| text(line) != text(lines[0]));
    let (axes, constant): (Vec<Axis>, Vec<Axis>) = AXES.into_iter().partition(|(_, text)| differs(text));
    let constant = constant.into_iter().map(|(label, text)| (label, text(lines[0])));
    let constant: Vec<String> = constant
        .filter(|(label, value)| !matches!((*label, value.as_str()), ("workers" | "burst", "1") | ("work", "0")))
        .map(|(label, value)| match label {
            "bytes" => format!("{value} bytes"),
            "work" => format!("work {value} ns"),
            _ => format!("{label} {value}"),
        })
        .collect();
    let loss = args.goal.loss_max.to_string().replace(',', " or ");
    let title = format!(
        "{scenario}: highest rate that holds, per second; loss at most {loss}, p99 at most {}; {}",
        time_max(args),
        constant.join(", ")
    );
    let has_goals = goals.len() > 1;
    let has_workers = axes.iter().any(|(label, _)| *label == "workers");
    let mut header: Vec<&str> = vec!["backend"];
    header.extend(axes.iter().map(|(label, _)| *label));
    header.extend(has_goals.then_some("loss"));
    header.extend(["holds", "fails", "throughput"]);
    header.extend(has_workers.then_some("added"));
    header.extend(["CPU ns", "p99 µs", "stopped by"]);
    let mut table = plain_table();
    table.set_header(&header);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    for line in lines {
        let bound = if line.is_at_least { "≥ " } else { "" };
        let mut row: Vec<String> = vec![line.name.clone()];
        row.extend(axes.iter().map(|(_, text)| text(line)));
        row.extend(has_goals.then(|| percent(goals[line.goal].loss_ratio)));
        row.push(or_dash(line.lower.map(|lower| format!("{bound}{}", rounded(lower)))));
        row.push(or_dash(line.upper.map(rounded)));
        row.push(or_dash(line.throughput.map(rounded)));
        row.extend(has_workers.then(|| or_dash(added(line, lines))));
        row.push(or_dash(line.cpu_ns.map(|ns| format!("{ns:.0}"))));
        row.push(or_dash(line.p99_ns.map(|ns| format!("{:.1}", ns as f64 / 1e3))));
        row.push(line.stopped.clone());
        table.add_row(row);
    }
    let last = header.len() - 1;
    align(&mut table, |index| index == 0 || index == last);
    format!("{}{}\n", wrap(&title), trim_lines(&table.to_string()))
}

/// What each added worker brings, as a share of what the first ones take each: the efficiency of adding it.
fn added(line: &Line<'_>, lines: &[&Line<'_>]) -> Option<String> {
    let is_same = |other: &&&Line<'_>| other.cell == line.cell && other.goal == line.goal && other.lower.is_some();
    let fewer: Vec<&&Line<'_>> = lines.iter().filter(is_same).filter(|other| other.workers < line.workers).collect();
    let before = fewer.iter().max_by_key(|other| other.workers)?;
    let first = fewer.iter().min_by_key(|other| other.workers)?;
    let each = (line.lower? - before.lower?) / (line.workers - before.workers) as f64;
    Some(format!("{:.0}%", 100.0 * each / (first.lower? / first.workers as f64)))
}

/// The caveats below the tables.
fn notes(subjects: &[Subject], lines: &[Line<'_>], goals: &[Goal]) -> String {
    let mut notes: Vec<String> = Vec::new();
    notes.push(format!(
        "holds, fails: bounds at most {} apart; throughput: what got through at the lower one, where CPU and p99 are from, too. Of \
         this run only.",
        percent(goals[0].width)
    ));
    if lines.iter().any(|line| line.is_at_least && line.upper.is_some()) {
        notes.push("≥ The generator could not offer more: the worker may take it.".into());
    }
    if lines.iter().any(|line| line.is_at_least && line.upper.is_none()) {
        notes.push("≥ The highest rate holds: --rate-max allows more.".into());
    }
    let trials: usize = subjects.iter().map(|subject| subject.trials.len()).sum();
    let grew = subjects.iter().flat_map(|subject| &subject.trials).filter(|(_, met)| met.contains(&Met::Queue)).count();
    if grew > 0 {
        notes.push(format!(
            "In {grew} of {trials} trials the queue grew: what was left in it is not counted as received."
        ));
    }
    let timed = subjects.iter().flat_map(|subject| &subject.trials).any(|(row, _)| row.lat_p99_ns.is_some());
    if !timed && trials > 0 {
        notes.push("No latency is known, so --p99-max does not hold anything back.".into());
    }
    for subject in subjects {
        if let Some(why) = &subject.failed {
            notes.push(format!("{} failed: {why}", name(&subject.cell)));
        }
    }
    notes.iter().map(|note| wrap(note)).collect()
}

/// A rate with four significant digits.
fn rounded(rate: f64) -> String {
    if !rate.is_finite() || rate <= 0.0 {
        return "-".into();
    }
    let scale = 10_f64.powi((rate.log10().floor() as i32 - 3).max(0));
    thousands((rate / scale).round() * scale)
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::super::judge::{Limits, judge};
    use super::*;
    use crate::plan::args::RunArgs;
    use crate::plan::request;
    use crate::record::lat_tail::LatTail;
    use crate::stats::search::Search;

    /// What a worker of a run can take, by its run and its backend.
    type Device = fn(usize, &str) -> Row;

    /// The text of searches on formulas: what a device lets through is in its `rx_pps`, what its generator offers in its `tx_pps`.
    fn text(words: &str, workers: &[usize], device: Device) -> String {
        let command = SearchArgs::augment_args(Command::new("search").no_binary_name(true));
        let matches = command.try_get_matches_from(words.split_whitespace()).expect("good flags");
        let args = SearchArgs::from_arg_matches(&matches).expect("good flags");
        let goals = args.goals().expect("they can be");
        let limits = Limits { loss_max: args.goal.loss_max.0.clone(), p99_max_ns: args.goal.p99_max.as_nanos() as u64 };
        let run_args = RunArgs { rate: crate::plan::lists::List(vec![1_000_000]), ..args.run.clone() };
        let cells = request::cells(&run_args, false).expect("they go together");
        let mut subjects: Vec<Subject> = (0..workers.len())
            .flat_map(|run| cells.iter().map(move |cell| (run, *cell)))
            .map(|(run, cell)| Subject::new(run, cell, Search::new(goals.clone(), 100..=1_000_000)))
            .collect();
        for subject in &mut subjects {
            let device = device(subject.run, subject.cell.variant.kind().name());
            while let Some(ask) = subject.search.ask() {
                let (load, most) = (ask.load as f64, device.rx_pps.expect("it takes some"));
                let row = Row {
                    rate_pps: Some(ask.load),
                    workers: workers[subject.run],
                    burst: Some(1),
                    measured_sent: Some(1_000_000),
                    loss_pct: Some(100.0 * (1.0 - most / load).max(0.0)),
                    rx_pps: Some(load.min(most) * workers[subject.run] as f64),
                    generator_limited: Some(u8::from(load > device.tx_pps.unwrap_or(f64::MAX))),
                    valid: 1,
                    lat_tail: LatTail::of(
                        &hdrhistogram::Histogram::<u64>::new(3)
                            .map(|mut histogram| {
                                histogram.record(20_000).expect("it fits");
                                histogram
                            })
                            .expect("digits"),
                    ),
                    ..device.clone()
                };
                let judged = judge(&row, &limits);
                subject.search.note(ask, judged.shown);
                subject.trials.push((row, judged.met));
            }
        }
        of(&subjects, workers, &args, &goals)
    }

    fn taking(rx_pps: f64) -> Row {
        Row { rx_pps: Some(rx_pps), cpu_ns_per_packet: Some(800.0), drop_socket: Some(5), ..Row::default() }
    }

    #[test]
    fn backends_are_compared_in_words_and_each_has_its_bounds_and_what_stopped_it() {
        let text = text("--work 5us", &[1], |_, backend| match backend {
            "plain" => taking(100_000.0),
            "mmsg" => taking(100_500.0),
            _ => Row { kthread_ns_per_packet: Some(50.0), drop_ring: Some(9), ..taking(125_000.0) },
        });
        assert!(
            text.starts_with("plain receives 100 500 datagrams a second; mmsg as many, within 2%, uring 25%\nmore.\n"),
            "{text}"
        );
        assert!(text.contains("loss at most 0.5%, p99 at most 10 ms;\n  batch 32, 64 bytes, work 5000 ns"), "{text}");
        let line = |name: &str| {
            text.lines().find(|line| line.starts_with(name) && line.contains("stopped") == (name == "backend"))
        };
        assert_eq!(line("backend").map(|line| line.split_whitespace().count()), Some(9 + 1), "{text}");
        let uring = text.lines().find(|line| line.starts_with("uring ")).expect("a line");
        assert!(uring.contains(" 850 ") && uring.contains(" 20.2 ") && uring.ends_with("loss at the ring"), "{text}");
        assert!(text.contains("loss at the socket") && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_generator_that_can_offer_no_more_is_told() {
        let text = text("--backend plain,mmsg", &[1], |_, backend| match backend {
            "plain" => Row { tx_pps: Some(50_000.0), ..taking(f64::MAX) },
            _ => taking(f64::MAX),
        });
        let holds =
            |name: &str| text.lines().find(|line| line.starts_with(&format!("{name} "))).expect("a line").to_owned();
        assert!(text.starts_with("plain receives at least 4"), "{text}");
        let plain = text.lines().find(|line| line.starts_with("plain  ")).expect("a line");
        assert!(plain.contains("≥ ") && plain.ends_with("the generator"), "{text}");
        assert!(text.contains("mmsg at least 1 000 000") && text.contains("--rate-max"), "{text}");
        assert!(holds("≥").contains("generator"), "{text}");
    }

    #[test]
    fn each_goal_and_each_number_of_workers_has_a_line() {
        let device: Device = |run, _| taking([40_000.0, 40_000.0, 30_000.0][run]);
        let text = text("--backend plain --loss-max 0,1", &[1, 2, 4], device);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("plain  "))
            .map(|line| line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect())
            .collect();
        assert_eq!(lines.iter().map(|line| line[1]).collect::<Vec<_>>(), ["1", "1", "2", "2", "4", "4"], "{text}");
        assert_eq!((lines[0][2], lines[1][2]), ("0%", "1%"), "{text}");
        // 40 000 each, then 30 000: the third and the fourth worker bring 20 000 each.
        assert_eq!([lines[0][6], lines[2][6], lines[4][6]], ["-", "100%", "50%"], "{text}");
        assert_eq!(lines[2][3], "80 000", "{text}");
    }
}
