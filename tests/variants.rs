//! Modes, addresses and buffers, end to end.

mod common;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::filters::filtered_by;
use common::{Bench, Row, assert_balanced, assert_sound, needs};
use hpbench_backends::Kind;

/// The backends of a plan that this kernel cannot run, as the dry run reports.
fn lacking(bench: &Bench, args: &str) -> Vec<String> {
    let told = bench.run(&format!("{args} --dry-run")).expect(0).stdout;
    told.lines().filter_map(|line| line.split_once(" cannot run here: ")).map(|(name, _)| name.to_owned()).collect()
}

fn variant(row: &Row) -> String {
    format!("{}:{}", row.text("backend"), row.text("variant"))
}

#[test]
fn all_modes_run_and_account_for_every_datagram() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let args = "--backend all --addressing connected,unconnected";
    let lacking = lacking(&bench, args);
    let done = bench.tiny(args).expect(i32::from(!lacking.is_empty()));
    let (failed, rows): (Vec<_>, Vec<_>) = done.rows().into_iter().partition(|row| !row.text("error").is_empty());
    assert_sound(&rows);
    for row in &failed {
        assert!(lacking.contains(&variant(row)), "{}: {}", row.name(), row.text("error"));
    }
    let has = |scenario: &str, variant: &str, addressing: &str| {
        rows.iter().chain(&failed).any(|row| {
            [row.text("scenario"), row.text("variant"), row.text("addressing")] == [scenario, variant, addressing]
        })
    };
    for (scenario, variant, addressing) in [
        ("drain", "multishot+send+defer", "connected"),
        ("drain", "recvmsg-multishot+sendmsg+defer", "unconnected"),
        ("send", "multishot+send-zc+defer", "connected"),
        ("echo", "multishot+send+sqpoll", "connected"),
        ("echo", "recvmsg-multishot+sendmsg+sqpoll", "unconnected"),
        ("flood", "recvmmsg+sendmmsg+gro", "unconnected"),
        ("send", "recvfrom+sendto+gso", "connected"),
    ] {
        assert!(has(scenario, variant, addressing), "{scenario} {variant} {addressing}");
    }
    assert!(!has("drain", "multishot+send-zc+defer", "connected"), "how to send makes no difference in drain");
    assert!(!has("drain", "single+sendmsg+defer", "unconnected"), "it has no addresses");
}

#[test]
fn what_took_effect_is_recorded() {
    if !needs::uring() {
        return;
    }
    let backends = "uring,uring:coop,uring:default,uring:sqpoll,uring:single";
    let done = Bench::new().tiny(&format!("--backend {backends} --scenario drain --buffers 64,256"));
    for row in done.rows().into_iter().filter(|row| row.text("error").is_empty()) {
        let flags = row.text("uring_flags");
        let has = |flag: &str| flags.split('|').any(|set| set == flag);
        let setup = row.text("variant").rsplit('+').next().unwrap_or_default().to_owned();
        assert_eq!(has("SQPOLL"), setup == "sqpoll", "{flags}");
        assert!(has("COOP_TASKRUN") || setup != "coop", "{flags}");
        assert!(!(has("COOP_TASKRUN") || has("DEFER_TASKRUN")) || ["defer", "coop"].contains(&&*setup), "{flags}");
        let is_single = row.text("variant").starts_with("single");
        assert_eq!(row.text("buffers").is_empty(), is_single, "a row without a buffer ring has none");
        assert_eq!(row.text("rearms").is_empty(), is_single);
    }
}

/// The kernel updates the time of a thread at its ticks, which a short trial, or one on a busy machine, may miss: one
/// of several trials shows it.
#[test]
fn the_time_of_the_kernels_thread_is_charged() {
    if needs::two_cores().is_none() || !needs::uring() {
        return;
    }
    let rows = Bench::new().tiny("--backend uring:sqpoll --scenario drain --trials 8 -t 0.1").rows();
    if let Some(row) = rows.iter().find(|row| !row.text("error").is_empty()) {
        return needs::skip("uring:sqpoll", &row.text("error"));
    }
    assert!(rows.iter().any(|row| row.number("kthread_ns_per_packet") > 0.0), "none of {} trials", rows.len());
}

