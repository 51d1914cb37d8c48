//! `--resume`: a run that was cut short at any moment continues where it ended, and only there.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::{Bench, Row, parse, read};

/// The shortest plan; [`common::tiny`] adds `-o` and `--trials` if a test does not name them.
const QUICK: &str = "--backend null --scenario drain,send --packets 1 --warmup 0";

/// Position and cell of each row.
fn trials(rows: &[Row]) -> BTreeSet<(i64, i64, String)> {
    rows.iter().map(|row| (row.count("order"), row.count("trial"), row.name())).collect()
}

/// Fails unless these are the rows of one run of `count` trials, one for each.
#[track_caller]
fn assert_one_run(rows: &[Row], count: i64) {
    let orders: BTreeSet<i64> = rows.iter().map(|row| row.count("order")).collect();
    assert_eq!((rows.len() as i64, orders), (count, (1..=count).collect()));
    let cells: BTreeSet<(String, i64)> = rows.iter().map(|row| (row.name(), row.count("trial"))).collect();
    assert_eq!(cells.len() as i64, count, "each trial of each cell");
    for column in ["run_id", "seed"] {
        assert!(rows.iter().all(|row| row.text(column) == rows[0].text(column)), "one {column}");
    }
}

#[test]
fn a_complete_file_is_shown_and_left_as_it_is() {
    let bench = Bench::new();
    let first = bench.tiny(&format!("{QUICK} --trials 3")).expect(0);
    let before = read(&bench.path("out.csv"));
    let again = bench.tiny(&format!("{QUICK} --trials 3 --resume")).expect(0);
    assert_eq!(read(&bench.path("out.csv")), before, "nothing was run");
    assert_eq!(again.stdout, first.stdout, "the same table");
    assert_eq!(again.complaints(), "nothing was left to run: out.csv has all 6 trials of the plan");
    // Nothing is waited for, either.
    let again = bench.tiny(&format!("{QUICK} --trials 3 --resume --wait-quiet 3600")).expect(0);
    assert!(!again.stderr.contains("waiting"), "{}", again.stderr);
    let dry = bench.tiny(&format!("{QUICK} --trials 3 --resume --dry-run")).expect(0);
    assert!(dry.stdout.contains("all of them are in out.csv: nothing is left to run"), "{}", dry.stdout);
}

#[test]
fn a_file_that_has_no_rows_is_begun() {
    let header = {
        let bench = Bench::new();
        bench.tiny(QUICK).expect(0);
        read(&bench.path("out.csv")).lines().next().expect("a header").to_owned()
    };
    for content in [None, Some(String::new()), Some(header[..100].into()), Some(header.clone()), Some(header + "\n")] {
        let bench = Bench::new();
        if let Some(content) = &content {
            fs::write(bench.path("out.csv"), content).expect("a file");
        }
        let done = bench.tiny(&format!("{QUICK} --resume --seed 5")).expect(0);
        assert_one_run(&done.rows(), 2);
        assert_eq!(done.rows()[0].text("seed"), "5");
        assert!(done.stderr.contains("2 rows in out.csv, 0 of them"), "{}", done.stderr);
    }
}

#[test]
fn a_cut_row_is_removed_and_its_trial_run_again() {
    let bench = Bench::new();
    bench.tiny(&format!("{QUICK} --trials 3")).expect(0);
    let good = read(&bench.path("out.csv"));
    let last = good.trim_end().rfind('\n').expect("lines") + 1;
    for length in [last + 1, last + 40, good.len() - 1] {
        fs::write(bench.path("out.csv"), &good[..length]).expect("a file");
        let done = bench.tiny(&format!("{QUICK} --trials 3 --resume")).expect(0);
        let told = format!("note: the last line of out.csv was cut ({} bytes", length - last);
        assert!(done.stderr.contains(&told), "{}", done.stderr);
        assert!(read(&bench.path("out.csv")).starts_with(&good[..last]));
        assert_one_run(&done.rows(), 6);
        assert_eq!(trials(&done.rows()), trials(&parse(&good)));
    }
}

