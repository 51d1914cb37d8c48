//! Kernels, and counts of instructions.

use super::*;

/// Counts of instructions, which have no noise, under several kernels.
fn counted(kernels: &[(&str, f64)]) -> Vec<Row> {
    let row = |(at, (kernel, count)): (usize, &(&str, f64)), block| Row {
        run_id: format!("run {at}"),
        kernel: (*kernel).into(),
        accel: "icount".into(),
        ns_per_packet_p50: None,
        peer_ns_per_packet: None,
        instructions_per_packet: Some(*count),
        peer_instructions_per_packet: Some(2000.0),
        ..trial("plain", block, 0.0)
    };
    let kernels = kernels.iter().enumerate();
    kernels.flat_map(|kernel| (1..=6).map(move |block| row(kernel, block))).collect()
}

#[test]
fn kernels_are_compared_each_with_the_one_before_it() {
    let rows = counted(&[("6.12", 1913.0), ("6.9", 1850.0), ("5.10", 1700.0), ("7.0-rc2", 1913.0)]);
    let report = compare("kernel", &rows).expect("a report");
    let found: Vec<(&str, &str, Verdict)> = report
        .comparisons
        .iter()
        .filter(|comparison| comparison.metric.column == Column::instructions_per_packet)
        .map(|comparison| (comparison.sides[0].as_str(), comparison.sides[1].as_str(), comparison.verdict))
        .collect();
    let expected =
        [("5.10", "6.9", Verdict::Worse), ("6.9", "6.12", Verdict::Worse), ("6.12", "7.0-rc2", Verdict::Same)];
    assert_eq!(found, expected);
    let steps: Vec<String> = steps::find(&report).iter().map(ToString::to_string).collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
    let first = "plain 5.10 → 6.9: +8.8% instructions per datagram (drain, batch 32: 1700.0 → 1850.0)";
    assert_eq!(steps[0], first);
    assert!(report.notes.iter().all(|note| !note.contains("kernel differs")), "{:?}", report.notes);

    let settings = Settings { base: Some("6.9"), ..DEFAULTS };
    let report = compare_with(By::Column(Column::kernel), &rows, &settings, &[]).expect("a report");
    assert!(report.comparisons.iter().all(|comparison| comparison.sides[0] == "6.9"));
    assert!(steps::find(&report).is_empty(), "these are no neighbours");
}

#[test]
fn two_builds_of_one_release_are_named_and_the_first_one_is_the_base() {
    let mut rows = counted(&[("6.18", 1800.0), ("6.18", 1900.0), ("6.9", 1700.0)]);
    for row in &mut rows {
        row.kernel_build = if row.run_id == "run 0" { "#2 SMP Tue" } else { "#1 SMP Mon" }.into();
    }
    let pairs = |rows: &[Row]| -> Vec<[String; 2]> {
        let report = compare("kernel", rows).expect("a report");
        let counts = report.comparisons.iter().filter(|it| it.metric.column == Column::instructions_per_packet);
        counts.map(|comparison| comparison.sides.clone()).collect()
    };
    assert_eq!(pairs(&rows), [["6.9", "6.18 #2"], ["6.18 #2", "6.18 #1"]]);
    let two: Vec<Row> = rows.iter().filter(|row| row.kernel == "6.18").cloned().collect();
    assert_eq!(pairs(&two), [["6.18 #2", "6.18 #1"]]);
    let report = compare("kernel", &two).expect("a report");
    assert_eq!(report.comparisons[0].verdict, Verdict::Worse);
}

#[test]
fn trials_under_several_kernels_are_not_one_cell() {
    let mut rows = two(100.0, 127.0);
    rows.iter_mut().filter(|row| row.trial > 5).for_each(|row| row.kernel = "7.1".into());
    let message = compare("backend", &rows).expect_err("two kernels in a cell").to_string();
    assert!(message.contains("plain has trials under several kernels (6.18, 7.1)"), "{message}");
}

#[test]
fn backends_are_not_ranked_by_counts_of_instructions() {
    let mut rows = counted(&[("6.12", 1900.0)]);
    rows.extend(rows.clone().into_iter().map(|row| Row { instructions_per_packet: Some(1000.0), ..rename(row) }));
    for by in ["backend", "variant"] {
        let message = compare(by, &rows).expect_err("counts rank nothing").to_string();
        assert!(message.contains("caches") && message.contains("--by kernel"), "{message}");
    }
    let columns = metrics::all_defaults().into_iter().map(|metric| metric.column);
    let data = Dataset::of_rows(columns, rows.iter());
    let look = crate::console::Look { coloured: false, unicode: true };
    assert_eq!(answer::of_trials(&data, look), "", "nor in the answer");
}

fn rename(row: Row) -> Row {
    Row { backend: "mmsg".into(), variant: "recvmmsg+sendmmsg".into(), ..row }
}
