//! The comparison by kernel, as text in 80 columns if the names allow it.

use comfy_table::CellAlignment;

use crate::commands::lab::accel::Accel;
use crate::compare::answer;
use crate::compare::axes::{self, By};
use crate::compare::comparisons::{Comparisons, Settings};
use crate::compare::counts::{RANKS_NOTHING, SETTLED_MAX_PCT};
use crate::compare::dataset::Dataset;
use crate::compare::matrix::{Line, Matrix, Value};
use crate::compare::messages::Messages;
use crate::compare::metrics;
use crate::compare::releases;
use crate::compare::sections;
use crate::compare::steps;
use crate::compare::trials::Trials;
use crate::compare::warnings::Reason;
use crate::record::cell::CellKey;
use crate::record::columns::Column;
use crate::record::row::Row;
use crate::text::{plain_table, trim_lines, wrap};

/// The columns of a table that name the cell of each row.
const ALWAYS_SHOWN: [Column; 4] = [Column::backend, Column::variant, Column::batch, Column::payload];

/// Formats the costs by kernel, the steps between neighbouring kernels, and what went wrong.
pub(super) fn render(rows: &[Row], accel: Accel, threshold: f64) -> String {
    let data = Dataset::of_rows(metrics::all_defaults().into_iter().map(|metric| metric.column), rows.iter());
    let trials = Trials::new(&data, By::Column(Column::kernel), &[]);
    let matrix = Matrix::of(&trials);
    let mut parts = tables(&matrix);
    parts.push(if accel == Accel::Tcg { works(rows) } else { step_list(&trials, threshold) });
    parts.extend(notes(&matrix, accel));
    let messages = messages(rows);
    parts.extend(messages.kinds.iter().map(|kind| {
        let ((kernel, backend), count) = (kind.of, kind.count);
        wrap(&format!("{backend} under {kernel}: {count} trials failed or are invalid: {}", kind.example()))
    }));
    if messages.others > 0 {
        parts.push(wrap(&format!("{} trials failed or are invalid for other reasons", messages.others)));
    }
    parts.join("\n")
}