/// A kernel without buffer rings answers EINVAL to their registration.
#[test]
fn what_a_kernel_lacks_is_an_error_row_and_the_rest_runs() {
    const REGISTER_PBUF_RING: i32 = 22;
    if !needs::uring() {
        return;
    }
    let args = "--backend uring,uring:single,uring:recvmsg-multishot,plain --scenario drain";
    let run = || Bench::new().tiny(args);
    let done = filtered_by(libc::SYS_io_uring_register, &[(1, REGISTER_PBUF_RING)], libc::EINVAL, run).expect(1);
    let rows = done.rows();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let needs_buffers = row.text("variant").contains("multishot");
        let error = row.text("error");
        assert_eq!(!error.is_empty(), needs_buffers, "{}: {error}", row.name());
        assert!(!needs_buffers || error.contains("buffer rings") && error.contains("Linux 5.19"), "{error}");
    }
}

#[test]
fn trains_deliver_far_more_and_are_checked_datagram_by_datagram() {
    if needs::two_cores().is_none() || !needs::gso() {
        return;
    }
    let uring = if needs::uring() { ",uring,uring:gso+gro" } else { "" };
    let args = format!("--backend mmsg,mmsg:gso+gro,plain,plain:gro{uring} --scenario flood --trials 3 -t 0.1");
    // Without optimisation the check of a datagram costs more than its delivery.
    let times = if cfg!(debug_assertions) { 1.5 } else { 5.0 };
    let (mut rows, mut slow) = (Vec::new(), Vec::<String>::new());
    // On a busy machine even the best of three may have had its core only half of the time.
    for _ in 0..4 {
        rows.extend(Bench::new().tiny(&args).expect(0).rows());
        let backends = ["mmsg", "plain", "uring"].iter().filter(|&&backend| backend != "uring" || !uring.is_empty());
        let best = |backend: &str, trains: bool| {
            let is_it = |row: &&Row| row.text("backend") == backend && row.text("variant").ends_with("gro") == trains;
            rows.iter().filter(is_it).map(|row| row.number("rx_pps")).fold(0.0, f64::max)
        };
        let bests = backends.map(|backend| (backend, best(backend, false), best(backend, true)));
        slow = bests.filter(|(_, alone, trains)| *trains < times * alone).map(|best| format!("{best:?}")).collect();
        if slow.is_empty() {
            break;
        }
    }
    for row in &rows {
        assert_balanced(row);
        assert_eq!((row.text("corrupt"), row.text("truncated")), ("0", "0"), "{}", row.name());
    }
    assert!(slow.is_empty(), "a second alone, and in trains: {slow:?}");
}

/// Datagrams that the kernel drops in trains are also accounted for: it counts trains.
#[test]
fn dropped_trains_are_accounted_for() {
    if needs::two_cores().is_none() || !needs::gso() {
        return;
    }
    // A full check of long datagrams is slower than sending them.
    let args = "--backend plain:gro,mmsg:gro --scenario flood --payload 1400 --verify full --rcvbuf 65536 -t 0.1";
    let rows = Bench::new().tiny(args).expect(0).rows();
    assert!(rows.iter().any(|row| row.count("drop_socket") > 0), "the queue is short");
    rows.iter().for_each(assert_balanced);
}

/// At the end of a trial the kernel thread may hold trains that are no longer in the queue.
#[test]
fn trains_in_the_hands_of_the_kernels_thread_are_waited_for() {
    let is_there = |bench: &Bench| lacking(bench, "--backend uring:sqpoll+gro --scenario pace").is_empty();
    if needs::two_cores().is_none() || !needs::gso() || !needs::uring() || !is_there(&Bench::new()) {
        return;
    }
    let args = "--backend uring:gro+sqpoll --scenario pace,flood --payload 9000 -t 0.01 --trials 12";
    let rows = Bench::new().tiny(args).rows();
    assert_eq!(rows.len(), 24);
    for row in rows {
        assert_eq!(row.text("error"), "");
        assert_balanced(&row);
    }
}

