//! Counts of instructions, and kernels: what is compared, in the lab's own words.

use std::fs;
use std::path::{Path, PathBuf};

use hpbench::record::row::Row;

use crate::common::rows::{bench, drain, text};
use crate::common::{self, Bench, parse};

/// Counts of instructions, six for each of two sides that differ in a column.
fn counted(change: impl Fn(&mut Row)) -> Vec<u8> {
    let mut rows = Vec::new();
    for block in 1..=6 {
        let base = Row {
            variant: "recvfrom+sendto".into(),
            addressing: "connected".into(),
            ring: 1024,
            accel: "icount".into(),
            ns_per_packet_p50: None,
            peer_ns_per_packet: None,
            instructions_per_packet: Some(1900.0),
            ..drain("plain", 32, block, 0.0)
        };
        let mut new = Row { order: base.order + 5000, ..base.clone() };
        change(&mut new);
        rows.extend([base, new]);
    }
    text(&rows)
}

#[test]
fn counts_of_instructions_rank_no_ways_of_moving_datagrams() {
    type Change = fn(&mut Row);
    let changes: [(&str, Change); 9] = [
        ("backend", |row| (row.backend, row.variant) = ("mmsg".into(), "recvmmsg+sendmmsg".into())),
        ("variant", |row| row.variant += "+gro"),
        ("wait", |row| row.wait = "block".into()),
        ("addressing", |row| row.addressing = "unconnected".into()),
        ("batch", |row| row.batch = 8),
        ("payload", |row| row.payload = 1472),
        ("round", |row| row.round = Some(64)),
        ("ring", |row| row.ring = 2048),
        ("buffers", |row| row.buffers = Some(64)),
    ];
    for (column, change) in changes {
        let bench = bench("run.csv", &counted(change));
        let message = bench.run(&format!("compare --by {column} run.csv")).expect(2).stderr;
        let told = format!("accel is icount, and counts are not compared by {column}");
        assert!(message.contains(&told) && message.contains("caches"), "{column}: {message}");
        assert!(message.contains("--by kernel") && message.contains("--force"), "{column}: {message}");
        let done = bench.run(&format!("compare --by {column} --force --format csv run.csv")).expect(0);
        let rows = parse(&done.stdout);
        assert_eq!(rows.len(), 1, "{column}: {}", done.stdout);
        assert_eq!(rows[0].text("verdict"), "none", "{column}");
        assert!(rows[0].text("warnings").contains(&told), "{column}: {}", rows[0].text("warnings"));
    }
    // Columns that leave system calls and memory unchanged can be compared.
    let bench = bench("run.csv", &counted(|row| row.git_rev = "abc".into()));
    let rows = parse(&bench.run("compare --by git_rev --format csv run.csv").expect(0).stdout);
    assert_eq!(rows[0].text("verdict"), "same");
    let (recorded, _) = recorded();
    let message = bench.run(&format!("compare --by backend {}", recorded.display())).expect(2).stderr;
    assert!(message.contains("counts are not compared by backend"), "before all else: {message}");
}

/// A recorded run of the lab: its rows, and the steps that the lab printed.
fn recorded() -> (PathBuf, Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/kernels-2026-12-01");
    let text = fs::read_to_string(folder.join("comparison.txt")).expect("the lab's comparison");
    (folder.join("kernels.csv"), steps_in(&text))
}

/// The steps of a comparison as text, each on one line, sorted.
fn steps_in(text: &str) -> Vec<String> {
    let text = text.replace("\n  ", " ");
    let lines = text.lines().skip_while(|line| !line.starts_with("steps of ")).skip(1);
    let mut steps: Vec<String> = lines.take_while(|line| line.contains(" → ")).map(str::to_owned).collect();
    steps.sort();
    steps
}

#[test]
fn kernels_have_the_steps_that_the_lab_tells() {
    let (file, expected) = recorded();
    assert!(expected.len() > 100, "{expected:?}");
    let bench = Bench::new();
    let compare = |format: &str| {
        let args = format!("compare --by kernel --threshold 1% --format {format} {}", file.display());
        bench.run(&args).expect(0).stdout
    };
    let table = compare("table");
    assert!(table.contains("steps of 1% or more between neighbouring kernels"), "{table}");
    assert_eq!(steps_in(&table), expected);
    let json: serde_json::Value = serde_json::from_str(&compare("json")).expect("JSON");
    let mut steps: Vec<&str> =
        json["steps"].as_array().expect("a list").iter().filter_map(|step| step.as_str()).collect();
    steps.sort_unstable();
    assert_eq!(steps, expected);

    // In CSV, steps are changes of at least the threshold: verdicts, or counts that have not settled.
    let is_settled = |row: &common::Row| row.text("verdict") != "unclear";
    let rows = parse(&compare("csv"));
    let steps: Vec<_> = rows.iter().filter(|row| row.number("delta_pct").abs() >= 1.0).collect();
    assert_eq!(steps.len(), expected.len());
    let settled = |wanted: bool| steps.iter().filter(|row| is_settled(row) == wanted).count();
    let of_lab = |wanted: bool| expected.iter().filter(|step| step.ends_with("not settled)") != wanted).count();
    assert_eq!([settled(true), settled(false)], [of_lab(true), of_lab(false)]);
    for row in &rows {
        let verdict = row.text("verdict");
        assert_eq!(verdict == "unclear", row.text("warnings").contains("not settled"), "{}", row.name());
        assert_eq!((row.text("p"), row.text("q")), ("", ""), "counts have no noise");
        assert!(["better", "worse", "same", "unclear"].contains(&verdict), "{verdict}");
    }
    let uring = steps.iter().find(|row| {
        let told = ["scenario", "backend", "variant", "batch", "base", "metric"].map(|column| row.text(column));
        let expected =
            ["drain", "uring", "multishot+send+defer", "32", "6.1.0-50-cloud-amd64", "instructions_per_packet"];
        told == expected
    });
    let uring = uring.expect("multishot became longer from 6.1 to 6.12");
    assert_eq!((uring.text("verdict"), uring.text("n_new")), ("worse", "3"));
    assert!((uring.number("delta_pct") - 8.2).abs() < 0.1, "{}", uring.number("delta_pct"));
}
