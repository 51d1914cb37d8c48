//! `scripts/rig`: two network namespaces that a veth pair joins.

mod common;

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Bench, HPBENCH, needs};
use hpbench::plan::path::check_whole;
use hpbench_backends::kernel::interface;
use hpbench_backends::{Offer, Socket};
use rustix::process::{Pid, Signal, kill_process};

const RIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/rig");

/// How many datagrams are sent, each from a socket of its own.
const DATAGRAMS: u64 = 400;

/// A rig of this test's own; removed at its end.
struct Rig(String);

impl Rig {
    /// The rig, not made yet. `None` where there can be none.
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            needs::skip("rig", &"scripts/rig needs root");
            return None;
        }
        let rig = Self(format!("rig{}{name}", std::process::id()));
        let env = format!("HPBENCH_RIG={}", rig.0);
        needs::works("rig", &["env", &env, RIG, "up"]).then(|| {
            rig.does("down");
            rig
        })
    }

    fn run(&self, args: &str) -> Output {
        let mut command = Command::new(RIG);
        command.args(args.split(' ')).env("HPBENCH_RIG", &self.0).stdin(Stdio::null());
        command.output().expect("bash is there")
    }

    /// Runs it, and returns what it prints.
    #[track_caller]
    fn does(&self, args: &str) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args}: {stderr}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What is left of it in the system.
    fn namespaces(&self) -> usize {
        let output = Command::new("ip").arg("netns").output().expect("ip is there");
        String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with(&self.0)).count()
    }

    /// Sends datagrams from a to a port of b that nobody has. Returns how many arrived there.
    fn send(&self, address: &str) -> u64 {
        let before = self.arrived();
        let script = format!("for((i=0;i<{DATAGRAMS};i++));do echo>/dev/udp/{address}/9;done");
        let output = Command::new(RIG).args(["run", "--", "bash", "-c", &script]).env("HPBENCH_RIG", &self.0).output();
        assert!(output.expect("bash is there").status.success());
        self.arrived() - before
    }

    /// Datagrams that have arrived in b at ports that nobody has, in IPv4 and IPv6.
    fn arrived(&self) -> u64 {
        let udp = self.does("run b -- cat /proc/net/snmp");
        let mut lines = udp.lines().filter(|line| line.starts_with("Udp:"));
        let names = lines.next().expect("names").split(' ');
        let values = lines.next().expect("values").split(' ');
        let (_, no_ports) = names.zip(values).find(|(name, _)| *name == "NoPorts").expect("a counter");
        let udp6 = self.does("run b -- cat /proc/net/snmp6");
        let no_ports6 = udp6.lines().find_map(|line| line.strip_prefix("Udp6NoPorts"));
        [no_ports, no_ports6.unwrap_or("0")].map(|count| count.trim().parse::<u64>().expect("a number")).iter().sum()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.run("down");
    }
}

#[test]
fn a_rig_is_made_and_removed_however_often_that_is_asked() {
    let Some(rig) = Rig::new("a") else { return };
    assert_eq!(rig.namespaces(), 0);
    rig.does("down");
    let addresses = |rig: &Rig| rig.does("run b -- ip -br address show dev rig-b");
    assert!(addresses(&rig).contains("10.77.0.2/24"), "it is made for the command");
    assert_eq!(rig.namespaces(), 0, "and removed after it");
    rig.does("up");
    rig.does("run -- ip link set dev rig-a down");
    rig.does("up");
    assert!(!rig.does("run -- ip link show dev rig-a").contains("state UP"), "it was there already");
    rig.does("down");
    rig.does("up");
    assert!(rig.does("run -- ip link show dev rig-a").contains("state UP"));
    rig.does("mtu 9000");
    assert!(rig.does("run b -- ip link show dev rig-b").contains("mtu 9000"));
    rig.does("down");
    assert_eq!(rig.namespaces(), 0);
}

#[test]
fn a_rig_that_is_half_made_is_made_anew() {
    let Some(rig) = Rig::new("h") else { return };
    let half = Command::new("ip").args(["netns", "add", &format!("{}-a", rig.0)]).status();
    assert!(half.is_ok_and(|status| status.success()));
    assert!(rig.run("mtu 9000").status.code() == Some(1), "that is no rig");
    rig.does("up");
    rig.does("mtu 9000");
}

