//! `hpbench compare`: what a user sees, files of many kinds of damage, and files of many rows.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use common::{Bench, Done, HPBENCH, needs, parse};

/// The columns of the CSV that compare prints, as in INTERFACE.md.
const COLUMNS: &str = "metric,unit,better,scenario,backend,variant,wait,addressing,bind,batch,payload,round,rate_pps,burst,\
    window,workers,generators,handoff,fifo,ring,buffers,verify,duration_target_s,warmup_s,base,new,n_base,n_new,base_median,\
    base_low,base_high,new_median,new_low,new_high,ratio,ratio_low,ratio_high,delta_pct,p,q,threshold_pct,verdict,warnings";

/// A row of `drain`, of a backend in a block.
fn row(backend: &str, batch: usize, block: usize, ns: f64) -> hpbench::record::Row {
    hpbench::record::Row {
        schema: 1,
        run_id: "f00d".into(),
        scenario: "drain".into(),
        backend: backend.into(),
        variant: format!("as {backend} does"),
        wait: "spin".into(),
        bind: "127.0.0.1".into(),
        batch,
        payload: 64,
        round: Some(1024),
        trial: block,
        attempt: 1,
        order: 10_000 * batch + 100 * block + backend.len(),
        ns_per_packet_p50: Some(ns),
        peer_ns_per_packet: Some(300.0),
        kernel_batch_mean: Some(batch as f64),
        host: "lab".into(),
        kernel: "6.18".into(),
        fill: "gso".into(),
        rcvbuf: Some(1 << 20),
        valid: 1,
        ..Default::default()
    }
}

fn text(rows: impl IntoIterator<Item = hpbench::record::Row>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.into_iter().for_each(|row| writer.serialize(row).expect("a row"));
    writer.into_inner().expect("memory takes all bytes")
}

/// Ten blocks of three backends at two batches; mmsg is slower at batch 1.
fn backends() -> Vec<u8> {
    let mut rows = Vec::new();
    for block in 1..=10 {
        for batch in [1, 32] {
            for backend in ["plain", "mmsg", "uring"] {
                let slow = if (backend, batch) == ("mmsg", 1) { 1.27 } else { 1.0 };
                let noise = 1.0 + 0.0005 * ((block * 7 + backend.len()) % 11) as f64;
                rows.push(row(backend, batch, block, 400.0 * slow * noise));
            }
        }
    }
    text(rows)
}

fn bench(name: &str, content: &[u8]) -> Bench {
    let bench = Bench::new();
    fs::write(bench.path(name), content).expect("a file");
    bench
}

