//! `scripts/sweep-batch` and `scripts/sweep-load`: what they leave behind, whether they succeed or fail.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{Bench, Done, HPBENCH, assert_balanced, needs, read};
use rustix::process::{Pid, Signal, kill_process_group};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");

/// Options for hpbench under which a sweep takes seconds.
const TINY: &str = "--trials 6 -t 0.005 --warmup 0.001 --payload 64 --no-gates";

/// The first line of a recorded command that builds hpbench.
const BUILD_LINE: &str = "cargo build --release --locked --bin hpbench --target-dir target &&\n";

/// A directory with the scripts, which leave their `results/` in it.
fn bench() -> Bench {
    let bench = Bench::new();
    let scripts = bench.path("scripts");
    fs::create_dir(&scripts).expect("a directory");
    for name in ["common.bash", "sweep.bash", "sweep-batch", "sweep-load", "compare-kernels"] {
        fs::copy(Path::new(SCRIPTS).join(name), scripts.join(name)).expect("a script");
    }
    bench
}

/// A command that runs a script with `args`, split at spaces.
fn words<'a>(hpbench: &'a str, args: &'a str) -> Vec<&'a str> {
    ["env", hpbench].into_iter().chain(args.split_whitespace()).collect()
}

fn run(bench: &Bench, args: &str) -> Done {
    bench.run_command(&words(&format!("HPBENCH={HPBENCH}"), args))
}

/// The files in a folder under `results/`; none if it does not exist.
fn files(bench: &Bench, folder: &str) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(bench.path("results").join(folder)) else { return BTreeSet::new() };
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Fails unless the folder has everything, and says which command made it.
fn assert_whole(bench: &Bench, folder: &str) {
    let expected: BTreeSet<String> =
        ["command", "comparison.txt", "env.json", "report.html", "run.csv", "table.txt"].map(str::to_owned).into();
    let found = files(bench, folder);
    assert!(found.is_superset(&expected), "{found:?}");
    let path = |name: &str| bench.path("results").join(folder).join(name);
    let comparison = read(&path("comparison.txt"));
    assert!(comparison.contains("against") && comparison.contains("verdict"), "{comparison}");
    let json: serde_json::Value = serde_json::from_str(&read(&path("env.json"))).expect("env.json is JSON");
    assert!(json["date"].as_str().is_some_and(|date| date.ends_with('Z')), "{json}");
    assert!(json["git"].is_string() && json["rustc"].is_string(), "{json}");
    assert!(json["doctor"]["machine"]["kernel"].is_string() && json["doctor"]["verdict"].is_object(), "{json}");
    let command: Vec<&str> =
        json["command"].as_array().expect("a list").iter().filter_map(|word| word.as_str()).collect();
    let recorded = read(&path("command"));
    let recorded = recorded.trim_end();
    // A program that is built here is built first, on a line of its own.
    let recorded = recorded.strip_prefix(BUILD_LINE).unwrap_or(recorded);
    assert_eq!(recorded, command.join(" "), "none of these words needs quotes");
}

#[test]
fn a_sweep_over_batches_leaves_everything_and_its_command_can_be_given_again() {
    let bench = bench();
    let args = format!("scripts/sweep-batch -n tiny -- {TINY} --backend {} --batch 1,8", needs::backends());
    let done = run(&bench, &args).expect(0);
    let table = read(&bench.path("results/tiny/table.txt"));
    assert!(table.contains("drain") && done.shows(&table), "{}", done.stdout);
    assert!(done.stderr.contains("everything is in results/tiny"), "{}", done.stderr);
    assert!(done.stderr.contains("× 6 trials"), "how long it takes is told: {}", done.stderr);
    assert_whole(&bench, "tiny");
    let rows = bench.rows("results/tiny/run.csv");
    rows.iter().for_each(assert_balanced);
    let backends = needs::backends().split(',').count();
    assert_eq!(rows.len(), 2 * backends * 2 * 6);

    let again = run(&bench, &args).expect(2);
    assert!(again.stderr.contains("results/tiny exists"), "{}", again.stderr);

    let command = ["bash", "results/tiny/command"];
    bench.run_command(&command).expect(0);
    assert_eq!(bench.rows("results/tiny/run.csv").len(), rows.len(), "all are there");
    fs::remove_file(bench.path("results/tiny/run.csv")).expect("it is there");
    bench.run_command(&command).expect(0);
    assert_eq!(bench.rows("results/tiny/run.csv").len(), rows.len());
}