#[test]
fn a_command_that_fails_or_is_wrong_says_so() {
    let Some(rig) = Rig::new("w") else { return };
    assert_eq!(rig.run("run -- false").status.code(), Some(1));
    assert_eq!(rig.namespaces(), 0);
    for (args, told) in [
        ("fly", "unknown command fly"),
        ("run --", "no command to run"),
        ("run c -- true", "a side is a or b"),
        ("loss a", "wrong number"),
        ("loss a 1%", "one in how many"),
        ("count a luck", "there are loss and duplicate"),
        ("mtu large", "an MTU in bytes"),
    ] {
        let output = rig.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains(told), "{args}: {stderr}");
    }
}

#[test]
fn loss_and_duplication_are_what_the_counters_say() {
    let Some(rig) = Rig::new("l") else { return };
    rig.does("up");
    let env = format!("HPBENCH_RIG={}", rig.0);
    if !needs::works("nft", &["env", &env, RIG, "loss", "b", "4"]) {
        return;
    }
    for address in ["10.77.0.2", "fd77::2"] {
        if address.contains(':') && !rig.does("run -- ip address").contains("fd77::1") {
            needs::skip("ipv6", &"no IPv6 here");
            continue;
        }
        rig.does("loss b 0");
        assert_eq!(rig.send(address), DATAGRAMS, "nothing is lost: {address}");
        rig.does("loss b 4");
        let arrived = rig.send(address);
        let lost: u64 = rig.does("count b loss").parse().expect("a number");
        assert_eq!(arrived, DATAGRAMS - lost, "{address}");
        assert!((1..DATAGRAMS).contains(&lost), "{lost}");
        rig.does("loss b 0");
        rig.does("duplicate b 4");
        let arrived = rig.send(address);
        let twice: u64 = rig.does("count b duplicate").parse().expect("a number");
        assert_eq!(arrived, DATAGRAMS + twice, "{address}");
        assert!((1..DATAGRAMS).contains(&twice), "{twice}");
        rig.does("duplicate b 0");
    }
}

/// Calls `check` on a thread that is in a namespace of the rig.
fn inside<T: Send>(rig: &Rig, side: &str, check: impl FnOnce() -> T + Send) -> T {
    let netns = File::open(format!("/run/netns/{}-{side}", rig.0)).expect("the namespace is there");
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(netns.as_fd(), kind).expect("root may");
            check()
        });
        thread.join().expect("it does not panic")
    })
}

/// A socket of side a, connected with an address of side b.
fn connected(local: &str, peer: &str) -> Socket {
    let socket = Socket::bind(SocketAddr::new(local.parse().expect("an address"), 0)).expect("it is bound");
    socket.connect(SocketAddr::new(peer.parse().expect("an address"), 9)).expect("there is a route");
    socket
}

#[test]
fn a_payload_beyond_the_mtu_is_refused_between_hosts_only() {
    let Some(rig) = Rig::new("m") else { return };
    rig.does("up");
    inside(&rig, "a", || {
        for (local, peer, headers) in [("10.77.0.1", "10.77.0.2", 28), ("fd77::1", "fd77::2", 48)] {
            let socket = connected(local, peer);
            let path = socket.path().expect("a route");
            assert_eq!((path.interface.as_str(), path.is_local), ("rig-a", false));
            assert_eq!(interface::driver_of("rig-a").as_deref(), Some("veth"));
            assert!(check_whole(1500 - headers, &socket).is_ok());
            let error = check_whole(1501 - headers, &socket).expect_err("it is fragmented").to_string();
            let told = [format!("--payload {} or less", 1500 - headers), "through rig-a".into(), "mtu 1501".into()];
            assert!(told.iter().all(|told| error.contains(told)), "{error}");
            let own = connected(local, local);
            let path = own.path().expect("a route");
            assert_eq!((path.interface.as_str(), path.is_local), ("lo", true), "whatever interface has the address");
            assert!(check_whole(65_507, &own).is_ok(), "nothing is lost there");
        }
    });
    rig.does("mtu 9000");
    inside(&rig, "a", || {
        assert!(check_whole(8972, &connected("10.77.0.1", "10.77.0.2")).is_ok());
    });
}

