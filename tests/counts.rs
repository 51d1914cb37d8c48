//! Our counts against other counts of the same events: strace's of system calls, the kernel's of datagrams.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write;

use common::{Bench, Row, needs, read, tiny};

/// How often each system call was made, from the summary of `strace -c`.
fn calls(summary: &str) -> BTreeMap<&str, i64> {
    let mut calls = BTreeMap::new();
    for line in summary.lines() {
        // "% time  seconds  usecs/call  calls  [errors]  syscall"
        let words: Vec<&str> = line.split_whitespace().collect();
        if let (5 | 6, Some(Ok(count))) = (words.len(), words.get(3).map(|word| word.parse())) {
            calls.insert(words[words.len() - 1], count);
        }
    }
    calls
}

/// Runs a trial of `packets` datagrams under strace. Returns how often it made `call`: as strace
/// counts it for the whole process, and as the row has it.
fn traced(backend: &str, scenario: &str, call: &str, packets: u32) -> [i64; 2] {
    let trace = format!("trace={call}");
    let bench = Bench::under(["strace", "-f", "-c", "-e", &trace, "-o", "../calls"]);
    let args = format!("--backend {backend} --scenario {scenario} --packets {packets} --warmup 0 --seed 1");
    let row = bench.tiny(&args).expect(0).rows().remove(0);
    assert_eq!(row.count("measured_received"), i64::from(packets), "{}", row.name());
    let summary = read(&bench.beside("calls"));
    let seen = calls(&summary).get(call).copied();
    [seen.unwrap_or_else(|| panic!("strace saw no {call} in {}:\n{summary}", row.name())), row.count("syscalls")]
}

/// Opening, sizing and closing take the same calls for N datagrams and for 2 N; the rest are the backend's.
#[test]
fn system_calls_are_counted_as_strace_counts_them() {
    const PACKETS: u32 = 4096;
    if !needs::strace() {
        return;
    }
    let mut cases = vec![
        ("plain", "drain", "recvfrom"),
        ("plain", "send", "sendto"),
        ("mmsg", "drain", "recvmmsg"),
        ("mmsg", "send", "sendmmsg"),
    ];
    if needs::uring() {
        cases.extend([("uring", "drain", "io_uring_enter"), ("uring", "send", "io_uring_enter")]);
    }
    let mut report = String::new();
    for (backend, scenario, call) in cases {
        let [once, twice] = [PACKETS, 2 * PACKETS].map(|packets| traced(backend, scenario, call, packets));
        let [seen, counted] = [twice[0] - once[0], twice[1] - once[1]];
        assert!(counted > 0, "{backend} {scenario}");
        if (seen - counted).abs() * 100 > counted {
            writeln!(report, "{backend} {scenario}: strace saw {seen} more {call}, the row has {counted}")
                .expect("text");
        }
    }
    assert_eq!(report, "");
}

/// The `Udp:` counters of /proc/net/snmp, by name.
fn udp(snmp: &str) -> BTreeMap<String, i64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let value = |text: &str| text.parse::<i64>().expect("a number");
    names.split(' ').map(str::to_owned).zip(values.split(' ').map(value)).collect()
}

/// Runs hpbench in a network of its own. Returns its rows, and how much the kernel's counters grew.
fn in_netns(args: &str) -> Option<(Vec<Row>, BTreeMap<String, i64>)> {
    let script =
        "cat /proc/net/snmp > ../before && \"$0\" \"$@\"; status=$?; cat /proc/net/snmp > ../after; exit $status";
    let wrapper = needs::netns(script)?;
    let bench = Bench::under(wrapper.iter().map(String::as_str));
    let rows = bench.run(&tiny(args)).expect(0).rows();
    let before = udp(&read(&bench.beside("before")));
    let mut grown = udp(&read(&bench.beside("after")));
    for (name, value) in &mut grown {
        *value -= before[name];
    }
    Some((rows, grown))
}

