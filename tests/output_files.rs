//! Output files that something else uses at the same time, that vanish while they are written, or that are one file
//! under two names: no row is lost, and a refused command has changed nothing.

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use common::{Bench, Done, Row, needs, read, rows, tiny};
use rustix::process::Signal;

/// The shortest run.
const QUICK: &str = "--backend null --scenario drain,send --packets 1 --warmup 0";

/// A run that does not end within the time limit of tests.
const ENDLESS: &str = "--backend null --scenario drain -t 0.02 --warmup 0 --trials 10000 --no-gates";

/// A run of [`ROWS`] trials that continues for a while after its first rows.
const SOME: &str = "--backend null --scenario drain -t 0.02 --warmup 0 --trials 40 --no-gates --seed 1";
const ROWS: usize = 40;

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// Fails unless these are the rows of this many trials, one for each.
#[track_caller]
fn assert_trials(rows: &[Row], count: usize) {
    let mut orders: Vec<i64> = rows.iter().map(|row| row.count("order")).collect();
    orders.sort_unstable();
    assert_eq!(orders, (1..=count as i64).collect::<Vec<_>>());
    rows.iter().for_each(common::assert_balanced);
}

#[test]
fn a_second_run_that_would_write_to_the_same_file_is_refused() {
    let how = ["--append", "--resume", "--force"];
    for first in how {
        let bench = Bench::new();
        let path = bench.path("out.csv");
        let mut running = bench.start(&format!("{ENDLESS} {first} -o out.csv --hlog run.hlog"));
        running.wait_until("two rows came", || lines(&path) >= 3);
        for second in how {
            let done = running.meanwhile(&format!("{ENDLESS} {second} -o out.csv")).expect(2);
            assert!(
                done.stderr.contains("another run") && done.stderr.contains("out.csv"),
                "{second}: {}",
                done.stderr
            );
        }
        running.meanwhile(&format!("{QUICK} -o out.csv")).expect(2);
        let log = running.meanwhile(&format!("{QUICK} --trials 1 -o other.csv --append --hlog run.hlog")).expect(2);
        assert!(log.stderr.contains("another run") && log.stderr.contains("run.hlog"), "{}", log.stderr);
        assert!(!bench.path("other.csv").exists(), "a command that is refused leaves nothing");
        // Reading is no writing.
        running.meanwhile(&format!("{ENDLESS} --resume -o out.csv --dry-run")).expect(0);
        let payloads = (32..2048).map(|payload| payload.to_string()).collect::<Vec<_>>().join(",");
        let plan =
            running.meanwhile(&format!("--dry-run --backend null --scenario drain --payload {payloads}")).expect(0);
        assert!(plan.stdout.len() > 1 << 16, "more than a pipe holds comes whole: {}", plan.stdout.len());
        running.signal(Signal::INT);
        let done = running.wait().expect(130);
        assert_trials(&done.rows(), done.rows().len());
        assert!(done.stderr.contains(&format!("{} rows in out.csv", done.rows().len())), "{}", done.stderr);
        bench.run(&format!("{QUICK} --trials 1 --append -o out.csv --hlog run.hlog")).expect(0);
    }
}

type Damage = fn(&Bench);

/// What may happen to a file in the middle of a run.
const DAMAGES: [(&str, Damage); 6] = [
    ("was removed or renamed", |bench| fs::remove_file(bench.path("out.csv")).expect("it is there")),
    ("was removed or renamed", |bench| fs::rename(bench.path("out.csv"), bench.path("old.csv")).expect("it is there")),
    ("was truncated", |bench| fs::write(bench.path("out.csv"), "").expect("it is there")),
    ("was truncated", |bench| {
        let file = OpenOptions::new().write(true).open(bench.path("out.csv")).expect("it is there");
        file.set_len(100).expect("it is longer");
    }),
    ("was replaced", |bench| {
        fs::copy(bench.path("out.csv"), bench.path("copy.csv")).expect("it is there");
        fs::rename(bench.path("copy.csv"), bench.path("out.csv")).expect("it is there");
    }),
    ("was written to", |bench| {
        let mut file = OpenOptions::new().append(true).open(bench.path("out.csv")).expect("it is there");
        file.write_all(b"a note that ends nowhere").expect("there is room");
    }),
];

/// Damages the file once it has this many lines, and returns the result of the run.
fn damaged(bench: &Bench, args: &str, at_lines: usize, damage: Damage) -> Done {
    let mut running = bench.start(args);
    running.wait_until("some rows came", || lines(&bench.path("out.csv")) > at_lines);
    damage(bench);
    running.wait()
}