/// A queueing discipline that drops: silently, unless the socket asks.
#[test]
fn what_a_queueing_discipline_drops_is_not_sent() {
    let Some(rig) = Rig::new("q") else { return };
    rig.does("up");
    let tbf = "run -- tc qdisc add dev rig-a root tbf rate 1mbit burst 2000 limit 2000";
    let output = rig.run(tbf);
    if !output.status.success() {
        return needs::skip("tbf", &String::from_utf8_lossy(&output.stderr).trim());
    }
    for (local, peer) in [("10.77.0.1", "10.77.0.2"), ("fd77::1", "fd77::2")] {
        let receiver = inside(&rig, "b", || UdpSocket::bind((peer, 9)).expect("it is bound"));
        receiver.set_read_timeout(Some(Duration::from_millis(200))).expect("an old option");
        let [silent, told] = [false, true].map(|reports| {
            let taken = inside(&rig, "a", || {
                let socket = connected(local, peer);
                if reports {
                    socket.report_drops().expect("an old option");
                }
                let mut offer = Offer::new(Arc::new(socket), 1000, false).expect("no GSO is asked for");
                (0..50).map(|_| offer.send(1, |datagram| datagram.fill(7)).expect("no fatal error")).sum::<usize>()
            });
            (taken, std::iter::from_fn(|| receiver.recv(&mut [0; 1]).ok()).count())
        });
        assert_eq!(silent.0, 50, "each is a success");
        assert!(silent.1 < 25, "{silent:?}: sent and received");
        assert_eq!(told.0, told.1, "what is not sent is told");
        assert!((1..25).contains(&told.0), "{told:?}");
    }
}

/// A run inside the rig, on an address of the veth: sockets of one namespace reach each other through its loopback.
#[test]
fn hpbench_runs_in_it() {
    let Some(rig) = Rig::new("r") else { return };
    rig.does("up");
    let bench = Bench::new();
    for bind in ["10.77.0.1", "fd77::1", "fe80::1%rig-a"] {
        let env = format!("HPBENCH_RIG={}", rig.0);
        let args = common::tiny(&format!(
            "--backend plain --scenario drain,send,echo --addressing connected,unconnected --bind {bind} --force"
        ));
        let words = ["env", &env, RIG, "run", "--", HPBENCH].into_iter().chain(args.split(' '));
        let done = bench.run_command(&words.collect::<Vec<_>>()).expect(0);
        common::assert_sound(&done.rows());
        for row in done.rows() {
            assert_eq!(row.text("bind"), bind);
            assert!(row.text("command").ends_with(&format!("--bind {bind}")), "{}", row.text("command"));
        }
    }
}

/// Runs hpbench in a, with its peer in b.
fn run_with_peer(rig: &Rig, bench: &Bench, args: &str, [near, far]: [&str; 2]) -> common::Done {
    let peer = format!("ip netns exec {}-b {HPBENCH} agent", rig.0);
    run_with(rig, bench, args, &peer, [near, far])
}

fn run_with(rig: &Rig, bench: &Bench, args: &str, peer: &str, [near, far]: [&str; 2]) -> common::Done {
    let env = format!("HPBENCH_RIG={}", rig.0);
    let args = common::tiny(&format!("{args} --bind {near} --peer-bind {far} --force"));
    let words = ["env", &env, RIG, "run", "--", HPBENCH, "--peer", peer].into_iter().chain(args.split(' '));
    bench.run_command(&words.collect::<Vec<_>>())
}

