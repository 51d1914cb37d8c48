//! What a run measures: its cells, its rows, and the account of every datagram.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use common::{Bench, Row, assert_balanced, assert_sound, needs, read, rows};
use hpbench_backends::{Offer, Socket};

/// The columns: a contract, in this order.
const COLUMNS: &str = "schema, run_id, started_at, scenario, backend, variant, wait, addressing, bind, batch, payload, \
    round, rate_pps, burst, window, workers, generators, handoff, fifo, ring, buffers, verify, duration_target_s, \
    warmup_s, trial, attempt, order, seed, duration_s, sent, received, measured_sent, measured_received, tx_pps, rx_pps, \
    rx_mbps, loss_pct, busy_pct, generator_limited, drop_socket, drop_ring, duplicate, reordered, corrupt, truncated, \
    foreign, unexplained, send_eagain, io_errors, ns_per_packet, ns_per_packet_p50, ns_per_packet_min, \
    peer_ns_per_packet, cpu_ns_per_packet, user_ns_per_packet, sys_ns_per_packet, kthread_ns_per_packet, \
    generator_cpu_ns_per_packet, syscalls, syscalls_per_packet, cycles_per_packet, instructions_per_packet, \
    peer_instructions_per_packet, context_switches, lat_samples, lat_min_ns, lat_mean_ns, lat_p50_ns, lat_p90_ns, \
    lat_p99_ns, lat_p999_ns, lat_p9999_ns, lat_max_ns, late_p99_ns, batch_mean, kernel_batch_mean, empty_polls, rearms, \
    enobufs, cq_overflow, io_workers, host, kernel, kernel_build, arch, cpu_model, ncpu, virt, accel, qemu, governor, \
    clocksource, mitigations, rcvbuf, sndbuf, worker_cpu, generator_cpu, cpu_relation, fill, uring_flags, rt_limited, \
    hpbench, git_rev, rustc, steal_pct, run_delay_ns, canary_ratio, steady, valid, invalid_reason, error, \
    fd_table, state, pair, core_transfer_ns, unknown, lat_tail, command, kernel_canary_ratio, \
    softirq_ns_per_packet, irq_time_accounting, interface, driver, lost, \
    peer_host, peer_kernel, fill_core, drop_host, sockets, active, skew, udp_mem, work, late_answers, poll_gap_max_ns, flows, sharding, steer, balance, queue_growth, goal, goal_met, runtime, fanout, relayed, forwarded, min_wait";

const TRIALS: usize = 2;

#[test]
fn every_backend_runs_every_scenario() {
    if needs::two_cores().is_none() {
        return;
    }
    let (bench, backends) = (Bench::new(), needs::backends());
    let done = bench.tiny(&format!("--backend null,{backends} --trials {TRIALS} -t 0.1")).expect(0);
    let note = done.stderr.lines().find(|line| line.starts_with("note: ")).expect("a note");
    assert!(note.contains("flood and echo left out for null"), "{note}");
    let header = read(&bench.path("out.csv")).lines().next().expect("a header").replace(',', ", ");
    assert_eq!(header, COLUMNS);

    let rows = done.rows();
    let kinds = backends.split(',').count();
    assert_eq!(rows.len(), (2 + 4 * kinds) * TRIALS, "null has drain and send, the others have all four");
    assert_sound(&rows);
    assert_blocks(&rows);
    for row in &rows {
        let trials: Vec<&Row> = rows.iter().filter(|other| other.name() == row.name()).collect();
        let measured: i64 = trials.iter().map(|row| row.count("measured_received")).sum();
        assert!(measured > 0, "nothing was measured in {} trials of {}", trials.len(), row.name());
        let variant = match row.text("backend") {
            "null" => "memory",
            "plain" => "recvfrom+sendto",
            "mmsg" => "recvmmsg+sendmmsg",
            _ => "multishot+send+defer",
        };
        assert_eq!(row.text("variant"), variant);
        assert_scenario_columns(row);
    }
}

