//! The grid of the answer as a table on the page.

use maud::{Markup, html};

use crate::compare::answer::Answer;
use crate::compare::answer::grid::{Cell, Grid, Line, Mark};
use crate::compare::answer::text::{change_text, constants, metric_label, rate, value_text};
use crate::compare::sections::short;
use crate::record::columns::Column;
use crate::text::percent;

/// The grids of an answer, each with what its rows share.
pub(super) fn markup(answer: &Answer<'_>) -> Markup {
    html! {
        @for grid in &answer.grids { (table(grid, answer)) }
        p.marks {
            "Change in % with half of its 95% interval. Blue is better, orange is worse; "
            "=: the interval lies within " (percent(answer.threshold)) "; ~: so it does, but the sides certainly differ; "
            "?: unclear; –: no verdict."
        }
    }
}

fn table(grid: &Grid<'_>, answer: &Answer<'_>) -> Markup {
    let has_base = grid.lines.iter().any(|line| line.base.is_some());
    let base = grid.base.as_deref().unwrap_or("the one before");
    html! {
        div.scroll tabindex="0" {
            table.grid {
                caption {
                    @if !grid.axes.is_empty() {
                        (grid.lines[0].scenario) ", " (metric_label(grid.lines[0].metric.column)) ": "
                    }
                    @if let Some(new) = &grid.new { (new) " " }
                    "against " (base) (answer.of)
                    @if !grid.constant.is_empty() { "; " (constants(&grid.constant)) }
                }
                thead { tr {
                    @if grid.axes.is_empty() { th scope="col" { "scenario" } th scope="col" { "metric" } }
                    @for axis in &grid.axes { th scope="col" { (short(*axis)) } }
                    @if has_base { th.number scope="col" { (base) } }
                    @for name in &grid.columns { th.number scope="col" { (name) } }
                } }
                tbody {
                    @for line in &grid.lines { tr {
                        (head(grid, line))
                        @if has_base {
                            td.number { (line.base.map_or_else(|| "-".into(), |base| value_text(line.metric.column, base))) }
                        }
                        @for cell in &line.cells { (figure(cell.as_ref(), answer.threshold)) }
                    } }
                }
            }
        }
    }
}

fn head(grid: &Grid<'_>, line: &Line<'_>) -> Markup {
    html! {
        @if grid.axes.is_empty() {
            th scope="row" { (line.scenario) }
            td { (metric_label(line.metric.column)) }
        } @else if grid.is_folded(line) {
            th scope="row" colspan=(grid.axes.len()) { (metric_label(line.metric.column)) }
        } @else {
            @for (axis, value) in grid.axes.iter().zip(&line.values) {
                th scope="row" { @if *axis == Column::rate_pps { (rate(value)) } @else { (value) } }
            }
        }
    }
}

/// A cell: its class sets its colour, and its title has the verdict in words.
fn figure(cell: Option<&Cell<'_>>, threshold: f64) -> Markup {
    let Some(cell) = cell else { return html! { td.number { "-" } } };
    let (class, sign) = match cell.mark {
        Mark::Worse => ("worse", ""),
        Mark::Better => ("better", ""),
        Mark::Same => ("same", " ="),
        Mark::Certain => ("same", " ~"),
        Mark::Unclear => ("unclear", " ?"),
        Mark::None => ("none", " –"),
        Mark::Mixed => ("unclear", " …"),
    };
    let reason = cell.reason.map_or_else(|| cell.mark.meaning(threshold), ToString::to_string);
    html! { td.number.(class) title=(reason) { (change_text(cell.change)) (sign) } }
}