#[test]
fn two_hosts_have_one_ledger() {
    let Some(rig) = Rig::new("t") else { return };
    rig.does("up");
    let bench = Bench::new();
    let all = "--backend plain,mmsg --scenario drain,send,flood,pace,echo,serve --rate 2000";
    let unconnected =
        "--backend plain --scenario drain,send,flood,pace,echo,serve --rate 2000 --addressing unconnected";
    let sockets =
        "--backend mmsg --scenario drain,send,flood,pace,echo,serve --rate 2000 --sockets 20 --active 12 --skew 1";
    let mut plans = vec![
        (["10.77.0.1", "10.77.0.2"], all),
        (["fd77::1", "fd77::2"], all),
        // Each side's interface has its own name and number.
        (["fe80::1%rig-a", "fe80::2%rig-b"], all),
        (["fe80::1%rig-a", "fe80::2%rig-b"], unconnected),
        (["10.77.0.1", "10.77.0.2"], "--backend plain --scenario flood --generators 2"),
        (["10.77.0.1", "10.77.0.2"], sockets),
        (["fe80::1%rig-a", "fe80::2%rig-b"], sockets),
        (
            ["10.77.0.1", "10.77.0.2"],
            "--backend plain --scenario flood,pace,serve --rate 2000 --generators 2 --flows 20",
        ),
    ];
    if hpbench::plan::cores::allowed().is_ok_and(|cores| cores.len() > 1) {
        let several = "--backend plain --scenario drain,send,flood,pace,echo,serve --rate 2000 --workers 2";
        plans.push((["10.77.0.1", "10.77.0.2"], several));
        plans.push((["10.77.0.1", "10.77.0.2"], "--backend plain --scenario flood --workers 2 --generators 2"));
        let shared =
            "--backend plain --scenario flood,pace,serve --rate 2000 --workers 2 --flows 16 --sharding reuseport";
        plans.push((["fe80::1%rig-a", "fe80::2%rig-b"], shared));
        let single = "--backend plain --scenario flood,pace,serve --rate 2000 --workers 2 --flows 16 --sharding single";
        plans.push((["10.77.0.1", "10.77.0.2"], single));
    } else {
        needs::skip("cores", &"two workers need two cores");
    }
    for (ends, args) in plans {
        if ends[0].contains(':') && !rig.does("run -- ip address").contains("fd77::1") {
            needs::skip("ipv6", &"no IPv6 here");
            continue;
        }
        let args = &format!("{args} --verbose");
        let done = run_with_peer(&rig, &bench, args, ends).expect(0);
        common::assert_sound(&done.rows());
        let cells = args
            .split([',', ' '])
            .filter(|word| ["drain", "send", "flood", "pace", "echo", "serve"].contains(word))
            .count();
        assert_eq!(done.rows().len(), cells * if args.contains("plain,mmsg") { 2 } else { 1 }, "{args}");
        for row in done.rows() {
            let [sent, lost] = ["sent", "lost"].map(|name| row.count(name));
            let known = ["received", "drop_socket", "drop_ring"].map(|name| row.count(name));
            assert_eq!((lost, sent), (0, known.iter().sum()), "{row:?}");
            assert!(row.count("drop_host") >= 0 && !done.stdout.contains("qdisc"), "{}", done.stdout);
            assert_eq!((row.text("interface"), row.text("driver")), ("rig-a", "veth"));
        }
    }
}

/// A rule of nftables in a that does something with one in `every` packets of a load: not with those of the consent, which
/// are shorter. Replaces the one before it, and begins to count. `false` where there is no nftables.
fn rule(rig: &Rig, bench: &Bench, every: u32, action: &str) -> bool {
    let matching = format!("iifname \"rig-a\" udp length >= 40 numgen random mod {every} == 0");
    let text = format!(
        "add table ip load\ndelete table ip load\ntable ip load {{\n counter matched {{ }}\n chain prerouting {{\n type filter \
         hook prerouting priority raw;\n {matching} counter name matched {action}\n }}\n}}\n"
    );
    std::fs::write(bench.path("rules.nft"), text).expect("a file");
    let env = format!("HPBENCH_RIG={}", rig.0);
    needs::works("nft", &["env", &env, RIG, "run", "--", "nft", "-f", &bench.path("rules.nft").display().to_string()])
}

/// How many packets the rule has matched. A train that is not cut is one.
fn matched(rig: &Rig) -> i64 {
    let text = rig.does("run -- nft list counter ip load matched");
    let (_, count) = text.split_once("packets ").expect("a counter");
    count.split_whitespace().next().and_then(|count| count.parse().ok()).expect("a number")
}

