//! The page. The templates escape every text in it; control characters are removed at the end.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::commands::report::charts::figure::{Figure, Missing, Table};
use crate::commands::report::conclusion::Conclusion;
use crate::commands::report::data::Data;
use crate::commands::report::embed::Packed;
use crate::commands::report::environment::Feature;
use crate::commands::report::gates;
use crate::commands::report::parts::{TEXT_MAX, count, folded, grid, named, scrolled, section, with};
use crate::commands::report::svg::STYLE as CHART_STYLE;
use crate::commands::report::svg::marks::shortened;
use crate::compare::capacity::{Found, Section};
use crate::console::is_control;
use crate::record::columns::Column;

/// The style of everything except charts.
pub(super) const STYLE: &str = include_str!("page.css");

/// Nothing may be loaded, even if something on the page asks for it.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// How to read the charts.
const HOW_TO_READ: &str = "Points are medians of the trials that count, with their 95% intervals, which need at least \
    6 trials; a × at the foot of a chart has no value. Axes need not begin at 0. Hover over a point for its values; \
    its series is highlighted.";

/// The most series that are highlighted when hovered over.
const SERIES_MAX: usize = 64;

/// What the results of searches are called.
const CAPACITY: &str = "Highest rates that hold";

/// The most steps between kernels that are not collapsed.
const STEPS_SHOWN: usize = 8;

/// All that is on the page.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    /// The trials.
    pub data: &'a Data,
    /// What searches among them have found.
    pub searched: &'a [Found],
    /// The conclusions from them.
    pub conclusion: &'a Conclusion,
    /// The charts.
    pub figures: &'a [Figure],
    /// The charts that there is no data for.
    pub missing: &'a [Missing],
    /// The rows.
    pub packed: &'a [Packed],
}

