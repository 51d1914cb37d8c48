//! The row of a trial: how its columns are filled, and what it says.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::time::Duration;

use hpbench_backends::{Addressing, Kind};

use crate::gates::reason::{Reason, Reasons};
use crate::gates::{self, Sign, Watched};
use crate::measure::cost;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::remote::session::Peer;
use crate::measure::truesizes::Truesizes;
use crate::plan::cells::{Cell, FillCore, Options, Scenario, Until};
use crate::plan::cores::Place;
use crate::plan::schedule::Planned;
use crate::plan::shards::Sharding;
use crate::record::environment::Environment;
use crate::record::lat_tail::LatTail;

pub use crate::record::columns::Row;

/// The version of the columns.
pub const SCHEMA: u32 = 1;

/// Whether a trial counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// It counts.
    Valid,
    /// It ran, but is unusable.
    Invalid,
    /// It did not run to its end.
    Failed,
}

/// What the rows of a run have in common.
#[derive(Debug)]
pub struct Run {
    /// Identifies the run.
    pub id: String,
    /// Decides the order of the cells.
    pub seed: u64,
    /// The machine.
    pub environment: Environment,
    /// What all trials have in common.
    pub options: Options,
    /// Whether the kernel stops `SCHED_FIFO` threads now and then; `None` if none are in use.
    pub rt_limited: Option<bool>,
    /// How long the canaries of the run's first trial took, in nanoseconds: the reference for the others.
    pub canary_ns: OnceCell<[u64; 2]>,
    /// The command that repeats the plan.
    pub command: String,
    /// What its trials have measured of queues.
    pub truesizes: Truesizes,
    /// Who offers or counts the load, if another process does.
    pub peer: Option<Peer>,
}

impl Run {
    /// Where the peer of rounds is.
    fn fill_core(&self, cell: &Cell) -> &'static str {
        let worker = self.options.cores.places[0].worker;
        match &self.peer {
            None => cell.fill_core.unwrap_or(FillCore::Same).name(),
            Some(peer) if !peer.link.shares_clock() => "remote",
            Some(peer) if peer.core(0, 0) == worker => "same",
            Some(_) => "other",
        }
    }

    /// Whether the kernels of the hosts that receive measure time in interrupts.
    fn irq_time_accounting(&self, scenario: Scenario) -> String {
        let own = &self.environment.irq_time_accounting;
        let Some(peer) = self.peer.as_ref().filter(|peer| !peer.link.shares_clock()) else { return own.clone() };
        let others = &peer.link.hello().irq_time_accounting;
        match scenario {
            Scenario::Drain | Scenario::Flood | Scenario::Pace => own.clone(),
            Scenario::Send => others.clone(),
            Scenario::Echo | Scenario::Serve | Scenario::Relay => match (own.as_str(), others.as_str()) {
                (own, others) if own == others => own.into(),
                ("", _) | (_, "") => String::new(),
                _ => format!("{own} {others}"),
            },
        }
    }

    /// How the worker's core and the generator's relate.
    fn relation(&self) -> &'static str {
        let cores = &self.options.cores;
        match &self.peer {
            None => cores.relation,
            Some(peer) if !peer.link.shares_clock() => "",
            Some(peer) if peer.core(0, 0) == cores.places[0].worker => "one-core",
            Some(peer) if cores.places[0].generators.first() == Some(&peer.core(0, 0)) => cores.relation,
            Some(_) => "",
        }
    }
}

