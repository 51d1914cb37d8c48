//! The flags of a run: their defaults and their bounds.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, FromArgMatches, ValueEnum};
use hpbench_backends::{Addressing, Config};

use crate::plan::address::{HostAddress, RemoteAddress};
use crate::plan::backends as words;
use crate::plan::cells::{Asked, FdTable, FillCore, Scenario, Wait, Waited};
use crate::plan::lists::{self, List};
use crate::plan::shards::{Sharding, Steer};
use crate::plan::spread::{Active, Skew};
use crate::plan::values::{added_ns, amount, command, label, number, percentage, seconds, whole};
use crate::traffic::wire::Verify;

/// What to measure, and how. Any flag whose value is not a path can also be in a plan file.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Backends and their modes.
    #[arg(long, value_name = "LIST", default_value = "plain,mmsg,uring", value_parser = lists::backends)]
    #[arg(help = words::short_help(), long_help = words::long_help(), help_heading = COMPARED)]
    pub backend: List<Asked>,

    /// Or pace, serve, relay
    ///
    /// Scenarios: drain (receive cost), send (send cost), flood (saturation), pace (latency at a rate), echo (round trips), serve
    /// (answers at a rate), relay (copies of datagrams, at a rate).
    #[arg(long, value_name = "LIST", default_value = "drain,send,flood,echo", value_parser = lists::scenarios)]
    #[arg(help_heading = COMPARED)]
    pub scenario: List<Scenario>,

    /// Datagrams per call, e.g. 1,32 or 1..128
    ///
    /// Datagrams per receive or send call, 1 to 1024. A..B means A, twice A and so on, and B: 1..128 are the powers of two
    /// from 1 to 128.
    #[arg(long, value_name = "LIST", default_value = "32", value_parser = lists::batches, help_heading = COMPARED)]
    pub batch: List<usize>,

    /// UDP payload in bytes, 32 to 65507
    ///
    /// UDP payload in bytes, 32 to 65507; the harness's header of 32 bytes is part of it. A..B doubles, as in --batch.
    #[arg(long, value_name = "LIST", default_value = "64", value_parser = lists::payloads, help_heading = COMPARED)]
    pub payload: List<usize>,

    /// How workers wait: spin or block
    ///
    /// How workers wait, except in drain and send: spin (look again and again) or block (sleep in the kernel). The default
    /// is spin, and block for runtimes, which are made to wait.
    #[arg(long, value_name = "LIST", value_parser = lists::waits, help_heading = COMPARED)]
    pub wait: Option<List<Wait>>,

    /// For how many completions a worker that sleeps waits at once, and how long: 8:50 is 8, or 50 µs
    ///
    /// For how many completions a worker waits at once with --wait block, 1 to 1024, and for how many microseconds, 1 to 10000:
    /// after that one is enough. off is the first one. With io_uring and a receive that stays armed (multishot, poll); Linux 6.12.
    /// With one socket and the setup defer, all datagrams are one piece of work, and the time decides.
    #[arg(long, value_name = "LIST", default_value = "off", value_parser = lists::min_waits)]
    #[arg(help_heading = COMPARED, hide_short_help = true)]
    pub min_wait: List<Waited>,

    /// Whether sockets are connected, or unconnected: then each datagram comes with its sender's address
    #[arg(long, value_name = "LIST", default_value = "connected", value_parser = lists::addressings)]
    #[arg(help_heading = COMPARED, hide_short_help = true)]
    pub addressing: List<Addressing>,

    /// Whose descriptor table the worker uses: shared with the process's other threads, as in most servers, or its own
    #[arg(long, value_name = "LIST", default_value = "shared", value_parser = lists::fd_tables)]
    #[arg(help_heading = COMPARED, hide_short_help = true)]
    pub fd_table: List<FdTable>,

    /// Where the queue of drain is filled: on the same core as the worker, or on another one, as by a network
    ///
    /// Where the queue of drain is filled: by the worker's thread, on the same core, or by a thread on another one, the
    /// generator's. Then the worker finds datagrams that are in the other core's caches. --peer fills elsewhere anyway.
    #[arg(long, value_name = "LIST", default_value = "same", value_parser = lists::fill_cores)]
    #[arg(help_heading = COMPARED, hide_short_help = true)]
    pub fill_core: List<FillCore>,

    /// Sockets of each worker
    ///
    /// Sockets of each worker, 1 to 32768, as far as the limits of open files and ports allow: one generator socket sends to
    /// all of them, and a batch is the total of a call. In send, they send in turns. A..B doubles, as in --batch.
    #[arg(long, value_name = "LIST", default_value = "1", value_parser = lists::sockets)]
    #[arg(help_heading = COMPARED, hide_short_help = true)]
    pub sockets: List<usize>,

    /// How many of the sockets have traffic; the others are open and silent
    #[arg(long, value_name = "LIST", default_value = "all", value_parser = lists::actives)]
    #[arg(help_heading = COMPARED, hide_short_help = true)]
    pub active: List<Active>,

    /// How unevenly the active sockets have traffic: a Zipf exponent from 0 (all alike) to 4
    #[arg(long, value_name = "LIST", default_value = "0", value_parser = lists::skews)]
    #[arg(help_heading = COMPARED, hide_short_help = true)]
    pub skew: List<Skew>,

    /// How long the app works on each datagram, in nanoseconds
    ///
    /// How long the app works on each datagram that it receives, in nanoseconds, 0 to 1000000000: it spins so long, in place of
    /// parsing, decrypting and the like. 5us is 5000. A..B doubles, as in --batch.
    #[arg(long, value_name = "LIST", default_value = "0", value_parser = lists::works, help_heading = COMPARED)]
    #[arg(hide_short_help = true)]
    pub work: List<u64>,

    /// Source ports of each generator, not in drain, send and echo: clients of a socket that is not connected
    ///
    /// Source ports of each generator in flood, pace, serve and relay, 1 to 32768: each is a client of the worker's one socket, which is then
    /// not connected, whatever --addressing says. A..B doubles, as in --batch.
    #[arg(long, value_name = "LIST", default_value = "1", value_parser = lists::flows)]
    #[arg(help_heading = COMPARED, hide_short_help = true)]
    pub flows: List<usize>,

    /// How several workers come by datagrams: ports, reuseport or single
    ///
    /// How several workers come by datagrams in flood, pace, serve and relay: each at a port of its own; from one port with a socket
    /// for each (reuseport), among which the kernel chooses; or all from a single socket.
    #[arg(long, value_name = "LIST", default_value = "ports", value_parser = lists::shardings)]
    #[arg(help_heading = COMPARED, hide_short_help = true)]
    pub sharding: List<Sharding>,

    /// What the kernel chooses by with reuseport: the hash of addresses and ports, or the cpu that delivers
    ///
    /// What the kernel chooses by with --sharding reuseport: the hash of addresses and ports, or the number of the cpu that
    /// delivers the datagram, modulo the workers. On loopback that is the generator's core.
    #[arg(long, value_name = "LIST", default_value = "hash", value_parser = lists::steers)]
    #[arg(help_heading = COMPARED, hide_short_help = true)]
    pub steer: List<Steer>,

    /// Entries of io_uring's buffer ring: powers of two from 1 to 32768
    #[arg(long, value_name = "LIST", default_value_t = List(vec![Config::BUFFERS]), value_parser = lists::buffers)]
    #[arg(help_heading = COMPARED, hide_short_help = true)]
    pub buffers: List<usize>,

    /// What is checked of each datagram: its header and length, or every payload byte too
    #[arg(long, value_name = "WHAT", default_value = "header", help_heading = COMPARED, hide_short_help = true)]
    pub verify: VerifyArg,

    /// Datagrams per second: pace, serve, relay
    ///
    /// Offered datagrams per second and worker in pace, serve and relay, 1 to 100000000; 100k is 100000. A..B doubles, as in --batch.
    #[arg(long, value_name = "LIST", default_value = "50000", value_parser = lists::rates, help_heading = LOAD)]
    pub rate: List<u64>,

    /// Datagrams per tick of the schedule of pace, serve and relay, 1 to 1024
    #[arg(long, value_name = "LIST", default_value = "1", value_parser = lists::bursts)]
    #[arg(help_heading = LOAD, hide_short_help = true)]
    pub burst: List<u64>,

    /// Copies of each datagram that relay sends on, 1 to 1024
    ///
    /// Copies of each datagram that relay sends on to whoever sent it, 1 to 1024; a batch counts copies. A..B doubles, as in --batch.
    #[arg(long, value_name = "LIST", default_value = "1", value_parser = lists::fanouts)]
    #[arg(help_heading = LOAD, hide_short_help = true)]
    pub fanout: List<usize>,

    /// Datagrams in flight in echo, 1 to 1024. A..B doubles, as in --batch.
    #[arg(long, value_name = "LIST", default_value = "1", value_parser = lists::windows)]
    #[arg(help_heading = LOAD, hide_short_help = true)]
    pub window: List<usize>,

    /// Datagrams per round of drain and send, 1 to 1048576; fewer where the queue holds fewer
    #[arg(long, value_name = "LIST", default_value = "1024", value_parser = lists::rounds)]
    #[arg(help_heading = LOAD, hide_short_help = true)]
    pub round: List<usize>,

    /// Workers, each with its own core
    ///
    /// Workers, each with its own socket, rings, core and generators, 1 to 256. --sharding has them share a port.
    #[arg(short = 'w', long, value_name = "N", default_value = "1", value_parser = |text: &str| number(text, 1, 256))]
    #[arg(help_heading = LOAD)]
    pub workers: usize,

    /// Generators per worker in flood, 1 to 64 [default: cores to spare, at least 1]
    #[arg(long, value_name = "N", value_parser = |text: &str| number(text, 1, 64))]
    #[arg(help_heading = LOAD, hide_short_help = true)]
    pub generators: Option<usize>,

    /// Run the app on a pinned thread of its own, behind the same rings (not in send)
    #[arg(long, help_heading = LOAD, hide_short_help = true)]
    pub handoff: bool,

    /// Trials per cell
    ///
    /// Trials per cell, 1 to 100000, each in a block of its own. Many short ones tell more than a few long ones.
    #[arg(long, value_name = "N", default_value = "100", value_parser = |text: &str| amount(text, 1, TRIALS_MAX))]
    #[arg(help_heading = LENGTH)]
    pub trials: usize,

    /// Run for this long instead, e.g. 30 or 2min
    ///
    /// Run as many blocks of trials as fit into this time, up to 3600 seconds, instead of --trials. Times are seconds,
    /// or have a unit: 20us, 5ms, 1.5s, 2min.
    #[arg(long, value_name = "TIME", conflicts_with = "trials", value_parser = |text: &str| seconds(text, 0.1))]
    #[arg(help_heading = LENGTH)]
    pub time: Option<Duration>,

    /// Run until comparisons are known to ± this
    ///
    /// Run blocks until the main figure of every comparison of backends is known to this half-width: hpbench looks
    /// after 100 blocks, and at most three times later.
    #[arg(long, value_name = "PERCENT", conflicts_with = "trials", value_parser = percentage, help_heading = LENGTH)]
    pub precision: Option<f64>,

    /// Measured time of a trial, e.g. 20ms
    ///
    /// Measured phase of a trial, up to 3600 seconds; a number is seconds, 5ms has its unit [default: 10ms in drain and send,
    /// 20ms elsewhere].
    #[arg(short = 't', long, value_name = "TIME", value_parser = |text: &str| seconds(text, 0.001), help_heading = LENGTH)]
    pub duration: Option<Duration>,

    /// End the measured phase after N datagrams instead of a time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = |text: &str| amount(text, 1, 1_000_000_000_000))]
    #[arg(help_heading = LENGTH, hide_short_help = true)]
    pub packets: Option<usize>,

    /// Time before it that is discarded, up to 3600 seconds [default: 2.5ms in drain and send, 5ms elsewhere]
    #[arg(long, value_name = "TIME", value_parser = |text: &str| seconds(text, 0.0))]
    #[arg(help_heading = LENGTH, hide_short_help = true)]
    pub warmup: Option<Duration>,

    /// Do not repeat disturbed trials; they are still marked
    #[arg(long, help_heading = LENGTH, hide_short_help = true)]
    pub no_gates: bool,

    /// Decides the order of cells within a block [default: random]
    #[arg(long, value_name = "N", value_parser = whole, help_heading = LENGTH, hide_short_help = true)]
    pub seed: Option<u64>,

    /// Cores of the workers, e.g. 3 or 2-5
    ///
    /// Cores of the workers, one for each; 2-5 and 2..5 mean each of 2, 3, 4 and 5 [default: chosen].
    #[arg(long, value_name = "LIST", value_parser = lists::cores, help_heading = MACHINE)]
    pub cpu: Option<List<usize>>,

    /// Cores of the generators [default: chosen]
    #[arg(long, value_name = "LIST", value_parser = lists::cores, help_heading = MACHINE, hide_short_help = true)]
    pub generator_cpu: Option<List<usize>>,

    /// First wait for quiet cores, at most this long
    ///
    /// Before the first trial, wait until the cores of the run are quiet, but at most this long, up to 3600 seconds.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| seconds(text, 0.0), help_heading = MACHINE)]
    pub wait_quiet: Option<Duration>,

    /// Run pinned threads under SCHED_FIFO with this priority, 1 to 99
    #[arg(long, value_name = "PRIORITY", value_parser = |text: &str| number(text, 1, 99))]
    #[arg(help_heading = MACHINE, hide_short_help = true)]
    pub fifo: Option<usize>,

    /// IPv4 or IPv6 address of all sockets, one of this machine's, e.g. ::1 or fe80::1%eth0
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1", value_parser = str::parse::<HostAddress>)]
    #[arg(help_heading = MACHINE, hide_short_help = true)]
    pub bind: HostAddress,

    /// First UDP port: worker i uses N + i; 0 lets the kernel choose
    #[arg(short = 'p', long, value_name = "N", default_value = "0", value_parser = |text: &str| number(text, 0, 65_535))]
    #[arg(help_heading = MACHINE, hide_short_help = true)]
    pub port: usize,

    /// Slots of each ring, 1 to 1048576, rounded up to a power of two; at least the batch
    #[arg(long, value_name = "N", default_value = "1024", value_parser = |text: &str| amount(text, 1, 1 << 20))]
    #[arg(help_heading = MACHINE, hide_short_help = true)]
    pub ring: usize,

    /// Receive buffer to ask for, in bytes, 1 to 1073741823, e.g. 4Mi; the kernel doubles what it grants
    #[arg(long, value_name = "BYTES", default_value = "16777216", value_parser = |text: &str| amount(text, 1, (1 << 30) - 1))]
    #[arg(help_heading = MACHINE, hide_short_help = true)]
    pub rcvbuf: usize,

    /// Send buffer to ask for, in bytes, 1 to 1073741823
    #[arg(long, value_name = "BYTES", default_value = "16777216", value_parser = |text: &str| amount(text, 1, (1 << 30) - 1))]
    #[arg(help_heading = MACHINE, hide_short_help = true)]
    pub sndbuf: usize,

    /// Run even a plan that cannot give a valid trial
    #[arg(long, help_heading = MACHINE, hide_short_help = true)]
    pub force_plan: bool,

    /// Name of this machine in the results [default: host name]
    #[arg(long, value_name = "TEXT", value_parser = label, help_heading = MACHINE, hide_short_help = true)]
    pub label: Option<String>,

    /// Fills `state`: the state of the machine, for a run that alternates with others
    #[arg(long, value_name = "TEXT", requires = "pair", value_parser = label)]
    #[arg(help_heading = MACHINE, hide_short_help = true)]
    pub state: Option<String>,

    /// Fills `pair`: the pair that this run belongs to, from 1 on
    #[arg(long, value_name = "N", requires = "state", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = MACHINE, hide_short_help = true)]
    pub pair: Option<u32>,

    /// Make each datagram of drain or send take this many nanoseconds longer: for tests of verdicts, which must find
    /// it. Record it with `--state`
    #[arg(long, hide = true, value_name = "NS", requires = "state", value_parser = added_ns)]
    pub added_ns: Option<f64>,

    /// Run the peer in another process, e.g. 'ssh lab2 hpbench agent'
    ///
    /// Run the other side of every scenario in another process, on this host or another one: a command that runs
    /// `hpbench agent`, of the same build, e.g. 'ssh lab2 hpbench agent' or 'ip netns exec b hpbench agent'. It is split into
    /// words as a shell would, and run without one.
    #[arg(long, value_name = "COMMAND", value_parser = command, help_heading = HOSTS, hide_short_help = true)]
    pub peer: Option<String>,

    /// Address of the peer's sockets [default: that of --bind, if it is a loopback address]
    ///
    /// Address of the peer's sockets [default: that of --bind, if it is a loopback address]; a link-local one of IPv6 has the
    /// peer's interface, as in fe80::2%eth0, and is reached by the interface of --bind.
    #[arg(long, value_name = "ADDR", requires = "peer", value_parser = RemoteAddress::from_str)]
    #[arg(help_heading = HOSTS, hide_short_help = true)]
    pub peer_bind: Option<RemoteAddress>,

    /// Cores of the peer's generators [default: chosen]
    ///
    /// Cores of the peer's generators, dealt out to them in turn: first to the first generator of each worker, then to
    /// the second ones. In drain and send there is one peer for each worker [default: as many as there are generators].
    #[arg(long, value_name = "LIST", requires = "peer", value_parser = lists::cores)]
    #[arg(help_heading = HOSTS, hide_short_help = true)]
    pub peer_cpu: Option<List<usize>>,

    /// How far the two hosts' clocks are apart at most, in nanoseconds: pace then records one-way latencies
    #[arg(long, value_name = "NS", requires = "peer", value_parser = whole)]
    #[arg(help_heading = HOSTS, hide_short_help = true)]
    pub clock_uncertainty: Option<u64>,

    /// CSV file; - is standard output [default: a new file]
    ///
    /// CSV file to write; - writes CSV to standard output [default: hpbench-TIME-HOST.csv, in UTC].
    #[arg(short = 'o', long, value_name = "FILE", help_heading = OUTPUT)]
    pub out: Option<PathBuf>,

    /// Add to an existing file
    ///
    /// Add to an existing file that has the same columns.
    #[arg(long, conflicts_with = "force", help_heading = OUTPUT)]
    pub append: bool,

    /// Run only the trials that the file lacks
    ///
    /// Run only the trials of the same plan that the file of -o lacks; a truncated last row is removed.
    #[arg(long, conflicts_with_all = ["append", "force"], help_heading = OUTPUT)]
    pub resume: bool,

    /// Replace an existing file
    #[arg(long, help_heading = OUTPUT, hide_short_help = true)]
    pub force: bool,

    /// Write the latencies of pace, echo, serve and relay to an HdrHistogram interval log, or add them with --append or --resume
    #[arg(long, value_name = "FILE", help_heading = OUTPUT, hide_short_help = true)]
    pub hlog: Option<PathBuf>,

    /// Take flags from a TOML file or an earlier run's CSV
    ///
    /// Take flags from a file. A TOML file lists them by name: batch = "1..128", backend = ["plain", "mmsg"], time =
    /// 10, handoff = true. From the CSV file of an earlier run, those in its column `command` are taken. Flags on the
    /// command line win.
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub plan: Option<PathBuf>,

    /// Exit with status 1 also if trials were invalid or limited by their generators
    #[arg(long, help_heading = OUTPUT, hide_short_help = true)]
    pub strict: bool,

    /// Print cells and time; run nothing
    ///
    /// Print the cells, trials and estimated time; run nothing.
    #[arg(long, help_heading = OUTPUT)]
    pub dry_run: bool,

    /// No progress
    #[arg(long, help_heading = OUTPUT)]
    pub quiet: bool,

    /// More detail after the table
    #[arg(long, help_heading = OUTPUT)]
    pub verbose: bool,

    /// The flags of the plan that were given, see `plan::command`.
    #[arg(skip)]
    pub command: String,
}

