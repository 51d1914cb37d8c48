//! Runs that are killed at any moment and resumed, often two at once: no row is lost, none is cut, and none is there
//! twice. `HPBENCH_KILLS` says how many kills there are; `scripts/kill-runs` runs a thousand.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::{Bench, HPBENCH, Row, parse, read};

/// The trials of a plan, and how many of them are enough to start the next plan.
const TRIALS: usize = 240;
const ENOUGH: usize = 130;

/// A plan of this many trials of some milliseconds each, without the flag that starts or resumes it.
const PLAN: &str = "--backend null --scenario drain,send --batch 1,32 --trials 60 -t 0.001 --warmup 0 --no-gates \
                    --hlog run.hlog -o out.csv";

/// The default number of kills.
const KILLS: usize = 20;

/// The most that a killed or refused process takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Numbers that look random and are the same each time.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) % bound
    }

    /// Waits for up to this many microseconds.
    fn wait(&mut self, up_to_us: u32) {
        std::thread::sleep(Duration::from_micros(u64::from(self.below(up_to_us))));
    }
}

/// A process that is killed at the latest when it is dropped.
struct Process(Child);

impl Process {
    fn start(bench: &Bench, how: &str) -> Self {
        let mut command = Command::new(HPBENCH);
        command.args(PLAN.split_whitespace()).arg(how).current_dir(bench.path(""));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().expect("hpbench starts"))
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child of ours")
    }

    /// Kills it, unless it has ended. Returns whether it was killed; if not, it was refused because of another one.
    fn kill(mut self) -> bool {
        if self.ended().is_none() {
            self.0.kill().expect("a child of ours");
        }
        let status = self.0.wait().expect("a child of ours");
        if status.code().is_none() {
            return true;
        }
        self.assert_refused(status);
        false
    }

    /// Waits until it is refused.
    fn refused(mut self) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(start.elapsed() < LIMIT, "it is not refused");
            std::thread::sleep(Duration::from_millis(1));
        };
        self.assert_refused(status);
    }

    fn assert_refused(&mut self, status: ExitStatus) {
        let mut said = String::new();
        self.0.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        // The other one wrote while this one read, and was killed before this one got the lock.
        let is_told =
            said.contains("another run of hpbench writes to") || said.contains("has changed while it was read");
        assert!(status.code() == Some(2) && is_told, "{status}: {said}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The results of all kills.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    plans: usize,
    rows: usize,
    /// Kills after which the last row was cut.
    cut: usize,
    /// Processes that were refused because another one ran.
    refused: usize,
}

/// The content of a file up to its last line end; empty if there is no file.
fn whole_lines(path: &Path) -> String {
    let mut text = fs::read_to_string(path).unwrap_or_default();
    text.truncate(text.rfind('\n').map_or(0, |at| at + 1));
    text
}

/// Position and cell of each row.
fn trials(rows: &[Row]) -> BTreeSet<(i64, i64, String)> {
    rows.iter().map(|row| (row.count("order"), row.count("trial"), row.name())).collect()
}

/// Fails unless these are rows of one run, each of a different trial.
#[track_caller]
fn assert_one_run(rows: &[Row]) {
    let orders: BTreeSet<i64> = rows.iter().map(|row| row.count("order")).collect();
    let cells: BTreeSet<(String, i64)> = rows.iter().map(|row| (row.name(), row.count("trial"))).collect();
    assert_eq!((orders.len(), cells.len()), (rows.len(), rows.len()), "none is there twice");
    assert!(orders.iter().all(|order| (1..=TRIALS as i64).contains(order)));
    for column in ["run_id", "seed"] {
        assert!(rows.iter().all(|row| row.text(column) == rows[0].text(column)), "one {column}");
    }
    rows.iter().for_each(common::assert_balanced);
}

/// Starts one or two processes and kills all that were not refused. Returns how many were killed.
fn kill_some(bench: &Bench, random: &mut Random, tally: &mut Tally) -> usize {
    let out = bench.path("out.csv");
    let before = whole_lines(&out).lines().count();
    let mut first = Process::start(bench, "--resume");
    let mut killed = 0;
    match random.below(4) {
        // At any moment, perhaps before the first trial.
        0 => random.wait(100_000),
        kind @ (1 | 2) => {
            // After some trials.
            let enough = before + 1 + random.below(15) as usize;
            let start = Instant::now();
            while whole_lines(&out).lines().count() <= enough && first.ended().is_none() {
                assert!(start.elapsed() < LIMIT, "no rows came");
                std::thread::sleep(Duration::from_micros(500));
            }
            if kind == 2 {
                // The first one has the lock, and will have it until it is killed.
                let how = ["--resume", "--append", "--force"][random.below(3) as usize];
                Process::start(bench, how).refused();
                tally.refused += 1;
            }
            random.wait(4000);
        }
        // Both at once: at most one gets the lock, or one after the other.
        _ => {
            random.wait(20_000);
            let second = Process::start(bench, "--resume");
            random.wait(100_000);
            let (one, other) = if random.below(2) == 0 { (first, second) } else { (second, first) };
            for process in [one, other] {
                let was_killed = process.kill();
                killed += usize::from(was_killed);
                tally.refused += usize::from(!was_killed);
                random.wait(10_000);
            }
            return killed;
        }
    }
    assert!(first.kill(), "nothing is in its way");
    killed + 1
}

/// Kills a plan repeatedly, until enough of its rows are there or there were `most` kills; then completes it.
fn kill_plan(random: &mut Random, most: usize, tally: &mut Tally) -> Bench {
    let bench = Bench::new();
    let out = bench.path("out.csv");
    let (mut before, mut kills) = (String::new(), 0);
    while kills < most && before.lines().count() <= ENOUGH {
        kills += kill_some(&bench, random, tally);
        let lines = whole_lines(&out);
        assert!(lines.starts_with(&before), "finished rows are as they were");
        // Fails unless every row has every column.
        assert_one_run(&parse(&lines));
        tally.cut += usize::from(fs::read(&out).is_ok_and(|bytes| bytes.len() > lines.len()));
        before = lines;
    }
    let there = before.lines().count().saturating_sub(1);
    assert!(there < TRIALS, "the kills came while it ran");
    let done = bench.run(&format!("{PLAN} --resume")).expect(0);
    let told = format!("{TRIALS} rows in out.csv, {there} of them from before");
    assert!(done.stderr.contains(&told), "{told}: {}", done.stderr);
    assert!(done.shows("60 trials each") || done.shows(" n "), "the table is of all rows\n{}", done.stdout);
    assert!(read(&out).starts_with(&before));
    let rows = bench.rows("out.csv");
    assert_one_run(&rows);
    assert_eq!(rows.len(), TRIALS);
    let log = read(&bench.path("run.hlog"));
    assert!(
        log.ends_with('\n') && log.lines().all(|line| line.starts_with("#[") || line.starts_with("\"StartTimestamp"))
    );
    tally.kills += kills;
    tally.rows += there;
    tally.plans += 1;
    bench
}

#[test]
fn runs_that_are_killed_at_any_moment_lose_no_row() {
    let kills = std::env::var("HPBENCH_KILLS").map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let (mut random, mut tally) = (Random(1), Tally::default());
    let mut first = None;
    while tally.kills < kills {
        let most = kills - tally.kills;
        let bench = kill_plan(&mut random, most, &mut tally);
        first.get_or_insert(bench);
    }
    println!("{tally:?}");
    assert!(tally.rows >= kills / 2, "the kills came while they ran: {tally:?}");
    // The kernel may stop a write between two pages if the process is killed right then; that is rare.
    assert!(tally.cut <= 1 + kills / 20, "a row is written at once: {tally:?}");

    let rows = first.expect("some kills").rows("out.csv");
    let at_once = Bench::new();
    let uninterrupted = at_once.run(&format!("{PLAN} --seed {}", rows[0].text("seed"))).expect(0).rows();
    assert_eq!(trials(&rows), trials(&uninterrupted), "the same plan as without a kill");
}