impl Row {
    /// The row of a trial, without its result.
    pub(crate) fn planned(run: &Run, cell: &Cell, planned: Planned, started_at: String) -> Self {
        let (options, cores) = (&run.options, &run.options.cores);
        let generators = (cell.scenario == Scenario::Flood).then_some(options.generators);
        let list = |cores: Vec<usize>| {
            let mut names: Vec<String> = Vec::new();
            for name in cores.iter().map(usize::to_string) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            names.join(" ")
        };
        let used = options.generators_of(cell);
        let generators_of = |place: &Place| place.generators.iter().copied().take(used).collect::<Vec<_>>();
        let generator_cpu = match &run.peer {
            None => list(cores.places.iter().flat_map(generators_of).collect()),
            Some(peer) => {
                let workers = 0..cores.places.len();
                list(workers.flat_map(|worker| (0..used).map(move |flow| peer.core(worker, flow))).collect())
            }
        };
        let shares = !generator_cpu.is_empty() || options.handoff;
        let has_socket = cell.variant.kind().has_socket();
        let of_sockets = |text: &String| if has_socket { text.clone() } else { String::new() };
        Self {
            schema: SCHEMA,
            run_id: run.id.clone(),
            started_at,
            scenario: cell.scenario.to_string(),
            backend: cell.variant.kind().to_string(),
            variant: cell.variant.to_string(),
            wait: cell.wait.name().into(),
            addressing: cell.addressing.name().into(),
            bind: options.bind.to_string(),
            batch: cell.batch,
            payload: cell.payload,
            round: cell.round,
            rate_pps: cell.rate,
            burst: cell.burst,
            window: cell.window,
            workers: cores.places.len(),
            generators,
            handoff: u8::from(options.handoff),
            fifo: options.fifo,
            ring: options.ring,
            buffers: cell.buffers,
            verify: options.verify.name().into(),
            duration_target_s: match options.until(cell.scenario) {
                Until::Elapsed(duration) => Some(duration.as_secs_f64()),
                Until::Datagrams(_) => None,
            },
            warmup_s: options.warmup(cell.scenario).as_secs_f64(),
            trial: planned.block,
            attempt: 1,
            order: planned.order,
            seed: run.seed,
            sockets: cell.spread.map(|spread| spread.sockets),
            active: cell.spread.map(|spread| spread.active),
            skew: cell.spread.map(|spread| spread.skew.exponent()),
            udp_mem: of_sockets(&run.environment.udp_mem),
            flows: cell.flows,
            sharding: cell.sharding.map_or_else(String::new, |sharding| sharding.name().into()),
            steer: cell.sharding.and_then(Sharding::steer).map_or_else(String::new, |steer| steer.name().into()),
            fd_table: cell.fd_table.map_or_else(String::new, |table| table.name().into()),
            worker_cpu: list(cores.places.iter().map(|place| place.worker).collect()),
            generator_cpu,
            cpu_relation: if shares { run.relation().into() } else { String::new() },
            peer_host: run.peer.as_ref().map_or_else(String::new, |peer| peer.link.hello().host.clone()),
            peer_kernel: run.peer.as_ref().map_or_else(String::new, |peer| peer.link.hello().kernel.clone()),
            fill_core: match cell.scenario.has_rounds() {
                true => run.fill_core(cell).into(),
                false => String::new(),
            },
            work: cell.work,
            fanout: cell.fanout,
            min_wait: cell.min_wait.map_or_else(String::new, |waited| waited.to_string()),
            rt_limited: run.rt_limited.map(u8::from),
            host: run.environment.host.clone(),
            state: run.environment.state.clone(),
            pair: run.environment.pair,
            command: run.command.clone(),
            kernel: run.environment.kernel.clone(),
            kernel_build: run.environment.kernel_build.clone(),
            arch: run.environment.arch.clone(),
            cpu_model: run.environment.cpu_model.clone(),
            ncpu: run.environment.ncpu,
            virt: run.environment.virt.clone(),
            governor: run.environment.governor.clone(),
            clocksource: run.environment.clocksource.clone(),
            mitigations: run.environment.mitigations.clone(),
            irq_time_accounting: run.irq_time_accounting(cell.scenario),
            interface: of_sockets(&run.environment.interface),
            driver: of_sockets(&run.environment.driver),
            hpbench: env!("CARGO_PKG_VERSION").into(),
            git_rev: env!("HPBENCH_GIT_REV").into(),
            rustc: env!("HPBENCH_RUSTC").into(),
            ..Self::default()
        }
    }

    /// The row of a trial that was tried.
    pub fn new(
        run: &Run,
        cell: &Cell,
        planned: Planned,
        started_at: String,
        attempt: usize,
        result: &Result<Outcome, TrialError>,
    ) -> Self {
        let mut row = Self { attempt, ..Self::planned(run, cell, planned, started_at) };
        match result {
            Ok(outcome) => row.fill_in(run, cell, outcome),
            Err(error) => row.error = error.to_string(),
        }
        row
    }

