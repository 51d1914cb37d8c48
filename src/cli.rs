//! The command line: the commands, and their exit status.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::commands::plan_file;
use crate::console::{Failure, complain, print, tell};
use crate::measure::dispatch::{self, Contestant};
use crate::plan::args::{OUTPUT, RunArgs, help_flag};
use crate::plan::command;

/// Compares ways of moving UDP datagrams on Linux
///
/// Measures recvfrom/sendto (plain), recvmmsg/sendmmsg (mmsg) and io_uring (uring) with one driver, over
/// loopback, and accounts for every datagram. Prints a table and writes a CSV file with a row for each trial.
#[derive(Clone, Debug, Parser)]
#[command(name = "hpbench", version = command::version(), max_term_width = 100, args_override_self = true)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(after_help = EXAMPLES, after_long_help = [EXAMPLES, "\n\n", MORE_EXAMPLES, "\n\n", VALUES].concat())]
pub struct Cli {
    /// The options of a run, which is the default command.
    #[command(flatten)]
    pub run: RunArgs,

    /// Another command.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The end of `-h`.
const EXAMPLES: &str = "\
Examples:
  hpbench                                      all backends: under a minute
  hpbench --scenario drain,send --batch 1..256 from which batch does it pay?";

const MORE_EXAMPLES: &str = "\
More examples:
  hpbench --backend uring,uring:single,mmsg    two ways of using io_uring, and recvmmsg
  hpbench --scenario pace --rate 20k..200k --wait spin,block
                                               latency under load, with workers that spin or sleep
  hpbench --precision 1% --time 60             as long as it takes, but at most a minute
  hpbench --plan run.csv -o again.csv          the plan of an earlier run again";

const VALUES: &str = "\
A LIST is one or more values separated by commas; each combination of values is a cell of the plan. Numbers may end in k, M,
G (thousands) or Ki, Mi, Gi; times are seconds, or end in ns, us, ms, s, min or h. A..B is A, twice A and so on, and B; of cores,
each from A to B.
Exit status: 0 all good, 1 a trial failed or its ledger did not balance, 2 bad usage, 3 compare --fail-on was met,
    130 or 143 ended by a signal, 141 standard output was closed.";

/// Commands other than a run.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// What this machine and kernel offer, and what spoils measurements
    ///
    /// Reports what this machine and kernel offer, and what spoils measurements on it.
    Doctor(crate::commands::doctor::DoctorArgs),
    /// The highest rate that each backend can take
    ///
    /// Finds the highest rate that each backend can take without losing more than is allowed, by MLRsearch (RFC 9971).
    Search(Box<crate::commands::search::args::SearchArgs>),
    /// Whether runs differ, cell by cell
    ///
    /// Compares two sets of trials, cell by cell, and says what can be concluded about their difference.
    Compare(crate::commands::compare::args::CompareArgs),
    /// The answer and the table of recorded files
    ///
    /// Prints the answer and the table of recorded files again, or a summary of each cell.
    Show(crate::commands::show::ShowArgs),
    /// A self-contained page about runs, with charts
    ///
    /// Writes one self-contained page about runs: the answer, charts, figures, the environment and the data.
    Report(crate::commands::report::args::ReportArgs),
    /// What difference this machine can resolve
    ///
    /// Finds out what difference this machine can resolve, by measuring a known one and none at all.
    Selftest(crate::commands::selftest::args::SelftestArgs),
    /// The same cells under other kernels, in QEMU
    ///
    /// Measures the same cells under other kernels, booted in QEMU, and compares the kernels.
    Lab(Box<crate::commands::lab::args::LabArgs>),
    /// The peer of another hpbench, for --peer
    ///
    /// Works as the peer of another hpbench, which starts it with --peer and speaks with it over standard input and output. It
    /// ends with it: it sends only what it is asked for, only to whom has asked for it, and nothing once it has heard nothing
    /// for three seconds.
    // Not in the list of commands: hpbench calls it.
    #[command(hide = true)]
    Agent(crate::commands::agent::AgentArgs),
    /// Completions of these flags for a shell
    ///
    /// Prints a script that completes commands and flags in a shell; put it where the shell looks for completions.
    #[command(after_help = "Example:\n  hpbench completions bash > ~/.local/share/bash-completion/completions/hpbench")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The definition of the command line: that of the types, with each command's defaults of the run options.
pub fn definition() -> clap::Command {
    let version = Arg::new("version").short('V').long("version").action(ArgAction::Version);
    Cli::command()
        .mut_subcommand("lab", crate::commands::lab::args::with_defaults)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .mut_subcommands(|command| match command.get_name() {
            "lab" | "search" => command.arg(help_flag().help_heading(OUTPUT)),
            _ => command.arg(help_flag()),
        })
        .arg(help_flag().help_heading(OUTPUT))
        .arg(version.help_heading(OUTPUT).help("Version and revision"))
}

/// Reads the command line, and the plan file that it names.
fn matches(words: &[OsString]) -> Result<ArgMatches, Ending> {
    let matches = definition().try_get_matches_from(words)?;
    let lab = matches.subcommand_matches("lab");
    let given = lab.unwrap_or(&matches);
    let Some(path) = given.try_get_one::<PathBuf>("plan").ok().flatten() else { return Ok(matches) };
    let planned = plan_file::arguments(path, given).map_err(Failure::Usage)?;
    let (head, rest) = words.split_at(if lab.is_some() { 2 } else { 1 });
    Ok(definition().try_get_matches_from(head.iter().chain(&planned).chain(rest))?)
}

/// Why a command ends before it starts.
enum Ending {
    /// Bad usage, or a request for help.
    Clap(clap::Error),
    Failure(Failure),
}

impl From<clap::Error> for Ending {
    fn from(error: clap::Error) -> Self {
        Self::Clap(error)
    }
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Runs the command, and returns its exit status.
pub fn run() -> ExitCode {
    run_with(&[])
}

/// As [`run`], with backends of other crates beside those of hpbench: `main` of a crate that brings some.
///
/// # Panics
///
/// If it was called before, or two backends have the same name.
pub fn run_with(contestants: &[Contestant]) -> ExitCode {
    dispatch::enter(contestants);
    if crate::commands::lab::guest::is_guest() {
        return crate::commands::lab::guest::run();
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let read = matches(&words).and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (mut cli, matches) = match read {
        Ok(read) => read,
        Err(Ending::Clap(error)) => return explain(&error),
        Err(Ending::Failure(failure)) => return end(Err(failure)),
    };
    cli.run.command = command::command(&matches);
    let by_default = matches.value_source("scenario") == Some(ValueSource::DefaultValue);
    if let (Some(Command::Search(args)), Some(matches)) = (&mut cli.command, matches.subcommand_matches("search")) {
        args.run.command = args.command(matches);
    }
    let result = match &cli.command {
        None => crate::commands::run::run(&cli.run, by_default),
        Some(Command::Doctor(args)) => crate::commands::doctor::run(args),
        Some(Command::Search(args)) => crate::commands::search::run(args),
        Some(Command::Compare(args)) => crate::commands::compare::run(args),
        Some(Command::Show(args)) => crate::commands::show::run(args),
        Some(Command::Report(args)) => crate::commands::report::run(args),
        Some(Command::Selftest(args)) => crate::commands::selftest::run(args),
        Some(Command::Lab(args)) => {
            crate::commands::lab::run(args, matches.subcommand_matches("lab").unwrap_or(&matches))
        }
        Some(Command::Agent(args)) => crate::commands::agent::run(args),
        Some(Command::Completions { shell }) => complete(*shell),
    };
    end(result)
}

/// Prints the script that completes the command line in a shell.
fn complete(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "hpbench", &mut script);
    print(&String::from_utf8_lossy(&script)).map(|()| 0)
}

fn end(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(Failure::Usage(error)) => fail(&error, 2),
        Err(Failure::Broken(error)) => fail(&error, 1),
        Err(Failure::Closed) => ExitCode::from(141),
    }
}

/// Prints clap's message: bad usage, or the help that was requested.
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

