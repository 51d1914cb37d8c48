//! Reading back what a run wrote, row by row, however damaged a file is: `--resume`, `compare` and `report`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use csv::StringRecord;

use crate::console::{Failure, printable, printable_path};
use crate::record::format::{BYTE_ORDER_MARK, Splitter, columns, header};
use crate::record::row::Row;

/// The longest row that is read back, in bytes. Only the label of a run has no bound of ours, and the kernel
/// limits an argument to 128 KiB, which its quotes may double.
pub(crate) const ROW_MAX: usize = 1 << 20;

/// The last of the columns that every file has; those after it were added later.
const LAST_OF_FIRST: &str = "error";

/// Why there is no next row.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The file cannot be read.
    #[error("cannot read {0}: {error}", printable_path(path))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line is not a row.
    #[error("line {line} of {0} is not a row of hpbench: {reason}", printable_path(path))]
    BadRow {
        /// The file.
        path: PathBuf,
        /// On which line the row begins, from 1 on.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why the trials of a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened.
    #[error("cannot open {0}: {error}", printable_path(path))]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It cannot be read.
    #[error("{0}; only what hpbench wrote can be read back: remove the line, or measure again")]
    Rows(RowsError),
    /// Its last row is truncated.
    #[error(
        "line {line} of {0} is truncated ({bytes} bytes without a line end); remove it, or run its trial again with \
         --resume",
        printable_path(path)
    )]
    Cut {
        /// The file.
        path: PathBuf,
        /// Which line.
        line: u64,
        /// Its length.
        bytes: u64,
    },
    /// There are no trials.
    #[error("there are no trials in {0}; a run writes some", printable_path(path))]
    NoTrials {
        /// The file.
        path: PathBuf,
    },
}

// Not by `#[from]`, which would make it the source as well, and report it twice.
impl From<RowsError> for ReadError {
    fn from(error: RowsError) -> Self {
        Self::Rows(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Usage(error.into())
    }
}

/// Reads a whole file, and hands each row on: as it is in the file, with the names of its columns, and its values.
/// `add` may refuse a row and say why.
///
/// # Errors
///
/// If a line is not a row, or the file cannot be read or has no rows.
pub(crate) fn read_file(
    path: &Path,
    mut add: impl FnMut(&[String], &StringRecord, &Row) -> Result<(), String>,
) -> Result<(), ReadError> {
    let file = File::open(path).map_err(|error| ReadError::Open { path: path.into(), error })?;
    let mut rows = Rows::new(path, file);
    rows.header()?;
    let mut count = 0_usize;
    while let Some(record) = rows.next_row()? {
        let row = rows.parse(&record)?;
        add(&rows.columns, &record.fields, &row).map_err(|reason| rows.bad(record.line, reason))?;
        count += 1;
    }
    match rows.cut() {
        0 if count == 0 => Err(ReadError::NoTrials { path: path.into() }),
        0 => Ok(()),
        bytes => Err(ReadError::Cut { path: path.into(), line: rows.last_line(), bytes }),
    }
}

/// Names that tell files apart, as short as possible.
pub(crate) fn file_names(files: &[PathBuf]) -> Vec<String> {
    let short = |path: &PathBuf| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let full = |path: &PathBuf| printable_path(path);
    let is_unique = |names: &[String]| names.iter().enumerate().all(|(at, name)| !names[..at].contains(name));
    let [short, full] = [files.iter().map(short).collect::<Vec<_>>(), files.iter().map(full).collect()];
    match (is_unique(&short), is_unique(&full)) {
        (true, _) => short,
        (_, true) => full,
        _ => full.iter().enumerate().map(|(index, name)| format!("{name} ({})", index + 1)).collect(),
    }
}

/// A row as it is in the file.
#[derive(Debug)]
pub struct Record {
    /// On which line it begins, from 1 on.
    pub line: u64,
    /// Its length in bytes, with the line end.
    pub length: usize,
    /// Its fields.
    pub fields: StringRecord,
}

/// Reads a file row by row, however long its lines are.
#[derive(Debug)]
pub struct Rows {
    path: PathBuf,
    reader: BufReader<File>,
    columns: Vec<String>,
    /// How many of them the file lacks, because an earlier version wrote it: the last ones.
    lacking: usize,
    splitter: Splitter,
    /// Line ends so far.
    line: u64,
    /// The bytes after the last line end, once all rows are read.
    cut: u64,
}

impl Rows {
    /// For a file whose first line, the header, is still to be read.
    pub fn new(path: &Path, file: File) -> Self {
        let columns = columns(&header()).into_iter().map(str::to_owned).collect();
        let reader = BufReader::with_capacity(1 << 16, file);
        Self { path: path.into(), reader, columns, lacking: 0, splitter: Splitter::new(), line: 0, cut: 0 }
    }