    fn fill_in(&mut self, run: &Run, cell: &Cell, outcome: &Outcome) {
        let ledger = outcome.ledger;
        self.sent = Some(ledger.sent);
        self.received = Some(ledger.arrived.received);
        self.drop_socket = Some(ledger.drop_socket);
        self.drop_ring = Some(ledger.drop_ring);
        self.duplicate = Some(ledger.arrived.duplicate);
        self.reordered = Some(ledger.arrived.reordered);
        self.corrupt = Some(ledger.arrived.corrupt);
        self.foreign = Some(ledger.arrived.foreign);
        let is_remote = run.peer.is_some();
        let (lost, unexplained) = if is_remote { ledger.lost() } else { (0, ledger.unexplained()) };
        self.lost = is_remote.then_some(lost);
        self.relayed = outcome.relayed.map(|relayed| relayed.received);
        self.forwarded = outcome.relayed.map(|relayed| relayed.forwarded);
        self.balance = outcome.balance.map(|balance| round_to(balance, 3));
        self.drop_host = outcome.hosts.dropped(is_remote);
        self.hosts = outcome.hosts.clone();
        self.unexplained = Some(unexplained);
        self.truncated = Some(outcome.counters_total.truncated);
        self.send_eagain = Some(outcome.counters_total.send_eagain);
        self.io_errors = Some(outcome.counters_total.io_errors);
        self.rcvbuf = outcome.rcvbuf;
        self.sndbuf = outcome.sndbuf;
        self.fill = outcome.fill.clone();
        self.uring_flags.clone_from(&outcome.in_effect);
        self.runtime = runtime_of(cell.variant.kind());
        self.fill_in_rates(cell, outcome);
        self.fill_in_cost(run, cell, outcome);
        self.fill_in_latency(outcome);
        self.fill_in_mechanism(cell, outcome);
        let mut reasons = Reasons::default();
        self.fill_in_quality(run, outcome, &mut reasons);
        if run.rt_limited == Some(true) && cell.scenario.has_latency() {
            reasons.push(Reason::ThrottledLatency);
        }
        if cell.addressing == Addressing::Unconnected && ledger.is_mixed_with_unrelated() {
            // The kernel's count of drops holds the unrelated ones as well.
            (self.unexplained, self.lost) = (None, None);
            reasons.push(Reason::ForeignWithLoss { foreign: ledger.arrived.foreign });
        } else if unexplained != 0 {
            reasons.push(Reason::Unexplained { datagrams: unexplained });
        }
        if outcome.measured_received == 0 {
            // Overload is not a way that nothing takes: what a full queue or ring drops has arrived.
            let has_arrived = ledger.arrived.received > 0 || ledger.drop_socket > 0 || ledger.drop_ring > 0;
            reasons.push(match (outcome.measured_sent, ledger.sent) {
                (0, _) if outcome.refused > 0 => Reason::NothingTaken,
                (_, 1..) if !has_arrived => Reason::NothingArrived { sent: ledger.sent },
                _ => Reason::NothingReceived,
            });
        }
        reasons.extend(outcome.invalid.clone());
        self.valid = u8::from(reasons.is_empty());
        self.invalid_reason = reasons;
    }

    fn fill_in_rates(&mut self, cell: &Cell, outcome: &Outcome) {
        let seconds = outcome.measured_ns as f64 / 1e9;
        self.duration_s = Some(round_to(seconds, 6));
        self.measured_sent = Some(outcome.measured_sent);
        self.measured_received = Some(outcome.measured_received);
        let (lost, sent) = (outcome.measured_lost as f64, outcome.measured_sent as f64);
        self.loss_pct = ratio(100.0 * lost, sent).map(|pct| round_to(pct, 4));
        let [tx_pps, rx_pps] = outcome.rates().map(|pps| pps.is_finite().then_some(pps));
        self.tx_pps = tx_pps.map(|pps| round_to(pps, 1));
        self.rx_pps = rx_pps.map(|pps| round_to(pps, 1));
        self.rx_mbps = rx_pps.map(|pps| round_to(pps * cell.payload as f64 * 8.0 / 1e6, 3));
        let busy_pct = outcome.busy_ns.and_then(|busy_ns| ratio(100.0 * busy_ns as f64, outcome.workers_ns() as f64));
        self.busy_pct = busy_pct.map(|pct| round_to(pct, 2));
        self.generator_limited = outcome.limited.map(u8::from);
        let came_of_measured = outcome.ledger.arrived.measured as i64;
        self.queue_growth = cell.scenario.has_rate().then_some(came_of_measured - outcome.measured_received as i64);
        if let Some(rounds) = &outcome.rounds {
            self.round = Some(rounds.size);
            self.ns_per_packet = Some(round_to(rounds.mean_ns, 3));
            self.ns_per_packet_p50 = Some(round_to(rounds.p50_ns(), 3));
            self.ns_per_packet_min = Some(round_to(rounds.min_ns(), 3));
            self.peer_ns_per_packet = Some(round_to(rounds.peer_ns, 3));
            self.trimmed_ns_per_packet = [&rounds.costs_ns, &rounds.peer_costs_ns]
                .map(|costs| crate::stats::trimmed_mean_of_sorted(costs).map(|mean| round_to(mean, 3)));
        }
    }

