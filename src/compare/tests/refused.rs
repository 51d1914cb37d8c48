//! Comparisons that mean nothing, and trials that do not count.

use super::*;

type Change = fn(&mut Row);

#[test]
fn what_means_nothing_is_refused_and_named_or_marked() {
    let changes: [(&str, Change); 7] = [
        ("accel is empty and kvm", |row| row.accel = "kvm".into()),
        ("rcvbuf is 1048576 and 212992", |row| row.rcvbuf = Some(212_992)),
        ("fill is gso and sendmmsg", |row| row.fill = "sendmmsg".into()),
        ("host is lab and home; --by host", |row| row.host = "home".into()),
        ("cpu_relation is empty and smt-siblings", |row| row.cpu_relation = "smt-siblings".into()),
        ("payload is 64 and 1472", |row| row.payload = 1472),
        ("round is 1024 and 384", |row| row.round = Some(384)),
    ];
    for (told, change) in changes {
        let mut rows = two(100.0, 127.0);
        rows.iter_mut().filter(|row| row.backend == "mmsg").for_each(change);
        let message = compare("backend", &rows).expect_err(told).to_string();
        assert!(message.contains(told) && message.contains("--force"), "{told}: {message}");
        let report = forced("backend", &rows);
        assert_eq!(verdicts(&report), [Verdict::None], "{told}");
        assert!(
            report.comparisons[0].reason.as_ref().is_some_and(|reason| reason.to_string().contains(told)),
            "{told}"
        );
        assert_eq!((report.comparisons[0].figures.p, report.comparisons[0].q), (None, None));
    }
}

#[test]
fn of_many_reasons_some_are_told_and_the_others_counted() {
    for (hosts, told) in [(10, None), (11, Some("- and 1 more reason")), (13, Some("- and 3 more reasons"))] {
        let of = |index: usize| {
            let host = move |backend: &str| if backend == "mmsg" { format!("lab{index}") } else { "home".into() };
            let order = move |row: &Row| row.order + 10_000 * index;
            let batch = 1 + index;
            two(100.0, 127.0).into_iter().map(move |row| Row {
                batch,
                host: host(&row.backend),
                order: order(&row),
                ..row
            })
        };
        let rows: Vec<Row> = (0..hosts).flat_map(of).collect();
        let message = compare("backend", &rows).expect_err("other hosts").to_string();
        let last = message.lines().find(|line| line.contains("more reason"));
        assert_eq!(last, told, "{message}");
    }
}

#[test]
fn fewer_than_eighteen_blocks_are_too_few() {
    for (blocks, verdict) in [(1, Verdict::None), (17, Verdict::None), (18, Verdict::Worse)] {
        let rows: Vec<Row> = two(100.0, 127.0).into_iter().filter(|row| row.trial <= blocks).collect();
        let report = compare("backend", &rows).expect("a report");
        assert_eq!(verdicts(&report), [verdict], "{blocks}");
        let reason = (verdict == Verdict::None).then_some(Reason::TooFewBlocks { blocks, needed: 18 });
        assert_eq!(report.comparisons[0].reason, reason);
    }
}

#[test]
fn gates_that_leave_too_few_blocks_leave_no_verdict() {
    for (invalid, verdict) in [(42, Verdict::Worse), (43, Verdict::None), (BLOCKS, Verdict::None)] {
        let mut rows = two(100.0, 127.0);
        for row in rows.iter_mut().filter(|row| row.backend == "mmsg" && row.trial <= invalid) {
            (row.valid, row.invalid_reason) = (0, format!("disturbed: {} ms", row.trial).into());
        }
        let report = compare("backend", &rows).expect("a report");
        assert_eq!((verdicts(&report), report.comparisons[0].counts), (vec![verdict], [BLOCKS, BLOCKS - invalid]));
        let told = format!("{invalid} of 120 trials are invalid and left out: disturbed: ");
        assert!(report.notes.iter().any(|note| note.contains(&told)), "{:?}", report.notes);
    }
}

#[test]
fn a_backend_that_failed_has_a_row_without_a_verdict() {
    let mut rows = two(100.0, 127.0);
    for row in rows.iter_mut().filter(|row| row.backend == "mmsg") {
        *row = Row {
            ns_per_packet_p50: None,
            peer_ns_per_packet: None,
            rcvbuf: None,
            fill: String::new(),
            valid: 0,
            error: "refused here".into(),
            ..row.clone()
        };
    }
    let report = compare("backend", &rows).expect("a report");
    assert_eq!(verdicts(&report), [Verdict::None]);
    assert_eq!(report.comparisons[0].figures.medians[1], None);
    assert!(
        report.notes.iter().any(|note| note.contains("60 of 120 trials failed: refused here")),
        "{:?}",
        report.notes
    );
}

