//! What `hpbench compare` refuses: bad usage, meaningless comparisons, and many kinds of damaged files.

use std::fs;
use std::io::Write;

use crate::backends;
use crate::common::rows::bench;
use crate::common::{Done, HPBENCH, needs, parse};

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
    assert!(!rows.is_empty() && rows.iter().all(|row| row.text("verdict") == "none"));
    assert!(rows.iter().all(|row| row.text("reason").contains("host is lab and home")));
    bench.run("compare --by host lab.csv home.csv").expect(0);
}

#[test]
fn damage_is_told_with_file_and_line() {
    let good = String::from_utf8(backends()).expect("text");
    let lines: Vec<&str> = good.lines().collect();
    let with_third = |line: &str| [lines[0], lines[1], line, lines[3], ""].join("\n");
    let without = |column: &str| good.replacen(&format!(",{column}"), "", 1);
    let cases: [(&str, Vec<u8>, &str); 14] = [
        ("cut row", good.as_bytes()[..good.len() - 40].to_vec(), "line 121 of bad.csv is cut"),
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
    // A hole of 1 GiB reads as zero bytes, and takes no space on the disk.
    for (name, start) in [("row.csv", header.expect("a header")), ("header.csv", String::new())] {
        let mut file = fs::File::create(bench.path(name)).expect("a file");
        file.write_all(start.as_bytes()).expect("written");
        file.set_len(1 << 30).expect("a hole");
        let words = ["prlimit", "--as=300000000", HPBENCH, "compare", "--by", "backend", name];
        let message = bench.run_command(&words).expect(2).stderr;
        assert!(message.contains("longer than 1048576 bytes"), "{name}: {message}");
    }
}
