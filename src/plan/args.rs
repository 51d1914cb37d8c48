//! The flags of a run: their defaults and their bounds.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, FromArgMatches, ValueEnum};
use hpbench_backends::kernel::socket::PAYLOAD_MAX;
use hpbench_backends::{Addressing, Choice, Config, Kind, Variant};

use crate::console::{is_control, is_formula, printable};
use crate::plan::backends as words;
use crate::plan::cells::{Asked, FdTable, Scenario, Wait};
use crate::traffic::wire::{HEADER_LEN, Verify};

/// What to measure, and how.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Backends and their modes.
    #[arg(long, value_name = "LIST", default_value = "plain,mmsg,uring", value_parser = backends)]
    #[arg(help = words::short_help(), long_help = words::long_help())]
    pub backend: List<Asked>,

    /// Scenarios: drain (receive cost), send (send cost), flood (saturation), pace (latency at a rate), echo (round trips)
    #[arg(long, value_name = "LIST", default_value = "drain,send,flood,echo", value_parser = scenarios)]
    pub scenario: List<Scenario>,

    /// Datagrams per receive or send call, 1 to 1024; 1..256 means the powers of two from 1 to 256
    #[arg(long, value_name = "LIST", default_value = "32", value_parser = batches)]
    pub batch: List<usize>,

    /// UDP payload in bytes, 32 to 65507; the harness's header of 32 bytes is part of it
    #[arg(long, value_name = "LIST", default_value = "64", value_parser = payloads)]
    pub payload: List<usize>,

    /// Datagrams per round of drain and send, 1 to 1048576; fewer where the queue holds fewer
    #[arg(long, value_name = "LIST", default_value = "1024", value_parser = rounds)]
    pub round: List<usize>,

    /// Offered datagrams per second and worker in pace, 1 to 100000000
    #[arg(long, value_name = "LIST", default_value = "50000", value_parser = rates)]
    pub rate: List<u64>,

    /// Datagrams per tick of pace's schedule, 1 to 1024
    #[arg(long, value_name = "LIST", default_value = "1", value_parser = bursts)]
    pub burst: List<u64>,

    /// Datagrams in flight in echo, 1 to 1024
    #[arg(long, value_name = "LIST", default_value = "1", value_parser = windows)]
    pub window: List<usize>,

    /// How workers wait in flood, pace and echo: spin (look again and again) or block (sleep in the kernel)
    #[arg(long, value_name = "LIST", default_value = "spin", value_parser = waits)]
    pub wait: List<Wait>,

    /// Whether sockets are connected, or unconnected: then each datagram comes with its sender's address
    #[arg(long, value_name = "LIST", default_value = "connected", value_parser = addressings)]
    pub addressing: List<Addressing>,

    /// Whose descriptor table the worker uses: shared with the process's other threads, as in most servers, or its own
    #[arg(long, value_name = "LIST", default_value = "shared", value_parser = fd_tables)]
    pub fd_table: List<FdTable>,

    /// What is checked of each datagram: its header and length, or every payload byte too
    #[arg(long, value_name = "WHAT", default_value = "header")]
    pub verify: VerifyArg,

    /// Trials per cell, 1 to 100000; each is in a block of its own: many short ones tell more than few long ones
    #[arg(long, value_name = "N", default_value = "100", value_parser = |text: &str| number(text, 1, TRIALS_MAX))]
    pub trials: usize,

    /// Run as many blocks of trials as fit into so many seconds, up to 3600, instead of --trials
    #[arg(long, value_name = "SECONDS", conflicts_with = "trials", value_parser = |text: &str| seconds(text, 0.1))]
    pub time: Option<Duration>,

    /// Run blocks until the main figure of every comparison of backends is known to this half-width: looks after 100 blocks, and at
    /// most three times later
    #[arg(long, value_name = "PERCENT", conflicts_with = "trials", value_parser = percentage)]
    pub precision: Option<f64>,

    /// Seconds of a trial's measured phase, up to 3600; fractions allowed [default: 0.01 in drain and send, 0.02 elsewhere]
    #[arg(short = 't', long, value_name = "SECONDS", value_parser = |text: &str| seconds(text, 0.001))]
    pub duration: Option<Duration>,

    /// End the measured phase after N datagrams instead of a time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = |text: &str| number(text, 1, 1_000_000_000_000))]
    pub packets: Option<usize>,

    /// Seconds before it that are discarded, up to 3600 [default: 0.0025 in drain and send, 0.005 elsewhere]
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| seconds(text, 0.0))]
    pub warmup: Option<Duration>,

    /// Workers, each with its own socket, rings, core and generators, 1 to 256
    #[arg(short = 'w', long, value_name = "N", default_value = "1", value_parser = |text: &str| number(text, 1, 256))]
    pub workers: usize,

    /// Generators per worker in flood, 1 to 64 [default: cores to spare, at least 1]
    #[arg(long, value_name = "N", value_parser = |text: &str| number(text, 1, 64))]
    pub generators: Option<usize>,

    /// First UDP port: worker i uses N + i; 0 lets the kernel choose
    #[arg(short = 'p', long, value_name = "N", default_value = "0", value_parser = |text: &str| number(text, 0, 65_535))]
    pub port: usize,

    /// IPv4 or IPv6 address of all sockets, one of this machine's
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1", value_parser = address)]
    pub bind: IpAddr,

    /// Cores of the workers, one for each [default: chosen]
    #[arg(long, value_name = "LIST", value_parser = cores)]
    pub cpu: Option<List<usize>>,

    /// Cores of the generators [default: chosen]
    #[arg(long, value_name = "LIST", value_parser = cores)]
    pub generator_cpu: Option<List<usize>>,

    /// Run pinned threads under SCHED_FIFO with this priority, 1 to 99
    #[arg(long, value_name = "PRIORITY", value_parser = |text: &str| number(text, 1, 99))]
    pub fifo: Option<usize>,

    /// Run the app on a pinned thread of its own, behind the same rings (not in send)
    #[arg(long)]
    pub handoff: bool,

    /// Slots of each ring, 1 to 1048576, rounded up to a power of two; at least the batch
    #[arg(long, value_name = "N", default_value = "1024", value_parser = |text: &str| number(text, 1, 1 << 20))]
    pub ring: usize,

    /// Entries of io_uring's buffer ring: a power of two from 1 to 32768
    #[arg(long, value_name = "LIST", default_value_t = List(vec![Config::BUFFERS]), value_parser = buffers)]
    pub buffers: List<usize>,

    /// Receive buffer to ask for, in bytes, 1 to 1073741823; the kernel doubles what it grants
    #[arg(long, value_name = "BYTES", default_value = "16777216", value_parser = |text: &str| number(text, 1, (1 << 30) - 1))]
    pub rcvbuf: usize,

    /// Send buffer to ask for, in bytes, 1 to 1073741823
    #[arg(long, value_name = "BYTES", default_value = "16777216", value_parser = |text: &str| number(text, 1, (1 << 30) - 1))]
    pub sndbuf: usize,

    /// Decides the order of cells within a block [default: random]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub seed: Option<u64>,

    /// CSV file to write; - writes CSV to standard output [default: hpbench-TIME-HOST.csv, in UTC]
    #[arg(short = 'o', long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Add to an existing file that has the same columns
    #[arg(long, conflicts_with = "force")]
    pub append: bool,

    /// Run only the trials that the file of -o lacks, of the same plan; a last row that is cut is removed
    #[arg(long, conflicts_with_all = ["append", "force"])]
    pub resume: bool,

    /// Replace an existing file
    #[arg(long)]
    pub force: bool,

    /// Write the latencies of pace and echo to an HdrHistogram interval log, or add them with --append or --resume
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,

    /// Do not repeat trials that were disturbed; they are marked all the same
    #[arg(long)]
    pub no_gates: bool,

    /// Wait until the cores of the run are quiet before the first trial, for so many seconds at most, up to 3600
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| seconds(text, 0.0))]
    pub wait_quiet: Option<Duration>,

    /// Run a plan that cannot give a valid trial, too
    #[arg(long)]
    pub force_plan: bool,

    /// Name of this machine in the results [default: host name]
    #[arg(long, value_name = "TEXT", value_parser = label)]
    pub label: Option<String>,

    /// Fills `state`: the state that the machine is in, of a run that alternates with others
    #[arg(long, value_name = "TEXT", requires = "pair", value_parser = label)]
    pub state: Option<String>,

    /// Fills `pair`: the pair of runs that this one is of, from 1 on
    #[arg(long, value_name = "N", requires = "state", value_parser = clap::value_parser!(u32).range(1..))]
    pub pair: Option<u32>,

    /// Have each datagram of drain or send take so many nanoseconds longer: for tests of verdicts, which must find it. `--state` says so in the rows
    #[arg(long, hide = true, value_name = "NS", requires = "state", value_parser = added_ns)]
    pub added_ns: Option<f64>,

    /// Exit with status 1 if trials were invalid or limited by their generators, too
    #[arg(long)]
    pub strict: bool,

    /// Print the cells, trials and estimated time; run nothing
    #[arg(long)]
    pub dry_run: bool,

    /// No progress
    #[arg(long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// More detail after the table
    #[arg(long)]
    pub verbose: bool,
}

