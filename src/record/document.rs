//! The documentation of the CSV, made of what is declared of each column.

use std::fmt::Write;

use crate::record::column::{FieldType, Group, Role};
use crate::record::columns::{Column, Declaration};

/// What precedes the tables.
const START: &str = "# The columns of the CSV

One row per trial. Empty means not applicable or not available, never zero. Times are nanoseconds unless the name says
otherwise. Later versions of hpbench add columns at the end only.

*In comparisons* says what `hpbench compare` and `hpbench report` make of a column:

- **axis**: identifies a cell, together with the other axes;
- **must be equal**: sides that differ in it are not compared, unless that is what they are compared by;
- **may differ**: is named where it differs between sides;
- **side**: can make the sides of a comparison, and nothing else;
- **metric**: can be compared, with its unit and which way is better.

`--by` takes every column that has a word there, but for metrics and `scenario`.

This file is made of the declarations in `src/record/columns.rs`: `HPBENCH_WRITE_DOCS=1 cargo test --test docs` writes it.
";

/// The file `docs/csv.md`.
pub fn csv_md() -> String {
    let mut text = START.to_owned();
    for group in Group::ALL {
        let title = group.title();
        let _ = write!(text, "\n## {title}\n\n| column | holds | in comparisons | meaning |\n|---|---|---|---|\n");
        for column in Column::declarations().iter().filter(|column| column.group == group) {
            let (name, holds, meaning) = (column.name, holds(column), column.meaning());
            let _ = writeln!(text, "| `{name}` | {holds} | {} | {} |", role(column.role), meaning.replace('|', "\\|"));
        }
    }
    text
}

fn holds(column: &Declaration) -> &'static str {
    match column.field_type {
        FieldType::Text => "text",
        FieldType::Whole => "whole number",
        FieldType::Fraction => "number",
    }
}

fn role(role: Role) -> String {
    match role {
        Role::Axis => "axis".into(),
        Role::ConditionalAxis => "axis, must be equal".into(),
        Role::Condition => "must be equal".into(),
        Role::Circumstance => "may differ".into(),
        Role::Side => "side".into(),
        Role::Metric(unit, better) => format!("metric: {unit}, {} is better", better.name()),
        Role::Other => String::new(),
    }
}
