//! What may be said of the trials, in words: the verdicts of `compare`, and never more than they say.

use crate::compare::answer;
use crate::compare::cells::TRIALS_MIN;
use crate::compare::report::{Report, Settings};
use crate::compare::trials::Trials;
use crate::compare::{CompareError, steps as verdicts};
use crate::record::Row;
use crate::report::data::{Cell, Data};
use crate::steps::{self, Matrix, Side, Step};

/// The most steps between kernels that are told.
const STEPS_MAX: usize = 60;

/// The most counted rows that are kept to look for steps: the lab writes a few thousand.
const COUNTED_MAX: usize = 20_000;

/// What may be said.
#[derive(Debug, Default)]
pub(crate) struct Conclusion {
    /// Of backends and variants.
    pub lines: Vec<String>,
    /// What changed from one kernel to the next.
    pub steps: Vec<String>,
    /// What a reader must know beside it.
    pub notes: Vec<String>,
}

/// What a conclusion is drawn from.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// Sorted by variant.
    pub by_variant: Trials,
    /// Sorted by kernel, where there are several and time was measured.
    pub by_kernel: Option<Trials>,
    /// What steps in counts are found from.
    pub counted: Vec<Row>,
}

impl Evidence {
    /// Keeps a row whose instructions were counted, without what steps do not need.
    pub(crate) fn note_counted(&mut self, row: &Row) {
        if row.accel != "icount" || self.counted.len() >= COUNTED_MAX {
            return;
        }
        self.counted.push(Row {
            scenario: row.scenario.clone(),
            backend: row.backend.clone(),
            variant: row.variant.clone(),
            kernel: row.kernel.clone(),
            accel: row.accel.clone(),
            error: row.error.clone(),
            batch: row.batch,
            payload: row.payload,
            round: row.round,
            valid: row.valid,
            instructions_per_packet: row.instructions_per_packet,
            peer_instructions_per_packet: row.peer_instructions_per_packet,
            ..Row::default()
        });
    }
}

/// Draws the conclusion.
pub(crate) fn draw(data: &Data, evidence: &Evidence) -> Conclusion {
    let mut conclusion = Conclusion::default();
    if data.distinct("kernel").len() > 1 {
        kernels(data, evidence, &mut conclusion);
    } else if data.cells.iter().any(Cell::is_counted) {
        conclusion.lines.push(format!("Nothing is compared: {}", steps::RANKS_NOTHING));
    } else {
        backends(data, &evidence.by_variant, &mut conclusion);
    }
    conclusion
}

fn settings() -> Settings<'static> {
    // What means nothing is marked, and gets no verdict.
    Settings { base: None, all_metrics: false, threshold: answer::THRESHOLD, paired: false, force: true }
}

fn backends(data: &Data, trials: &Trials, conclusion: &mut Conclusion) {
    let names: Vec<(&str, &str)> =
        data.series.iter().map(|series| (series.backend.as_str(), series.variant.as_str())).collect();
    let most = data.cells.iter().map(|cell| cell.trials.len()).max().unwrap_or(0);
    if most < TRIALS_MIN {
        let s = if most == 1 { "" } else { "s" };
        conclusion.lines.push(format!(
            "No conclusion: {most} trial{s} of a cell are too few for a verdict, which needs {TRIALS_MIN}; --trials 10 \
             gives one."
        ));
        return;
    }
    match Report::new(trials, &settings()) {
        Ok(report) => {
            let brief = |line: String| answer::in_brief(&line, &names);
            conclusion.lines = answer::lines(&report).into_iter().map(brief).collect();
            conclusion.notes = report.notes.into_iter().map(brief).collect();
            conclusion.notes.push(format!(
                "A difference is named where it is at least {} and the trials bear it out (q below 0.05); `the same` \
                 where its 95% interval lies within that; `unclear` where the trials do not tell.",
                answer::percent(answer::THRESHOLD)
            ));
        }
        Err(CompareError::OneSide { value, .. }) => conclusion.lines.push(format!(
            "Nothing is compared: all trials are of {}. Name several, e.g. --backend plain,mmsg,uring; two files of one \
             backend are compared by `hpbench compare`.",
            answer::in_brief(&value, &names)
        )),
        Err(error) => conclusion.lines.push(format!("No conclusion: {error}.")),
    }
}