/// A table for each scenario and side.
fn tables(matrix: &Matrix) -> Vec<String> {
    let mut sections: Vec<(&str, Column)> = Vec::new();
    for line in &matrix.lines {
        let section = (line.cell.get(Column::scenario), line.metric.column);
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    sections.into_iter().map(|(scenario, metric)| table(matrix, scenario, metric)).collect()
}

fn table(matrix: &Matrix, scenario: &str, metric: Column) -> String {
    let is_other = matches!(metric, Column::peer_ns_per_packet | Column::peer_instructions_per_packet);
    let what = match (scenario, is_other) {
        ("drain", false) => "receiving from a full queue",
        ("drain", true) => "filling that queue",
        (_, false) => "handing datagrams to the kernel",
        (_, true) => "emptying the queue they went into",
    };
    let kernels: Vec<&str> = matrix.sides.iter().map(String::as_str).collect();
    let mut table = plain_table();
    let is_here = |line: &&Line| line.cell.get(Column::scenario) == scenario && line.metric.column == metric;
    let cells: Vec<&CellKey> = matrix.lines.iter().filter(is_here).map(|line| &line.cell).collect();
    let mut telling = sections::telling(&cells);
    telling.retain(|axis| !ALWAYS_SHOWN.contains(axis));
    let mut header = vec!["backend".to_owned(), "batch".into(), "bytes".into()];
    header.extend(telling.iter().map(|&axis| sections::short(axis).to_owned()));
    header.extend(releases::short_names(&kernels));
    table.set_header(header);
    for line in matrix.lines.iter().filter(is_here) {
        let on = |axis| line.cell.get(axis);
        let mut cells = vec![
            axes::name(on(Column::backend), on(Column::variant)),
            on(Column::batch).into(),
            on(Column::payload).into(),
        ];
        cells.extend(telling.iter().map(|&axis| on(axis).to_owned()));
        cells.extend(line.values.iter().map(|value| value.map_or_else(|| "-".into(), figure)));
        table.add_row(cells);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((u16::from(index > 0), 1));
        column.set_cell_alignment(if index == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    let side = if is_other { ", the peer" } else { "" };
    let is_counted = matches!(metric, Column::instructions_per_packet | Column::peer_instructions_per_packet);
    let unit = if is_counted { "instructions per datagram" } else { "ns per datagram" };
    format!("{scenario}{side}: {what}; {unit}\n{}\n", trim_lines(&table.to_string()))
}

fn figure(value: Value) -> String {
    let mark = if value.unsettled { "~" } else { "" };
    format!("{mark}{:.1}", value.median)
}

/// Which backends ran under which kernel, if nothing was measured.
fn works(rows: &[Row]) -> String {
    let mut kernels: Vec<&str> = rows.iter().map(|row| row.kernel.as_str()).collect();
    kernels.dedup();
    let line = |kernel: &str| {
        let mut backends: Vec<String> = Vec::new();
        for row in rows.iter().filter(|row| row.kernel == kernel && !row.is_failed() && row.balances()) {
            let name = axes::name(&row.backend, &row.variant);
            if !backends.contains(&name) {
                backends.push(name);
            }
        }
        format!("{kernel}: {}\n", if backends.is_empty() { "nothing".into() } else { backends.join(", ") })
    };
    let lines: String = kernels.into_iter().map(line).collect();
    format!("what ran to the end, with every datagram accounted for (--accel tcg measures nothing)\n{lines}")
}

/// The steps that `hpbench compare --by kernel` finds among the same trials, or why it finds none.
fn step_list(trials: &Trials<'_>, threshold: f64) -> String {
    if trials.side_count() < 2 {
        return "only one kernel: there is nothing to compare it with\n".into();
    }
    let settings = Settings { threshold, ..answer::SETTINGS };
    match Comparisons::new(trials, &settings) {
        Ok(report) => steps::text(&report) + &too_few(&report),
        Err(error) => wrap(&error.to_string()),
    }
}

/// Times are noisy, under KVM as anywhere: without enough trials there is no verdict on them, and hence no step.
fn too_few(report: &Comparisons) -> String {
    let mut reasons = report.comparisons.iter().filter_map(|comparison| comparison.reason.as_ref());
    let first = reasons.find(|reason| !matches!(reason, Reason::Refused(_)));
    first.map_or_else(String::new, |reason| wrap(&format!("There is no verdict on times: {reason}.")))
}

fn notes(matrix: &Matrix, accel: Accel) -> Vec<String> {
    let mut notes = Vec::new();
    let values = matrix.lines.iter().flat_map(|line| &line.values).flatten();
    let unsettled = values.filter(|value| value.unsettled).count();
    if unsettled > 0 {
        let why = format!("their trials differ by more than {SETTLED_MAX_PCT}%, or there is only one");
        notes.push(wrap(&format!("~  {unsettled} figures have not settled: {why}.")));
    }
    if accel == Accel::Icount && !matrix.lines.is_empty() {
        notes.push(wrap(RANKS_NOTHING));
    }
    notes
}

/// Why rows failed or are invalid, by kernel and backend.
pub(super) fn messages(rows: &[Row]) -> Messages<(&str, &str)> {
    let reasons = rows.iter().map(|row| ((row.kernel.as_str(), row.backend.as_str()), row.why()));
    let mut messages = Messages::of(reasons.filter(|(_, reason)| !reason.is_empty()));
    messages.kinds.sort_by_key(|kind| kind.of);
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kernel: &str, trial: usize, cost: f64) -> Row {
        Row {
            schema: crate::record::row::SCHEMA,
            run_id: kernel.into(),
            scenario: "drain".into(),
            backend: "uring".into(),
            variant: "multishot+send+defer".into(),
            kernel: kernel.into(),
            batch: 32,
            payload: 64,
            round: Some(1024),
            trial,
            order: trial,
            accel: "icount".into(),
            instructions_per_packet: Some(cost),
            peer_instructions_per_packet: Some(2000.0),
            valid: 1,
            ..Row::default()
        }
    }

    /// Two trials under each of three kernels.
    fn rows() -> Vec<Row> {
        let kernels = [("6.12.9-x", 2026.0), ("6.1.2-x", 1796.0), ("7.0.1-x", 2026.0)];
        kernels.into_iter().flat_map(|(kernel, cost)| (1..=2).map(move |trial| row(kernel, trial, cost))).collect()
    }

    fn text(rows: &[Row]) -> String {
        render(rows, Accel::Icount, 0.01).replace("\n  ", " ")
    }

    #[test]
    fn kernels_are_columns_and_steps_are_told() {
        let text = text(&rows());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "drain: receiving from a full queue; instructions per datagram");
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>(),
            ["backend", "batch", "bytes", "6.1", "6.12", "7.0"]
        );
        assert_eq!(
            lines[2].split_whitespace().collect::<Vec<_>>(),
            ["uring", "32", "64", "1796.0", "2026.0", "2026.0"]
        );
        assert!(text.contains("drain, the peer: filling that queue"), "{text}");
        let step = "steps of 1% or more between neighbouring kernels\n\
                    uring 6.1 → 6.12: +12.8% instructions per datagram (drain, batch 32: 1796.0 → 2026.0)\n\n";
        assert!(text.contains(step) && !text.contains('~'), "{text}");
    }

    #[test]
    fn a_kernel_that_failed_is_stepped_over() {
        let mut rows = rows();
        rows.iter_mut().filter(|row| row.kernel == "6.12.9-x").for_each(|row| {
            (row.valid, row.error, row.instructions_per_packet) = (0, "panic".into(), None);
        });
        let text = text(&rows);
        assert!(text.contains("uring 6.1 → 7.0: +12.8% instructions per datagram"), "{text}");
        assert!(text.contains("uring under 6.12.9-x: 2 trials failed or are invalid: panic"), "{text}");
        assert!(text.contains("1796.0     -  2026.0"), "{text}");
        let many = (1..=60).map(|at| Row { error: "x".repeat(at), ..row("6.1.2-x", at, 0.0) });
        let text = self::text(&many.collect::<Vec<_>>());
        assert!(text.ends_with("\n10 trials failed or are invalid for other reasons\n"), "{text}");
    }

    #[test]
    fn cells_that_differ_in_more_than_batch_and_bytes_say_so() {
        let mut rows = rows();
        for order in [256, 1024] {
            rows.extend(self::rows().into_iter().map(|row| Row { round: Some(order), order, ..row }));
        }
        rows.retain(|row| row.order > 2);
        let text = text(&rows);
        let lines: Vec<Vec<&str>> =
            text.lines().skip(1).take(3).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["backend", "batch", "bytes", "round", "6.1", "6.12", "7.0"]);
        assert_eq!(lines[1], ["uring", "32", "64", "256", "1796.0", "2026.0", "2026.0"]);
        assert_eq!(lines[2], ["uring", "32", "64", "1024", "1796.0", "2026.0", "2026.0"]);
    }

    #[test]
    fn what_has_not_settled_is_marked_and_other_rounds_are_other_cells() {
        let mut unsettled = rows();
        unsettled[0].instructions_per_packet = Some(2040.0);
        let told = text(&unsettled);
        assert!(told.contains("~2033.0") && told.contains("1 figures have not settled"), "{told}");
        assert!(told.contains("(drain, batch 32: 1796.0 → 2033.0, not settled)"), "{told}");
        let mut rounds = rows();
        rounds.iter_mut().filter(|row| row.kernel != "6.1.2-x").for_each(|row| row.round = Some(512));
        let told = text(&rounds);
        assert!(told.contains("no step of 1% or more"), "{told}");
        let mut one = rows();
        one.truncate(2);
        assert!(text(&one).contains("only one kernel"), "{told}");
    }

    #[test]
    fn marked_trials_are_left_out_of_the_figures_as_of_the_steps() {
        let mut rows: Vec<Row> = (1..=10).map(|trial| row("6.1.2-x", trial, 1796.0)).collect();
        for row in &mut rows[..4] {
            (row.instructions_per_packet, row.steady) = (Some(9000.0), Some(0));
        }
        assert!(text(&rows).contains("  32     64  1796.0\n"), "{}", text(&rows));
        rows[4].steady = Some(0);
        assert!(text(&rows).contains("  32     64  ~1796.0\n"), "{}", text(&rows));
    }
}
