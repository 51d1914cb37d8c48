//! `--peer`: the other side of every scenario in another process, and what that process does when it is left alone, or
//! asked for what it must not do.

mod common;

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use common::{Bench, Done, HPBENCH, assert_sound, needs, parse, read};
use hpbench::measure::control::Phase;
use hpbench::measure::order::Order;
use hpbench::measure::remote::consent::{Token, challenge_in, request};
use hpbench::measure::remote::frame::{self, MAGIC};
use hpbench::measure::remote::message::{About, FromAgent, Hello, LEASE, Open, Report, ToAgent};
use hpbench::plan::cells::{Scenario, Until};
use hpbench::plan::spread::Spread;
use hpbench::traffic::wire::{Tag, Verify, Wire};
use rustix::process::{Pid, Signal, kill_process};

/// A run that ends because its peer is lost takes 5 s on a quiet machine.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Runs hpbench with a peer that this command starts, and with short trials.
fn with_peer(bench: &Bench, peer: &str, args: &str) -> Done {
    start(bench, peer, args).wait()
}

fn start<'b>(bench: &'b Bench, peer: &str, args: &str) -> common::Running<'b> {
    let args = common::tiny(args);
    let words: Vec<&str> = [HPBENCH, "--peer", peer].into_iter().chain(args.split_whitespace()).collect();
    bench.start_command(&words)
}

fn agent() -> String {
    format!("{HPBENCH} agent")
}

/// A script that writes some files, and then runs a command.
fn script(bench: &Bench, files: &[&[u8]], then: &str) -> String {
    let mut text = "#!/bin/sh\n".to_owned();
    for (at, content) in files.iter().enumerate() {
        let path = bench.beside(&format!("said{at}"));
        fs::write(&path, content).expect("a file");
        text += &format!("cat '{}'\n", path.display());
    }
    let path = bench.beside("agent.sh");
    fs::write(&path, text + then + "\n").expect("a file");
    format!("sh {}", path.display())
}

/// The first bytes of an agent of this version.
fn hello(version: &str) -> Vec<u8> {
    let mut bytes = MAGIC.as_bytes().to_vec();
    let hello = Hello { version: version.into(), cores: vec![0], ..Hello::default() };
    frame::write(&mut bytes, &hello).expect("memory");
    bytes
}

fn version() -> String {
    let output = Command::new(HPBENCH).arg("--version").output().expect("it starts");
    String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("hpbench ").to_owned()
}

#[test]
fn every_scenario_and_backend_has_a_balanced_ledger() {
    let bench = Bench::new();
    let backends = if needs::uring() { "plain,mmsg,uring" } else { "plain,mmsg" };
    let args = format!("--backend {backends} --scenario drain,send,flood,pace,echo,serve --trials 2");
    let done = with_peer(&bench, &agent(), &args).expect(0);
    let rows = done.rows();
    assert_eq!(rows.len(), 6 * backends.split(',').count() * 2);
    assert_sound(&rows);
    for row in &rows {
        assert_eq!((row.count("lost"), row.count("unexplained")), (0, 0), "{}", row.name());
        assert!(!row.text("peer_host").is_empty() && !row.text("peer_kernel").is_empty());
        let is_round = ["drain", "send"].contains(&row.text("scenario"));
        assert_eq!(!row.text("fill_core").is_empty(), is_round, "{}", row.name());
    }
    let timed = rows.iter().filter(|row| ["pace", "echo", "serve"].contains(&row.text("scenario")));
    assert!(timed.clone().any(|row| !row.text("lat_p50_ns").is_empty()), "both processes have one clock");

    // The rows have the command, with its quotes.
    let again = bench.run("--plan out.csv --scenario drain --backend plain --trials 1 -o again.csv").expect(0);
    let row = &bench.rows("again.csv")[0];
    assert!(!row.text("peer_host").is_empty() && row.text("command").contains("--peer '"), "{}", again.stderr);
}