/// The trials are numbered, each block has each cell once, and the columns of the run are equal in all rows.
fn assert_blocks(rows: &[Row]) {
    for column in ["schema", "run_id", "seed", "host", "kernel", "hpbench", "verify", "bind"] {
        let values: BTreeSet<&str> = rows.iter().map(|row| row.text(column)).collect();
        assert!(values.len() == 1 && !values.contains(""), "{column}: {values:?}");
    }
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row.count("order"), index as i64 + 1);
        assert_eq!(row.count("attempt"), 1);
    }
    let cells = rows.len() / TRIALS;
    for (index, block) in rows.chunks(cells).enumerate() {
        assert!(block.iter().all(|row| row.count("trial") == index as i64 + 1), "block {}", index + 1);
        let names: BTreeSet<String> = block.iter().map(Row::name).collect();
        assert_eq!(names.len(), cells, "each cell once in block {}", index + 1);
    }
}

/// Columns that do not apply to a scenario or a backend are empty, and the others are not.
fn assert_scenario_columns(row: &Row) {
    let (scenario, backend) = (row.text("scenario"), row.text("backend"));
    let timed = scenario == "echo" && row.count("measured_received") > 0;
    let rounds = ["drain", "send"].contains(&scenario);
    let filled = [
        ("round", rounds),
        ("ns_per_packet", rounds),
        ("ns_per_packet_p50", rounds),
        ("ns_per_packet_min", rounds),
        ("peer_ns_per_packet", rounds),
        ("window", scenario == "echo"),
        ("lat_p50_ns", timed),
        ("lat_tail", timed),
        ("generators", scenario == "flood"),
        ("generator_limited", scenario == "flood"),
        ("busy_pct", !rounds),
        ("generator_cpu", !rounds),
        ("batch_mean", scenario != "send" && row.count("measured_received") > 0),
        ("syscalls", backend != "null"),
        ("rcvbuf", backend != "null"),
        ("buffers", backend == "uring"),
        ("uring_flags", backend == "uring"),
        ("rate_pps", false),
        ("burst", false),
        ("error", false),
    ];
    for (column, expected) in filled {
        let text = row.text(column);
        assert_eq!(!text.is_empty(), expected, "{column} is {text:?} in {}", row.name());
    }
    if rounds {
        assert!(row.number("ns_per_packet_min") <= row.number("ns_per_packet_p50"), "{}", row.name());
    }
    if timed {
        assert_eq!(row.count("lat_samples"), row.count("measured_received"), "every reply is timed");
        let quantiles = ["min", "p50", "p90", "p99", "p999", "p9999", "max"];
        let values = quantiles.map(|name| row.count(&format!("lat_{name}_ns")));
        assert!(values.is_sorted() && values[0] > 0, "{values:?}");
    }
}

#[test]
fn the_seed_decides_the_order_of_cells() {
    let order = |seed: u32| -> Vec<String> {
        let args = "--backend null,plain --scenario drain,send --batch 1,8 -t 0.001 --warmup 0 --trials 3";
        let rows = Bench::new().tiny(&format!("{args} --seed {seed}")).expect(0).rows();
        assert!(rows.iter().all(|row| row.count("seed") == i64::from(seed)));
        rows.iter().map(Row::name).collect()
    };
    let first = order(7);
    assert_eq!(first, order(7), "the same seed");
    assert_ne!(first, order(8), "another seed");
    assert_ne!(first[..8], first[8..16], "another block");
}

