//! `compare` on a fleet of generated files: how long it takes, how much memory, and whether it finds what is there.
//!
//! `HPBENCH_FLEET_HOSTS=1000 cargo test --release --test fleet_scale` has the 1,000 hosts that docs/fleet.md speaks of, and 30 s. A
//! debug build has a tenth of them. `HPBENCH_WRITE_DOCS=1` also writes the table that docs/fleet.md shows.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use common::rows::{drain, text};
use common::{Bench, HPBENCH, needs, parse};
use hpbench::record::row::Row;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Pairs of runs on each host, and trials of a cell in a run: the fewest that count between runs.
const PAIRS: u32 = 4;
const TRIALS: usize = 6;

const BATCHES: [usize; 12] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

/// The true change of a cell, as a logarithm: of six nothing, of three 5%, of three 1% less.
fn true_change(cell: usize) -> f64 {
    [0.0, 0.0, 0.05, -0.01][cell / 3]
}

/// One host in fifty is slower by itself in state B.
fn is_odd(host: usize) -> bool {
    host % 50 == 7
}

/// Three in twenty are, because of their processor.
fn cpu_model(host: usize) -> &'static str {
    if host % 20 < 3 { "Slow 2000" } else { "Fast 1000" }
}

fn kernel(host: usize) -> &'static str {
    ["6.1", "6.12", "6.18"][host % 3]
}

/// Numbers around 0 with a standard deviation of 1 (Irwin and Hall's sum of twelve).
fn normal(random: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0
}

/// The fields that vary, in the order of the columns, as they are in the template.
const VARYING: [&str; 11] =
    ["@run", "@started", "987001", "987002", "987003", "987004.5", "@host", "@kernel", "@cpu", "@state", "987005"];

/// A header, and the texts of a row between the fields that vary: a million rows are made in seconds.
struct Template {
    header: String,
    between: Vec<String>,
}

impl Template {
    fn new() -> Self {
        let row = Row {
            run_id: "@run".into(),
            started_at: "@started".into(),
            order: 987_003,
            host: "@host".into(),
            kernel: "@kernel".into(),
            cpu_model: "@cpu".into(),
            state: "@state".into(),
            pair: Some(987_005),
            kernel_batch_mean: None,
            ..drain("plain", 987_001, 987_002, 987_004.5)
        };
        let text = String::from_utf8(text(&[row])).expect("UTF-8");
        let (header, mut rest) = text.split_once('\n').expect("a header and a row");
        let mut between = Vec::new();
        for field in VARYING {
            let (before, after) = rest.split_once(field).expect("the columns are in this order");
            between.push(before.to_owned());
            rest = after;
        }
        between.push(rest.to_owned());
        Self { header: format!("{header}\n"), between }
    }

    fn row(&self, to: &mut String, fields: [&str; VARYING.len()]) {
        for (before, field) in self.between.iter().zip(fields) {
            to.push_str(before);
            to.push_str(field);
        }
        to.push_str(&self.between[VARYING.len()]);
    }
}

/// The file of one host, as `scripts/ab` would write it: hosts, runs and trials are noisy.
fn file_of(host: usize, template: &Template, random: &mut ChaCha8Rng) -> String {
    let name = format!("host{host:04}");
    let mut text = template.header.clone();
    let own = 0.1 * normal(random);
    let odd = if is_odd(host) { 0.12 } else { 0.0 } + if cpu_model(host) == "Slow 2000" { 0.06 } else { 0.0 };
    // Hosts react differently, even to nothing.
    let reactions = BATCHES.map(|_| 0.005 * normal(random));
    for pair in 1..=PAIRS {
        for (side, state) in ["A", "B"].into_iter().enumerate() {
            let run = format!("{name}-{pair}{state}");
            let started = format!("2026-11-29T10:{pair:02}:{side:02}Z");
            let of_run = BATCHES.map(|_| 0.015 * normal(random));
            for trial in 1..=TRIALS {
                for (cell, batch) in BATCHES.iter().enumerate() {
                    let change = if state == "B" { true_change(cell) + odd + reactions[cell] } else { 0.0 };
                    let ns = 400.0 * (own + change + of_run[cell] + 0.01 * normal(random)).exp();
                    let order = (trial * BATCHES.len() + cell).to_string();
                    let (trial, ns) = (trial.to_string(), format!("{ns:.2}"));
                    template.row(
                        &mut text,
                        [
                            &run,
                            &started,
                            &batch.to_string(),
                            &trial,
                            &order,
                            &ns,
                            &name,
                            kernel(host),
                            cpu_model(host),
                            state,
                            &pair.to_string(),
                        ],
                    );
                }
            }
        }
    }
    text
}

