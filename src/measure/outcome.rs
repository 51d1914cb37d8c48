//! The result of a trial, or why there is none.

use std::io;

use hdrhistogram::Histogram;
use hpbench_backends::kernel::thread::Usage;
use hpbench_backends::{Counters, OpenError};

use crate::gates;
use crate::gates::reason::Reason;
use crate::measure::cost::Disturbance;
use crate::measure::counters::Counts;
use crate::measure::driver::Polls;
use crate::measure::host::BothHosts;
use crate::measure::remedy::remedy;
use crate::measure::remote::error::LinkError;
use crate::plan::cores;
use crate::traffic::ledger::Ledger;

/// The result of a trial.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Where every datagram went, over the whole life of the sockets.
    pub ledger: Ledger,
    /// Length of the measured phase, in nanoseconds.
    pub measured_ns: u64,
    /// Datagrams sent in it.
    pub measured_sent: u64,
    /// Datagrams received in it, unique and intact.
    pub measured_received: u64,
    /// Those of `measured_sent` that were never received, not even after it.
    pub measured_lost: u64,
    /// How often the kernel refused a send of a generator.
    pub refused: u64,
    /// What the counters of the hosts say that they dropped in the trial.
    pub hosts: BothHosts,
    /// Length of the generator's measured phase by its own clock, in nanoseconds, if it is in another process.
    pub offered_ns: Option<u64>,
    /// What the backend counted in the measured phase.
    pub counters: Counters,
    /// What the driver counted in it.
    pub polls: Polls,
    /// What the backend counted in the whole trial.
    pub counters_total: Counters,
    /// Time in turns of the loop that moved a datagram, in nanoseconds; only for workers that spin.
    pub busy_ns: Option<u64>,
    /// What the worker's thread used in the measured phase; in rounds, only in their timed parts.
    pub usage: Usage,
    /// What the hardware counters counted there, if there are any.
    pub counts: Option<Counts>,
    /// What they counted for the peer of the rounds.
    pub peer_counts: Option<Counts>,
    /// Time that the generators used on their cores in the measured phase, in nanoseconds.
    pub generator_cpu_ns: Option<u64>,
    /// What happened to the threads.
    pub disturbance: Disturbance,
    /// How long a fixed piece of work took on the worker's core before and after the trial: the mean, in
    /// nanoseconds.
    pub canary_ns: [u64; 2],
    /// Datagrams received per nanosecond in the halves of the measured phase, where that tells whether it was steady.
    pub(crate) halves: Option<[f64; 2]>,
    /// Whether the measured phase was as fast at first as later; `None` if unknown.
    pub steady: Option<bool>,
    /// What the rounds took, in scenarios that have rounds.
    pub rounds: Option<Rounds>,
    /// What the worker of `relay` did, over the whole life of its sockets.
    pub relayed: Option<Relayed>,
    /// Latencies in nanoseconds: round trips of `echo`, else from the intended send time.
    pub latency: Option<Histogram<u64>>,
    /// How far a generator with a schedule was behind its schedule, in nanoseconds.
    pub late: Option<Histogram<u64>>,
    /// Answers of `serve` and `relay` that came too late to be of use.
    pub late_answers: Option<u64>,
    /// The longest time between two looks for answers, in nanoseconds.
    pub poll_gap_ns: Option<u64>,
    /// Granted receive buffer in bytes, where there are sockets.
    pub rcvbuf: Option<u32>,
    /// Granted send buffer in bytes.
    pub sndbuf: Option<u32>,
    /// How the load was sent: `gso`, `sendmmsg` or `memory`; empty in `send` and `echo`.
    pub fill: String,
    /// What took effect in the backend.
    pub in_effect: String,
    /// Whether the load was too small to show what the worker can do; `None` where that does not apply.
    pub limited: Option<bool>,
    /// Why the trial is unusable, although it ran to its end.
    pub invalid: Option<Reason>,
    /// The most datagrams in a train of the generators, where trains are received.
    pub(crate) train: Option<u64>,
    /// Of several workers that receive from generators: what the one that received most in the measured phase received,
    /// relative to an equal share.
    pub balance: Option<f64>,
    /// Rates and times of several workers, if there are several.
    pub(crate) together: Option<Together>,
}

