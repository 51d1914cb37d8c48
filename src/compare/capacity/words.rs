//! What searches have found, in words and tables.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::compare::answer::text::constants;
use crate::compare::axes::{self, natural};
use crate::compare::capacity::judge::Met;
use crate::compare::capacity::line::{self, Line, p99_max};
use crate::compare::capacity::past::{Past, Run};
use crate::compare::sections::{short, telling};
use crate::plan::cells::Scenario;
use crate::record::cell::CellKey;
use crate::record::columns::Column;
use crate::text::{percent, thousands};

/// What the searches of a run have found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Which run it is, if there are several.
    pub(crate) of: Option<String>,
    /// What the backends can take, in a sentence or two; empty where the table says it better.
    pub(crate) headline: String,
    /// A table for each scenario.
    pub(crate) sections: Vec<Section>,
    /// The caveats.
    pub(crate) notes: Vec<String>,
}

/// The searches of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) header: Vec<String>,
    /// The columns that are not numbers.
    pub(crate) texts: Vec<usize>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// What was found in a run.
pub(super) fn found(run: &Run, of: Option<String>) -> Found {
    let goals = 0..run.sought.goals.len();
    let lines: Vec<Line<'_>> =
        run.searches.iter().flat_map(|past| goals.clone().map(|goal| Line::new(past, goal, &run.sought))).collect();
    let of_scenario = |scenario: &Scenario| {
        let own = lines.iter().filter(|line| line.cell.get(Column::scenario) == scenario.name());
        own.collect::<Vec<&Line<'_>>>()
    };
    let sections = Scenario::ALL.iter().map(of_scenario).filter(|own| !own.is_empty());
    let sections = sections.map(|own| section(own, run)).collect();
    Found { of, headline: headline(&lines, run), sections, notes: notes(run, &lines) }
}

