//! Where results go: the CSV file or standard output, and what happens to a file that is already there.

mod common;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;

use common::{Bench, needs, parse, read, tiny};
use rustix::process::Signal;

/// The shortest run.
const QUICK: &str = "--backend null --scenario drain,send -t 0.001 --warmup 0";

#[test]
fn a_dash_writes_the_csv_to_standard_output_and_nothing_else() {
    let bench = Bench::new();
    let done = bench.tiny(&format!("{QUICK} -o -")).expect(0);
    assert_eq!(parse(&done.stdout).len(), 2, "{}", done.stdout);
    assert!(done.stdout.starts_with("schema,") && done.stdout.ends_with('\n'));
    // If another program disturbed all trials, the table says so and has no figures.
    let all_count = parse(&done.stdout).iter().all(|row| row.text("valid") == "1");
    let table = if all_count { "drain, send: ns per datagram" } else { "invalid and left out" };
    assert!(done.stderr.contains(table) && done.stderr.contains("null"), "it goes to standard error: {}", done.stderr);
    assert!(bench.files().is_empty(), "no file is made: {:?}", bench.files());
}

#[test]
fn the_default_file_is_named_after_time_and_host() {
    let bench = Bench::new();
    let done = bench.run(&format!("{QUICK} --trials 1 --label lab/1:a")).expect(0);
    let files: Vec<String> = bench.files().into_iter().collect();
    let [name] = &files[..] else { panic!("one file: {files:?}") };
    let stamp = name.strip_prefix("hpbench-").and_then(|rest| rest.strip_suffix("-lab_1_a.csv"));
    let stamp = stamp.unwrap_or_else(|| panic!("{name} names the label"));
    let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "00000000T000000Z", "{name}");
    assert!(done.stderr.contains(name), "the file is named: {}", done.stderr);
    let rows = bench.rows(name);
    assert!(rows.iter().all(|row| row.text("host") == "lab/1:a"), "the label is kept as it is");
    let year = &rows[0].text("started_at")[..4];
    assert_eq!(year, &stamp[..4]);
}

#[test]
fn the_label_defaults_to_the_host_name() {
    let name = read("/proc/sys/kernel/hostname".as_ref());
    let rows = Bench::new().tiny(QUICK).expect(0).rows();
    assert!(rows.iter().all(|row| row.text("host") == name.trim_end()), "{}", rows[0].text("host"));
}

#[test]
fn an_existing_file_is_refused_and_left_alone() {
    let bench = Bench::new();
    fs::write(bench.path("out.csv"), b"precious\0\xff").expect("a file");
    let modified = || fs::metadata(bench.path("out.csv")).and_then(|meta| meta.modified()).expect("a time");
    let before = modified();
    let done = bench.tiny(QUICK).expect(2);
    for word in ["out.csv", "--append", "--force"] {
        assert!(done.stderr.contains(word), "{word}: {}", done.stderr);
    }
    assert_eq!(done.stdout, "");
    assert_eq!(fs::read(bench.path("out.csv")).expect("it is there"), b"precious\0\xff");
    assert_eq!(modified(), before);
}

#[test]
fn append_adds_rows_below_the_same_header() {
    let bench = Bench::new();
    bench.tiny(&format!("{QUICK} --append")).expect(0);
    let before = read(&bench.path("out.csv"));
    bench.tiny(&format!("{QUICK} --append --trials 2")).expect(0);
    let after = read(&bench.path("out.csv"));
    assert!(after.starts_with(&before), "what was there is unchanged");
    let rows = parse(&after);
    assert_eq!(rows.len(), 2 + 4);
    assert_ne!(rows[0].text("run_id"), rows[2].text("run_id"));
    assert_eq!(after.matches("schema").count(), 1, "one header");
}

#[test]
fn append_to_an_empty_file_writes_a_header() {
    let bench = Bench::new();
    File::create(bench.path("out.csv")).expect("a file");
    let rows = bench.tiny(&format!("{QUICK} --append")).expect(0).rows();
    assert_eq!(rows[0].text("scenario").len() + rows[1].text("scenario").len(), "drain".len() + "send".len());
}

#[test]
fn append_refuses_files_that_it_would_spoil() {
    let bench = Bench::new();
    bench.tiny(QUICK).expect(0);
    let good = read(&bench.path("out.csv"));
    let (header, rows) = good.split_once('\n').expect("a header");
    let cut = good.strip_suffix('\n').expect("it ends with a line end");
    for (content, told) in [
        (good.replacen("schema,", "scheme,", 1), "columns"),
        (format!("{header},more\n{rows}"), "columns"),
        (header[..header.len() - 5].to_owned(), "columns"),
        ("something else\n".to_owned(), "columns"),
        (cut.to_owned(), "truncated"),
        (cut[..cut.len() - 40].to_owned(), "truncated"),
        (header.to_owned(), ""),
    ] {
        fs::write(bench.path("out.csv"), &content).expect("a file");
        let done = bench.tiny(&format!("{QUICK} --append")).expect(2);
        assert!(done.stderr.contains("out.csv") && done.stderr.contains(told), "{told}: {}", done.stderr);
        assert_eq!(read(&bench.path("out.csv")), content, "it is left alone");
    }
}

#[test]
fn force_replaces_the_file() {
    let bench = Bench::new();
    fs::write(bench.path("out.csv"), "x".repeat(100_000)).expect("a file");
    let rows = bench.tiny(&format!("{QUICK} --force")).expect(0).rows();
    assert_eq!(rows.len(), 2);
    assert!(!read(&bench.path("out.csv")).contains("xxx"));
}

