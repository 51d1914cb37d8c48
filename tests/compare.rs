//! `hpbench compare` and `hpbench selftest`: what a user sees, even of many rows.

mod common;

#[path = "compare/counts.rs"]
mod counts;
#[path = "compare/damage.rs"]
mod damage;

use std::fs;
use std::process::Stdio;

use common::rows::{self, bench, drain, text};
use common::{Bench, HPBENCH, needs, parse};
use hpbench::record::row::Row;

/// The columns of the CSV that `compare` prints: a contract.
const COLUMNS: &str = "metric,unit,better,scenario,backend,variant,wait,addressing,bind,batch,payload,round,rate_pps,burst,\
    window,workers,generators,handoff,fifo,ring,buffers,verify,duration_target_s,warmup_s,base,new,n_base,n_new,base_median,\
    base_low,base_high,new_median,new_low,new_high,ratio,ratio_low,ratio_high,delta_pct,p,q,threshold_pct,verdict,warnings,fd_table,reason,\
    basis,certain,by_threshold,host,accel,rcvbuf,cpu_relation,fill,peer_host,fill_core,sockets,active,skew,work,flows,sharding,steer,fanout,min_wait";

/// A file of twenty blocks of three backends at two batches; mmsg is slower at batch 1.
fn backends() -> Vec<u8> {
    text(&rows::backends())
}

#[test]
fn a_table_with_an_answer() {
    let bench = bench("run.csv", &backends());
    let done = bench.run("compare --by backend run.csv").expect(0);
    assert!(done.shows("drain: ns_per_packet_p50 in ns, lower is better; against backend plain"), "{}", done.stdout);
    let lines: Vec<&str> = done.stdout.lines().filter(|line| line.ends_with("worse")).collect();
    assert_eq!(lines.len(), 1, "{}", done.stdout);
    assert!(lines[0].starts_with("mmsg") && lines[0].contains("+26.9%"), "{}", lines[0]);
    assert!(
        done.shows("Receiving (against plain): mmsg 27% slower at batch 1, within 3% at batch 32; uring within 3%."),
        "{}",
        done.stdout
    );
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80 && line.trim_end() == line), "{}", done.stdout);
    assert!(!done.stdout.contains('\x1b'), "no colour in a file");
    assert_eq!(done.stderr, "");
}

#[test]
fn csv_has_the_columns_of_the_interface() {
    let bench = bench("run.csv", &backends());
    let done = bench.run("compare --by backend --format csv run.csv").expect(0);
    assert_eq!(done.stdout.lines().next(), Some(COLUMNS));
    let rows = parse(&done.stdout);
    assert_eq!(rows.len(), 2 * 2 * 2, "batches, metrics and backends");
    let worse: Vec<_> = rows.iter().filter(|row| row.text("verdict") == "worse").collect();
    assert_eq!(worse.len(), 1);
    let row = worse[0];
    for (column, value) in [
        ("metric", "ns_per_packet_p50"),
        ("unit", "ns"),
        ("better", "lower"),
        ("scenario", "drain"),
        ("backend", ""),
        ("variant", ""),
        ("batch", "1"),
        ("payload", "64"),
        ("round", "1024"),
        ("base", "plain"),
        ("new", "mmsg"),
        ("n_base", "20"),
        ("n_new", "20"),
        ("threshold_pct", "3"),
        ("warnings", ""),
        ("reason", ""),
        ("basis", "blocks"),
        ("certain", "0"),
        ("by_threshold", "1"),
    ] {
        assert_eq!(row.text(column), value, "{column}");
    }
    assert!((row.number("ratio") - 1.27).abs() < 0.005 && (row.number("delta_pct") - 27.0).abs() < 0.5);
    for side in ["base", "new"] {
        let [low, median, high] = ["low", "median", "high"].map(|part| row.number(&format!("{side}_{part}")));
        assert!(low <= median && median <= high, "{low} {median} {high}");
    }
    assert!(row.number("ratio_low") <= row.number("ratio") && row.number("ratio") <= row.number("ratio_high"));
    assert!(row.number("p") <= row.number("q") && row.number("q") < 0.05);
    let again = bench.run("compare --by backend --format csv run.csv").expect(0);
    assert_eq!(again.stdout, done.stdout, "the same file has the same intervals");
}

#[test]
fn json_says_the_same_as_csv() {
    let bench = bench("run.csv", &backends());
    let text = bench.run("compare --by backend --format json run.csv").expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&json["schema"], &json["by"], &json["threshold_pct"]), (&1.into(), &"backend".into(), &3.0.into()));
    let rows = parse(&bench.run("compare --by backend --format csv run.csv").expect(0).stdout);
    let entries = json["comparisons"].as_array().expect("a list");
    assert_eq!(entries.len(), rows.len());
    for (entry, row) in entries.iter().zip(&rows) {
        assert_eq!(entry["verdict"], row.text("verdict"));
        assert_eq!(entry["ratio"].as_f64(), Some(row.number("ratio")));
        assert_eq!(entry["cell"]["batch"], row.text("batch"));
    }
    assert!(json["answer"][0].as_str().is_some_and(|line| line.contains("27% slower")), "{json}");
}

