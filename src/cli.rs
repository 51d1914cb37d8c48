//! The command line: which command it is, and what its exit status is.

use std::io;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::console::{Failure, complain, tell};
use crate::plan::args::RunArgs;

/// Compares ways of moving UDP datagrams on Linux.
///
/// Measures recvfrom/sendto (plain), recvmmsg/sendmmsg (mmsg) and io_uring (uring) with one driver, over
/// loopback, and accounts for every datagram. Prints a table and writes a CSV file with a row for each trial.
#[derive(Clone, Debug, Parser)]
#[command(name = "hpbench", version, max_term_width = 100, args_override_self = true)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(
    after_help = "A LIST is one or more values separated by commas; each combination of values is a cell of the plan.\n\
    Exit status: 0 all good, 1 a trial failed or its ledger did not balance, 2 bad usage, 3 compare --fail-on was met,\n    130 or 143 ended by a signal, 141 standard output was closed."
)]
pub struct Cli {
    /// What is run where no command is given.
    #[command(flatten)]
    pub run: RunArgs,

    /// What to do instead.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Commands other than a run.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Tells what this machine and kernel offer, and what spoils measurements on it
    Doctor(crate::commands::doctor::DoctorArgs),
    /// Compares two sets of trials, cell by cell, and says what may be said of their difference
    Compare(crate::commands::compare::args::CompareArgs),
    /// Prints the answer and the table of files again, or a summary of each cell
    Show(crate::commands::show::ShowArgs),
    /// Makes one self-contained page of runs: the conclusion, charts, figures, the environment and the data
    Report(crate::commands::report::args::ReportArgs),
    /// Finds out what difference this machine can resolve, by measuring one that is known and one that is none
    Selftest(crate::commands::selftest::args::SelftestArgs),
    /// Measures the same cells under other kernels, booted in QEMU, and compares the kernels
    Lab(Box<crate::commands::lab::args::LabArgs>),
}

/// The definition of the command line: that of the types, and what the run options of a command have as defaults.
pub fn definition() -> clap::Command {
    Cli::command().mut_subcommand("lab", crate::commands::lab::args::with_defaults)
}

/// Runs the command, and says what its exit status is.
pub fn run() -> ExitCode {
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
        Some(Command::Compare(args)) => crate::commands::compare::run(args),
        Some(Command::Show(args)) => crate::commands::show::run(args),
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
    if error.use_stderr() {
        // It may quote an argument.
        complain(&error.render().ansi().to_string());
        return ExitCode::from(error.exit_code() as u8);
    }
    match error.print() {
        Err(failure) if failure.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(141),
        _ => ExitCode::from(error.exit_code() as u8),
    }
}

fn fail(error: &anyhow::Error, status: u8) -> ExitCode {
    tell!("hpbench: {error:#}");
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }
}