#[test]
fn a_sweep_over_loads_finds_its_rates_or_takes_those_that_are_named() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = bench();
    run(&bench, &format!("scripts/sweep-load -n found -- {TINY} --trials 1 --backend plain,mmsg")).expect(0);
    assert_whole(&bench, "found");
    assert!(files(&bench, "found").contains("flood.csv"));
    let rates: BTreeSet<i64> = bench.rows("results/found/run.csv").iter().map(|row| row.count("rate_pps")).collect();
    assert_eq!(rates.len(), 14);
    let (least, most) = (rates.first().expect("14"), rates.last().expect("14"));
    assert!((most / least - 60).abs() <= 1, "from 2% to 120%: {rates:?}");
    let received = bench.rows("results/found/flood.csv").iter().map(|row| row.number("rx_pps")).fold(0.0, f64::max);
    assert!((*most as f64 / received - 1.2).abs() < 0.01, "{rates:?} of {received}");

    run(&bench, &format!("scripts/sweep-load -n named -- {TINY} --backend plain,mmsg --rate 1000,2000")).expect(0);
    assert_whole(&bench, "named");
    assert!(!files(&bench, "named").contains("flood.csv"));
    let rates: BTreeSet<i64> = bench.rows("results/named/run.csv").iter().map(|row| row.count("rate_pps")).collect();
    assert_eq!(rates, BTreeSet::from([1000, 2000]));
}

#[test]
fn a_sweep_over_loads_takes_no_part_of_a_label_for_a_rate() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = bench();
    let hpbench = format!("HPBENCH={HPBENCH}");
    let args = format!("scripts/sweep-load -n labelled -- {TINY} --trials 1 --backend plain,mmsg --label");
    // A line of a label would have a large number in place of the rate, and is refused; so a label has one line, with
    // such a number.
    let label = format!("a label{},1000000000000", ",".repeat(33));
    bench.run_command(&[words(&hpbench, &args), vec![&label]].concat()).expect(0);
    let rates: BTreeSet<i64> = bench.rows("results/labelled/run.csv").iter().map(|row| row.count("rate_pps")).collect();
    assert_eq!(rates.len(), 14, "{rates:?}");
    let received = bench.rows("results/labelled/flood.csv").iter().map(|row| row.number("rx_pps")).fold(0.0, f64::max);
    let most = *rates.last().expect("14");
    assert!((most as f64 / received - 1.2).abs() < 0.01, "{rates:?} of {received}");
}

#[test]
fn a_signal_keeps_what_was_measured_and_the_run_can_be_gone_on_with() {
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let bench = bench();
        let args = format!("scripts/sweep-batch -n cut -- {TINY} -t 0.05 --backend plain,mmsg --batch 1,8");
        let hpbench = format!("HPBENCH={HPBENCH}");
        let mut running = bench.start_command(&words(&hpbench, &args));
        let csv = bench.path("results/cut/run.csv");
        running.wait_until("three rows came", || fs::read_to_string(&csv).unwrap_or_default().lines().count() > 3);
        match signal {
            // To the script only, which has to pass it on.
            Signal::TERM => running.signal(signal),
            // As a terminal does it.
            _ => kill_process_group(Pid::from_raw(running.id()).expect("a process"), signal).expect("they are there"),
        }
        let done = running.wait().expect(status);
        assert!(done.stderr.contains("resume with: scripts/sweep-batch --resume -n cut"), "{}", done.stderr);
        let rows = bench.rows("results/cut/run.csv").len();
        assert!((3..48).contains(&rows), "{rows} rows");

        let refused = run(&bench, &args).expect(2);
        assert!(refused.stderr.contains("--resume"), "{}", refused.stderr);
        run(&bench, "scripts/sweep-batch --resume -n cut").expect(0);
        assert_whole(&bench, "cut");
        assert_eq!(bench.rows("results/cut/run.csv").len(), 48);
    }
}