#[test]
fn a_difference_can_fail_the_command() {
    let bench = bench("run.csv", &backends());
    bench.run("compare --by backend --fail-on worse run.csv").expect(3);
    bench.run("compare --by backend --fail-on worse --base mmsg run.csv").expect(0);
    bench.run("compare --by backend --fail-on worse --threshold 40% run.csv").expect(0);
    bench.run("compare --by backend --fail-on worse-by-threshold run.csv").expect(3);
    bench.run("compare --by backend --fail-on worse-by-threshold --threshold 27.2% run.csv").expect(0);
    let same = fs::read(bench.path("run.csv")).expect("it is there");
    fs::write(bench.path("same.csv"), same).expect("a file");
    bench.run("compare run.csv same.csv --fail-on worse").expect(0);
}

#[test]
fn two_files_are_compared_cell_by_cell() {
    let rows = |run: &str, kernel: &str, factor: f64| {
        let row = |(block, batch): (usize, usize)| Row {
            run_id: run.into(),
            kernel: kernel.into(),
            variant: "as plain does".into(),
            ..drain("plain", batch, block, factor * (400.0 + block as f64))
        };
        text(&(1..=10).flat_map(|block| [(block, 1), (block, 32)]).map(row).collect::<Vec<_>>())
    };
    let bench = bench("old.csv", &rows("1", "6.1", 1.0));
    fs::write(bench.path("new.csv"), rows("2", "6.12", 0.8)).expect("a file");
    let done = bench.run("compare old.csv new.csv").expect(0);
    assert!(done.shows("new.csv against old.csv") && done.shows("-20.0%"), "{}", done.stdout);
    assert!(done.shows("kernel differs: 6.1 of old.csv, 6.12 of new.csv"), "{}", done.stdout);
    assert!(done.shows("No verdict: only one run"), "{}", done.stdout);
    let done = bench.run("compare --by kernel new.csv old.csv").expect(0);
    assert!(done.shows("no step of 3% or more between neighbouring kernels"), "{}", done.stdout);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    if !needs::command("script") {
        return;
    }
    let bench = bench("run.csv", &backends());
    for (environment, coloured) in [("TERM=xterm", true), ("TERM=xterm NO_COLOR=1", false), ("TERM=dumb", false)] {
        // On CI, and if a user forces colours, all terminals count as capable.
        let command = format!(
            "env -u NO_COLOR -u CI -u CLICOLOR -u CLICOLOR_FORCE {environment} {HPBENCH} compare --by backend run.csv"
        );
        let screen = bench.run_command(&["script", "-qec", &command, "/dev/null"]).expect(0).stdout;
        assert!(screen.contains("worse"), "{screen}");
        assert_eq!(screen.contains("\x1b["), coloured, "{environment}: {screen:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_error_message() {
    let bench = bench("run.csv", &backends());
    for format in ["table", "csv", "json"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let args = format!("compare --by backend --format {format} run.csv");
        let done = bench.start_to(&args, Stdio::from(writer)).wait().expect(141);
        assert_eq!(done.stderr, "", "{format}");
    }
}

#[test]
fn a_real_run_is_compared() {
    let bench = Bench::new();
    let run =
        bench.tiny_undisturbed("--backend plain,mmsg --scenario drain --batch 4 --round 64 --trials 40").expect(0);
    // Unsteady trials are left out; on a busy machine fewer than 18 may be left.
    let is_answer = run.stdout.starts_with("Receiving, batch 4: ") || run.stdout.contains("too few for a verdict");
    assert!(is_answer, "the answer comes first: {}", run.stdout);
    let again = bench.run("show out.csv").expect(0).stdout;
    assert_eq!(again, run.stdout, "the file shows what the run did");
    let summary = parse(&bench.run("show --summary csv out.csv").expect(0).stdout);
    assert_eq!(summary.len(), 2, "a row for each cell");
    assert!(summary.iter().all(|row| (1..=40).contains(&row.count("trials")) && row.number("ns_per_packet_p50") > 0.0));
    let json: serde_json::Value =
        serde_json::from_str(&bench.run("show --summary json out.csv").expect(0).stdout).expect("JSON");
    let median = json["cells"][0]["metrics"]["ns_per_packet_p50"]["median"].as_f64();
    assert_eq!(median, Some(summary[0].number("ns_per_packet_p50")), "{json}");
    let done = bench.run("compare --by backend --format csv out.csv").expect(0);
    let rows = parse(&done.stdout);
    assert_eq!(rows.len(), 2, "{}", done.stdout);
    assert!(rows.iter().all(|row| row.text("base") == "plain" && row.text("new") == "mmsg"));
    let bench = Bench::new();
    let run = bench.tiny_undisturbed("--backend plain,mmsg --scenario drain --batch 4 --round 64 --trials 2").expect(0);
    assert!(run.shows("2 trials per cell: too few for a verdict"), "{}", run.stdout);
}

#[test]
fn a_hundred_thousand_rows_take_little_memory() {
    let args = ["compare", "--by", "backend", "--format", "csv", "big.csv"];
    let Some((_, done)) = rows::run_on_many(&args) else { return };
    assert_eq!(done.stdout.lines().count(), 1 + 2 * rows::CELLS);
}

#[test]
fn the_selftest_says_what_it_can_resolve() {
    let bench = Bench::new();
    let done = bench.run("selftest --trials 18 -t 0.01 --batch 4 --seed 1 --runs 12 --run-time 0.2");
    assert!(
        done.stdout.starts_with("drain with plain, batch 4: 18 blocks of 3 trials"),
        "{} {}",
        done.stdout,
        done.stderr
    );
    assert!(done.shows("Between runs: 6 pairs of runs of 0.2 s"), "{}", done.stdout);
    match done.status {
        0 => {
            assert!(done.shows("the same cell twice") && done.shows("ns added"), "{}", done.stdout);
            assert!(done.shows("not measured: --time 90 does") && done.shows("Of 1 comparison of"), "{}", done.stdout);
            assert!(done.shows("6 pairs ") && done.shows("pairs of runs resolve"), "{}", done.stdout);
        }
        1 => assert!(done.shows("this machine is too busy"), "{}", done.stdout),
        status => panic!("status {status}: {}", done.stderr),
    }
    for (args, told) in [
        ("selftest --scenario flood", "drain or send"),
        ("selftest --backend all", "one"),
        ("selftest --trials 17", "from 18 to 10000"),
        ("selftest --batch 0", "from 1 to 1024"),
        ("selftest --trials 18 --time 1", "cannot be used with"),
        ("selftest --runs 11", "from 12 to 10000"),
        ("selftest --run-time 1", "--runs"),
        ("selftest --added 0", "percentage"),
    ] {
        let message = bench.run(args).expect(2).stderr;
        assert!(message.contains(told), "{args}: {message}");
    }
    assert!(bench.files().is_empty(), "{:?}", bench.files());
}

#[test]
fn a_file_that_a_spreadsheet_has_saved_is_read_but_never_added_to() {
    let saved = String::from_utf8(backends()).expect("ASCII").replace('\n', "\r\n");
    let bench = bench("run.csv", &backends());
    for (saved, complaint) in [
        (saved.clone(), "the lines of saved.csv end with CR LF"),
        (format!("\u{feff}{saved}"), "saved.csv begins with a byte-order mark"),
    ] {
        fs::write(bench.path("saved.csv"), &saved).expect("a file");
        let [ours, theirs] = ["run.csv", "saved.csv"]
            .map(|file| bench.run(&format!("compare --by backend --format csv {file}")).expect(0).stdout);
        assert_eq!(ours, theirs);
        for how in ["--append", "--resume"] {
            let done = bench.tiny(&format!("{how} -o saved.csv")).expect(2);
            assert!(done.complaints().contains(complaint), "{}", done.stderr);
            assert_eq!(fs::read_to_string(bench.path("saved.csv")).expect("it is there"), saved, "{how}");
        }
    }
}

/// Two labels in one file: the same cells, each twice.
#[test]
fn whatever_tells_rows_apart_is_shown() {
    let of = |host: &str, factor: f64| -> Vec<Row> {
        let change = |row: Row| Row {
            host: host.into(),
            run_id: host.into(),
            ns_per_packet_p50: row.ns_per_packet_p50.map(|ns| if row.backend == "mmsg" { ns * factor } else { ns }),
            ..row
        };
        rows::backends().into_iter().filter(|row| row.batch == 32).map(change).collect()
    };
    let both: Vec<Row> = of("before", 1.0).into_iter().chain(of("after", 1.2)).collect();
    let bench = bench("both.csv", &text(&both));
    let done = bench.run("compare --by backend both.csv").expect(0);
    let ends = |line: &&str| ["same", "same ~", "worse"].iter().any(|verdict| line.ends_with(verdict));
    let lines: Vec<&str> = done.stdout.lines().filter(|line| line.starts_with("mmsg")).filter(ends).collect();
    assert!(
        lines.len() == 4 && lines.iter().all(|line| line.contains("before") || line.contains("after")),
        "{lines:?}"
    );
    assert!(done.shows("where host is before") && done.shows("where host is after"), "{}", done.stdout);
    let rows = parse(&bench.run("compare --by backend --format csv both.csv").expect(0).stdout);
    let mmsg = |host: &str| {
        let found = rows.iter().find(|row| row.text("host") == host && row.text("new") == "mmsg");
        found.expect("a row").text("verdict").to_owned()
    };
    assert_eq!([mmsg("before"), mmsg("after")], ["same", "worse"]);
}