/// What a worker of `relay` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Datagrams that it received, unique and intact.
    pub received: u64,
    /// Copies that the kernel took from it.
    pub forwarded: u64,
}

/// What several workers did together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Together {
    /// Datagrams sent and received per second: the sums of each worker's rate.
    rates: [f64; 2],
    /// The sum of their measured phases.
    workers_ns: u64,
}

impl Outcome {
    /// Datagrams sent and received per second of the measured phase; of several workers, the sums.
    pub fn rates(&self) -> [f64; 2] {
        let seconds = self.measured_ns as f64 / 1e9;
        let own = [self.measured_sent, self.measured_received].map(|count| count as f64 / seconds);
        self.together.map_or(own, |together| together.rates)
    }

    /// Measured phases of all workers, added up, in nanoseconds.
    pub fn workers_ns(&self) -> u64 {
        self.together.map_or(self.measured_ns, |together| together.workers_ns)
    }

    /// Accounts for what did not arrive, and judges whether it was steady, once it is known what all senders have sent to all
    /// receivers.
    pub(super) fn account(&mut self) {
        if let Some(train) = self.train {
            self.ledger.note_dropped(self.ledger.drop_socket, train);
        }
        self.measured_lost = self.measured_sent.saturating_sub(self.ledger.arrived.measured);
        // Of one that shares what comes, a half may have had next to nothing.
        self.steady = self.halves.map(|[first, rest]| gates::is_steady(first, rest));
    }

    /// What several workers did at the same time: counts and rates add up, histograms merge. Each has its own port, and
    /// so an account of its own.
    pub(super) fn merge(mut self, other: Self) -> Self {
        // One by one: a shortfall of one worker could hide a surplus of another.
        let is_unbalanced = |ledger: &Ledger| ledger.unexplained() != 0 && !ledger.is_mixed_with_unrelated();
        if is_unbalanced(&self.ledger) || is_unbalanced(&other.ledger) {
            self.invalid = Some(Reason::UnbalancedWorker);
        }
        self.merge_sharing(other)
    }

    /// As [`Outcome::merge`], of workers that share what their generators send: only the sum of their accounts balances.
    pub(super) fn merge_sharing(mut self, other: Self) -> Self {
        self.ledger.add(other.ledger);
        self.train = self.train.max(other.train);
        self.halves = both(self.halves, other.halves, |a, b| [a[0] + b[0], a[1] + b[1]]);
        let ([sent, received], [others_sent, others_received]) = (self.rates(), other.rates());
        self.together = Some(Together {
            rates: [sent + others_sent, received + others_received],
            workers_ns: self.workers_ns() + other.workers_ns(),
        });
        self.measured_sent += other.measured_sent;
        self.measured_received += other.measured_received;
        self.measured_lost += other.measured_lost;
        self.refused += other.refused;
        self.hosts.peer = match (self.hosts.peer, other.hosts.peer) {
            (Some(own), Some(other)) => Some(own.or_more(&other)),
            (own, other) => own.or(other),
        };
        self.measured_ns = self.measured_ns.max(other.measured_ns);
        self.limited = both(self.limited, other.limited, |a, b| a || b);
        self.counters = self.counters.and(other.counters);
        self.counters_total = self.counters_total.and(other.counters_total);
        self.polls.add(other.polls);
        self.busy_ns = both(self.busy_ns, other.busy_ns, |a, b| a + b);
        self.usage.add(other.usage);
        self.counts = both(self.counts, other.counts, add_counts);
        self.peer_counts = both(self.peer_counts, other.peer_counts, add_counts);
        self.generator_cpu_ns = both(self.generator_cpu_ns, other.generator_cpu_ns, |a, b| a + b);
        self.disturbance = self.disturbance.merge(other.disturbance);
        self.canary_ns = [0, 1].map(|at| self.canary_ns[at].max(other.canary_ns[at]));
        self.steady = both(self.steady, other.steady, |a, b| a && b);
        self.rounds = both(self.rounds, other.rounds, Rounds::merge);
        self.relayed = both(self.relayed, other.relayed, |a, b| Relayed {
            received: a.received + b.received,
            forwarded: a.forwarded + b.forwarded,
        });
        self.latency = both(self.latency, other.latency, merge_histograms);
        self.late = both(self.late, other.late, merge_histograms);
        self.late_answers = both(self.late_answers, other.late_answers, |a, b| a + b);
        self.poll_gap_ns = both(self.poll_gap_ns, other.poll_gap_ns, u64::max);
        self.invalid = self.invalid.or(other.invalid);
        self
    }
}