/// The numbers of hosts for which something holds, as names.
fn names(hosts: usize, holds: impl Fn(usize) -> bool) -> BTreeSet<String> {
    (0..hosts).filter(|host| holds(*host)).map(|host| format!("host{host:04}")).collect()
}

#[test]
fn a_large_fleet_is_judged_in_little_time_and_memory() {
    if !needs::command("prlimit") {
        return;
    }
    let hosts = std::env::var("HPBENCH_FLEET_HOSTS").map_or(100, |hosts| hosts.parse().expect("a number of hosts"));
    let bench = Bench::new();
    let (template, mut random) = (Template::new(), ChaCha8Rng::seed_from_u64(7));
    for host in 0..hosts {
        fs::write(bench.path(&format!("{host:04}.csv")), file_of(host, &template, &mut random)).expect("a file");
    }
    let compare = format!("exec prlimit --as=524288000 {HPBENCH} compare --by state --across host --format csv *.csv");
    let start = Instant::now();
    let done = bench.run_command(&["sh", "-c", &compare]).expect(0);
    let took = start.elapsed();
    eprintln!("{hosts} hosts, {} rows: {took:.1?}", hosts * 2 * PAIRS as usize * BATCHES.len() * TRIALS);
    if hosts >= 1000 && !cfg!(debug_assertions) {
        assert!(took.as_secs_f64() < 30.0, "{took:?}");
    }
    let report = format!("exec prlimit --as=524288000 {HPBENCH} report --by state --across host -o fleet.html *.csv");
    bench.run_command(&["sh", "-c", &report]).expect(0);
    let page = fs::read_to_string(bench.path("fleet.html")).expect("a page");
    for told in [" hosts</h1>", "the hosts with cpu_model", "host0007", "cpu_model", "kernel"] {
        assert!(page.contains(told), "{told} is not on the page");
    }

    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    if std::env::var("HPBENCH_WRITE_DOCS").is_ok() {
        let shown = "hpbench compare --by state --across host results/runs/*.csv";
        let table = bench
            .run_command(&["sh", "-c", &format!("exec {HPBENCH} compare --by state --across host *.csv")])
            .expect(0);
        // Of each kind of line, those of the first cell.
        let mut is_kept = true;
        let first = table.stdout.lines().take_while(|line| !line.starts_with("Each host")).filter(|line| {
            is_kept =
                if line.starts_with("batch ") && line.contains(", ") { line.starts_with("batch 1, ") } else { is_kept };
            let is_next = !line.starts_with("  ") && !line.starts_with("batch ");
            is_kept |= is_next;
            is_kept
        });
        let text = first.map(|line| format!("{line}\n")).collect::<String>();
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/docs/fleet.txt");
        let cost = text.split("\n\n").next().expect("the first table");
        fs::write(recorded, format!("$ {shown}\n\n{cost}\n")).expect("it is ours");
    }
    let rows = parse(&done.stdout);
    let rows: Vec<_> = rows.iter().filter(|row| row.text("metric") == "ns_per_packet_p50").collect();
    let (odd, mut named, mut false_names) = (names(hosts, is_odd), 0, 0);
    for (cell, batch) in BATCHES.iter().enumerate() {
        let of_cell: Vec<_> = rows.iter().filter(|row| row.text("batch") == batch.to_string()).collect();
        let fleet = of_cell.iter().find(|row| row.text("host").is_empty() && !row.text("verdict").contains("differs"));
        let fleet = fleet.expect("a line for the median host");
        let expected = if true_change(cell) > 0.03 { "worse" } else { "same" };
        assert_eq!((fleet.text("verdict"), fleet.count("hosts")), (expected, hosts as i64), "batch {batch}");
        let found: BTreeSet<String> = of_cell
            .iter()
            .filter(|row| row.text("verdict") == "differs")
            .map(|row| row.text("host").to_owned())
            .collect();
        // Those of the slow processor do differ from the median host, some of them certainly.
        let true_ones =
            |name: &&String| odd.contains(*name) || cpu_model(name[4..].parse().expect("a number")) == "Slow 2000";
        named += found.intersection(&odd).count();
        false_names += found.iter().filter(|name| !true_ones(name)).count();
        assert!(
            found.iter().filter(|name| !true_ones(name)).count() * 20 <= found.len().max(20),
            "batch {batch}: {found:?}"
        );
        let groups: Vec<&str> =
            of_cell.iter().filter(|row| row.text("verdict") == "group_differs").map(|row| row.text("reason")).collect();
        // Which of two groups differs, nobody can say.
        let is_cpu = |told: &&&str| told.starts_with("cpu_model ");
        assert!(groups.len() == groups.iter().filter(is_cpu).count(), "{groups:?}");
        assert!(groups.iter().any(|told| told.starts_with("cpu_model Slow 2000")), "batch {batch}: {groups:?}");
    }
    assert!(
        named * 10 >= 8 * odd.len() * BATCHES.len(),
        "{named} of {} hosts that differ are named",
        odd.len() * BATCHES.len()
    );
    eprintln!("{named} of {} named, {false_names} falsely", odd.len() * BATCHES.len());
}

