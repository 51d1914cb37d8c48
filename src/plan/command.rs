//! The command of a run, as its rows record it, and the version of the program that runs it.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use crate::console::printable;
use crate::plan::args::RunArgs;

/// The version of this program, with its revision if known.
pub(crate) fn version() -> &'static str {
    match env!("HPBENCH_GIT_REV") {
        "" => env!("CARGO_PKG_VERSION"),
        _ => concat!(env!("CARGO_PKG_VERSION"), " (", env!("HPBENCH_GIT_REV"), ")"),
    }
}

/// Flags about files, about what is shown, and about this machine.
pub(crate) const OF_THE_HOST: [&str; 12] = [
    "out",
    "append",
    "resume",
    "force",
    "hlog",
    "plan",
    "label",
    "strict",
    "dry_run",
    "quiet",
    "verbose",
    "wait_quiet",
];

/// Flags that tell the runs of an experiment apart. Neither these nor those of the host are part of a plan.
const OF_AN_EXPERIMENT: [&str; 3] = ["state", "pair", "added_ns"];

/// The command that repeats the plan: the flags that were given, by their long names.
pub(crate) fn command(matches: &ArgMatches) -> String {
    of("hpbench", &RunArgs::augment_args(clap::Command::new("hpbench")), matches)
}

/// The same of a program and its verb, which have these options.
pub(crate) fn of(program: &str, options: &clap::Command, matches: &ArgMatches) -> String {
    let mut words = vec![program.to_owned()];
    for option in options.get_arguments() {
        let (id, Some(long)) = (option.get_id().as_str(), option.get_long()) else { continue };
        let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
        if OF_THE_HOST.contains(&id) || OF_AN_EXPERIMENT.contains(&id) || !is_given {
            continue;
        }
        words.push(format!("--{long}"));
        let values = matches.get_raw(id).into_iter().flatten().filter(|_| option.get_action().takes_values());
        words.extend(values.map(|value| quoted(&printable(value.to_string_lossy().trim()))));
    }
    words.join(" ")
}

/// A word, quoted for a shell if needed.
fn quoted(word: &str) -> String {
    // `shlex` also quotes commas and the like, which makes lists unreadable.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:+/=@%".contains(c);
    let is_word = !word.is_empty() && word.chars().all(is_plain);
    if is_word { word.to_owned() } else { shlex::try_quote(word).unwrap_or_default().into_owned() }
}
