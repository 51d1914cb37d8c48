//! Many clients of one socket, and workers that share a port: `--flows`, `--sharding` and `--steer`.

mod common;

use std::time::Duration;

use common::{Bench, HPBENCH, assert_balanced, needs, wrapped};
use hpbench::measure::control::Interrupt;
use hpbench::measure::outcome::{Outcome, TrialError};
use hpbench::measure::trial::Trial;
use hpbench::measure::truesizes::Truesizes;
use hpbench::plan::cells::{Cell, Options, Scenario};
use hpbench::plan::cores::{Cores, Place};
use hpbench::plan::shards::{Sharding, Steer};
use hpbench::traffic::wire::Tag;
use hpbench_backends::{Addressing, Kind, Pool, Variant};

const FLAGS: &str = "--trials 1 -t 0.05 --warmup 0.01 --no-gates --quiet --force-plan";

#[test]
fn many_clients_send_to_one_socket() {
    if needs::two_cores().is_none() {
        return;
    }
    let mut backends = "plain,mmsg,mmsg:gro".to_owned();
    if needs::uring() {
        backends += ",uring";
    }
    let bench = Bench::new();
    let plan = "--flows 1,3,64 --scenario flood,pace,serve --generators 2 --rate 5000";
    let done = bench.run(&format!("--backend {backends} {plan} {FLAGS} -o out.csv"));
    let rows = bench.rows("out.csv");
    assert_eq!(rows.len(), backends.split(',').count() * 3 * 3, "{}", done.stderr);
    for row in &rows {
        let name = format!("{} {} flows", row.name(), row.text("flows"));
        assert_eq!(row.text("error"), "", "{name}");
        assert_balanced(row);
        // One flow taken for another would look like a duplicate, or like something strange.
        assert_eq!((row.text("duplicate"), row.text("corrupt"), row.text("foreign")), ("0", "0", "0"), "{name}");
        assert_eq!(row.text("reordered"), "0", "{name}");
        assert!(row.count("received") > 0, "{name}");
        let addressing = if row.count("flows") == 1 { "connected" } else { "unconnected" };
        assert_eq!(row.text("addressing"), addressing, "{name}");
        assert_eq!((row.text("sharding"), row.text("steer"), row.text("balance")), ("ports", "", ""), "{name}");
    }
}

#[test]
fn scenarios_without_flows_run_once() {
    let bench = Bench::new();
    let plan = |flags: &str| {
        let done = bench.run(&format!("--backend plain {flags} --dry-run")).expect(0);
        let scenarios = done.stdout.lines().filter_map(|line| line.split_whitespace().next());
        let known = |word: &&str| ["drain", "send", "flood", "pace", "echo", "serve"].contains(word);
        (scenarios.filter(known).map(str::to_owned).collect::<Vec<_>>(), done.stderr)
    };
    let (cells, _) = plan("--flows 1,16 --scenario drain,flood,echo");
    assert_eq!(cells, ["drain", "flood", "flood", "echo"]);
    let (cells, told) = plan("--flows 16");
    assert_eq!(cells, ["flood"]);
    assert!(told.contains("note: drain, send, echo left out"), "{told}");
}

#[test]
fn what_cannot_be_is_refused_with_the_remedy() {
    let bench = Bench::new();
    for (flags, told) in [
        ("--flows 8 --scenario drain", "--flows 8 with --scenario drain"),
        ("--flows 8 --scenario send,flood", "--flows 8 with --scenario send"),
        ("--flows 8 --scenario echo", "--flows 8 with --scenario echo"),
        ("--flows 1,8 --scenario echo", "add one to --scenario"),
        ("--flows 8 --scenario flood --sockets 4", "--flows 8 with --sockets 4"),
        ("--flows 8 --scenario flood --backend uring:multishot", "recvmsg-multishot"),
        ("--flows 32768 --scenario flood --generators 3", "65536 flows"),
        ("--flows 0", "1 to 32768"),
        ("--sharding reuseport --scenario flood", "--workers 2"),
        ("--sharding single -w 2 --scenario drain", "--sharding single with --scenario drain"),
        ("--sharding reuseport -w 2 --scenario echo", "--sharding reuseport with --scenario echo"),
        ("--sharding single -w 2 --scenario flood --packets 100", "--sharding single with --packets"),
        ("--steer cpu -w 2 --scenario flood", "--sharding reuseport"),
        ("--sharding hash -w 2", "there are ports, reuseport and single"),
    ] {
        let words = shlex::split(flags).expect("words");
        let words: Vec<&str> = [HPBENCH].into_iter().chain(words.iter().map(String::as_str)).collect();
        let done = bench.run_command(&words).expect(2);
        assert!(done.stderr.contains(told), "{flags}: {}", done.stderr);
    }
}