/// The longest round trip that is distinguished from longer ones, and the precision in decimal digits.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
const LATENCY_DIGITS: u8 = 3;

/// A histogram of latencies in nanoseconds: 1 ns to 60 s, within 0.1%, never resized.
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, LATENCY_DIGITS).expect("the bounds and digits are valid")
}

fn both<T>(a: Option<T>, b: Option<T>, merge: impl FnOnce(T, T) -> T) -> Option<T> {
    Some(merge(a?, b?))
}

fn add_counts(a: Counts, b: Counts) -> Counts {
    Counts { cycles: a.cycles + b.cycles, instructions: a.instructions + b.instructions }
}

fn merge_histograms(mut a: Histogram<u64>, b: Histogram<u64>) -> Histogram<u64> {
    a.add(b).expect("all latency histograms have the same bounds");
    a
}

/// What the rounds of a trial took, per datagram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rounds {
    /// Datagrams per round that were in effect.
    pub size: usize,
    /// Nanoseconds per datagram of the side under test: mean.
    pub mean_ns: f64,
    /// The same of each round, sorted; of very many rounds, every second one, or fourth, …
    pub costs_ns: Vec<f64>,
    /// Datagrams in all rounds.
    pub datagrams: u64,
    /// Nanoseconds per datagram of the peer: mean.
    pub peer_ns: f64,
    /// The same of each round, sorted.
    pub peer_costs_ns: Vec<f64>,
}

impl Rounds {
    /// The median over rounds, in nanoseconds per datagram.
    pub fn p50_ns(&self) -> f64 {
        crate::stats::median_of_sorted(&self.costs_ns).unwrap_or(0.0)
    }

    /// The least over rounds.
    pub fn min_ns(&self) -> f64 {
        self.costs_ns.first().copied().unwrap_or(0.0)
    }

    /// The rounds of two workers.
    fn merge(mut self, other: Self) -> Self {
        let datagrams = self.datagrams + other.datagrams;
        let mean = |own: f64, others: f64| {
            (own * self.datagrams as f64 + others * other.datagrams as f64) / datagrams.max(1) as f64
        };
        (self.mean_ns, self.peer_ns) = (mean(self.mean_ns, other.mean_ns), mean(self.peer_ns, other.peer_ns));
        self.costs_ns.extend(other.costs_ns);
        self.costs_ns.sort_unstable_by(f64::total_cmp);
        self.peer_costs_ns.extend(other.peer_costs_ns);
        self.peer_costs_ns.sort_unstable_by(f64::total_cmp);
        Self { size: self.size.min(other.size), datagrams, ..self }
    }
}

