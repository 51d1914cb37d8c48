//! Flags of `hpbench search`: its own, and those of a run that mean something here.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::compare::capacity::Sought;
use crate::plan::args::RunArgs;
use crate::plan::command;
use crate::plan::lists::{List, workers};
use crate::plan::values::{amount, percentage, percentage_or_none, seconds};
use crate::stats::search::Goal;
use crate::text::percent;

/// The end of `-h`.
const EXAMPLES: &str = "\
Examples:
  hpbench search                               how much can each backend receive?
  hpbench search --scenario serve --work 5us   and answer, with 5 µs of work on each
  hpbench search --scenario relay --fanout 8   and send on to eight";

/// Heading of the flags that only a search has.
const SEARCH: &str = "What holds";

/// Flags of a run that say nothing about a search, or that it has in another form.
const LEFT_OUT: [&str; 16] = [
    "rate",
    "window",
    "round",
    "fill_core",
    "workers",
    "generators",
    "trials",
    "time",
    "precision",
    "packets",
    "added_ns",
    "resume",
    "hlog",
    "plan",
    "strict",
    "verbose",
];

/// Of the others, those that the short help leaves out.
const NOT_BRIEF: [&str; 3] = ["duration", "cpu", "wait_quiet"];

/// What a search looks for.
#[derive(Clone, Debug, Args)]
pub struct GoalArgs {
    /// Greatest loss, in percent; 0 is none
    ///
    /// The greatest share of the datagrams that may be lost, or queued when the offered load ends, in percent: 0.5% by default. 0 is
    /// the throughput of RFC 2544. Each value of a list is a goal of its own, in one search.
    #[arg(long, value_name = "LIST", default_value = "0.5%", value_parser = Losses::parse, help_heading = SEARCH)]
    pub loss_max: Losses,

    /// Greatest 99th percentile of latency
    ///
    /// The greatest 99th percentile of latency, up to 3600 seconds. Without it, a queue would hide an overload for a while.
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = |text: &str| seconds(text, 1e-6), help_heading = SEARCH)]
    pub p99_max: Duration,

    /// Minutes instead of seconds
    ///
    /// Trials of 1 s, 21 s at a load, and bounds within 0.5%, as FD.io's CSIT tests: minutes for each backend.
    #[arg(long, help_heading = SEARCH)]
    pub thorough: bool,

    /// How near the two bounds come [default: 2%]
    ///
    /// How near the two bounds come, as a share of the upper one [default: 2%, or 0.5% with --thorough].
    #[arg(long, value_name = "PERCENT", value_parser = percentage, help_heading = SEARCH)]
    pub width: Option<f64>,

    /// How long a load is tried in all [default: 3s]
    ///
    /// How long a load is tried in all, up to 3600 seconds; less if the rest can change nothing [default: 3s, or 21s with
    /// --thorough].
    #[arg(long, value_name = "TIME", value_parser = |text: &str| seconds(text, 0.001), help_heading = SEARCH)]
    pub sum: Option<Duration>,

    /// The highest rate to try
    ///
    /// The highest rate to try, in datagrams per second and worker, 1000 to 100000000.
    #[arg(long, value_name = "N", default_value = "100M", value_parser = |text: &str| amount(text, 1000, 100_000_000))]
    #[arg(help_heading = SEARCH, hide_short_help = true)]
    pub rate_max: usize,

    /// Workers: a search for each number
    ///
    /// Workers, each with its own socket, rings, core and generator, 1 to 256; a search for each number for which there are
    /// cores. A..B doubles, as in --batch.
    #[arg(short = 'w', long, value_name = "LIST", default_value = "1", value_parser = workers, help_heading = SEARCH)]
    pub workers: List<usize>,

    /// End after this long at the latest
    ///
    /// End after this long at the latest, up to 3600 seconds, with the bounds known by then.
    #[arg(long, value_name = "TIME", default_value = "20min", value_parser = |text: &str| seconds(text, 0.1))]
    #[arg(help_heading = SEARCH, hide_short_help = true)]
    pub time: Duration,
}

/// What to search, and on what.
#[derive(Clone, Debug)]
pub struct SearchArgs {
    /// What is looked for.
    pub goal: GoalArgs,
    /// What is measured, and how.
    pub run: RunArgs,
}

impl SearchArgs {
    /// What is looked for.
    ///
    /// # Errors
    ///
    /// What cannot be, and what to change.
    pub(crate) fn sought(&self) -> anyhow::Result<Sought> {
        let GoalArgs { loss_max, width, sum, .. } = &self.goal;
        let trial_s = self.trial().as_secs_f64();
        let goal = |&loss: &f64| {
            let usual = if self.goal.thorough { Goal::thorough(loss) } else { Goal::quick(loss) };
            let sum_s = sum.map_or(usual.sum_s.max(trial_s), |sum| sum.as_secs_f64());
            let width = width.unwrap_or(usual.width);
            Goal { initial_trial_s: trial_s, final_trial_s: trial_s, sum_s, width, ..usual }
        };
        let goals: Vec<Goal> = loss_max.0.iter().map(goal).collect();
        for goal in &goals {
            goal.check()
                .map_err(|told| anyhow::anyhow!("--sum {} s with --duration {trial_s} s: {told}", goal.sum_s))?;
        }
        Ok(Sought { goals, p99_max: self.goal.p99_max })
    }