#[test]
fn only_the_trials_that_lack_are_run_wherever_they_are() {
    let bench = Bench::new();
    bench.tiny(&format!("{QUICK} --trials 4")).expect(0);
    let good = read(&bench.path("out.csv"));
    let kept: Vec<&str> =
        good.lines().enumerate().filter(|(at, _)| ![2, 7].contains(at)).map(|(_, line)| line).collect();
    let kept = kept.join("\n") + "\n";
    fs::write(bench.path("out.csv"), &kept).expect("a file");
    let done = bench.tiny(&format!("{QUICK} --trials 4 --resume")).expect(0);
    let added = read(&bench.path("out.csv")).strip_prefix(&kept).expect("what was there is unchanged").lines().count();
    assert_eq!(added, 2);
    assert_one_run(&done.rows(), 8);
    assert_eq!(trials(&done.rows()), trials(&parse(&good)));
    let orders: Vec<i64> = done.rows()[6..].iter().map(|row| row.count("order")).collect();
    assert_eq!(orders, [2, 7], "in the order of the plan");

    let done = bench.tiny(&format!("{QUICK} --trials 6 --resume")).expect(0);
    assert_one_run(&done.rows(), 12);
}

#[test]
fn a_trial_that_failed_is_done_and_counts() {
    let bench = Bench::new();
    let args = format!("{QUICK} --trials 2 --round 1 --batch 1,32");
    bench.tiny(&args).expect(1);
    let before = read(&bench.path("out.csv"));
    let done = bench.tiny(&format!("{args} --resume")).expect(1);
    assert_eq!(read(&bench.path("out.csv")), before);
    assert!(done.stderr.contains("4 of 8 trials failed"), "{}", done.stderr);
}

#[test]
fn a_round_that_the_queue_limits_is_the_one_that_was_asked_for() {
    let bench = Bench::new();
    let args = "--backend plain --scenario drain --round 1000 --rcvbuf 100000 --trials 2";
    let rows = bench.tiny(args).expect(0).rows();
    assert!(rows[0].count("round") < 1000, "{}", rows[0].text("round"));
    let done = bench.tiny(&format!("{args} --resume")).expect(0);
    assert!(done.stderr.contains("nothing was left to run: out.csv has all 2 trials"), "{}", done.stderr);
}

#[test]
fn another_plan_is_refused_and_the_file_left_alone() {
    let bench = Bench::new();
    bench.tiny(&format!("{QUICK} --trials 3 --seed 1 --label lab")).expect(0);
    let good = read(&bench.path("out.csv"));
    // Cut, so that it shows if something was removed before the refusal.
    let content = &good[..good.len() - 10];
    fs::write(bench.path("out.csv"), content).expect("a file");
    let same = "--trials 3 --label lab";
    for (args, column) in [
        (format!("{same} --seed 2"), "seed is '1', and '2'"),
        (format!("{same} --batch 16"), "batch is '32', and '16'"),
        (format!("{same} --payload 128"), "payload is '64', and '128'"),
        (format!("{same} --round 512"), "round is '1024', and '512'"),
        (format!("{same} --verify full"), "verify is 'header', and 'full'"),
        (format!("{same} --ring 2048"), "ring is '1024', and '2048'"),
        (format!("{same} --warmup 0.1"), "warmup_s is '0.0', and '0.1'"),
        (format!("{same} --bind 127.0.0.2"), "bind is '127.0.0.1', and '127.0.0.2'"),
        ("--trials 3 --label home".to_owned(), "host is 'lab', and 'home'"),
        ("--trials 2 --label lab".to_owned(), "order is '5', and '1 to 4'"),
    ] {
        let done = bench.tiny(&format!("{QUICK} {args} --resume")).expect(2);
        for word in ["row ", " of out.csv", column, "-o", "--append"] {
            assert!(done.stderr.contains(word), "{args}: {word}: {}", done.stderr);
        }
        assert_eq!((done.stdout.as_str(), read(&bench.path("out.csv")).as_str()), ("", content));
    }

    // Two runs in one file have two plans, even with one seed.
    fs::write(bench.path("out.csv"), &good).expect("a file");
    bench.tiny(&format!("{QUICK} {same} --seed 1 --append")).expect(0);
    let done = bench.tiny(&format!("{QUICK} {same} --resume")).expect(2);
    assert!(done.stderr.contains("row 7 of out.csv") && done.stderr.contains("its run_id is"), "{}", done.stderr);
}

