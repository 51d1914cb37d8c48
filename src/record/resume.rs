//! `--resume`: what a file already holds of a plan, and what it lacks.
//!
//! A run may end at any moment, by `kill -9` too. Its file then has whole rows, and at most one truncated row. The plan
//! is drawn from the seed, which each row records; so the rows show which trials are done, and the same flags show
//! which are not. A file that is not of the plan asked for is refused and left as it was: trials of two plans in one
//! table would be compared with each other, although nobody planned that.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::console::{Failure, printable_path};
use crate::place::Place;
use crate::record::format;
use crate::record::locked::FileError;
use crate::record::output::{self, Output, OutputError};
use crate::record::row::Row;
use crate::record::rows::{Rows, RowsError};

pub mod rest;

/// Why a file cannot be continued. It is then unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// There is no name, or it is standard output.
    #[error("--resume continues a file and needs its name: -o FILE")]
    NoFile,
    /// It is a directory, a pipe or a device.
    #[error(
        "--resume reads back what is in the file, and {0} is not a regular file; use another -o",
        printable_path(path)
    )]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be opened or read, or has other columns.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A line is not a row, or cannot be read.
    #[error("{0}; remove the row to run its trial again, or use another -o")]
    BadRow(RowsError),
    /// A row is not one of the plan.
    #[error(
        "row {row} of {0} is not of the plan asked for: its {column} is '{found}', and '{planned}' in the plan; \
         --resume takes the flags that the run was started with; use another -o for another plan, or --append to \
         have both in one file",
        printable_path(path)
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
    #[error(
        "{0} has changed while it was read; end the other run that writes to it, or use another -o",
        printable_path(path)
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl From<ResumeError> for Failure {
    fn from(error: ResumeError) -> Self {
        Self::Usage(error.into())
    }
}

/// What is in the file of a run that was started.
#[derive(Debug, Default)]
pub struct Begun {
    path: PathBuf,
    rows: Vec<Row>,
    /// The length of all whole rows and of the header; 0 if that is not whole.
    whole: u64,
    /// The bytes after them, of a truncated row or header.
    cut: u64,
}

impl Begun {
    /// Reads the file that `--resume` continues; one that does not exist yet counts as empty.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or if anything but the end of it is not what hpbench writes.
    pub fn read(path: Option<&Path>) -> Result<Self, ResumeError> {
        let path = path.filter(|path| *path != Path::new("-")).ok_or(ResumeError::NoFile)?;
        let failed = |error| OutputError::from(FileError::Open { path: path.into(), error });
        let nothing = Self { path: path.into(), ..Self::default() };
        match Place::of(path).map_err(failed)? {
            Place::Taken => {}
            Place::Stream | Place::Directory => return Err(ResumeError::NotAFile { path: path.into() }),
            Place::Vacant => return Ok(nothing),
        }
        let mut rows = Rows::new(path, File::open(path).map_err(failed)?);
        let header = format::header();
        let start = rows.start(header.len()).map_err(failed)?;
        if start.len() < header.len() && header.starts_with(&start) {
            return Ok(Self { cut: start.len() as u64, ..nothing });
        }
        output::check_header(path, &start, &header)?;
        let mut begun = Self { whole: header.len() as u64, ..nothing };
        while let Some(record) = rows.next_row()? {
            begun.rows.push(rows.parse(&record)?);
            begun.whole += record.length as u64;
        }
        begun.cut = rows.cut();
        Ok(begun)
    }

    /// The run that is continued, if it has rows.
    pub fn run_id(&self) -> Option<&str> {
        self.rows.first().map(|row| row.run_id.as_str())
    }

    /// Its seed.
    pub fn seed(&self) -> Option<u64> {
        self.rows.first().map(|row| row.seed)
    }

    /// The name of the file, for messages.
    pub fn name(&self) -> String {
        printable_path(&self.path)
    }

    /// How many bytes of a truncated row are at the end.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// Opens and locks the file, so that rows can be added; what follows the last whole row is removed when
    /// [`Output::begin`] is called.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, or has changed since it was read.
    pub fn open(&self) -> Result<Output, ResumeError> {
        let output = Output::open_begun(&self.path, self.whole, self.cut)?;
        output.ok_or_else(|| ResumeError::Changed { path: self.path.clone() })
    }
}

impl From<RowsError> for ResumeError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Read { path, error } => Self::Output(FileError::Open { path, error }.into()),
            error => Self::BadRow(error),
        }
    }
}

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::samples::{cells, csv, file, finished, read, run};
    use super::*;
    use crate::plan::schedule::Schedule;
    use crate::record::rows::ROW_MAX;

    fn is_bad(error: &ResumeError, on_line: u64) -> bool {
        matches!(error, ResumeError::BadRow(RowsError::BadRow { line, .. }) if *line == on_line)
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
            valid: 0,
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
            begun.open().and_then(|mut output| Ok(output.begin()?)).expect("the file is ours");
            let whole = whole.max(format::header().len());
            assert_eq!(fs::read(&path).expect("it is there"), text[..whole]);
        }
    }

    #[test]
    fn a_file_that_changed_in_between_is_not_cut() {
        let text = csv(&finished(&run()));
        let (_home, path) = file(&text[..text.len() - 10]);
        let begun = Begun::read(Some(&path)).expect("only its end is cut");
        fs::write(&path, &text).expect("a file");
        assert!(matches!(begun.open(), Err(ResumeError::Changed { .. })));
        assert_eq!(fs::read(&path).expect("it is there"), text);
    }

    #[test]
    fn a_line_that_is_no_row_is_named() {
        let rows = finished(&run());
        let [first, second] = [&rows[..1], &rows[1..2]].map(csv);
        let second = &second[format::header().len()..];
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
        let schedule = Schedule::new(cells().len(), 2, 7);
        let mut random = 1_u32;
        for _ in 0..500 {
            let mut damaged = text.clone();
            for _ in 0..3 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = format::header().len() + (random >> 8) as usize % (text.len() - format::header().len());
                damaged[at] = b"\"\n\r,0-9.\xff\0"[(random >> 4) as usize % 10];
            }
            // Whatever comes of it, it is an answer.
            let _ = read(&damaged).map(|begun| begun.rest(&run(), &cells(), schedule));
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
        let mut saved = format::header();
        saved.insert(saved.len() - 1, b'\r');
        fs::write(&path, saved).expect("a file");
        let other = Begun::read(Some(&path));
        assert!(matches!(other, Err(ResumeError::Output(OutputError::OtherLineEnds { .. }))));
        let nothing = Begun::read(Some(&home.path().join("new.csv"))).expect("it will be made");
        assert_eq!((nothing.run_id(), nothing.seed(), nothing.cut()), (None, None, 0));
        drop(nothing.open().expect("there is nothing to cut"));
        assert!(!home.path().join("new.csv").exists(), "nothing was begun");
    }
}
