//! Untrusted text - in a CSV file, in the name of a file, in an argument - does not control the terminal.

mod common;

use std::fs;

use common::rows::{backends, bench, text};
use common::{Bench, Done, HPBENCH, read, tiny};
use hpbench::record::row::Row;

/// Colours, a title, a bell, a deletion, a carriage return, one of C1 (CSI in one character), one that reverses the
/// text, and some that are not seen.
const ORDERS: &str = "\u{1b}[31m\u{1b}]0;title\u{7}\u{8}\r\u{9b}2J\u{202e}\u{ad}\u{2060}\u{e0041}";

/// How they are written.
const WRITTEN: &str = "\\u001b[31m\\u001b]0;title\\u0007\\u0008\\u000d\\u009b2J\\u202e\\u00ad\\u2060\\ue0041";

/// The shortest run.
const QUICK: &str = "--backend null --scenario drain,send --packets 1 --warmup 0";

/// Fails if a terminal would obey something.
#[track_caller]
fn assert_printable(done: &Done) {
    for text in [&done.stdout, &done.stderr] {
        let is_unseen = |c| matches!(c, '\u{202e}' | '\u{ad}' | '\u{2060}' | '\u{e0041}');
        let order = text.chars().find(|&c| c.is_control() && c != '\n' || is_unseen(c));
        assert_eq!(order, None, "{text:?}");
    }
}

/// Rows of two hosts, one of which has control characters in its name.
fn hosts() -> Vec<Row> {
    let mut rows = backends();
    let mut others = rows.clone();
    rows.iter_mut().for_each(|row| row.host = format!("red{ORDERS}\nforged line"));
    others.iter_mut().for_each(|row| row.run_id = "beef".into());
    rows.extend(others);
    rows
}

#[test]
fn a_comparison_of_a_foreign_file_prints_no_orders() {
    let bench = bench("both.csv", &text(&hosts()));
    let written = format!("red{WRITTEN}\\nforged line");
    for format in ["table", "csv", "json"] {
        let done = bench.run(&format!("compare --by host --format {format} both.csv")).expect(0);
        assert_printable(&done);
        let expected = if format == "json" { written.replace('\\', "\\\\") } else { written.clone() };
        let (words, found) = (expected.split_whitespace(), &done.stdout);
        words.for_each(|word| assert!(found.contains(word), "{format}: {word}: {found}"));
        assert!(!done.stdout.lines().any(|line| line.starts_with("forged")), "{format}: {}", done.stdout);
    }
    let raw = format!("red{ORDERS}\nforged line");
    let base = [HPBENCH, "compare", "--by", "host", "--base", &raw, "both.csv"];
    assert_printable(&bench.run_command(&base).expect(0));
    assert_printable(
        &bench.run_command(&[HPBENCH, "compare", "--by", "host", "--base", "\u{1b}x", "both.csv"]).expect(2),
    );
}

#[test]
fn colours_are_ours_only() {
    let bench = bench("both.csv", &text(&hosts()));
    let words = ["env", "CLICOLOR_FORCE=1", HPBENCH, "compare", "--by", "host", "both.csv"];
    let done = bench.run_command(&words).expect(0);
    let is_ours = |piece: &str| {
        let numbers = piece.strip_prefix('[').and_then(|piece| piece.split_once('m'));
        numbers.is_some_and(|(numbers, _)| numbers.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'))
    };
    assert!(done.stdout.split('\u{1b}').skip(1).all(is_ours), "{:?}", done.stdout);
    assert!(!done.stdout.contains("\u{1b}[31mred") && !done.stdout.contains("red\u{1b}"), "{:?}", done.stdout);
}

#[test]
fn a_run_that_is_gone_on_with_prints_no_orders() {
    let bench = Bench::new();
    bench.tiny(&format!("{QUICK} --trials 2 --label lab")).expect(0);
    let good = read(&bench.path("out.csv"));
    let failed = |row: &str| common::rows::with(row, &[("error", &format!("no{ORDERS}\nforged")), ("valid", "0")]);
    fs::write(bench.path("out.csv"), failed(&good)).expect("it is ours");
    let done = bench.tiny(&format!("{QUICK} --trials 2 --label lab --resume")).expect(1);
    assert_printable(&done);
    assert!(done.shows(&format!("no{WRITTEN}\\nforged")), "{}", done.stdout);
    let other = common::rows::with(&good, &[("host", &format!("lab{ORDERS}\nforged"))]);
    fs::write(bench.path("out.csv"), other).expect("it is ours");
    let done = bench.tiny(&format!("{QUICK} --trials 2 --label lab --resume")).expect(2);
    assert_printable(&done);
    assert!(done.stderr.contains(&format!("its host is 'lab{WRITTEN}\\nforged'")), "{}", done.stderr);
}

#[test]
fn names_of_files_and_arguments_give_no_orders() {
    let name = format!("a{ORDERS}\nforged.csv");
    let written = format!("a{WRITTEN}\\nforged.csv");
    let bench = Bench::new();
    let quick = tiny(&format!("{QUICK} -o x --hlog y"));
    let quick: Vec<&str> = quick.split_whitespace().filter(|word| !["-o", "x", "--hlog", "y"].contains(word)).collect();
    let run = |words: &[&str]| bench.run_command(&[&[HPBENCH], words].concat());
    let run_with = |words: &[&str]| run(&[&quick[..], words].concat());
    let done = run_with(&["-o", &name]).expect(0);
    assert!(done.stderr.contains(&format!("2 rows in {written}")), "{}", done.stderr);
    assert_printable(&done);
    fs::write(bench.path("other.csv"), "x").expect("a file");
    for (words, status) in [
        (vec!["-o", &name], 2),
        (vec!["-o", &name, "--hlog", &name, "--force"], 2),
        (vec!["-o", "new.csv", "--hlog", &name], 2),
    ] {
        let done = run_with(&words).expect(status);
        assert_printable(&done);
        assert!(done.stderr.contains(&written), "{words:?}: {}", done.stderr);
    }
    for words in [
        vec!["compare", &name, "nowhere"],
        vec!["report", &name, "-o", &name],
        vec!["report", "other.csv", "-o", &name],
        vec!["report", &name, "-o", "nowhere/x.html"],
        vec!["--batch", ORDERS],
        vec!["--label", ORDERS],
        vec![ORDERS],
    ] {
        let done = run(&words);
        assert!([1, 2].contains(&done.status), "{words:?}: {}", done.stderr);
        assert_printable(&done);
    }
}
