//! Async runtimes: what a build without them says, and what those in this build do.

mod common;

#[cfg(not(feature = "runtimes"))]
#[test]
fn a_runtime_that_was_not_built_in_names_its_feature() {
    for backend in ["tokio", "tokio:mmsg", "quinn-udp", "smol", "compio", "compio:multi", "monoio"] {
        let done = common::Bench::new().run(&format!("--backend {backend}")).expect(2);
        let complaints = done.complaints();
        assert!(complaints.contains("not in this build") && complaints.contains("--features runtimes"), "{complaints}");
    }
}

#[cfg(feature = "runtimes")]
mod built_in {
    use std::collections::BTreeMap;

    use crate::common::{Bench, HPBENCH, Row, assert_balanced, needs, read, tiny};

    /// Those on epoll.
    const BACKENDS: &str = "tokio,tokio:mmsg,quinn-udp,quinn-udp:gso,smol";

    /// Those on io_uring with one datagram per await.
    const SINGLE: &str = "compio,compio:managed,compio:defer,monoio,monoio:copy";

    const SCENARIOS: &str = "drain,send,flood,pace,echo,serve";

    /// The rows of so many cells of each backend, which balance.
    fn balanced(backends: &str, args: &str, cells: usize) -> Vec<Row> {
        let rows = Bench::new().tiny(&format!("--backend {backends} --rate 2000 {args}")).expect(0).rows();
        assert_eq!(rows.len(), cells * backends.split(',').count(), "{backends} {args}");
        rows.iter().for_each(assert_balanced);
        rows
    }

