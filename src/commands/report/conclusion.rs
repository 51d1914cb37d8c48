//! What may be said of the trials, in words: the verdicts of `compare`, and never more than they say.

use maud::Markup;

use crate::commands::report::data::{Cell, Data};
use crate::commands::report::grid;
use crate::compare::answer::Answer;
use crate::compare::axes::{self, By};
use crate::compare::comparisons::{CompareError, Comparisons};
use crate::compare::steps::{self, Step};
use crate::compare::trials::Trials;
use crate::compare::{answer, counts};
use crate::record::columns::Column;
use crate::stats::estimate::BLOCKS_MIN;
use crate::text::percent;

/// The most steps between kernels that are told.
const STEPS_MAX: usize = 60;

/// What may be said.
#[derive(Debug, Default)]
pub(crate) struct Conclusion {
    /// Of backends and variants.
    pub lines: Vec<String>,
    /// The changes behind them.
    pub grid: Option<Markup>,
    /// What changed from one kernel to the next.
    pub steps: Vec<String>,
    /// What a reader must know beside it.
    pub notes: Vec<String>,
}

/// Draws the conclusion.
pub(crate) fn draw(data: &Data) -> Conclusion {
    let mut conclusion = Conclusion::default();
    let trials = |by| Trials::new(&data.set, By::Column(by), &[]);
    if data.distinct(Column::kernel).len() > 1 {
        kernels(data, &trials(Column::kernel), &mut conclusion);
    } else if data.cells.iter().any(Cell::is_counted) {
        conclusion.lines.push(format!("Nothing is compared: {}", counts::RANKS_NOTHING));
    } else {
        backends(data, &trials(Column::variant), &mut conclusion);
    }
    conclusion
}

fn backends(data: &Data, trials: &Trials<'_>, conclusion: &mut Conclusion) {
    let most = data.cells.iter().map(|cell| cell.attempts.len()).max().unwrap_or(0);
    if most < BLOCKS_MIN {
        let s = if most == 1 { "" } else { "s" };
        conclusion.lines.push(format!(
            "No conclusion: {most} trial{s} of a cell are too few for a verdict, which needs {BLOCKS_MIN}; --trials \
             100 is better."
        ));
        return;
    }
    match Comparisons::new(trials, &answer::SETTINGS) {
        Ok(report) => {
            let answer = Answer::of(&report);
            conclusion.lines = answer.headline.lines().map(str::to_owned).collect();
            conclusion.grid = Some(grid::markup(&answer));
            conclusion.notes = report.notes;
            conclusion.notes.push(format!(
                "Of this run, not of others. A difference is named where its 95% interval excludes 0, q is below 0.05, and it \
                 may be larger than {}; `the same` where the interval lies within that; `unclear` where the trials do not tell.",
                percent(answer::THRESHOLD)
            ));
        }
        Err(CompareError::OneSide { value, .. }) => {
            let (backend, variant) = value.split_once(':').unwrap_or((&value, ""));
            conclusion.lines.push(format!(
                "Nothing is compared: all trials are of {}. Name several, e.g. --backend plain,mmsg,uring; two files of \
                 one backend are compared by `hpbench compare`.",
                axes::brief(backend, variant, "")
            ));
        }
        Err(error) => conclusion.lines.push(format!("No conclusion: {error}.")),
    }
}

fn kernels(data: &Data, by_kernel: &Trials<'_>, conclusion: &mut Conclusion) {
    let threshold = percent(answer::THRESHOLD);
    let report = match Comparisons::new(by_kernel, &answer::SETTINGS) {
        Ok(report) => report,
        Err(error) => {
            conclusion.lines.push(format!("No conclusion about kernels: {error}."));
            return;
        }
    };
    if data.cells.iter().any(Cell::is_counted) {
        conclusion.notes.push(counts::RANKS_NOTHING.into());
    }
    let (steps, changes) = told(&report, &mut conclusion.notes);
    conclusion.notes.extend(report.notes);
    let kernels = data.distinct(Column::kernel).len();
    conclusion.lines.push(match changes {
        0 => format!(
            "{kernels} kernels: no change of {threshold} or more that the trials bear out, from one to the next."
        ),
        1 => format!("{kernels} kernels: one change of {threshold} or more from one to the next."),
        count => format!("{kernels} kernels: {count} changes of {threshold} or more from one to the next."),
    });
    conclusion.lines.push(
        "Backends are not compared with each other here: trials under several kernels are not pooled. For that, use a \
         file of one kernel, measured and not counted."
            .into(),
    );
    let more = steps.len().saturating_sub(STEPS_MAX);
    conclusion.steps = steps.into_iter().take(STEPS_MAX).collect();
    if more > 0 {
        conclusion
            .steps
            .push(format!("… and {more} more; `hpbench compare --by kernel` lists all that it has a verdict on."));
    }
}

