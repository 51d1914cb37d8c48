//! What searches have found, as it is printed.

use crate::commands::table::align;
use crate::compare::capacity::{Found, Section};
use crate::text::{plain_table, trim_lines, wrap};

/// The answers, the tables and their notes.
pub(crate) fn text(found: &[Found]) -> String {
    found.iter().map(of_run).collect::<Vec<_>>().join("\n")
}

fn of_run(found: &Found) -> String {
    let Found { of, headline, sections, notes } = found;
    let mut parts: Vec<String> = of.iter().map(|of| wrap(&format!("{of}:"))).collect();
    // A sentence has no hanging indent.
    parts.extend((!headline.is_empty()).then(|| wrap(headline).replace("\n  ", "\n")));
    parts.extend(sections.iter().map(table));
    parts.push(notes.iter().map(|note| wrap(note)).collect());
    parts.join("\n")
}

fn table(section: &Section) -> String {
    let mut table = plain_table();
    table.set_header(&section.header);
    section.rows.iter().for_each(|row| {
        table.add_row(row);
    });
    align(&mut table, |index| section.texts.contains(&index));
    format!("{}{}\n", wrap(&section.title), trim_lines(&table.to_string()))
}