    fn fill_in_cost(&mut self, run: &Run, cell: &Cell, outcome: &Outcome) {
        let sends = cell.scenario == Scenario::Send;
        let moved = if sends { outcome.measured_sent } else { outcome.measured_received } as f64;
        let each = |total: u64| ratio(total as f64, moved).map(|mean| round_to(mean, 3));
        let usage = outcome.usage;
        self.cpu_ns_per_packet = each(usage.cpu_ns);
        let measured = Duration::from_nanos(outcome.measured_ns);
        if run.options.cores.places.iter().all(|place| cost::split_means_something(measured, place.worker)) {
            self.user_ns_per_packet = each(usage.user_ns);
            self.sys_ns_per_packet = each(usage.sys_ns);
        }
        // What was watched may be longer than what was measured.
        let share = (outcome.measured_ns as f64 / outcome.disturbance.watched_ns.max(1) as f64).min(1.0);
        if cell.variant.kind().has_socket() {
            let softirq_ns = outcome.disturbance.softirq_ticks.and_then(cost::softirq_ns);
            let each = softirq_ns.and_then(|ns| ratio(ns as f64 * share, outcome.measured_received as f64));
            self.softirq_ns_per_packet = each.map(|mean| round_to(mean, 3));
        }
        if cell.variant.kind().declaration().has_kernel_workers {
            let kthread_ns = outcome.disturbance.kernel_threads.cpu_ns as f64 * share;
            self.kthread_ns_per_packet = each(kthread_ns as u64);
            self.io_workers = Some(outcome.disturbance.kernel_threads.io_workers);
        }
        let generator_ns = outcome.generator_cpu_ns.map(|ns| ns as f64);
        self.generator_cpu_ns_per_packet =
            generator_ns.and_then(|ns| ratio(ns, outcome.measured_sent as f64)).map(|mean| round_to(mean, 3));
        self.cycles_per_packet = outcome.counts.and_then(|counts| each(counts.cycles));
        self.instructions_per_packet = outcome.counts.and_then(|counts| each(counts.instructions));
        self.peer_instructions_per_packet = outcome.peer_counts.and_then(|counts| each(counts.instructions));
        self.context_switches = Some(outcome.disturbance.context_switches);
    }

    /// What speaks for and against the trial, and what disturbed it.
    fn fill_in_quality(&mut self, run: &Run, outcome: &Outcome, reasons: &mut Reasons) {
        let disturbance = outcome.disturbance;
        self.run_delay_ns = disturbance.run_delay_ns;
        let unknown = [("run_delay", disturbance.run_delay_ns.is_none()), ("steal", disturbance.steal_ticks.is_none())];
        self.unknown = unknown.iter().filter(|(_, is_so)| *is_so).map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
        self.steal_pct = disturbance.steal_ticks.map(|_| round_to(disturbance.steal_pct, 3));
        let reference_ns = *run.canary_ns.get_or_init(|| outcome.canary_ns);
        let relative =
            |at: usize| ratio(outcome.canary_ns[at] as f64, reference_ns[at] as f64).map(|ratio| round_to(ratio, 4));
        (self.canary_ratio, self.kernel_canary_ratio) = (relative(0), relative(1));
        self.steady = outcome.steady.map(u8::from);
        reasons.extend(gates::disturbances(Watched {
            run_delay_ns: disturbance.run_delay_ns.unwrap_or(0),
            run_delay_pct: disturbance.run_delay_pct,
            steal_ticks: disturbance.steal_ticks.unwrap_or(0),
            steal_pct: self.steal_pct.unwrap_or(0.0),
            major_faults: disturbance.major_faults,
        }));
    }

