//! Workers with many sockets: `--sockets`, `--active` and `--skew`.

mod common;

use std::process::Command;

use common::{Bench, HPBENCH, assert_balanced, needs};

/// What a run prints that leaves no file.
const FLAGS: &str = "--trials 1 -t 0.02 --warmup 0.002 --no-gates --quiet";

#[test]
fn every_way_to_own_many_sockets_runs_every_scenario() {
    if needs::two_cores().is_none() {
        return;
    }
    let mut backends = "plain,plain:scan,mmsg,mmsg:epoll-edge".to_owned();
    if needs::uring() {
        backends += ",uring,uring:poll";
    }
    let bench = Bench::new();
    let plan =
        "--sockets 40 --active 7,all --skew 0,1.2 --scenario drain,send,flood,pace,echo,serve --window 8 --rate 10000";
    let done = bench.run(&format!("--backend {backends} {plan} --generators 2 {FLAGS} --force-plan -o out.csv"));
    let rows = bench.rows("out.csv");
    assert_eq!(rows.len(), backends.split(',').count() * 6 * 4, "{}", done.stderr);
    for row in &rows {
        let name = row.name();
        assert_eq!(row.text("error"), "", "{name}");
        // A busy machine may let a round or a datagram be late, but none gets lost.
        assert_balanced(row);
        assert_eq!((row.text("duplicate"), row.text("corrupt"), row.text("foreign")), ("0", "0", "0"), "{name}");
        assert!(row.count("received") > 0, "{name}");
        assert_eq!(row.count("sockets"), 40);
        assert!([7, 40].contains(&row.count("active")) && [0.0, 1.2].contains(&row.number("skew")), "{name}");
        assert_eq!(row.text("udp_mem").split(' ').count(), 3);
        let found = ["epoll", "scan"].iter().any(|mode| row.text("variant").contains(mode));
        assert_eq!(found, row.text("backend") != "uring", "{}", row.text("variant"));
    }
}

/// The same from another process: each socket asks it for its load.
#[test]
fn an_agent_sends_to_many_sockets() {
    let bench = Bench::new();
    let backends = if needs::uring() { "plain,mmsg,uring" } else { "plain,mmsg" };
    let peer = format!("{HPBENCH} agent");
    let plan =
        "--sockets 40 --active 7,all --skew 0,1.2 --scenario drain,send,flood,pace,echo,serve --window 8 --rate 5000";
    for addressing in ["connected", "unconnected"] {
        let args = format!(
            "--backend {backends} {plan} --addressing {addressing} --generators 2 {FLAGS} --force --force-plan -o out.csv"
        );
        let words: Vec<&str> = [HPBENCH, "--peer", &peer].into_iter().chain(args.split(' ')).collect();
        let done = bench.run_command(&words).expect(0);
        let rows = bench.rows("out.csv");
        assert_eq!(rows.len(), backends.split(',').count() * 6 * 4, "{}", done.stderr);
        for row in &rows {
            let name = format!("{} {} of {}", row.name(), row.text("active"), row.text("sockets"));
            assert_eq!(row.text("error"), "", "{name}");
            let counts = ["lost", "unexplained", "foreign", "corrupt", "duplicate"].map(|column| row.count(column));
            assert_eq!(counts, [0; 5], "{name} {addressing}");
            assert_balanced(row);
            assert!(row.count("received") > 0, "{name}");
            assert!(row.count("sockets") == 1 || ["", "sendmmsg"].contains(&row.text("fill")), "{name}");
        }
    }
}

/// The order of the schedule is that of the calls: neighbours that go out of one socket share one, as in a server.
#[test]
fn many_sockets_send_in_turns() {
    let bench = Bench::new();
    let backends = if needs::uring() { "plain,mmsg,uring,mmsg:gso" } else { "plain,mmsg,mmsg:gso" };
    let args = format!("--scenario send --backend {backends} --sockets 1,20 --addressing connected,unconnected");
    for row in bench.tiny(&args).expect(0).rows() {
        let name = format!("{} {} of {}", row.name(), row.text("variant"), row.text("sockets"));
        assert_balanced(&row);
        let counts = ["duplicate", "reordered", "foreign"].map(|column| row.count(column));
        assert_eq!(counts, [0; 3], "{name}: each socket is a flow of its own");
        // Equal shares: no two neighbours are of one socket, except where a lap ends.
        let calls = row.number("syscalls_per_packet");
        match (row.count("sockets"), row.text("backend")) {
            (1, "mmsg") => assert!(calls < 0.1, "{name}: {calls}"),
            (20, "mmsg") => assert!((0.9..=1.1).contains(&calls), "{name}: {calls}"),
            (_, "plain") => assert!((0.9..=1.1).contains(&calls), "{name}: {calls}"),
            _ => assert!(calls < 0.1, "{name}: {calls}"),
        }
    }
}

