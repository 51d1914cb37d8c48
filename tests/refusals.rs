//! What the system refuses or swallows: each message names the cause and the remedy.

mod common;

use common::{Bench, Done, assert_balanced, needs};

/// Runs hpbench in a network of its own, after `setup`; `None` where that is not available.
fn in_network(setup: &str, args: &str) -> Option<Done> {
    let wrapper = needs::netns(&format!("{setup} && exec \"$0\" \"$@\""))?;
    Some(Bench::under(wrapper.iter().map(String::as_str)).tiny(args))
}

#[test]
fn an_address_that_takes_nothing_is_refused_before_anything_is_run() {
    let done = Bench::new().tiny("--backend plain --bind 127.255.255.255").expect(2);
    assert!(done.stderr.contains("broadcast") && done.stderr.contains("--bind"), "{}", done.stderr);
    let Some(wrapper) = needs::netns("true") else { return };
    let unshare = wrapper.iter().take(2).map(String::as_str);
    let done = Bench::under(unshare).tiny("--backend plain").expect(2);
    assert!(done.stderr.contains("unreachable") && done.stderr.contains("ip link set lo up"), "{}", done.stderr);
    // One that was up keeps its address and its route.
    let done = in_network("ip link set lo down", "--backend plain --scenario drain").expect("it is there").expect(1);
    assert!(
        done.shows("none of the 64 datagrams that were sent has arrived: the interface is down"),
        "{}",
        done.stdout
    );
}

#[test]
fn a_missing_directory_is_named_with_what_to_do() {
    for flags in ["-o nowhere/out.csv", "--hlog nowhere/x.hlog"] {
        let done = Bench::new().tiny(&format!("--backend null --scenario drain {flags}")).expect(2);
        assert!(done.stderr.contains("nowhere/") && done.stderr.contains("is its directory there"), "{}", done.stderr);
    }
}

#[test]
fn few_descriptors_are_named_with_the_limit() {
    if !needs::works("prlimit", &["prlimit", "--nofile=64", "true"]) {
        return;
    }
    // From too few for hpbench to start, up to enough.
    for limit in 4..12 {
        let limits = format!("--nofile={limit}");
        let bench = Bench::under(["prlimit", limits.as_str()]);
        let args = format!("--backend {} --scenario drain,send", needs::backends());
        let done = bench.tiny(&args);
        assert!([0, 1, 2, 127].contains(&done.status), "{}: {}", done.status, done.stderr);
        match done.status {
            2 => assert!(done.stderr.contains("ulimit -n"), "{}", done.stderr),
            127 => assert!(done.stderr.contains("shared libraries"), "{}", done.stderr),
            _ => {
                let failed = done.rows().into_iter().filter(|row| !row.text("error").is_empty());
                failed.for_each(|row| assert!(row.text("error").contains("ulimit -n"), "{}", row.text("error")));
            }
        }
    }
}

/// The peer does without GSO if the kernel would have to fragment; a backend that needs it says what limits it.
#[test]
fn a_payload_above_the_mtu_is_fragmented_unless_the_kernel_is_to_cut_sends() {
    if needs::two_cores().is_none() || !needs::gso() {
        return;
    }
    let backends = needs::backends();
    let args = format!("--backend {backends},plain:gso,mmsg:gro --scenario drain,send,flood --payload 4096");
    let Some(done) = in_network("ip link set lo mtu 1500", &args) else { return };
    for row in done.expect(1).rows() {
        let (error, fill) = (row.text("error"), row.text("fill"));
        if row.text("variant").contains("gso") && row.text("scenario") == "send" {
            assert!(error.contains("MTU of 1500") && error.contains("--payload 1472"), "{error}");
            continue;
        }
        assert_eq!((error, fill), ("", if row.text("scenario") == "send" { "" } else { "sendmmsg" }), "{}", row.name());
        if row.text("scenario") != "flood" {
            assert_balanced(&row);
        }
    }
    let small = args.replace("4096", "1472");
    let done = in_network("ip link set lo mtu 1500", &small).expect("it was there").expect(0);
    assert!(done.rows().iter().all(|row| row.text("scenario") == "send" || row.text("fill") == "gso"));
}

/// A token bucket without room for a datagram takes none of them, and says so.
#[test]
fn a_queue_that_takes_nothing_is_named() {
    if needs::two_cores().is_none() {
        return;
    }
    let full = "tc qdisc add dev lo root tbf rate 8bit burst 10 limit 10";
    let Some(wrapper) = needs::netns(full) else { return };
    if !needs::works("tbf", &wrapper.iter().map(String::as_str).collect::<Vec<_>>()) {
        return;
    }
    for row in in_network(full, "--backend plain --scenario drain,send,flood,echo").expect("it works").expect(1).rows()
    {
        if ["drain", "send"].contains(&row.text("scenario")) {
            assert!(row.text("error").contains("tc -s qdisc"), "{}: {}", row.name(), row.text("error"));
        } else {
            let why = row.text("invalid_reason");
            assert!(why.contains("the kernel took none") && why.contains("tc -s qdisc"), "{}: {why}", row.name());
            assert!(row.count("drop_host") > 0, "{}", row.name());
            assert_eq!((row.text("error"), row.count("sent")), ("", 0), "{}", row.name());
        }
    }
}