    /// Makes the trial unusable, for a reason outside its result; if it ended in an error, that may be why.
    pub(crate) fn spoil(&mut self, reason: Reason) {
        self.invalid_reason.push(reason);
        self.valid = 0;
    }

    /// Whether the trial was disturbed in a way that another try may avoid.
    pub fn is_disturbed(&self) -> bool {
        self.invalid_reason.iter().any(Reason::is_disturbance)
    }

    /// What it shows of the machine, in a run on one machine; `clock` is the number of its clock source.
    fn sign(&self, clock: u32) -> Sign {
        Sign {
            run: 0,
            steady: self.steady.map(|steady| steady != 0),
            canaries: [self.canary_ratio, self.kernel_canary_ratio],
            machine: 0,
            clock,
        }
    }

    fn fill_in_latency(&mut self, outcome: &Outcome) {
        self.late_p99_ns =
            outcome.late.as_ref().filter(|late| !late.is_empty()).map(|late| late.value_at_quantile(0.99));
        self.late_answers = outcome.late_answers;
        self.poll_gap_max_ns = outcome.poll_gap_ns;
        let Some(latency) = outcome.latency.as_ref().filter(|latency| !latency.is_empty()) else { return };
        let quantile = |q| Some(latency.value_at_quantile(q));
        self.lat_samples = Some(latency.len());
        self.lat_min_ns = Some(latency.min());
        self.lat_mean_ns = Some(round_to(latency.mean(), 1));
        self.lat_p50_ns = quantile(0.5);
        self.lat_p90_ns = quantile(0.9);
        self.lat_p99_ns = quantile(0.99);
        self.lat_p999_ns = quantile(0.999);
        self.lat_p9999_ns = quantile(0.9999);
        self.lat_max_ns = Some(latency.max());
        self.lat_tail = LatTail::of(latency);
    }

    fn fill_in_mechanism(&mut self, cell: &Cell, outcome: &Outcome) {
        let (counters, polls) = (outcome.counters, outcome.polls);
        let kind = cell.variant.kind();
        if kind.has_socket() {
            let moved = if cell.scenario == Scenario::Send { outcome.measured_sent } else { outcome.measured_received };
            // A runtime makes calls that nobody counts.
            self.syscalls = Some(counters.syscalls).filter(|_| !kind.is_runtime());
            self.syscalls_per_packet =
                self.syscalls.and_then(|_| ratio(counters.syscalls as f64, moved as f64)).map(|mean| round_to(mean, 5));
        }
        if cell.scenario != Scenario::Send {
            self.batch_mean = ratio(polls.datagrams as f64, polls.fruitful() as f64).map(|mean| round_to(mean, 3));
            self.kernel_batch_mean =
                ratio(polls.datagrams as f64, counters.rx_syscalls as f64).map(|mean| round_to(mean, 3));
            self.empty_polls = Some(polls.empty);
            self.batch_sizes = polls.sizes;
        }
        if cell.variant.has_buffer_ring() {
            self.rearms = Some(counters.rearms.total());
            self.enobufs = Some(counters.rearms.no_buffers);
        }
        if cell.variant.kind().declaration().has_completion_queue {
            self.cq_overflow = Some(counters.cq_overflow);
        }
    }

    /// Whether the trial counts.
    pub(crate) fn state(&self) -> State {
        match self {
            _ if self.is_failed() => State::Failed,
            _ if self.valid == 0 => State::Invalid,
            _ => State::Valid,
        }
    }

