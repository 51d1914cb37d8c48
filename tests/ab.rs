//! `scripts/ab`: alternating runs of two states, and what is left behind.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use common::{Bench, Done, HPBENCH, read};
use rustix::process::{Pid, Signal, kill_process_group};

const AB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ab");

/// Runs that take no time.
const TINY: &str = "--backend null --trials 2 -t 0.001 --warmup 0 --round 32 --batch 8 --no-gates";

/// Runs the script; the commands of both states write to the file `states`.
fn ab(bench: &Bench, args: &str) -> Done {
    let script = format!("HPBENCH={HPBENCH} exec {AB} --a 'echo A >>states' --b 'echo B >>states' {args}");
    bench.run_command(&["bash", "-c", &script])
}

#[test]
fn both_states_have_a_run_in_each_pair_and_the_first_is_restored() {
    let bench = Bench::new();
    let done = ab(&bench, &format!("--pairs 8 --seed 3 -o ab.csv -- {TINY}")).expect(0);
    assert!(done.shows("B against A"), "{}", done.stdout);
    assert!(done.stderr.contains("order by seed 3"), "{}", done.stderr);
    let rows = bench.rows("ab.csv");
    assert_eq!(rows.len(), 8 * 2 * 2, "pairs, states and trials");
    let mut runs: BTreeMap<String, (String, String)> = BTreeMap::new();
    for row in &rows {
        runs.insert(row.text("run_id").into(), (row.text("pair").into(), row.text("state").into()));
    }
    let mut pairs: Vec<(String, String)> = runs.into_values().collect();
    pairs.sort();
    let expected = (1..=8).flat_map(|pair| ["A", "B"].map(|state| (pair.to_string(), state.to_string())));
    assert_eq!(pairs, expected.collect::<Vec<_>>());
    let states = read(&bench.path("states"));
    let (runs, last) = states.trim_end().rsplit_once('\n').expect("more than one");
    assert_eq!(last, "A", "restored at the end");
    let order: Vec<&str> = rows.chunks(2).map(|run| run[0].text("state")).collect();
    assert_eq!(order, runs.lines().collect::<Vec<_>>(), "each run was in its state");
    assert!(order.chunks(2).any(|pair| pair == ["A", "B"]) && order.chunks(2).any(|pair| pair == ["B", "A"]));
    // Runs of two trials are paired and too short; on a busy machine, perhaps none of their trials counts.
    let again = common::parse(&bench.run("compare --by state --format csv ab.csv").expect(0).stdout);
    let says = |row: &common::Row, told: &str| row.text("reason").contains(told);
    assert!(again.len() == 2 && again.iter().all(|row| says(row, "too few trials of a run") || says(row, "values")));
}