    /// Up to `length` bytes from the beginning of the file, which are then consumed.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn start(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut start = Vec::with_capacity(length);
        self.reader.by_ref().take(length as u64).read_to_end(&mut start)?;
        self.line += 1;
        Ok(start)
    }

    /// Reads the header. Its columns must be ours in our order; later versions may have more after them, and earlier ones lack
    /// those that were added since.
    ///
    /// # Errors
    ///
    /// If it has others, or cannot be read.
    pub fn header(&mut self) -> Result<(), RowsError> {
        let record = self.record()?;
        let Some((line, record)) = record else {
            let reason = if self.cut == 0 { "the file is empty" } else { "it is truncated, without a line end" };
            return Err(self.bad(1, reason));
        };
        let record = record.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&record);
        let found = self.splitter.split(record).map_err(|reason| self.bad(line, reason))?;
        let first = self.columns.iter().position(|column| column == LAST_OF_FIRST).map_or(0, |at| at + 1);
        for (at, column) in self.columns.iter().enumerate() {
            match found.get(at) {
                Some(found) if found == column => {}
                None if at >= first => self.lacking += 1,
                _ if found.iter().any(|found| found == column) => {
                    return Err(self.bad(line, format!("the column '{column}' of the header is not in its place")));
                }
                _ => return Err(self.bad(line, format!("the header lacks the column '{column}' of this version"))),
            }
        }
        let lacking = self.columns.split_off(self.columns.len() - self.lacking);
        self.columns = found.iter().map(str::to_owned).chain(lacking).collect();
        Ok(())
    }

    /// The next row; none after the last one that is whole.
    ///
    /// # Errors
    ///
    /// If it is not a row, or cannot be read.
    pub fn next_row(&mut self) -> Result<Option<Record>, RowsError> {
        let Some((line, record)) = self.record()? else { return Ok(None) };
        let mut fields = self.splitter.split(&record).map_err(|reason| self.bad(line, reason))?;
        let expected = self.columns.len() - self.lacking;
        if fields.len() != expected {
            let reason = format!("it has {} fields instead of {expected}", fields.len());
            return Err(self.bad(line, reason));
        }
        for column in &self.columns[expected..] {
            let value = as_it_was(column, |name| self.columns.iter().position(|column| column == name), &fields);
            fields.push_field(value);
        }
        Ok(Some(Record { line, length: record.len(), fields }))
    }

    /// The values in the fields of a row.
    ///
    /// # Errors
    ///
    /// If a field has none, or the values contradict each other.
    pub fn parse(&self, record: &Record) -> Result<Row, RowsError> {
        let row = parse(&record.fields, &self.columns);
        let row = row.and_then(|row: Row| match row.contradiction() {
            None => Ok(row),
            Some(reason) => Err(reason),
        });
        row.map_err(|reason| self.bad(record.line, reason))
    }

    /// How many bytes of a truncated row are at the end, once all rows are read.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// On which line a truncated row would be.
    pub fn last_line(&self) -> u64 {
        self.line + 1
    }

    /// The error of a line that is not a row.
    pub fn bad(&self, line: u64, reason: impl Into<String>) -> RowsError {
        RowsError::BadRow { path: self.path.clone(), line, reason: printable(&reason.into()).into_owned() }
    }

    /// The next whole row with its line end, and on which line it begins. A label may have line ends, so a row
    /// ends at the first one that is not in quotes.
    fn record(&mut self) -> Result<Option<(u64, Vec<u8>)>, RowsError> {
        let (first, mut record, mut quoted) = (self.line + 1, Vec::new(), false);
        loop {
            let start = record.len();
            let room = (ROW_MAX + 1 - start) as u64;
            let read = self.reader.by_ref().take(room).read_until(b'\n', &mut record);
            read.map_err(|error| RowsError::Read { path: self.path.clone(), error })?;
            let piece = &record[start..];
            quoted ^= piece.iter().filter(|&&byte| byte == b'"').count() % 2 == 1;
            if record.len() > ROW_MAX {
                return Err(self.bad(first, format!("it is longer than {ROW_MAX} bytes")));
            }
            if !piece.ends_with(b"\n") {
                break;
            }
            self.line += 1;
            if !quoted {
                return Ok(Some((first, record)));
            }
        }
        // Only the last line may be truncated: a quote somewhere before must not take whole rows with it.
        if record.contains(&b'\n') {
            return Err(self.bad(first, "a quote in it is not closed"));
        }
        self.cut = record.len() as u64;
        Ok(None)
    }
}

