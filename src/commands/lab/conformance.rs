//! `hpbench lab --conformance`: the conformance suite of every backend, inside each kernel.

use std::path::Path;

use super::boot::Visit;
use super::guest::plan::{GuestPlan, Task};
use super::guest_binary;
use super::stream::Kind;
use super::visits::{Visits, tests_log};
use crate::console::{Failure, print, printable_path, tell, usage};

/// If a guest has one core, parallel tests would only wait for each other.
const TEST_ARGS: [&str; 2] = ["--test-threads=1", "--nocapture"];

/// The most lines that the tests write, besides the guest's own messages.
const LINES_MAX: usize = 100_000;

/// Runs the suite under each kernel, and prints what passed, failed and was skipped.
pub(super) fn run(visits: &Visits<'_>, checkout: Option<&Path>) -> Result<u8, Failure> {
    let tests = guest_binary::conformance(checkout).map_err(usage)?;
    let plan = GuestPlan { task: Task::Tests(TEST_ARGS.map(str::to_owned).to_vec()), ..visits.plan.clone() };
    let made = visits.make(&visits.prepare(&plan, Some(&tests))?, LINES_MAX, |_, _| ());
    let mut good = true;
    for (kernel, visit) in visits.kernels.iter().zip(&made) {
        if visit.interrupted {
            continue;
        }
        let tally = Tally::of(&lines(visit));
        good &= tally.is_good() && visit.failure.is_none();
        let said = tests_log(visits.logs, kernel);
        keep_lines(&said, visit);
        print(&tally.render(&kernel.release, visit.failure.as_deref(), &said))?;
    }
    visits.tell_logs();
    Ok(visits.interrupt.exit_status().unwrap_or(u8::from(!good)))
}

fn lines(visit: &Visit) -> Vec<String> {
    let lines = visit.frames.iter().filter(|frame| frame.kind == Kind::Line);
    lines.map(|frame| String::from_utf8_lossy(&frame.bytes).into_owned()).collect()
}

/// Saves the output of the tests.
fn keep_lines(path: &Path, visit: &Visit) {
    if let Err(error) = std::fs::write(path, lines(visit).join("\n") + "\n") {
        tell!("warning: cannot write {}: {error}", printable_path(path));
    }
}

/// The results of the tests of one kernel.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    /// Why tests were skipped, and how many: the test runner counts a skipped test as passed.
    skipped: Vec<(String, usize)>,
    /// Whether the test runner finished.
    whole: bool,
}

impl Tally {
    /// Reads the output of the test runner: `test NAME ... ok`, possibly with a test's own output in between, and what
    /// tests write themselves: `SKIPPED: reason [NAME]`.
    fn of(lines: &[String]) -> Self {
        let mut tally = Self::default();
        let (mut skipped, mut running) = (Vec::new(), None);
        for line in lines {
            if line.starts_with("test result: ") {
                tally.whole = true;
                break;
            }
            let mut rest = line.as_str();
            if let Some((name, behind)) = line.strip_prefix("test ").and_then(|test| test.split_once(" ... ")) {
                (running, rest) = (Some(name.to_owned()), behind);
            }
            if let Some((_, said)) = rest.split_once("SKIPPED: ") {
                let (reason, test) = said.rsplit_once(" [").unwrap_or((said, ""));
                let test = test.trim_end_matches(']').to_owned();
                if !skipped.iter().any(|(_, known)| *known == test) {
                    skipped.push((reason.to_owned(), test));
                }
            }
            match (rest.trim(), &running) {
                ("ok", Some(name)) => {
                    tally.passed += usize::from(!skipped.iter().any(|(_, skipped)| skipped == name));
                    running = None;
                }
                ("FAILED", Some(name)) => {
                    tally.failed.push(name.clone());
                    running = None;
                }
                _ => {}
            }
        }
        tally.failed.extend(running);
        for (reason, _) in skipped {
            match tally.skipped.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => tally.skipped.push((reason, 1)),
            }
        }
        tally
    }

    fn is_good(&self) -> bool {
        self.whole && self.failed.is_empty() && self.passed > 0
    }

    fn render(&self, release: &str, failure: Option<&str>, said: &Path) -> String {
        let skipped: usize = self.skipped.iter().map(|(_, count)| count).sum();
        let mut text = format!("{release}: {} passed, {} failed, {skipped} skipped\n", self.passed, self.failed.len());
        for name in &self.failed {
            text += &format!("  failed: {name}\n");
        }
        if !self.failed.is_empty() {
            text += &format!("  their output is in {}\n", printable_path(said));
        }
        for (reason, count) in &self.skipped {
            text += &format!("  skipped {count}: {reason}\n");
        }
        match failure {
            Some(failure) => text + &format!("  the visit failed: {failure}\n"),
            None if !self.whole => text + "  the tests did not finish\n",
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str) -> Tally {
        Tally::of(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn tests_pass_fail_or_are_skipped() {
        let tally = tally(
            "running 5 tests\n\
             test null::a ... ok\n\
             test uring::a ... SKIPPED: io_uring lacks x [uring::a]\n\
             ok\n\
             test uring::b ... SKIPPED: io_uring lacks x [uring::b]\n\
             ok\n\
             test mmsg::a ... \n\
             thread 'mmsg::a' panicked at x.rs:1:\n\
             FAILED\n\
             test plain::a ... SKIPPED: no ::1 [plain::a]\n\
             SKIPPED: no ::1 [plain::a]\n\
             ok\n\
             failures:\n\
             test result: FAILED. 4 passed; 1 failed\n",
        );
        assert_eq!((tally.passed, tally.failed.as_slice()), (1, &["mmsg::a".to_owned()][..]));
        assert_eq!(tally.skipped, [("io_uring lacks x".to_owned(), 2), ("no ::1".to_owned(), 1)]);
        assert!(tally.whole && !tally.is_good());
        let text = tally.render("6.1", None, Path::new("logs/6.1.tests"));
        assert!(text.contains("6.1: 1 passed, 1 failed, 3 skipped") && text.contains("skipped 2: io_uring"), "{text}");
        assert!(text.contains("failed: mmsg::a\n  their output is in logs/6.1.tests\n"), "{text}");
    }

    #[test]
    fn a_test_that_never_ended_failed() {
        let tally = tally("test null::a ... ok\ntest uring::a ... \n");
        assert_eq!((tally.passed, tally.failed.as_slice(), tally.whole), (1, &["uring::a".to_owned()][..], false));
        assert!(tally.render("6.1", None, Path::new("6.1.tests")).contains("did not finish"));
    }
}