#[test]
fn a_file_that_vanishes_in_the_middle_of_a_run_costs_no_row() {
    for (told, damage) in DAMAGES {
        let bench = Bench::new();
        let done = damaged(&bench, &format!("{SOME} -o out.csv"), 3, damage).expect(1);
        assert!(done.stderr.contains(&format!("out.csv {told}")), "{told}: {}", done.stderr);
        assert!(done.stderr.contains(&format!("{ROWS} rows in out.rescued.csv")), "{}", done.stderr);
        assert_trials(&bench.rows("out.rescued.csv"), ROWS);
        assert!(done.shows(&format!("{ROWS} trials")), "the table is of all rows: {}", done.stdout);
    }
}

/// A change that leaves the length as it is.
#[test]
fn a_file_that_is_overwritten_in_part_is_told_of_and_costs_no_row() {
    for (at, how) in [(10, ""), (2000, ""), (2000, "--append")] {
        let bench = Bench::new();
        if !how.is_empty() {
            bench.tiny(QUICK).expect(0);
        }
        let begun = lines(&bench.path("out.csv"));
        let mut running = bench.start(&format!("{SOME} -o out.csv {how}"));
        running.wait_until("some rows came", || lines(&bench.path("out.csv")) > begun + 3);
        let file = OpenOptions::new().write(true).open(bench.path("out.csv")).expect("it is there");
        let end = fs::metadata(bench.path("out.csv")).expect("it is there").len();
        let at = if how.is_empty() { at } else { end - 100 };
        file.write_all_at(&[0; 50], at).expect("it has room");
        let done = running.wait().expect(1);
        assert!(done.stderr.contains("out.csv was overwritten in part"), "{}", done.stderr);
        assert!(done.stderr.contains("40 rows in out.rescued.csv"), "{}", done.stderr);
        assert_trials(&bench.rows("out.rescued.csv"), ROWS);
    }
}

#[test]
fn a_file_of_standard_output_that_is_truncated_is_told_of_and_costs_no_row() {
    for append in [false, true] {
        let bench = Bench::new();
        let path = bench.path("out.csv");
        let stdout = OpenOptions::new().create(true).write(true).append(append).open(&path).expect("a file");
        let mut running = bench.start_to(&format!("{SOME} -o -"), stdout.into());
        running.wait_until("some rows came", || lines(&path) > 5);
        fs::write(&path, "").expect("it is there");
        let done = running.wait().expect(1);
        assert!(done.stderr.contains("was truncated") && done.stderr.contains("stdout.rescued.csv"), "{}", done.stderr);
        assert_trials(&bench.rows("stdout.rescued.csv"), ROWS);
    }
}

#[test]
fn a_plan_is_no_output() {
    let bench = Bench::new();
    let plan = "backend = 'null'\nscenario = 'drain'\npackets = 1\nwarmup = 0\ntrials = 2\nno-gates = true\n";
    fs::write(bench.path("plan.toml"), plan).expect("a file");
    fs::hard_link(bench.path("plan.toml"), bench.path("hard")).expect("a link");
    for args in
        ["-o plan.toml --force", "-o hard --force", "-o new.csv --hlog hard --force", "--hlog plan.toml --append"]
    {
        let done = bench.run(&format!("--plan plan.toml {args}")).expect(2);
        assert!(done.stderr.contains("--plan plan.toml are one file"), "{args}: {}", done.stderr);
        assert_eq!(read(&bench.path("plan.toml")), plan, "{args}");
    }
    // The rows of a run may be the plan of the same file, unless they would be lost.
    bench.run("--plan plan.toml -o run.csv").expect(0);
    bench.run("--plan run.csv -o run.csv --append").expect(0);
    bench.run("--plan run.csv -o run.csv --force").expect(2);
    assert_eq!(bench.rows("run.csv").len(), 4);
}

#[test]
fn a_report_replaces_no_file_that_a_run_writes_to() {
    let bench = rows::bench("other.csv", &rows::text(&rows::backends()));
    let mut running = bench.start(&format!("{ENDLESS} -o out.csv"));
    running.wait_until("some rows came", || lines(&bench.path("out.csv")) > 3);
    symlink("out.csv", bench.path("soft.html")).expect("a link");
    for out in ["out.csv", "soft.html"] {
        let done = running.meanwhile(&format!("report other.csv -o {out} --force")).expect(2);
        assert!(done.stderr.contains("another run of hpbench writes to"), "{}", done.stderr);
    }
    running.signal(Signal::INT);
    let done = running.wait().expect(130);
    assert_trials(&done.rows(), done.rows().len());
}