/// With three cores, a run has two workers and a generator's core.
#[test]
fn workers_that_share_a_port_leave_rows() {
    let bench = Bench::new();
    let plan =
        "-w 2 --flows 16 --sharding ports,reuseport,single --steer hash,cpu --scenario flood,pace,serve --rate 5000";
    let done = bench.run(&format!("--backend plain,mmsg {plan} {FLAGS} --verbose -o out.csv"));
    let rows = bench.rows("out.csv");
    assert_eq!(rows.len(), 2 * 3 * 4, "{}", done.stderr);
    let steered: Vec<&str> =
        rows.iter().filter(|row| row.text("steer") == "cpu").map(|row| row.text("sharding")).collect();
    assert_eq!(steered, ["reuseport"; 6]);
    if rows[0].text("error").contains("cores") {
        return needs::skip("three-cores", &"two workers and a generator need three");
    }
    assert!(done.stdout.contains("balance"), "{}", done.stdout);
    for row in &rows {
        assert_eq!(row.text("error"), "", "{}", row.name());
        assert_balanced(row);
        assert_eq!(row.text("steer").is_empty(), row.text("sharding") != "reuseport");
        assert!((1.0..=2.0).contains(&row.number("balance")), "{}", row.name());
    }
}

/// The clients are an agent's, which leaves both cores to the workers: every combination runs on two.
#[test]
fn an_agent_has_many_clients_and_workers_share_the_port_that_it_sends_to() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let backends = if needs::uring() { "plain,mmsg:gro,uring" } else { "plain,mmsg:gro" };
    let peer = format!("{HPBENCH} agent");
    let shared = "-w 2 --flows 1,16 --sharding ports,reuseport,single --steer hash,cpu --rate 2000";
    for (plan, cells) in [
        ("--flows 1,3,64 --scenario flood,pace,serve --rate 5000 --generators 2", 3 * 3),
        (&format!("{shared} --scenario flood,pace,serve --generators 2"), 3 * 2 * 4),
        // Queues of a few trains each, and servers that cannot keep up.
        (&format!("{shared} --scenario flood,serve --burst 32 --work 100us --rcvbuf 20000"), 2 * 2 * 4),
    ] {
        let args = format!("--backend {backends} {plan} {FLAGS} --force -o out.csv");
        let words: Vec<&str> = [HPBENCH, "--peer", &peer].into_iter().chain(args.split(' ')).collect();
        let done = bench.run_command(&words).expect(0);
        let rows = bench.rows("out.csv");
        assert_eq!(rows.len(), backends.split(',').count() * cells, "{}", done.stderr);
        for row in &rows {
            let name = format!("{} {} {} flows", row.name(), row.text("sharding"), row.text("flows"));
            assert_eq!(row.text("error"), "", "{name}");
            let counts = ["lost", "unexplained", "foreign", "corrupt", "duplicate"].map(|column| row.count(column));
            assert_eq!(counts, [0; 5], "{name}: {plan}");
            assert_balanced(row);
            assert!(row.count("received") > 0, "{name}");
            let is_single = row.count("flows") == 1 && row.text("sharding") == "ports";
            assert_eq!(row.text("addressing"), if is_single { "connected" } else { "unconnected" }, "{name}");
        }
    }
}

/// Two workers on one core, and all generators on another: they get in each other's way, but lose nothing.
fn two_workers() -> Option<Options> {
    let [worker, generator] = needs::two_cores()?;
    let place = Place { worker, app: None, generators: vec![generator] };
    let cores = Cores { places: vec![place.clone(), place], relation: "shared-cores", shared: None };
    let options = wrapped::options(Duration::from_millis(200), Duration::from_millis(50));
    Some(Options { cores, ring: 128, rcvbuf: 4 << 20, ..options })
}