#[test]
fn modes_addresses_and_threads_of_the_worker_are_as_without_a_peer() {
    let bench = Bench::new();
    let mut plans = vec![
        "--backend plain:all,mmsg:all --scenario drain,send,flood,echo --addressing connected,unconnected",
        "--backend mmsg --scenario drain,flood,echo --handoff --verify full --payload 500 --force-plan",
        "--backend plain,mmsg --scenario flood,pace,echo --wait block --packets 50 --rate 20k",
        "--backend plain --scenario drain,send,flood,pace,echo,serve --bind ::1",
    ];
    if needs::uring() {
        plans.push("--backend uring:all --scenario drain,send,flood,echo");
    }
    for plan in plans {
        if plan.contains("::1") && UdpSocket::bind("[::1]:0").is_err() {
            needs::skip("ipv6", &"there is no ::1");
            continue;
        }
        let rows = with_peer(&bench, &agent(), &format!("{plan} --force")).expect(0).rows();
        for row in &rows {
            assert_eq!(row.text("error"), "", "{}", row.name());
            let counts = ["lost", "unexplained", "foreign", "corrupt", "duplicate"].map(|column| row.count(column));
            assert_eq!(counts, [0; 5], "{plan}: {}, {}", row.name(), row.text("variant"));
        }
    }
}

/// Workers and generators that share cores: each trial of each worker has its own part of the agent.
#[test]
fn several_workers_and_generators_have_a_balanced_ledger() {
    let bench = Bench::new();
    let mut plans = vec![("--scenario flood --generators 2", 1)];
    if hpbench::plan::cores::allowed().is_ok_and(|cores| cores.len() > 1) {
        plans.push(("--scenario drain,send,flood,pace,echo,serve --workers 2 --rate 2000", 6));
        plans.push(("--scenario flood --workers 2 --generators 2", 1));
    } else {
        needs::skip("cores", &"two workers need two cores");
    }
    for (plan, cells) in plans {
        let done = with_peer(&bench, &agent(), &format!("{plan} --backend plain --trials 2 --force")).expect(0);
        let rows = done.rows();
        assert_eq!(rows.len(), 2 * cells, "{plan}");
        assert_sound(&rows);
        for row in &rows {
            let [sent, lost] = ["sent", "lost"].map(|name| row.count(name));
            let known = ["received", "drop_socket", "drop_ring"].map(|name| row.count(name));
            assert_eq!((lost, sent), (0, known.iter().sum()), "{plan}: {row:?}");
            let generators = if row.text("scenario") == "flood" && plan.contains("--generators 2") { "2" } else { "1" };
            assert!(["", generators].contains(&row.text("generators")), "{plan}: {row:?}");
        }
    }
}

#[test]
fn what_a_peer_cannot_do_is_refused() {
    let bench = Bench::new();
    for (args, told) in [
        ("--peer-cpu 4000", "--peer-cpu 4000 is not one of the cores"),
        ("--bind ::1 --peer-bind fe80::2", "as in fe80::2%eth0"),
        ("--bind ::1 --peer-bind fe80::2%there0", "a link-local --bind"),
        ("--backend null --scenario drain", "--backend null: it has no socket"),
        ("--bind 127.0.0.1 --peer-bind ::1", "one is of IPv4 and the other of IPv6"),
        ("--peer-bind 0.0.0.0", "no address that can be sent to"),
        ("--generator-cpu 0", "use --peer-cpu"),
    ] {
        let done = with_peer(&bench, &agent(), args);
        assert!(done.stderr.contains(told) && done.status == 2, "{args}: {} {}", done.status, done.stderr);
    }
    let done = bench.run("--peer-bind 127.0.0.1").expect(2);
    assert!(done.stderr.contains("--peer <COMMAND>"), "{}", done.stderr);
    assert!(bench.files().is_empty(), "{:?}", bench.files());
}

