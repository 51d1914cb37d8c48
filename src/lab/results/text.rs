//! The comparison by kernel, as text in 80 columns where the names allow it.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::messages;
use crate::lab::accel::Accel;
use crate::record::Row;
use crate::steps::{self, Cell, Matrix, SETTLED_MAX_PCT, Side, Value};

/// Formats the costs by kernel, the steps between neighbours, and what went wrong.
pub(super) fn render(rows: &[Row], accel: Accel, threshold_pct: f64) -> String {
    let matrix = Matrix::of(rows);
    let mut parts: Vec<String> = Vec::new();
    for scenario in ["drain", "send"] {
        parts.extend([Side::Worker, Side::Other].into_iter().filter_map(|side| section(&matrix, scenario, side)));
    }
    if accel == Accel::Tcg {
        parts.push(works(rows));
    } else {
        parts.push(step_list(&matrix, threshold_pct));
    }
    parts.extend(notes(&matrix, rows));
    parts.join("\n")
}

fn section(matrix: &Matrix, scenario: &str, side: Side) -> Option<String> {
    let lines: Vec<(&Cell, &Vec<Option<Value>>)> = matrix
        .lines
        .iter()
        .filter(|((cell, of), _)| cell.scenario == scenario && *of == side)
        .map(|((cell, _), line)| (cell, line))
        .collect();
    if lines.is_empty() {
        return None;
    }
    let what = match (scenario, side) {
        ("drain", Side::Worker) => "receiving from a full queue",
        ("drain", Side::Other) => "filling that queue",
        (_, Side::Worker) => "handing datagrams to the kernel",
        (_, Side::Other) => "emptying the queue they went into",
    };
    let mut table = plain_table();
    let mut header = vec!["backend".to_owned(), "batch".into(), "bytes".into()];
    header.extend(steps::short_names(&matrix.kernels));
    table.set_header(header);
    for (cell, values) in lines {
        let mut line = vec![steps::name(cell), cell.batch.to_string(), cell.payload.to_string()];
        line.extend(values.iter().map(|value| value.map_or_else(|| "-".into(), |value| figure(matrix, &value))));
        table.add_row(line);
    }
    let side = if side == Side::Other { ", the other side" } else { "" };
    Some(format!("{scenario}{side}: {what}; {}\n{}\n", matrix.unit, finished(table)))
}

fn figure(matrix: &Matrix, value: &Value) -> String {
    let mark = if matrix.is_settled(value) { "" } else { "~" };
    format!("{mark}{:.1}", value.median)
}

/// Which backends ran under which kernel, where nothing was measured.
fn works(rows: &[Row]) -> String {
    let mut kernels: Vec<&str> = rows.iter().map(|row| row.kernel.as_str()).collect();
    kernels.dedup();
    let line = |kernel: &str| {
        let mut backends: Vec<String> = Vec::new();
        for row in rows.iter().filter(|row| row.kernel == kernel && !row.is_failed() && row.balances()) {
            let name = steps::name(&Cell { backend: row.backend.clone(), variant: row.variant.clone(), ..cell() });
            if !backends.contains(&name) {
                backends.push(name);
            }
        }
        format!("{kernel}: {}\n", if backends.is_empty() { "nothing".into() } else { backends.join(", ") })
    };
    let lines: String = kernels.into_iter().map(line).collect();
    format!("what ran to its end, with every datagram accounted for (--accel tcg measures nothing)\n{lines}")
}

fn cell() -> Cell {
    let text = String::new;
    Cell { scenario: text(), backend: text(), variant: text(), payload: 0, round: None, batch: 0 }
}

fn step_list(matrix: &Matrix, threshold_pct: f64) -> String {
    let steps = matrix.steps(threshold_pct);
    if matrix.kernels.len() < 2 {
        return "one kernel only: there is nothing to compare it with\n".into();
    }
    if steps.is_empty() {
        return format!("no step of {threshold_pct}% or more between neighbouring kernels\n");
    }
    let lines: String = steps.iter().map(|step| format!("{step}\n")).collect();
    format!("steps of {threshold_pct}% or more between neighbouring kernels\n{lines}")
}

fn notes(matrix: &Matrix, rows: &[Row]) -> Vec<String> {
    let mut notes = Vec::new();
    let unsettled = matrix.lines.values().flatten().flatten().filter(|value| !matrix.is_settled(value)).count();
    if unsettled > 0 {
        notes.push(format!(
            "~  {unsettled} figures have not settled: their trials differ by more than {SETTLED_MAX_PCT}% from each other.\n"
        ));
    }
    if matrix.exact && !matrix.lines.is_empty() {
        notes.push(format!("{}\n", steps::RANKS_NOTHING));
    }
    for ((kernel, backend, message), count) in messages(rows) {
        notes.push(format!("{backend} under {kernel}: {count} trials failed or are invalid: {message}\n"));
    }
    notes
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Names to the left, numbers to the right.
fn finished(mut table: Table) -> String {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 0 } else { 1 }, 1));
        column.set_cell_alignment(if index == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