/// What docs/fleet.md shows of DuckDB and pandas is run on files of such a fleet.
#[test]
fn other_programs_read_a_fleet_as_documented() {
    let Some(python) = needs::python_with("pandas", &["pandas", "duckdb"]) else { return };
    let bench = Bench::new();
    fs::create_dir(bench.path("runs")).expect("a directory");
    let (template, mut random) = (Template::new(), ChaCha8Rng::seed_from_u64(7));
    for host in 0..20 {
        fs::write(bench.path(&format!("runs/{host:04}.csv")), file_of(host, &template, &mut random)).expect("a file");
    }
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fleet.md")).expect("a document");
    let example = |language: &str| {
        let (_, rest) = text.split_once(&format!("```{language}\n")).expect("an example");
        rest.split_once("```").expect("its end").0.to_owned()
    };
    fs::write(bench.path("example.sql"), example("sql")).expect("a file");
    fs::write(bench.path("example.py"), example("python")).expect("a file");
    let sql = "import duckdb; print(duckdb.sql(open('example.sql').read()).fetchall())";
    let shown = bench.run_command(&[&python, "-c", sql]).expect(0).stdout;
    // 17 hosts of one processor, and 3 of the other, which are slower.
    let first = |model: &str| {
        let (_, rest) = shown.split_once(&format!("(1, '{model}', ")).unwrap_or_else(|| panic!("{model}: {shown}"));
        let (hosts, rest) = rest.split_once(", ").expect("figures");
        (hosts.to_owned(), rest.split(')').next().and_then(|percent| percent.parse::<f64>().ok()).expect("a change"))
    };
    let (fast, slow) = (first("Fast 1000"), first("Slow 2000"));
    assert_eq!((fast.0.as_str(), slow.0.as_str()), ("17", "3"));
    assert!(fast.1.abs() < 2.0 && slow.1 > 3.0, "{shown}");
    assert!(bench.path("fleet.parquet").exists());
    let shown = bench.run_command(&[&python, "example.py"]).expect(0).stdout;
    let medians = shown.lines().find(|line| line.starts_with("50%")).expect("a line");
    assert!(shown.contains("count") && medians.split_whitespace().count() == 13, "{shown}");
}