/// The steps, the largest first, those of several batches in one line, and how many they are; those between counts that
/// have not settled are only counted.
fn told(report: &Comparisons, notes: &mut Vec<String>) -> (Vec<String>, usize) {
    let (settled, others): (Vec<Step<'_>>, Vec<Step<'_>>) = steps::find(report).into_iter().partition(Step::is_settled);
    if !others.is_empty() {
        notes.push(format!(
            "{} more changes are no findings: the trials on one end differ by more than {}% from each other.",
            others.len(),
            counts::SETTLED_MAX_PCT
        ));
    }
    let mut alike: Vec<Vec<&Step<'_>>> = Vec::new();
    for step in &settled {
        match alike.iter_mut().find(|steps| are_alike(steps[0], step)) {
            Some(steps) => steps.push(step),
            None => alike.push(vec![step]),
        }
    }
    let largest = |steps: &[&Step<'_>]| steps.iter().map(|step| step.change_pct().abs()).fold(0.0, f64::max);
    alike.sort_by(|a, b| largest(b).total_cmp(&largest(a)));
    (alike.iter().map(|steps| in_one_line(steps)).collect(), settled.len())
}

/// Whether steps differ in their batch and their size only.
fn are_alike(a: &Step<'_>, b: &Step<'_>) -> bool {
    let is_same_cell = a.cell().differing(b.cell()).into_iter().all(|axis| axis == Column::batch);
    let key = |step: &Step<'_>| (step.what(), step.change_pct() > 0.0);
    is_same_cell && a.sides() == b.sides() && key(a) == key(b)
}

/// Steps that are alike, in words.
fn in_one_line(alike: &[&Step<'_>]) -> String {
    let first = alike[0];
    let on = |axis| first.cell().get(axis);
    let name = axes::brief(on(Column::backend), on(Column::variant), on(Column::addressing));
    let changes = alike.iter().map(|step| step.change_pct());
    let (low, high) =
        changes.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), pct| (low.min(pct), high.max(pct)));
    let range = match [low, high].map(|pct| format!("{pct:+.1}%")) {
        [low, high] if low == high => low,
        [low, high] => format!("{low} to {high}"),
    };
    let mut batches: Vec<&str> = alike.iter().map(|step| step.cell().get(Column::batch)).collect();
    batches.sort_by(|a, b| axes::natural(a, b));
    let es = if batches.len() > 1 { "es" } else { "" };
    let ([from, to], what) = (first.sides(), first.what());
    let (scenario, payload, batches) = (on(Column::scenario), on(Column::payload), batches.join(", "));
    let mut telling: Vec<(Column, &str)> = first.telling().filter(|(axis, _)| *axis != Column::payload).collect();
    // The name leaves out what follows from the addressing.
    if on(Column::addressing) == "unconnected" && !telling.iter().any(|(axis, _)| *axis == Column::addressing) {
        telling.push((Column::addressing, "unconnected"));
    }
    let telling: String = telling.iter().map(|(axis, value)| format!(", {} {value}", axis.name())).collect();
    format!("{name} {from} → {to}: {range} {what} ({scenario}, {payload} bytes, batch{es} {batches}{telling})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::dataset::Dataset;
    use crate::record::row::{Row, SCHEMA};

    /// Counts of a cell that became costlier by so much from one kernel to the next.
    fn cell(order: usize, kernel: &str, cost: f64) -> Vec<Row> {
        let row = |trial: usize| Row {
            schema: SCHEMA,
            scenario: "drain".into(),
            backend: "uring".into(),
            variant: "multishot+send+defer".into(),
            addressing: "connected".into(),
            kernel: kernel.into(),
            batch: 32,
            payload: 64,
            round: Some(256),
            order,
            trial,
            accel: "icount".into(),
            instructions_per_packet: Some(cost),
            valid: 1,
            ..Row::default()
        };
        [row(1), row(2)].into()
    }

    #[test]
    fn steps_of_cells_that_are_kept_apart_read_apart() {
        type Change = fn(&mut Row);
        let of_messages: Change = |row| {
            (row.variant, row.addressing) = ("recvmsg-multishot+sendmsg+defer".into(), "unconnected".into());
        };
        let cells: [(&str, Change); 4] = [
            ("round 1024", |row| row.round = Some(1024)),
            ("wait block", |row| row.wait = "block".into()),
            ("buffers 64", |row| row.buffers = Some(64)),
            ("addressing unconnected", of_messages),
        ];
        for (told, change) in cells {
            let mut rows: Vec<Row> = [("6.1.1", 1000.0), ("6.2.1", 1100.0)]
                .into_iter()
                .flat_map(|(kernel, cost)| [cell(1, kernel, cost), cell(2, kernel, cost * cost / 1000.0)].concat())
                .collect();
            rows.iter_mut().filter(|row| row.order == 2).for_each(change);
            let set = Dataset::of_rows([Column::instructions_per_packet], rows.iter());
            let trials = Trials::new(&set, By::Column(Column::kernel), &[]);
            let settings = answer::SETTINGS;
            let report = Comparisons::new(&trials, &settings).expect("a report");
            let (lines, _) = super::told(&report, &mut Vec::new());
            let labels: Vec<&str> = lines.iter().filter_map(|line| Some(line.split_once('(')?.1)).collect();
            assert!(labels.len() == 2 && labels[0] != labels[1], "{lines:?}");
            assert!(labels[0].ends_with(&format!(", {told})")), "{told}: {lines:?}");
        }
    }
}
