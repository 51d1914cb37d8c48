//! `hpbench search`: the highest rate that holds.

mod common;

use common::{Bench, HPBENCH, Row, assert_balanced, needs};

/// Flags of a search that is short rather than right.
const SHORT: &str = "-t 0.02 --sum 0.1 --warmup 0.002 --no-gates --quiet --time 60 -o out.csv";

#[test]
fn searches_of_all_backends_go_on_together_and_all_trials_are_rows() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let backends = needs::backends();
    for scenario in ["pace", "serve", "relay --fanout 2"] {
        let done = bench
            .run(&format!("search --scenario {scenario} --backend {backends} --work 100us {SHORT} --force"))
            .expect(0);
        let rows = bench.rows("out.csv");
        let names: Vec<&str> = backends.split(',').collect();
        for row in &rows {
            assert_balanced(row);
            assert_eq!(row.text("goal"), "loss 0.5% p99 10ms trial 0.02s sum 0.1s exceed 0.5 width 2%");
            assert!(
                ["yes", "loss", "queue", "p99", "generator"].contains(&row.text("goal_met")),
                "{}",
                row.text("goal_met")
            );
            assert!(!row.text("queue_growth").is_empty() && row.text("command").starts_with("hpbench search --"));
        }
        // Each has a trial in the first block, before any has a second one.
        let first: Vec<&Row> = rows.iter().filter(|row| row.count("trial") == 1).collect();
        assert_eq!(first.len(), names.len(), "{}", done.stdout);
        // With that much work, no worker can take half as much.
        assert!(first.iter().all(|row| row.count("rate_pps") == 20_000));
        assert!(rows[..names.len()].iter().all(|row| row.count("trial") == 1));
        assert!(names.iter().all(|name| done.stdout.lines().any(|line| line.starts_with(name))), "{}", done.stdout);
        assert!(done.stdout.contains("holds") && done.stdout.contains("stopped by"), "{}", done.stdout);
        // A hundred microseconds each: no worker can take more than ten thousand a second for long. On a busy machine nothing may hold.
        let highest = rows.iter().filter(|row| row.text("goal_met") == "yes").map(|row| row.count("rate_pps")).max();
        assert!(highest.is_none_or(|rate| rate <= 12_000), "{highest:?}: {}", done.stdout);
        // The file says what the search said.
        let shown = bench.run("show out.csv").expect(0);
        assert_eq!(shown.stdout, done.stdout);
    }
}

#[test]
fn a_file_has_the_answer_and_a_report_shows_it() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let search = "search --backend plain,mmsg --work 100us";
    let first = bench.run(&format!("{search} {SHORT}")).expect(0);
    assert_eq!(bench.run("show out.csv").expect(0).stdout, first.stdout);
    bench.run(&format!("{search} --loss-max 0,1 {SHORT} --append")).expect(0);
    bench.run("--backend plain --scenario pace --trials 6 -t 0.01 --no-gates --quiet --append -o out.csv");
    let shown = bench.run("show out.csv").expect(0).stdout;
    assert_eq!(shown.matches("out.csv, search of 20").count(), 2, "each search, {shown}");
    assert!(shown.contains("loss at most 0% or 1%") && shown.contains("pace: µs from"), "and the run: {shown}");
    bench.run("report out.csv -o page.html").expect(0);
    let page = std::fs::read_to_string(bench.path("page.html")).expect("the page");
    assert!(page.contains("<h2>Highest rates that hold</h2>") && page.contains("loss at most 0% or 1%"));
    assert_eq!(page.matches("<th>stopped by</th>").count(), 2);
}

#[test]
fn a_peer_in_another_process_is_searched_as_well() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let peer = format!("{HPBENCH} agent");
    let words = ["search", "--backend", "plain", "--work", "100us", "--peer", &peer];
    let words: Vec<&str> = [HPBENCH].into_iter().chain(words).chain(SHORT.split(' ')).collect();
    let done = bench.run_command(&words).expect(0);
    let rows = bench.rows("out.csv");
    assert!(rows.iter().all(|row| !row.text("peer_host").is_empty() && !row.text("goal_met").is_empty()));
    assert!(rows.len() >= 3 && done.stdout.lines().any(|line| line.starts_with("plain ")), "{}", done.stdout);
}

/// Each number of workers has an agent of its own. With two cores they get in each other's way: nothing is said about the rates.
#[test]
fn agents_have_the_generators_of_each_number_of_workers() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let peer = format!("{HPBENCH} agent");
    for sharding in ["ports", "reuseport"] {
        let plan = format!("search --backend plain --work 500us -w 1,2 --sharding {sharding} --force-plan --force");
        let words = [HPBENCH].into_iter().chain(plan.split(' ')).chain(["--peer", &peer]).chain(SHORT.split(' '));
        let done = bench.run_command(&words.collect::<Vec<_>>());
        let rows = bench.rows("out.csv");
        for (workers, of) in [(1, "ports"), (2, sharding)] {
            let own: Vec<&Row> = rows.iter().filter(|row| row.count("workers") == workers).collect();
            assert!(own.len() >= 2 && own.iter().all(|row| row.text("sharding") == of), "{}", done.stderr);
            own.into_iter().filter(|row| row.text("error").is_empty()).for_each(assert_balanced);
        }
        assert!(done.stdout.contains("added"), "{}", done.stdout);
    }
}