#[test]
fn a_table_with_an_answer() {
    let bench = bench("run.csv", &backends());
    let done = bench.run("compare --by backend run.csv").expect(0);
    assert!(done.shows("drain: ns_per_packet_p50 in ns, lower is better; against backend plain"), "{}", done.stdout);
    let lines: Vec<&str> = done.stdout.lines().filter(|line| line.ends_with("worse")).collect();
    assert_eq!(lines.len(), 1, "{}", done.stdout);
    assert!(lines[0].starts_with("mmsg") && lines[0].contains("+27."), "{}", lines[0]);
    assert!(
        done.shows("Batch 1: uring the same; mmsg 27% slower. Batch 32: no difference beyond 3%."),
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
        ("n_base", "10"),
        ("n_new", "10"),
        ("threshold_pct", "3"),
        ("warnings", ""),
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
    let same = fs::read(bench.path("run.csv")).expect("it is there");
    fs::write(bench.path("same.csv"), same).expect("a file");
    bench.run("compare run.csv same.csv --fail-on worse").expect(0);
}

#[test]
fn two_files_are_compared_cell_by_cell() {
    let rows = |run: &str, kernel: &str, factor: f64| {
        let row = |(block, batch): (usize, usize)| hpbench::record::Row {
            run_id: run.into(),
            kernel: kernel.into(),
            ..row("plain", batch, block, factor * (400.0 + block as f64))
        };
        text((1..=10).flat_map(|block| [(block, 1), (block, 32)]).map(row).collect::<Vec<_>>())
    };
    let bench = bench("old.csv", &rows("1", "6.1", 1.0));
    fs::write(bench.path("new.csv"), rows("2", "6.12", 0.8)).expect("a file");
    let done = bench.run("compare old.csv new.csv").expect(0);
    assert!(done.shows("new.csv against old.csv") && done.shows("better"), "{}", done.stdout);
    assert!(done.shows("kernel differs: 6.1 of old.csv, 6.12 of new.csv"), "{}", done.stdout);
    assert!(done.shows("different runs: drift of the machine counts as a difference"), "{}", done.stdout);
    let done = bench.run("compare --by kernel new.csv old.csv").expect(0);
    assert!(
        done.shows("plain:as plain does 6.1 → 6.12: -20.0% ns per packet (drain, batch 1: 405.5 → 324.4)"),
        "{}",
        done.stdout
    );
}

/// Counts of instructions, six of each of two sides that differ in a column.
fn counted(change: impl Fn(&mut hpbench::record::Row)) -> Vec<u8> {
    let mut rows = Vec::new();
    for block in 1..=6 {
        let base = hpbench::record::Row {
            variant: "recvfrom+sendto".into(),
            addressing: "connected".into(),
            ring: 1024,
            accel: "icount".into(),
            ns_per_packet_p50: None,
            peer_ns_per_packet: None,
            instructions_per_packet: Some(1900.0),
            ..row("plain", 32, block, 0.0)
        };
        let mut new = hpbench::record::Row { order: base.order + 5000, ..base.clone() };
        change(&mut new);
        rows.extend([base, new]);
    }
    text(rows)
}

#[test]
fn counts_of_instructions_rank_no_ways_of_moving_datagrams() {
    type Change = fn(&mut hpbench::record::Row);
    let changes: [(&str, Change); 9] = [
        ("backend", |row| (row.backend, row.variant) = ("mmsg".into(), "recvmmsg+sendmmsg".into())),
        ("variant", |row| row.variant += "+gro"),
        ("wait", |row| row.wait = "block".into()),
        ("addressing", |row| row.addressing = "unconnected".into()),
        ("batch", |row| row.batch = 8),
        ("payload", |row| row.payload = 1472),
        ("round", |row| row.round = Some(64)),
        ("ring", |row| row.ring = 2048),
        ("buffers", |row| row.buffers = Some(64)),
    ];
    for (column, change) in changes {
        let bench = bench("run.csv", &counted(change));
        let message = bench.run(&format!("compare --by {column} run.csv")).expect(2).stderr;
        let told = format!("accel is icount, and counts are not compared by {column}");
        assert!(message.contains(&told) && message.contains("caches"), "{column}: {message}");
        assert!(message.contains("--by kernel") && message.contains("--force"), "{column}: {message}");
        let done = bench.run(&format!("compare --by {column} --force --format csv run.csv")).expect(0);
        let rows = parse(&done.stdout);
        assert_eq!(rows.len(), 1, "{column}: {}", done.stdout);
        assert_eq!(rows[0].text("verdict"), "invalid", "{column}");
        assert!(rows[0].text("warnings").contains(&told), "{column}: {}", rows[0].text("warnings"));
    }
    // What leaves system calls and memory as they are can be compared.
    let bench = bench("run.csv", &counted(|row| row.git_rev = "abc".into()));
    let rows = parse(&bench.run("compare --by git_rev --format csv run.csv").expect(0).stdout);
    assert_eq!(rows[0].text("verdict"), "same");
    let (recorded, _) = recorded();
    let message = bench.run(&format!("compare --by backend {}", recorded.display())).expect(2).stderr;
    assert!(message.contains("counts are not compared by backend"), "before all else: {message}");
}

/// A recorded run of the lab: its rows, and the steps that the lab printed of them.
fn recorded() -> (PathBuf, Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/kernels-2026-11-22");
    let text = fs::read_to_string(folder.join("comparison.txt")).expect("the lab's comparison");
    (folder.join("kernels.csv"), steps_in(&text))
}

/// The steps of a comparison as text, each on one line, sorted.
fn steps_in(text: &str) -> Vec<String> {
    let text = text.replace("\n  ", " ");
    let lines = text.lines().skip_while(|line| !line.starts_with("steps of ")).skip(1);
    let mut steps: Vec<String> = lines.take_while(|line| line.contains(" → ")).map(str::to_owned).collect();
    steps.sort();
    steps
}

#[test]
fn kernels_have_the_steps_that_the_lab_tells() {
    let (file, expected) = recorded();
    assert!(expected.len() > 100, "{expected:?}");
    let bench = Bench::new();
    let compare = |format: &str| {
        let args = format!("compare --by kernel --threshold 1% --format {format} {}", file.display());
        bench.run(&args).expect(0).stdout
    };
    let table = compare("table");
    assert!(table.contains("steps of 1% or more between neighbouring kernels"), "{table}");
    assert_eq!(steps_in(&table), expected);
    let json: serde_json::Value = serde_json::from_str(&compare("json")).expect("JSON");
    let mut steps: Vec<&str> =
        json["steps"].as_array().expect("a list").iter().filter_map(|step| step.as_str()).collect();
    steps.sort_unstable();
    assert_eq!(steps, expected);

    // In CSV, steps are changes of at least the threshold: verdicts, or counts that have not settled.
    let is_settled = |row: &common::Row| row.text("verdict") != "unclear";
    let rows = parse(&compare("csv"));
    let steps: Vec<_> = rows.iter().filter(|row| row.number("delta_pct").abs() >= 1.0).collect();
    assert_eq!(steps.len(), expected.len());
    let settled = |wanted: bool| steps.iter().filter(|row| is_settled(row) == wanted).count();
    let of_lab = |wanted: bool| expected.iter().filter(|step| step.ends_with("not settled)") != wanted).count();
    assert_eq!([settled(true), settled(false)], [of_lab(true), of_lab(false)]);
    for row in &rows {
        let verdict = row.text("verdict");
        assert_eq!(verdict == "unclear", row.text("warnings").contains("not settled"), "{}", row.name());
        assert_eq!((row.text("p"), row.text("q")), ("", ""), "counts have no noise");
        assert!(["better", "worse", "same", "unclear"].contains(&verdict), "{verdict}");
    }
    let uring = steps.iter().find(|row| {
        let told = ["scenario", "backend", "variant", "batch", "base", "metric"].map(|column| row.text(column));
        let expected =
            ["drain", "uring", "multishot+send+defer", "32", "6.1.0-50-cloud-amd64", "instructions_per_packet"];
        told == expected
    });
    let uring = uring.expect("multishot became longer from 6.1 to 6.12");
    assert_eq!((uring.text("verdict"), uring.text("n_new")), ("worse", "3"));
    assert!((uring.number("delta_pct") - 10.8).abs() < 0.1, "{}", uring.number("delta_pct"));
}

#[test]
fn bad_usage_is_refused_with_a_remedy() {
    let bench = bench("run.csv", &backends());
    for (args, told) in [
        ("compare", "FILE"),
        ("compare run.csv", "--by COLUMN"),
        ("compare run.csv run.csv run.csv", "--by COLUMN"),
        ("compare run.csv missing.csv", "missing.csv"),
        ("compare run.csv .", "cannot read ."),
        ("compare --by colour run.csv", "backend, "),
        ("compare --by ns_per_packet run.csv", "cannot be compared by"),
        ("compare --by host run.csv", "all trials have the same host, 'lab'"),
        ("compare --by backend --base tcp run.csv", "there are plain, mmsg, uring"),
        ("compare --base plain run.csv run.csv", "--by"),
        ("compare --by backend --metric speed run.csv", "ns_per_packet_p50, "),
        ("compare --by backend --threshold 0 run.csv", "percentage"),
        ("compare --by backend --threshold NaN run.csv", "percentage"),
        ("compare --by backend --threshold 100% run.csv", "percentage"),
        ("compare --by backend --fail-on better run.csv", "worse"),
        ("compare --by backend --format html run.csv", "table"),
        ("compare --by batch --paired --metric lat_p50_ns,nothing run.csv", "'nothing'"),
    ] {
        let Done { stdout, stderr, .. } = bench.run(args).expect(2);
        assert!(stderr.contains(told), "{args}: {stderr}");
        assert!(stdout.is_empty() && !stderr.contains("panicked"), "{args}: {stdout}{stderr}");
    }
}

#[test]
fn what_means_nothing_is_refused_and_with_force_marked() {
    let text = String::from_utf8(backends()).expect("text").replace(",lab,", ",home,");
    let bench = bench("home.csv", text.as_bytes());
    fs::write(bench.path("lab.csv"), backends()).expect("a file");
    let message = bench.run("compare lab.csv home.csv").expect(2).stderr;
    assert!(message.contains("host is lab and home") && message.contains("and 5 more"), "{message}");
    let done = bench.run("compare --force --format csv lab.csv home.csv").expect(0);
    let rows = parse(&done.stdout);
    assert!(!rows.is_empty() && rows.iter().all(|row| row.text("verdict") == "invalid"));
    assert!(rows.iter().all(|row| row.text("warnings").contains("host is lab and home")));
    bench.run("compare --by host lab.csv home.csv").expect(0);
}

#[test]
fn damage_is_told_with_file_and_line() {
    let good = String::from_utf8(backends()).expect("text");
    let lines: Vec<&str> = good.lines().collect();
    let with_third = |line: &str| [lines[0], lines[1], line, lines[3], ""].join("\n");
    let without = |column: &str| good.replacen(&format!(",{column}"), "", 1);
    let cases: [(&str, Vec<u8>, &str); 14] = [
        ("cut row", good.as_bytes()[..good.len() - 40].to_vec(), "line 61 of bad.csv is cut"),
        ("cut header", good.as_bytes()[..40].to_vec(), "line 1 of bad.csv"),
        ("empty", Vec::new(), "line 1 of bad.csv is no row of hpbench: the file is empty"),
        ("only a header", format!("{}\n", lines[0]).into_bytes(), "no trials in bad.csv"),
        (
            "missing column",
            without("payload").into_bytes(),
            "line 1 of bad.csv is no row of hpbench: the header lacks the column 'payload'",
        ),
        (
            "moved column",
            good.replacen("batch,payload", "payload,batch", 1).into_bytes(),
            "'batch' of the header is not in its place",
        ),
        ("another table", b"a,b\n1,2\n".to_vec(), "line 1 of bad.csv"),
        ("fewer fields", with_third("1,2,3").into_bytes(), "line 3 of bad.csv is no row of hpbench: it has 3 fields"),
        (
            "other schema",
            with_third(&lines[2].replacen("1,", "2,", 1)).into_bytes(),
            "line 3 of bad.csv is no row of hpbench: its schema is 2",
        ),
        (
            "no number",
            with_third(&lines[2].replacen(",64,", ",many,", 1)).into_bytes(),
            "line 3 of bad.csv is no row of hpbench: payload",
        ),
        (
            "NaN",
            with_third(&lines[2].replacen(",300.0,", ",NaN,", 1)).into_bytes(),
            "line 3 of bad.csv is no row of hpbench: peer_ns_per_packet is NaN",
        ),
        (
            "infinite",
            with_third(&lines[2].replacen(",300.0,", ",inf,", 1)).into_bytes(),
            "line 3 of bad.csv is no row of hpbench: peer_ns_per_packet is inf",
        ),
        (
            "negative",
            with_third(&lines[2].replacen(",300.0,", ",-1,", 1)).into_bytes(),
            "line 3 of bad.csv is no row of hpbench: peer_ns_per_packet is -1",
        ),
        (
            "not text",
            with_third("\u{1}")
                .replace('\u{1}', "?")
                .into_bytes()
                .into_iter()
                .map(|byte| if byte == b'?' { 0xff } else { byte })
                .collect(),
            "line 3 of bad.csv is no row of hpbench: it is not UTF-8",
        ),
    ];
    let bench = bench("good.csv", good.as_bytes());
    for (name, content, told) in cases {
        fs::write(bench.path("bad.csv"), &content).expect("a file");
        for args in ["compare good.csv bad.csv", "compare --by backend bad.csv"] {
            let Done { stdout, stderr, .. } = bench.run(args).expect(2);
            assert!(stderr.contains(told), "{name}: {stderr}");
            assert!(stdout.is_empty() && !stderr.contains("panicked"), "{name}: {stdout}{stderr}");
        }
    }
}

#[test]
fn columns_of_later_versions_are_no_trouble() {
    let later: String = String::from_utf8(backends())
        .expect("text")
        .lines()
        .enumerate()
        .map(|(index, line)| format!("{line},{}\n", if index == 0 { "colour" } else { "red" }))
        .collect();
    bench("run.csv", later.as_bytes()).run("compare --by backend run.csv").expect(0);
}

#[test]
fn a_line_without_an_end_does_not_fill_the_memory() {
    if !needs::command("prlimit") {
        return;
    }
    let bench = bench("good.csv", &backends());
    let header = String::from_utf8(backends()).expect("text").lines().next().map(|line| format!("{line}\n"));
    // A hole of 1 GiB reads as zero bytes, and takes no room on the disk.
    for (name, start) in [("row.csv", header.expect("a header")), ("header.csv", String::new())] {
        let mut file = fs::File::create(bench.path(name)).expect("a file");
        file.write_all(start.as_bytes()).expect("written");
        file.set_len(1 << 30).expect("a hole");
        let words = ["prlimit", "--as=300000000", HPBENCH, "compare", "--by", "backend", name];
        let message = bench.run_command(&words).expect(2).stderr;
        assert!(message.contains("longer than 1048576 bytes"), "{name}: {message}");
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    if !needs::command("script") {
        return;
    }
    let bench = bench("run.csv", &backends());
    for (environment, coloured) in [("TERM=xterm", true), ("TERM=xterm NO_COLOR=1", false), ("TERM=dumb", false)] {
        let command = format!("env -u NO_COLOR {environment} {HPBENCH} compare --by backend run.csv");
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
    let run = bench.tiny("--backend plain,mmsg --scenario drain --batch 4 --round 64 --trials 6").expect(0);
    assert!(
        run.shows("drain (time per datagram, against plain). Batch 4"),
        "a run ends with an answer: {}",
        run.stdout
    );
    let done = bench.run("compare --by backend --format csv out.csv").expect(0);
    let rows = parse(&done.stdout);
    assert_eq!(rows.len(), 2, "{}", done.stdout);
    assert!(rows.iter().all(|row| row.text("base") == "plain" && row.text("new") == "mmsg"));
    let run = bench.tiny("--backend plain,mmsg --scenario drain --batch 4 --round 64 --trials 2 --force").expect(0);
    assert!(run.shows("2 trials per cell: too few for a verdict"), "{}", run.stdout);
}

#[test]
fn a_hundred_thousand_rows_take_little_memory() {
    if !needs::command("prlimit") {
        return;
    }
    let mut rows = Vec::new();
    for block in 1..=20 {
        for cell in 0..2500 {
            for backend in ["plain", "mmsg"] {
                let mut row = row(backend, 32, block, 400.0 + ((block * 31 + cell * 17) % 23) as f64);
                // Without optimisation, resampling takes minutes: most cells are then on one side only.
                let alone = cfg!(debug_assertions) && cell % 50 != 0 && backend == "mmsg";
                (row.ring, row.order) = (1024 + cell + if alone { 100_000 } else { 0 }, rows.len() + 1);
                rows.push(row);
            }
        }
    }
    let bench = bench("big.csv", &text(rows));
    let words = ["prlimit", "--as=300000000", HPBENCH, "compare", "--by", "backend", "--format", "csv", "big.csv"];
    let start = std::time::Instant::now();
    let done = bench.start_command(&words).wait_at_most(Duration::from_secs(300)).expect(0);
    let compared = if cfg!(debug_assertions) { 50 } else { 2500 };
    assert_eq!(done.stdout.lines().count(), 1 + 2 * compared);
    // Time is judged where the machine is known to be quiet, and the build is one with optimisation.
    if let Ok(limit) = std::env::var("HPBENCH_COMPARE_SECONDS") {
        let limit = limit.parse().expect("a number of seconds");
        assert!(start.elapsed().as_secs_f64() < limit, "{:?}", start.elapsed());
    }
}

#[test]
fn the_selftest_says_what_it_can_resolve() {
    let bench = Bench::new();
    let done = bench.run("selftest --trials 6 -t 0.02 --batch 4 --seed 1");
    assert!(
        done.stdout.starts_with("drain with plain, batch 4: 6 blocks of 3 trials"),
        "{} {}",
        done.stdout,
        done.stderr
    );
    match done.status {
        0 => {
            assert!(done.shows("the same cell twice") && done.shows("ns added"), "{}", done.stdout);
            assert!(done.shows("with 10 blocks here: ") && done.shows("with 6 blocks here: "), "{}", done.stdout);
        }
        1 => assert!(done.shows("this machine is too busy"), "{}", done.stdout),
        status => panic!("status {status}: {}", done.stderr),
    }
    for (args, told) in [
        ("selftest --scenario flood", "drain and send"),
        ("selftest --backend all", "one"),
        ("selftest --trials 5", "from 6 to 1000"),
        ("selftest --batch 0", "from 1 to 1024"),
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
    fs::write(bench.path("saved.csv"), &saved).expect("a file");
    let [ours, theirs] = ["run.csv", "saved.csv"]
        .map(|file| bench.run(&format!("compare --by backend --format csv {file}")).expect(0).stdout);
    assert_eq!(ours, theirs);
    for how in ["--append", "--resume"] {
        let done = bench.tiny(&format!("{how} -o saved.csv")).expect(2);
        assert!(done.complaints().contains("the lines of saved.csv end with CR LF"), "{}", done.stderr);
        assert_eq!(fs::read_to_string(bench.path("saved.csv")).expect("it is there"), saved, "{how}");
    }
}