/// What a load is on the wire.
enum Wire {
    /// Trains: one packet each.
    Trains,
    /// Trains that the sender's kernel cuts before the interface has them.
    Cut,
    /// Datagrams of which no two fit into a train.
    Single,
}

impl Wire {
    /// Has b send so. Returns what is added to the command, how the load is sent, and how many datagrams a packet has.
    /// `None` where `ip` cannot.
    fn prepare(&self, rig: &Rig) -> Option<(&'static str, &'static str, i64)> {
        match self {
            Self::Trains => Some(("", "gso", Offer::longest(64, true) as i64)),
            Self::Cut => {
                let output = rig.run("run b -- ip link set dev rig-b gso_max_segs 1");
                if !output.status.success() {
                    needs::skip("gso_max_segs", &String::from_utf8_lossy(&output.stderr).trim());
                    return None;
                }
                Some(("", "gso", 1))
            }
            Self::Single => {
                rig.does("mtu 65535");
                Some((" --payload 40000", "sendmmsg", 1))
            }
        }
    }
}

/// What is lost on the way is what the firewall says that it dropped, to the datagram, whatever receives.
#[test]
fn the_ledger_of_two_hosts_finds_what_a_firewall_drops() {
    let bench = Bench::new();
    let backends: &[&str] = if needs::uring() { &["plain", "mmsg", "uring"] } else { &["plain", "mmsg"] };
    for (name, wire) in [("ft", Wire::Trains), ("fc", Wire::Cut), ("fs", Wire::Single)] {
        let Some(rig) = Rig::new(name) else { return };
        rig.does("up");
        let Some((extra, fill, each)) = wire.prepare(&rig) else { continue };
        for backend in backends {
            if !rule(&rig, &bench, 20, "drop") {
                return;
            }
            // Some 470 packets or more, so that the rule matches some of them.
            let packets = if each > 1 { 30_000 } else { 3000 };
            let args = format!("--backend {backend} --scenario flood --packets {packets}{extra}");
            let done = run_with_peer(&rig, &bench, &args, ["10.77.0.1", "10.77.0.2"]).expect(0);
            let sum = |column: &str| done.rows().iter().map(|row| row.count(column)).sum::<i64>();
            let dropped = matched(&rig);
            assert_eq!(sum("lost"), dropped * each, "{backend}, {name}: {}", done.stderr);
            assert!(dropped > 0 && sum("received") > 0, "{backend}, {name}: {}", done.stderr);
            for row in done.rows() {
                assert_eq!((row.text("fill"), row.count("unexplained")), (fill, 0), "{backend}, {name}");
            }
            // No counter of a host sees it. What comes when a trial is over may find no socket.
            assert!(sum("drop_host") < dropped.max(2), "{backend}, {name}: {} of {dropped}", sum("drop_host"));
        }
    }
}

/// The same at an offered rate and in round trips, and what comes twice is what the firewall sent twice.
#[test]
fn the_ledger_of_two_hosts_finds_what_a_firewall_drops_and_doubles() {
    let Some(rig) = Rig::new("f") else { return };
    rig.does("up");
    let bench = Bench::new();
    // A generator that is late sends a train.
    if Wire::Cut.prepare(&rig).is_none() {
        return;
    }
    for (action, column) in [("drop", "lost"), ("dup to 10.77.0.1", "duplicate")] {
        for scenario in ["pace", "echo"] {
            if !rule(&rig, &bench, 50, action) {
                return;
            }
            let mut args = format!("--backend plain --scenario {scenario} --packets 600");
            if scenario == "pace" {
                args += " --rate 2000";
            }
            let done = run_with_peer(&rig, &bench, &args, ["10.77.0.1", "10.77.0.2"]).expect(0);
            let found: i64 = done.rows().iter().map(|row| row.count(column)).sum();
            assert_eq!(found, matched(&rig), "{scenario}, {action}: {}", done.stderr);
            assert!(found > 0, "{scenario}, {action}: {}", done.stderr);
        }
    }
}