/// The most trials of a cell.
const TRIALS_MAX: usize = 100_000;

impl RunArgs {
    /// Whether something else than the number of trials ends the run.
    pub(crate) fn is_open_ended(&self) -> bool {
        self.time.is_some() || self.precision.is_some()
    }

    /// How many blocks there are at most.
    pub(crate) fn blocks(&self) -> usize {
        if self.is_open_ended() { TRIALS_MAX } else { self.trials }
    }

    /// Reads run options from words, without the name of a program before them; what is not named has its default.
    ///
    /// # Errors
    ///
    /// The flag that is bad, and why.
    pub fn from_words<W: Into<OsString> + Clone>(words: impl IntoIterator<Item = W>) -> Result<Self, clap::Error> {
        let command = clap::Command::new("hpbench").no_binary_name(true).args_override_self(true);
        Self::from_arg_matches(&Self::augment_args(command).try_get_matches_from(words)?)
    }
}

/// The values of `--verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyArg {
    /// Header and length.
    Header,
    /// Every payload byte, too.
    Full,
}

impl From<VerifyArg> for Verify {
    fn from(arg: VerifyArg) -> Self {
        match arg {
            VerifyArg::Header => Self::Header,
            VerifyArg::Full => Self::Full,
        }
    }
}

/// The values of an axis: at least one, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