fn kernels(data: &Data, evidence: &Evidence, conclusion: &mut Conclusion) {
    let threshold = answer::percent(answer::THRESHOLD);
    let steps: Vec<String> = if let Some(by_kernel) = &evidence.by_kernel {
        match Report::new(by_kernel, &settings()) {
            Ok(report) => {
                let steps = verdicts::find(&report).iter().map(ToString::to_string).collect();
                conclusion.notes = report.notes;
                steps
            }
            Err(error) => {
                conclusion.lines.push(format!("No conclusion about kernels: {error}."));
                return;
            }
        }
    } else {
        conclusion.notes.push(steps::RANKS_NOTHING.into());
        if evidence.counted.len() == COUNTED_MAX {
            conclusion.notes.push(format!("Steps are looked for in the first {COUNTED_MAX} rows only."));
        }
        counted(&evidence.counted, &mut conclusion.notes)
    };
    let kernels = data.distinct("kernel").len();
    conclusion.lines.push(match steps.len() {
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

/// The steps in counts whose trials agree, the largest first, those of several batches in one line; those that do not
/// agree are only counted.
fn counted(rows: &[Row], notes: &mut Vec<String>) -> Vec<String> {
    let (settled, others): (Vec<Step>, Vec<Step>) =
        Matrix::of(rows).steps(100.0 * answer::THRESHOLD).into_iter().partition(|step| step.settled);
    if !others.is_empty() {
        notes.push(format!(
            "{} more changes are no findings: the trials on one end differ by more than {}% from each other.",
            others.len(),
            steps::SETTLED_MAX_PCT
        ));
    }
    let mut alike: Vec<Vec<&Step>> = Vec::new();
    for step in &settled {
        match alike.iter_mut().find(|steps| are_alike(steps[0], step)) {
            Some(steps) => steps.push(step),
            None => alike.push(vec![step]),
        }
    }
    let largest = |steps: &[&Step]| steps.iter().map(|step| step.change_pct().abs()).fold(0.0, f64::max);
    alike.sort_by(|a, b| largest(b).total_cmp(&largest(a)));
    alike.iter().map(|steps| told(steps)).collect()
}

/// Whether steps differ in their batch and their size only.
fn are_alike(a: &Step, b: &Step) -> bool {
    let key = |step: &Step| {
        let cell = steps::Cell { batch: 0, ..step.cell.clone() };
        (cell, step.side, step.from.clone(), step.to.clone(), step.change_pct() > 0.0)
    };
    key(a) == key(b)
}

/// Steps that are alike, in words.
fn told(alike: &[&Step]) -> String {
    let Step { cell, side, from, to, unit, .. } = alike[0];
    let (backend, variant) = (cell.backend.as_str(), cell.variant.as_str());
    let name = answer::in_brief(&format!("{backend}:{variant}"), &[(backend, variant)]);
    let changes = alike.iter().map(|step| step.change_pct());
    let (low, high) =
        changes.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), pct| (low.min(pct), high.max(pct)));
    let range = match [low, high].map(|pct| format!("{pct:+.1}%")) {
        [low, high] if low == high => low,
        [low, high] => format!("{low} to {high}"),
    };
    let mut batches: Vec<usize> = alike.iter().map(|step| step.cell.batch).collect();
    batches.sort_unstable();
    let batches: Vec<String> = batches.iter().map(usize::to_string).collect();
    let es = if batches.len() > 1 { "es" } else { "" };
    let side = if *side == Side::Other { " of the other side" } else { "" };
    let (scenario, payload, batches) = (&cell.scenario, cell.payload, batches.join(", "));
    format!("{name} {from} → {to}: {range} {unit}{side} ({scenario}, {payload} bytes, batch{es} {batches})")
}
