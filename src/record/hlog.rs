//! Histograms as an HdrHistogram interval log (`.hlog`), which the tools of HdrHistogram in other languages
//! read and plot.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::place::Place;

/// The version of the format, as readers expect it in a comment. The Rust crate does not write it.
const VERSION: &str = "[Histogram log format version 1.3]";
/// The names of the columns. Readers skip this line; people do not.
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
/// The histograms are in nanoseconds; the column of maxima is in microseconds.
const MAX_VALUE_DIVISOR: f64 = 1000.0;

/// Why there is no log of histograms.
#[derive(Debug, thiserror::Error)]
pub enum HlogError {
    /// There is a file.
    #[error("{0} exists; use --force to replace it, or name another file", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be opened.
    #[error("cannot open {0}: {error}; is its directory there, and may you write to it?", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write to {0}: {error}; make room or name a file elsewhere; the lines before are whole", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A log under way.
pub struct Hlog {
    path: PathBuf,
    file: File,
    /// The bytes of the whole lines in the file.
    len: u64,
    serializer: V2DeflateSerializer,
    start: Instant,
}

impl Hlog {
    /// Opens the file and writes what comes before the histograms. A file that is there is refused, or, if
    /// `replace`, replaced.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used.
    pub fn create(path: &Path, replace: bool) -> Result<Self, HlogError> {
        let failed = |error| HlogError::Open { path: path.into(), error };
        let is_file = Place::of(path).map_err(failed)? == Place::Taken;
        if is_file && !replace {
            return Err(HlogError::Exists { path: path.into() });
        }
        let file = OpenOptions::new().write(true).create(true).truncate(is_file).open(path).map_err(failed)?;
        let (start, started_at) = (Instant::now(), SystemTime::now());
        let mut hlog = Self { path: path.into(), file, len: 0, serializer: V2DeflateSerializer::new(), start };
        let mut header = Vec::new();
        IntervalLogWriterBuilder::new()
            .add_comment(VERSION)
            .add_comment(concat!("[Logged with hpbench ", env!("CARGO_PKG_VERSION"), ", values in nanoseconds]"))
            .with_start_time(started_at)
            // Without it, readers guess from their size whether times are relative.
            .with_base_time(started_at)
            .with_max_value_divisor(MAX_VALUE_DIVISOR)
            .begin_log_with(&mut header, &mut hlog.serializer)
            .map_err(failed)?;
        header.extend_from_slice(LEGEND.as_bytes());
        hlog.put(&header)?;
        Ok(hlog)
    }

    /// When the log was opened, from which its times are counted.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// The name of the file, for messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
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
        written.map_err(|error| HlogError::Write { path: self.path.clone(), error: io::Error::other(error) })?;
        // The crate's writer begins with its comment on the divisor each time; the file has that already.
        let line = lines.split_inclusive(|&byte| byte == b'\n').next_back().unwrap_or_default();
        self.put(line)
    }

    /// Writes whole lines with one system call, or none of them.
    fn put(&mut self, lines: &[u8]) -> Result<(), HlogError> {
        if let Err(error) = self.file.write_all(lines) {
            self.take_back();
            return Err(HlogError::Write { path: self.path.clone(), error });
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Removes the part of a line that a full disk may have taken: readers fail at half a line. A device or a
    /// pipe keeps it, and there is nothing to be done about that.
    fn take_back(&mut self) {
        let _ = self.file.set_len(self.len);
        let _ = self.file.seek(io::SeekFrom::Start(self.len));
    }
}

impl std::fmt::Debug for Hlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hlog").field("path", &self.path).field("len", &self.len).finish_non_exhaustive()
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
        let mut hlog = Hlog::create(&path, false).expect("a new file");
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

    #[test]
    fn a_file_that_is_there_is_refused_or_replaced() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("a.hlog");
        fs::write(&path, "x".repeat(10_000)).expect("a file");
        let refused = Hlog::create(&path, false).expect_err("it is there").to_string();
        assert!(refused.contains("a.hlog") && refused.contains("--force"), "{refused}");
        assert_eq!(fs::read(&path).expect("it is there").len(), 10_000);
        Hlog::create(&path, true).expect("it may be replaced");
        assert!(fs::read_to_string(&path).expect("text").ends_with(LEGEND));
    }

    #[test]
    fn errors_name_the_file_and_what_to_do() {
        let nowhere = Hlog::create(Path::new("/nonexistent/a.hlog"), true).expect_err("no directory").to_string();
        assert!(nowhere.contains("/nonexistent/a.hlog") && nowhere.contains("directory"), "{nowhere}");
        let full = Hlog::create(Path::new("/dev/full"), false).expect_err("a device that is full").to_string();
        assert!(full.contains("/dev/full") && full.contains("make room"), "{full}");
    }

    #[test]
    fn half_a_line_is_taken_back() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("a.hlog");
        let mut hlog = Hlog::create(&path, false).expect("a new file");
        let whole = fs::read_to_string(&path).expect("text");
        // What a disk leaves that fills up in the middle of a line.
        hlog.file.write_all(b"Tag=half,1.0").expect("there is room");
        hlog.take_back();
        assert_eq!(fs::read_to_string(&path).expect("text"), whole);
        hlog.write("next", f64::NAN, Duration::ZERO, &histogram([1])).expect("there is room");
        let text = fs::read_to_string(&path).expect("text");
        let line = text.strip_prefix(&whole).unwrap_or_else(|| panic!("{text}"));
        assert!(line.starts_with("Tag=next,0.000,0.000,0.001,") && line.ends_with('\n'), "{line}");
    }
}
