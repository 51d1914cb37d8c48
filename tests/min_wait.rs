//! `--min-wait`: a worker that sleeps until many datagrams are there, or some time has passed.

mod common;

use common::{Bench, assert_balanced, needs};

/// A rate at which a wait of 2 ms brings 20 datagrams.
const PLAN: &str =
    "--scenario pace --rate 10k --wait block --trials 3 -t 0.1 --warmup 0.01 --no-gates --quiet --force-plan";

/// Whether this kernel can: what a trial says otherwise.
fn can_wait_for_many() -> bool {
    if needs::two_cores().is_none() || !needs::uring() {
        return false;
    }
    let rows = Bench::new().tiny("--scenario pace --backend uring --wait block --min-wait 2:50 --force-plan").rows();
    let error = rows[0].text("error");
    let is_old = error.contains("MIN_TIMEOUT") && error.contains("6.12");
    assert!(is_old || error.is_empty(), "{error}");
    if is_old {
        needs::skip("min-wait", &error);
    }
    !is_old
}

/// However busy the machine is: nobody wakes more often than once in each time, or for each number of datagrams.
#[test]
fn a_worker_that_waits_for_many_makes_fewer_calls_and_its_datagrams_wait() {
    if !can_wait_for_many() {
        return;
    }
    let bench = Bench::new();
    for backend in ["uring", "uring:recvmsg-multishot", "uring:poll", "uring:coop"] {
        bench.run(&format!("{PLAN} --backend {backend} --min-wait off,64:2000 --force -o out.csv")).expect(0);
        let rows = bench.rows("out.csv");
        let of = |waited: &str, column: &str| -> Vec<f64> {
            let own = rows.iter().filter(|row| row.text("min_wait") == waited);
            own.map(|row| row.number(column)).collect()
        };
        rows.iter().for_each(assert_balanced);
        for row in rows.iter().filter(|row| row.text("min_wait") == "64:2000") {
            let waits = 1e6 * row.number("duration_s") / 2000.0 + row.number("measured_received") / 64.0;
            // Each wait, and the receives after it: one that finds some, and one that finds no more.
            let most = 4.0 * waits + 20.0;
            assert!(row.number("syscalls") <= most, "{backend}: {} calls, {waits} waits", row.text("syscalls"));
        }
        let mean = |waited, column| of(waited, column).iter().sum::<f64>() / 3.0;
        if rows.iter().any(|row| row.is_disturbed()) {
            needs::skip("quiet", &"other programs had the cores");
            continue;
        }
        // Twenty times as many without it, where each datagram wakes the worker.
        let [one, many] = ["off", "64:2000"].map(|waited| mean(waited, "syscalls"));
        assert!(many < one / 4.0, "{backend}: {many} calls instead of {one}");
        let [one, many] = ["off", "64:2000"].map(|waited| mean(waited, "lat_p50_ns"));
        assert!(many > one + 400_000.0, "{backend}: {many} ns instead of {one}");
    }
}

/// The system calls themselves.
#[test]
fn the_kernel_is_entered_less_often() {
    if !can_wait_for_many() || !needs::strace() {
        return;
    }
    let bench = Bench::new();
    let calls = |waited: &str| {
        let words = ["strace", "-f", "-qq", "-c", "-e", "trace=io_uring_enter", "-o", "calls.txt", common::HPBENCH];
        let args = format!("{PLAN} --backend uring --min-wait {waited} --trials 1 --force -o out.csv");
        let words: Vec<&str> = words.into_iter().chain(args.split_whitespace()).collect();
        bench.run_command(&words).expect(0);
        let text = std::fs::read_to_string(bench.path("calls.txt")).expect("strace writes it");
        let line = text.lines().find(|line| line.ends_with("io_uring_enter")).unwrap_or_default().to_owned();
        let calls = line.split_whitespace().nth(3).and_then(|calls| calls.parse::<f64>().ok());
        (calls.unwrap_or_else(|| panic!("{text}")), bench.rows("out.csv")[0].number("received"))
    };
    let (calls, received) = calls("64:10000");
    // 110 ms and what comes after them; the traced worker may be slow, and then finds more at once.
    assert!(calls < 60.0 + received / 8.0, "{calls} calls for {received} datagrams");
}

#[test]
fn only_those_that_can_wait_for_many_do() {
    let bench = Bench::new();
    let backends = "plain,mmsg,uring,uring:single,uring:poll";
    let done = bench
        .run(&format!(
            "--scenario pace,drain --backend {backends} --wait block,spin --min-wait off,8:50,16:1000 --dry-run"
        ))
        .expect(0);
    assert!(done.stderr.contains("plain:recvfrom+sendto, mmsg:recvmmsg+sendmmsg, uring:single+send+defer; they"));
    let lines: Vec<&str> = done.stdout.lines().filter(|line| line.starts_with("pace ")).collect();
    // Three ways to wait for each of two, and to spin; three others wait and spin.
    assert_eq!(lines.len(), 2 * (3 + 1) + 3 * 2, "{}", done.stdout);
    let for_many = lines.iter().filter(|line| line.contains("block  for 8 or 50 µs"));
    assert_eq!(for_many.count(), 2, "{}", done.stdout);
    for (flags, told) in [
        ("--scenario pace --min-wait 8:50", "only a worker that sleeps"),
        ("--scenario pace --backend plain --wait block --min-wait 8:50", "only a worker that sleeps"),
        ("--scenario drain --wait block --min-wait 8:50", "only a worker that sleeps"),
        ("--min-wait 8", "8:50"),
    ] {
        let done = bench.run(&format!("{flags} --quiet")).expect(2);
        assert!(done.stderr.contains(told) && bench.files().is_empty(), "{flags}: {}", done.stderr);
    }
}