/// What the backends can take, in words: each that differs in nothing else from the first one, against that. Where more than
/// the backend differs, or there are several goals, the table says it better.
fn headline(lines: &[Line<'_>], run: &Run) -> String {
    let mut groups: Vec<(CellKey, Vec<&Line<'_>>)> = Vec::new();
    for line in lines.iter().filter(|line| line.is_over && line.lower.is_some() && line.goal == 0) {
        let alike = besides_backend(line.cell);
        match groups.iter_mut().find(|(key, _)| *key == alike) {
            Some((_, group)) => group.push(line),
            None => groups.push((alike, vec![line])),
        }
    }
    let scenarios: HashSet<&str> = groups.iter().map(|(key, _)| key.get(Column::scenario)).collect();
    if groups.len() > scenarios.len() || run.sought.goals.len() > 1 {
        return String::new();
    }
    let sentence = |(_, mut group): (CellKey, Vec<&Line<'_>>)| {
        group.sort_by(|a, b| by_backend(a, b));
        sentence(&group, run.sought.strictest().width)
    };
    groups.into_iter().map(sentence).collect::<Vec<_>>().join(" ")
}

/// A cell without its backend, and without what belongs to that.
fn besides_backend(cell: &CellKey) -> CellKey {
    const OF_BACKEND: [Column; 4] = [Column::backend, Column::variant, Column::buffers, Column::addressing];
    cell.without(|axis| OF_BACKEND.contains(&axis) || axis == Column::min_wait && cell.get(Column::min_wait) == "off")
}

fn by_backend(a: &Line<'_>, b: &Line<'_>) -> Ordering {
    axes::rank(a.cell.get(Column::backend)).cmp(&axes::rank(b.cell.get(Column::backend))).then(a.name.cmp(&b.name))
}

fn sentence(group: &[&Line<'_>], width: f64) -> String {
    let first = group[0];
    let base = first.lower.unwrap_or(f64::NAN);
    let verb = match first.cell.get(Column::scenario) {
        "serve" => "answers",
        "relay" => "relays",
        _ => "receives",
    };
    let at_least = |line: &Line<'_>| if line.is_at_least { "at least " } else { "" };
    let mut text = format!("{} {verb} {}{} datagrams a second", first.name, at_least(first), rounded(base));
    if let Some(fanout) = Some(first.cell.get(Column::fanout)).filter(|fanout| !["", "1"].contains(fanout)) {
        text += &format!(" to {fanout} each");
    }
    for (at, line) in group.iter().enumerate().skip(1) {
        let change = line.lower.unwrap_or(f64::NAN) / base - 1.0;
        text += if at == 1 { "; " } else { ", " };
        text += &match change {
            // Each is known within a width.
            _ if first.is_at_least || line.is_at_least => {
                format!("{} {}{}", line.name, at_least(line), rounded(line.lower.unwrap_or(0.0)))
            }
            _ if change.abs() <= width => format!("{} as many, within {}", line.name, percent(width)),
            _ => {
                let digits = usize::from(change.abs() < 0.01);
                let more = if change > 0.0 { "more" } else { "fewer" };
                format!("{} {:.digits$}% {more}", line.name, 100.0 * change.abs())
            }
        };
    }
    text + "."
}

/// The table of a scenario: each backend in series, by what tells its lines apart.
fn section(mut lines: Vec<&Line<'_>>, run: &Run) -> Section {
    let keys: Vec<&CellKey> = lines.iter().map(|line| line.cell).collect();
    let mut axes = telling(&keys);
    axes.retain(|axis| ![Column::backend, Column::variant].contains(axis));
    lines.sort_by(|a, b| {
        let texts = |axis: &Column| [a, b].map(|line| line.cell.get(*axis));
        let of_axes = axes.iter().map(texts).map(|[a, b]| natural(a, b).then(a.cmp(b)));
        by_backend(a, b).then(of_axes.fold(Ordering::Equal, Ordering::then)).then(a.goal.cmp(&b.goal))
    });
    let has_goals = run.sought.goals.len() > 1;
    let has_workers = axes.contains(&Column::workers);
    let mut header: Vec<&str> = vec!["backend"];
    header.extend(axes.iter().map(|axis| short(*axis)));
    header.extend(has_goals.then_some("loss"));
    header.extend(["holds", "fails", "throughput"]);
    header.extend(has_workers.then_some("added"));
    header.extend(["CPU ns", "p99 µs", "stopped by"]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let row = |line: &&Line<'_>| {
        let bound = if line.is_at_least { "≥ " } else { "" };
        let mut row: Vec<String> = vec![line.name.clone()];
        row.extend(axes.iter().map(|axis| line.cell.get(*axis).to_owned()));
        row.extend(has_goals.then(|| percent(run.sought.goals[line.goal].loss_ratio)));
        row.push(or_dash(line.lower.map(|lower| format!("{bound}{}", rounded(lower)))));
        row.push(or_dash(line.upper.map(rounded)));
        row.push(or_dash(line.throughput.map(rounded)));
        row.extend(has_workers.then(|| or_dash(added(line, &lines))));
        row.push(or_dash(line.cpu_ns.map(|ns| format!("{ns:.0}"))));
        row.push(or_dash(line.p99_ns.map(|ns| format!("{:.1}", ns as f64 / 1e3))));
        row.push(line.stopped.clone());
        row
    };
    let is_text = |at: &usize| {
        let axis = at.checked_sub(1).and_then(|at| axes.get(at));
        axis.is_some_and(|axis| keys.iter().any(|key| key.get(*axis).parse::<f64>().is_err()))
    };
    let last = header.len() - 1;
    Section {
        title: title(&lines, &axes, run),
        texts: (0..=last).filter(|at| [0, last].contains(at) || is_text(at)).collect(),
        rows: lines.iter().map(row).collect(),
        header: header.into_iter().map(str::to_owned).collect(),
    }
}

/// What is searched, and what all lines have in common and a reader needs to know.
fn title(lines: &[&Line<'_>], axes: &[Column], run: &Run) -> String {
    /// With what is not told.
    const TOLD: [(Column, &str); 12] = [
        (Column::workers, "1"),
        (Column::batch, ""),
        (Column::payload, ""),
        (Column::burst, "1"),
        (Column::fanout, ""),
        (Column::work, "0"),
        (Column::wait, "spin"),
        (Column::min_wait, "off"),
        (Column::addressing, "connected"),
        (Column::sockets, "1"),
        (Column::flows, "1"),
        (Column::sharding, "ports"),
    ];
    let cell = lines[0].cell;
    let is_told = |(column, usual): &(Column, &str)| {
        let value = cell.get(*column);
        let is_constant = lines.iter().all(|line| line.cell.get(*column) == value);
        !axes.contains(column) && is_constant && !value.is_empty() && value != *usual
    };
    let constant: Vec<(Column, &str)> =
        TOLD.into_iter().filter(is_told).map(|(column, _)| (column, cell.get(column))).collect();
    let losses: Vec<String> = run.sought.goals.iter().map(|goal| percent(goal.loss_ratio)).collect();
    format!(
        "{}: highest rate that holds, per second; loss at most {}, p99 at most {}; {}",
        cell.get(Column::scenario),
        losses.join(" or "),
        p99_max(&run.sought),
        constants(&constant)
    )
}

/// What each added worker brings, as a share of what the first ones take each: the efficiency of adding it.
fn added(line: &Line<'_>, lines: &[&Line<'_>]) -> Option<String> {
    let is_same = |other: &&&Line<'_>| {
        // One worker shares its port with nobody.
        let of_workers =
            |axis| axis == Column::workers || other.workers == 1 && [Column::sharding, Column::steer].contains(&axis);
        let is_fewer = other.workers < line.workers && other.lower.is_some();
        is_fewer && other.goal == line.goal && other.cell.without(of_workers) == line.cell.without(of_workers)
    };
    let fewer: Vec<&&Line<'_>> = lines.iter().filter(is_same).collect();
    let before = fewer.iter().max_by_key(|other| other.workers)?;
    let first = fewer.iter().min_by_key(|other| other.workers)?;
    let each = (line.lower? - before.lower?) / (line.workers - before.workers) as f64;
    Some(format!("{:.0}%", 100.0 * each / (first.lower? / first.workers as f64)))
}

/// The caveats below the tables.
fn notes(run: &Run, lines: &[Line<'_>]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    notes.push(format!(
        "holds, fails: bounds at most {} apart; throughput: what got through at the lower one, where CPU and p99 are from, too. Of \
         this run only.",
        percent(run.sought.strictest().width)
    ));
    if lines.iter().any(|line| line.cell.get(Column::scenario) == "relay") {
        notes.push("In relay, rates are of datagrams that come, and CPU is of a copy.".into());
    }
    if lines.iter().any(|line| line.is_at_least && line.upper.is_some()) {
        notes.push("≥ The generator could not offer more, or not take it: the worker may.".into());
    }
    if lines.iter().any(|line| line.is_at_least && line.upper.is_none()) {
        notes.push("≥ The highest rate holds: --rate-max allows more.".into());
    }
    let trials = || run.searches.iter().flat_map(|past: &Past| &past.trials);
    let (all, grew) = (trials().count(), trials().filter(|trial| trial.met.contains(&Met::Queue)).count());
    if grew > 0 {
        notes
            .push(format!("In {grew} of {all} trials the queue grew: what was left in it is not counted as received."));
    }
    if all > 0 && !trials().any(|trial| trial.has_latency) {
        notes.push("No latency is known, so --p99-max does not hold anything back.".into());
    }
    for past in &run.searches {
        if let Some(why) = &past.failed {
            notes.push(format!("{} failed: {why}", line::name(&past.cell)));
        }
    }
    notes
}

/// A rate with four significant digits.
fn rounded(rate: f64) -> String {
    if !rate.is_finite() || rate <= 0.0 {
        return "-".into();
    }
    let scale = 10_f64.powi((rate.log10().floor() as i32 - 3).max(0));
    thousands((rate / scale).round() * scale)
}
