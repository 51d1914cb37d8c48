//! `relay`: several copies of each datagram, sent on out of one frame, and where each of them went.

mod common;

use common::{Bench, HPBENCH, Row, assert_balanced, needs};

const SHORT: &str = "--trials 1 -t 0.02 --warmup 0.002 --no-gates --quiet --force-plan --force -o out.csv";

/// What the columns of a row must say, whatever was lost; returns what did not reach the worker, and what did not come back.
fn stages(row: &Row) -> [i64; 2] {
    let (name, fanout) = (format!("{} to {}", row.name(), row.text("fanout")), row.count("fanout"));
    assert_eq!(row.text("error"), "", "{name}");
    assert_balanced(row);
    let [sent, relayed, forwarded, received] =
        ["sent", "relayed", "forwarded", "received"].map(|column| row.count(column));
    assert_eq!((sent % fanout, forwarded % fanout), (0, 0), "{name}: all copies or none");
    assert!(relayed > 0 && received > 0 && row.count("lat_samples") <= received, "{name}");
    assert!(forwarded <= relayed * fanout, "{name}");
    let lost = [sent / fanout - relayed, forwarded - received];
    assert!(lost.iter().all(|&lost| lost >= 0), "{name}: {lost:?}");
    let at_ring = relayed * fanout - forwarded;
    let dropped = row.count("drop_socket") + row.count("drop_ring");
    assert_eq!(lost[0] * fanout + at_ring + lost[1], dropped, "{name}");
    lost
}

#[test]
fn every_copy_comes_back_by_every_way_to_send() {
    if needs::two_cores().is_none() {
        return;
    }
    let mut backends = "plain,mmsg,plain:gro,mmsg:gso".to_owned();
    if needs::uring() {
        backends += ",uring,uring:single,uring:sendmsg,uring:send-zc,uring:write-fixed,uring:coop,uring:gso+gro";
    }
    let bench = Bench::new();
    for more in ["--batch 1,32 --burst 5", "--sockets 3", "--wait block --addressing unconnected"] {
        let backends = match more {
            "--batch 1,32 --burst 5" => backends.as_str(),
            _ => needs::backends(),
        };
        let plan = format!("--scenario relay --fanout 1,7 --rate 2000 --backend {backends} {more}");
        let done = bench.run(&format!("{plan} {SHORT}"));
        let rows = bench.rows("out.csv");
        assert!(rows.len() >= 2 * backends.split(',').count(), "{}", done.stderr);
        for row in &rows {
            assert_eq!(stages(row), [0, 0], "{}", row.name());
            // What comes in the measured phase is not all of what is sent in it.
            assert!(row.count("measured_sent") % row.count("fanout") == 0 && row.count("rate_pps") == 2000);
        }
        assert!(done.stdout.contains("relay: µs from when a datagram was due to each copy"), "{}", done.stdout);
    }
}

/// More than a worker can send, and little room to wait: most is dropped at its socket.
#[test]
fn what_is_dropped_is_accounted_for_where_it_was() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let plan =
        format!("--scenario relay --fanout 16 --rate 100k --work 20us --rcvbuf 100k --backend {}", needs::backends());
    bench.run(&format!("{plan} {SHORT} -t 0.1"));
    for row in bench.rows("out.csv") {
        let [at_worker, _] = stages(&row);
        assert!(at_worker > 0 && row.number("loss_pct") > 1.0, "{}", row.name());
    }
}

/// The same from another process, and with workers that share a port.
#[test]
fn an_agent_takes_the_copies() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let peer = format!("{HPBENCH} agent");
    for (backends, more) in [(needs::backends(), ""), ("plain", "--flows 5 -w 2 --sharding single,reuseport")] {
        let args = format!("--scenario relay --fanout 1,4 --rate 2000 --backend {backends} {SHORT} {more}");
        let words: Vec<&str> = [HPBENCH, "--peer", &peer].into_iter().chain(args.split_whitespace()).collect();
        bench.run_command(&words);
        for row in bench.rows("out.csv") {
            assert_eq!((stages(&row), row.count("lost")), ([0, 0], 0), "{}", row.name());
            assert!(!row.text("peer_host").is_empty());
        }
    }
}

#[test]
fn what_cannot_be_relayed_is_refused() {
    let bench = Bench::new();
    for (flags, told) in [
        ("--scenario pace --fanout 2", "only relay sends copies"),
        ("--scenario relay --backend null", "no socket"),
        ("--scenario relay --fanout 1025", "from 1 to 1024"),
        ("--scenario relay --handoff --wait block", "leave out one of the three"),
    ] {
        let done = bench.run(&format!("{flags} --quiet")).expect(2);
        assert!(done.stderr.contains(told) && bench.files().is_empty(), "{flags}: {}", done.stderr);
    }
}
