//! The flags of `hpbench lab`, and the run options that do not work in a guest.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::{ArgMatches, Args, Command};
use hpbench_backends::{Addressing, Choice};

use super::accel::Accel;
use crate::plan::args::RunArgs;
use crate::plan::cells::{Cell, Scenario, Wait};
use crate::plan::command::OF_THE_HOST;
use crate::plan::request;
use crate::plan::values::{percentage, time};

/// The end of `-h`.
const EXAMPLES: &str = "\
Example, after scripts/fetch-kernels:
  hpbench lab --kernel 6.1 6.12 --batch 1,32";

/// A week, in seconds.
const TIMEOUT_MAX: f64 = 604_800.0;

/// Heading of the flags that only the lab has.
const LAB: &str = "Kernels";

/// Flags of `hpbench lab`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LabArgs {
    /// Paths of images, or versions such as 6.12
    ///
    /// Kernels: paths of images (vmlinuz), or versions that scripts/fetch-kernels has downloaded, e.g. 6.12.
    #[arg(long, help_heading = LAB, value_name = "PATH|VERSION", num_args = 1.., value_delimiter = ',', required = true)]
    pub kernel: Vec<String>,

    /// How the guests are run
    #[arg(long, help_heading = LAB, value_name = "HOW", default_value = "icount")]
    pub accel: Accel,

    /// Guests that run at the same time [default: the number of cores; with --conformance, half of it]
    #[arg(long, help_heading = LAB, hide_short_help = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// How long a guest may take, from its start to its end [default: 600 seconds; with --conformance, 1800]
    #[arg(long, help_heading = LAB, hide_short_help = true, value_name = "TIME")]
    #[arg(value_parser = |text: &str| time(text, 1.0, TIMEOUT_MAX))]
    pub timeout: Option<Duration>,

    /// A statically linked hpbench for the guests [default: built from this checkout]
    #[arg(long, help_heading = LAB, hide_short_help = true, value_name = "PATH")]
    pub guest: Option<PathBuf>,

    /// The smallest change to report
    ///
    /// The smallest change between neighbouring kernels to report, over 0% and below 100%.
    #[arg(long, help_heading = LAB, value_name = "PERCENT", default_value = "1%", value_parser = percentage)]
    pub threshold: f64,

    /// Run the backends' own tests in each kernel instead
    ///
    /// Run the conformance suite of the backends inside each kernel instead of trials; nothing is measured, and guests have
    /// two cores.
    #[arg(long, help_heading = LAB)]
    pub conformance: bool,

    /// The run options of the guests.
    #[command(flatten)]
    pub run: RunArgs,
}

impl LabArgs {
    /// How long a guest may take.
    pub fn time_limit(&self) -> Duration {
        let default = if self.conformance { 1800 } else { 600 };
        self.timeout.unwrap_or(Duration::from_secs(default))
    }

    /// How the guests are run. Tests measure nothing, so their instructions are not counted.
    pub fn accel(&self) -> Accel {
        if self.conformance && self.accel == Accel::Icount { Accel::Tcg } else { self.accel }
    }

    /// How many cores a guest has. One is not enough for tests: a kernel thread that polls a ring (`sqpoll`) and a test
    /// that waits for it would alternate every timer tick.
    pub fn guest_cores(&self) -> usize {
        if self.conformance { 2 } else { 1 }
    }
}

/// Gives the run options of the lab the defaults that suit a guest: one thread, a fixed seed, and trials that are
/// short, because they are exact.
pub fn with_defaults(lab: Command) -> Command {
    // Flags that are refused, or have no effect, in a guest.
    const OF_NO_USE: [&str; 9] =
        ["wait", "rate", "workers", "time", "precision", "cpu", "wait_quiet", "resume", "verbose"];
    let lab = OF_NO_USE.into_iter().fold(lab, |lab, name| lab.mut_arg(name, |arg| arg.hide_short_help(true)));
    [("scenario", "drain,send"), ("trials", "3"), ("seed", "1"), ("duration", "0.05"), ("warmup", "0.01")]
        .into_iter()
        .fold(lab, |lab, (name, value)| lab.mut_arg(name, |arg| arg.default_value(value)))
        // Nothing is timed that a shared table would slow down, and all recorded runs have this.
        .mut_arg("fd_table", |arg| arg.default_value("own"))
        .mut_arg("seed", |arg| arg.help("Decides the order of cells within a block"))
}

