//! The command: which one it is, and what its exit status is.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::FromArgMatches;
use clap::parser::ValueSource;

use crate::cli::{Cli, Command, definition};
use crate::record::output::OutputError;
use crate::record::resume::ResumeError;

/// Writes a line to standard error; that nobody reads it is no reason to fail.
macro_rules! tell {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($part)*);
    }};
}

pub(crate) use tell;

/// Why the command ends with a status other than that of its trials.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Bad usage, or an impossible request: nothing was run.
    Usage(anyhow::Error),
    /// Something broke.
    Broken(anyhow::Error),
    /// Standard output was closed.
    Closed,
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Closed => Self::Closed,
            error if error.is_usage() => Self::Usage(error.into()),
            error => Self::Broken(error.into()),
        }
    }
}

impl From<ResumeError> for Failure {
    fn from(error: ResumeError) -> Self {
        Self::Usage(error.into())
    }
}

/// Runs the command, and says what its exit status is.
pub fn main() -> ExitCode {
    if crate::commands::lab::guest::is_guest() {
        return crate::commands::lab::guest::run();
    }
    let matches = match definition().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return explain(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let by_default = matches.value_source("scenario") == Some(ValueSource::DefaultValue);
    let result = match &cli.command {
        None => crate::commands::run::run(&cli.run, by_default),
        Some(Command::Doctor(args)) => crate::commands::doctor::run(args),
        Some(Command::Compare(args)) => crate::compare::run(args),
        Some(Command::Report(args)) => crate::commands::report::run(args),
        Some(Command::Selftest(args)) => crate::commands::selftest::run(args),
        Some(Command::Lab(args)) => {
            crate::commands::lab::run(args, matches.subcommand_matches("lab").unwrap_or(&matches))
        }
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(Failure::Usage(error)) => fail(&error, 2),
        Err(Failure::Broken(error)) => fail(&error, 1),
        Err(Failure::Closed) => ExitCode::from(141),
    }
}

/// Prints what clap has to say: that the usage is bad, or the help that was asked for.
fn explain(error: &clap::Error) -> ExitCode {
    match error.print() {
        Err(failure) if !error.use_stderr() && failure.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(141),
        _ => ExitCode::from(error.exit_code() as u8),
    }
}

fn fail(error: &anyhow::Error, status: u8) -> ExitCode {
    tell!("hpbench: {error:#}");
    ExitCode::from(status)
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Closed),
        Err(error) => Err(Failure::Broken(anyhow::Error::new(error).context("cannot write to standard output"))),
    }
}
