//! A test binary in a guest.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::plan::TESTS_PATH;
use super::report::Report;

/// Runs the test binary with `args`, and reports each line that it writes.
pub(super) fn run(args: &[String], report: &mut Report) -> anyhow::Result<()> {
    let (lines, output) = std::io::pipe().context("cannot create a pipe")?;
    let mut command = Command::new(TESTS_PATH);
    command.args(args).current_dir("/tmp").stdin(Stdio::null());
    command.stdout(output.try_clone().context("cannot copy a descriptor")?).stderr(output);
    let mut child = command.spawn().with_context(|| format!("cannot run {TESTS_PATH}"))?;
    // The command holds the write end of the pipe.
    drop(command);
    for line in BufReader::new(lines).split(b'\n') {
        let line = line.context("cannot read the output of the tests")?;
        report.line(&String::from_utf8_lossy(&line))?;
    }
    child.wait().context("cannot wait for the tests").map(drop)
}