#[test]
fn a_file_that_cannot_be_made_is_refused_before_anything_runs() {
    let bench = Bench::new();
    for path in ["nowhere/out.csv", "."] {
        let done = bench.tiny(&format!("{QUICK} -o {path}")).expect(2);
        assert!(done.stderr.contains(path) && done.stdout.is_empty(), "{}", done.stderr);
    }
    assert!(bench.files().is_empty());

    let Some(wrapper) = needs::no_capabilities() else { return };
    let bench = Bench::under(wrapper);
    fs::create_dir(bench.path("locked")).expect("a directory");
    fs::set_permissions(bench.path("locked"), Permissions::from_mode(0o555)).expect("it is ours");
    let done = bench.tiny(&format!("{QUICK} -o locked/out.csv")).expect(2);
    assert!(done.stderr.contains("locked/out.csv") && done.stderr.contains("ermission"), "{}", done.stderr);
}

#[test]
fn a_full_disk_ends_the_run_with_a_message() {
    let bench = Bench::new();
    let done = bench.tiny(&format!("{QUICK} -o /dev/full")).expect(1);
    assert!(done.stderr.contains("/dev/full") && done.stderr.contains("No space left"), "{}", done.stderr);

    let full = || OpenOptions::new().write(true).open("/dev/full").expect("it is there").into();
    for out in ["-", "out.csv"] {
        let done = bench.start_to(&tiny(&format!("{QUICK} -o {out}")), full()).wait().expect(1);
        assert!(done.stderr.contains("standard output") && done.stderr.contains("No space left"), "{}", done.stderr);
    }
    assert_eq!(bench.rows("out.csv").len(), 2, "the rows are kept although the table could not be printed");
}

#[test]
fn a_row_for_which_there_is_no_room_leaves_no_part_behind() {
    // The fourth row or so goes beyond the limit.
    let limit = "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"";
    let bench = Bench::under(["bash", "-c", limit]);
    let args = format!("{QUICK} --trials 20");
    let done = bench.tiny(&args).expect(1);
    assert!(done.stderr.contains("cannot write to out.csv") && done.stderr.contains("intact"), "{}", done.stderr);
    let before = read(&bench.path("out.csv"));
    assert!(before.len() > 3000 && before.ends_with('\n'), "{before}");
    let rows = parse(&before).len();
    let rest = bench.run_command(
        &[&[common::HPBENCH], &*tiny(&format!("{args} --resume")).split(' ').collect::<Vec<_>>()].concat(),
    );
    let rest = rest.expect(0);
    assert!(rest.stderr.contains(&format!("40 rows in out.csv, {rows} of them")), "{}", rest.stderr);
    assert!(read(&bench.path("out.csv")).starts_with(&before));
}

#[test]
fn a_file_system_without_locks_is_no_reason_to_fail() {
    let bench = Bench::new();
    let done = common::filters::filtered(&[libc::SYS_flock], libc::ENOLCK, || bench.tiny(QUICK)).expect(0);
    assert!(done.stderr.contains("warning: out.csv cannot be locked"), "{}", done.stderr);
    assert_eq!(done.rows().len(), 2);
}

#[test]
fn a_closed_standard_output_ends_the_run_silently() {
    let bench = Bench::new();
    // As with `| head -1`: the first line is read, and nothing after it.
    let (reader, writer) = io::pipe().expect("a pipe");
    let running = bench.start_to(&tiny("--backend null --scenario drain --trials 1000 -o -"), writer.into());
    let mut line = String::new();
    BufReader::with_capacity(1, reader).read_line(&mut line).expect("a line");
    assert!(line.starts_with("schema,"), "{line}");
    let done = running.wait().expect(141);
    assert_eq!(done.complaints(), "");

    for args in [tiny(QUICK), "--dry-run".into(), "--help".into(), "--version".into()] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let done = bench.start_to(&args, writer.into()).wait();
        assert_eq!((done.status, done.complaints()), (141, String::new()), "hpbench {args}");
    }
    assert_eq!(bench.rows("out.csv").len(), 2, "the rows are kept although nobody reads the table");
}

#[test]
fn messages_that_nobody_takes_are_no_reason_to_fail() {
    let bench = Bench::under(["sh", "-c", "exec \"$0\" \"$@\" 2>/dev/full"]);
    // The first warns that generators share cores (unless there are more), the second notes what null leaves out.
    for (args, status) in [("--dry-run --generators 64", 0), ("--dry-run --backend null", 0), ("--batch 0", 2)] {
        bench.run(args).expect(status);
    }
    bench.tiny(&format!("{QUICK} -o -")).expect(0);
}

#[test]
fn rows_are_written_as_they_come() {
    let bench = Bench::new();
    let path = bench.path("out.csv");
    let lines = || fs::read_to_string(&path).unwrap_or_default().lines().count();
    // It does not end within the time limit of tests.
    let mut running = bench.start(&tiny("--backend null --scenario drain -t 0.1 --trials 10000"));
    running.wait_until("the second row came", || lines() >= 3);
    running.signal(Signal::INT);
    running.wait().expect(130);
}

#[test]
fn a_named_pipe_is_an_output_like_any_other() {
    let bench = Bench::new();
    let made = std::process::Command::new("mkfifo").arg(bench.path("pipe")).status().expect("mkfifo is installed");
    assert!(made.success());
    let running = bench.start(&tiny(&format!("{QUICK} -o pipe")));
    let text = io::read_to_string(File::open(bench.path("pipe")).expect("hpbench opens the other end"));
    assert_eq!(parse(&text.expect("it is text")).len(), 2);
    running.wait().expect(0);
}
