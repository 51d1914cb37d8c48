//! `--plan FILE`: the flags of a run from a file, in TOML or with an earlier run's rows. They become arguments, and are
//! parsed like those of the command line, so every new flag also works here.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};
use toml::Value;

use crate::console::{printable, printable_path};
use crate::plan::args::RunArgs;
use crate::record::rows::{self, ReadError};
use crate::text::did_you_mean;

/// The longest plan that is read, in bytes.
const LENGTH_MAX: u64 = 1 << 20;

/// The first bytes of a run's CSV.
const CSV: &[u8] = b"schema,";

/// The arguments that a plan file stands for, without those that the command line overrides: flags that are also in
/// `given`, or that exclude one of these.
///
/// # Errors
///
/// What is wrong with the file: it cannot be read, or has a key or a value that no flag takes.
pub(crate) fn arguments(path: &Path, given: &ArgMatches) -> anyhow::Result<Vec<OsString>> {
    let mut options = RunArgs::augment_args(Command::new("hpbench").no_binary_name(true));
    options.build();
    let name = printable_path(path);
    let settings = settings(path, &options).with_context(|| name.clone())?;
    let words = |settings: &[Setting<'_>]| settings.iter().map(|it| OsString::from(&it.word)).collect::<Vec<_>>();
    if let Err(error) = options.clone().try_get_matches_from(words(&settings)) {
        let told = error.to_string();
        let told = told.strip_prefix("error: ").unwrap_or(&told);
        bail!(
            "{name}: {}",
            told.split("\n\nUsage:").next().unwrap_or(told).split("\n\nFor more").next().unwrap_or(told)
        );
    }
    let is_given = |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let excludes = |one: &Arg, other: &Arg| options.get_arg_conflicts_with(one).contains(&other);
    let given: Vec<&Arg> = options.get_arguments().filter(|arg| is_given(arg)).collect();
    let is_overruled = |it: &Setting<'_>| {
        given.iter().any(|arg| arg.get_id() == it.arg.get_id() || excludes(arg, it.arg) || excludes(it.arg, arg))
    };
    Ok(words(&settings.into_iter().filter(|it| !is_overruled(it)).collect::<Vec<_>>()))
}

/// A flag, and the word that sets it.
#[derive(Clone, Debug)]
struct Setting<'a> {
    arg: &'a Arg,
    word: String,
}

fn settings<'a>(path: &Path, options: &'a Command) -> anyhow::Result<Vec<Setting<'a>>> {
    let mut file = File::open(path).context("cannot open it")?;
    let mut text = Vec::new();
    file.by_ref().take(16).read_to_end(&mut text).context("cannot read it")?;
    let start = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
    if start.starts_with(CSV) {
        return of_command(&last_command(path)?, options);
    }
    file.take(LENGTH_MAX).read_to_end(&mut text).context("cannot read it")?;
    ensure!(text.len() as u64 <= LENGTH_MAX, "it is longer than {LENGTH_MAX} bytes, so it is not a plan");
    let text = String::from_utf8(text).context("it is neither a plan nor a CSV file of hpbench")?;
    of_table(&toml::from_str(&text).context("it is neither a plan nor a CSV file of hpbench")?, options)
}

/// The settings of a TOML file.
fn of_table<'a>(table: &toml::Table, options: &'a Command) -> anyhow::Result<Vec<Setting<'a>>> {
    let mut settings = Vec::new();
    for (key, value) in table {
        let arg = flag(key, options)?;
        let takes_values = arg.get_action().takes_values();
        match (value, takes_values) {
            (Value::Boolean(false), false) => {}
            (Value::Boolean(true), false) => settings.push(Setting { arg, word: format!("--{key}") }),
            (_, false) => bail!("{key} is a switch: it takes true or false, not a {}", value.type_str()),
            (_, true) => settings.push(Setting { arg, word: format!("--{key}={}", text(key, value)?) }),
        }
    }
    Ok(settings)
}

