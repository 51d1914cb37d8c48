//! Random flags and damaged files: whatever is requested, and whatever is in a file, hpbench ends in time, with a
//! documented status, without a panic, and never with a ledger that does not add up.
//!
//! A short part runs with the other tests. `HPBENCH_FUZZ=10000 cargo test --test fuzz -- --nocapture` runs that many cases
//! of each kind; `HPBENCH_FUZZ_SEED` chooses others. A failing case is named, with the command that reproduces it.

mod common;

#[path = "fuzz/damage.rs"]
mod damage;
#[path = "fuzz/flags.rs"]
mod flags;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{HPBENCH, Row, parse};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Longer than any trial takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// How many cases of each kind run with the other tests.
const FEW: usize = 60;

/// The most that a child may write to either output, in bytes.
const OUTPUT_MAX: u64 = 16 << 20;

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// How many cases, and the random source of one of them: each can be run again alone.
fn cases(kind: u64) -> impl Iterator<Item = (usize, ChaCha8Rng)> {
    let seed = number("HPBENCH_FUZZ_SEED").unwrap_or(16) as u64;
    let count = number("HPBENCH_FUZZ").unwrap_or(FEW);
    (0..count).map(move |case| (case, ChaCha8Rng::seed_from_u64(seed << 40 ^ kind << 32 ^ case as u64)))
}

/// One of several.
fn pick<'a, T: ?Sized>(random: &mut ChaCha8Rng, values: &[&'a T]) -> &'a T {
    values[random.random_range(0..values.len())]
}

/// The result of a case.
struct Ended {
    status: i32,
    stdout: String,
    stderr: String,
}

/// Runs hpbench in `home`, within its time limit.
fn run(home: &Path, args: &[String]) -> Ended {
    let create = |name: &str| File::create(home.join(name)).expect("a file");
    let mut command = Command::new(HPBENCH);
    command.args(args).current_dir(home.join("work")).stdin(Stdio::null());
    let mut child = command.stdout(create("stdout")).stderr(create("stderr")).spawn().expect("hpbench starts");
    // A plan of many trials may take longer, but each row is written in time.
    let out = home.join("work/out.csv");
    let (mut moved, mut rows) = (Instant::now(), length(&out));
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            break status;
        }
        let flood = ["stdout", "stderr"].iter().any(|name| length(&home.join(name)) > OUTPUT_MAX);
        if length(&out) != rows {
            (moved, rows) = (Instant::now(), length(&out));
        }
        if flood || moved.elapsed() > WITHIN {
            child.kill().and_then(|()| child.wait()).expect("a child of ours");
            panic!("hpbench {args:?}: it {}", if flood { "does not stop to write" } else { "hangs" });
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let read = |name: &str| String::from_utf8_lossy(&fs::read(home.join(name)).unwrap_or_default()).into_owned();
    let ended = Ended { status: status.code().unwrap_or(-1), stdout: read("stdout"), stderr: read("stderr") };
    let is_known = (0..=3).contains(&ended.status);
    let has_panicked = ended.stderr.contains("panicked at") || ended.stderr.contains("a bug in hpbench");
    assert!(is_known && !has_panicked, "hpbench {args:?}: status {}\n{}", ended.status, ended.stderr);
    assert!(
        ended.status == 0 || !ended.stderr.is_empty() || !ended.stdout.is_empty(),
        "hpbench {args:?}: without a word"
    );
    ended
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Fails unless the ledger of each row adds up, and only trials that balance are valid.
fn assert_honest(rows: &[Row], what: &dyn std::fmt::Debug) {
    for row in rows.iter().filter(|row| row.text("error").is_empty()) {
        let count = |column: &str| row.text(column).parse::<i128>().ok();
        let ledger = ["sent", "received", "drop_socket", "drop_ring", "unexplained"].map(count);
        if let [Some(sent), Some(received), Some(at_socket), Some(at_ring), Some(unexplained)] = ledger {
            assert_eq!(sent, received + at_socket + at_ring + unexplained, "{what:?}: the ledger of {}", row.name());
            assert!(row.text("valid") == "0" || unexplained == 0, "{what:?}: {} is valid", row.name());
        }
        let is_full = row.text("valid") == "0" || count("measured_received").is_some_and(|count| count > 0);
        assert!(is_full, "{what:?}: {} is valid without a datagram", row.name());
    }
}

/// A directory to run in.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(home.path().join("work")).expect("a directory");
    home
}

#[test]
fn random_flags_end_with_a_status_and_an_honest_ledger() {
    let home = home();
    let out = home.path().join("work/out.csv");
    let mut statuses = [0; 4];
    for (case, mut random) in cases(1) {
        let args = flags::draw(&mut random);
        let _ = fs::remove_file(&out);
        let ended = run(home.path(), &args);
        let rows = parse(&fs::read_to_string(&out).unwrap_or_default());
        let is_refused = ended.status == 2 || args.iter().any(|arg| arg == "--dry-run");
        assert!(!is_refused || !out.exists(), "case {case}, hpbench {args:?}: nothing was to be run, nor written");
        assert_honest(&rows, &args);
        statuses[ended.status as usize] += 1;
    }
    println!("flags: {statuses:?} cases ended with status 0, 1, 2, 3");
}

#[test]
fn damaged_files_are_refused_or_read_and_never_balance_by_mistake() {
    let home = home();
    let path = |name: &str| home.path().join("work").join(name);
    let plan =
        "--backend null --scenario drain,send --batch 1,8 --round 64 --packets 128 --warmup 0 --trials 3 --seed 7";
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(run(home.path(), &words(&format!("{plan} --no-gates -o good.csv"))).status, 0);
    let good = fs::read(path("good.csv")).expect("a file");
    let mut statuses = [0; 4];
    for (case, mut random) in cases(2) {
        let damaged = damage::draw(&mut random, &good);
        fs::write(path("bad.csv"), &damaged).expect("a file");
        let args = match case % 4 {
            0 => "compare --by batch bad.csv".into(),
            1 => "compare --force good.csv bad.csv --format json".into(),
            2 => "report bad.csv good.csv -o page.html --force".into(),
            _ => format!("{plan} --no-gates -o bad.csv --resume"),
        };
        let ended = run(home.path(), &words(&args));
        if case % 4 == 3 && ended.status == 2 {
            assert_eq!(
                fs::read(path("bad.csv")).expect("a file"),
                damaged,
                "case {case}: a refused file is left alone"
            );
        }
        if case % 4 == 3 && ended.status == 0 {
            let text = fs::read_to_string(path("bad.csv")).expect("UTF-8, for it was taken");
            // A carriage return within a field does not end a row, as it does for other readers.
            assert_honest(&parse(&text.replace('\r', " ")), &format!("case {case}"));
        }
        statuses[ended.status as usize] += 1;
    }
    println!("files: {statuses:?} cases ended with status 0, 1, 2, 3");
}