/// Headings of the help.
const COMPARED: &str = "What is compared";
const LOAD: &str = "Load";
const LENGTH: &str = "Length and precision";
const MACHINE: &str = "Machine";
const HOSTS: &str = "Two hosts";
/// The last one.
pub(crate) const OUTPUT: &str = "Output";

/// The help flag, placed among others: a heading of its own takes two more lines.
pub(crate) fn help_flag() -> clap::Arg {
    let help = clap::Arg::new("help").short('h').long("help").action(clap::ArgAction::Help);
    help.help("This summary; --help describes all flags").long_help("All flags; -h is a summary")
}

/// The most trials of a cell.
const TRIALS_MAX: usize = 100_000;

impl RunArgs {
    /// Whether something other than the number of trials ends the run.
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
    /// Which flag is bad, and why.
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

#[cfg(test)]
mod tests {
    use hpbench_backends::Kind;

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
            [6, 6, 15, 15, 15]
        );
        let all: usize = words::all().into_iter().map(|kind| count(&format!("{kind}:all"))).sum();
        assert_eq!(["all", "all,mmsg:gso"].map(count), [all; 2]);
    }

    #[test]
    fn bad_values_are_refused_with_their_range() {
        for (flag, value, told) in [
            ("--batch", "0", "from 1 to 1024"),
            ("--batch", "1025", "from 1 to 1024"),
            ("--batch", "8..2", "write 2..8"),
            ("--batch", "0..8", "from 1 to 1024"),
            ("--cpu", "0-8192", "from 0 to 8191"),
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
            ("--fanout", "0", "from 1 to 1024"),
            ("--min-wait", "8", "8:50"),
            ("--min-wait", "0:50", "8:50"),
            ("--min-wait", "8:10001", "8:50"),
            ("--min-wait", "8:50,8:50", "already"),
            ("--wait", "sleep", "spin and block"),
            ("--fifo", "100", "from 1 to 99"),
            ("--bind", "localhost", "address"),
            ("--bind", "224.0.0.1", "one machine"),
            ("--bind", "255.255.255.255", "one machine"),
            ("--bind", "ff02::1", "one machine"),
            ("--bind", "fe80::1", "fe80::1%eth0"),
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
}