/// A value as on the command line.
fn text(key: &str, value: &Value) -> anyhow::Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Array(values) => {
            ensure!(!values.is_empty(), "{key} is an empty list");
            let is_flat = values.iter().all(|value| !matches!(value, Value::Array(_)));
            ensure!(is_flat, "{key} is a list of lists");
            Ok(values.iter().map(|value| text(key, value)).collect::<Result<Vec<_>, _>>()?.join(","))
        }
        Value::Boolean(_) | Value::Datetime(_) | Value::Table(_) => {
            bail!("{key} is a {}: it takes a number, a text in quotes, or a list of them", value.type_str())
        }
    }
}

/// The flag with this name.
fn flag<'a>(name: &str, options: &'a Command) -> anyhow::Result<&'a Arg> {
    let is_known = |arg: &&Arg| arg.get_long().is_some_and(|long| long != "plan" && long != "help");
    let known = || options.get_arguments().filter(is_known);
    let found = known().find(|arg| arg.get_long() == Some(name));
    found.with_context(|| {
        let shown = known().filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long);
        format!("'{}' is no flag of a run{}", printable(name), did_you_mean(name, shown))
    })
}

/// The settings of a command that a run has recorded.
fn of_command<'a>(command: &str, options: &'a Command) -> anyhow::Result<Vec<Setting<'a>>> {
    let told = || format!("its command '{}' was not written by hpbench", printable(command));
    let words = shlex::split(command).with_context(told)?;
    let (program, words) = words.split_first().with_context(told)?;
    ensure!(program == "hpbench", told());
    let is_search = words.first().is_some_and(|word| word == "search");
    ensure!(!is_search, "it is of a search, which chooses its own loads; repeat that with `{}`", printable(command));
    let (mut settings, mut words) = (Vec::new(), words.iter());
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").with_context(told)?;
        let arg = flag(name, options)?;
        let word = match arg.get_action().takes_values() {
            true => format!("{word}={}", words.next().with_context(told)?),
            false => word.clone(),
        };
        settings.push(Setting { arg, word });
    }
    Ok(settings)
}