/// As on the command line.
impl<T: fmt::Display> fmt::Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(T::to_string).collect::<Vec<_>>().join(","))
    }
}

impl<T: Copy + Eq + Hash> List<T> {
    fn parse(text: &str, mut items: impl FnMut(&str) -> Result<Vec<T>, String>) -> Result<Self, String> {
        let (mut list, mut known) = (Vec::new(), HashSet::new());
        for part in text.split(',') {
            for item in items(part.trim())? {
                if !known.insert(item) {
                    return Err(format!("'{part}' names a value that is already in the list"));
                }
                list.push(item);
            }
        }
        Ok(Self(list))
    }
}

pub(crate) fn backends(text: &str) -> Result<List<Asked>, String> {
    let mut list: Vec<Asked> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (name, modes) = part.split_once(':').unwrap_or((part, ""));
        let kinds = match Kind::named(name) {
            Some(kind) => vec![kind],
            None if part == "all" => words::all(),
            None => return Err(format!("'{name}' is no backend; there are {} and all", words::names())),
        };
        if part == "all" || modes == "all" {
            for choice in kinds.into_iter().flat_map(Choice::alternatives) {
                if !list.iter().any(|asked| asked.choice == choice) {
                    list.push(Asked { choice, is_one_of_all: true });
                }
            }
            continue;
        }
        for kind in kinds {
            let asked = Asked::named(Choice::parse(kind, modes)?);
            let variant = Variant::parse(kind, modes)?;
            let is_same = |other: &&mut Asked| other.choice.resolve(Addressing::Connected).as_ref() == Ok(&variant);
            match list.iter_mut().find(is_same) {
                // One of all that is named as well.
                Some(same) if same.is_one_of_all => same.is_one_of_all = false,
                Some(_) => return Err(format!("'{part}' names a value that is already in the list")),
                None => list.push(asked),
            }
        }
    }
    Ok(List(list))
}

fn addressings(text: &str) -> Result<List<Addressing>, String> {
    List::parse(text, |part| {
        let all = [Addressing::Connected, Addressing::Unconnected];
        let found = all.into_iter().find(|addressing| addressing.name() == part);
        found.map(|found| vec![found]).ok_or_else(|| format!("'{part}' is neither connected nor unconnected"))
    })
}

fn fd_tables(text: &str) -> Result<List<FdTable>, String> {
    List::parse(text, |part| {
        let found = FdTable::ALL.into_iter().find(|table| table.name() == part);
        found.map(|found| vec![found]).ok_or_else(|| format!("'{part}' is neither shared nor own"))
    })
}

fn buffers(text: &str) -> Result<List<usize>, String> {
    let list = numbers(text, 1, 32_768)?;
    match list.0.iter().find(|value| !value.is_power_of_two()) {
        Some(value) => Err(format!("'{value}' is not a power of two")),
        None => Ok(list),
    }
}

