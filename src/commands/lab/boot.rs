//! One visit to a kernel: boots it, collects what it reports, and says what went wrong.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::accel::Accel;
use super::guest::plan::{GuestPlan, PLAN_PATH, TESTS_PATH};
use super::initramfs::Initramfs;
use super::kernels::Kernel;
use super::qemu::{Machine, News};
use super::stream::{Decoder, Frame, Kind};
use crate::console::is_control;
use crate::measure::control::Interrupt;

/// How often to check for an interrupt by the user, or the end of the time.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The largest console: a kernel that writes more repeats itself for ever.
const CONSOLE_MAX: u64 = 64 << 20;

/// How much of its end to read.
const CONSOLE_READ: u64 = 1 << 20;

/// Lines of the console that an error quotes.
const LAST_LINES: usize = 6;

/// The length of the longest of them.
const LINE_MAX: usize = 160;

/// The result of a visit.
#[derive(Clone, Debug)]
pub struct Visit {
    /// What the guest reported, in order; without rows, its failure and its end.
    pub frames: Vec<Frame>,
    /// Why it is incomplete; `None` after a complete visit.
    pub failure: Option<String>,
    /// Whether the user interrupted it.
    pub interrupted: bool,
    /// How long it took.
    pub took: Duration,
}

/// Writes the archive with the guest's files: hpbench, its plan, and the test binary if there is one.
///
/// # Errors
///
/// If files cannot be read or written.
pub fn write_initramfs(path: &Path, hpbench: &Path, plan: &GuestPlan, tests: Option<&Path>) -> std::io::Result<()> {
    let mut archive = Initramfs::new();
    for folder in ["dev", "proc", "sys", "tmp"] {
        archive.directory(folder);
    }
    // The kernel opens the console before the first process could create it.
    archive.device("dev/console", 5, 1).device("dev/null", 1, 3);
    archive.file("init", true, &fs::read(hpbench)?);
    archive.file(PLAN_PATH.trim_start_matches('/'), false, &plan.encode());
    if let Some(tests) = tests {
        archive.file(TESTS_PATH.trim_start_matches('/'), true, &fs::read(tests)?);
    }
    fs::write(path, archive.finish())
}

/// The files of one boot, and how long it may take.
#[derive(Clone, Debug)]
pub struct Boot<'a> {
    /// How the guest is run.
    pub accel: Accel,
    /// How many cores the guest has: one where instructions are counted.
    pub cores: usize,
    /// The image to boot.
    pub kernel: &'a Kernel,
    /// The archive with the guest's files.
    pub initramfs: &'a Path,
    /// Where the console goes.
    pub log: PathBuf,
    /// From the start to the end.
    pub time_limit: Duration,
    /// The most frames that the guest may send.
    pub frames_max: usize,
}

