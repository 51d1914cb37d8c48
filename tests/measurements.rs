//! What the numbers mean: offered rates, costs, waiting, workers, gates and logs, end to end.

mod common;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::{Bench, Row, assert_balanced, needs};

fn number_or_nan(row: &Row, column: &str) -> f64 {
    row.text(column).parse().unwrap_or(f64::NAN)
}

#[test]
fn pace_delivers_the_offered_rate_and_loses_nothing() {
    const RUNS: usize = 3;
    if needs::two_cores().is_none() {
        return;
    }
    let args = format!("--backend {} --scenario pace --rate 20000 --trials 3 -t 0.3 --warmup 0.02", needs::backends());
    let mut rows = Vec::new();
    let off = |rows: &[Row], backend: &str| {
        let rates = rows.iter().filter(|row| row.text("backend") == backend).map(|row| row.number("rx_pps"));
        rates.map(|rate| (rate / 20_000.0 - 1.0).abs()).fold(f64::INFINITY, f64::min)
    };
    for _ in 0..RUNS {
        rows.extend(Bench::new().tiny(&args).expect(0).rows());
        if needs::backends().split(',').all(|backend| off(&rows, backend) <= 0.001) {
            break;
        }
    }
    rows.iter().for_each(assert_paced);
    // Which thread has a core at the edges of the measured phase affects what is received in it: some trials are off, and
    // on a busy machine perhaps all of them.
    for backend in needs::backends().split(',') {
        let quiet = rows.iter().filter(|row| row.text("backend") == backend && !row.is_disturbed()).count();
        let nearest = off(&rows, backend);
        if nearest > 0.001 && quiet < RUNS {
            needs::skip("quiet", &format!("other programs disturbed the trials of {backend}: no rate to judge"));
            continue;
        }
        assert!(nearest <= 0.001, "{backend}: {nearest}");
    }
}

/// What holds for a trial at 20,000 a second however busy the machine is.
fn assert_paced(row: &Row) {
    assert_balanced(row);
    assert_eq!((row.text("rate_pps"), row.text("burst")), ("20000", "1"));
    assert!(row.is_disturbed() || row.number("loss_pct") == 0.0, "{}", row.name());
    // Each datagram that was due in the measured phase is timed, whenever it arrives.
    let timed = row.number("lat_samples") / (20_000.0 * row.number("duration_s"));
    assert!(row.is_disturbed() || (timed - 1.0).abs() < 0.01, "{timed} of those that were due are timed");
    assert!(row.count("late_p99_ns") > 0, "{}", row.name());
    let order = ["lat_min_ns", "lat_p50_ns", "lat_p90_ns", "lat_p99_ns", "lat_p999_ns", "lat_p9999_ns", "lat_max_ns"];
    assert!(order.map(|column| row.count(column)).is_sorted(), "{}", row.name());
    assert!(row.number("generator_cpu_ns_per_packet") > 0.0, "{}", row.name());
}

#[test]
fn a_rate_that_cannot_be_kept_is_told_of() {
    if needs::two_cores().is_none() {
        return;
    }
    let done = Bench::new().tiny("--backend plain --scenario pace --rate 100000000 --burst 64 -t 0.3").expect(0);
    let row = &done.rows()[0];
    assert_balanced(row);
    assert_eq!(row.text("generator_limited"), "1");
    assert!(row.number("tx_pps") < 9e7 && row.count("late_p99_ns") > 1_000_000, "{}", row.text("tx_pps"));
    if row.text("valid") == "1" {
        assert!(done.shows("could not keep the rate"), "{}", done.stdout);
    }
    assert_eq!(Bench::new().tiny("--backend plain --scenario pace --rate 100000000 --strict").status, 1);
}

#[test]
fn bursts_arrive_together() {
    if needs::two_cores().is_none() {
        return;
    }
    // With 20 ms between datagrams, few wait for each other even if the worker has its core only now and then.
    let args = "--backend mmsg --scenario pace --rate 50 --burst 1,16 -t 1";
    let rows = Bench::new().tiny(args).expect(0).rows();
    let mean = |burst: &str| {
        rows.iter().find(|row| row.text("burst") == burst).map(|row| row.number("kernel_batch_mean")).expect("a row")
    };
    assert!(mean("1") < 4.0 && mean("16") > 4.0, "{} and {}", mean("1"), mean("16"));
}

