//! The parts of the page's sections.

use maud::{Markup, html};

use crate::commands::report::charts::figure::{Figure, Table};
use crate::commands::report::svg::marks::{Look, example, sample, shortened};
use crate::text::thousands;

/// The longest text from a file that is shown whole.
pub(crate) const TEXT_MAX: usize = 300;

/// The most values that a list in words names.
const NAMED_MAX: usize = 12;

/// The charts of one kind, with their legend and their figures.
pub(crate) fn section(figure: &Figure) -> Markup {
    let inner = html! {
        @for note in &figure.notes { p { (note) } }
        @if figure.legend.len() > 1 || figure.name == "timeline" { (legend(figure)) }
        div class="charts" {
            @for chart in &figure.charts {
                figure class=[chart.is_wide().then_some("wide")] {
                    figcaption { (shortened(chart.title(), TEXT_MAX)) }
                    @if chart.is_wide() { (scrolled(chart.inline(figure.title))) } @else { (chart.inline(figure.title)) }
                }
            }
        }
        @if !figure.left_out.is_empty() {
            p class="missing" {
                (count(figure.left_out.len(), "chart")) " more left out: "
                (listed(&figure.left_out.iter().map(String::as_str).collect::<Vec<_>>(), "; "))
                ". The table has the figures; a report of fewer cells draws them."
            }
        }
        details { summary { "Figures" } (grid(&figure.table)) }
    };
    if figure.is_folded {
        return folded(figure.name, figure.title, inner);
    }
    html! { section id=(figure.name) { h2 { (figure.title) } (inner) } }
}

/// A collapsed section.
pub(crate) fn folded(id: &str, title: &str, inner: Markup) -> Markup {
    html! {
        section id=(id) class="folded" {
            details { summary { h2 { (title) } } (inner) }
        }
    }
}

fn legend(figure: &Figure) -> Markup {
    let kinds = [
        (Look::Plain, "counts"),
        (Look::Hollow, "invalid or failed"),
        (Look::Repeated, "disturbed, and tried again"),
        (Look::Marked, "marked: unusual conditions"),
    ];
    html! {
        ul class="legend" {
            @for key in &figure.legend {
                li class=(format!("s{}", key.style)) {
                    svg class="chart key" viewBox="0 0 34 12" aria-hidden="true" { (sample(key)) }
                    (shortened(&key.name, 60))
                }
            }
            @if figure.name == "timeline" {
                @for (look, what) in kinds {
                    li { svg class="chart kind" viewBox="0 0 16 14" aria-hidden="true" { (example(look)) } (what) }
                }
            }
        }
    }
}

/// A table of figures.
pub(crate) fn grid(table: &Table) -> Markup {
    let class = |at: usize| (at >= table.texts).then_some("number");
    html! {
        (scrolled(html! {
            table {
                thead { tr { @for (at, name) in table.header.iter().enumerate() { th class=[class(at)] { (name) } } } }
                tbody {
                    @for row in &table.rows {
                        tr { @for (at, cell) in row.iter().enumerate() { td class=[class(at)] { (shortened(cell, TEXT_MAX)) } } }
                    }
                }
            }
        }))
        @if table.left_out > 0 {
            p class="missing" { (count(table.left_out, "row")) " more left out; `hpbench compare` prints all cells." }
        }
    }
}

/// Content in a box that scrolls if it is too narrow.
pub(crate) fn scrolled(content: Markup) -> Markup {
    html! { div class="scroll" tabindex="0" { (content) } }
}

/// A number of things.
pub(crate) fn count(number: usize, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {what}{s}", thousands(number as f64))
}

/// Values with their unit, if there are any.
pub(crate) fn with(unit: &str, values: String) -> String {
    if values.is_empty() { values } else { values + unit }
}

/// A list in words; of a long one, its beginning.
pub(crate) fn named(values: &[&str]) -> String {
    listed(values, ", ")
}

/// The same with a separator of choice.
pub(crate) fn listed(values: &[&str], between: &str) -> String {
    let shown: Vec<String> = values.iter().take(NAMED_MAX).map(|value| shortened(value, 80)).collect();
    let more = values.len().saturating_sub(NAMED_MAX);
    if more > 0 { format!("{} and {more} more", shown.join(between)) } else { shown.join(between) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_and_texts_are_cut() {
        let values: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        assert_eq!(named(&values), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more");
        assert!(named(&[&"x".repeat(1000)]).chars().count() <= 80);
    }
}
