//! `hpbench compare --across host`: a change on many hosts, with made-up rows.

mod common;

use common::rows::{bench, drain, text};
use common::{Row as Parsed, parse};
use hpbench::record::row::Row;

/// Pairs of runs in states A and B; `change` is the ratio of B to A on a host.
fn fleet(hosts: usize, pairs: u32, change: impl Fn(usize) -> f64) -> Vec<Row> {
    let mut rows = Vec::new();
    for host in 1..=hosts {
        for pair in 1..=pairs {
            for (side, state) in ["A", "B"].into_iter().enumerate() {
                let noise = 0.002 * ((host * 7 + pair as usize * (5 + 3 * side)) % 11) as f64;
                let factor = if state == "B" { change(host) } else { 1.0 };
                // Hosts have different speeds.
                let ns = (300 + 20 * host) as f64 * factor * (1.0 + noise);
                rows.extend((1..=6).map(|block| Row {
                    run_id: format!("{host}-{pair}-{state}"),
                    started_at: format!("2026-11-29T10:{pair:02}:{side:02}Z"),
                    host: format!("h{host:02}"),
                    kernel: format!("6.{}", host % 3),
                    state: state.into(),
                    pair: Some(pair),
                    ..drain("plain", 32, block, ns)
                }));
            }
        }
    }
    rows
}

fn of_costs(rows: Vec<Parsed>) -> Vec<Parsed> {
    rows.into_iter().filter(|row| row.text("metric") == "ns_per_packet_p50").collect()
}

#[test]
fn the_median_host_has_a_verdict_and_others_are_named() {
    let change = |host| match host {
        7 => 1.15,
        13 => 0.95,
        _ => 1.05,
    };
    let bench = bench("fleet.csv", &text(&fleet(20, 8, change)));
    let done = bench.run("compare --by state --across host fleet.csv").expect(0);
    assert!(done.shows("drain: ns_per_packet_p50 in ns, lower is better, across hosts; state B against A"));
    assert!(done.shows("hosts that differ: "), "{}", done.stdout);
    let line = done.stdout.lines().find(|line| line.starts_with("hosts that differ")).expect("a line");
    assert!(line.contains("h07 +1") && line.contains("h13 -") && !line.contains("h01"), "{line}");
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80 && line.trim_end() == line), "{}", done.stdout);

    let csv = bench.run("compare --by state --across host --format csv fleet.csv").expect(0);
    let rows = of_costs(parse(&csv.stdout));
    let hosts: Vec<&str> = rows.iter().map(|row| row.text("host")).collect();
    assert_eq!(hosts.len(), 3, "{}", csv.stdout);
    assert!(hosts[0].is_empty() && hosts.contains(&"h07") && hosts.contains(&"h13"), "{hosts:?}");
    let median = &rows[0];
    assert_eq!((median.text("verdict"), median.text("hosts"), median.text("base")), ("worse", "20", "A"));
    assert!((median.number("ratio") - 1.05).abs() < 0.01 && median.number("ratio_low") > 1.03, "{}", csv.stdout);
    assert!(rows[1..].iter().all(|row| row.text("verdict") == "differs" && row.number("q") < 0.05));

    let json = bench.run("compare --by state --across host --format json fleet.csv").expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["by"], &json["across"]), (&"state".into(), &"host".into()));
    assert_eq!(json["fleets"][0]["verdict"], "worse");
    assert_eq!(json["fleets"][0]["differing"].as_array().map(Vec::len), Some(2), "{json}");

    bench.run("compare --by state --across host --fail-on worse fleet.csv").expect(3);
    bench.run("compare --by state --across host --fail-on worse-by-threshold --threshold 10% fleet.csv").expect(0);
}

#[test]
fn kernels_are_compared_on_each_host() {
    let on_kernels = |row: Row| Row { kernel: if row.state == "A" { "6.1" } else { "6.12" }.into(), ..row };
    let rows: Vec<Row> = fleet(8, 4, |_| 1.2).into_iter().map(on_kernels).collect();
    let bench = bench("fleet.csv", &text(&rows));
    let rows = of_costs(parse(&bench.run("compare --by kernel --across host --format csv fleet.csv").expect(0).stdout));
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].text("verdict"), rows[0].text("base"), rows[0].text("new")), ("worse", "6.1", "6.12"));
}

#[test]
fn too_few_hosts_or_pairs_say_so() {
    let bench = bench("few.csv", &text(&fleet(5, 8, |_| 1.05)));
    let done = bench.run("compare --by state --across host few.csv").expect(0);
    assert!(done.shows("No verdict: too few hosts: 5 hosts have two pairs of runs or more"), "{}", done.stdout);
    let with_one_pair = fleet(8, 2, |_| 1.05).into_iter().filter(|row| row.host != "h03" || row.pair == Some(1));
    std::fs::write(bench.path("pair.csv"), text(&with_one_pair.collect::<Vec<_>>())).expect("a file");
    let done = bench.run("compare --by state --across host pair.csv").expect(0);
    assert!(done.shows("fewer than 2 pairs of their runs count (column pair): h03."), "{}", done.stdout);
    let without = fleet(8, 2, |_| 1.05).into_iter().map(|row| Row { pair: None, ..row });
    std::fs::write(bench.path("none.csv"), text(&without.collect::<Vec<_>>())).expect("a file");
    let done = bench.run("compare --by state --across host none.csv").expect(0);
    assert!(done.shows("too few hosts: 0 hosts have"), "{}", done.stdout);
    for (args, told) in [
        ("compare --by host --across host few.csv", "hosts with each other; use --by state or --by kernel"),
        ("compare --across host few.csv", "--by"),
        ("compare --by state --across kernel few.csv", "host"),
    ] {
        let message = bench.run(args).expect(2).stderr;
        assert!(message.contains(told), "{args}: {message}");
    }
}

