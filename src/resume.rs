//! `--resume`: what a file already holds of a plan, and what of the plan is lacking.
//!
//! A run may end at any moment, by `kill -9` too. Its file then has whole rows, and at most one
//! that is cut. The plan is drawn from the seed, which each row records; so the rows tell which trials are done,
//! and the same flags tell which are not. A file that is not of the plan asked for is refused and left as it was:
//! trials of two plans in one table would be compared with each other, although nobody has planned that.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::output::{self, OutputError};
use crate::plan::{Cell, Planned};
use crate::record::{ATTEMPTS_MAX, Row, Run};
use crate::rows::{self, Rows, RowsError};

/// Why a file cannot be gone on with. It is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// There is no name, or it is standard output.
    #[error("--resume goes on with a file, and must be told which: name it with -o FILE")]
    NoFile,
    /// It is a directory, a pipe or a device.
    #[error("--resume reads back what is in the file, and {0} is not a regular file; use another -o", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be opened or read, or has other columns.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A line is no row, or cannot be read.
    #[error("{0}; remove the row to have its trial run again, or use another -o")]
    BadRow(RowsError),
    /// A row is not one of the plan.
    #[error(
        "row {row} of {0} is not of the plan asked for: its {column} is '{found}', and '{planned}' in the plan; \
         --resume takes the flags that the run was begun with; use another -o for another plan, or --append to \
         have both in one file", path.display()
    )]
    OtherPlan {
        /// The file.
        path: PathBuf,
        /// Which row, from 1 on.
        row: usize,
        /// The column that differs.
        column: &'static str,
        /// What the row has there.
        found: String,
        /// What a row of the plan has there.
        planned: String,
    },
    /// Somebody else writes to it.
    #[error("{0} has changed while it was read; end the other run that writes to it, or use another -o", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// What is in the file of a run that was begun.
#[derive(Debug, Default)]
pub struct Begun {
    path: PathBuf,
    rows: Vec<Row>,
    /// The length of all whole rows and of the header; 0 if that is not whole.
    whole: u64,
    /// The bytes after them, of a row or a header that is cut.
    cut: u64,
}

/// What is left of a plan.
#[derive(Debug, Default)]
pub struct Rest {
    /// The rows that are there, each with the index of its cell: of each trial, the last attempt.
    pub rows: Vec<(usize, Row)>,
    /// The trials that are not settled, in the order of the plan, each with the number of its next attempt.
    pub lacking: Vec<(Planned, usize)>,
}

