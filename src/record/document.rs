//! The documentation of the CSV, made from the declarations of the columns.

use std::fmt::Write;

use crate::record::column::{FieldType, Group, Role};
use crate::record::columns::{Column, Declaration};

/// What precedes the tables.
const START: &str = "# The columns of the CSV

One row per trial. Empty means not applicable or not available, never zero. Times are nanoseconds unless the name says
otherwise. Later versions of hpbench add columns at the end only.

*In comparisons* says what `hpbench compare` and `hpbench report` use a column for:

- **axis**: identifies a cell, together with the other axes;
- **must be equal**: sides that differ in it are not compared, unless that is what they are compared by;
- **may differ**: is named where it differs between sides;
- **side**: can make the sides of a comparison, and nothing else;
- **metric**: can be compared, with its unit and which way is better.

`--by` takes every column that has a word there, except metrics and `scenario`.

This file is generated from the declarations in `src/record/columns.rs`: `HPBENCH_WRITE_DOCS=1 cargo test --test docs`
writes it.
";

/// What follows them: how other programs read the file. `tests/docs.rs` runs the examples.
const END: &str = r#"
## Reading it in pandas and DuckDB

Both guess the type of a column from its values, and the guess changes from file to file: a column that is empty in one
file is text in the next, a `run_id` such as `12345678e9012345` is taken for a number, `seed` does not fit a signed
integer of 64 bits, and pandas takes the backend `null` for a missing value. So read everything as text, and convert the
columns that you use.

Rows with `valid` 1 count: a disturbed trial that was repeated has 0, as has one with an error. A comparison leaves out
marked trials, too (`steady` 0, for example); `hpbench compare --format csv` prints what it concludes.

```python
import pandas as pd

rows = pd.read_csv("run.csv", dtype="string", keep_default_na=False, na_values=[""])
rows = rows[rows["valid"] == "1"]
for column in ["batch", "order"]:
    rows[column] = rows[column].astype("Int64")
rows["seed"] = rows["seed"].astype("UInt64")
rows["ns_per_packet_p50"] = rows["ns_per_packet_p50"].astype("Float64")
print(rows.groupby(["scenario", "backend", "batch"])["ns_per_packet_p50"].median())
```

`order` and `window` are SQL keywords: quote them.

```sql
SELECT scenario, backend, batch::INTEGER AS batch, median(ns_per_packet_p50::DOUBLE) AS ns
FROM read_csv('run.csv', all_varchar = true)
WHERE valid = '1' AND scenario IN ('drain', 'send')
GROUP BY ALL
ORDER BY ALL;

SELECT "order"::INTEGER AS "order", seed::UBIGINT AS seed, "window"::INTEGER AS "window", backend
FROM read_csv('run.csv', all_varchar = true)
WHERE valid = '1'
ORDER BY "order"
LIMIT 5;
```
"#;

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
    text + END
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
