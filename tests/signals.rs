//! Ctrl-C and SIGTERM: the run ends soon, what was measured is kept and shown.

mod common;

use std::fs;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use common::{Bench, Running, assert_balanced, needs, tiny};
use rustix::process::Signal;

/// Soon enough for a waiting user; the current trial takes a fraction of it.
const SOON: Duration = Duration::from_secs(20);

/// Waits until the CSV has a header and three rows.
fn wait_for_rows(bench: &Bench, running: &mut Running<'_>) {
    let path = bench.path("out.csv");
    running.wait_until("three rows came", || fs::read_to_string(&path).unwrap_or_default().lines().count() > 3);
}

#[test]
fn a_signal_ends_the_run_and_keeps_what_was_measured() {
    let scenarios = if needs::two_cores().is_some() { "drain,send,flood,echo" } else { "drain,send" };
    let args = format!("--backend {} --scenario {scenarios} --trials 10000", needs::backends());
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let bench = Bench::new();
        let mut running = bench.start(&tiny(&args));
        wait_for_rows(&bench, &mut running);
        running.signal(signal);
        let done = running.wait_at_most(SOON).expect(status);
        let rows = done.rows();
        assert!(rows.len() >= 3, "{} rows", rows.len());
        rows.iter().for_each(assert_balanced);
        for scenario in ["drain", "send", "flood", "echo"] {
            let ran = rows.iter().any(|row| row.text("scenario") == scenario);
            let titles = done.stdout.lines().filter_map(|line| line.split_once(": "));
            let shown = titles.flat_map(|(names, _)| names.split(", ")).any(|name| name == scenario);
            assert_eq!(ran, shown, "{scenario} in the table\n{}", done.stdout);
        }
        assert!(done.stderr.contains(&format!("{} rows", rows.len())), "{}", done.stderr);
        assert!(fs::read(bench.path("out.csv")).is_ok_and(|bytes| bytes.ends_with(b"\n")), "the last row is whole");
        bench.tiny("--backend null --scenario drain --append").expect(0);
    }
}

#[test]
fn a_signal_ends_a_long_trial_at_once() {
    let phases = ["-t 600 --warmup 0", "-t 1 --warmup 600", "--packets 1000000000000 --warmup 0"];
    let scenarios: &[&str] = if needs::two_cores().is_some() { &["drain", "flood", "echo"] } else { &["drain"] };
    for (phase, scenario) in phases.iter().zip(scenarios.iter().cycle()) {
        let bench = Bench::new();
        let mut running = bench.start(&tiny(&format!("--backend plain --scenario {scenario} {phase}")));
        running.wait_until("the file is there", || bench.path("out.csv").exists());
        thread::sleep(Duration::from_millis(150));
        running.signal(Signal::INT);
        let done = running.wait_at_most(SOON).expect(130);
        assert_eq!(done.rows().len(), 0, "a trial that did not end is no row");
    }
}

/// A process that is stopped for a while runs as if nothing had happened: only its figures are wrong.
#[test]
fn a_trial_that_was_stopped_is_repeated() {
    let scenarios: &[&str] = if needs::two_cores().is_some() { &["drain", "echo --wait block"] } else { &["drain"] };
    for scenario in scenarios {
        // On a busy machine the trial may begin later than the stop.
        let is_repeated = (0..10).any(|_| {
            let bench = Bench::new();
            // Without `--no-gates`.
            let args = format!("--backend plain --scenario {scenario} --trials 1 -t 1 --warmup 0 -o out.csv");
            let mut running = bench.start(&args);
            running.wait_until("the file is there", || bench.path("out.csv").exists());
            thread::sleep(Duration::from_millis(200));
            running.signal(Signal::STOP);
            thread::sleep(Duration::from_millis(100));
            running.signal(Signal::CONT);
            let rows = running.wait().rows();
            let reason = rows[0].text("invalid_reason");
            if !reason.contains("disturbed: the process was stopped") {
                return false;
            }
            assert_eq!(rows[0].text("valid"), "0", "{scenario}: {reason}");
            assert_eq!((rows[0].text("attempt"), rows[1].text("attempt")), ("1", "2"), "{scenario}: it is repeated");
            assert!(!rows[1].text("invalid_reason").contains("stopped"), "{scenario}");
            true
        });
        assert!(is_repeated, "{scenario}: ten stops, and none is noticed");
    }
}

#[test]
fn a_signal_before_the_first_trial_is_no_other() {
    // With the largest frames, creating the pool takes a while.
    for _ in 0..5 {
        let bench = Bench::new();
        let mut running = bench.start(&tiny("--backend plain --scenario drain --payload 65507 --trials 10000"));
        let path = bench.path("out.csv");
        running.wait_until("the file is made", || path.exists());
        running.signal(Signal::TERM);
        running.wait_at_most(SOON).expect(143);
    }
}

#[test]
fn a_second_signal_ends_the_process_even_if_it_is_stuck() {
    // A full pipe that nobody reads: the table does not get through.
    let (reader, writer) = io::pipe().expect("a pipe");
    let filler = writer.try_clone().expect("a second descriptor");
    let filling = thread::spawn(move || {
        let mut filler = filler;
        while filler.write_all(&[b'.'; 4096]).is_ok() {}
    });
    let bench = Bench::new();
    let mut running = bench.start_to(&tiny("--backend null --scenario drain --trials 10000"), writer.into());
    wait_for_rows(&bench, &mut running);
    running.signal(Signal::INT);
    thread::sleep(Duration::from_millis(500));
    assert!(running.is_there(), "it waits for its reader");
    running.signal(Signal::INT);
    let done = running.wait_at_most(SOON).expect(130);
    assert!(done.rows().len() >= 3);
    drop(reader);
    filling.join().expect("the pipe broke");
}