fn scenarios(text: &str) -> Result<List<Scenario>, String> {
    List::parse(text, |part| {
        let scenario = Scenario::ALL.into_iter().find(|scenario| scenario.name() == part);
        let scenario = scenario.ok_or_else(|| {
            format!("'{part}' is no scenario of this version; there are drain, send, flood, pace and echo")
        })?;
        Ok(vec![scenario])
    })
}

fn batches(text: &str) -> Result<List<usize>, String> {
    numbers(text, 1, Config::BATCH_MAX)
}

fn payloads(text: &str) -> Result<List<usize>, String> {
    numbers(text, HEADER_LEN, PAYLOAD_MAX)
}

fn rounds(text: &str) -> Result<List<usize>, String> {
    numbers(text, 1, 1 << 20)
}

fn windows(text: &str) -> Result<List<usize>, String> {
    numbers(text, 1, Config::BATCH_MAX)
}

fn rates(text: &str) -> Result<List<u64>, String> {
    numbers(text, 1, 100_000_000).map(|list| List(list.0.into_iter().map(|value| value as u64).collect()))
}

fn bursts(text: &str) -> Result<List<u64>, String> {
    numbers(text, 1, 1024).map(|list| List(list.0.into_iter().map(|value| value as u64).collect()))
}

fn waits(text: &str) -> Result<List<Wait>, String> {
    List::parse(text, |part| match part {
        "spin" => Ok(vec![Wait::Spin]),
        "block" => Ok(vec![Wait::Block]),
        _ => Err(format!("'{part}' is no way to wait; there are spin and block")),
    })
}

fn cores(text: &str) -> Result<List<usize>, String> {
    numbers(text, 0, 1023)
}

/// Numbers, and ranges of powers of two such as `1..256`.
fn numbers(text: &str, least: usize, most: usize) -> Result<List<usize>, String> {
    List::parse(text, |part| {
        let Some((first, last)) = part.split_once("..") else {
            return Ok(vec![number(part, least, most)?]);
        };
        let (first, last) = (number(first, least, most)?, number(last, least, most)?);
        if !first.is_power_of_two() || !last.is_power_of_two() || first > last {
            return Err(format!("'{part}' is not a range between two powers of two"));
        }
        Ok(std::iter::successors(Some(first), |value| Some(value * 2)).take_while(|&value| value <= last).collect())
    })
}

pub(crate) fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let value = usize::from_str(text).ok().filter(|value| (least..=most).contains(value));
    value.ok_or_else(|| format!("'{text}' is not a whole number from {least} to {most}"))
}

pub(crate) fn whole(text: &str) -> Result<u64, String> {
    u64::from_str(text).map_err(|_| format!("'{text}' is not a whole number from 0 to {}", u64::MAX))
}

pub(crate) fn seconds(text: &str, least: f64) -> Result<Duration, String> {
    let value = f64::from_str(text).ok().filter(|value| (least..=3600.0).contains(value));
    value
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("'{text}' is not a number of seconds from {least} to 3600"))
}

/// Reads a share in percent, with or without the sign. Returns it as a fraction.
pub(crate) fn percentage(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let value = number.parse::<f64>().ok().filter(|&value| value > 0.0 && value < 100.0);
    value.map(|value| value / 100.0).ok_or_else(|| format!("'{text}' is not a percentage over 0 and below 100"))
}

/// Reads a time that is added to each datagram.
fn added_ns(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| (0.0..=1e6).contains(value));
    value.ok_or_else(|| format!("'{text}' is not a number of nanoseconds from 0 to 1000000"))
}