#[test]
fn workers_that_wait_in_the_kernel_leave_their_core() {
    if needs::two_cores().is_none() {
        return;
    }
    let args =
        format!("--backend {} --scenario flood,pace,echo --wait spin,block --rate 5000 -t 0.3", needs::backends());
    let rows = Bench::new().tiny(&args).expect(0).rows();
    assert_eq!(rows.len(), 6 * needs::backends().split(',').count());
    for row in &rows {
        assert_balanced(row);
        assert!(row.number("cpu_ns_per_packet") > 0.0, "{}", row.name());
        let spins = row.text("wait") == "spin";
        assert_eq!(row.text("busy_pct").is_empty(), !spins, "{}", row.name());
        if row.text("scenario") == "pace" {
            // At 5,000 a second there are 200 µs for each datagram.
            let cpu_ns = row.number("cpu_ns_per_packet");
            // A worker that spins uses its core, unless another program has it.
            let fits = if spins { cpu_ns > 100_000.0 || row.text("valid") == "0" } else { cpu_ns < 100_000.0 };
            assert!(fits, "{}: {cpu_ns}", row.name());
            assert!(spins || row.count("context_switches") > 20, "{}", row.name());
        }
    }
}

#[test]
fn two_workers_add_up() {
    if needs::two_cores().is_none() {
        return;
    }
    let args = format!("--backend {} --scenario drain,send -w 2 -t 0.05", needs::backends());
    let rows = Bench::new().tiny(&args).expect(0).rows();
    assert_eq!(rows.len(), 2 * needs::backends().split(',').count());
    for row in &rows {
        assert_balanced(row);
        assert_eq!((row.text("workers"), row.text("worker_cpu").split(' ').count()), ("2", 2));
        assert!(row.count("received") > 0 && row.number("ns_per_packet_p50") > 0.0, "{}", row.name());
    }
}

/// Flood needs a core for generators besides those of the workers.
#[test]
fn workers_without_cores_for_generators_say_so() {
    let Some([first, second]) = needs::two_cores() else { return };
    let bench = Bench::under(["taskset", "-c", &format!("{first},{second}")]);
    let done = bench.tiny("--backend plain --scenario flood -w 2").expect(1);
    let error = done.rows()[0].text("error").to_owned();
    assert!(error.contains("flood") && error.contains("3 cores"), "{error}");
    let refused = bench.run("-w 3 -o none.csv").expect(2);
    assert!(refused.stderr.contains("--workers 3") && refused.stderr.contains("only 2"), "{}", refused.stderr);
}

#[test]
fn an_app_on_its_own_thread_accounts_for_every_datagram() {
    if needs::two_cores().is_none() {
        return;
    }
    let args = format!(
        "--backend {} --scenario drain,flood,pace,echo --handoff --force-plan --rate 5000 -t 0.1",
        needs::backends()
    );
    let done = Bench::new().tiny(&args).expect(0);
    for row in &done.rows() {
        assert_balanced(row);
        assert_eq!(row.text("handoff"), "1");
        assert!(row.count("received") > 0, "{}", row.name());
    }
    if needs::cores().len() == 2 {
        assert!(done.stderr.contains("an app shares the core"), "{}", done.stderr);
    }
}

/// A process that spins on `core` until it is dropped.
struct Hog(std::process::Child);

impl Hog {
    fn on(core: usize) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string(), "sh", "-c", "while :; do :; done"]);
        let hog = Self(command.stdin(Stdio::null()).spawn().expect("taskset is there"));
        let name = format!("/proc/{}/comm", hog.0.id());
        // From then on, it spins.
        while common::read(name.as_ref()) != "sh\n" {
            thread::sleep(Duration::from_millis(1));
        }
        hog
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_trial_whose_core_is_hogged_is_repeated_and_left_out() {
    let core = *needs::cores().last().expect("a core");
    if !needs::command("taskset") {
        return;
    }
    let args = format!("--backend mmsg --scenario drain --cpu {core} --trials 1 -t 0.1 --warmup 0.01");
    let hog = Hog::on(core);
    let done = Bench::new().run(&format!("{args} -o out.csv")).expect(0);
    let marked = Bench::new().run(&format!("{args} --no-gates -o out.csv")).expect(0);
    let strict = Bench::new().run(&format!("{args} --strict -o out.csv"));
    drop(hog);

    let rows = done.rows();
    assert_eq!(rows.iter().map(|row| row.text("attempt")).collect::<Vec<_>>(), ["1", "2", "3"]);
    for row in &rows {
        assert_balanced(row);
        assert_eq!(row.text("valid"), "0");
        assert!(row.text("invalid_reason").contains("another thread had the core"), "{}", row.text("invalid_reason"));
        assert!(row.count("run_delay_ns") > 1_000_000, "{}", row.text("run_delay_ns"));
    }
    assert!(done.shows("1 of 1 trials is invalid and left out"), "{}", done.stdout);
    assert!(
        done.stdout.lines().any(|line| line.starts_with("mmsg") && line.contains(" - ")),
        "nothing is averaged:\n{}",
        done.stdout
    );

    let rows = marked.rows();
    assert_eq!((rows.len(), rows[0].text("valid")), (1, "0"), "marked, and not repeated");
    assert_eq!(strict.status, 1);
}

