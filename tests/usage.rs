//! Bad usage and impossible requests: status 2, a message that helps, nothing run and no file made.

mod common;

use std::net::{Ipv4Addr, UdpSocket};

use common::{Bench, Done, needs};

/// Runs hpbench with `args`, which must be refused; returns the message.
#[track_caller]
fn refused(bench: &Bench, args: &str) -> String {
    let Done { stderr, stdout, .. } = bench.run(args).expect(2);
    assert_eq!(stdout, "", "nothing is printed for {args}");
    assert!(bench.files().is_empty(), "no file is made for {args}: {:?}", bench.files());
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

#[test]
fn every_bad_value_is_refused_with_the_flag_and_its_range() {
    let bench = Bench::new();
    let long = u128::from(u64::MAX) + 1;
    for (flag, values, told) in [
        ("--backend", &["tcp", "", "plain,"][..], ["plain, mmsg, uring, null", ""]),
        ("--backend", &["urnig", "plain,urin:single"], ["did you mean 'uring'?", ""]),
        ("--backend", &["uring:singel"], ["did you mean 'single'?", ""]),
        ("--scenario", &["drian"], ["did you mean 'drain'?", ""]),
        ("--backend", &["null,null", "all,mmsg,mmsg"], ["already", ""]),
        ("--backend", &["uring:twice", "mmsg:multishot", "plain:sendto+sendto"], ["mode", ""]),
        ("--scenario", &["", "all", "walk"], ["drain, send, flood, pace, echo, serve and relay", ""]),
        ("--rate", &["0", "100000001", "-1", "1e5", "", "5,5"], ["", ""]),
        ("--rate", &["0", "100000001"], ["1", "100000000"]),
        ("--burst", &["0", "1025", "x"], ["1", "1024"]),
        ("--wait", &["", "sleep", "spin,spin"], ["spin", ""]),
        ("--fifo", &["0", "100", "x"], ["1", "99"]),
        ("--batch", &["0", "1025", "-1", "x", "", "1,,2", "1.5", "0..8", "1..2048", "2k"], ["1", "1024"]),
        ("--batch", &["8..2"], ["2..8", ""]),
        ("--payload", &["31", "65508", "0", "-64", "66k"], ["32", "65507"]),
        ("--round", &["0", "1048577"], ["1", "1048576"]),
        ("--window", &["0", "1025"], ["1", "1024"]),
        ("--verify", &["", "none", "FULL"], ["header", "full"]),
        ("--trials", &["0", "100001", "1,2"], ["1", "100000"]),
        ("--duration", &["0", "-1", "NaN", "inf", "3601", "", "1m", "1e-9", "2h", "20us"], ["0.001", "3600"]),
        ("--packets", &["0", "-1", "1e6", "1000000000001"], ["1", "1000000000000"]),
        ("--warmup", &["-0.1", "NaN", "inf", "3601", ""], ["0", "3600"]),
        ("--workers", &["0", "257", "x"], ["1", "256"]),
        ("--generators", &["0", "65"], ["1", "64"]),
        ("--port", &["-1", "65536", "http"], ["0", "65535"]),
        ("--bind", &["localhost", "127.0.0.1:80", "", "127.0.0"], ["IPv4", "IPv6"]),
        ("--cpu", &["x", "-1", "", "8192"], ["0", "8191"]),
        ("--generator-cpu", &["x", "-1", "0,0"], ["0", ""]),
        ("--ring", &["0", "1048577"], ["1", "1048576"]),
        ("--rcvbuf", &["0", "1073741824", "16MB", "1Gi"], ["1", "1073741823"]),
        ("--sndbuf", &["0", "1073741824"], ["1", "1073741823"]),
        ("--seed", &["-1", "x", "", &long.to_string()], ["0", "18446744073709551615"]),
        ("--out", &[""], ["FILE", ""]),
    ] {
        for value in values {
            let message = refused(&bench, &format!("{flag}={value}"));
            for word in [flag].iter().chain(&told) {
                assert!(message.contains(word), "{flag}={value} does not name {word}: {message}");
            }
        }
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let bench = Bench::new();
    for (args, flags) in [
        ("--append --force", ["--append", "--force"]),
        ("--resume --append", ["--resume", "--append"]),
        ("--resume --force", ["--resume", "--force"]),
        ("--packets 10 -t 1", ["--packets", "--duration"]),
        ("--ring 8 --batch 1,16", ["--ring", "--batch"]),
        ("--handoff --scenario send,drain", ["--handoff", "send"]),
        ("--backend uring --precision 1%", ["--precision", "two backends"]),
        ("--workers 256 --port 65500", ["--workers", "cores"]),
        ("--backend uring:fixed+gro", ["fixed", "single-recvmsg"]),
        ("--backend uring:send+gso", ["send", "sendmsg"]),
        ("--backend uring:single --addressing unconnected", ["--addressing", "single-recvmsg"]),
        ("--backend uring:multishot-dontwait --scenario flood --wait block", ["multishot-dontwait", "--wait"]),
        ("--backend null --scenario flood", ["--scenario", "null"]),
        ("--backend plain,null --scenario drain,echo", ["--scenario", "null"]),
    ] {
        let message = refused(&bench, args);
        assert!(flags.iter().all(|flag| message.contains(flag)), "{args}: {message}");
    }
}

/// On two cores the app of `--handoff` shares the generator's.
#[test]
fn scenarios_that_cannot_give_a_valid_trial_are_refused_or_left_out() {
    let Some([first, second]) = needs::two_cores() else { return };
    let bench = Bench::under(["taskset", "-c", &format!("{first},{second}")]);
    let message = refused(&bench, "--handoff --scenario drain,echo,flood");
    for told in ["flood and echo cannot give a valid trial", "--scenario drain,", "--force-plan"] {
        assert!(message.contains(told), "{told}: {message}");
    }
    let done = bench.run("--handoff --backend plain --dry-run").expect(0);
    assert!(done.stderr.contains("note: flood and echo left out: "), "{}", done.stderr);
    assert!(done.stdout.starts_with("drain ") && done.stdout.contains("\n1 cells"), "{}", done.stdout);
    let done = bench.run("--handoff --backend plain --dry-run --force-plan").expect(0);
    assert!(!done.stderr.contains("flood") && done.stdout.contains("\n3 cells"), "{}", done.stderr);
}

#[test]
fn a_ring_is_rounded_up_before_it_is_compared_with_the_batch() {
    let rows = Bench::new().tiny("--backend null --scenario drain --ring 17 --batch 32").expect(0).rows();
    assert_eq!(rows[0].text("ring"), "32");
}

#[test]
fn an_address_that_cannot_be_had_is_named_with_the_way_out() {
    let bench = Bench::new();
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let address = taken.local_addr().expect("bound");
    let message = refused(&bench, &format!("--port {}", address.port()));
    assert!(message.contains(&address.to_string()) && message.contains("--port"), "{message}");

    // 192.0.2.0/24 is for documentation (RFC 5737); nothing is ever sent there.
    let message = refused(&bench, "--bind 192.0.2.1");
    assert!(message.contains("192.0.2.1") && message.contains("--bind"), "{message}");
    let message = refused(&bench, "--bind fe80::1");
    assert!(message.contains("fe80::1") && message.contains("--bind"), "{message}");
}

#[test]
fn an_address_for_many_is_refused() {
    let bench = Bench::new();
    for address in ["224.0.0.1", "255.255.255.255", "ff02::1"] {
        let message = refused(&bench, &format!("--bind {address} --trials 1 -t 0.001 --warmup 0"));
        assert!(message.contains(address) && message.contains("--bind"), "{message}");
    }
}

#[test]
fn cores_that_cannot_be_had_are_refused() {
    let bench = Bench::new();
    let first = needs::cores()[0];
    for (args, told) in [
        ("--cpu 999".to_owned(), ["--cpu", "999"]),
        ("--generator-cpu 999".to_owned(), ["--generator-cpu", "999"]),
        (format!("--cpu {first} --generator-cpu {first}"), ["--cpu", "--generator-cpu"]),
        (format!("--cpu {first},{}", first + 1), ["--cpu", "1 worker"]),
    ] {
        let message = refused(&bench, &args);
        assert!(told.iter().all(|word| message.contains(word)), "{args}: {message}");
    }
    let all: Vec<String> = needs::cores().iter().map(usize::to_string).collect();
    let message = refused(&bench, &format!("--generator-cpu {}", all.join(",")));
    assert!(message.contains("--generator-cpu") && message.contains("worker"), "{message}");

    let Some([first, second]) = needs::two_cores() else { return };
    let bench = Bench::under(["taskset", "-c", &first.to_string()]);
    let message = refused(&bench, &format!("--cpu {second}"));
    for word in ["--cpu", &second.to_string(), &format!("({first})")] {
        assert!(message.contains(word), "{word}: {message}");
    }
}

#[test]
fn a_plan_that_needs_more_memory_than_there_is_is_refused() {
    // 2^20 frames of 64 KiB, which the kernel maps on no machine with less than 64 GiB.
    let memory = common::read("/proc/meminfo".as_ref());
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("MemTotal");
    if kib > 48 << 20 {
        needs::skip("small-machine", &"this machine has so much memory that it might do it");
        return;
    }
    let message = refused(&Bench::new(), "--backend null --scenario drain --payload 65507 --round 1048576");
    assert!(message.contains("memory") && message.contains("--round"), "{message}");
}