fn sum(rows: &[Row], columns: &[&str]) -> i64 {
    rows.iter().flat_map(|row| columns.iter().map(|column| row.count(column))).sum()
}

/// Datagrams that a backend took from the kernel, whatever happened to them.
const ARRIVED: [&str; 5] = ["received", "drop_ring", "duplicate", "corrupt", "foreign"];

/// Fails if the kernel lost a datagram that no column accounts for.
#[track_caller]
fn assert_nothing_else(grown: &BTreeMap<String, i64>, rows: &[Row]) {
    assert_eq!(grown["RcvbufErrors"], sum(rows, &["drop_socket"]), "drops at full queues: {grown:?}");
    assert_eq!(grown["InErrors"], grown["RcvbufErrors"], "no other errors: {grown:?}");
    for name in ["NoPorts", "InCsumErrors", "SndbufErrors", "MemErrors", "IgnoredMulti"] {
        // Older kernels do not have all of them.
        assert_eq!(grown.get(name).copied().unwrap_or(0), 0, "{name}: {grown:?}");
    }
    assert_eq!(sum(rows, &["unexplained"]), 0);
}

#[test]
fn the_kernel_agrees_under_overload() {
    if needs::two_cores().is_none() {
        return;
    }
    for backend in needs::backends().split(',') {
        let args = format!("--backend {backend} --scenario flood --rcvbuf 4096 --trials 3 -t 0.2");
        let Some((rows, grown)) = in_netns(&args) else { return };
        assert_eq!(grown["InDatagrams"], sum(&rows, &ARRIVED), "{backend}: {grown:?}");
        assert_nothing_else(&grown, &rows);
        assert!(rows.iter().all(|row| row.count("drop_socket") > 0), "{backend}: every trial overran the queue");
    }
}

#[test]
fn the_kernel_agrees_where_rounds_fit() {
    for backend in needs::backends().split(',') {
        // The small buffer holds rounds of four, but not the sample from which `send` learns that.
        for (scenario, rcvbuf, drops) in
            [("drain", 1 << 16, false), ("drain", 4096, false), ("send", 1 << 16, false), ("send", 4096, true)]
        {
            let args = format!("--backend {backend} --scenario {scenario} --batch 2 --rcvbuf {rcvbuf}");
            let Some((rows, grown)) = in_netns(&args) else { return };
            assert_eq!(grown["InDatagrams"], sum(&rows, &ARRIVED), "{backend}: {grown:?}");
            assert_nothing_else(&grown, &rows);
            let dropped = grown["RcvbufErrors"] > 0;
            assert_eq!(dropped, drops, "{backend} {scenario}, a buffer of {rcvbuf} bytes: {grown:?}");
        }
    }
}

/// In `echo` both sockets receive: requests arrive besides the replies that the rows count.
#[test]
fn the_kernel_agrees_on_round_trips() {
    if needs::two_cores().is_none() {
        return;
    }
    for backend in needs::backends().split(',') {
        let Some((rows, grown)) = in_netns(&format!("--backend {backend} --scenario echo --window 1,8 -t 0.05")) else {
            return;
        };
        assert_eq!(grown["InDatagrams"], 2 * sum(&rows, &ARRIVED), "{backend}: {grown:?}");
        assert_eq!(grown["InDatagrams"], grown["OutDatagrams"], "{backend}: {grown:?}");
        assert_nothing_else(&grown, &rows);

        // A window that does not fit into the queues: what is not dropped on the way there or back arrives.
        let args = format!("--backend {backend} --scenario echo --window 256 --rcvbuf 4096 -t 0.05");
        let Some((rows, grown)) = in_netns(&args) else { return };
        assert_nothing_else(&grown, &rows);
        assert!(grown["RcvbufErrors"] > 0, "{backend}: the queue was overrun");
        assert_eq!(grown["InDatagrams"] + grown["RcvbufErrors"], grown["OutDatagrams"], "{backend}: {grown:?}");
    }
}
