//! Histograms as an HdrHistogram interval log (`.hlog`), which the tools of HdrHistogram in other languages
//! read and plot.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::console::{Failure, printable_path};
use crate::record::append::AppendFile;
use crate::record::locked::{Existing, FileError};

/// The version of the format, as readers expect it in a comment. The Rust crate does not write it.
const VERSION: &str = "[Histogram log format version 1.3]";
/// The names of the columns. Readers skip this line; people do not.
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
/// The histograms are in nanoseconds; the column of maxima is in microseconds.
const MAX_VALUE_DIVISOR: f64 = 1000.0;
/// The longest line that is read back; a histogram takes far less.
const LINE_MAX: u64 = 1 << 24;

/// Why there is no log of histograms.
#[derive(Debug, thiserror::Error)]
pub enum HlogError {
    /// It cannot be opened or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is something else.
    #[error(
        "{0} is not an interval log of hpbench, and cannot be added to; name another file with --hlog",
        printable_path(path)
    )]
    OtherFormat {
        /// Which.
        path: PathBuf,
    },
}

impl From<HlogError> for Failure {
    fn from(error: HlogError) -> Self {
        match error {
            HlogError::File(FileError::Write { .. }) => Self::Broken(error.into()),
            error => Self::Usage(error.into()),
        }
    }
}

/// A log that is being written.
pub struct Hlog {
    file: AppendFile,
    /// The length of the whole lines of a log that is added to.
    keep: u64,
    serializer: V2DeflateSerializer,
    start: Instant,
}

impl Hlog {
    /// Opens and locks the file. Nothing is written yet, and what is there is unchanged.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used.
    pub fn open(path: &Path, existing: Existing) -> Result<Self, HlogError> {
        let mut file = AppendFile::open(path, existing)?;
        let keep = if file.len() > 0 { whole_lines(path, file.reader())? } else { 0 };
        Ok(Self { file, keep, serializer: V2DeflateSerializer::new(), start: Instant::now() })
    }

    /// Empties a file that is replaced, removes a truncated line, and writes what comes before the histograms of a run:
    /// the last step before the first one. A log that is added to gets this once more, with the time from which the
    /// times after it count.
    ///
    /// # Errors
    ///
    /// Why it cannot be written.
    pub fn begin(&mut self) -> Result<(), HlogError> {
        self.start = Instant::now();
        let started_at = SystemTime::now();
        let mut header = Vec::new();
        IntervalLogWriterBuilder::new()
            .add_comment(VERSION)
            .add_comment(concat!("[Logged with hpbench ", env!("CARGO_PKG_VERSION"), ", values in nanoseconds]"))
            .with_start_time(started_at)
            // Without it, readers guess from their size whether times are relative.
            .with_base_time(started_at)
            .with_max_value_divisor(MAX_VALUE_DIVISOR)
            .begin_log_with(&mut header, &mut self.serializer)
            .map_err(|error| broken(&self.file, error))?;
        header.extend_from_slice(LEGEND.as_bytes());
        if self.file.len() > 0 {
            self.file.cut(self.keep)?;
        }
        if self.file.len() == 0 {
            return Ok(self.file.begin(&header, false)?);
        }
        // It is added first, so a file that stands in for this one begins with it, too.
        self.file.begin(&[], false)?;
        Ok(self.file.append(&header)?)
    }

    /// When the log was opened, from which its times are counted.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Writes a histogram of nanoseconds that were recorded from `start_s` seconds after the start of the log,
    /// for `length`. What a tag may not contain (commas, white space) becomes `_` there.
    ///
    /// # Errors
    ///
    /// Why it cannot be written.
    pub fn write(
        &mut self,
        tag: &str,
        start_s: f64,
        length: Duration,
        histogram: &Histogram<u64>,
    ) -> Result<(), HlogError> {
        let tag = clean_tag(tag);
        let start = Duration::try_from_secs_f64(start_s).unwrap_or_default();
        let mut lines = Vec::new();
        let written = IntervalLogWriterBuilder::new()
            .with_max_value_divisor(MAX_VALUE_DIVISOR)
            .begin_log_with(&mut lines, &mut self.serializer)
            .map_err(|error| error.to_string())
            .and_then(|mut writer| {
                let tag = Tag::new(&tag).filter(|tag| !tag.is_empty());
                writer.write_histogram(histogram, start, length, tag).map_err(|error| error.to_string())
            });
        written.map_err(|error| broken(&self.file, io::Error::other(error)))?;
        // The crate's writer begins with its comment on the divisor each time; the file has that already.
        let line = lines.split_inclusive(|&byte| byte == b'\n').next_back().unwrap_or_default();
        Ok(self.file.append(line)?)
    }

