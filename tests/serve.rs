//! `serve`: requests at an offered rate and the answers to them; `--work`: the app's own time per datagram.

mod common;

use common::{Bench, Row, assert_balanced, needs};

/// Whether the client of a row kept its schedule, so that all that it should have asked was asked.
fn asked_all(row: &Row) -> bool {
    row.text("generator_limited") == "0"
}

#[test]
fn all_requests_are_answered_whatever_the_backend_and_the_way() {
    if needs::two_cores().is_none() {
        return;
    }
    let backends = if needs::uring() { "plain,mmsg,mmsg:gso+gro,uring,uring:gso+gro" } else { "plain,mmsg" };
    for options in [
        "--wait spin,block --fd-table shared,own",
        "--addressing unconnected --burst 16 --payload 1200",
        "--sockets 20 --skew 1",
    ] {
        let args = format!("--scenario serve --backend {backends} --rate 20k --trials 2 {options}");
        for row in Bench::new().tiny(&args).expect(0).rows() {
            assert_balanced(&row);
            assert_eq!((row.count("received"), row.count("drop_socket")), (row.count("sent"), 0), "{}", row.name());
            assert_eq!(row.number("loss_pct"), 0.0, "{}", row.name());
            assert!(row.number("lat_min_ns") > 0.0 && row.count("late_answers") >= 0, "{}", row.name());
            // Each request that was due in the measured phase has an answer, and each answer a time.
            let (timed, asked, planned) = (row.count("lat_samples"), row.count("measured_sent"), 20_000 * 20 / 1000);
            assert!(asked <= timed && timed <= planned, "{}: {asked} and {timed} of {planned}", row.name());
            assert!(!asked_all(&row) || timed == planned, "{}: {timed} of {planned}", row.name());
            assert!(row.number("late_p99_ns") > 0.0 && row.number("poll_gap_max_ns") > 0.0, "{}", row.name());
        }
    }
}

/// Twenty thousand datagrams a second at most, of a hundred thousand.
#[test]
fn an_overloaded_worker_answers_late_and_the_latencies_say_so() {
    if needs::two_cores().is_none() {
        return;
    }
    let args = "--scenario serve --backend plain,mmsg --rate 100k --work 50us -t 0.2";
    for row in Bench::new().tiny(args).expect(0).rows() {
        assert_balanced(&row);
        assert!(row.number("rx_pps") <= 1.02 * 20_000.0, "{}: {}", row.name(), row.text("rx_pps"));
        // An open loop: what waits at the end was asked for, and waited.
        if asked_all(&row) {
            assert!(row.number("lat_max_ns") > 1e8 && row.count("late_answers") > 0, "{}", row.name());
        }
    }
}

/// More than the two can do: either the client cannot ask so often, and the row says so, or the worker is the bottleneck.
#[test]
fn an_overload_is_the_workers_or_is_told() {
    if needs::two_cores().is_none() {
        return;
    }
    let args = "--scenario serve --backend plain,mmsg --rate 3000k -t 0.1 --trials 2";
    for row in Bench::new().tiny(args).expect(0).rows() {
        assert_balanced(&row);
        // What was sent after the measured phase is not in its rate, and its costs are not in the worker's.
        assert!(asked_all(&row) || row.number("tx_pps") < 3e6, "{}: {}", row.name(), row.text("tx_pps"));
        assert!(row.number("busy_pct") <= 101.0 || row.is_disturbed(), "{}: {row:?}", row.name());
        let told = row.text("generator_limited") == "1";
        assert!(told || row.number("busy_pct") > 50.0 || row.is_disturbed(), "{}: {row:?}", row.name());
    }
}

#[test]
fn work_takes_its_time_for_each_datagram() {
    let scenarios = if needs::two_cores().is_some() { "drain,flood,pace,echo" } else { "drain" };
    let args = format!("--scenario {scenarios} --backend plain,mmsg --work 0,20us --rate 1000");
    let rows = Bench::new().tiny(&args).expect(0).rows();
    for row in &rows {
        assert_balanced(row);
        if row.text("work") == "0" {
            continue;
        }
        match row.text("scenario") {
            "drain" if row.text("valid") == "1" => {
                assert!(row.number("ns_per_packet") >= 19_900.0, "{}", row.text("ns_per_packet"));
            }
            "flood" => assert!(row.number("rx_pps") <= 50_500.0, "{}", row.text("rx_pps")),
            // The answer comes after the work.
            "echo" => assert!(row.number("lat_min_ns") >= 19_000.0, "{}", row.text("lat_min_ns")),
            _ => {}
        }
    }
    let works: Vec<&str> = rows.iter().map(|row| row.text("work")).collect();
    assert!(works.contains(&"0") && works.contains(&"20000"), "{works:?}");
    let send = Bench::new().tiny("--scenario send --backend plain --work 0,20us").expect(0).rows();
    assert_eq!(send.iter().map(|row| row.text("work")).collect::<Vec<_>>(), [""], "nobody receives there");
}

#[test]
fn what_cannot_be_served_is_refused() {
    for (args, reason) in [
        ("--scenario serve --handoff --wait block", "does not see the app's answers in serve"),
        ("--scenario serve --rate 1 --burst 100", "less than one burst in four seconds"),
        ("--work 2s", "not a time from 0 to 1000000000 nanoseconds"),
        ("--scenario serve --backend null", "no socket"),
    ] {
        let refused = Bench::new().run(args).expect(2);
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    }
}