/// Of sixteen hosts, seven do not count, each for its own reason.
fn with_others() -> Vec<Row> {
    let failed = |row: Row| Row { error: "no such call".into(), valid: 0, ns_per_packet_p50: None, ..row };
    let change = |row: Row| match (row.host.as_str(), row.state.as_str()) {
        ("h01", _) if row.pair != Some(1) => None,
        ("h02", "B") => None,
        ("h03", "B") => Some(Row { rcvbuf: Some(1 << 18), ..row }),
        ("h04", "B") => Some(failed(row)),
        ("h05", _) => Some(failed(row)),
        ("h06", _) => Some(Row { generator_limited: Some(1), ..row }),
        // A host that is compared nowhere.
        ("h07", "A") => Some(Row { batch: 8, order: row.order + 50_000, ..row }),
        ("h07", _) => None,
        _ => Some(row),
    };
    fleet(16, 4, |_| 1.05).into_iter().filter_map(change).collect()
}

#[test]
fn no_host_vanishes() {
    let bench = bench("fleet.csv", &text(&with_others()));
    let reasons = [
        ("h01", "fewer than 2 pairs of its runs count (column pair)"),
        ("h02", "measured on one side only"),
        ("h03", "rcvbuf is 1048576 and 262144"),
        ("h04", "all trials of a side failed"),
        ("h05", "all trials of a side failed"),
        ("h06", "the generators could not keep the worker busy"),
    ];
    let csv = bench.run("compare --by state --across host --format csv fleet.csv").expect(0);
    let rows = of_costs(parse(&csv.stdout));
    assert_eq!((rows[0].text("hosts"), rows[0].text("verdict")), ("9", "worse"), "{}", csv.stdout);
    let found: Vec<_> = rows.iter().filter(|row| row.text("verdict") == "left_out").collect();
    assert_eq!(found.len(), reasons.len(), "{}", csv.stdout);
    for (row, (host, reason)) in found.iter().zip(reasons) {
        assert_eq!(row.text("host"), host, "{}", csv.stdout);
        assert!(row.text("reason").starts_with(reason) && row.text("ratio").is_empty(), "{}", row.text("reason"));
    }
    let json = bench.run("compare --by state --across host --format json fleet.csv").expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let costs = json["fleets"].as_array().expect("fleets").iter().find(|one| one["metric"] == "ns_per_packet_p50");
    let left_out = costs.expect("one of costs")["left_out"].as_array().expect("a list").clone();
    assert_eq!(left_out.len(), reasons.len(), "{json}");
    for (one, (host, reason)) in left_out.iter().zip(reasons) {
        assert_eq!(one["host"], host);
        assert!(one["reason"].as_str().is_some_and(|told| told.starts_with(reason)), "{one}");
    }
    let table = bench.run("compare --by state --across host fleet.csv").expect(0);
    for told in [
        "fewer than 2 pairs of their runs count (column pair): h01.",
        "they were measured on one side only: h02, h07.",
        "rcvbuf is 1048576 and 262144: h03.",
        "all trials of a side failed: h04, h05.",
        "the load is the limit: h06.",
    ] {
        assert!(table.shows(told), "{told}: {}", table.stdout);
    }
}

/// Hosts that share nothing are not compared with each other.
#[test]
fn hosts_of_one_side_each_are_told_of() {
    let one_side = |row: &Row| (row.host == "h01") == (row.state == "A");
    let rows: Vec<Row> = fleet(2, 4, |_| 1.0).into_iter().filter(one_side).collect();
    let bench = bench("fleet.csv", &text(&rows));
    let message = bench.run("compare --by state --across host fleet.csv").expect(2).stderr;
    assert!(message.contains("no cell is on two sides"), "{message}");
}

/// Runs that have both sides are pairs by themselves: by their own medians.
#[test]
fn backends_are_compared_within_the_runs_of_each_host() {
    let mut rows = Vec::new();
    for host in 1..=12 {
        for run in 1..=3 {
            let drift = 1.0 + 0.1 * run as f64;
            for block in 1..=6 {
                for (backend, factor) in [("plain", 1.0), ("mmsg", if host == 3 { 1.3 } else { 0.9 })] {
                    let noise = 1.0 + 0.002 * ((host * 7 + block * 5 + run * 3) % 11) as f64;
                    rows.push(Row {
                        run_id: format!("{host}-{run}"),
                        host: format!("h{host}"),
                        cpu_model: "One".into(),
                        ..drain(backend, 32, block, 300.0 * drift * factor * noise)
                    });
                }
            }
        }
    }
    let bench = bench("fleet.csv", &text(&rows));
    let done = bench.run("compare --by backend --across host --format csv fleet.csv").expect(0);
    let rows = of_costs(parse(&done.stdout));
    assert_eq!((rows[0].text("hosts"), rows[0].text("verdict")), ("12", "better"), "{}", done.stdout);
    assert!((rows[0].number("ratio") - 0.9).abs() < 0.005);
    assert_eq!((rows[1].text("host"), rows[1].text("verdict")), ("h3", "differs"));
    assert_eq!(rows.len(), 2, "all have one processor: no group");
    bench.run("report --by backend --across host -o fleet.html fleet.csv").expect(0);
    let page = common::read(&bench.path("fleet.html"));
    for told in [
        "hpbench: 12 hosts",
        "1 host certainly differs",
        "h3 +30",
        "better; mmsg against plain",
        "No group of six hosts",
    ] {
        assert!(page.contains(told), "{told}");
    }
    let message = bench.run("report --across host -o other.html fleet.csv").expect(2).stderr;
    assert!(message.contains("--by"), "{message}");
}
