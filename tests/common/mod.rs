//! Shared by the end-to-end tests: running the binary in a directory of its own, and reading its CSV.

#![allow(dead_code, reason = "each test binary uses a part of this")]

pub(crate) mod filters;
pub(crate) mod needs;
pub(crate) mod pages;
pub(crate) mod rows;
pub(crate) mod wrapped;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// The binary under test.
pub(crate) const HPBENCH: &str = env!("CARGO_BIN_EXE_hpbench");

/// A run that takes longer hangs: it is killed, and the test fails. The longest take 15 s on two quiet cores.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Runs spin on pinned cores and would disturb each other, so there is one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn take_turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory in which hpbench runs, and the command that it runs under.
pub(crate) struct Bench {
    home: TempDir,
    wrapper: Vec<String>,
}

/// Whether the program is the one that was built with this test: a build with other features has the same path.
fn check_build() {
    static CHECKED: Once = Once::new();
    CHECKED.call_once(|| {
        let help = Command::new(HPBENCH).arg("--help").output().expect("hpbench runs").stdout;
        let has_runtimes = String::from_utf8_lossy(&help).contains(" tokio: ");
        assert_eq!(
            has_runtimes,
            cfg!(feature = "runtimes"),
            "another build, with other features than this test, has put its program at {HPBENCH}; run this test by cargo again"
        );
    });
}

impl Bench {
    /// Runs hpbench as it is.
    pub(crate) fn new() -> Self {
        Self::under([])
    }

    /// Runs hpbench under another command, e.g. `taskset -c 0`.
    pub(crate) fn under<'a>(wrapper: impl IntoIterator<Item = &'a str>) -> Self {
        check_build();
        let home = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(home.path().join("work")).expect("a directory to run in");
        Self { home, wrapper: wrapper.into_iter().map(str::to_owned).collect() }
    }

    /// A path in the directory in which hpbench runs.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("work").join(name)
    }

    /// A path beside that directory, for files that are not hpbench's.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The files in the directory in which hpbench runs.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.path("")).expect("the directory is there");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    /// Starts hpbench with `args`, which are split at spaces; both outputs go to files.
    pub(crate) fn start(&self, args: &str) -> Running<'_> {
        self.start_to(args, self.create("stdout").into())
    }

    /// Starts hpbench with `args`, and with the test's own standard output.
    pub(crate) fn start_to(&self, args: &str, stdout: Stdio) -> Running<'_> {
        let words = self.wrapper.iter().map(String::as_str).chain([HPBENCH]).chain(args.split_whitespace());
        let turn = take_turn();
        self.launch(words, stdout, "", Some(turn))
    }

    /// Runs any command in the directory, as [`Bench::run`] would.
    pub(crate) fn run_command(&self, words: &[&str]) -> Done {
        self.start_command(words).wait()
    }

    /// Starts any command in the directory.
    pub(crate) fn start_command(&self, words: &[&str]) -> Running<'_> {
        let turn = take_turn();
        self.launch(words.iter().copied(), self.create("stdout").into(), "", Some(turn))
    }

    /// Starts any command in the directory, whatever else runs; its outputs are in files with this beginning.
    pub(crate) fn start_beside(&self, words: &[&str], outputs: &'static str) -> Running<'_> {
        let stdout = self.create(&format!("{outputs}stdout")).into();
        self.launch(words.iter().copied(), stdout, outputs, None)
    }

    /// Starts a command whose outputs are in files with this beginning.
    fn launch<'a>(
        &self,
        words: impl Iterator<Item = &'a str>,
        stdout: Stdio,
        outputs: &'static str,
        turn: Option<MutexGuard<'static, ()>>,
    ) -> Running<'_> {
        let words: Vec<&str> = words.collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(self.path("")).process_group(0);
        let child =
            command.stdin(Stdio::null()).stdout(stdout).stderr(self.create(&format!("{outputs}stderr"))).spawn();
        let child = child.unwrap_or_else(|error| panic!("{words:?} does not start: {error}"));
        Running { bench: self, child, words: words.join(" "), outputs, _turn: turn }
    }

    /// Runs hpbench with exactly these `args`.
    pub(crate) fn run(&self, args: &str) -> Done {
        self.start(args).wait()
    }

    /// Runs hpbench with these `args`, and with short trials and `-o out.csv` unless they say otherwise.
    pub(crate) fn tiny(&self, args: &str) -> Done {
        self.run(&tiny(args))
    }

    /// Runs hpbench as [`Bench::tiny`] does, and then has it show the rows as on a quiet machine: disturbed trials are
    /// in the table like the others.
    pub(crate) fn tiny_undisturbed(&self, args: &str) -> Done {
        self.tiny(args).expect(0);
        self.show_undisturbed(args)
    }

    /// Has hpbench show the rows of a run with these `args`, which are all in `out.csv`, as on a quiet machine.
    pub(crate) fn show_undisturbed(&self, args: &str) -> Done {
        rows::pardon(&self.path("out.csv"));
        self.tiny(&format!("{args} --resume"))
    }

    /// The rows of a CSV file that hpbench wrote.
    pub(crate) fn rows(&self, name: &str) -> Vec<Row> {
        parse(&read(&self.path(name)))
    }

    fn create(&self, name: &str) -> File {
        File::create(self.beside(name)).expect("a file for an output")
    }
}