#[test]
fn who_is_no_agent_of_this_build_is_told_from_one() {
    let bench = Bench::new();
    let other = script(&bench, &[&hello("0.0.9 (feedbeef)")], "exec sleep 60");
    let done = with_peer(&bench, &other, "--scenario drain").expect(1);
    let ours = version();
    assert!(
        done.stderr.contains("0.0.9 (feedbeef)") && done.stderr.contains(&ours) && done.stderr.contains("same build"),
        "{}",
        done.stderr
    );
    for (said, then, told) in [
        (
            &b"Welcome to lab2\n"[..],
            format!("exec {HPBENCH} agent"),
            "'Welcome to lab2' instead of an agent's first line",
        ),
        (b"hpbench agent 1\n\xff\xff\xff\xff", "exec sleep 60".into(), "message of 4294967295 bytes"),
        (b"hpbench agent 1\n\x04\0\0\0nope", "exec sleep 60".into(), "a message that is none"),
        (b"", "exec yes".into(), "'y' instead of"),
        (b"hpbench agent 1\n", "exec cat /dev/zero".into(), "a message that is none"),
        (b"", "echo no such host >&2; exit 255".into(), "its last message is 'no such host'"),
    ] {
        let peer = script(&bench, &[said], &then);
        let begun = Instant::now();
        let done = with_peer(&bench, &peer, "--scenario drain").expect(1);
        assert!(done.stderr.contains(told), "{told}: {}", done.stderr);
        assert!(begun.elapsed() < ENDS_WITHIN, "{told}");
    }
    let done = with_peer(&bench, "/nonexistent/agent", "--scenario drain").expect(1);
    assert!(done.stderr.contains("cannot start '/nonexistent/agent'"), "{}", done.stderr);
}

#[test]
fn an_agent_that_floods_its_output_ends_the_run() {
    let bench = Bench::new();
    let mut frames = Vec::new();
    for _ in 0..1000 {
        frame::write(&mut frames, &About { trial: 1, message: FromAgent::Sent(1) }).expect("memory");
    }
    let mut alive = Vec::new();
    for _ in 0..1000 {
        frame::write(&mut alive, &About { trial: 0, message: FromAgent::Alive }).expect("memory");
    }
    for frames in [frames, alive] {
        let path = bench.beside("flood");
        fs::write(&path, frames).expect("a file");
        let peer = script(&bench, &[&hello(&version())], &format!("while :; do cat {}; done", path.display()));
        let begun = Instant::now();
        let done = with_peer(&bench, &peer, "--scenario flood --backend plain --trials 5 --force").expect(1);
        assert!(done.stderr.contains("more than was asked for"), "{}", done.stderr);
        assert!(begun.elapsed() < ENDS_WITHIN && done.rows().len() < 5);
    }
}

/// It renews its lease, but answers nothing else.
#[test]
fn an_agent_that_is_alive_but_slow_fails_its_trials_and_is_given_up() {
    let bench = Bench::new();
    let mut alive = Vec::new();
    frame::write(&mut alive, &About { trial: 0, message: FromAgent::Alive }).expect("memory");
    let path = bench.beside("alive");
    fs::write(&path, alive).expect("a file");
    let peer = script(&bench, &[&hello(&version())], &format!("while cat {}; do sleep 0.6; done", path.display()));
    let done = with_peer(&bench, &peer, "--scenario flood --backend plain --trials 5").expect(1);
    let rows = done.rows();
    assert_eq!(rows.len(), 3, "{}", done.stderr);
    assert!(rows.iter().all(|row| row.text("error").contains("it did not answer within 4.5 s")), "{:?}", rows[0]);
}

/// Runs trials with a peer that writes its process id, lets some of them end, and does something to the peer.
fn disturbed(scenario: &str, disturb: impl FnOnce(Pid)) -> (Done, Duration, Pid) {
    let bench = Bench::new();
    let pid_file = bench.beside("pid");
    let peer = script(&bench, &[], &format!("echo $$ > {}; exec {HPBENCH} agent", pid_file.display()));
    let args = format!("--scenario {scenario} --backend plain --trials 50 -t 1 --warmup 0");
    let mut running = start(&bench, &peer, &args);
    running.wait_until("it has a row", || {
        fs::read_to_string(bench.path("out.csv")).is_ok_and(|text| text.lines().count() > 1)
    });
    thread::sleep(Duration::from_millis(300));
    let pid = read(&pid_file).trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
    disturb(pid);
    let begun = Instant::now();
    let done = running.wait();
    (done, begun.elapsed(), pid)
}

fn is_there(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid).is_ok()
}