/// The rows of a run to whose port another program sends, with a pause after each datagram.
fn rows_beside_another_sender(pause: Duration, args: &str) -> Vec<Row> {
    let bench = Bench::new();
    // A port of our own, which is free again when hpbench binds it.
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("loopback").port();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let stranger = UdpSocket::bind("127.0.0.1:0").expect("loopback");
            while !done.load(Ordering::Relaxed) {
                // There may be no receiver yet, or any more.
                let _ = stranger.send_to(b"a datagram of somebody else's", ("127.0.0.1", port));
                thread::sleep(pause);
            }
        });
        let run = bench.tiny(&format!("{args} --port {port}"));
        done.store(true, Ordering::Relaxed);
        run.expect(0).rows()
    })
}

#[test]
fn a_datagram_of_others_now_and_then_spoils_no_round() {
    let backends = needs::backends();
    let args =
        format!("--backend {backends} --scenario drain,send --addressing connected,unconnected -t 0.1 --trials 3");
    let rows = rows_beside_another_sender(Duration::from_millis(4), &args);
    for row in &rows {
        assert_eq!((row.count("unexplained"), row.count("sent")), (0, row.count("received")), "{}", row.name());
        let reason = row.text("invalid_reason");
        assert!(reason.is_empty() || reason.starts_with("disturbed:"), "{}: {reason}", row.name());
    }
    let reached = |row: &&Row| row.text("addressing") == "unconnected" && row.text("scenario") == "drain";
    assert!(rows.iter().filter(reached).all(|row| row.count("foreign") > 0), "the socket is open to all");
}

#[test]
fn strangers_reach_an_unconnected_socket_and_are_counted() {
    let rows = rows_beside_another_sender(
        Duration::ZERO,
        "--backend plain --scenario flood,echo --addressing unconnected --rcvbuf 8192 --batch 1 -t 0.2",
    );
    assert!(rows.iter().any(|row| row.count("foreign") > 0), "the socket is open to all");
    for row in rows.iter().filter(|row| row.text("error").is_empty()) {
        let with_loss = row.count("foreign") > 0 && row.count("drop_socket") > 0;
        assert_eq!(row.text("unexplained").is_empty(), with_loss, "{}", row.name());
        assert_eq!(
            row.text("invalid_reason").contains("foreign-with-loss"),
            with_loss,
            "{}",
            row.text("invalid_reason")
        );
    }
}

#[test]
fn the_dry_run_shows_what_all_means() {
    let text = Bench::new().run("--backend uring:all --scenario drain,send --dry-run").expect(0).stdout;
    for mode in ["single-recvmsg+send+defer", "multishot+send+sqpoll", "recvmsg-multishot+send+defer+gro"] {
        assert!(text.lines().any(|line| line.starts_with("drain") && line.contains(mode)), "{mode}:\n{text}");
    }
    for mode in ["multishot+write-fixed+defer", "multishot+sendmsg+defer+gso"] {
        assert!(text.lines().any(|line| line.starts_with("send") && line.contains(mode)), "{mode}:\n{text}");
    }
}

/// The tables of the documentation have the modes of io_uring in their order, with their declared releases.
#[test]
fn the_documented_releases_are_those_that_the_modes_declare() {
    let text = common::read(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/io_uring.md").as_ref());
    let of_row = |line: &str| -> Option<(String, String)> {
        let mut columns = line.strip_prefix("| `")?.split('|').map(str::trim);
        let mode = columns.next()?.split('`').next()?;
        let since = columns.next()?;
        (since.contains('.') && since.parse::<f64>().is_ok()).then(|| (mode.to_owned(), since.to_owned()))
    };
    let documented: Vec<_> = text.lines().filter_map(of_row).collect();
    let dimensions = Kind::URING.declaration().dimensions.iter().filter(|dimension| !dimension.off_by_default);
    let modes = dimensions.flat_map(|dimension| dimension.modes);
    let declared: Vec<_> =
        modes.map(|mode| (mode.name.to_owned(), mode.since.unwrap_or_default().to_owned())).collect();
    assert_eq!(documented, declared);
}