impl Begun {
    /// Reads the file that `--resume` goes on with; one that is not there yet is as good as an empty one.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or if anything but the end of it is not what hpbench writes.
    pub fn read(path: Option<&Path>) -> Result<Self, ResumeError> {
        let path = path.filter(|path| *path != Path::new("-")).ok_or(ResumeError::NoFile)?;
        let failed = |error| OutputError::Open { path: path.into(), error };
        let nothing = Self { path: path.into(), ..Self::default() };
        // Looked at before it is opened: opening a pipe waits for somebody at its other end.
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(ResumeError::NotAFile { path: path.into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(nothing),
            Err(error) => return Err(failed(error).into()),
        }
        let mut rows = Rows::new(path, File::open(path).map_err(failed)?);
        let header = output::header();
        let start = rows.start(header.len()).map_err(failed)?;
        if start.len() < header.len() && header.starts_with(&start) {
            return Ok(Self { cut: start.len() as u64, ..nothing });
        }
        if start != header {
            return Err(OutputError::OtherSchema { path: path.into() }.into());
        }
        let mut begun = Self { whole: header.len() as u64, ..nothing };
        while let Some(record) = rows.next_row()? {
            begun.rows.push(rows.parse(&record)?);
            begun.whole += record.length as u64;
        }
        begun.cut = rows.cut();
        Ok(begun)
    }

    /// The run that is gone on with, if it has rows.
    pub fn run_id(&self) -> Option<&str> {
        self.rows.first().map(|row| row.run_id.as_str())
    }

    /// Its seed.
    pub fn seed(&self) -> Option<u64> {
        self.rows.first().map(|row| row.seed)
    }

    /// The name of the file, for messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// How many bytes of a row that is cut are at the end.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// What is left of the plan `schedule` of `run`.
    ///
    /// # Errors
    ///
    /// If a row is not one of that plan.
    pub fn rest(&self, run: &Run, cells: &[Cell], schedule: &[Planned]) -> Result<Rest, ResumeError> {
        let mut next = vec![Some(1); schedule.len()];
        let mut rows = Vec::with_capacity(self.rows.len());
        for (index, row) in self.rows.iter().enumerate() {
            // A position that the plan does not have shows when the row is compared with another trial's.
            let at = row.order.checked_sub(1).filter(|at| *at < schedule.len()).unwrap_or(0);
            let Some(&planned) = schedule.get(at) else { break };
            let expected = Row::planned(run, &cells[planned.cell], planned, String::new());
            if let Some(column) = differing(row, &expected) {
                return Err(self.other_plan(index + 1, column, (row, &expected), schedule.len()));
            }
            // The last row of a trial decides.
            next[at] = (!is_settled(row)).then_some(row.attempt + 1);
            if row.attempt > 1 {
                rows.retain(|(_, earlier): &(usize, Row)| earlier.order != row.order);
            }
            rows.push((planned.cell, row.clone()));
        }
        let lacking = schedule.iter().zip(next).filter_map(|(planned, next)| Some((*planned, next?))).collect();
        Ok(Rest { rows, lacking })
    }

    fn other_plan(&self, row: usize, column: &'static str, pair: (&Row, &Row), trials: usize) -> ResumeError {
        let (found, expected) = pair;
        let planned = if column == "order" { format!("1 to {trials}") } else { cell_text(expected, column) };
        ResumeError::OtherPlan { path: self.path.clone(), row, column, found: cell_text(found, column), planned }
    }

    /// Cuts off what is after the last whole row, so that rows can be added.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, or is no longer as it was read.
    pub fn cut_off(&self) -> Result<(), ResumeError> {
        let failed = |error| OutputError::Open { path: self.path.clone(), error };
        let length = match self.path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed(error).into()),
        };
        if length != self.whole + self.cut {
            return Err(ResumeError::Changed { path: self.path.clone() });
        }
        if self.cut > 0 {
            let file = OpenOptions::new().write(true).open(&self.path).map_err(failed)?;
            file.set_len(self.whole).map_err(failed)?;
        }
        Ok(())
    }
}

/// Whether a trial need not be tried again after its last row so far.
fn is_settled(last: &Row) -> bool {
    last.valid == 1 || last.is_failed() || !last.is_disturbed() || last.attempt >= ATTEMPTS_MAX
}

/// The first column in which a row is not the one that was planned. What differs for the whole run comes before
/// what differs for a trial, because another seed or another list of batches moves every trial to another place.
fn differing(found: &Row, planned: &Row) -> Option<&'static str> {
    macro_rules! compare {
        ($($column:ident),*) => {
            $(if found.$column != planned.$column {
                return Some(stringify!($column));
            })*
        };
    }
    compare!(schema, run_id, seed, host, kernel);
    compare!(wait, addressing, bind, workers, handoff, fifo, ring, verify, duration_target_s, warmup_s);
    compare!(order, trial, scenario, backend, variant, batch, payload, rate_pps, burst, window, generators, buffers);
    let fits = match (found.round, planned.round) {
        // The round in effect may be smaller than the one asked for; a trial that failed has the one asked for.
        (Some(in_effect), Some(asked)) if !found.is_failed() => in_effect <= asked,
        (found, asked) => found == asked,
    };
    (!fits).then_some("round")
}

/// The text in a column of a row, for messages.
fn cell_text(row: &Row, column: &str) -> String {
    let text = output::encode(row, false);
    let at = rows::columns(&output::header()).iter().position(|name| *name == column);
    let fields = rows::fields(&text).ok();
    at.zip(fields).and_then(|(at, fields)| fields.get(at).map(str::to_owned)).unwrap_or_default()
}