impl Page<'_> {
    /// The whole file.
    pub(crate) fn render(&self) -> String {
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    link rel="icon" href="data:,";
                    title { "hpbench: " (self.headline()) }
                    style { (PreEscaped(CHART_STYLE)) (PreEscaped(STYLE)) (PreEscaped(self.highlights())) }
                }
                body {
                    main {
                        (self.header())
                        (self.answer())
                        (self.capacity())
                        @if !self.figures.is_empty() { p class="missing" { (HOW_TO_READ) } }
                        @for figure in self.figures { (section(figure)) }
                        (self.missing())
                        (self.environment())
                        (self.gates())
                        (self.rows())
                        footer { "Made by hpbench " (env!("CARGO_PKG_VERSION")) "." }
                    }
                }
            }
        };
        without_controls(&markup.into_string())
    }

    /// What was compared, in a few words.
    fn headline(&self) -> String {
        let backends = self.data.distinct(Column::backend);
        let hosts = self.data.distinct(Column::host);
        let mut headline = named(&backends);
        if !hosts.is_empty() {
            headline += &format!(" on {}", named(&hosts));
        }
        headline
    }

    /// The look of a series that is hovered over, in all charts of its section.
    fn highlights(&self) -> String {
        let rule = |at: usize| format!("section:has(.s{at}:hover) .series:not(.s{at}) {{ opacity: 0.15; }}\n");
        let kernels = self.data.distinct(Column::kernel).len();
        (0..self.data.series.len().max(kernels).min(SERIES_MAX)).map(rule).collect()
    }

    fn header(&self) -> Markup {
        let data = self.data;
        let what = |column| named(&data.distinct(column));
        let several = data.series.len() > data.distinct(Column::backend).len();
        let modes: Vec<&str> = data.series.iter().map(|series| series.name.as_str()).collect();
        let facts = [
            ("Scenarios", what(Column::scenario)),
            ("Backends and modes", if several { named(&modes) } else { what(Column::backend) }),
            ("Batches", what(Column::batch)),
            ("Payloads", with(" bytes", what(Column::payload))),
            ("Offered rates", with(" per second", what(Column::rate_pps))),
            ("Hosts", what(Column::host)),
            ("Kernels", what(Column::kernel)),
            ("Time", self.time()),
        ];
        html! {
            header {
                h1 { "hpbench: " (self.headline()) }
                p {
                    (count(data.trials(), "trial")) " in " (count(data.runs(), "run")) ", from "
                    (named(&data.set.files.iter().map(String::as_str).collect::<Vec<_>>())) "."
                }
                dl {
                    @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                        div { dt { (name) } dd { (value) } }
                    }
                }
                nav {
                    a href="#answer" { "Answer" }
                    @if !self.searched.is_empty() { a href="#capacity" { (CAPACITY) } }
                    @for figure in self.figures { a href=(format!("#{}", figure.name)) { (figure.title) } }
                    a href="#environment" { "Environment" }
                    a href="#gates" { "Gates" }
                    a href="#rows" { "Data" }
                }
            }
        }
    }

    fn time(&self) -> String {
        match &self.data.times.span {
            Some((first, last)) if first == last => clock(first),
            Some((first, last)) => format!("{} to {}", clock(first), clock(last)),
            None => String::new(),
        }
    }

    /// The first thing on the page: the conclusions from the trials.
    fn answer(&self) -> Markup {
        html! { section id="answer" class="conclusion" { (self.conclusion()) } }
    }

    fn conclusion(&self) -> Markup {
        let Conclusion { lines, grid, steps, notes } = self.conclusion;
        html! {
            h2 { "Answer" }
            p class="headline" { @for line in lines { (line) " " } }
            @if let Some(grid) = grid { (grid) }
            @if !steps.is_empty() {
                h3 { "What changed from one kernel to the next" }
                ul class="steps" { @for step in steps.iter().take(STEPS_SHOWN) { li { (step) } } }
                @if steps.len() > STEPS_SHOWN {
                    details {
                        summary { (steps.len() - STEPS_SHOWN) " more" }
                        ul { @for step in steps.iter().skip(STEPS_SHOWN) { li { (step) } } }
                    }
                }
            }
            @if !notes.is_empty() {
                details {
                    summary { "Caveats (" (notes.len()) ")" }
                    ul { @for note in notes { li { (shortened(note, 4 * TEXT_MAX)) } } }
                }
            }
        }
    }

    /// What searches have found, as they print it.
    fn capacity(&self) -> Markup {
        html! {
            @if !self.searched.is_empty() {
                section id="capacity" {
                    h2 { (CAPACITY) }
                    @for found in self.searched {
                        @if let Some(of) = &found.of { h3 { (shortened(of, TEXT_MAX)) } }
                        @if !found.headline.is_empty() { p class="headline" { (found.headline) } }
                        @for section in &found.sections {
                            p { (section.title) }
                            (section_of(section))
                        }
                        ul { @for note in &found.notes { li { (shortened(note, 4 * TEXT_MAX)) } } }
                    }
                }
            }
        }
    }

    fn missing(&self) -> Markup {
        let told = |missing: &Missing| format!("{} ({})", missing.what, missing.remedy);
        let all: Vec<String> = self.missing.iter().map(told).collect();
        html! {
            @if !all.is_empty() {
                p class="missing" { "Left out for lack of data: " (all.join("; ")) "." }
            }
        }
    }

    fn environment(&self) -> Markup {
        let features = self.data.environment.features.iter().filter(|feature| !feature.values.is_empty());
        html! {
            (folded("environment", "Environment", html! {
                @if self.data.set.files.len() > 1 {
                    p { "Values that differ between the files are listed with their file." }
                }
                (scrolled(html! {
                    table {
                        thead { tr { th { "column" } th { "what it is" } th { "value" } } }
                        tbody {
                            @for feature in features {
                                tr { th scope="row" { code { (feature.column.name()) } } td { (feature.label) } td { (self.values(feature)) } }
                            }
                        }
                    }
                }))
            }))
        }
    }

    /// The values of a column; if they differ between files, with the names of the files.
    fn values(&self, feature: &Feature) -> Markup {
        let files = &self.data.set.files;
        let differs = feature.values.iter().any(|(_, of)| of.len() < files.len());
        html! {
            @for (value, of) in &feature.values {
                div {
                    (shortened(value, TEXT_MAX))
                    @if differs {
                        span class="of" {
                            " (" (named(&of.iter().map(|&file| files[file].as_str()).collect::<Vec<_>>())) ")"
                        }
                    }
                }
            }
            @if feature.has_more { div { "…" } }
        }
    }

    fn gates(&self) -> Markup {
        let counts = gates::counts(self.data);
        let reasons = gates::reasons(self.data);
        let losses = gates::losses(self.data);
        let told = [
            (counts.valid, "valid"),
            (
                counts.marked,
                "of them marked: not steady, or on a core of unusual speed; left out if at least 6 others of their \
                 cell remain",
            ),
            (counts.limited, "of them limited by the generators: these cannot rank the backends"),
            (counts.invalid, "invalid: left out of all figures"),
            (counts.failed, "failed"),
            (counts.repeated, "tried again because they were disturbed; only the last attempt counts"),
        ];
        html! {
            section id="gates" {
                h2 { "Gates" }
                p { "Of " (count(counts.rows, "row")) ":" }
                ul { @for (number, what) in told.iter().filter(|(number, _)| *number > 0) { li { strong { (number) } " " (what) } } }
                @if !reasons.kinds.is_empty() {
                    (scrolled(html! {
                        table {
                            thead { tr { th class="number" { "rows" } th { "what" } th { "why" } } }
                            tbody {
                                @for kind in &reasons.kinds {
                                    tr { td class="number" { (kind.count) } td { (kind.of) } td { (shortened(&kind.example(), TEXT_MAX)) } }
                                }
                            }
                        }
                    }))
                    @if reasons.others > 0 {
                        p class="missing" { (count(reasons.others, "row")) " more, for other reasons; the data has them all." }
                    }
                }
                details {
                    summary { "Loss" }
                    (grid(&Table {
                        header: [
                            "scenario", "backend", "trials", "loss, median %", "loss, most %", "dropped at sockets",
                            "dropped at rings",
                        ].map(str::to_owned).into(),
                        texts: 2,
                        rows: losses,
                        left_out: 0,
                    }))
                }
            }
        }
    }

    fn rows(&self) -> Markup {
        html! {
            section id="rows" {
                h2 { "Data" }
                p {
                    "Every row, as gzipped CSV embedded in this page; "
                    code { "hpbench compare" } " and " code { "hpbench report" } " read it. "
                    "Join parts with cat."
                }
                ul {
                    @for file in self.packed {
                        li {
                            (file.name) ", " (count(file.rows, "row")) ": "
                            @if file.is_kept() {
                                @for (name, link) in file.links() {
                                    a download=(name) href=(link) { (name) } " "
                                }
                            } @else {
                                "too large for the page; keep the file with it."
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The table of the searches of a scenario.
fn section_of(section: &Section) -> Markup {
    let class = |at: usize| (!section.texts.contains(&at)).then_some("number");
    scrolled(html! {
        table {
            thead { tr { @for (at, name) in section.header.iter().enumerate() { th class=[class(at)] { (name) } } } }
            tbody {
                @for row in &section.rows {
                    tr { @for (at, text) in row.iter().enumerate() { td class=[class(at)] { (shortened(text, TEXT_MAX)) } } }
                }
            }
        }
    })
}

/// A time without fractions of seconds, e.g. `2026-11-23 01:02:03 UTC`; other text stays as it is.
fn clock(time: &str) -> String {
    match (time.split_once('T'), time.ends_with('Z')) {
        (Some((day, clock)), true) => {
            format!("{day} {} UTC", clock.split('.').next().unwrap_or(clock).trim_end_matches('Z'))
        }
        _ => time.to_owned(),
    }
}

/// A text without control characters, and without characters that change the direction of text: they may come from a
/// file, and no markup contains any.
pub(crate) fn without_controls(text: &str) -> String {
    let is_bad = |c: char| is_control(c) && c != '\n' && c != '\t' || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if is_bad(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_and_no_mark_of_direction_is_left() {
        let text = without_controls("a\u{0}\u{7}\u{1b}[31m\u{202e}b\u{2066}\u{200f}\u{85}\r\nc\td é µ");
        assert_eq!(text, "a\u{fffd}\u{fffd}\u{fffd}[31m\u{fffd}b\u{fffd}\u{fffd}\u{fffd}\u{fffd}\nc\td é µ");
    }
}
