//! The answer: a headline and a grid, made only from the verdicts.

use crate::compare::axes::{self, By};
use crate::compare::comparisons::Comparisons;
use crate::compare::counts;
use crate::compare::dataset::{Attempt, Dataset};
use crate::compare::notes;
use crate::compare::trials::Trials;
use crate::compare::verdict::Basis;
use crate::compare::warnings::Reason;
use crate::console::Look;
use crate::record::columns::Column;
use crate::stats::estimate::BLOCKS_MIN;
use crate::text::{counted, wrap};

pub(crate) mod grid;
mod headline;
mod precision;
mod settings;
pub(crate) mod text;

use grid::Grid;
pub use precision::{Precision, precision};
pub(crate) use settings::{SETTINGS, THRESHOLD};

/// The result of a comparison.
#[derive(Debug)]
pub(crate) struct Answer<'r> {
    /// At most three lines.
    pub headline: String,
    /// The changes behind it.
    pub grids: Vec<Grid<'r>>,
    /// The scope of the intervals, e.g. " in this run".
    pub of: &'static str,
    /// The smallest change that matters, as a fraction.
    pub threshold: f64,
}

impl<'r> Answer<'r> {
    /// The answer from all comparisons of a report.
    pub(crate) fn of(report: &'r Comparisons) -> Self {
        let grids = grid::of(report);
        let has = |wanted: fn(Basis) -> bool| report.comparisons.iter().any(|one| wanted(one.figures.basis));
        let of = match () {
            () if has(|basis| matches!(basis, Basis::Blocks { runs: 2.., .. })) => " in these runs",
            () if has(|basis| matches!(basis, Basis::Blocks { .. })) => " in this run",
            () => "",
        };
        Self { headline: headline::of(&grids, report.threshold), grids, of, threshold: report.threshold }
    }

    /// The answer as text: the headline, then the grids.
    pub(crate) fn render(&self, look: Look) -> String {
        if self.grids.is_empty() {
            return String::new();
        }
        let headline = if look.unicode { self.headline.clone() } else { text::plain(&self.headline) };
        let gap = if headline.is_empty() { "" } else { "\n" };
        format!("{headline}{gap}{}", text::render(&self.grids, self.of, self.threshold, look))
    }
}

/// The answer for trials of several backends or variants, to print before their table; empty for other trials.
pub(crate) fn of_trials(data: &Dataset, look: Look) -> String {
    let sides = |attempt: &Attempt| {
        let text = |column| data.text(attempt, column);
        (text(Column::backend), text(Column::variant))
    };
    let mut names: Vec<(&str, &str)> = data.attempts.iter().map(sides).collect();
    names.retain(|(backend, _)| axes::has_socket(backend));
    names.sort_unstable();
    names.dedup();
    if names.len() < 2 {
        return String::new();
    }
    // Counts are not compared by backend.
    if data.attempts.iter().all(|attempt| counts::is_counted(data.text(attempt, Column::accel))) {
        return String::new();
    }
    let trials = Trials::new(data, By::Column(Column::variant), &[]);
    let Ok(report) = Comparisons::new(&trials, &SETTINGS) else { return String::new() };
    let blocks = report.comparisons.iter().flat_map(|one| one.counts).max().unwrap_or(0);
    let disturbed = disturbed(data).map_or_else(String::new, |note| wrap(&note));
    if disturbed.is_empty() && blocks < BLOCKS_MIN {
        let needed = format!("too few for a verdict, which needs {BLOCKS_MIN}; --trials 100 is better");
        return wrap(&format!("{} per cell: {needed}.", counted(blocks, "trial")));
    }
    let answer = Answer::of(&report);
    // The table marks what the generators limited.
    let reasons = report.comparisons.iter().filter_map(|one| one.reason.as_ref());
    let reasons = reasons.filter(|reason| **reason != Reason::Limited);
    let none: String =
        notes::without_verdict(reasons, report.comparisons.len()).iter().map(|note| wrap(note)).collect();
    format!("{disturbed}{}{none}", answer.render(look))
}

/// If most trials were disturbed because the machine was busy: that, and what helps.
fn disturbed(data: &Dataset) -> Option<String> {
    let last = || data.attempts.iter().filter(|attempt| !attempt.is_repeated);
    let (all, lost) = (last().count(), last().filter(|attempt| attempt.is_disturbed).count());
    (2 * lost > all).then(|| {
        format!(
            "The machine was busy: {lost} of {all} trials were disturbed and do not count. End what else runs, try \
             --wait-quiet 60, or choose other cores with --cpu (`hpbench doctor` names them)."
        )
    })
}