#[test]
fn only_the_last_attempt_at_a_trial_counts() {
    let mut rows = two(100.0, 127.0);
    let mut wild = trial("mmsg", 1, 1e6);
    (wild.valid, wild.invalid_reason) = (0, "disturbed: at first".into());
    rows.insert(0, wild);
    rows.iter_mut().filter(|row| row.valid == 1).for_each(|row| row.attempt = 2);
    let report = compare("backend", &rows).expect("a report");
    assert_eq!((verdicts(&report), report.comparisons[0].counts), (vec![Verdict::Worse], [BLOCKS, BLOCKS]));
    assert!(!report.notes.iter().any(|note| note.contains("at first")), "{:?}", report.notes);
    let mut last = trial("mmsg", 1, 1.0);
    (last.valid, last.attempt) = (0, 3);
    rows.insert(0, last);
    let report = compare("backend", &rows).expect("a report");
    assert_eq!(report.comparisons[0].counts, [BLOCKS, BLOCKS - 1], "whatever the order of the rows");
}

#[test]
fn a_load_that_was_too_small_has_no_verdict() {
    for (limited, verdict, counts) in [(6, Verdict::Worse, [54, 60]), (7, Verdict::None, [60, 60])] {
        let mut rows = two(100.0, 127.0);
        rows.iter_mut().take(limited).for_each(|row| row.generator_limited = Some(1));
        let report = compare("backend", &rows).expect("a report");
        assert_eq!((verdicts(&report), report.comparisons[0].counts), (vec![verdict], counts));
        let told: Vec<String> = report.comparisons[0].warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told, [format!("limited by the generators: {limited} of base and 0 of new")]);
        assert_eq!(report.comparisons[0].reason.is_some(), verdict == Verdict::None);
    }
}

#[test]
fn trials_under_unusual_conditions_are_left_out_while_enough_others_remain() {
    let mut rows = two(100.0, 100.0);
    for row in &mut rows {
        row.canary_ratio = Some(1.0);
        if row.trial <= 40 {
            (row.ns_per_packet_p50, row.steady) = (Some(1e6), Some(0));
        }
    }
    let report = compare("backend", &rows).expect("a report");
    assert_eq!((verdicts(&report), report.comparisons[0].counts), (vec![Verdict::Same], [20, 20]));
    rows.iter_mut().for_each(|row| row.steady = Some(0));
    let report = compare("backend", &rows).expect("a report");
    assert_eq!(report.comparisons[0].counts, [BLOCKS, BLOCKS]);
    assert!(
        report.comparisons[0].warnings[0].to_string().contains("unusual conditions"),
        "{:?}",
        report.comparisons[0].warnings
    );
}

#[test]
fn a_side_without_values_has_no_verdict() {
    let mut rows = two(100.0, 127.0);
    rows.iter_mut().filter(|row| row.backend == "mmsg").for_each(|row| row.ns_per_packet_p50 = None);
    let report = compare("backend", &rows).expect("a report");
    assert_eq!((verdicts(&report), report.comparisons[0].counts), (vec![Verdict::None], [BLOCKS, 0]));
}

#[test]
fn reasons_are_told_with_what_is_an_example_and_how_many_more_there_are() {
    let of = |batch: usize| {
        two(100.0, 100.0).into_iter().map(move |row| Row { batch, order: row.order + 10_000 * batch, ..row })
    };
    let mut rows: Vec<Row> = (1..=6).flat_map(of).filter(|row| row.trial <= 10).collect();
    for (at, row) in rows.iter_mut().step_by(2).enumerate() {
        (row.valid, row.invalid_reason) = (0, "x".repeat(at + 1).into());
    }
    (rows[1].valid, rows[1].invalid_reason) = (0, "3 datagrams unexplained".into());
    (rows[3].valid, rows[3].invalid_reason) = (0, "5 datagrams unexplained".into());
    rows[0].invalid_reason = "7 datagrams unexplained".into();
    let notes = forced("backend", &rows).notes;
    for note in [
        "3 of 120 trials are invalid and left out: 7 datagrams unexplained (example; values vary)",
        "10 of 120 trials are invalid and left out, for other reasons",
    ] {
        assert!(notes.iter().any(|told| told == note), "{note}: {notes:?}");
    }
}