#[test]
fn bad_usage_is_refused_and_leaves_nothing() {
    let bench = bench();
    for (args, told) in [
        ("--batch 1", "come after --"),
        ("-n", "needs a name"),
        ("-n ../up", "letters, digits"),
        ("-n -x", "letters, digits"),
        ("-n .", "letters, digits"),
        ("-- --batch 0", "from 1 to 1024"),
        ("-- -o other.csv", "-o cannot be given"),
        ("-- --dry-run", "--dry-run cannot be given"),
        ("-- --hlog x.hlog", "--hlog cannot be given"),
        ("-- --help", "--help cannot be given"),
        ("-- --version", "--version cannot be given"),
        ("--resume", "no run in results/"),
        ("--resume -n none", "no run in results/none"),
        ("--resume -n none -- --batch 1", "recorded command"),
    ] {
        for script in ["sweep-batch", "sweep-load"] {
            let done = run(&bench, &format!("scripts/{script} {args}")).expect(2);
            assert!(done.stderr.contains(told), "{script} {args}: {}", done.stderr);
            assert_eq!(done.stdout, "");
            assert!(!bench.path("results").exists(), "{script} {args}");
        }
    }
    let done = bench.run_command(&words("HPBENCH=./none", "scripts/sweep-batch")).expect(2);
    assert!(done.stderr.contains("not an executable program"), "{}", done.stderr);
}

#[test]
fn help_is_shown_wherever_the_script_is_started_from() {
    let bench = bench();
    for (script, word) in [("sweep-batch", "batches of 1 to 256"), ("sweep-load", "flood"), ("compare-kernels", "QEMU")]
    {
        let start = format!("cd results-are-not-here && exec ../scripts/{script} --help");
        fs::create_dir_all(bench.path("results-are-not-here")).expect("a directory");
        let done = bench.run_command(&["bash", "-c", &start]).expect(0);
        for word in [word, "Usage:", "-n NAME", "results/", "Exit status"] {
            assert!(done.stdout.contains(word), "{word}: {}", done.stdout);
        }
        assert!(!done.stdout.contains("set -"), "{}", done.stdout);
    }
}

/// Creates a program from lines of shell.
fn program(file: &Path, lines: &str) {
    fs::write(file, format!("#!/bin/sh\n{lines}\n")).expect("a file");
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("a file of ours");
}

/// Creates a stand-in for hpbench that runs `run` instead of trials.
fn stand_in(bench: &Bench, run: &str) -> String {
    let file = bench.beside("stand-in");
    program(&file, &format!("case \"$*\" in *' -o '*) {run} ;; *) exec {HPBENCH} \"$@\" ;; esac"));
    format!("HPBENCH={}", file.display())
}