/// A firewall drops what arrives, behind the back of the sender.
#[test]
fn a_network_that_drops_everything_is_named() {
    if needs::two_cores().is_none() {
        return;
    }
    let drop = "echo 'table ip none { chain prerouting { type filter hook prerouting priority raw; meta l4proto udp drop; }; }' \
        | nft -f -";
    let Some(wrapper) = needs::netns(drop) else { return };
    if !needs::works("nft", &wrapper.iter().map(String::as_str).collect::<Vec<_>>()) {
        return;
    }
    for row in in_network(drop, "--backend plain --scenario drain,send,flood,echo").expect("it works").expect(1).rows()
    {
        let why = format!("{}{}", row.text("error"), row.text("invalid_reason"));
        assert!(why.contains("has arrived") && why.contains("nft list ruleset"), "{}: {why}", row.name());
    }
}

/// Runs hpbench with one system call of each thread refused, from the `when`-th on.
fn refused(call: &str, errno: &str, when: &str, args: &str) -> Done {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error={errno}:when={when}"));
    Bench::under(["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]).tiny(args)
}

#[test]
fn a_call_that_the_kernel_lacks_is_named_with_what_to_do() {
    if !needs::strace() {
        return;
    }
    for (call, backend, scenario) in [("recvmmsg", "mmsg", "drain"), ("sendto", "plain", "send")] {
        let args = format!("--backend {backend} --scenario {scenario}");
        let done = refused(call, "ENOSYS", "1+", &args).expect(1);
        for row in done.rows() {
            let error = row.text("error");
            assert!(error.contains("not implemented") && error.contains("seccomp"), "{call}: {error}");
        }
    }
    // Sockets are emptied with it when they are connected, so nothing is run at all.
    let message = refused("recvfrom", "ENOSYS", "1+", "--backend plain --scenario drain").expect(2).stderr;
    assert!(message.contains("not implemented") && message.contains("seccomp"), "{message}");
}

/// A call that is interrupted again and again, as if a signal came each time: the trial fails, in time.
#[test]
fn a_call_that_is_always_interrupted_is_not_made_for_ever() {
    if !needs::strace() {
        return;
    }
    for (call, backend, scenario) in [
        ("sendto", "plain", "send"),
        ("recvfrom", "plain", "drain"),
        ("sendmmsg", "mmsg", "send"),
        ("recvmmsg", "mmsg", "drain"),
    ] {
        let flags = format!("--backend {backend} --scenario {scenario} --trials 1 --packets 2000 --round 64 --batch 8");
        let done = refused(call, "EINTR", "20+", &flags).expect(1);
        for row in done.rows() {
            assert!(row.text("error").contains("calls in a row were interrupted"), "{call}: {}", row.text("error"));
        }
    }
}

/// One refusal in the middle of a trial: that trial may fail, by name; others do not, and no frame is lost.
#[test]
fn one_refused_call_ends_one_trial_at_most() {
    if !needs::strace() {
        return;
    }
    let mut cases = vec![
        ("sendto", "plain", vec!["ENOMEM", "EPERM", "EINTR"]),
        ("recvfrom", "plain", vec!["ENOMEM", "EPERM", "EINTR"]),
        ("sendmmsg", "mmsg", vec!["ENOMEM", "EPERM", "EINTR"]),
        ("recvmmsg", "mmsg", vec!["ENOMEM", "EPERM", "EINTR"]),
    ];
    if needs::uring() {
        cases.push(("io_uring_enter", "uring", vec!["ENOMEM", "EPERM", "ENXIO", "EBUSY", "EINTR", "EAGAIN"]));
        cases.push(("io_uring_enter", "uring:single", vec!["ENOMEM", "EINTR"]));
        cases.push(("io_uring_enter", "uring:send-zc", vec!["ENOMEM", "EBUSY"]));
        cases.push(("io_uring_enter", "uring:sqpoll", vec!["ENOMEM"]));
    }
    for (call, backend, errors) in cases {
        for errno in errors {
            // The receiver of `send` is not under test.
            let scenario = if call.starts_with("recv") { "drain" } else { "send" };
            let flags =
                format!("--backend {backend} --scenario {scenario} --trials 2 --packets 2000 --round 64 --batch 8");
            // A thread makes more calls than that in each trial, and each trial has a thread.
            let done = refused(call, errno, "20", &flags);
            assert!([0, 1].contains(&done.status), "{call} {errno} {backend}: {}", done.stderr);
            let rows = done.rows();
            assert_eq!(rows.len(), 2, "{call} {errno} {backend}");
            for row in rows {
                let error = row.text("error");
                assert!(!error.contains("bug in hpbench"), "{call} {errno} {backend}: {error}");
                if error.is_empty() {
                    assert_eq!(row.count("unexplained"), 0, "{call} {errno} {backend}");
                }
            }
        }
    }
}