    /// How long a trial is.
    pub fn trial(&self) -> Duration {
        let usual = if self.goal.thorough { Goal::thorough(0.0) } else { Goal::quick(0.0) };
        self.run.duration.unwrap_or(Duration::from_secs_f64(usual.final_trial_s))
    }

    /// The command that repeats the search.
    pub(crate) fn command(&self, matches: &ArgMatches) -> String {
        command::of("hpbench search", &Self::augment_args(Command::new("search")), matches)
    }

    /// Flags of a run that a search has, too.
    fn shared() -> Vec<Arg> {
        let run = RunArgs::augment_args(Command::new("hpbench"));
        let kept = run.get_arguments().filter(|arg| !LEFT_OUT.contains(&arg.get_id().as_str()));
        kept.cloned().collect()
    }
}

impl Args for SearchArgs {
    fn augment_args(command: Command) -> Command {
        let command = GoalArgs::augment_args(command).after_help(EXAMPLES);
        let adjusted = |arg: Arg| match arg.get_id().as_str() {
            "scenario" => {
                let long = "Scenarios: pace (receive), serve (answer), relay (send on copies).";
                arg.default_value("pace").help("pace, serve or relay").long_help(long)
            }
            "duration" => arg
                .help("Measured time of a trial [default: 250ms]")
                .long_help("Measured phase of a trial, up to 3600 seconds [default: 250ms, or 1s with --thorough]."),
            id if NOT_BRIEF.contains(&id) => arg.hide_short_help(true),
            _ => arg,
        };
        Self::shared().into_iter().map(adjusted).fold(command, Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SearchArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let goal = GoalArgs::from_arg_matches(matches)?;
        let mut words: Vec<OsString> = Vec::new();
        for arg in Self::shared() {
            let (id, Some(long)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
            if !arg.get_action().takes_values() {
                words.extend(matches.get_flag(id).then(|| format!("--{long}").into()));
                continue;
            }
            for value in matches.get_raw(id).into_iter().flatten() {
                let mut word = OsString::from(format!("--{long}="));
                word.push(value);
                words.push(word);
            }
        }
        Ok(Self { goal, run: RunArgs::from_words(words)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The values of `--loss-max`, as shares: at least one, in order, none twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Losses(pub Vec<f64>);

impl Losses {
    fn parse(text: &str) -> Result<Self, String> {
        let mut losses: Vec<f64> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let value = percentage_or_none(part)?;
            if losses.contains(&value) {
                return Err(format!("'{part}' names a value that is already in the list"));
            }
            losses.push(value);
        }
        losses.sort_by(f64::total_cmp);
        Ok(Self(losses))
    }
}

/// As on the command line.
impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|&loss| percent(loss)).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cells::Scenario;

    fn parse(words: &str) -> Result<SearchArgs, Error> {
        let command = SearchArgs::augment_args(Command::new("search").no_binary_name(true));
        SearchArgs::from_arg_matches(&command.try_get_matches_from(words.split_whitespace())?)
    }

    #[test]
    fn the_defaults_are_those_that_rows_record() {
        let args = parse("").expect("no flags");
        assert_eq!(args.run.scenario.0, [Scenario::Pace]);
        let sought = args.sought().expect("the defaults");
        assert_eq!(sought.goals, [Goal::quick(0.005)]);
        assert_eq!(sought.to_string(), "loss 0.5% p99 10ms trial 0.25s sum 3s exceed 0.5 width 2%");
        let args = parse("--thorough --loss-max 0.5,0 --p99-max 500us -w 1,2").expect("good flags");
        let sought = args.sought().expect("they can be");
        assert_eq!(sought.goals, [Goal::thorough(0.0), Goal::thorough(0.005)]);
        assert_eq!(sought.to_string(), "loss 0%,0.5% p99 0.5ms trial 1s sum 21s exceed 0.5 width 0.5%");
        assert_eq!(args.goal.workers.0, [1, 2]);
    }

    #[test]
    fn flags_of_a_run_are_those_of_a_search_and_others_are_not() {
        let args =
            parse("--backend uring --scenario serve --work 5us --batch 1..8 -t 0.5 --force -o x.csv").expect("good");
        assert_eq!((args.run.backend.0.len(), args.run.batch.0.len(), args.run.work.0.clone()), (1, 4, vec![5000]));
        assert!(args.run.force && args.run.out.is_some() && args.trial() == Duration::from_millis(500));
        for flags in ["--rate 5", "--trials 3", "--resume", "--precision 1%", "--plan x", "--window 2"] {
            assert!(parse(flags).is_err(), "{flags}");
        }
        for flags in
            ["--loss-max 100", "--loss-max -1", "--loss-max 1,1%", "--loss-max x", "--width 0", "-w 0", "--p99-max 0"]
        {
            assert!(parse(flags).is_err(), "{flags}");
        }
        let refused = parse("-t 4 --sum 3").expect("good flags").sought().expect_err("a trial is too long").to_string();
        assert!(refused.contains("--sum 3") && refused.contains("--duration 4"), "{refused}");
        assert_eq!(parse("-t 4").expect("good flags").sought().expect("one trial a load").goals[0].sum_s, 4.0);
    }
}
