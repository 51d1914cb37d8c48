//! The conclusions from the trials, in words: the verdicts of `compare`, and no more than they say.

use maud::Markup;

use crate::commands::report::data::{Cell, Data};
use crate::commands::report::grid;
use crate::compare::answer::Answer;
use crate::compare::axes;
use crate::compare::comparisons::{CompareError, Comparisons};
use crate::compare::steps::{self, Step};
use crate::compare::{answer, counts};
use crate::record::columns::Column;
use crate::stats::estimate::BLOCKS_MIN;
use crate::text::percent;

/// The most steps between kernels that are listed.
const STEPS_MAX: usize = 60;

/// The conclusions.
#[derive(Debug, Default)]
pub(crate) struct Conclusion {
    /// Sentences about backends and variants, or about kernels.
    pub lines: Vec<String>,
    /// The changes behind them.
    pub grid: Option<Markup>,
    /// What changed from one kernel to the next.
    pub steps: Vec<String>,
    /// Caveats.
    pub notes: Vec<String>,
}

/// Draws the conclusion.
pub(crate) fn draw(data: &Data, compared: &Result<Comparisons, CompareError>) -> Conclusion {
    let mut conclusion = Conclusion::default();
    if data.distinct(Column::kernel).len() > 1 {
        kernels(data, compared, &mut conclusion);
    } else if data.cells.iter().any(Cell::is_counted) {
        conclusion.lines.push(format!("Nothing is compared: {}", counts::RANKS_NOTHING));
    } else {
        backends(data, compared, &mut conclusion);
    }
    conclusion
}

fn backends(data: &Data, compared: &Result<Comparisons, CompareError>, conclusion: &mut Conclusion) {
    let most = data.cells.iter().map(|cell| cell.attempts.len()).max().unwrap_or(0);
    if most < BLOCKS_MIN {
        let s = if most == 1 { "" } else { "s" };
        conclusion.lines.push(format!(
            "No conclusion: {most} trial{s} of a cell are too few for a verdict, which needs {BLOCKS_MIN}; --trials \
             100 is better."
        ));
        return;
    }
    match compared {
        Ok(report) => {
            let answer = Answer::of(report);
            conclusion.lines = answer.headline.lines().map(str::to_owned).collect();
            conclusion.grid = Some(grid::markup(&answer));
            conclusion.notes.clone_from(&report.notes);
            conclusion.notes.push(format!(
                "This holds within this run only. A difference is named if its 95% interval excludes 0, q is below \
                 0.05, and it may be larger than {}; `the same` if the interval lies within that; else `unclear`.",
                percent(answer::THRESHOLD)
            ));
        }
        Err(CompareError::OneSide { value, .. }) => {
            let (backend, variant, _) = axes::parts(value).unwrap_or((value, "", None));
            conclusion.lines.push(format!(
                "Nothing to compare: all trials are of {}. Run several, e.g. --backend plain,mmsg,uring; to compare \
                 two files of one backend, use `hpbench compare`.",
                axes::brief(backend, variant, [""; 2])
            ));
        }
        Err(error) => conclusion.lines.push(format!("No conclusion: {error}.")),
    }
}

fn kernels(data: &Data, compared: &Result<Comparisons, CompareError>, conclusion: &mut Conclusion) {
    let threshold = percent(answer::THRESHOLD);
    let report = match compared {
        Ok(report) => report,
        Err(error) => {
            conclusion.lines.push(format!("No conclusion about kernels: {error}."));
            return;
        }
    };
    if data.cells.iter().any(Cell::is_counted) {
        conclusion.notes.push(counts::RANKS_NOTHING.into());
    }
    let (steps, changes) = told(report, &mut conclusion.notes);
    conclusion.notes.extend_from_slice(&report.notes);
    let kernels = data.distinct(Column::kernel).len();
    conclusion.lines.push(match changes {
        0 => format!(
            "{kernels} kernels: no change of {threshold} or more, from one to the next, that the trials bear out."
        ),
        1 => format!("{kernels} kernels: one change of {threshold} or more from one to the next."),
        count => format!("{kernels} kernels: {count} changes of {threshold} or more from one to the next."),
    });
    conclusion.lines.push(
        "Backends are not compared with each other here: trials under several kernels are not pooled. To compare them, \
         report a file of one kernel, with times and not counts."
            .into(),
    );
    let more = steps.len().saturating_sub(STEPS_MAX);
    conclusion.steps = steps.into_iter().take(STEPS_MAX).collect();
    if more > 0 {
        conclusion
            .steps
            .push(format!("… and {more} more; `hpbench compare --by kernel` lists all that have a verdict."));
    }
}

/// The steps, and how many there are: the worker's before the peer's, the largest first, those of several batches in
/// one line. Steps between counts that have not settled are only counted, in a note.
fn told(report: &Comparisons, notes: &mut Vec<String>) -> (Vec<String>, usize) {
    let (settled, others): (Vec<Step<'_>>, Vec<Step<'_>>) = steps::find(report).into_iter().partition(Step::is_settled);
    if !others.is_empty() {
        notes.push(format!(
            "{} more changes are not conclusive: the trials on one side differ by more than {}% from each other.",
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
    // The worker is what is measured; the peer follows.
    let is_peer = |steps: &[&Step<'_>]| {
        matches!(steps[0].column(), Column::peer_ns_per_packet | Column::peer_instructions_per_packet)
    };
    alike.sort_by(|a, b| is_peer(a).cmp(&is_peer(b)).then_with(|| largest(b).total_cmp(&largest(a))));
    (alike.iter().map(|steps| in_one_line(steps)).collect(), settled.len())
}

/// Whether steps differ only in batch and size.
fn are_alike(a: &Step<'_>, b: &Step<'_>) -> bool {
    let is_same_cell = a.cell().differing(b.cell()).into_iter().all(|axis| axis == Column::batch);
    let key = |step: &Step<'_>| (step.what(), step.change_pct() > 0.0);
    is_same_cell && a.sides() == b.sides() && key(a) == key(b)
}

/// Steps that are alike, in words.
fn in_one_line(alike: &[&Step<'_>]) -> String {
    let first = alike[0];
    let on = |axis| first.cell().get(axis);
    let name = axes::brief(on(Column::backend), on(Column::variant), [on(Column::addressing), on(Column::sockets)]);
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
    // The name leaves out modes that follow from the addressing.
    if on(Column::addressing) == "unconnected" && !telling.iter().any(|(axis, _)| *axis == Column::addressing) {
        telling.push((Column::addressing, "unconnected"));
    }
    let telling: String = telling.iter().map(|(axis, value)| format!(", {} {value}", axis.name())).collect();
    format!("{name} {from} → {to}: {range} {what} ({scenario}, {payload} bytes, batch{es} {batches}{telling})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::axes::By;
    use crate::compare::dataset::Dataset;
    use crate::compare::trials::Trials;
    use crate::record::row::{Row, SCHEMA};

    /// Counts of a cell that became more expensive by so much from one kernel to the next.
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