/// Creates a stand-in for cargo that logs its arguments in `cargo.log` and "builds" the program under test. Returns the
/// PATH on which it is found.
fn cargo(bench: &Bench) -> String {
    let folder = bench.beside("bin");
    fs::create_dir(&folder).expect("a directory");
    let lines = format!(
        "echo \"$*\" >> {}; while [ $# -gt 1 ]; do shift; done; mkdir -p \"$1/release\"; ln -sf {HPBENCH} \"$1/release/hpbench\"",
        bench.beside("cargo.log").display()
    );
    program(&folder.join("cargo"), &lines);
    format!("PATH={}:{}", folder.display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn without_a_program_it_is_built_once_and_that_one_measures_and_compares() {
    let bench = bench();
    let path = cargo(&bench);
    let asked = || fs::read_to_string(bench.beside("cargo.log")).unwrap_or_default();
    let build = |target: &str| format!("build --release --locked --bin hpbench --target-dir {target}\n");
    let args = format!("scripts/sweep-batch -n built -- {TINY} --trials 2 --backend plain,mmsg --batch 1");
    let run = |more: &[&str], args: &str| {
        let environment = ["env", "-u", "HPBENCH", "-u", "CARGO_TARGET_DIR", &path];
        bench.run_command(&[&environment, more, &args.split_whitespace().collect::<Vec<_>>()].concat())
    };
    run(&[], &args).expect(0);
    assert_eq!(asked(), build("target"));
    assert_whole(&bench, "built");
    let command = bench.path("results/built/command");
    let recorded = read(&command);
    let words = recorded.strip_prefix(BUILD_LINE).expect("it is built first");
    let options = words.strip_prefix("target/release/hpbench ").expect("what was built is run");
    let rows = bench.rows("results/built/run.csv").len();

    // The command repeats it in a checkout where nothing is built yet.
    fs::remove_file(bench.path("results/built/run.csv")).expect("it is there");
    fs::remove_dir_all(bench.path("target")).expect("it was built");
    run(&[], "bash results/built/command").expect(0);
    assert_eq!((asked(), bench.rows("results/built/run.csv").len()), (build("target").repeat(2), rows));

    // It is continued in another target directory, and where it was recorded as it once was.
    for recorded in [&recorded, &format!("cargo run --release --locked --quiet -- {options}")] {
        fs::write(&command, recorded).expect("it is ours");
        fs::remove_file(bench.path("results/built/run.csv")).expect("it is there");
        fs::remove_file(bench.beside("cargo.log")).expect("it is there");
        run(&["CARGO_TARGET_DIR=elsewhere"], "scripts/sweep-batch --resume -n built").expect(0);
        assert_eq!((asked(), bench.rows("results/built/run.csv").len()), (build("elsewhere"), rows));
        assert_eq!(&read(&command), recorded);
    }

    // Results so far are not mixed with those of another program.
    let other = format!("HPBENCH={HPBENCH}");
    let refused = run(&[&other], "scripts/sweep-batch --resume -n built").expect(2);
    assert!(refused.stderr.contains("started with, target/release/hpbench; unset HPBENCH"), "{}", refused.stderr);
    assert_eq!(asked(), build("elsewhere"), "nothing was built for that");
}

#[test]
fn a_run_is_gone_on_with_by_the_program_that_it_was_begun_with() {
    let bench = bench();
    let path = cargo(&bench);
    let args = format!("scripts/sweep-batch -n named -- {TINY} --trials 2 --backend plain,mmsg --batch 1");
    run(&bench, &args).expect(0);
    fs::remove_file(bench.path("results/named/run.csv")).expect("it is there");
    bench.run_command(&["env", "-u", "HPBENCH", &path, "scripts/sweep-batch", "--resume", "-n", "named"]).expect(0);
    assert_eq!(bench.rows("results/named/run.csv").len(), 2 * 2 * 2);
    assert!(!bench.beside("cargo.log").exists(), "nothing is built");
}

#[test]
fn a_run_that_breaks_off_is_no_result() {
    let args = "scripts/sweep-batch -n broken -- --backend plain --batch 1";
    let bench = bench();
    // Before there is a file, there is nothing to keep.
    let broken = stand_in(&bench, "echo 'no luck' >&2; exit 1");
    let done = bench.run_command(&words(&broken, args)).expect(1);
    assert!(done.stderr.contains("no luck"), "{}", done.stderr);
    assert!(!bench.path("results/broken").exists());
    // As when the disk is full.
    let broken = stand_in(&bench, "echo begun > results/broken/run.csv; exit 1");
    let done = bench.run_command(&words(&broken, args)).expect(1);
    assert!(done.stderr.contains("finished rows are in results/broken/run.csv; resume with: "), "{}", done.stderr);
    assert_eq!(files(&bench, "broken"), ["command", "env.json", "run.csv"].map(str::to_owned).into());
    let done = bench.run_command(&words(&broken, args)).expect(2);
    assert!(done.stderr.contains("unfinished run"), "{}", done.stderr);
}

#[test]
fn a_run_that_has_ended_stays_as_it_is_when_it_cannot_be_gone_on_with() {
    let bench = bench();
    let resume = |name: &str| run(&bench, &format!("scripts/sweep-batch --resume -n {name}")).expect(2).stderr;
    run(&bench, &format!("scripts/sweep-batch -n ended -- {TINY} --backend plain,mmsg --batch 1")).expect(0);
    let everything = |name: &str| {
        let read = |file: String| (read(&bench.path("results").join(name).join(&file)), file);
        files(&bench, name).into_iter().map(read).collect::<Vec<_>>()
    };
    // A run from another machine.
    let csv = bench.path("results/ended/run.csv");
    let (host, rows) = (bench.rows("results/ended/run.csv")[0].text("host").to_owned(), read(&csv));
    fs::write(&csv, rows.replace(&format!(",{host},"), ",another-host,")).expect("it is there");
    let before = everything("ended");
    let message = resume("ended");
    assert!(message.contains("its host is 'another-host'") && !message.contains("ended early"), "{message}");
    assert_eq!(everything("ended"), before);
    // Its command names a folder that no longer exists.
    fs::rename(bench.path("results/ended"), bench.path("results/renamed")).expect("it is there");
    let message = resume("renamed");
    assert!(
        message.contains("results/renamed/command does not record a sweep into results/renamed/run.csv"),
        "{message}"
    );
    assert_eq!(everything("renamed"), before);
    assert!(!bench.path("results/ended").exists());
}

#[test]
fn trials_that_fail_are_a_result_with_a_status() {
    let bench = bench();
    // No queue holds such a large batch.
    let args = format!("scripts/sweep-batch -n failed -- {TINY} --backend plain,mmsg --batch 1,1024 --round 512");
    let done = run(&bench, &args).expect(1);
    assert!(done.stderr.contains("everything is in results/failed"), "{}", done.stderr);
    assert_whole(&bench, "failed");
}

#[test]
fn a_trial_that_fails_before_the_sweep_has_a_status_too() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = bench();
    let hpbench =
        stand_in(&bench, &format!("{HPBENCH} \"$@\" || exit; case \"$*\" in *'scenario flood'*) exit 1 ;; esac"));
    let args = format!("scripts/sweep-load -n marred -- {TINY} --trials 1 --backend plain,mmsg");
    let done = bench.run_command(&words(&hpbench, &args)).expect(1);
    assert!(done.stderr.contains("everything is in results/marred"), "{}", done.stderr);
    assert_whole(&bench, "marred");
}

#[test]
fn where_nothing_can_be_compared_the_folder_says_why() {
    let bench = bench();
    let done = run(&bench, &format!("scripts/sweep-batch -n one -- {TINY} --backend plain --batch 1")).expect(1);
    assert!(done.shows("all trials have the same variant"), "{}", done.stdout);
    assert!(read(&bench.path("results/one/comparison.txt")).contains("all trials have the same variant"));
}

#[test]
fn where_a_backend_has_several_modes_the_modes_are_compared() {
    let bench = bench();
    run(&bench, &format!("scripts/sweep-batch -n modes -- {TINY} --backend plain,plain:gro --batch 1")).expect(0);
    let comparison = read(&bench.path("results/modes/comparison.txt")).replace("\n  ", " ");
    assert!(comparison.contains("plain:recvfrom+sendto+gro against plain:recvfrom+sendto"), "{comparison}");
}

#[test]
fn a_comparison_of_kernels_says_what_it_was_made_of() {
    let bench = bench();
    // Neither is run: kernels boot in tests/lab.rs.
    program(&bench.path("qemu-system-x86_64"), "echo 'QEMU \"9\\8\"'");
    program(&bench.path("scripts/fetch-kernels"), "echo \"$PWD/scripts/fetch-kernels\"");
    let hpbench = stand_in(&bench, "echo row > results/lab/kernels.csv; echo compared; exit 1");
    let path_with_stand_ins =
        format!("PATH={}:{}", bench.path("").display(), std::env::var("PATH").unwrap_or_default());
    let args = "scripts/compare-kernels -n lab 6.12 -- --batch 1";
    let done = bench.run_command(&[&["env", &path_with_stand_ins], &words(&hpbench, args)[1..]].concat()).expect(1);
    assert!(done.stdout.contains("compared"), "{}", done.stdout);
    assert_eq!(
        files(&bench, "lab"),
        ["command", "comparison.txt", "env.json", "kernels.csv"].map(str::to_owned).into()
    );
    let path = |name: &str| bench.path("results/lab").join(name);
    let json: serde_json::Value = serde_json::from_str(&read(&path("env.json"))).expect("env.json is JSON");
    assert_eq!(json["qemu"], "QEMU \"9\\8\"");
    assert!(json["kernels"]["fetch-kernels"].as_str().is_some_and(|sum| sum.starts_with("sha256 ")), "{json}");
    assert_eq!(json["command"][1], "lab");
    assert!(read(&path("command")).contains(" lab --kernel scripts/fetch-kernels "), "{}", read(&path("command")));

    let nothing = stand_in(&bench, "echo 'no luck' >&2; exit 2");
    let args = "scripts/compare-kernels -n none 6.12 -- --batch 0";
    let done = bench.run_command(&[&["env", &path_with_stand_ins], &words(&nothing, args)[1..]].concat()).expect(2);
    assert!(done.stderr.contains("no luck") && !done.stderr.contains("everything is in"), "{}", done.stderr);
    assert!(!bench.path("results/none").exists());
}