impl From<RowsError> for ResumeError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Read { path, error } => Self::Output(OutputError::Open { path, error }),
            error => Self::BadRow(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use hpbench_backends::{Addressing, Choice, Kind};
    use tempfile::TempDir;

    use super::*;
    use crate::cores::{Cores, Place};
    use crate::environment::Environment;
    use crate::plan::{self, Axes, Options, Scenario, Until};
    use crate::rows::ROW_MAX;
    use crate::wire::Verify;

    fn run() -> Run {
        let options = Options {
            until: Until::Elapsed(Duration::from_millis(250)),
            warmup: Duration::from_millis(50),
            verify: Verify::Header,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            ring: 1024,
            rcvbuf: 1 << 20,
            sndbuf: 1 << 20,
            generators: 1,
            gso: true,
            handoff: false,
            fifo: None,
            cores: Cores {
                places: vec![Place { worker: 0, app: None, generators: vec![1] }],
                relation: "distinct-cores",
                shared: None,
            },
        };
        let environment = Environment { host: "lab".into(), kernel: "6.18".into(), ..Environment::default() };
        Run {
            id: "f00d".into(),
            seed: 7,
            environment,
            options,
            rt_limited: None,
            canary_ns: std::cell::OnceCell::new(),
        }
    }

    fn cells() -> Vec<Cell> {
        let axes = Axes {
            backends: [Kind::Plain, Kind::Uring]
                .map(|kind| crate::plan::Asked::named(Choice::default_of(kind)))
                .to_vec(),
            scenarios: Scenario::ALL.to_vec(),
            batches: vec![1, 32],
            payloads: vec![64],
            rounds: vec![1024],
            windows: vec![1],
            rates: vec![1000],
            bursts: vec![1],
            waits: vec![crate::plan::Wait::Spin],
            addressings: vec![Addressing::Connected],
            buffers: vec![512],
        };
        axes.cells().expect("they go together")
    }

    /// The rows of a finished run, in the order of its plan.
    fn finished(run: &Run) -> Vec<Row> {
        let row = |planned: &Planned| Row {
            valid: 1,
            ..Row::planned(run, &cells()[planned.cell], *planned, "2026-01-01T00:00:00Z".into())
        };
        plan::schedule(cells().len(), 2, run.seed).iter().map(row).collect()
    }

    fn csv(rows: &[Row]) -> Vec<u8> {
        rows.iter().fold(output::header(), |mut text, row| {
            text.extend(output::encode(row, false));
            text
        })
    }

    fn file(content: &[u8]) -> (TempDir, PathBuf) {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("out.csv");
        fs::write(&path, content).expect("a file");
        (home, path)
    }

    fn read(content: &[u8]) -> Result<Begun, ResumeError> {
        let (_home, path) = file(content);
        Begun::read(Some(&path))
    }

    fn is_bad(error: &ResumeError, on_line: u64) -> bool {
        matches!(error, ResumeError::BadRow(RowsError::BadRow { line, .. }) if *line == on_line)
    }

    fn rest_of(rows: &[Row]) -> Result<Rest, ResumeError> {
        let schedule = plan::schedule(cells().len(), 2, 7);
        read(&csv(rows)).expect("rows of ours").rest(&run(), &cells(), &schedule)
    }

    #[test]
    fn a_row_that_was_written_is_read_back_as_it_was() {
        let odd = Row {
            run_id: "  ".into(),
            host: "a \"b\",\nc\r\n".into(),
            seed: u64::MAX,
            round: Some(usize::MAX),
            warmup_s: 0.1 + 0.2,
            duration_s: Some(1e-7),
            rx_pps: Some(f64::MAX),
            loss_pct: Some(0.0),
            unexplained: Some(i64::MIN),
            drop_socket: Some(0),
            rcvbuf: Some(u32::MAX),
            valid: 1,
            error: "é, \u{1f980}\t\r".into(),
            ..Row::default()
        };
        let mut rows = finished(&run());
        rows.extend([Row::default(), odd]);
        for row in &rows {
            let again = read(&csv(std::slice::from_ref(row))).expect("a row of ours").rows;
            assert_eq!(again, std::slice::from_ref(row));
        }
        assert_eq!(read(&csv(&rows)).expect("rows of ours").rows, rows, "and from a file");
    }

    #[test]
    fn what_has_no_row_is_lacking_in_the_order_of_the_plan() {
        let mut rows = finished(&run());
        assert!(rest_of(&rows).expect("of the plan").lacking.is_empty());
        rows[20].error = "it failed".into();
        rows[21].valid = 0;
        let gone: Vec<usize> = [25, 11, 3].map(|at| rows.remove(at).order).into();
        rows.reverse();
        let rest = rest_of(&rows).expect("of the plan");
        assert_eq!(rest.lacking.iter().map(|(planned, _)| planned.order).rev().collect::<Vec<_>>(), gone);
        assert_eq!(rest.rows.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>(), rows);
        let cells = cells();
        assert!(rest.rows.iter().all(|(cell, row)| cells[*cell].scenario.name() == row.scenario));
    }

    #[test]
    fn more_trials_than_the_file_was_begun_with_are_more_blocks_of_the_same_plan() {
        let rows = finished(&run());
        let schedule = plan::schedule(cells().len(), 5, 7);
        let rest = read(&csv(&rows)).expect("rows of ours").rest(&run(), &cells(), &schedule).expect("of the plan");
        let expected: Vec<_> = schedule[rows.len()..].iter().map(|&planned| (planned, 1)).collect();
        assert_eq!(rest.lacking, expected);
    }

    #[test]
    fn a_row_of_another_plan_is_named_with_what_differs() {
        type Change = fn(&mut Row);
        let changes: [(&str, Change); 28] = [
            ("schema", |row| row.schema += 1),
            ("run_id", |row| row.run_id = "beef".into()),
            ("seed", |row| row.seed += 1),
            ("host", |row| row.host = "home".into()),
            ("kernel", |row| row.kernel = "6.19".into()),
            ("wait", |row| row.wait = "block".into()),
            ("addressing", |row| row.addressing = "none".into()),
            ("bind", |row| row.bind = "::1".into()),
            ("workers", |row| row.workers = 2),
            ("handoff", |row| row.handoff = 1),
            ("fifo", |row| row.fifo = Some(1)),
            ("ring", |row| row.ring *= 2),
            ("verify", |row| row.verify = "full".into()),
            ("duration_target_s", |row| row.duration_target_s = None),
            ("warmup_s", |row| row.warmup_s = f64::NAN),
            ("order", |row| row.order = 3333),
            ("order", |row| row.order = 0),
            ("trial", |row| row.trial += 1),
            ("scenario", |row| row.scenario = "walk".into()),
            ("backend", |row| row.backend = "null".into()),
            ("variant", |row| row.variant = String::new()),
            ("batch", |row| row.batch = 2),
            ("payload", |row| row.payload = 32),
            ("rate_pps", |row| row.rate_pps = Some(77)),
            ("burst", |row| row.burst = Some(77)),
            ("window", |row| row.window = Some(2)),
            ("generators", |row| row.generators = Some(2)),
            ("buffers", |row| row.buffers = Some(8)),
        ];
        for (column, change) in changes {
            let mut rows = finished(&run());
            change(&mut rows[5]);
            let error = rest_of(&rows).expect_err(column);
            let ResumeError::OtherPlan { row: 6, column: found, .. } = &error else { panic!("{column}: {error}") };
            assert_eq!(*found, column, "{error}");
            assert!(error.to_string().contains(&format!("its {column} is '")), "{error}");
        }
        let mut rows = finished(&run());
        rows[0].order = 3333;
        let message = rest_of(&rows).expect_err("no such trial").to_string();
        assert!(message.contains("its order is '3333', and '1 to "), "{message}");
    }

    #[test]
    fn a_round_that_the_queue_made_smaller_is_of_the_plan() {
        let mut rows = finished(&run());
        let at = rows.iter().position(|row| row.scenario == "drain").expect("there is one");
        for (round, error, fits) in [
            (Some(1024), "", true),
            (Some(96), "", true),
            (Some(1024), "failed", true),
            (Some(96), "failed", false),
            (Some(2048), "", false),
            (None, "", false),
        ] {
            (rows[at].round, rows[at].error) = (round, error.into());
            match rest_of(&rows) {
                Ok(_) => assert!(fits, "{round:?} {error}"),
                Err(error) => assert!(!fits && error.to_string().contains("its round is"), "{error}"),
            }
        }
    }

    #[test]
    fn a_file_that_ends_anywhere_keeps_its_whole_rows() {
        let rows = &finished(&run())[..2];
        let text = csv(rows);
        let ends: Vec<usize> =
            text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        let (_home, path) = file(b"");
        for length in 0..=text.len() {
            fs::write(&path, &text[..length]).expect("a file");
            let begun = Begun::read(Some(&path)).expect("only its end is cut");
            let whole = ends.iter().rev().find(|end| **end <= length).copied().unwrap_or(0);
            assert_eq!((begun.whole, begun.cut), (whole as u64, (length - whole) as u64));
            assert_eq!(begun.rows, rows[..ends.iter().filter(|end| **end <= length).count().saturating_sub(1)]);
            begun.cut_off().expect("the file is ours");
            assert_eq!(fs::read(&path).expect("it is there"), text[..whole]);
        }
    }

    #[test]
    fn a_file_that_changed_in_between_is_not_cut() {
        let text = csv(&finished(&run()));
        let (_home, path) = file(&text[..text.len() - 10]);
        let begun = Begun::read(Some(&path)).expect("only its end is cut");
        fs::write(&path, &text).expect("a file");
        assert!(matches!(begun.cut_off(), Err(ResumeError::Changed { .. })));
        assert_eq!(fs::read(&path).expect("it is there"), text);
    }

    #[test]
    fn a_line_that_is_no_row_is_named() {
        let rows = finished(&run());
        let [first, second] = [&rows[..1], &rows[1..2]].map(csv);
        let second = &second[output::header().len()..];
        let text = |line: &[u8]| [&first[..], line, second].concat();
        let with = |from: &str, to: &str| {
            let line = String::from_utf8(second.to_vec()).expect("UTF-8");
            assert!(line.contains(from), "{line}");
            line.replacen(from, to, 1).into_bytes()
        };
        for (line, told) in [
            (b"\n".to_vec(), "empty"),
            (b"1,2,3\n".to_vec(), "3 fields instead of"),
            (with("lab", "lab,more"), "fields instead of"),
            (with("f00d", "f00d\"\n\""), "quote"),
            (with(",lab,", ",l\"ab,"), "quote"),
            (with(",7,", ",seven,"), "seed: invalid digit"),
            (with("1,f00d", "-1,f00d"), "schema: "),
            (with("lab", "l").into_iter().map(|byte| if byte == b'l' { 0xff } else { byte }).collect(), "UTF-8"),
            (vec![0; 100], "schema: invalid digit"),
            ([&vec![b'x'; ROW_MAX + 1][..], b"\n"].concat(), "longer than"),
            (vec![b'\n'; 2 * ROW_MAX], "empty"),
            ([b"\"", &vec![b'\n'; 2 * ROW_MAX][..]].concat(), "longer than"),
        ] {
            let error = read(&text(&line)).expect_err(told);
            let message = error.to_string();
            assert!(is_bad(&error, 3), "{told}: {message}");
            assert!(message.contains("line 3 of ") && message.contains("out.csv"), "{message}");
            assert!(message.contains(told), "{told}: {message}");
        }
        let endless = [&first[..], &vec![b'x'; ROW_MAX + 1]].concat();
        assert!(read(&endless).is_err_and(|error| is_bad(&error, 3)), "nothing so long is cut off");
    }

    #[test]
    fn damage_anywhere_is_no_reason_to_panic() {
        let text = csv(&finished(&run())[..3]);
        let schedule = plan::schedule(cells().len(), 2, 7);
        let mut random = 1_u32;
        for _ in 0..500 {
            let mut damaged = text.clone();
            for _ in 0..3 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = output::header().len() + (random >> 8) as usize % (text.len() - output::header().len());
                damaged[at] = b"\"\n\r,0-9.\xff\0"[(random >> 4) as usize % 10];
            }
            // Whatever comes of it, it is an answer.
            let _ = read(&damaged).map(|begun| begun.rest(&run(), &cells(), &schedule));
        }
    }

    #[test]
    fn a_label_of_several_lines_is_one_row_and_never_half_of_one() {
        let mut run = run();
        run.environment.host = "two\nlines".into();
        let rows = &finished(&run)[..2];
        let text = csv(rows);
        assert_eq!(read(&text).expect("rows of ours").rows, rows);
        let half = text.windows(5).rposition(|bytes| bytes == b"lines").expect("the label") + 3;
        let error = read(&text[..half]).expect_err("where the row begins cannot be told from the last line");
        assert!(matches!(error, ResumeError::BadRow(_)), "{error}");
    }

    #[test]
    fn what_is_no_file_is_refused_and_what_is_not_there_is_empty() {
        let (home, path) = file(b"something else\n");
        assert!(matches!(Begun::read(None), Err(ResumeError::NoFile)));
        assert!(matches!(Begun::read(Some(Path::new("-"))), Err(ResumeError::NoFile)));
        assert!(matches!(Begun::read(Some(home.path())), Err(ResumeError::NotAFile { .. })));
        assert!(matches!(Begun::read(Some(Path::new("/dev/null"))), Err(ResumeError::NotAFile { .. })));
        let other = Begun::read(Some(&path));
        assert!(matches!(other, Err(ResumeError::Output(OutputError::OtherSchema { .. }))));
        let nothing = Begun::read(Some(&home.path().join("new.csv"))).expect("it will be made");
        assert_eq!((nothing.run_id(), nothing.seed(), nothing.cut()), (None, None, 0));
        nothing.cut_off().expect("there is nothing to cut");
    }
}