#[test]
fn one_socket_is_what_it_was() {
    let bench = Bench::new();
    let done = bench.run("--backend plain,mmsg:epoll,mmsg:all --scenario drain --sockets 1,3 --dry-run").expect(0);
    let lines: Vec<&str> = done.stdout.lines().filter(|line| line.starts_with("drain")).collect();
    let variants: Vec<&str> = lines.iter().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let expected = [
        "plain:recvfrom+sendto",
        "plain:recvfrom+sendto+epoll",
        "mmsg:recvmmsg+sendmmsg+epoll",
        "mmsg:recvmmsg+sendmmsg+epoll",
        "mmsg:recvmmsg+sendmmsg",
    ];
    for variant in expected {
        assert!(variants.contains(&variant), "{variant} is not in\n{}", done.stdout);
    }
    let several = lines.iter().filter(|line| line.contains("3 sockets"));
    assert!(several.clone().count() > 4 && several.clone().all(|line| !line.contains("sendmmsg ")), "{}", done.stdout);
}

#[test]
fn what_cannot_be_is_refused_with_the_remedy() {
    let bench = Bench::new();
    for (flags, told) in [
        ("--sockets 8 --active 9", "--active 9"),
        ("--sockets 8 --backend uring:single", "multishot"),
        ("--sockets 32768 --generators 3 --force-plan", "65536 flows"),
        ("--sockets 30000 --port 40000", "leaves no ports"),
        ("--sockets 8 --backend mmsg:scan --scenario flood --wait block", "epoll"),
        ("--skew 5", "0 to 4"),
    ] {
        let done = bench.run_command(
            &[&[HPBENCH][..], &shlex::split(flags).expect("words").iter().map(String::as_str).collect::<Vec<_>>()]
                .concat(),
        );
        let done = done.expect(2);
        assert!(done.stderr.contains(told), "{flags}: {}", done.stderr);
    }
}

/// The limit of open files is raised as far as it may be, and what is beyond is refused.
#[test]
fn open_files_are_asked_for_beforehand() {
    let bench = Bench::new();
    let run = |limit: &str, sockets: usize| {
        let flags = format!("--backend mmsg --scenario drain --sockets {sockets} {FLAGS} --force -o out.csv");
        let words = format!("prlimit --nofile={limit} {HPBENCH} {flags}");
        bench.run_command(&words.split(' ').collect::<Vec<_>>())
    };
    if !needs::works("prlimit", &["prlimit", "--nofile=64:600", "true"]) {
        return;
    }
    let refused = run("64:600", 500).expect(2);
    assert!(refused.stderr.contains("756 open files") && refused.stderr.contains("ulimit -Hn"), "{}", refused.stderr);
    let done = run("64:600", 300);
    assert_eq!(bench.rows("out.csv")[0].text("error"), "", "{}", done.stderr);
}

/// As many sockets as there may be are opened, used and closed, in half a gibibyte.
#[test]
fn sixteen_thousand_sockets_fit_into_half_a_gibibyte() {
    const SOCKETS: usize = 16_384;
    let bench = Bench::new();
    let backends = if needs::uring() { "mmsg,uring,uring:poll" } else { "mmsg" };
    let flags = format!("--backend {backends} --scenario drain --sockets {SOCKETS} --round {SOCKETS} {FLAGS} --force");
    let out = bench.path("out.csv");
    let mut child = Command::new(HPBENCH)
        .args(flags.split(' '))
        .arg("-o")
        .arg(&out)
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("hpbench starts");
    let (status, mut peak_kib) = (format!("/proc/{}/status", child.id()), 0);
    while child.try_wait().expect("it is ours").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
        peak_kib = peak.and_then(|peak| peak.trim().parse().ok()).unwrap_or(peak_kib);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let done = child.wait_with_output().expect("it has ended");
    let told = String::from_utf8_lossy(&done.stderr);
    if done.status.code() == Some(2) && (told.contains("ulimit") || told.contains("ip_local_port_range")) {
        return needs::skip("sockets", &told.trim());
    }
    let rows = bench.rows("out.csv");
    assert_eq!(rows.len(), backends.split(',').count(), "{told}");
    for row in &rows {
        assert_eq!(row.text("error"), "", "{}", row.name());
        assert_balanced(row);
        assert!(row.count("received") > 0);
    }
    assert!(peak_kib > 0 && peak_kib <= 512 << 10, "{peak_kib} KiB");
}

/// Loads for one socket and for many take different room in a queue, and none is taken for the other.
#[test]
fn one_socket_and_many_stand_in_one_run() {
    let backends = if needs::uring() { "mmsg:epoll,uring" } else { "mmsg:epoll" };
    let args = format!("--scenario drain --backend {backends} --sockets 1,100 --payload 64,1200 --trials 3 -t 0.01");
    for row in Bench::new().tiny(&args).expect(0).rows() {
        assert_balanced(&row);
        assert!(!row.text("invalid_reason").contains("whole"), "{}: {}", row.name(), row.text("invalid_reason"));
    }
}

#[test]
fn numbers_of_sockets_are_compared() {
    let bench = Bench::new();
    bench.tiny("--scenario drain --backend plain,mmsg --sockets 2,20 --trials 3").expect(0);
    let compared = bench.run("compare --by sockets out.csv").expect(0);
    assert!(compared.stdout.contains("20 against 2"), "{}{}", compared.stdout, compared.stderr);
}