/// One of two builds lacks a column that was added since: the file has the columns that both have, whichever is newer.
#[test]
fn builds_with_different_columns_are_compared() {
    let bench = Bench::new();
    bench.tiny("--backend null --scenario drain -o columns.csv").expect(0);
    let text = read(&bench.path("columns.csv"));
    let (ours, _) = text.split_once('\n').expect("a header");
    let (shorter, _) = ours.rsplit_once(',').expect("columns");
    for (edit, header) in [("s/,[^,]*$//", shorter), (r#"1s/$/,later/; 1!s/$/,"a, b"/"#, ours)] {
        let bench = Bench::new();
        // Commands without a file, and dry runs, are passed on.
        let other = format!(
            "#!/usr/bin/env bash\n{HPBENCH} \"$@\" || exit\n\
             for ((at = 1; at < $#; at++)); do [[ ${{!at}} != -o ]] || {{ next=$((at + 1)); file=${{!next}}; }}; done\n\
             [[ ! -e ${{file:-}} ]] || sed -i '{edit}' \"$file\"\n"
        );
        fs::write(bench.path("other"), other).expect("a script");
        let script = format!(
            "chmod +x other; HPBENCH={HPBENCH} exec {AB} --pairs 6 --seed 3 --b-hpbench ./other -o ab.csv -- {TINY} --label 'a, b'"
        );
        let done = bench.run_command(&["bash", "-c", &script]).expect(0);
        assert!(done.shows("B against A"), "{}", done.stdout);
        let rows = bench.rows("ab.csv");
        assert_eq!(rows.len(), 6 * 2 * 2, "pairs, states and trials");
        assert_eq!(read(&bench.path("ab.csv")).lines().next(), Some(header));
        assert!(rows.iter().all(|row| row.text("host") == "a, b"));
        assert_eq!(bench.files(), ["ab.csv", "other"].map(str::to_owned).into(), "no other file is left");
        bench.run("compare --by state ab.csv").expect(0);
    }
}

#[test]
fn a_command_that_fails_ends_it_in_the_first_state() {
    let bench = Bench::new();
    let script = format!(
        "HPBENCH={HPBENCH} exec {AB} --pairs 6 --seed 08 --a 'echo A >>states' --b 'echo B >>states; false' -o ab.csv -- {TINY}"
    );
    let done = bench.run_command(&["bash", "-c", &script]).expect(1);
    assert!(done.stderr.contains("the command of state B failed"), "{}", done.stderr);
    assert_eq!(read(&bench.path("states")).lines().last(), Some("A"));
}

/// The current run would take an hour: it gets the signal, too.
#[test]
fn a_signal_ends_the_run_at_once_and_the_machine_is_in_the_first_state() {
    for (signal, status) in [(Signal::TERM, 143), (Signal::HUP, 143), (Signal::INT, 130)] {
        let bench = Bench::new();
        let temporary = bench.beside("temporary");
        fs::create_dir(&temporary).expect("a directory");
        // Under nohup, say, the tests have inherited that a signal is ignored, which a shell cannot change.
        let script = format!(
            "TMPDIR={} HPBENCH={HPBENCH} exec env --default-signal {AB} --pairs 6 --a 'echo A >>states' --b 'echo B >>states' -o ab.csv -- \
             --backend null --trials 1 -t 3600 --warmup 0 --no-gates",
            temporary.display()
        );
        let mut running = bench.start_command(&["bash", "-c", &script]);
        running.wait_until("the first run has begun", || bench.path("ab.csv").exists());
        match signal {
            // Ctrl-C reaches all processes of a terminal.
            Signal::INT => {
                kill_process_group(Pid::from_raw(running.id()).expect("a process"), signal).expect("they are there");
            }
            _ => running.signal(signal),
        }
        running.wait_at_most(Duration::from_secs(20)).expect(status);
        let states = read(&bench.path("states"));
        let (first, rest) = states.split_once('\n').expect("a run was begun");
        assert!(["A", "B"].contains(&first) && rest == "A\n", "one run, and the first state restored: {states}");
        assert_eq!(fs::read_dir(&temporary).expect("a directory").count(), 0, "no file is left");
        // A run that continued would have the file locked.
        bench.tiny("--backend null --scenario drain --append -o ab.csv").expect(0);
    }
}

#[test]
fn a_finer_question_takes_more_pairs() {
    let bench = Bench::new();
    let tiny = "--backend null --scenario drain --trials 1 -t 0.002 --warmup 0.001";
    for (threshold, pairs) in [("1%", 20), ("0.5%", 50)] {
        let done = ab(&bench, &format!("--threshold {threshold} -o {pairs}.csv -- {tiny}")).expect(0);
        assert!(done.stderr.contains(&format!("{pairs} pairs in")), "{}", done.stderr);
        let numbers: BTreeSet<String> =
            bench.rows(&format!("{pairs}.csv")).iter().map(|row| row.text("pair").to_owned()).collect();
        assert_eq!(numbers.len(), pairs);
    }
}

#[test]
fn bad_usage_runs_nothing() {
    let bench = Bench::new();
    fs::write(bench.path("there.csv"), "").expect("a file");
    for (args, told) in [
        ("--pairs 5", "from 6 to 1000"),
        ("--pairs x", "from 6 to 1000"),
        ("--seed x", "--seed"),
        ("--threshold 3x", "a percentage over 0"),
        ("--threshold 0.0%", "a percentage over 0"),
        ("--threshold 100", "a percentage over 0"),
        ("-o there.csv", "exists"),
        ("--what 1", "unknown option"),
        ("--pairs", "needs a value"),
        ("--b-hpbench nowhere", "not an executable program"),
        ("-- --backend tcp", "run options"),
        ("-- --force", "run options"),
        ("-- --resume", "run options"),
    ] {
        let done = ab(&bench, args).expect(2);
        assert!(done.stderr.contains(told), "{args}: {}", done.stderr);
    }
    let script = format!("HPBENCH={HPBENCH} exec {AB} --a true --b true");
    let done = bench.run_command(&["bash", "-c", &script]).expect(2);
    assert!(done.stderr.contains("are the same"), "{}", done.stderr);
    assert_eq!(bench.files(), ["there.csv".to_owned()].into(), "no command ran, and nothing was written");
}

/// Whatever the verdicts are: each interval is counted once.
#[test]
fn experiments_with_equal_sides_are_counted() {
    let bench = Bench::new();
    let trial = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ab-trial");
    let options = "--backend plain,mmsg --trials 6 -t 0.001 --warmup 0 --round 32 --batch 8 --no-gates";
    let script = format!("HPBENCH={HPBENCH} exec {trial} -n 2 --slow 1000 -- --pairs 6 -- {options}");
    let done = bench.run_command(&["bash", "-c", &script]).expect(0);
    let of = |kind: &str| done.stdout.lines().filter(|line| line.split(' ').nth(1) == Some(kind)).count();
    assert_eq!((of("absolute"), of("relative")), (4, 2), "{}", done.stdout);
    assert!(
        done.stdout.contains("absolute: of 4 intervals, 4 exclude no change"),
        "1 µs more is found: {}",
        done.stdout
    );
    assert!(done.stdout.contains("relative: of 2 intervals, "), "{}", done.stdout);
    for args in ["-n 0", "-n x", "--what", "--slow"] {
        let done = bench.run_command(&["bash", "-c", &format!("HPBENCH={HPBENCH} exec {trial} {args}")]).expect(2);
        assert!(done.stderr.contains("ab-trial: "), "{args}: {}", done.stderr);
    }
}