#[test]
fn a_run_that_is_gone_on_with_keeps_what_was_there_before() {
    let bench = Bench::new();
    let mut running = bench.start(&format!("{SOME} -o out.csv"));
    running.wait_until("some rows came", || lines(&bench.path("out.csv")) > 5);
    running.signal(Signal::KILL);
    running.wait().expect(-9);
    fs::write(bench.path("out.rescued.csv"), "precious").expect("a file");
    let begun = read(&bench.path("out.csv"));
    for (told, damage) in DAMAGES {
        fs::write(bench.path("out.csv"), &begun).expect("it is ours");
        let done = damaged(&bench, &format!("{SOME} -o out.csv --resume"), 12, damage).expect(1);
        assert!(done.stderr.contains(told) && done.stderr.contains("40 rows in out.rescued-2.csv"), "{}", done.stderr);
        assert_trials(&bench.rows("out.rescued-2.csv"), ROWS);
        assert_eq!(read(&bench.path("out.rescued.csv")), "precious");
        fs::remove_file(bench.path("out.rescued-2.csv")).expect("it is there");
    }
    // The replacement may vanish, too; and the directory of either.
    let bench = Bench::new();
    fs::create_dir(bench.path("results")).expect("a directory");
    let mut running = bench.start(&format!("{SOME} -o results/out.csv"));
    running.wait_until("some rows came", || lines(&bench.path("results/out.csv")) > 5);
    fs::remove_dir_all(bench.path("results")).expect("it is there");
    running.wait_until("another file is there", || lines(&bench.path("out.rescued.csv")) > 5);
    fs::remove_file(bench.path("out.rescued.csv")).expect("it is there");
    let done = running.wait().expect(1);
    assert_trials(&bench.rows("out.rescued.rescued.csv"), ROWS);
    assert!(done.stderr.contains("40 rows in out.rescued.rescued.csv"), "{}", done.stderr);
}

#[test]
fn a_log_of_histograms_that_vanishes_is_told_of_and_the_rows_are_kept() {
    let bench = Bench::new();
    let mut running = bench.start(&format!("{SOME} -o out.csv --hlog run.hlog"));
    running.wait_until("some rows came", || lines(&bench.path("out.csv")) > 3);
    fs::remove_file(bench.path("run.hlog")).expect("it is there");
    let done = running.wait().expect(1);
    assert!(
        done.stderr.contains("run.hlog was removed") && done.stderr.contains("run.rescued.hlog"),
        "{}",
        done.stderr
    );
    assert!(bench.path("run.rescued.hlog").exists());
    assert_trials(&done.rows(), ROWS);
}

#[test]
fn a_command_that_is_refused_has_changed_nothing() {
    let bench = Bench::new();
    bench.tiny(QUICK).expect(0);
    let before = read(&bench.path("out.csv"));
    for (args, told) in [
        ("--force --hlog /nonexistent/x", "/nonexistent/x"),
        ("--append --hlog /nonexistent/x", "/nonexistent/x"),
        ("--append --hlog text", "not an interval log"),
        ("--force --hlog .", "directory"),
    ] {
        fs::write(bench.path("text"), "precious\n").expect("a file");
        let done = bench.tiny(&format!("{QUICK} {args}")).expect(2);
        assert!(done.stderr.contains(told), "{args}: {}", done.stderr);
        assert_eq!(read(&bench.path("out.csv")), before, "{args}");
        assert_eq!(read(&bench.path("text")), "precious\n", "{args}");
        let new = args.replace("--force", "").replace("--append", "");
        bench.tiny(&format!("{QUICK} -o new.csv {new}")).expect(2);
        assert!(!bench.path("new.csv").exists(), "the command can be corrected: {new}");
        symlink("new.csv", bench.path("link")).expect("a link");
        bench.tiny(&format!("{QUICK} -o link {new}")).expect(2);
        assert!(bench.path("link").is_symlink() && !bench.path("new.csv").exists(), "nor what a link leads to");
        fs::remove_file(bench.path("link")).expect("it is there");
    }
}