#[test]
fn every_row_tells_what_it_cost_and_how_good_it_is() {
    let backends = needs::backends();
    // Short rounds: even on a busy machine there are more than a few.
    let args = format!("--backend {backends},null --scenario drain,send --round 256 -t 0.1");
    let rows = Bench::new().tiny(&args).expect(0).rows();
    for row in &rows {
        let cost = row.number("ns_per_packet");
        let cpu = row.number("cpu_ns_per_packet");
        // Only the timed parts count; on a busy machine they take longer than the thread's own time.
        assert!(cpu > 0.0 && cpu < 1.2 * cost + 20.0, "{}: {cpu} ns of {cost} ns", row.name());
        assert!(number_or_nan(row, "canary_ratio") > 0.0, "{}", row.name());
        assert!(["0", "1"].contains(&row.text("steady")), "{}", row.name());
        assert!(row.text("user_ns_per_packet").is_empty(), "tick noise in a short trial: {}", row.name());
        for column in ["context_switches", "run_delay_ns", "steal_pct"] {
            assert!(!row.text(column).is_empty(), "{column}: {}", row.name());
        }
        assert_eq!(row.text("io_workers").is_empty(), row.text("backend") != "uring", "{}", row.name());
    }
}

#[test]
fn latencies_are_logged_interval_by_interval() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let args = "--backend plain --scenario pace,echo,drain --rate 2000 --trials 2 -t 0.1 --hlog lat.hlog";
    bench.tiny(args).expect(0);
    let log = common::read(&bench.path("lat.hlog"));
    assert!(log.starts_with("#[Histogram log format version 1.3]\n"), "{log}");
    let intervals: Vec<&str> = log.lines().filter(|line| line.starts_with("Tag=")).collect();
    assert_eq!(intervals.len(), 4, "two trials each of pace and echo:\n{log}");
    assert!(intervals.iter().any(|line| line.starts_with("Tag=plain-pace-batch32-payload64-rate2000")), "{log}");

    let again = bench.run(&common::tiny(&args.replace("lat.hlog", "lat.hlog -o other.csv"))).expect(2);
    assert!(again.stderr.contains("lat.hlog"), "it is not overwritten: {}", again.stderr);
    assert!(!bench.files().contains("other.csv") || common::read(&bench.path("other.csv")).lines().count() <= 1);
}

#[test]
fn real_time_priority_is_used_or_warned_of() {
    let Some([first, _]) = needs::two_cores() else { return };
    let done = Bench::new().tiny("--backend plain --scenario pace --rate 2000 --fifo 1 --force-plan -t 0.05").expect(0);
    let row = &done.rows()[0];
    if done.stderr.contains("SCHED_FIFO is not permitted") {
        assert_eq!((row.text("fifo"), row.text("rt_limited")), ("", ""));
    } else {
        let throttled = common::read("/proc/sys/kernel/sched_rt_runtime_us".as_ref()).trim() != "-1";
        assert_eq!((row.text("fifo"), row.text("rt_limited")), ("1", if throttled { "1" } else { "0" }));
        assert_eq!(throttled, done.stderr.contains("sched_rt_runtime_us"), "{}", done.stderr);
        assert_eq!(throttled, row.text("invalid_reason").contains("throttles"), "{}", row.text("invalid_reason"));
    }
    let alone = Bench::under(["taskset", "-c", &first.to_string()]).run("--fifo 1 --scenario drain -o x.csv").expect(2);
    assert!(alone.stderr.contains("--fifo") && alone.stderr.contains("only core"), "{}", alone.stderr);
    if let Some(wrapper) = needs::no_capabilities() {
        let done = Bench::under(wrapper).tiny("--backend plain --scenario drain --fifo 1").expect(0);
        assert!(done.stderr.contains("SCHED_FIFO is not permitted"), "{}", done.stderr);
        assert_eq!(done.rows()[0].text("fifo"), "");
    }
}