/// Rows of one run in two states would be compared with each other, although they were measured one after the other.
#[test]
fn a_run_in_one_state_is_not_gone_on_with_in_another() {
    let bench = Bench::new();
    bench.tiny(&format!("{QUICK} --trials 2 --state A --pair 3")).expect(0);
    let before = read(&bench.path("out.csv"));
    for (flags, told) in [
        ("--state B --pair 3", "its state is 'A', and 'B' in the plan"),
        ("--state A --pair 4", "its pair is '3', and '4' in the plan"),
        ("", "its state is 'A', and '' in the plan"),
    ] {
        let done = bench.tiny(&format!("{QUICK} --trials 3 {flags} --resume")).expect(2);
        assert!(done.stderr.contains(told), "{flags}: {}", done.stderr);
        assert!(done.stderr.contains("the flags that the run was started with"), "{flags}: {}", done.stderr);
        assert_eq!(read(&bench.path("out.csv")), before, "{flags}: it is left alone");
    }
    let rows = bench.tiny(&format!("{QUICK} --trials 3 --state A --pair 3 --resume")).expect(0).rows();
    assert_one_run(&rows, 6);
    assert!(rows.iter().all(|row| (row.text("state"), row.text("pair")) == ("A", "3")));
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let bench = Bench::new();
    bench.tiny(&format!("{QUICK} --trials 2")).expect(0);
    let good = fs::read(bench.path("out.csv")).expect("it is there");
    let header = good.iter().position(|&byte| byte == b'\n').expect("a header") + 1;
    let second = header + good[header..].iter().position(|&byte| byte == b'\n').expect("a row") + 1;
    let with = |bytes: &[u8]| [&good[..second], bytes, &good[second..]].concat();
    for (content, told) in [
        ([b"scheme", &good[6..]].concat(), "other columns"),
        ([&good[..header - 1], b",more\n"].concat(), "other columns"),
        (b"precious\n".to_vec(), "other columns"),
        (with(b"1,2,3\n"), "line 3 of out.csv is not a row of hpbench: it has 3 fields"),
        (with(b"\xff\xfe\n"), "line 3 of out.csv is not a row of hpbench: it is not UTF-8"),
        (with(&[b'x'; 3 << 20]), "line 3 of out.csv is not a row of hpbench: it is longer"),
        (with(b"\""), "line 3 of out.csv is not a row of hpbench: a quote"),
    ] {
        fs::write(bench.path("out.csv"), &content).expect("a file");
        let done = bench.run(&format!("{QUICK} --trials 2 --resume -o out.csv")).expect(2);
        assert!(done.stderr.contains(told) && done.stderr.contains("another -o"), "{told}: {}", done.stderr);
        assert!(!done.stderr.contains("panicked") && done.stdout.is_empty(), "{}", done.stderr);
        assert!(fs::read(bench.path("out.csv")).is_ok_and(|found| found == content), "{told}: it is left alone");
    }
}

#[test]
fn resume_needs_a_file_of_its_own() {
    let bench = Bench::new();
    for (args, words) in [
        ("--resume", ["--resume", "-o FILE"]),
        ("--resume -o -", ["--resume", "-o FILE"]),
        ("--resume -o out.csv --append", ["--resume", "--append"]),
        ("--resume -o out.csv --force", ["--resume", "--force"]),
        ("--resume -o .", ["--resume", "not a regular file"]),
        ("--resume -o /dev/null", ["/dev/null", "not a regular file"]),
        ("--resume -o nowhere/out.csv", ["nowhere/out.csv", "cannot open"]),
    ] {
        let done = bench.run(&format!("{QUICK} {args}")).expect(2);
        assert!(words.iter().all(|word| done.stderr.contains(word)), "{args}: {}", done.stderr);
        assert!(done.stdout.is_empty() && bench.files().is_empty(), "{args}");
    }
}