/// The command of a file's last run; the others must have had the same.
fn last_command(path: &Path) -> anyhow::Result<String> {
    // A resumed run may have another one in its later rows.
    let mut runs: Vec<(String, String)> = Vec::new();
    let read = rows::read_file(path, |_, _, row| {
        match runs.iter_mut().find(|(id, _)| *id == row.run_id) {
            Some((_, command)) => command.clone_from(&row.command),
            None => runs.push((row.run_id.clone(), row.command.clone())),
        }
        Ok(())
    });
    match read {
        // Only a row is cut; those before it have the command.
        Err(ReadError::Cut { .. }) if !runs.is_empty() => {}
        read => read?,
    }
    let (_, last) = runs.last().context("it has no rows")?;
    if let Some((_, other)) = runs.iter().find(|(_, command)| command != last) {
        bail!(
            "it has runs of different commands, '{}' and '{}'; name a file that has runs of one",
            printable(other),
            printable(last)
        );
    }
    ensure!(
        !last.is_empty(),
        "its rows do not say which command made them: an earlier hpbench, `lab` or `selftest` wrote them"
    );
    Ok(last.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Command {
        let mut options = RunArgs::augment_args(Command::new("hpbench").no_binary_name(true).args_override_self(true));
        options.build();
        options
    }

    /// The arguments of a plan with this text, combined with those of a command line.
    fn read(text: &str, line: &str) -> Result<Vec<String>, String> {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("plan.toml");
        std::fs::write(&path, text).expect("a file");
        let given = options().try_get_matches_from(line.split_whitespace()).expect("good flags");
        let words = arguments(&path, &given).map_err(|error| format!("{error:#}"))?;
        Ok(words.into_iter().map(|word| word.into_string().expect("UTF-8")).collect())
    }

    #[test]
    fn keys_are_flags_and_values_are_as_on_the_command_line() {
        let text = "backend = [\"plain\", \"mmsg:gso\"]\nbatch = \"1..128\"\ntime = 10\nhandoff = true\nstrict = false\n\
            duration = 0.5\ncpu = [0, 1]\n# a comment\nrate = '100k'\n";
        let expected = [
            "--backend=plain,mmsg:gso",
            "--batch=1..128",
            "--cpu=0,1",
            "--duration=0.5",
            "--handoff",
            "--rate=100k",
            "--time=10",
        ];
        assert_eq!(read(text, "").expect("a plan"), expected);
        assert_eq!(read("", "").expect("an empty plan"), Vec::<String>::new());
    }

    /// The keys are a contract: existing ones stay.
    #[test]
    fn each_flag_of_a_run_is_a_key() {
        const KEYS: &str = "backend scenario batch payload wait addressing fd-table fill-core work buffers verify sockets active skew flows sharding steer rate burst fanout min-wait window round workers \
            generators handoff trials time precision duration packets warmup no-gates seed cpu generator-cpu wait-quiet fifo \
            bind port ring rcvbuf sndbuf force-plan peer peer-bind peer-cpu clock-uncertainty label state pair out append resume force hlog strict dry-run quiet verbose";
        let options = options();
        let known: Vec<&str> = options.get_arguments().filter_map(Arg::get_long).collect();
        for key in KEYS.split_whitespace() {
            assert!(flag(key, &options).is_ok(), "{key} is gone");
        }
        let missing = known.iter().filter(|known| !["plan", "help", "added-ns"].contains(known));
        for known in missing {
            assert!(
                KEYS.split_whitespace().any(|key| key == *known),
                "{known} is a new key: add it here and to the documents"
            );
        }
    }

    #[test]
    fn the_command_line_wins_and_what_it_excludes_gives_way() {
        let plan = "batch = 8\ntime = 10\nquiet = true";
        assert_eq!(read(plan, "--batch 16").expect("a plan"), ["--quiet", "--time=10"]);
        assert_eq!(read(plan, "--trials 3").expect("a plan"), ["--batch=8", "--quiet"]);
        assert_eq!(read("trials = 3", "--time 5").expect("a plan"), Vec::<String>::new());
        assert_eq!(read("append = true\nout = 'a b.csv'", "--resume").expect("a plan"), ["--out=a b.csv"]);
    }

    #[test]
    fn what_is_no_plan_is_refused_with_its_name_and_the_way_out() {
        for (text, told) in [
            ("bacth = 8", "'bacth' is no flag of a run; did you mean 'batch'?"),
            ("generator_cpu = 0", "did you mean 'generator-cpu'?"),
            ("xyzzy = 1", "'xyzzy' is no flag of a run"),
            ("plan = 'other.toml'", "'plan' is no flag of a run"),
            ("batch = 5000", "invalid value '5000' for '--batch <LIST>'"),
            ("backend = 'urnig'", "did you mean 'uring'?"),
            ("batch = true", "batch is a boolean"),
            ("handoff = 1", "handoff is a switch"),
            ("[run]\nbatch = 1", "'run' is no flag of a run"),
            ("batch = []", "empty list"),
            ("batch = [[1]]", "list of lists"),
            ("batch = 1\nbatch = 2", "duplicate key"),
            ("time = 5\ntrials = 7", "cannot be used with"),
            ("batch 8", "neither a plan nor a CSV file"),
            ("\u{1b}[31m = 1", "neither a plan nor a CSV file"),
            ("schema,run_id\n", "lacks the column"),
        ] {
            let error = read(text, "").expect_err(told);
            assert!(error.contains(told) && error.contains("plan.toml: "), "{text}: {error}");
            assert!(!error.contains("Usage") && !error.contains("--help"), "{error}");
        }
        let given = options().try_get_matches_from([""; 0]).expect("no flags");
        assert!(
            arguments(Path::new("nowhere.toml"), &given)
                .is_err_and(|error| format!("{error:#}").contains("nowhere.toml"))
        );
        assert!(arguments(Path::new("/"), &given).is_err());
    }

    #[test]
    fn a_command_that_was_recorded_is_read_back() {
        let options = options();
        let words =
            |command| of_command(command, &options).map(|all| all.into_iter().map(|it| it.word).collect::<Vec<_>>());
        assert_eq!(
            words("hpbench --backend plain,uring:single+sendmsg --batch '1, 8' --handoff").expect("a command"),
            ["--backend=plain,uring:single+sendmsg", "--batch=1, 8", "--handoff"]
        );
        assert_eq!(words("hpbench").expect("a command"), Vec::<String>::new());
        for bad in
            ["", "rm -rf x", "hpbench 'x", "hpbench -t 1", "hpbench --nothing 1", "hpbench --plan x", "hpbench --batch"]
        {
            assert!(words(bad).is_err(), "{bad}");
        }
    }
}