#[test]
fn no_output_of_a_run_is_another_one() {
    let bench = Bench::new();
    bench.tiny(QUICK).expect(0);
    let before = read(&bench.path("out.csv"));
    fs::create_dir(bench.path("sub")).expect("a directory");
    fs::hard_link(bench.path("out.csv"), bench.path("hard.csv")).expect("a link");
    symlink("out.csv", bench.path("soft.csv")).expect("a link");
    symlink("../new.csv", bench.path("sub/new")).expect("a link");
    for (out, hlog) in [
        ("out.csv", "./out.csv"),
        ("out.csv", "hard.csv"),
        ("soft.csv", "sub/../hard.csv"),
        ("new.csv", "./new.csv"),
        ("new.csv", "sub/new"),
    ] {
        for how in ["--force", "--append"] {
            let done = bench.tiny(&format!("{QUICK} {how} -o {out} --hlog {hlog}")).expect(2);
            let told = format!("-o {out} and --hlog {hlog} are one file");
            assert!(done.stderr.contains(&told), "{told}: {}", done.stderr);
            assert_eq!(read(&bench.path("out.csv")), before, "{out} {hlog}");
        }
    }
    // Standard output has the table, or the rows.
    for (args, status) in [("--append -o out.csv", 2), ("-o - --append --hlog out.csv", 2), ("-o -", 0)] {
        let stdout = OpenOptions::new().append(true).open(bench.path("out.csv")).expect("it is there");
        let done = bench.start_to(&tiny(&format!("{QUICK} {args}")), stdout.into()).wait().expect(status);
        assert!(status == 0 || done.stderr.contains("standard output and"), "{args}: {}", done.stderr);
        assert_eq!(read(&bench.path("out.csv")) == before, status == 2, "{args}");
    }
    bench.tiny(&format!("{QUICK} -o /dev/null --hlog /dev/null")).expect(0);
}

#[test]
fn an_interrupted_command_is_gone_on_with_over_its_own_log_of_histograms() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let args =
        "--backend plain --scenario echo -t 0.01 --warmup 0 --trials 12 --no-gates -o out.csv --hlog run.hlog --resume";
    let mut running = bench.start(args);
    running.wait_until("some rows came", || lines(&bench.path("out.csv")) > 3);
    running.signal(Signal::KILL);
    running.wait().expect(-9);
    let before = read(&bench.path("run.hlog"));
    // As a kill in the middle of a line leaves it.
    fs::write(bench.path("run.hlog"), format!("{before}Tag=half,1.0")).expect("it is there");
    bench.run(args).expect(0);
    let after = read(&bench.path("run.hlog"));
    assert!(after.starts_with(&before) && !after.contains("Tag=half"), "{} bytes", after.len());
    let tags = |text: &str| text.lines().filter(|line| line.starts_with("Tag=")).count();
    // A kill between the row and its histogram loses the histogram.
    assert!([11, 12].contains(&tags(&after)) && tags(&before) < tags(&after));
    assert_eq!(after.matches("#[BaseTime: ").count(), 2, "each part has the time that its times count from");
    assert_trials(&bench.rows("out.csv"), 12);
    // A complete file has nothing to add.
    bench.run(args).expect(0);
    assert!(read(&bench.path("run.hlog")) == after, "nothing is added");
}

#[test]
fn a_dry_run_of_a_file_tells_what_is_left_of_its_plan() {
    let bench = Bench::new();
    bench.tiny(&format!("{QUICK} --trials 3 --seed 1")).expect(0);
    let good = read(&bench.path("out.csv"));
    let kept = good.lines().take(5).collect::<Vec<_>>().join("\n") + "\n";
    for (content, told) in [
        (good.clone(), "all of them are in out.csv: nothing is left to run"),
        (kept.clone(), "4 of them are in out.csv: 2 trials are left"),
        (kept.clone() + "1,2", "4 of them are in out.csv: 2 trials are left; its last line is cut (3 bytes"),
        (String::new(), "0 of them are in out.csv: 6 trials are left"),
    ] {
        fs::write(bench.path("out.csv"), &content).expect("a file");
        let done = bench.tiny(&format!("{QUICK} --trials 3 --resume --dry-run")).expect(0);
        assert!(done.stdout.contains("2 cells × 3 trials = 6 trials") && done.stdout.contains(told), "{}", done.stdout);
        assert_eq!(read(&bench.path("out.csv")), content, "nothing is changed");
    }
    fs::write(bench.path("out.csv"), &kept).expect("a file");
    let done =
        bench.run("--backend null --scenario drain,send --trials 3 -t 1 --warmup 0 -o out.csv --resume --dry-run");
    assert!(done.expect(2).stderr.contains("its duration_target_s is ''"), "of another plan");
    let done = bench.tiny(&format!("{QUICK} --trials 3 --resume --dry-run --batch 8")).expect(2);
    assert!(done.stderr.contains("its batch is '32', and '8'") && done.stdout.is_empty(), "{}", done.stderr);
    fs::remove_file(bench.path("out.csv")).expect("it is there");
    let timed = "--backend null --scenario drain --trials 4 -t 0.975 --warmup 0 -o out.csv --resume --dry-run";
    let done = bench.run(timed).expect(0);
    assert!(done.stdout.contains("0 of them are in out.csv: 4 trials are left, about 4 s"), "{}", done.stdout);
    assert!(!bench.path("out.csv").exists());
}