#[test]
fn a_run_whose_agent_is_killed_or_stopped_ends_and_keeps_its_rows() {
    for scenario in ["flood", "echo", "drain", "send"] {
        // Whichever end of the pipe is noticed first.
        let killed = ["the agent is lost: its output ended", "the agent is lost: it reads no more"];
        for (signal, told) in [(Signal::KILL, killed), (Signal::STOP, ["it was stopped"; 2])] {
            let (done, took, pid) = disturbed(scenario, |pid| kill_process(pid, signal).expect("it is there"));
            let done = done.expect(1);
            let is_told = told.iter().any(|told| done.stderr.contains(told));
            assert!(is_told && done.stderr.contains("--resume"), "{scenario}: {}", done.stderr);
            assert!(took < ENDS_WITHIN, "{scenario}: {took:?}");
            let rows = done.rows();
            assert!(rows.len() >= 2 && rows[0].text("error").is_empty(), "{scenario}: {}", rows.len());
            assert!(rows.last().is_some_and(|row| row.text("error").contains("--peer")), "{scenario}");
            assert!(!is_there(pid), "{scenario}: process {pid:?} is left");
        }
    }
}

#[test]
fn a_run_that_is_interrupted_takes_its_agent_along() {
    let bench = Bench::new();
    let pid_file = bench.beside("pid");
    let peer = script(&bench, &[], &format!("echo $$ > {}; exec {HPBENCH} agent", pid_file.display()));
    for scenario in ["flood", "echo", "drain"] {
        let _ = fs::remove_file(bench.path("out.csv"));
        let args = format!("--scenario {scenario} --backend plain --trials 50 -t 1");
        let mut running = start(&bench, &peer, &args);
        running.wait_until("it has a row", || {
            fs::read_to_string(bench.path("out.csv")).is_ok_and(|text| text.lines().count() > 1)
        });
        running.signal(Signal::INT);
        let begun = Instant::now();
        let done = running.wait().expect(130);
        assert!(begun.elapsed() < ENDS_WITHIN && done.rows().iter().all(|row| row.text("error").is_empty()));
        let pid = read(&pid_file).trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        assert!(!is_there(pid), "{scenario}");
    }
}

#[test]
fn a_run_is_resumed_with_the_same_peer_only() {
    let bench = Bench::new();
    let args = "--scenario drain --backend plain --seed 1 --packets 64 --warmup 0";
    with_peer(&bench, &agent(), args).expect(0);
    let more = format!("{args} --trials 3 --resume");
    let done = bench.tiny(&more).expect(2);
    assert!(done.stderr.contains("peer_host"), "{}", done.stderr);
    assert_eq!(with_peer(&bench, &agent(), &more).expect(0).rows().len(), 3);

    // Nor are trials with and without it compared.
    bench.tiny(&format!("{args} --trials 3 -o alone.csv")).expect(0);
    let done = bench.run("compare alone.csv out.csv");
    assert!(done.stderr.contains("peer") || done.stdout.contains("peer"), "{} {}", done.stdout, done.stderr);
}

/// An agent that a test speaks with.
struct Driven {
    child: Child,
    stdin: ChildStdin,
    messages: Receiver<About<FromAgent>>,
}

/// The trial of most tests.
const TRIAL: u64 = 7;