    /// Backends with flags that suit them: those on epoll, and where there are rings, those.
    fn groups() -> impl Iterator<Item = &'static str> {
        let rings: &[_] = if needs::uring() { &["compio,monoio --batch 1", "compio:multi"] } else { &[] };
        [BACKENDS].into_iter().chain(rings.iter().copied())
    }

    #[test]
    fn every_scenario_runs_and_balances() {
        if needs::two_cores().is_none() {
            return;
        }
        for row in balanced(&format!("plain,{BACKENDS}"), &format!("--scenario {SCENARIOS}"), 6) {
            let (is_plain, has_rounds) = (row.text("backend") == "plain", !row.text("round").is_empty());
            assert_eq!(row.text("wait"), if is_plain || has_rounds { "spin" } else { "block" }, "{}", row.name());
            assert_eq!(row.text("syscalls").is_empty(), !is_plain, "{}", row.name());
            let runtime = row.text("runtime");
            assert_eq!(runtime.contains("tokio 1.") || runtime.contains("async-io 2."), !is_plain, "{runtime}");
            assert_eq!(row.text("kthread_ns_per_packet").is_empty(), row.text("backend") != "smol", "{}", row.name());
            assert!(row.count("received") > 0, "{}", row.name());
        }
    }

    #[test]
    fn they_spin_if_they_are_told_to_and_take_addresses() {
        if needs::two_cores().is_none() {
            return;
        }
        for args in ["--wait spin", "--addressing unconnected", "--wait spin --addressing unconnected"] {
            balanced(BACKENDS, &format!("--scenario flood,echo {args}"), 2);
        }
        balanced("tokio,tokio:mmsg,quinn-udp", "--scenario flood,echo --wait spin --fd-table own", 2);
    }

    #[test]
    fn what_they_cannot_do_is_refused() {
        for (args, told) in [
            ("--backend smol --scenario echo --fd-table own", "one for all threads"),
            ("--backend monoio:recv --batch 1 --scenario drain --sockets 1,2", "use copy"),
            ("--backend compio:managed --batch 1 --scenario drain --sockets 1,2", "use multi"),
            ("--backend tokio --scenario echo --handoff", "default of runtimes"),
        ] {
            let refused = Bench::new().run(args).expect(2).complaints();
            assert!(refused.contains(told), "{args}: {refused}");
        }
    }

    /// All copies of a datagram or none; the account knows where the others are.
    #[test]
    fn they_send_every_copy_that_relay_wants() {
        if needs::two_cores().is_none() {
            return;
        }
        for backends in groups() {
            for row in balanced(backends, "--scenario relay --fanout 3", 1) {
                let [relayed, forwarded] = ["relayed", "forwarded"].map(|column| row.count(column));
                assert!(forwarded > 0 && forwarded % 3 == 0 && forwarded <= 3 * relayed, "{}", row.name());
            }
        }
    }

    /// A round has many more datagrams than there are buffers.
    #[test]
    fn receives_that_end_for_lack_of_buffers_are_counted() {
        if !needs::uring() {
            return;
        }
        for row in Bench::new().tiny("--backend compio:multi --scenario drain --buffers 2").expect(0).rows() {
            assert_balanced(&row);
            let [rearms, no_buffers] = ["rearms", "enobufs"].map(|column| row.count(column));
            assert!(no_buffers > 0 && rearms >= no_buffers, "{no_buffers} of {rearms}");
        }
    }

    /// The load is an agent's, which leaves both cores to the workers, or to one and its app.
    #[test]
    fn they_have_an_agent_and_many_clients_and_share_a_port() {
        if needs::two_cores().is_none() {
            return;
        }
        let peer = format!("{HPBENCH} agent");
        let plans = [
            (&*format!("--scenario {SCENARIOS}"), 6),
            ("--scenario drain,flood,pace --handoff", 3),
            ("--scenario flood,pace,serve --flows 16 -w 2 --sharding reuseport,single", 3 * 2),
        ];
        for backends in groups() {
            for (plan, cells) in plans {
                let bench = Bench::new();
                let args = tiny(&format!("--backend {backends} {plan} --rate 2000 --force-plan"));
                let words: Vec<&str> = [HPBENCH, "--peer", &peer].into_iter().chain(args.split_whitespace()).collect();
                let done = bench.run_command(&words).expect(0);
                let rows = bench.rows("out.csv");
                assert_eq!(rows.len(), cells * backends.split(',').count(), "{}", done.stderr);
                for row in rows {
                    assert_eq!(row.text("error"), "", "{} {plan}", row.name());
                    assert_balanced(&row);
                    assert!(row.count("received") > 0, "{} {plan}", row.name());
                }
            }
        }
    }

    /// A task for each socket, and one for all.
    #[test]
    fn many_sockets_are_served_by_a_task_each_and_by_one() {
        if needs::two_cores().is_none() {
            return;
        }
        let uring = ",compio,compio:one-task,compio:multi+defer,monoio,monoio:one-task";
        let backends =
            "tokio,tokio:one-task,tokio:mmsg,tokio:mmsg+one-task,quinn-udp,quinn-udp:gso+one-task,smol,smol:one-task";
        let backends = format!("{backends}{}", if needs::uring() { uring } else { "" });
        for (plan, cells) in [
            ("--sockets 2,60 --scenario drain,echo,serve", 6),
            ("--sockets 60 --scenario pace,flood --addressing unconnected", 2),
        ] {
            for row in balanced(&backends, &format!("{plan} --wait block"), cells) {
                assert!(row.text("variant").contains("task"), "{}", row.name());
                assert!(row.count("received") > 0, "{}", row.name());
            }
        }
    }

    #[test]
    fn all_leaves_out_what_a_runtime_declares_that_it_cannot() {
        let done = Bench::new().run("--backend all --scenario drain --dry-run").expect(0);
        assert!(done.stderr.contains("monoio:one-task left out above a batch of 1"), "{}", done.stderr);
        assert!(!done.stdout.contains("monoio") && done.stdout.contains("compio:multi"), "{}", done.stdout);
        let done = Bench::new().run("--backend all --scenario drain --batch 1 --dry-run").expect(0);
        assert!(!done.stderr.contains("left out") && done.stdout.contains("monoio"), "{}", done.stdout);
    }

    const CALLS: &str =
        "trace=recvfrom,recvmmsg,sendto,sendmsg,sendmmsg,epoll_wait,epoll_pwait,epoll_pwait2,epoll_ctl,io_uring_enter";

    #[test]
    fn what_moves_one_datagram_per_await_has_no_batches() {
        if !needs::uring() || needs::two_cores().is_none() {
            return;
        }
        for row in balanced(SINGLE, &format!("--scenario {SCENARIOS} --batch 1"), 6) {
            let runtime = row.text("runtime");
            assert!(runtime.starts_with("compio 0.") || runtime.starts_with("monoio 0."), "{runtime}");
            assert!(row.text("uring_flags").contains("entries=1024"), "{}", row.text("uring_flags"));
            assert_eq!(row.text("uring_flags").contains("DEFER_TASKRUN"), row.text("variant").contains("defer"));
            assert!(row.count("received") > 0, "{}", row.name());
        }
        for row in Bench::new().tiny(&format!("--backend {SINGLE} --scenario drain")).expect(1).rows() {
            assert!(row.text("error").contains("--batch 1"), "{}", row.text("error"));
        }
        let refused = Bench::new().run("--backend compio --scenario echo --wait spin").expect(2).complaints();
        assert!(refused.contains("no way to look") && refused.contains("--wait block"), "{refused}");
    }

    /// How often a trial of `packets` datagrams made each call.
    fn traced(args: &str, packets: u32) -> BTreeMap<String, f64> {
        let bench = Bench::under(["strace", "-f", "-c", "-e", CALLS, "-o", "../calls"]);
        bench.tiny(&format!("{args} --packets {packets} --warmup 0 --seed 1")).expect(0);
        let mut calls = BTreeMap::new();
        for line in read(&bench.beside("calls")).lines() {
            // "% time  seconds  usecs/call  calls  [errors]  syscall"
            let words: Vec<&str> = line.split_whitespace().collect();
            if let (5 | 6, Some(Ok(count))) = (words.len(), words.get(3).map(|word| word.parse::<f64>())) {
                *calls.entry(words[words.len() - 1].replace("pwait2", "wait").replace("pwait", "wait")).or_default() +=
                    count;
            }
        }
        calls
    }

    /// System calls per datagram, as docs/runtimes.md has them. Where their number does not depend on time: what a trial of twice as
    /// many makes beyond. In `pace` it does, and the difference would add up what the machine did to both trials: there it is the
    /// mean of the longer one, in which the few calls around it are a hundredth.
    #[test]
    fn system_calls_per_datagram_are_those_of_the_document() {
        if !needs::strace() {
            return;
        }
        let few = 1.0 / 64.0;
        // tokio lets other tasks run after 128 operations of one, and asks epoll then.
        let mut rings = Vec::new();
        let cases = [
            ("--backend tokio --scenario drain --batch 1", 4096, [("recvfrom", 1.0, 1.01), ("epoll_wait", 0.0, few)]),
            ("--backend tokio --scenario drain", 4096, [("recvfrom", 1.0, 1.01), ("epoll_wait", 0.0, few)]),
            ("--backend tokio:mmsg --scenario drain", 4096, [("recvmmsg", 0.031, 0.033), ("epoll_wait", 0.0, few)]),
            ("--backend quinn-udp --scenario drain", 4096, [("recvmmsg", 0.0009, 0.002), ("epoll_wait", 0.0, few)]),
            ("--backend tokio --scenario send", 4096, [("sendto", 1.0, 1.01), ("epoll_wait", 0.0, few)]),
            ("--backend tokio:mmsg --scenario send", 4096, [("sendmmsg", 0.031, 0.033), ("epoll_wait", 0.0, few)]),
            ("--backend quinn-udp --scenario send", 4096, [("sendmsg", 1.0, 1.01), ("epoll_wait", 0.0, few)]),
            ("--backend quinn-udp:gso --scenario send", 4096, [("sendmsg", 0.031, 0.033), ("epoll_wait", 0.0, few)]),
            ("--backend smol --scenario drain", 4096, [("recvfrom", 1.0, 1.01), ("epoll_wait", 0.0, few)]),
            ("--backend smol --scenario send", 4096, [("sendto", 1.0, 1.01), ("epoll_wait", 0.0, few)]),
            // The task fills a batch, the loop takes it.
            ("--backend tokio:tasks --scenario drain", 4096, [("recvfrom", 1.0, 1.01), ("epoll_wait", 0.03, 0.033)]),
            // Each wait renews the registration; how many datagrams a wait is for depends on the machine.
            (
                "--backend smol --scenario pace --rate 1000 --batch 1",
                500,
                [("recvfrom", 1.0, 3.5), ("epoll_ctl", 0.1, 4.0)],
            ),
            // One that comes alone: a vain receive, the wait, the receive; the timer ends some of the waits.
            (
                "--backend tokio --scenario pace --rate 1000 --batch 1",
                500,
                [("recvfrom", 1.0, 2.3), ("epoll_wait", 0.0, 1.6)],
            ),
            (
                "--backend smol --scenario pace --rate 1000 --batch 1",
                500,
                [("epoll_wait", 0.0, 2.0), ("io_uring_enter", 0.0, 0.0)],
            ),
        ];
        if needs::uring() {
            let none = ("epoll_wait", 0.0, 0.0);
            // Submitted, carried out and awaited by one call.
            for backend in ["compio", "compio:managed", "monoio"] {
                let drain = format!("--backend {backend} --scenario drain --batch 1");
                rings.push((drain, 4096, [("io_uring_enter", 0.99, 1.01), none]));
            }
            for backend in ["compio", "monoio"] {
                let send = format!("--backend {backend} --scenario send --batch 1");
                rings.push((send, 4096, [("io_uring_enter", 0.99, 1.02), none]));
            }
            // Many at once if the traced worker is late; the timer ends some of the waits.
            for backend in ["compio", "monoio"] {
                let pace = format!("--backend {backend} --scenario pace --rate 1000 --batch 1");
                rings.push((pace, 500, [("io_uring_enter", 0.5, 3.0), none]));
            }
            // Armed once a round; as long as there are buffers, or for as many datagrams as the kernel handles at once.
            let armed = |backend| format!("--backend {backend} --scenario drain");
            rings.push((armed("compio:multi"), 4096, [("io_uring_enter", 0.001, 0.01), none]));
            rings.push((armed("compio:multi+defer"), 4096, [("io_uring_enter", 0.02, 0.1), none]));
        }
        let cases = cases.into_iter().map(|(args, packets, calls)| (args.to_owned(), packets, calls)).chain(rings);
        for (args, packets, expected) in cases {
            let once = if args.contains("pace") { BTreeMap::new() } else { traced(&args, packets) };
            let twice = traced(&args, 2 * packets);
            let more = f64::from(if once.is_empty() { 2 * packets } else { packets });
            for (call, least, most) in expected {
                let of = |calls: &BTreeMap<String, f64>| calls.get(call).copied().unwrap_or(0.0);
                let each = (of(&twice) - of(&once)) / more;
                eprintln!("{args}: {each:.4} {call} per datagram");
                assert!(
                    (least - 1e-9..=most).contains(&each) || call == "epoll_wait" && each < 0.0,
                    "{args}: {each} {call}"
                );
            }
        }
    }
}