/// The name of a machine or of its state: a text in a CSV file, which people print and open in a spreadsheet.
fn label(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it must have at least one character".into());
    }
    if is_formula(text) {
        return Err("a text that begins with =, +, - or @ is a formula to a spreadsheet; begin it otherwise".into());
    }
    match text.chars().find(|&c| is_control(c)) {
        Some(c) => Err(format!("it has a control character, {}; leave it out", printable(c.encode_utf8(&mut [0; 4])))),
        None => Ok(text.to_owned()),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    let address = IpAddr::from_str(text).map_err(|_| format!("'{text}' is no IPv4 or IPv6 address"))?;
    // Datagrams to these leave the machine.
    let is_shared = address.is_multicast() || address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    if is_shared { Err(format!("'{text}' is not the address of one machine")) } else { Ok(address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<RunArgs, clap::Error> {
        RunArgs::from_words(args)
    }

    #[test]
    fn lists_and_ranges_of_powers_of_two() {
        let cli = parse(&["--batch", "1..8,100", "--backend", "uring,null"]).expect("good flags");
        assert_eq!(cli.batch.0, [1, 2, 4, 8, 100]);
        assert_eq!(
            cli.backend.0.iter().map(|asked| asked.choice.kind()).collect::<Vec<_>>(),
            [Kind::URING, Kind::NULL]
        );
        let count = |text: &str| parse(&["--backend", text]).expect("good flags").backend.0.len();
        assert_eq!(
            ["plain:all", "mmsg:all", "uring:all", "uring,uring:all", "uring:all,uring"].map(count),
            [3, 3, 14, 14, 14]
        );
        let all: usize = words::all().into_iter().map(|kind| count(&format!("{kind}:all"))).sum();
        assert_eq!(["all", "all,mmsg:gso"].map(count), [all; 2]);
    }

    #[test]
    fn bad_values_are_refused_with_their_range() {
        for (flag, value, told) in [
            ("--batch", "0", "from 1 to 1024"),
            ("--batch", "1025", "from 1 to 1024"),
            ("--batch", "3..8", "powers of two"),
            ("--batch", "8..2", "powers of two"),
            ("--batch", "8,8", "already"),
            ("--batch", "", "from 1 to 1024"),
            ("--payload", "31", "from 32 to 65507"),
            ("--payload", "65508", "from 32 to 65507"),
            ("--duration", "-1", "seconds"),
            ("--duration", "NaN", "seconds"),
            ("--duration", "0", "seconds"),
            ("--warmup", "3601", "3600"),
            ("--backend", "tcp", "null and all"),
            ("--backend", "uring:single-file", "no mode"),
            ("--backend", "uring,uring:multishot", "already"),
            ("--backend", "uring:multishot+gro", "use recvmsg-multishot"),
            ("--backend", "uring:send+gso", "use sendmsg"),
            ("--addressing", "both", "neither"),
            ("--fd-table", "private", "neither shared nor own"),
            ("--fd-table", "own,own", "already"),
            ("--buffers", "48", "power of two"),
            ("--buffers", "65536", "from 1 to 32768"),
            ("--scenario", "walk", "there are drain"),
            ("--rate", "0", "from 1 to 100000000"),
            ("--burst", "1025", "from 1 to 1024"),
            ("--wait", "sleep", "spin and block"),
            ("--fifo", "100", "from 1 to 99"),
            ("--bind", "localhost", "address"),
            ("--bind", "224.0.0.1", "one machine"),
            ("--bind", "255.255.255.255", "one machine"),
            ("--bind", "ff02::1", "one machine"),
            ("--workers", "0", "from 1 to 256"),
            ("--seed", "-1", "whole number"),
        ] {
            let message = parse(&[&format!("{flag}={value}")]).expect_err(flag).to_string();
            assert!(message.contains(told) && message.contains(flag), "{flag}={value}: {message}");
        }
        assert!(parse(&["-t", "1", "--packets", "10"]).is_err());
        assert!(parse(&["--packets", "10"]).is_ok());
    }

    #[test]
    fn what_a_machine_or_its_state_is_called_can_be_printed_and_opened_in_a_spreadsheet() {
        for flag in ["--label", "--state"] {
            for (value, told) in [
                ("", "at least one character"),
                ("=1+1", "a formula to a spreadsheet"),
                ("+1", "a formula to a spreadsheet"),
                ("-1", "a formula to a spreadsheet"),
                ("@SUM(1)", "a formula to a spreadsheet"),
                ("two\nlines", "a control character, \\n"),
                ("red\u{1b}[31m", "a control character, \\u001b"),
                ("\u{202e}txet", "a control character, \\u202e"),
                ("c1 \u{9b}31m", "a control character, \\u009b"),
            ] {
                let message = parse(&[&format!("{flag}={value}"), "--pair=1"]).expect_err(flag).to_string();
                assert!(message.contains(told) && message.contains(flag), "{flag}={value}: {message}");
            }
        }
        let args = parse(&["--label", "lab 1", "--state", "A = B, \"x\"", "--pair", "1"]).expect("good names");
        assert_eq!((args.label.as_deref(), args.state.as_deref()), (Some("lab 1"), Some("A = B, \"x\"")));
    }

    #[test]
    fn a_threshold_is_a_percentage() {
        for (text, value) in [("3%", 0.03), ("3", 0.03), ("0.5%", 0.005), ("99.9", 0.999)] {
            assert!((percentage(text).expect("a percentage") - value).abs() < 1e-12, "{text}");
        }
        for text in ["", "%", "0", "-3%", "100", "NaN", "inf", "3%%", "3 %", "three", "0.03x"] {
            assert!(percentage(text).is_err(), "{text}");
        }
    }
}