impl Driven {
    fn start() -> Self {
        let mut command = Command::new(HPBENCH);
        command.arg("agent").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let (stdin, mut stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let (sender, messages) = mpsc::channel();
        let read_all = move |stdout: &mut ChildStdout| {
            let mut magic = vec![0; MAGIC.len()];
            stdout.read_exact(&mut magic).expect("its first line");
            assert_eq!(magic, MAGIC.as_bytes());
            frame::read::<Hello>(stdout).expect("who it is");
            while let Ok(message) = frame::read(stdout) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        };
        thread::spawn(move || read_all(&mut stdout));
        Self { child, stdin, messages }
    }

    fn send(&mut self, message: ToAgent) {
        self.send_about(TRIAL, message);
    }

    fn send_about(&mut self, trial: u64, message: ToAgent) {
        let _ = frame::write(&mut self.stdin, &About { trial, message });
    }

    /// The next message about the trial that is no answer to a lease.
    fn next(&self) -> Option<FromAgent> {
        let about = self.next_about()?;
        assert_eq!(about.trial, TRIAL);
        Some(about.message)
    }

    fn next_about(&self) -> Option<About<FromAgent>> {
        loop {
            match self.messages.recv_timeout(Duration::from_secs(2)) {
                Ok(About { message: FromAgent::Alive, .. }) => {}
                about => return about.ok(),
            }
        }
    }

    /// The report of a trial that nobody ends, or why it has none.
    fn outcome(&mut self, mut meanwhile: impl FnMut(&mut Self)) -> Result<Report, String> {
        let start = Instant::now();
        loop {
            self.send(ToAgent::Lease);
            meanwhile(self);
            match self.messages.try_recv().map(|about| about.message) {
                Ok(FromAgent::Report(report)) => return Ok(*report),
                Ok(FromAgent::Failed(why)) => return Err(why),
                _ => assert!(start.elapsed() < ENDS_WITHIN, "it goes on"),
            }
        }
    }

    fn open(&mut self, nonce: Token) -> SocketAddr {
        self.open_as(TRIAL, Scenario::Flood, nonce)
    }

    fn open_as(&mut self, trial: u64, scenario: Scenario, nonce: Token) -> SocketAddr {
        self.open_for(Spread::ONE, trial, scenario, nonce)
    }

    fn open_for(&mut self, spread: Spread, trial: u64, scenario: Scenario, nonce: Token) -> SocketAddr {
        let order = Order {
            scenario,
            wire: Wire { tag: Tag::new(1), verify: Verify::Header },
            flow: 0,
            payload: 64,
            gso: false,
            rate_pps: 1,
            burst: 1,
            fanout: 1,
            window: 1,
            warmup: Duration::ZERO,
            until: Until::Elapsed(Duration::from_secs(60)),
            core: Some(hpbench::plan::cores::allowed().expect("cores")[0]),
            fifo: None,
        };
        let (bind, within) = (IpAddr::from(Ipv4Addr::LOCALHOST).into(), Duration::from_secs(5));
        let open = Open {
            orders: vec![order],
            spread,
            ports: None,
            bind,
            buffers: [1 << 16; 2],
            nonce,
            within,
            datagrams: 1000,
        };
        self.send_about(trial, ToAgent::Open(Box::new(open)));
        match self.next_about() {
            Some(About { trial: opened, message: FromAgent::Opened(address) }) if opened == trial => address,
            other => panic!("it did not open: {other:?}"),
        }
    }

    /// Asks for the load of a trial at `address`, and consents to it.
    fn agree(&mut self, trial: u64, worker: &UdpSocket, nonce: Token, address: SocketAddr) {
        worker.send_to(&request(nonce), address).expect("loopback");
        let challenge = challenge_in(&heard(worker)[0]).expect("a challenge");
        self.send_about(trial, ToAgent::Consent(vec![challenge]));
        let agreed = self.next_about().expect("it has agreed");
        assert!(
            matches!(agreed, About { trial: about, message: FromAgent::Agreed(_) } if about == trial),
            "{agreed:?}"
        );
    }

    /// Whether it ends on its own within a time.
    fn ends_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < limit {
            if self.child.try_wait().expect("a child of ours").is_some() {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    socket
}

/// All datagrams that come until none comes for a while, at most 100.
fn heard(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut bytes = [0; 2000];
    let next = || socket.recv(&mut bytes).ok().map(|length| bytes[..length].to_vec());
    std::iter::from_fn(next).take(100).collect()
}

#[test]
fn load_goes_only_to_whom_has_asked_for_it_and_has_consented() {
    let (mut agent, nonce) = (Driven::start(), Token::draw());
    let address = agent.open(nonce);
    let [worker, foreign, stranger] = [(); 3].map(|()| socket());
    stranger.send_to(&request(Token::draw()), address).expect("loopback");
    foreign.send_to(&request(nonce), address).expect("loopback");
    foreign.send_to(&request(nonce), address).expect("loopback");
    worker.send_to(&request(nonce), address).expect("loopback");
    let told = heard(&worker);
    let challenge = challenge_in(&told[0]).expect("a challenge");
    assert_eq!(told.len(), 1, "nothing comes before consent");
    agent.send(ToAgent::Lease);
    agent.send(ToAgent::Consent(vec![challenge]));
    assert!(matches!(agent.next(), Some(FromAgent::Agreed(_))));
    agent.send(ToAgent::Phase(Phase::Warmup));
    assert!(!heard(&worker).is_empty());
    agent.send(ToAgent::Close);
    let to_foreign = heard(&foreign);
    assert!(to_foreign.len() <= 2 && to_foreign.iter().all(|it| it.len() <= request(nonce).len()), "{to_foreign:?}");
    assert_eq!(heard(&stranger), Vec::<Vec<u8>>::new());
}

/// Of a worker with many sockets, each consents for itself, and the load begins when all have.
#[test]
fn load_for_many_sockets_goes_to_those_that_have_consented() {
    const SOCKETS: usize = 5;
    let (mut agent, nonce) = (Driven::start(), Token::draw());
    let spread = Spread { sockets: SOCKETS, active: SOCKETS, ..Spread::ONE };
    let address = agent.open_for(spread, TRIAL, Scenario::Flood, nonce);
    let (workers, foreign): (Vec<UdpSocket>, _) = ((0..SOCKETS).map(|_| socket()).collect(), socket());
    for socket in workers.iter().chain([&foreign]) {
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        socket.send_to(&request(nonce), address).expect("loopback");
    }
    let challenges: Vec<Token> = workers.iter().map(|it| challenge_in(&heard(it)[0]).expect("a challenge")).collect();
    let (some, last) = challenges.split_at(SOCKETS - 1);
    agent.send(ToAgent::Lease);
    agent.send(ToAgent::Consent(some.to_vec()));
    agent.send(ToAgent::Phase(Phase::Warmup));
    for worker in &workers {
        assert!(heard(worker).is_empty(), "one has not consented yet");
        agent.send(ToAgent::Lease);
    }
    agent.send(ToAgent::Consent(last.to_vec()));
    assert!(matches!(agent.next(), Some(FromAgent::Agreed(_))));
    for worker in &workers {
        assert!(!heard(worker).is_empty());
        agent.send(ToAgent::Lease);
    }
    agent.send(ToAgent::Close);
    assert_eq!(heard(&foreign).len(), 1, "it did not consent");
}

#[test]
fn an_order_ends_by_itself() {
    let (mut agent, nonce) = (Driven::start(), Token::draw());
    let (address, worker) = (agent.open(nonce), socket());
    agent.agree(TRIAL, &worker, nonce, address);
    agent.send(ToAgent::Phase(Phase::Warmup));
    // Nobody ends the trial: its 1000 datagrams do.
    let report = agent.outcome(|_| thread::sleep(Duration::from_millis(10))).expect("a report");
    let train = report.offered.map_or(0, |offered| offered.train as u64);
    assert!((1001..=1000 + train).contains(&report.sent), "{} {train}", report.sent);
}

#[test]
fn an_echo_sends_no_more_than_its_order_allows() {
    let (mut agent, nonce) = (Driven::start(), Token::draw());
    let (address, worker) = (agent.open_as(TRIAL, Scenario::Echo, nonce), socket());
    agent.agree(TRIAL, &worker, nonce, address);
    agent.send(ToAgent::Ready);
    worker.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let (mut seen, mut bytes) = (0, [0; 2000]);
    let why = agent.outcome(|_| {
        for _ in 0..100 {
            let Ok((length, from)) = worker.recv_from(&mut bytes) else { break };
            seen += 1;
            worker.send_to(&bytes[..length], from).expect("loopback");
        }
    });
    let why = why.expect_err("that is no measurement");
    assert!(why.contains("ends after 1000 datagrams"), "{why}");
    assert!(seen <= 1001, "{seen}");
}

/// Each trial asks for its own consent, and ends alone.
#[test]
fn trials_of_several_workers_do_not_mix() {
    let mut agent = Driven::start();
    let [one, two] = [11, 12].map(|trial| {
        let (nonce, worker) = (Token::draw(), socket());
        let address = agent.open_as(trial, Scenario::Drain, nonce);
        (trial, nonce, worker, address)
    });
    // The challenge for one is no consent to the load of the other, nor is its nonce.
    two.2.send_to(&request(two.1), one.3).expect("loopback");
    assert!(heard(&two.2).is_empty());
    for (trial, nonce, worker, address) in [&one, &two] {
        agent.agree(*trial, worker, *nonce, *address);
        agent.send(ToAgent::Lease);
    }
    agent.send_about(one.0, ToAgent::Fill { count: 3 });
    assert_eq!((heard(&one.2).len(), heard(&two.2).len()), (3, 0));
    assert!(
        matches!(agent.next_about(), Some(About { trial: 11, message: FromAgent::Filled(filled) }) if filled.sent == 3)
    );
    agent.send_about(one.0, ToAgent::Close);
    assert!(matches!(agent.next_about(), Some(About { trial: 11, message: FromAgent::Report(_) })));
    agent.send_about(one.0, ToAgent::Fill { count: 3 });
    agent.send_about(two.0, ToAgent::Fill { count: 2 });
    assert_eq!((heard(&one.2).len(), heard(&two.2).len()), (0, 2), "a trial that is over does nothing more");

    // An order that cannot be carried out changes nothing for others.
    let open = ToAgent::Open(Box::new(Open {
        orders: vec![],
        spread: Spread::ONE,
        ports: None,
        bind: IpAddr::from(Ipv4Addr::LOCALHOST).into(),
        buffers: [1; 2],
        nonce: Token::draw(),
        within: Duration::ZERO,
        datagrams: 0,
    }));
    assert!(matches!(agent.next_about(), Some(About { trial: 12, message: FromAgent::Filled(_) })));
    agent.send_about(13, open);
    assert!(matches!(agent.next_about(), Some(About { trial: 13, message: FromAgent::Failed(_) })));
    agent.send_about(two.0, ToAgent::Close);
    assert!(
        matches!(agent.next_about(), Some(About { trial: 12, message: FromAgent::Report(report) }) if report.sent == 2)
    );
}

#[test]
fn another_challenge_than_the_one_that_was_sent_is_no_consent() {
    let (mut agent, nonce) = (Driven::start(), Token::draw());
    let (address, worker) = (agent.open(nonce), socket());
    worker.send_to(&request(nonce), address).expect("loopback");
    assert_eq!(heard(&worker).len(), 1);
    agent.send(ToAgent::Consent(vec![Token::draw()]));
    assert!(matches!(agent.next(), Some(FromAgent::Failed(_))));
    assert!(heard(&worker).is_empty());
}

#[test]
fn an_agent_ends_with_its_lease() {
    let mut silent = Driven::start();
    assert!(!silent.ends_within(LEASE / 3), "it has a lease");
    assert!(silent.ends_within(ENDS_WITHIN), "nobody renews it");

    let mut stopped = Driven::start();
    let pid = Pid::from_child(&stopped.child);
    kill_process(pid, Signal::STOP).expect("it is there");
    let start = Instant::now();
    while start.elapsed() < LEASE + Duration::from_millis(500) {
        stopped.send(ToAgent::Lease);
        thread::sleep(Duration::from_millis(300));
    }
    kill_process(pid, Signal::CONT).expect("it is there");
    assert!(stopped.ends_within(ENDS_WITHIN), "renewals that it did not see in time are none");

    let mut kept = Driven::start();
    let start = Instant::now();
    while start.elapsed() < LEASE + Duration::from_millis(500) {
        kept.send(ToAgent::Lease);
        assert!(!kept.ends_within(Duration::from_millis(200)));
    }
    drop(std::mem::replace(&mut kept.stdin, socket_pair()));
    assert!(kept.ends_within(ENDS_WITHIN), "its input has ended");
}

/// A pipe that nobody reads, to take the place of another one.
fn socket_pair() -> ChildStdin {
    let mut child = Command::new("true").stdin(Stdio::piped()).spawn().expect("it starts");
    let stdin = child.stdin.take().expect("a pipe");
    let _ = child.wait();
    stdin
}

#[test]
fn an_agent_ends_with_its_coordinator() {
    let bench = Bench::new();
    let pid_file = bench.beside("pid");
    let peer = script(&bench, &[], &format!("echo $$ > {}; exec {HPBENCH} agent", pid_file.display()));
    let mut running = start(&bench, &peer, "--scenario flood --backend plain --trials 50 -t 1");
    running.wait_until("it has a row", || {
        fs::read_to_string(bench.path("out.csv")).is_ok_and(|text| !parse(&text).is_empty())
    });
    running.signal(Signal::KILL);
    running.wait().expect(-9);
    let pid = read(&pid_file).trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
    let start = Instant::now();
    while is_there(pid) {
        assert!(start.elapsed() < ENDS_WITHIN, "the agent is left");
        thread::sleep(Duration::from_millis(10));
    }
}