    /// The full help of a command as a terminal of 80 columns shows it.
    fn help(name: &str, is_long: bool) -> String {
        let mut all = definition().term_width(80);
        all.build();
        let command = if name.is_empty() { &mut all } else { all.find_subcommand_mut(name).expect("a command") };
        let mut command = command.clone().term_width(80);
        if is_long { command.render_long_help() } else { command.render_help() }.to_string()
    }

    #[test]
    fn the_short_help_fits_on_a_screen_and_the_long_one_has_every_flag() {
        let names = ["", "search", "compare", "show", "report", "doctor", "selftest", "lab", "agent", "completions"];
        for name in names {
            let (short, long) = (help(name, false), help(name, true));
            assert!(short.lines().count() <= 50, "{name}: {} lines\n{short}", short.lines().count());
            assert!(short.lines().all(|line| line.chars().count() <= 80), "{name}:\n{short}");
            assert!(short.contains("Example"), "{name}:\n{short}");
            let all = definition();
            let command = if name.is_empty() { &all } else { all.find_subcommand(name).expect("a command") };
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let flag = arg.get_long().map_or_else(|| "FILE".to_owned(), |long| format!("--{long}"));
                assert!(name == "completions" || long.contains(&flag), "{name}: {flag} is not in\n{long}");
                let heading = arg.get_help_heading();
                assert!(!["", "lab", "search"].contains(&name) || heading.is_some(), "{name}: {flag} is in no group");
            }
        }
        assert!(definition().get_subcommands().all(|command| names.contains(&command.get_name())));
    }

    #[test]
    fn completions_have_commands_and_flags() {
        for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut definition(), "hpbench", &mut script);
            let script = String::from_utf8(script).expect("UTF-8");
            assert!(
                ["selftest", "precision", "wait-quiet", "fail-on"].iter().all(|word| script.contains(word)),
                "{shell}"
            );
        }
    }

    #[test]
    fn what_is_recorded_of_a_command_is_its_plan() {
        let recorded = |words: &str| {
            let words = ["hpbench"].into_iter().chain(words.split_whitespace());
            command::command(&definition().try_get_matches_from(words).expect("good flags"))
        };
        assert_eq!(recorded(""), "hpbench");
        let spaced = ["hpbench", "--batch", " 1, 2"];
        let matches = definition().try_get_matches_from(spaced).expect("good flags");
        assert_eq!(command::command(&matches), "hpbench --batch '1, 2'");
        assert_eq!(
            recorded("-o x.csv --batch 1..8 -w 2 --handoff --quiet --label a --batch 16 -t 5ms --force"),
            "hpbench --batch 16 --workers 2 --handoff --duration 5ms"
        );
    }
}