/// The cells that a guest runs.
///
/// # Errors
///
/// As [`request::cells`].
pub(super) fn cells(args: &RunArgs) -> anyhow::Result<Vec<Cell>> {
    let mut cells = request::cells(args, false)?;
    // Impossible modes are left out if they were not named; `check` refuses them if they were.
    cells.retain(|cell| !cell.has_kernel_thread());
    Ok(cells)
}

/// Refuses what a guest cannot do with one core, no network and none of this machine's files.
///
/// # Errors
///
/// The flag, and why.
pub(super) fn check(args: &LabArgs) -> anyhow::Result<()> {
    const ONE_CORE: &str = "a guest of the lab has one core";
    let run = &args.run;
    if let Some(scenario) = run.scenario.0.iter().find(|scenario| !scenario.has_rounds()) {
        bail!(
            "--scenario {scenario} needs a worker and a generator at the same time, and {ONE_CORE}, on which threads \
             that spin would only wait for each other; the lab has {} and {}",
            Scenario::Drain,
            Scenario::Send
        );
    }
    ensure!(!run.handoff, "--handoff gives the app a thread and a core of its own, and {ONE_CORE}; leave it out");
    ensure!(run.workers == 1, "--workers {}: each needs a core of its own, and {ONE_CORE}; leave it out", run.workers);
    ensure!(run.generators.is_none(), "--generators: they need their own cores, and {ONE_CORE}; leave it out");
    ensure!(
        run.cpu.is_none() && run.generator_cpu.is_none(),
        "--cpu and --generator-cpu choose between cores, and {ONE_CORE}; leave them out"
    );
    ensure!(run.fifo.is_none(), "--fifo would keep everything else off a guest's only core; leave it out");
    ensure!(
        run.wait.as_ref().is_none_or(|wait| !wait.0.contains(&Wait::Block)),
        "--wait block: the scenarios of the lab never wait, because their queues are full; leave it out"
    );
    let mut named = run.backend.0.iter().filter(|asked| !asked.is_one_of_all).map(|asked| asked.choice);
    let thread = |choice: Choice| choice.resolve(Addressing::Connected).ok()?.kernel_thread();
    if let Some((kind, mode)) = named.find_map(|choice| thread(choice).map(|mode| (choice.kind(), mode))) {
        let mode = mode.name;
        bail!("{kind}:{mode} gives a kernel thread a core of its own, and {ONE_CORE}; leave it out");
    }
    ensure!(!run.is_open_ended(), "--time and --precision: counts are exact and need few trials; use --trials");
    ensure!(run.bind.ip().is_loopback(), "--bind {}: a guest's only network is loopback; leave it out", run.bind);
    ensure!(run.peer.is_none(), "--peer: a guest has no other host to speak with; leave it out");
    ensure!(run.hlog.is_none(), "--hlog holds latencies, and no scenario of the lab has any; leave it out");
    ensure!(!run.resume, "--resume: a guest runs the whole plan of its kernel; use --append, or name fewer kernels");
    Ok(())
}