    /// Why the trial is unusable, in words; empty if it counts.
    pub(crate) fn why(&self) -> Cow<'_, str> {
        match self.state() {
            State::Failed => self.error.as_str().into(),
            State::Invalid => self.invalid_reason.to_string().into(),
            State::Valid => "".into(),
        }
    }

    /// Whether the trial ran to its end, but is unusable.
    pub fn is_invalid(&self) -> bool {
        self.error.is_empty() && self.valid == 0
    }

    /// How many datagrams a system call of the backend moved.
    pub fn per_call(&self) -> Option<f64> {
        match self.scenario.as_str() {
            "send" => self.syscalls_per_packet.filter(|&calls| calls > 0.0).map(|calls| 1.0 / calls),
            _ => self.kernel_batch_mean,
        }
    }

    /// Whether the trial failed.
    pub fn is_failed(&self) -> bool {
        !self.error.is_empty()
    }

    /// Whether it makes the exit status 1: it failed, its ledger does not balance, or nothing got through.
    pub fn is_bad(&self) -> bool {
        self.shows_nothing() || !self.balances()
    }

    /// Whether the trial failed, at once or in its course: its figures say nothing.
    pub fn shows_nothing(&self) -> bool {
        self.is_failed() || self.invalid_reason.iter().any(Reason::is_failure)
    }

    /// Whether every datagram is accounted for; a trial that failed has no ledger.
    pub fn balances(&self) -> bool {
        self.unexplained.unwrap_or(0) == 0 && !self.invalid_reason.iter().any(Reason::is_unbalanced)
    }

    /// What is impossible in the row, and shows that it is not as it was written: a ledger with a wrong sum, or a trial
    /// that counts although it does not balance, or although nothing was received.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let ledger = [self.sent, self.received, self.drop_socket, self.drop_ring].map(|count| count.map(i128::from));
        if let ([Some(sent), Some(received), Some(at_socket), Some(at_ring)], Some(unexplained)) =
            (ledger, self.unexplained)
            && sent - received - at_socket - at_ring - i128::from(self.lost.unwrap_or(0)) != i128::from(unexplained)
        {
            return Some(format!(
                "its ledger contradicts itself: sent {sent}, received {received}, dropped {at_socket} and {at_ring}, \
                 unexplained {unexplained}"
            ));
        }
        if !self.lat_tail.is_empty() && self.lat_samples != Some(self.lat_tail.samples()) {
            let (samples, tail) = (self.lat_samples.unwrap_or(0), self.lat_tail.samples());
            return Some(format!("its lat_tail has {tail} latencies, but its lat_samples is {samples}"));
        }
        match self.valid {
            1 if !self.balances() => Some("it is valid although datagrams are unexplained".into()),
            // Rows of which only some columns were kept have neither count.
            1 if self.error.is_empty() && self.measured_received.map_or(self.sent.is_some(), |count| count == 0) => {
                Some("it is valid although nothing was received in its measured phase".into())
            }
            0 | 1 => None,
            other => Some(format!("its valid is {other}, neither 0 nor 1")),
        }
    }
}

/// Marks the rows of one run in which the machine was not as usual.
pub(crate) fn mark<'a>(rows: impl Iterator<Item = &'a mut Row>) {
    let rows: Vec<&mut Row> = rows.collect();
    let clock = |row: &Row| rows.iter().position(|first| first.clocksource == row.clocksource).unwrap_or(0) as u32;
    let marks = gates::marks(rows.iter().map(|row| row.sign(clock(row))));
    rows.into_iter().zip(marks).for_each(|(row, is_marked)| row.marked = is_marked);
}

/// `a / b`, or nothing where that makes no sense.
fn ratio(a: f64, b: f64) -> Option<f64> {
    let ratio = a / b;
    ratio.is_finite().then_some(ratio)
}

/// Rounds to so many decimals, so that a column claims no more than it knows.
fn round_to(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}
/// The runtime of a backend, if it has one: the versions of its crates, and how they were linked.
fn runtime_of(kind: Kind) -> String {
    if !kind.is_runtime() {
        return String::new();
    }
    let known = option_env!("HPBENCH_CRATES").unwrap_or_default().split(',');
    let of_runtime = kind.declaration().crates.iter().map(|name| {
        let is_it = |entry: &&str| entry.split_once(' ').is_some_and(|(known, _)| known == *name);
        known.clone().find(is_it).unwrap_or(name)
    });
    let lto = option_env!("HPBENCH_LTO").unwrap_or_default();
    [of_runtime.collect::<Vec<_>>().join(", "), format!("lto {lto}")].join("; ")
}