impl Boot<'_> {
    /// Boots, and passes on each frame as it arrives. A kernel that does not get as far as starting hpbench is booted a
    /// second time, with another date: emulated processors have their own bugs, which identical boots would always hit
    /// (seen with QEMU 7.2, in about one of sixty differing boots).
    pub fn visit(&self, interrupt: &Interrupt, mut on_frame: impl FnMut(&Frame)) -> Visit {
        let visit = self.visit_once(interrupt, 0, &mut on_frame);
        let is_stillborn = visit.frames.is_empty() && visit.failure.is_some() && visit.took < self.time_limit;
        if !is_stillborn || visit.interrupted {
            return visit;
        }
        self.visit_once(interrupt, 1, &mut on_frame)
    }

    /// Boots on one of several days, which differ only in their date.
    fn visit_once(&self, interrupt: &Interrupt, day: u32, on_frame: &mut impl FnMut(&Frame)) -> Visit {
        let start = Instant::now();
        let (kernel, initramfs, log) = (&self.kernel.path, self.initramfs, &self.log);
        let machine = Machine { accel: self.accel, cores: self.cores, kernel, initramfs, log, day };
        let mut visit = Visit { frames: Vec::new(), failure: None, interrupted: false, took: Duration::ZERO };
        let guest = match machine.boot() {
            Ok(guest) => guest,
            Err(error) => return Visit { failure: Some(error.to_string()), ..visit },
        };
        let (mut decoder, mut told) = (Decoder::new(self.frames_max), None);
        let mut looked = start;
        let ended = loop {
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                if fs::metadata(log).is_ok_and(|log| log.len() > CONSOLE_MAX) {
                    break Some(format!("the guest's console is larger than {} MiB", CONSOLE_MAX >> 20));
                }
            }
            if interrupt.is_raised() {
                visit.interrupted = true;
                break Some("interrupted".to_owned());
            }
            if start.elapsed() > self.time_limit {
                break Some(format!("the guest did not end within {} s", self.time_limit.as_secs()));
            }
            let bytes = match guest.wait(LOOK_EVERY) {
                News::Bytes(bytes) => bytes,
                News::Nothing => continue,
                News::Over => break None,
            };
            for frame in decoder.push(&bytes) {
                on_frame(&frame);
                match frame.kind {
                    Kind::Failure => told = Some(String::from_utf8_lossy(&frame.bytes).into_owned()),
                    // Whoever wanted them has received them.
                    Kind::Row => {}
                    _ => visit.frames.push(frame),
                }
            }
            // How long a machine takes to power off does not matter, and some hang in it. After an error, nothing
            // that arrives is of use.
            if decoder.is_whole() || decoder.is_broken() {
                break None;
            }
        };
        drop(guest);
        let cut = decoder.finish().err().map(|error| error.to_string());
        visit.failure = told.or_else(|| ended.or(cut).map(|reason| self.with_console(&reason)));
        visit.took = start.elapsed();
        visit
    }

    /// The reason, with the last lines of the console.
    fn with_console(&self, reason: &str) -> String {
        let log = end_of(&self.log).unwrap_or_default();
        let lines = last_lines(&String::from_utf8_lossy(&log));
        if lines.is_empty() {
            return format!("{reason}; the console is empty");
        }
        format!("{reason}; the console ends with: {}", lines.join(" | "))
    }
}

/// The end of a file.
fn end_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(CONSOLE_READ);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(CONSOLE_READ).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The lines that say most about a kernel's end: from a panic on, if there is one, else the last ones.
fn last_lines(console: &str) -> Vec<String> {
    let clean = |line: &str| -> String {
        let line = line.trim();
        // A time stamp is useless here.
        let text = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(line, |(_, text)| text);
        text.chars().filter(|&c| !is_control(c)).take(LINE_MAX).collect()
    };
    let lines: Vec<String> = console.lines().map(clean).filter(|line| !line.is_empty()).collect();
    let panic = lines.iter().position(|line| line.contains("Kernel panic"));
    let start = panic.unwrap_or(lines.len().saturating_sub(LAST_LINES));
    lines.into_iter().skip(start).take(LAST_LINES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_shown_and_otherwise_the_end() {
        let panic = "[    0.1] one\r\n[    0.2] Kernel panic - not syncing: no init\r\n[    0.3] CPU: 0\n";
        assert_eq!(last_lines(panic), ["Kernel panic - not syncing: no init", "CPU: 0"]);
        let long: String = (0..50).map(|number| format!("[   {number}.0] line {number}\n")).collect();
        assert_eq!(last_lines(&long).first().map(String::as_str), Some("line 44"));
        assert_eq!(last_lines("\n\r\n"), [""; 0]);
    }

    #[test]
    fn of_a_console_without_end_the_end_is_read() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "x".repeat(CONSOLE_READ as usize) + "\nthe end\n";
        fs::write(file.path(), text).expect("room for a MiB");
        let read = end_of(file.path()).expect("it is there");
        assert!(read.len() as u64 == CONSOLE_READ && read.ends_with(b"\nthe end\n"));
    }
}