/// The arguments with which hpbench runs in a guest: the run options among `matches`, with their effective
/// values.
pub(super) fn guest_args(matches: &ArgMatches) -> Vec<String> {
    let options = RunArgs::augment_args(Command::new("hpbench"));
    let mut args = Vec::new();
    for option in options.get_arguments() {
        let (id, Some(long)) = (option.get_id().as_str(), option.get_long()) else { continue };
        // These exclude each other.
        let is_overruled = id == "duration" && matches.contains_id("packets");
        if OF_THE_HOST.contains(&id) || is_overruled {
            continue;
        }
        if !option.get_action().takes_values() {
            args.extend(matches.get_flag(id).then(|| format!("--{long}")));
            continue;
        }
        let values = matches.get_raw(id).into_iter().flatten();
        args.extend(values.map(|value| format!("--{long}={}", value.to_string_lossy())));
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command as Subcommand, definition};
    use clap::{FromArgMatches, Parser};

    fn parse(args: &str) -> (LabArgs, Vec<String>) {
        let words = ["hpbench", "lab", "--kernel", "6.1"].into_iter().chain(args.split_whitespace());
        let matches = definition().try_get_matches_from(words).expect("good flags");
        let Some(Subcommand::Lab(lab)) = Cli::from_arg_matches(&matches).expect("good flags").command else {
            panic!("another command")
        };
        (*lab, guest_args(matches.subcommand_matches("lab").expect("it is this command")))
    }

    fn in_guest(args: &[String]) -> RunArgs {
        Cli::try_parse_from(std::iter::once(&"hpbench".to_owned()).chain(args)).expect("good flags").run
    }

    #[test]
    fn the_lab_has_defaults_of_its_own_and_hands_them_to_the_guest() {
        let (lab, args) = parse("");
        assert_eq!((lab.run.scenario.0.len(), lab.run.trials, lab.run.seed), (2, 3, Some(1)));
        let run = in_guest(&args);
        assert_eq!((run.scenario, run.trials, run.seed), (lab.run.scenario, 3, Some(1)));
        assert_eq!(run.duration, Some(Duration::from_millis(50)));
        assert_eq!(run.fd_table.0, [crate::plan::cells::FdTable::Own]);
    }

    #[test]
    fn what_is_asked_for_reaches_the_guest_and_what_concerns_the_host_does_not() {
        let (_, args) = parse("--batch 1,8 --packets 4096 --backend uring --verify full -o x.csv --force --quiet");
        assert!(!args.iter().any(|arg| arg.contains("x.csv") || arg.contains("force") || arg.contains("quiet")));
        let run = in_guest(&args);
        assert_eq!((run.batch.0, run.packets, run.backend.0.len()), (vec![1, 8], Some(4096), 1));
        assert_eq!(run.verify, crate::plan::args::VerifyArg::Full);
    }

    #[test]
    fn kernels_are_named_one_by_one_or_in_a_list() {
        let words = ["hpbench", "lab", "--kernel", "5.10,6.1", "/boot/vmlinuz", "--batch", "1"];
        let matches = definition().try_get_matches_from(words).expect("good flags");
        let Some(Subcommand::Lab(lab)) = Cli::from_arg_matches(&matches).expect("good flags").command else { panic!() };
        assert_eq!(lab.kernel, ["5.10", "6.1", "/boot/vmlinuz"]);
    }

    #[test]
    fn what_needs_more_than_a_guest_has_is_refused_with_the_reason() {
        for (flags, told) in [
            ("--scenario flood", "one core"),
            ("--scenario drain,pace", "pace"),
            ("--scenario echo", "one core"),
            ("--handoff", "one core"),
            ("-w 2", "one core"),
            ("--generators 2", "one core"),
            ("--cpu 0", "one core"),
            ("--fifo 1", "only core"),
            ("--backend plain,uring:sqpoll", "one core"),
            ("--wait block", "never wait"),
            ("--bind 10.0.0.1", "loopback"),
            ("--time 5", "--trials"),
            ("--hlog x", "latencies"),
            ("--resume -o x", "--append"),
        ] {
            let refused = check(&parse(flags).0).expect_err(flags).to_string();
            assert!(refused.contains(told), "{flags}: {refused}");
        }
        check(&parse("--bind ::1 --verify full").0).expect("fine");
    }
}
