//! Limits of the system, and plans that exceed them: each run ends with a message that names the cause and the remedy.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::{Bench, Done, HPBENCH, needs, parse, read};

/// A user that nobody else uses, so that its processes can be counted.
const USER: &str = "54321";

/// Where that user may run hpbench and write.
fn public() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    fs::copy(HPBENCH, home.path().join("hpbench")).expect("the binary");
    home
}

/// A limit of processes and threads (`ulimit -u`, pids.max) makes trials fail, at once and by name, whichever of their
/// threads cannot be started.
#[test]
fn no_more_threads_are_a_trial_that_fails_and_no_panic() {
    if needs::two_cores().is_none() || !needs::works("setpriv", &["setpriv", "--reuid", USER, "--clear-groups", "true"])
    {
        return;
    }
    let (bench, home) = (Bench::new(), public());
    let (program, out) = (home.path().join("hpbench"), home.path().join("out.csv"));
    let (program, out) = (program.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
    for (limit, flags) in [
        (1, "--scenario drain,send,flood,pace,echo"),
        (2, "--scenario flood,pace,echo"),
        (2, "--scenario drain,flood,pace,echo --handoff --force-plan"),
        (3, "--scenario flood,pace,echo --handoff --force-plan"),
        (2, "--scenario drain,send --workers 2"),
    ] {
        let limits = format!("prlimit --nproc={limit}:{limit} {program} --backend plain {flags}");
        let rest = format!("--trials 1 -t 0.02 --warmup 0 --no-gates --force -o {out}");
        let words = format!("setpriv --reuid {USER} --clear-groups {limits} {rest}");
        let start = Instant::now();
        let done = bench.run_command(&words.split(' ').collect::<Vec<_>>()).expect(1);
        assert!(start.elapsed() < Duration::from_secs(9), "nobody waits for a thread that is not there: {flags}");
        let rows = parse(&read(out.as_ref()));
        assert!(!rows.is_empty());
        for row in rows {
            let error = row.text("error");
            assert!(error.contains("cannot be started") && error.contains("ulimit -u"), "{limit} {flags}: {error}");
        }
        assert!(done.shows(" trials failed ("), "there is a table: {}", done.stdout);
    }
}

/// What the kernel can give without swapping; nothing if it does not report it.
fn available_gib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) >> 20
}

fn list(values: impl Iterator<Item = usize>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(",")
}

/// The same, with something before each.
fn list_of(before: &str, values: impl Iterator<Item = usize>) -> String {
    values.map(|value| format!("{before}{value}")).collect::<Vec<_>>().join(",")
}

/// Runs hpbench with at most 200 MB of address space.
fn small(args: &str) -> Option<Done> {
    needs::works("prlimit", &["prlimit", "--as=200000000", "true"])
        .then(|| Bench::under(["prlimit", "--as=200000000"]).run(args))
}

#[test]
fn a_large_plan_takes_no_memory_and_a_larger_one_is_refused() {
    let plan = |batches: usize, payloads: usize| {
        let (batches, payloads) = (list(1..=batches), list(32..32 + payloads));
        let axes = format!("--batch {batches} --payload {payloads} --scenario drain,send,echo");
        small(&format!("--dry-run --backend plain --trials 100000 {axes}"))
    };
    let Some(done) = plan(66, 100) else { return };
    let done = done.expect(0);
    assert!(done.stdout.contains("19800 cells × 100000 trials = 1980000000 trials"), "the number of trials is shown");
    let refused = plan(1024, 5000).expect("prlimit works").expect(2);
    assert!(refused.stderr.contains("more than 100000 cells"), "{}", refused.stderr);
    // Axes that only some backends or scenarios have.
    let sockets = format!("--scenario drain --sockets {}", list(1..=7000));
    for plan in [
        format!("{sockets} --buffers 1..32768"),
        format!(
            "{sockets} --skew {}",
            (0..40).map(|tenth| format!("{}", f64::from(tenth) / 10.0)).collect::<Vec<_>>().join(",")
        ),
        format!("--scenario pace --flows {} --wait block --min-wait {}", list(1..=7000), list_of("64:", 1..=100)),
    ] {
        let refused = small(&format!("--dry-run --backend uring {plan}")).expect("prlimit works").expect(2);
        assert!(refused.stderr.contains("more than 100000 cells"), "{}", refused.stderr);
    }
}

#[test]
fn a_plan_that_does_not_fit_into_memory_is_refused_before_anything_is_mapped() {
    // A machine with enough memory would map all of it.
    if available_gib() >= 190 {
        return needs::skip("small-machine", &"there are 190 GiB or more, so that 200 GiB of frames may fit");
    }
    let bench = Bench::new();
    let flags = "--backend plain --scenario drain --handoff --ring 1048576 --payload 65507";
    for (more, expected) in [("--trials 1 -w 1 --batch 1024", "--ring"), ("--trials 1 --packets 1", "--payload")] {
        // 200 GiB of frames.
        let done = bench.run(&format!("{flags} {more} -o out.csv")).expect(2);
        assert!(done.stderr.contains("GiB of memory, most of it for frames"), "{}", done.stderr);
        assert!(done.stderr.contains(expected), "{}", done.stderr);
    }
    assert!(bench.files().is_empty(), "nothing was begun");
}

#[test]
fn rows_that_do_not_fit_into_memory_are_refused_before_anything_is_run() {
    let bench = Bench::new();
    let (batches, payloads) = (list(1..=1024), list(32..64));
    let plan = "--backend null --scenario drain,send --trials 100000 --packets 1 -o out.csv";
    // Tens of TiB.
    let done = bench.run(&format!("{plan} --batch {batches} --payload {payloads}")).expect(2);
    assert!(
        done.stderr.contains("rows of 6553600000 trials") && done.stderr.contains("fewer --trials"),
        "{}",
        done.stderr
    );
    assert!(bench.files().is_empty(), "nothing was begun");
}