fn variant(kind: Kind, modes: &str) -> Variant {
    Variant::parse(kind, modes).expect("known modes")
}

fn cell(scenario: Scenario, kind: Kind, flows: usize, sharding: Sharding) -> Cell {
    Cell {
        variant: variant(kind, if kind == Kind::URING { "recvmsg-multishot+sendmsg" } else { "" }),
        addressing: Addressing::Unconnected,
        rate: scenario.has_rate().then_some(2000),
        burst: scenario.has_rate().then_some(1),
        round: None,
        flows: Some(flows),
        sharding: Some(sharding),
        ..wrapped::cell(scenario, kind, 32)
    }
}

/// Runs a trial, again if a thread was kept from its core for so long that nothing came: two workers share one. `None` if that
/// goes on.
fn run(cell: &Cell, options: &Options) -> Option<Outcome> {
    let pool = Pool::new(2048, cell.backend_config().frame_size(64).max(2048)).expect("memory");
    let trial = Trial {
        cell,
        options,
        pool: &pool,
        interrupt: &Interrupt::default(),
        truesizes: &Truesizes::default(),
        tag: Tag::new(7),
        peer: None,
    };
    let mut free = pool.frames();
    for _ in 0..3 {
        let outcome = trial.run(&mut free);
        assert!(free.is_whole(), "frames were not returned to the pool");
        match outcome {
            Err(TrialError::Stalled(_) | TrialError::OtherWorker) => {}
            outcome => return Some(outcome.expect("the trial runs")),
        }
    }
    needs::skip("quiet", &"two workers on one core have no turn for five seconds, three times in a row");
    None
}

/// What every trial of shards has to keep: the account of all workers together. Returns the balance, unless the machine was so
/// busy that nothing came in the measured phase.
fn check(outcome: Option<Outcome>, name: &str) -> Option<f64> {
    let outcome = outcome?;
    let ledger = outcome.ledger;
    assert_eq!(ledger.unexplained(), 0, "{name}: {ledger:?}");
    assert_eq!(outcome.invalid, None, "{name}");
    let arrived = ledger.arrived;
    assert_eq!((arrived.duplicate, arrived.corrupt, arrived.foreign), (0, 0, 0), "{name}");
    assert!(arrived.received > 0, "{name}: {ledger:?}");
    assert!(outcome.measured_lost <= ledger.drop_socket + ledger.drop_ring, "{name}: {ledger:?}");
    outcome.balance
}

#[test]
fn workers_that_share_a_port_have_one_account() {
    let Some(options) = two_workers() else { return };
    let shardings =
        [Sharding::Ports, Sharding::Reuseport(Steer::Hash), Sharding::Reuseport(Steer::Cpu), Sharding::Single];
    let generator = options.cores.places[0].generators[0];
    for sharding in shardings {
        for scenario in [Scenario::Flood, Scenario::Pace, Scenario::Serve] {
            let name = format!("{scenario} {sharding:?}");
            let run_plain = |flows| run(&cell(scenario, Kind::PLAIN, flows, sharding), &options);
            let balance = check(run_plain(32), &name);
            match sharding {
                _ if balance.is_none() => needs::skip("quiet", &format!("{name}: nothing came in the measured phase")),
                // All is sent, and so delivered, on the generators' core.
                Sharding::Reuseport(Steer::Cpu) => assert_eq!(balance, Some(2.0), "{name}, core {generator}"),
                // 64 flows all at one worker are one chance in 2^63.
                Sharding::Reuseport(Steer::Hash) => assert!(balance < Some(2.0), "{name}: {balance:?}"),
                Sharding::Ports | Sharding::Single => assert!(balance <= Some(2.0), "{name}: {balance:?}"),
            }
            check(run_plain(1), &name);
            check(run(&cell(scenario, Kind::MMSG, 16, sharding), &options), &format!("mmsg {name}"));
            let trains = Cell { variant: variant(Kind::MMSG, "gro"), ..cell(scenario, Kind::MMSG, 16, sharding) };
            check(run(&trains, &Options { gso: true, rcvbuf: 1 << 16, ..options.clone() }), &format!("gro {name}"));
            if needs::uring() {
                let cell = Cell { buffers: Some(256), ..cell(scenario, Kind::URING, 16, sharding) };
                check(run(&cell, &options), &format!("uring {name}"));
            }
        }
    }
}