/// Why a trial has no result.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The backend cannot run here.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A socket is not available.
    #[error("{what}: {error}{}", remedy(error))]
    Socket {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// Moving datagrams failed.
    #[error("{what} failed: {error}{}", remedy(error))]
    Io {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// Datagrams were sent, and none arrived.
    #[error(
        "none of the {sent} datagrams that were sent has arrived: the interface is down, or a firewall or its queue drops \
         them; see `ip -s link`, `nft list ruleset`, `iptables -S` and `tc -s qdisc`, with --peer on both hosts"
    )]
    NothingArrived {
        /// How many were sent.
        sent: usize,
    },
    /// Datagrams were sent, and the socket had no room for any of them.
    #[error(
        "the kernel dropped all {sent} datagrams at the socket, whose queue is full of datagrams from unrelated \
         senders; stop those, or use --addressing connected or another --port"
    )]
    QueueFull {
        /// How many were sent.
        sent: usize,
    },
    /// The kernel cuts sends only into datagrams that need no fragmentation.
    #[error(
        "a payload of {payload} bytes and its headers are larger than the MTU of {mtu}, and with gso the kernel sends \
         no datagram that it would have to fragment; leave out gso, use --payload {}, or raise the MTU (`ip link set \
         dev lo mtu 65536`)", mtu - headers
    )]
    SegmentTooLong {
        /// UDP payload in bytes.
        payload: usize,
        /// The path's.
        mtu: usize,
        /// Bytes of the headers before a payload.
        headers: usize,
    },
    /// The process of the peer is of no use.
    #[error(transparent)]
    Peer(#[from] LinkError),
    /// Nothing passes between the worker and a peer in another process.
    #[error(
        "no answer came from the peer's socket on {far}: check that the addresses of --bind and --peer-bind reach each \
         other (`ping`, `ip route get {far}`), and that no firewall and no queue drops UDP (`nft list ruleset`, \
         `iptables -S`, `tc -s qdisc`)"
    )]
    NoWay {
        /// The peer's address.
        far: std::net::IpAddr,
    },
    /// The queue is too short for even one batch.
    #[error(
        "the receive queue holds {held} datagrams of {payload} bytes in half of its {rcvbuf} bytes, less than one batch \
         of {batch}; use a smaller --batch, or a larger --rcvbuf (`sysctl net.core.rmem_max`)"
    )]
    QueueTooShort {
        /// Datagrams that fit.
        held: usize,
        /// Their payload in bytes.
        payload: usize,
        /// The granted buffer in bytes.
        rcvbuf: u32,
        /// Datagrams per call.
        batch: usize,
    },
    /// The device's ring holds less than one batch.
    #[error(
        "the receiving ring of the network device holds {ring} packets, less than one batch of {batch}; use a smaller \
         --batch, or lengthen the ring (`ethtool -G`)"
    )]
    RingTooShort {
        /// Packets that it holds.
        ring: usize,
        /// Datagrams per call.
        batch: usize,
    },
    /// A round holds less than one batch.
    #[error("a round of {round} holds less than one batch of {batch}; use a smaller --batch or a larger --round")]
    RoundTooShort {
        /// The round asked for.
        round: usize,
        /// Datagrams per call.
        batch: usize,
    },
    /// Threads that spin need cores of their own.
    #[error(
        "{what} needs {needed} cores, and hpbench may run on {allowed} only; allow more (`taskset`, the container's \
         cpuset), or {instead}"
    )]
    TooFewCores {
        /// What cannot be run.
        what: String,
        /// The least number of cores for it.
        needed: usize,
        /// How many there are.
        allowed: usize,
        /// What can be run.
        instead: &'static str,
    },
    /// The worker cannot have a descriptor table of its own.
    #[error(
        "the worker cannot have a descriptor table of its own (unshare(CLONE_FILES): {0}); a seccomp filter may forbid it \
         (Docker: `--security-opt seccomp=unconfined`); use --fd-table shared"
    )]
    FdTable(io::Error),
    /// Nothing moved any more.
    #[error("{0}")]
    Stalled(&'static str),
    /// Another worker of the trial failed.
    #[error("another worker of the trial failed")]
    OtherWorker,
    /// The user wants the run to end.
    #[error("interrupted")]
    Interrupted,
    /// Frames were not returned to the pool.
    #[error(
        "{}{lost} of {total} frames were not returned, a bug in hpbench; the next trial has a new pool",
        cause.as_ref().map_or_else(String::new, |cause| format!("{cause}; "))
    )]
    FramesLost {
        /// How many are missing.
        lost: usize,
        /// Of how many.
        total: usize,
        /// Why the trial failed anyway, if it did.
        cause: Option<Box<TrialError>>,
    },
    /// A thread could not be pinned.
    #[error(transparent)]
    Cores(#[from] cores::CoresError),
    /// A thread could not be started.
    #[error(
        "a thread of the trial cannot be started: {0}; raise the limit of processes and threads (`ulimit -u`; pids.max of \
         the cgroup, Docker: `--pids-limit`)"
    )]
    Thread(io::Error),
    /// A thread panicked: a bug.
    #[error("a thread of the trial panicked; this is a bug in hpbench")]
    Panicked,
}

impl TrialError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { what, error }
    }
}