#[test]
fn every_byte_is_verified_at_every_size() {
    if needs::two_cores().is_none() {
        return;
    }
    let (backends, gso) = (needs::backends(), needs::gso());
    for (name, address) in [("ipv4", Ipv4Addr::LOCALHOST.into()), ("ipv6", Ipv6Addr::LOCALHOST.into())] {
        if !needs::address(name, address) {
            continue;
        }
        let bench = Bench::new();
        let args = format!(
            "--bind {address} --backend {backends} --payload 32,1472,65507 --verify full --batch 1 --packets 100"
        );
        let rows = bench.tiny(&args).expect(0).rows();
        assert_eq!(rows.len(), 4 * 3 * backends.split(',').count());
        assert_sound(&rows);
        for row in &rows {
            assert_eq!((row.text("bind"), row.text("verify")), (address.to_string().as_str(), "full"));
            if ["drain", "flood"].contains(&row.text("scenario")) {
                let fill = if gso && row.text("payload") != "65507" { "gso" } else { "sendmmsg" };
                assert_eq!(row.text("fill"), fill, "{}", row.name());
            }
        }
    }
}

#[test]
fn the_largest_batch_moves_at_once() {
    if needs::two_cores().is_none() || !needs::rcvbuf(1 << 20) {
        return;
    }
    let args = format!("--backend null,{} --batch 1024 --window 1,64 --packets 1024", needs::backends());
    let rows = Bench::new().tiny(&args).expect(0).rows();
    assert_sound(&rows);
    let drain = rows.iter().find(|row| row.text("scenario") == "drain" && row.text("backend") == "mmsg");
    let drain = drain.expect("a row of mmsg");
    assert_eq!((drain.number("batch_mean"), drain.number("kernel_batch_mean")), (1024.0, 1024.0));
}

#[test]
fn a_round_fits_into_half_of_the_queue() {
    const BATCH: i64 = 24;
    let (near, far) = Socket::pair(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)).expect("loopback");
    near.set_buffers(100_000, 100_000).expect("small buffers");
    let mut offer = Offer::new(Arc::new(far), 64, needs::gso()).expect("probed");
    let sent = offer.send(64, |bytes| bytes.fill(1)).expect("sent") as i64;
    let info = near.meminfo().expect("Linux 4.12");
    assert_eq!(info.drops, 0);
    let fitting = i64::from(info.rcvbuf) / 2 / (i64::from(info.rmem_alloc) / sent);
    assert!(fitting > 4 * BATCH, "the buffer is large enough for the test");

    let args =
        format!("--backend {} --scenario drain,send --batch 24 --round 100000 --rcvbuf 100000", needs::backends());
    for row in Bench::new().tiny(&args).expect(0).rows() {
        assert_sound(std::slice::from_ref(&row));
        assert_eq!(row.count("rcvbuf"), i64::from(info.rcvbuf));
        let round = row.count("round");
        assert!(round % BATCH == 0 && round >= fitting / 2, "{round} of {fitting}");
        // Datagrams from `send` are smaller in the queue than those from `drain` with GSO.
        assert!(round <= fitting || row.text("scenario") == "send", "{round} of {fitting}");
        assert_eq!(row.count("drop_socket"), 0, "sizing and rounds do not overrun the queue: {}", row.name());
    }
}

#[test]
fn a_batch_that_no_round_holds_is_an_error_row() {
    let args = "--backend null,plain --scenario drain,send --batch 16,64 --round 32";
    let done = Bench::new().tiny(args).expect(1);
    for row in done.rows() {
        if row.text("batch") == "16" {
            assert_eq!(row.text("error"), "");
            assert_balanced(&row);
            continue;
        }
        let error = row.text("error");
        assert!(error.contains("batch of 64") && error.contains("--round"), "{error}");
        assert_eq!((row.text("valid"), row.text("sent"), row.text("rx_pps")), ("0", "", ""), "no numbers");
        assert!(done.shows(error), "the table tells of it:\n{}", done.stdout);
    }
}

#[test]
fn a_count_ends_the_measured_phase_exactly() {
    let args = format!("--backend null,{} --scenario drain,send --packets 5001 --round 256", needs::backends());
    let rows = Bench::new().tiny(&args).expect(0).rows();
    assert_sound(&rows);
    for row in rows {
        assert_eq!((row.count("measured_received"), row.count("measured_sent")), (5001, 5001), "{}", row.name());
        assert_eq!(row.text("duration_target_s"), "");
    }
}