/// A token bucket on the sender's interface cuts trains and drops some of what they held: the socket is told of nothing,
/// but a counter of its host moves.
#[test]
fn what_a_queueing_discipline_drops_unseen_is_lost_and_named() {
    let Some(rig) = Rig::new("d") else { return };
    rig.does("up");
    let bench = Bench::new();
    let ends = ["10.77.0.1", "10.77.0.2"];
    let run = |side: &str, scenario: &str| {
        let tbf = format!("run {side} -- tc qdisc replace dev rig-{side} root tbf rate 8mbit burst 2000 limit 20000");
        let output = rig.run(&tbf);
        if !output.status.success() {
            needs::skip("tbf", &String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        let backend = if scenario == "send" { "plain:gso" } else { "plain" };
        let args = format!("--backend {backend} --scenario {scenario} --packets 3000 --no-gates --verbose");
        let done = run_with_peer(&rig, &bench, &args, ends).expect(0);
        rig.does(&format!("run {side} -- tc qdisc del dev rig-{side} root"));
        Some(done)
    };
    for (side, scenario, who) in [("b", "flood", "peer "), ("a", "send", "this host: ")] {
        let Some(done) = run(side, scenario) else { return };
        for row in done.rows() {
            let [lost, dropped, unexplained] = ["lost", "drop_host", "unexplained"].map(|column| row.count(column));
            assert!(lost > 0 && unexplained == 0, "{scenario}: {row:?}");
            // Of a train of which nothing was left, the socket is told.
            assert!(dropped >= lost, "{scenario}: {row:?}");
        }
        let text = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(who) && text.contains(&format!("qdisc rig-{side} drops ")), "{scenario}: {text}");
    }
}

/// Where nothing gets through, a trial has failed, and says why: unlike one whose worker is too slow.
#[test]
fn a_way_that_takes_nothing_is_a_failure() {
    let Some(rig) = Rig::new("n") else { return };
    rig.does("up");
    let bench = Bench::new();
    let ends = ["10.77.0.1", "10.77.0.2"];
    let fails = |args: &str, told: &str| {
        let done = run_with_peer(&rig, &bench, args, ends).expect(1);
        for row in done.rows() {
            let why = format!("{}{}", row.text("error"), row.text("invalid_reason"));
            assert!(why.contains(told) && row.text("valid") == "0", "{}: {why}", row.name());
        }
        assert!(done.stderr.contains("trials failed"), "{}", done.stderr);
    };
    // The consent of a scenario passes, and then its load does not.
    for scenario in ["flood", "pace", "echo"] {
        if !rule(&rig, &bench, 1, "drop") {
            break;
        }
        fails(&format!("--backend plain --scenario {scenario} -t 0.3 --trials 2"), "nft list ruleset");
        rig.does("run -- nft delete table ip load");
        let tbf = "run b -- tc qdisc replace dev rig-b root tbf rate 8bit burst 80 limit 80";
        if scenario != "echo" && rig.run(tbf).status.success() {
            // Longer than the bucket, as the consent is not.
            fails(&format!("--backend plain --scenario {scenario} -t 0.3 --trials 2 --payload 200"), "tc -s qdisc");
            rig.does("run b -- tc qdisc del dev rig-b root");
        }
    }
    // A queue for one datagram: nearly all is dropped there, and the trials count or do not, but none has failed.
    let args = "--backend plain --scenario flood --rcvbuf 2304 --wait block";
    let done = run_with_peer(&rig, &bench, args, ends).expect(0);
    assert!(done.rows().iter().any(|row| row.count("drop_socket") > 0), "{}", done.stderr);
}

#[test]
fn payloads_that_the_way_to_the_peer_would_fragment_are_refused() {
    let Some(rig) = Rig::new("m") else { return };
    rig.does("up");
    let bench = Bench::new();
    let done =
        run_with_peer(&rig, &bench, "--backend plain --scenario echo --payload 1473", ["10.77.0.1", "10.77.0.2"]);
    let done = done.expect(2);
    assert!(done.stderr.contains("1472"), "the largest that fits is named: {}", done.stderr);
}

/// A real `sshd` in b, with keys made for this test.
struct Sshd {
    child: std::process::Child,
    command: String,
    namespace: String,
}

impl Sshd {
    fn start(rig: &Rig, bench: &Bench) -> Option<Self> {
        if !needs::works("sshd", &["sh", "-c", "command -v sshd ssh ssh-keygen >/dev/null"]) {
            return None;
        }
        let at = |name: &str| bench.path(name).display().to_string();
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]).status();
            assert!(made.is_ok_and(|status| status.success()));
        }
        // Where sshd gives up its privileges; Debian's package makes it when it is started by init.
        std::fs::create_dir_all("/run/sshd").expect("root may");
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nPidFile none\nPermitRootLogin yes\nStrictModes no\nUsePAM no\n\
             ListenAddress 10.77.0.2:2222\nPasswordAuthentication no\n",
            at("host"),
            at("user.pub")
        );
        std::fs::write(bench.path("config"), config).expect("a file");
        let sshd = String::from_utf8(Command::new("sh").args(["-c", "command -v sshd"]).output().ok()?.stdout).ok()?;
        let child = Command::new("ip")
            .args(["netns", "exec", &format!("{}-b", rig.0), sshd.trim(), "-D", "-e", "-f", &at("config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ip is there");
        let command = format!(
            "ssh -F none -p 2222 -i {} -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o \
             LogLevel=ERROR root@10.77.0.2 {HPBENCH} agent",
            at("user")
        );
        let sshd = Self { child, command, namespace: format!("{}-b", rig.0) };
        let listens = || rig.does("run b -- ss -ltn").contains(":2222");
        let start = Instant::now();
        while !listens() {
            assert!(start.elapsed() < Duration::from_secs(20), "sshd does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(sshd)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Those of its sessions whose connection was cut know nothing of it. Nobody else is in this namespace.
        for pid in processes_in(&self.namespace) {
            let pid = pid.parse().ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

/// The processes in a namespace.
fn processes_in(namespace: &str) -> Vec<String> {
    let pids = Command::new("ip").args(["netns", "pids", namespace]).output().expect("ip is there");
    String::from_utf8_lossy(&pids.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn an_agent_behind_ssh_works_and_ends_when_the_way_is_cut() {
    let Some(rig) = Rig::new("s") else { return };
    rig.does("up");
    let bench = Bench::new();
    let Some(sshd) = Sshd::start(&rig, &bench) else { return };
    let ends = ["10.77.0.1", "10.77.0.2"];
    let done = run_with(&rig, &bench, "--backend plain --scenario drain,echo", &sshd.command, ends).expect(0);
    common::assert_sound(&done.rows());
    assert_eq!(done.rows().len(), 2);

    let is_agent = |pid: &Pid| {
        let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
        std::fs::read(path).is_ok_and(|words| words.ends_with(b"hpbench\0agent\0"))
    };
    let agents = || -> Vec<Pid> {
        let pids = processes_in(&sshd.namespace);
        pids.iter().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).filter(is_agent).collect()
    };
    let gone = || {
        let start = Instant::now();
        while !agents().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "the agent outlives its lease");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // Does something to the agent in the middle of a trial.
    let disturbed = |disturb: &dyn Fn(Pid)| {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                let args = "--backend plain --scenario flood -t 60";
                (run_with(&rig, &bench, args, &sshd.command, ends), Instant::now())
            });
            let start = Instant::now();
            while agents().is_empty() && start.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let seen = agents();
            assert_eq!(seen.len(), 1);
            std::thread::sleep(Duration::from_secs(1));
            let begun = Instant::now();
            disturb(seen[0]);
            let (done, ended) = run.join().expect("no panic");
            let took = ended - begun;
            assert!(took < Duration::from_secs(30), "it does not wait for the end of the trial: {took:?}");
            assert_eq!(done.status, 1, "{}", done.stderr);
            seen[0]
        })
    };
    let stopped = disturbed(&|agent| kill_process(agent, Signal::STOP).expect("it is there"));
    if agents().contains(&stopped) {
        kill_process(stopped, Signal::CONT).expect("it is there");
    }
    gone();
    disturbed(&|_| drop(rig.does("run -- ip link set dev rig-a down")));
    gone();
}