/// What a row would have in a column that was added after it was written.
fn as_it_was(column: &str, at: impl Fn(&str) -> Option<usize>, fields: &StringRecord) -> &'static str {
    let field = |name: &str| at(name).and_then(|at| fields.get(at)).unwrap_or_default();
    match (column, field("backend"), field("scenario")) {
        ("fd_table", "null", _) => "",
        ("fd_table", _, "drain" | "send") => "own",
        ("fd_table", ..) => "shared",
        ("fill_core", _, "drain" | "send") => "same",
        ("sockets" | "active" | "skew", "null", _) => "",
        ("sockets" | "active", ..) => "1",
        ("skew", ..) => "0.0",
        ("min_wait", "uring", _) if field("wait") == "block" && field("variant").contains("multishot") => "off",
        ("min_wait", "uring", _) if field("wait") == "block" && field("variant").starts_with("poll") => "off",
        ("work", _, "drain" | "flood" | "pace" | "echo") => "0",
        ("flows", _, "flood" | "pace" | "serve") => "1",
        ("sharding", _, "flood" | "pace" | "serve") => "ports",
        _ => "",
    }
}

/// The values in the fields of a row; those of columns that this version does not know are left out.
fn parse(fields: &StringRecord, columns: &[impl AsRef<str>]) -> Result<Row, String> {
    fields.deserialize(None).map_err(|error| match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => {
            // Where the type of a field refuses it, the message says which one it is.
            let column = err.field().and_then(|at| columns.get(at as usize));
            column.map_or_else(|| err.kind().to_string(), |column| format!("{}: {}", column.as_ref(), err.kind()))
        }
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::columns::Column;
    use crate::record::format::{self, fields};

    fn texts(record: &[u8]) -> Result<Vec<String>, String> {
        fields(record).map(|fields| fields.iter().map(str::to_owned).collect())
    }

    #[test]
    fn a_line_end_of_a_spreadsheet_is_no_part_of_a_field() {
        for (record, expected) in [
            ("a,b\r\n", ["a", "b"]),
            ("a,\r\n", ["a", ""]),
            ("a,\"b\"\r\n", ["a", "b"]),
            ("\"a\r\n\",\"b\r\"\r\n", ["a\r\n", "b\r"]),
            ("\"a\r\n\",\"b\r\"\n", ["a\r\n", "b\r"]),
            ("a\r,b\n", ["a\r", "b"]),
        ] {
            assert_eq!(texts(record.as_bytes()).expect(record), expected, "{record:?}");
        }
        assert_eq!(texts(b"\r\n"), texts(b"\n"), "an empty line");
        let odd = Row { error: "a\r".into(), ..Row::default() };
        let read = parse(&fields(&format::encode(&odd, false)).expect("a row"), &columns(&format::header()));
        assert_eq!(read.expect("a row").error, "a\r", "ours is in quotes");
    }

    #[test]
    fn a_row_that_contradicts_itself_is_none() {
        let row = |[sent, received, drop_socket]: [u64; 3], unexplained, valid| Row {
            sent: Some(sent),
            received: Some(received),
            drop_socket: Some(drop_socket),
            drop_ring: Some(0),
            measured_received: Some(received),
            unexplained,
            valid,
            ..Row::default()
        };
        for (row, expected) in [
            (row([10, 8, 2], Some(0), 1), None),
            (row([10, 8, 1], Some(1), 0), None),
            (row([10, 8, 1], None, 0), None),
            (Row::default(), None),
            (Row { valid: 1, ..Row::default() }, None),
            (Row { measured_received: None, ..row([10, 8, 2], Some(0), 0) }, None),
            (
                Row { measured_received: None, ..row([10, 8, 2], Some(0), 1) },
                Some("valid although nothing was received"),
            ),
            (row([10, 0, 10], Some(0), 1), Some("valid although nothing was received")),
            (Row { measured_received: Some(0), valid: 1, ..Row::default() }, Some("although nothing was received")),
            (row([10, 7, 2], Some(0), 1), Some("contradicts itself")),
            (row([10, 8, 2], Some(1), 0), Some("contradicts itself")),
            (row([u64::MAX, 0, 0], Some(i64::MIN), 0), Some("contradicts itself")),
            (row([10, 8, 1], Some(1), 1), Some("valid although datagrams are unexplained")),
            (row([10, 8, 2], Some(0), 7), Some("neither 0 nor 1")),
        ] {
            let found = row.contradiction();
            assert_eq!(found.is_some(), expected.is_some(), "{row:?}");
            assert!(found.zip(expected).is_none_or(|(found, expected)| found.contains(expected)), "{expected:?}");
        }
    }

    #[test]
    fn latencies_that_are_damaged_are_no_row() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("damaged.csv");
        let row =
            Row { valid: 1, lat_samples: Some(2), lat_tail: "1/64 8960:2".parse().expect("a tail"), ..Row::default() };
        let whole = String::from_utf8([format::header(), format::encode(&row, false)].concat()).expect("UTF-8");
        for (tail, expected) in [
            ("1/64 8960:2", None),
            ("", None),
            ("1/64 8960:1", Some("its lat_tail has 1 latencies, but its lat_samples is 2")),
            ("1/64 8961:2", Some("lat_tail: '1/64' is expected")),
            ("1/64 8960:", Some("lat_tail: '1/64' is expected")),
        ] {
            std::fs::write(&path, whole.replace("1/64 8960:2", tail)).expect("a file");
            let found = read_file(&path, |_, _, _| Ok(())).err().map(|error| error.to_string());
            assert_eq!(found.is_some(), expected.is_some(), "{tail}: {found:?}");
            assert!(
                found.as_deref().zip(expected).is_none_or(|(found, expected)| found.contains(expected)),
                "{tail}: {found:?}"
            );
        }
    }

    #[test]
    fn a_file_of_before_a_column_was_added_is_read_as_it_was_measured() {
        const ADDED: usize = Column::COUNT - Column::fd_table as usize;
        let cut = |columns: usize, line: Vec<u8>| {
            let text = String::from_utf8(line).expect("UTF-8");
            text.rsplitn(columns + 1, ',').last().expect("more columns").to_owned() + "\n"
        };
        let row = |backend: &str, scenario: &str| {
            let (backend, scenario) = (backend.into(), scenario.into());
            Row { backend, scenario, valid: 1, fd_table: "of a later version".into(), ..Row::default() }
        };
        let measured = [("plain", "drain"), ("uring", "send"), ("null", "drain"), ("mmsg", "flood"), ("plain", "echo")];
        let lines = measured.map(|(backend, scenario)| cut(ADDED, format::encode(&row(backend, scenario), false)));
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("old.csv");
        std::fs::write(&path, cut(ADDED, format::header()) + &lines.concat()).expect("a file");
        let mut tables = Vec::new();
        read_file(&path, |columns, fields, row| {
            assert_eq!((columns.len(), columns[Column::fd_table as usize].as_str()), (fields.len(), "fd_table"));
            assert_eq!(fields.get(Column::fd_table as usize), Some(row.fd_table.as_str()));
            tables.push(row.fd_table.clone());
            Ok(())
        })
        .expect("rows");
        assert_eq!(tables, ["own", "own", "", "shared", "shared"]);
        let short = cut(ADDED + 1, format::header());
        std::fs::write(&path, short).expect("a file");
        let error = read_file(&path, |_, _, _| Ok(())).expect_err("it lacks a column that it always had").to_string();
        assert!(error.contains("lacks the column 'error'"), "{error}");
    }

    #[test]
    fn a_file_that_a_spreadsheet_has_saved_has_the_same_rows() {
        let [first, second] = ["two\nlines", "one"].map(|host| Row { host: host.into(), valid: 1, ..Row::default() });
        let lines = [format::header(), format::encode(&first, false), format::encode(&second, false)];
        let saved = lines.map(|line| [line.strip_suffix(b"\n").expect("a line"), b"\r\n"].concat()).concat();
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("saved.csv");
        for start in [&b""[..], BYTE_ORDER_MARK] {
            std::fs::write(&path, [start, &saved].concat()).expect("a file");
            let mut rows = Vec::new();
            read_file(&path, |columns, _, row| {
                assert_eq!(columns[0], "schema");
                rows.push(row.clone());
                Ok(())
            })
            .expect("rows");
            assert_eq!(rows, [first.clone(), second.clone()], "after {start:?}");
        }
        std::fs::write(&path, &saved[..saved.len() - 1]).expect("a file");
        let error = read_file(&path, |_, _, _| Ok(())).expect_err("its last row is cut");
        assert!(matches!(error, ReadError::Cut { line: 4, .. }), "{error}");
    }
}