/// Fails unless these words are refused with this message, and `run.csv` stays as it is.
#[track_caller]
fn assert_refused(bench: &Bench, words: &str, told: &str) {
    let before = read(&bench.path("run.csv"));
    let done = bench.run(words).expect(2);
    assert!(done.stderr.contains(told), "{words}: {}", done.stderr);
    assert!(done.stdout.is_empty() && read(&bench.path("run.csv")) == before, "{words}");
}

#[test]
fn no_output_of_a_report_is_an_input_or_another_one() {
    let bench = rows::bench("run.csv", &rows::text(&rows::backends()));
    fs::hard_link(bench.path("run.csv"), bench.path("hard.csv")).expect("a link");
    symlink("run.csv", bench.path("soft.html")).expect("a link");
    for out in ["run.csv", "./run.csv", "hard.csv", "soft.html"] {
        assert_refused(
            &bench,
            &format!("report run.csv -o {out} --force"),
            &format!("-o {out} and run.csv are one file"),
        );
    }
    // A chart may also have such a name.
    bench.run("report run.csv -o page.html --svg charts").expect(0);
    let charts = fs::read_dir(bench.path("charts")).expect("a directory").map(|entry| entry.expect("an entry").path());
    let chart = charts.min().expect("some charts");
    let name = chart.file_name().expect("a name").to_string_lossy().into_owned();
    assert_refused(&bench, &format!("report run.csv -o charts/{name} --svg charts --force"), "are one file");
    fs::remove_file(&chart).expect("it is there");
    assert_refused(&bench, &format!("report run.csv -o charts/{name} --svg charts --force"), "are one file");
    fs::hard_link(bench.path("run.csv"), &chart).expect("a link");
    assert_refused(&bench, "report run.csv -o page.html --svg charts --force", "run.csv are one file");
    for (words, named) in [
        ("report run.csv -o new.html", "run.csv"),
        ("report run.csv -o -", "run.csv"),
        ("compare --by backend run.csv", "run.csv"),
        ("compare --base-files run.csv --new-files page.html", "--base-files run.csv"),
        ("compare --base-files page.html --new-files run.csv", "--new-files run.csv"),
    ] {
        let before = read(&bench.path("run.csv"));
        let stdout = OpenOptions::new().append(true).open(bench.path("hard.csv")).expect("it is there");
        let done = bench.start_to(words, stdout.into()).wait().expect(2);
        let told = format!("standard output and {named} are one file");
        assert!(done.stderr.contains(&told), "{words}: {}", done.stderr);
        assert_eq!(read(&bench.path("run.csv")), before, "{words}");
    }
}

#[test]
fn no_output_of_a_lab_is_a_kernel() {
    let bench = Bench::new();
    let mut kernel = vec![0; 0x300];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    fs::write(bench.path("bzImage"), &kernel).expect("a file");
    fs::create_dir(bench.path("out.consoles")).expect("a directory");
    fs::hard_link(bench.path("bzImage"), bench.path("out.consoles/bzImage.log")).expect("a link");
    for out in ["./bzImage", "out.csv"] {
        let done = bench.run(&format!("lab --kernel bzImage -o {out} --force")).expect(2);
        assert!(done.stderr.contains("--kernel bzImage are one file"), "{}", done.stderr);
        assert_eq!(fs::read(bench.path("bzImage")).expect("it is there"), kernel);
    }
}

#[test]
fn a_report_that_cannot_be_written_has_replaced_no_chart() {
    let bench = rows::bench("run.csv", &rows::text(&rows::backends()));
    bench.run("report run.csv -o page.html --svg charts").expect(0);
    let charts = || -> Vec<_> {
        let entries = fs::read_dir(bench.path("charts")).expect("a directory").map(|entry| entry.expect("an entry"));
        let mut charts: Vec<_> = entries.map(|entry| entry.path()).collect();
        charts.sort();
        charts
    };
    for chart in charts() {
        fs::write(chart, "precious").expect("it is there");
    }
    let before = charts();
    bench.run("report run.csv -o nowhere/page.html --svg charts --force").expect(1);
    assert_eq!(charts(), before, "nothing is left behind");
    assert!(charts().iter().all(|chart| read(chart) == "precious"));
}