#[test]
fn what_does_not_fit_into_the_queue_is_counted() {
    if needs::two_cores().is_none() {
        return;
    }
    let args = format!("--backend {} --scenario flood --rcvbuf 4096 -t 0.2", needs::backends());
    for row in Bench::new().tiny(&args).expect(0).rows() {
        assert_balanced(&row);
        assert!(row.count("drop_socket") > 0, "an overrun queue drops");
        // Of the measured phase only: what was dropped in the warm-up is not part of it.
        let lost = row.number("loss_pct") / 100.0 * row.number("measured_sent");
        let slack = 1e-6 * row.number("measured_sent");
        assert!((-slack..=row.number("drop_socket") + slack).contains(&lost), "{lost} in {}", row.name());
        let kept = row.number("measured_sent") - lost;
        assert!(kept <= row.number("received") + slack, "{kept} in {}", row.name());
    }
}

#[test]
fn a_generator_is_limited_where_it_leaves_the_worker_idle() {
    const RUNS: usize = 10;
    if needs::two_cores().is_none() {
        return;
    }
    // A short queue is soon empty, so the worker is idle most of the time; but on a busy machine it may
    // lose its core in the middle of a call, which then looks like work.
    let mut disturbed = 0;
    for _ in 0..RUNS {
        let row = Bench::new().tiny("--backend plain --scenario flood --rcvbuf 4096 -t 0.1").expect(0).rows().remove(0);
        let limited = row.text("generator_limited") == "1";
        assert_eq!(limited, row.number("busy_pct") < 95.0);
        if limited {
            return;
        }
        disturbed += usize::from(row.is_disturbed());
    }
    assert!(disturbed > RUNS / 2, "none of {RUNS} trials was limited by its generator");
    needs::skip("quiet", &format!("other programs disturbed {disturbed} of {RUNS} trials: no worker was seen idle"));
}

#[test]
fn a_limited_generator_and_an_invalid_trial_matter_only_to_strict_runs() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let args = "--backend plain --scenario flood --packets 1000";
    bench.tiny_undisturbed(args).expect(0);
    let path = bench.path("out.csv");
    let good = read(&path);
    for (change, limited) in [(("generator_limited", "0"), false), (("generator_limited", "1"), true)] {
        fs::write(&path, rows::with(&good, &[change])).expect("it is there");
        let done = bench.tiny(&format!("{args} --resume")).expect(0);
        assert_eq!(done.stdout.contains('≥'), limited, "{}", done.stdout);
        bench.tiny(&format!("{args} --resume --strict")).expect(i32::from(limited));
    }
    let invalid = [("generator_limited", "0"), ("valid", "0"), ("invalid_reason", "disturbed: by another program")];
    fs::write(&path, rows::with(&good, &invalid)).expect("it is there");
    bench.tiny(&format!("{args} --resume")).expect(0);
    bench.tiny(&format!("{args} --resume --strict")).expect(1);
}

#[test]
fn trials_take_turns_on_one_port_and_on_named_cores() {
    let Some([first, second]) = needs::two_cores() else { return };
    let port = (20_000..30_000).find(|&port| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let port = port.expect("a free port that the kernel does not choose by itself");
    let cores = format!("--cpu {first} --generator-cpu {second}");
    let args = format!("--backend {} --port {port} {cores} --trials 4 -t 0.01", needs::backends());
    for row in Bench::new().tiny(&args).expect(0).rows() {
        assert_balanced(&row);
        assert_eq!(row.text("worker_cpu"), first.to_string());
        let generator =
            if row.text("window").is_empty() && row.text("generators").is_empty() { None } else { Some(second) };
        assert_eq!(row.text("generator_cpu"), generator.map_or_else(String::new, |core| core.to_string()));
    }
}