/// On a quiet machine; on another one a search says that nothing counts.
#[test]
fn a_known_capacity_is_found() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    let done = bench.run("search --backend plain --work 100us --time 30 --quiet -o out.csv");
    let line = done.stdout.lines().find(|line| line.starts_with("plain  ")).unwrap_or_default();
    if done.status == 1 && ["nothing counts any more", "time is up"].iter().any(|end| done.stderr.contains(end)) {
        needs::skip("quiet", &format!("other programs disturbed the search: {line}: {}", done.stderr));
        return;
    }
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert!(line.ends_with("the queue grew") || line.ends_with("p99 above 10 ms"), "{}", done.stdout);
    let words: Vec<&str> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    let [lower, upper] = [1, 2].map(|at: usize| words[at].replace(' ', "").parse::<f64>().expect("a rate"));
    // Besides the work, each takes a microsecond or two.
    assert!((9_700.0..=10_051.0).contains(&lower) && upper <= 10_051.0 * 1.02, "{line}");
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let bench = Bench::new();
    for (flags, told) in [
        ("--scenario drain", "pace, serve and relay"),
        ("--scenario flood,pace", "pace, serve and relay"),
        ("--sharding reuseport", "add --workers 2"),
        ("--sum 1 -t 2", "--sum 1"),
        ("--loss-max 100", "from 0 to below 100"),
        ("--rate 5", "--rate"),
        ("-w 1,2 --cpu 0", "name one number of workers"),
        ("-w 200,250", "none of these numbers"),
        ("--backend null", "null"),
    ] {
        let done = bench.run(&format!("search {flags} --quiet")).expect(2);
        assert!(done.stderr.contains(told) && bench.files().is_empty(), "{flags}: {}", done.stderr);
    }
}

#[test]
fn a_dry_run_shows_what_would_be_searched() {
    let bench = Bench::new();
    let done = bench.run("search --backend plain,mmsg --batch 1,32 --loss-max 0,0.5 --force-plan --dry-run").expect(0);
    assert_eq!(done.stdout.lines().filter(|line| line.starts_with("pace ")).count(), 4, "{}", done.stdout);
    assert!(done.stdout.contains("4 searches, workers 1, about 48 s\ngoal: loss 0%,0.5% p99 10ms"), "{}", done.stdout);
    assert!(bench.files().is_empty());
}

#[test]
fn numbers_of_workers_for_which_there_are_no_cores_are_left_out() {
    let Some([first, second]) = needs::two_cores() else { return };
    if !needs::works("taskset", &["taskset", "-c", &first.to_string(), "true"]) {
        return;
    }
    let bench = Bench::under(["taskset", "-c", &format!("{first},{second}")]);
    let done = bench.run("search --backend plain -w 1..2 --dry-run").expect(0);
    assert!(done.stderr.contains("2 workers left out: there are too few cores"), "{}", done.stderr);
    assert!(done.stdout.contains("1 search, workers 1, about 6 s"), "{}", done.stdout);
}

/// Workers that share a port are compared with one that has it alone, on a socket like theirs.
#[test]
fn one_worker_is_what_those_that_share_a_port_are_compared_with() {
    let bench = Bench::new();
    for (sharding, alone) in [("reuseport", &["unconnected"][..]), ("ports,single", &["", "unconnected"])] {
        let flags = format!("-w 1,2 --sharding {sharding} --flows 1 --backend plain --peer x --dry-run --force-plan");
        let done = bench.run(&format!("search {flags}")).expect(0);
        let cells: Vec<&str> = done.stdout.lines().filter(|line| line.starts_with("pace ")).collect();
        assert_eq!(cells.len(), alone.len(), "{}", done.stdout);
        assert!(cells.iter().zip(alone).all(|(line, alone)| line.ends_with(alone) && !line.contains(sharding)));
        let searches = alone.len() + sharding.split(',').count();
        assert!(done.stdout.contains(&format!("{searches} searches, workers 1,2")), "{}", done.stdout);
    }
}

#[test]
fn a_search_is_no_plan_of_a_run() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    bench.run(&format!("search --backend plain --rate-max 1000 {SHORT}")).expect(0);
    let done = bench.run("--plan out.csv --dry-run").expect(2);
    assert!(done.stderr.contains("it is of a search") && done.stderr.contains("--rate-max 1000"), "{}", done.stderr);
}
