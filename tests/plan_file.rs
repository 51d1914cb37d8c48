//! `--plan`: a run whose flags come from a file, and the same run again.

mod common;

use std::fs;

use common::{Bench, read};

#[test]
fn a_plan_is_run_and_what_is_on_the_command_line_wins() {
    let bench = Bench::new();
    let plan = "backend = \"null\"\nscenario = [\"drain\", \"send\"]\nbatch = \"1..4\"\npackets = 1\nwarmup = \"0ms\"\ntime = 9\n";
    fs::write(bench.path("plan.toml"), plan).expect("a file");
    let rows = bench.run("--plan plan.toml --scenario drain --trials 2 --no-gates -o out.csv").expect(0).rows();
    let mut batches: Vec<i64> = rows.iter().map(|row| row.count("batch")).collect();
    batches.sort_unstable();
    assert_eq!(batches, [1, 1, 2, 2, 4, 4]);
    assert!(rows.iter().all(|row| row.text("scenario") == "drain"));
    let command = "hpbench --backend null --scenario drain --batch 1..4 --trials 2 --packets 1 --warmup 0ms \
        --no-gates";
    assert_eq!(rows[0].text("command"), command);
}

#[test]
fn the_command_of_an_earlier_run_is_taken_from_its_rows() {
    let bench = Bench::new();
    let flags = "--backend null,null:all --scenario send,drain --batch 1,8 --payload 100..200 --packets 1 --warmup 0 --trials 2";
    let first = bench.run(&format!("{flags} --label a -o out.csv --no-gates --seed 5")).expect(0).rows();
    let again = bench.run("--plan out.csv -o again.csv").expect(0);
    let cells = |rows: &[common::Row]| {
        rows.iter()
            .map(|row| format!("{} {} {}", row.name(), row.text("seed"), row.text("command")))
            .collect::<Vec<_>>()
    };
    assert_eq!(cells(&bench.rows("again.csv")), cells(&first), "{}", again.stderr);
    assert_ne!(bench.rows("again.csv")[0].text("run_id"), first[0].text("run_id"));

    // More of the same is the same command; another one is refused.
    bench.run("--plan out.csv -o again.csv --append").expect(0);
    bench.run("--plan again.csv -o third.csv").expect(0);
    bench.run("--plan out.csv --batch 2 -o again.csv --append").expect(0);
    let done = bench.run("--plan again.csv -o fourth.csv").expect(2);
    assert!(
        done.stderr.contains("runs of different commands") && done.stderr.contains("--batch 1,8"),
        "{}",
        done.stderr
    );
    assert!(!bench.path("fourth.csv").exists());
}

#[test]
fn a_run_that_is_gone_on_with_has_the_command_of_its_last_rows() {
    let bench = Bench::new();
    let flags = "--backend null --scenario send --packets 1 --warmup 0 --no-gates";
    bench.run(&format!("{flags} --trials 1 -o out.csv")).expect(0);
    bench.run(&format!("{flags} --trials 3 -o out.csv --resume")).expect(0);
    bench.run("--plan out.csv -o again.csv").expect(0);
    assert_eq!(bench.rows("again.csv").len(), 3);
    // A run that was killed leaves half a row.
    let text = read(&bench.path("out.csv"));
    fs::write(bench.path("out.csv"), &text[..text.len() - 20]).expect("a file");
    bench.run("--plan out.csv --trials 1 -o third.csv").expect(0);
}

#[test]
fn what_is_no_plan_is_refused_and_nothing_is_run() {
    let bench = Bench::new();
    fs::write(bench.path("plan.toml"), "bacth = 8\n").expect("a file");
    fs::write(bench.path("lab.toml"), "scenario = 'echo'\n").expect("a file");
    for (args, told) in [
        ("--plan plan.toml", "plan.toml: 'bacth' is no flag of a run; did you mean 'batch'?"),
        ("--plan nowhere.toml", "nowhere.toml: cannot open it"),
        ("lab --kernel 6.1 --plan plan.toml", "did you mean 'batch'?"),
        ("lab --kernel 6.1 --plan lab.toml", "--scenario echo needs a worker and a generator"),
    ] {
        let done = bench.run(args).expect(2);
        assert!(done.stderr.contains(told), "{args}: {}", done.stderr);
        assert_eq!((done.stdout.as_str(), bench.files().len()), ("", 2), "{args}");
    }
}