/// Adds flags for short trials and for the CSV to those that `args` does not name.
pub(crate) fn tiny(args: &str) -> String {
    let words: Vec<&str> = args.split_whitespace().collect();
    let mut all = args.to_owned();
    for (flags, value) in [
        (["--trials", ""], "--trials 1"),
        (["-t", "--packets"], "-t 0.02"),
        (["--warmup", ""], "--warmup 0.005"),
        (["-o", ""], "-o out.csv"),
        // Tests run in parallel: every other trial would be disturbed, and repeated.
        (["--no-gates", ""], "--no-gates"),
    ] {
        if !words.iter().any(|word| flags.contains(word)) {
            all += &format!(" {value}");
        }
    }
    all
}

/// A running command; killed with all of its children if it is dropped.
pub(crate) struct Running<'b> {
    bench: &'b Bench,
    child: Child,
    words: String,
    /// The prefix of the names of its output files.
    outputs: &'static str,
    /// None for a command that runs at the same time as another one.
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Running<'_> {
    /// Sends a signal to the process: to hpbench, or to the command that it runs under.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("the process is there");
    }

    /// Whether the process has not ended.
    pub(crate) fn is_there(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// Waits until `condition` holds.
    pub(crate) fn wait_until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            let status = self.child.try_wait().expect("a child of ours");
            assert!(status.is_none(), "{} ended before {what}: {status:?}\n{}", self.words, self.stderr());
            assert!(start.elapsed() < TIME_LIMIT, "{}: never {what}", self.words);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Runs hpbench with `args` in the same directory, while this one continues.
    pub(crate) fn meanwhile(&self, args: &str) -> Done {
        let words: Vec<&str> = [HPBENCH].into_iter().chain(args.split_whitespace()).collect();
        self.bench.start_beside(&words, "meanwhile-").wait()
    }

    /// Waits for the end, for at most the time limit.
    pub(crate) fn wait(self) -> Done {
        self.wait_at_most(TIME_LIMIT)
    }

    /// Waits for the end, for at most this long.
    pub(crate) fn wait_at_most(mut self, limit: Duration) -> Done {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            assert!(start.elapsed() < limit, "{} runs for over {limit:?}:\n{}", self.words, self.stderr());
            std::thread::sleep(Duration::from_millis(2));
        };
        Done {
            status: status_of(status),
            stdout: fs::read_to_string(self.bench.beside(&format!("{}stdout", self.outputs))).unwrap_or_default(),
            stderr: self.stderr(),
            csv: fs::read_to_string(self.bench.path("out.csv")).ok(),
            words: self.words.clone(),
        }
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> i32 {
        self.pid().as_raw_nonzero().get()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn stderr(&self) -> String {
        read(&self.bench.beside(&format!("{}stderr", self.outputs)))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Only a process that was not waited for still owns its id.
        if let Ok(None) = self.child.try_wait() {
            let _ = rustix::process::kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// An exit status, or the negative number of the signal that ended the process.
fn status_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Done {
    /// The exit status, or the negative number of the signal that ended it.
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    csv: Option<String>,
    words: String,
}

impl Done {
    /// Fails unless the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        let Self { status: found, stdout, stderr, words, .. } = &self;
        assert_eq!(*found, status, "status of {words}\n--- stderr\n{stderr}\n--- stdout\n{stdout}");
        self
    }

    /// The rows of `out.csv`.
    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<Row> {
        parse(self.csv.as_deref().expect("there is an out.csv"))
    }

    /// Whether the table says this, however it is broken into lines.
    pub(crate) fn shows(&self, text: &str) -> bool {
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        flat(&self.stdout).contains(&flat(text))
    }

    /// Standard error without the warnings and notes that depend on the machine.
    pub(crate) fn complaints(&self) -> String {
        let expected = |line: &&str| !line.starts_with("warning: ") && !line.starts_with("note: ");
        self.stderr.lines().filter(expected).collect::<Vec<_>>().join("\n")
    }
}

/// A row of a CSV file, by the names of its columns.
#[derive(Clone, Debug)]
pub(crate) struct Row(BTreeMap<String, String>);

impl Row {
    /// The text in a column.
    #[track_caller]
    pub(crate) fn text(&self, column: &str) -> &str {
        self.0.get(column).unwrap_or_else(|| panic!("no column {column}"))
    }

    /// The number in a column that is not empty.
    #[track_caller]
    pub(crate) fn number(&self, column: &str) -> f64 {
        let text = self.text(column);
        text.parse().unwrap_or_else(|_| panic!("{column} is {text:?}, not a number, in {}", self.name()))
    }

    /// The whole number in a column that is not empty.
    #[track_caller]
    pub(crate) fn count(&self, column: &str) -> i64 {
        let text = self.text(column);
        text.parse().unwrap_or_else(|_| panic!("{column} is {text:?}, not a whole number, in {}", self.name()))
    }

    /// Whether the trial is invalid because another program, or the host, had one of its cores.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.text("invalid_reason").contains("disturbed:")
    }

    /// The name of the cell, for messages and comparisons.
    pub(crate) fn name(&self) -> String {
        let columns = ["scenario", "backend", "batch", "payload", "window"];
        columns.map(|column| format!("{column} {}", self.text(column))).join(", ")
    }
}

/// Reads a CSV text in which every row has every column.
#[track_caller]
pub(crate) fn parse(text: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns: Vec<String> = reader.headers().expect("a header").iter().map(str::to_owned).collect();
    let row = |record: csv::StringRecord| Row(columns.iter().cloned().zip(record.iter().map(str::to_owned)).collect());
    reader.records().map(|record| row(record.expect("as many fields as columns"))).collect()
}

#[track_caller]
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails unless every trial ran, accounts for every datagram and reports consistent rates.
#[track_caller]
pub(crate) fn assert_sound(rows: &[Row]) {
    assert!(!rows.is_empty(), "there are rows");
    for row in rows {
        assert_eq!(row.text("error"), "", "{}", row.name());
        assert_balanced(row);
        // On a busy machine a short measured phase may pass before both threads have run.
        let rounds = ["drain", "send"].contains(&row.text("scenario"));
        let must = if rounds { "measured_received" } else { "received" };
        assert!(row.count(must) > 0, "nothing came in {}", row.name());
        // The rates of several workers add up, each over a measured phase of its own.
        let is_alone = row.count("workers") == 1;
        for (rate, count) in
            [("rx_pps", "measured_received"), ("tx_pps", "measured_sent")].into_iter().filter(|_| is_alone)
        {
            assert_rate(row, rate, row.number(count));
        }
    }
}

/// Fails unless every datagram is accounted for, intact, once.
#[track_caller]
pub(crate) fn assert_balanced(row: &Row) {
    let count = |column| row.count(column);
    let known = count("received") + count("drop_socket") + count("drop_ring");
    assert_eq!(count("sent"), known + count("unexplained"), "the ledger of {}", row.name());
    for column in ["unexplained", "duplicate", "corrupt", "truncated", "foreign", "io_errors"] {
        assert_eq!(count(column), 0, "{column} of {}", row.name());
    }
    // If another program has the core, datagrams may stay in flight longer than a round waits for them.
    let reason = row.text("invalid_reason");
    assert!(reason.starts_with("disturbed:") || !reason.contains("whole"), "{reason}: {}", row.name());
}

/// The rate is the count per second, within what rounding to 0.1 per second and to 1 µs allows.
#[track_caller]
fn assert_rate(row: &Row, rate: &str, count: f64) {
    let seconds = row.number("duration_s");
    let slack = count * 0.6e-6 / seconds + 0.06 * seconds;
    let off = (row.number(rate) * seconds - count).abs();
    assert!(off <= slack, "{rate} {} × {seconds} s is not {count} in {}", row.number(rate), row.name());
}