    /// Makes sure that all histograms are in a file. Returns whether it is the one that was opened.
    ///
    /// # Errors
    ///
    /// If histograms are lost, and cannot be written elsewhere.
    pub fn finish(&mut self) -> Result<bool, HlogError> {
        Ok(self.file.finish()?)
    }
}

fn broken(file: &AppendFile, error: io::Error) -> HlogError {
    FileError::Write { path: file.path().into(), error }.into()
}

/// The length of the whole lines of a log that was written before, by a run that may have ended in the middle of one.
fn whole_lines(path: &Path, file: io::Result<&mut File>) -> Result<u64, HlogError> {
    let failed = |error| HlogError::from(FileError::Open { path: path.into(), error });
    let mut file = BufReader::new(file.map_err(failed)?);
    let start = format!("#{VERSION}\n");
    let (mut whole, mut line) = (0, Vec::new());
    loop {
        line.clear();
        file.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(failed)?;
        let is_ours = whole > 0 || start.as_bytes().starts_with(&line);
        if !is_ours || line.len() as u64 == LINE_MAX {
            return Err(HlogError::OtherFormat { path: path.into() });
        }
        if line.last() != Some(&b'\n') {
            return Ok(whole);
        }
        whole += line.len() as u64;
    }
}

impl std::fmt::Debug for Hlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hlog").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A tag ends at a comma, and a line at a line break; and readers disagree about spaces.
fn clean_tag(tag: &str) -> String {
    let allowed = |c: char| c != ',' && !c.is_whitespace() && !c.is_control();
    tag.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::measure::outcome::latency_histogram;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = latency_histogram();
        values.into_iter().for_each(|value| histogram.saturating_record(value));
        histogram
    }

    #[test]
    fn what_is_written_is_read_back() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("a.hlog");
        let before = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
        let mut hlog = begun(&path, Existing::Refuse).expect("a new file");
        let all = [histogram((1..=10_000).map(|i| i * 977)), histogram([5_123_000_000]), histogram([])];
        let tags = ["echo plain,64\nB", "b", ""];
        for (i, (histogram, tag)) in all.iter().zip(tags).enumerate() {
            hlog.write(tag, i as f64 + 0.25, Duration::from_millis(1500), histogram).expect("there is room");
            let text = fs::read_to_string(&path).expect("text");
            assert!(text.ends_with('\n') && text.lines().count() == 7 + i, "each line is in the file at once: {text}");
        }
        let text = fs::read_to_string(&path).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "#[Histogram log format version 1.3]");
        assert!(lines[1].contains(env!("CARGO_PKG_VERSION")) && lines[2].starts_with("#[StartTime: "), "{text}");
        assert!(lines[5].starts_with("\"StartTimestamp\""), "{text}");
        assert!(text.contains("\nTag=b,1.250,1.500,512") && text.contains("\n2.250,1.500,0.000,"), "{text}");

        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            match entry.expect("a line that is understood") {
                LogEntry::StartTime(time) | LogEntry::BaseTime(time) => {
                    assert!(time.abs_diff(before) < Duration::from_secs(60), "{time:?}");
                }
                LogEntry::Interval(interval) => found.push(interval),
            }
        }
        assert_eq!(found.len(), all.len());
        let tags: Vec<_> = found.iter().map(|interval| interval.tag().map(|tag| tag.as_str())).collect();
        assert_eq!(tags, [Some("echo_plain_64_B"), Some("b"), None]);
        for (interval, histogram) in found.iter().zip(&all) {
            assert!((interval.max() - histogram.max() as f64 / 1000.0).abs() < 0.001, "microseconds: {interval:?}");
            assert_eq!(interval.duration(), Duration::from_millis(1500));
            assert_eq!(&decode(interval.encoded_histogram()), histogram);
        }
    }

    /// Decodes base64, as the crate leaves that to its users.
    fn decode(base64: &str) -> Histogram<u64> {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
        for byte in base64.bytes().filter(|&byte| byte != b'=') {
            let digit = ALPHABET.iter().position(|&digit| digit == byte).expect("base64") as u32;
            (bits, count) = (bits << 6 | digit, count + 6);
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
            }
        }
        Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram")
    }

    fn begun(path: &Path, existing: Existing) -> Result<Hlog, HlogError> {
        let mut hlog = Hlog::open(path, existing)?;
        hlog.begin()?;
        Ok(hlog)
    }

    #[test]
    fn a_file_that_is_there_is_refused_or_replaced() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("a.hlog");
        fs::write(&path, "x".repeat(10_000)).expect("a file");
        let refused = Hlog::open(&path, Existing::Refuse).expect_err("it is there").to_string();
        assert!(refused.contains("a.hlog") && refused.contains("--force"), "{refused}");
        let other = Hlog::open(&path, Existing::Append).expect_err("it is no log").to_string();
        assert!(other.contains("a.hlog") && other.contains("--hlog"), "{other}");
        assert_eq!(fs::read(&path).expect("it is there").len(), 10_000);
        begun(&path, Existing::Replace).expect("it may be replaced");
        assert!(fs::read_to_string(&path).expect("text").ends_with(LEGEND));
    }

    #[test]
    fn errors_name_the_file_and_what_to_do() {
        let nowhere = Hlog::open(Path::new("/nonexistent/a.hlog"), Existing::Replace).expect_err("no directory");
        let nowhere = nowhere.to_string();
        assert!(nowhere.contains("/nonexistent/a.hlog") && nowhere.contains("directory"), "{nowhere}");
        let full = begun(Path::new("/dev/full"), Existing::Refuse).expect_err("a device that is full").to_string();
        assert!(full.contains("/dev/full") && full.contains("make room"), "{full}");
    }

    #[test]
    fn a_log_that_is_added_to_and_then_cut_is_rescued_with_one_header() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("a.hlog");
        drop(begun(&path, Existing::Refuse).expect("a new file"));
        let mut hlog = begun(&path, Existing::Append).expect("it is a log");
        hlog.write("first", 1.0, Duration::ZERO, &histogram([1])).expect("there is room");
        fs::write(&path, "").expect("it is cut");
        hlog.write("second", 2.0, Duration::ZERO, &histogram([1])).expect("there is room elsewhere");
        assert!(!hlog.finish().expect("it is in another file"));
        let rescued = fs::read_to_string(home.path().join("a.rescued.hlog")).expect("it stands in");
        assert!(rescued.starts_with(&format!("#{VERSION}\n")), "{rescued}");
        let count = |text| rescued.matches(text).count();
        assert_eq!((count(VERSION), count("Tag=first"), count("Tag=second")), (1, 1, 1), "{rescued}");
    }

    #[test]
    fn a_log_that_ends_anywhere_is_gone_on_with() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("a.hlog");
        let mut hlog = begun(&path, Existing::Refuse).expect("a new file");
        hlog.write("first", 1.0, Duration::ZERO, &histogram([1])).expect("there is room");
        drop(hlog);
        let text = fs::read(&path).expect("it is there");
        let ends: Vec<usize> = text.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
        for length in 0..=text.len() {
            fs::write(&path, &text[..length]).expect("a file");
            let mut hlog = begun(&path, Existing::Append).expect("only its end is cut");
            hlog.write("next", 2.0, Duration::ZERO, &histogram([1])).expect("there is room");
            let whole = ends.iter().rev().find(|end| **end <= length).copied().unwrap_or(0);
            let found = fs::read(&path).expect("it is there");
            assert!(found.starts_with(&text[..whole]), "{length}");
            let count =
                |text: &[u8]| text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"Tag=")).count();
            assert_eq!(count(&found), count(&text[..whole]) + 1, "{length}");
            let entries = IntervalLogIterator::new(&found).map(|entry| entry.expect("a line that is understood"));
            let times = entries.filter(|entry| matches!(entry, LogEntry::StartTime(_) | LogEntry::BaseTime(_))).count();
            assert!(times == 2 || length >= ends[2], "{length}: {times}");
        }
    }
}
