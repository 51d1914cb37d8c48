//! `scripts/peers`: runs hpbench beside iperf3 and sockperf, names those that are missing, leaves nothing behind.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::{Bench, needs};
use rustix::process::Signal;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/peers");

/// The shortest run.
const SHORT: &str = "--seconds 0.2 --blocks 1";

/// Runs `scripts/peers --hpbench` under the binary under test, with one directory to look for programs in.
fn script(python: &str, path: Option<&Path>) -> Bench {
    let path = path.map(|path| format!("PATH={}", path.display()));
    Bench::under(["env"].into_iter().chain(path.as_deref()).chain([python, SCRIPT, "--hpbench"]))
}

/// Creates a program that runs `lines` of shell.
fn fake(directory: &Path, name: &str, lines: &str) {
    let file = directory.join(name);
    fs::write(&file, format!("#!/bin/sh\n{lines}\n")).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a file of ours");
}

/// The first words of the table's rows that begin with `peer`.
fn rows<'t>(table: &'t str, peer: &str) -> Vec<&'t str> {
    table.lines().take_while(|line| !line.is_empty()).filter(|line| line.starts_with(peer)).collect()
}

/// How many processes have `text` in their command lines.
fn processes(text: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("there is /proc");
    let lines = entries.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}

#[test]
fn help_explains_what_it_does() {
    let Some(python) = needs::python() else { return };
    let done = script(&python, None).run("--help").expect(0);
    for word in ["iperf3", "sockperf", "--payload", "--seconds", "--blocks", "--cores", "--csv", "exit status"] {
        assert!(done.stdout.contains(word), "{word}: {}", done.stdout);
    }
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{}", done.stdout);
}

#[test]
fn bad_arguments_are_refused() {
    let Some(python) = needs::python() else { return };
    let Some([first, _]) = needs::two_cores() else { return };
    for args in [
        "--payload 31".to_owned(),
        "--payload 65508".to_owned(),
        "--seconds 0".to_owned(),
        "--seconds nan".to_owned(),
        "--blocks 0".to_owned(),
        "--cores 1".to_owned(),
        format!("--cores {first},{first}"),
        format!("--cores {first},99999"),
        "--hpbench /nonexistent/hpbench".to_owned(),
        "--csv /nonexistent/out.csv".to_owned(),
        "--csv /proc/version".to_owned(),
        "--fast".to_owned(),
    ] {
        let bench = script(&python, None);
        let done = bench.run(&args).expect(2);
        let flag = args.split(' ').next().expect("a flag");
        assert!(done.stderr.contains(flag) && !done.stderr.contains("Traceback"), "{args}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{args}");
    }
}

#[test]
fn one_core_is_too_few() {
    let Some(python) = needs::python() else { return };
    let core = needs::cores()[0].to_string();
    let bench = Bench::under(["taskset", "-c", &core, &python, SCRIPT, "--hpbench"]);
    let done = bench.run(SHORT).expect(2);
    assert!(done.stderr.contains("two cores") && done.stderr.lines().count() == 1, "{}", done.stderr);
}

#[test]
fn peers_that_are_missing_are_named_and_left_out() {
    let (Some(python), Some(_)) = (needs::python(), needs::two_cores()) else { return };
    let empty = tempfile::tempdir().expect("a temporary directory");
    let done = script(&python, Some(empty.path())).run(SHORT);
    let done = done.expect(0);
    for peer in ["iperf3", "sockperf"] {
        let told = format!("{peer} is not installed and was left out (apt-get install {peer})");
        assert!(done.shows(&told) && done.stderr.contains(&told), "{}\n{}", done.stdout, done.stderr);
        assert_eq!(rows(&done.stdout, peer), [""; 0]);
    }
    assert_eq!(rows(&done.stdout, "hpbench ").len(), 4, "{}", done.stdout);
}

#[test]
fn a_peer_that_fails_is_quoted_and_does_not_end_the_others() {
    let (Some(python), Some(_)) = (needs::python(), needs::two_cores()) else { return };
    let only = tempfile::tempdir().expect("a temporary directory");
    fake(only.path(), "iperf3", "echo no luck today >&2; exit 3");
    fake(only.path(), "sockperf", "echo unexpected");
    let bench = script(&python, Some(only.path()));
    let done = bench.run(SHORT).expect(1);
    assert!(done.stderr.contains("status 3") && done.stderr.contains("| no luck today"), "{}", done.stderr);
    assert!(done.stderr.contains("does not listen") && done.stderr.contains("| unexpected"), "{}", done.stderr);
    assert!(done.shows("iperf3 failed: ") && done.shows("sockperf failed: "), "{}", done.stdout);
    assert_eq!(rows(&done.stdout, "hpbench ").len(), 4, "{}", done.stdout);
}

#[test]
fn a_short_run_compares_what_is_installed() {
    let (Some(python), Some(_)) = (needs::python(), needs::two_cores()) else { return };
    let bench = script(&python, None);
    let done = bench.run(&format!("{SHORT} --payload 100 --csv out.csv")).expect(0);
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "80 columns:\n{}", done.stdout);

    let samples = done.rows();
    for backend in needs::backends().split(',') {
        let name = format!("hpbench {backend}");
        assert_eq!(rows(&done.stdout, &name).len(), 1, "{name}\n{}", done.stdout);
        let count = samples.iter().filter(|row| row.text("peer") == name).count();
        assert_eq!(count, 1, "{name}\n{}\n{}", done.stdout, done.stderr);
    }
    for (peer, round_trips) in [("iperf3", false), ("sockperf", true)] {
        if !needs::peer(peer) {
            continue;
        }
        let sample = samples.iter().find(|row| row.text("peer") == peer).expect("a sample");
        assert_eq!(sample.count("payload"), 100);
        assert!(sample.number("delivered_pps") > 0.0 && sample.number("cpu_ns_per_packet") > 0.0);
        assert!((0.0..100.0).contains(&sample.number("loss_pct")));
        assert!(sample.count("delivered") <= sample.count("sent") + 1000, "a warm-up may not be counted as sent");
        assert_eq!(sample.text("rtt_p50_ns").is_empty(), !round_trips);
        if round_trips {
            assert!(sample.number("rtt_p50_ns") <= sample.number("rtt_p99_ns"));
        }
    }
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let (Some(python), Some(_)) = (needs::python(), needs::two_cores()) else { return };
    let empty = tempfile::tempdir().expect("a temporary directory");
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let variables = [("PATH", &empty), ("TMPDIR", &temporary)];
    let variables = variables.map(|(name, directory)| format!("{name}={}", directory.path().display()));
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let words = [variables[0].as_str(), &variables[1], &python, SCRIPT, "--hpbench"];
        let bench = Bench::under(["env"].into_iter().chain(words));
        let mut running = bench.start("--seconds 30 --blocks 1");
        // hpbench's CSV is in the temporary directory, so its command line names that.
        let mark = format!("{}/", temporary.path().display());
        running.wait_until("hpbench runs", || processes(&mark) > 0);
        running.signal(signal);
        let done = running.wait_at_most(Duration::from_secs(60)).expect(status);
        // The kernel kills one that the script had just started, once the script has ended.
        let end = Instant::now() + Duration::from_secs(20);
        while processes(&mark) > 0 {
            assert!(Instant::now() < end, "hpbench still runs");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(fs::read_dir(temporary.path()).expect("it is there").count(), 0, "no file is left");
        assert!(!done.stderr.contains("Traceback"), "{}", done.stderr);
    }
}
