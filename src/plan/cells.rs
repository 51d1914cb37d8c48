//! The plan: which cells are measured.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use hpbench_backends::{Addressing, Choice, Config, Kind, MinWait, Mode, Variant};
use serde::{Deserialize, Serialize};

use crate::plan::address::HostAddress;
use crate::plan::cores::Cores;
use crate::plan::shards::Sharding;
use crate::plan::spread::Spread;
use crate::traffic::wire::Verify;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scenario {
    /// Emptying a socket's queue that was filled before.
    Drain,
    /// Handing datagrams to the kernel.
    Send,
    /// Receiving as much as generators can offer.
    Flood,
    /// Receiving at an offered rate.
    Pace,
    /// Round trips of a few datagrams in flight.
    Echo,
    /// Answering requests that come at an offered rate.
    Serve,
    /// Sending on several copies of datagrams that come at an offered rate.
    Relay,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: [Self; 7] = [Self::Drain, Self::Send, Self::Flood, Self::Pace, Self::Echo, Self::Serve, Self::Relay];

    /// The name in flags and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Send => "send",
            Self::Flood => "flood",
            Self::Pace => "pace",
            Self::Echo => "echo",
            Self::Serve => "serve",
            Self::Relay => "relay",
        }
    }

    /// Whether generators send to a worker that only receives.
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Flood | Self::Pace)
    }

    /// Whether many clients may send to a worker's socket, and workers share a port.
    pub fn has_flows(self) -> bool {
        matches!(self, Self::Flood) || self.has_rate()
    }

    /// Whether the scenario works in rounds, on one thread.
    pub fn has_rounds(self) -> bool {
        matches!(self, Self::Drain | Self::Send)
    }

    /// Whether load is offered at a rate, whatever the worker does with it.
    pub fn has_rate(self) -> bool {
        matches!(self, Self::Pace | Self::Serve | Self::Relay)
    }

    /// Whether the worker sends back what it receives.
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Echo | Self::Serve | Self::Relay)
    }

    /// Whether latencies are its result.
    pub fn has_latency(self) -> bool {
        self.has_rate() || self.is_answered()
    }

    /// The measured phase of a trial, unless another is asked for: long enough for ten rounds, or for 1,000 latencies.
    /// Down to there, shorter trials tell more in the same time (a block's ratio scatters by 0.5 to 0.9% at any length
    /// from 5 to 250 ms).
    pub fn usual_duration(self) -> Duration {
        Duration::from_millis(if self.has_rounds() { 10 } else { 20 })
    }

    /// Discarded time before it, unless another is asked for.
    pub fn usual_warmup(self) -> Duration {
        Duration::from_micros(if self.has_rounds() { 2500 } else { 5000 })
    }

    /// Whether a backend can run it: generators send to a socket.
    pub fn suits(self, kind: Kind) -> bool {
        kind.has_socket() || self.has_rounds()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a worker waits for datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wait {
    /// It looks again and again, and uses its whole core.
    Spin,
    /// It sleeps in the kernel.
    Block,
}

impl Wait {
    /// The name in flags and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Block => "block",
        }
    }
}

/// For how many datagrams a worker waits at once, and how long: nothing is the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waited(pub Option<MinWait>);

/// As after `--min-wait`.
impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.pad("off"),
            Some(MinWait { count, within_us }) => f.pad(&format!("{count}:{within_us}")),
        }
    }
}

/// Whose table the kernel looks up the worker's descriptors in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FdTable {
    /// That of all threads of the process, as in most servers: each call on a descriptor takes and drops a reference.
    Shared,
    /// The worker's own, which avoids that.
    Own,
}

impl FdTable {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Shared, Self::Own];

    /// The name in flags and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Own => "own",
        }
    }
}

/// Where the queue of `drain` is filled, in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FillCore {
    /// By the worker's thread, on its core.
    Same,
    /// By a thread on the generator's core, as if the datagrams came from elsewhere.
    Other,
}

impl FillCore {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Same, Self::Other];

    /// The name in flags and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Other => "other",
        }
    }
}

/// One point of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// What is measured.
    pub scenario: Scenario,
    /// On which backend, and how it does its work.
    pub variant: Variant,
    /// Datagrams per `rx` or `tx` call.
    pub batch: usize,
    /// UDP payload bytes.
    pub payload: usize,
    /// Datagrams per round, in scenarios that have rounds.
    pub round: Option<usize>,
    /// Offered datagrams per second and worker, in scenarios that have a rate.
    pub rate: Option<u64>,
    /// Datagrams per tick of these.
    pub burst: Option<u64>,
    /// Copies of each datagram that are sent on, in `relay`.
    pub fanout: Option<usize>,
    /// Datagrams in flight, in `echo`.
    pub window: Option<usize>,
    /// How the worker waits.
    pub wait: Wait,
    /// For how many it waits at once, for variants that can, if they wait.
    pub min_wait: Option<Waited>,
    /// Whether the worker's socket knows its peer.
    pub addressing: Addressing,
    /// Entries of io_uring's buffer ring, for variants that have one.
    pub buffers: Option<usize>,
    /// Whose descriptor table the worker uses; for backends that have descriptors.
    pub fd_table: Option<FdTable>,
    /// Where the queue is filled; in `drain`, for backends that have a socket.
    pub fill_core: Option<FillCore>,
    /// The worker's sockets, for backends that have some.
    pub spread: Option<Spread>,
    /// How long the app works on each datagram that it receives, in nanoseconds.
    pub work: Option<u64>,
    /// Source ports of each generator, in `flood` and in scenarios that have a rate.
    pub flows: Option<usize>,
    /// How the workers come by their datagrams, likewise.
    pub sharding: Option<Sharding>,
}

impl Cell {
    /// What a backend is opened with, except for what depends on the machine.
    pub fn backend_config(&self) -> Config {
        Config {
            // No more can be there than are in flight; to ask for more costs a system call that finds nothing.
            batch: self.batch.min(self.window.unwrap_or(usize::MAX)),
            addressing: self.addressing,
            buffers: self.buffers.unwrap_or(1),
            copies: self.fanout.unwrap_or(1),
            min_wait: self.min_wait.and_then(|waited| waited.0),
            ..Config::of(self.variant, self.batch)
        }
    }

    /// How many datagrams the worker sends for each that it receives, if it sends any; and what one counts in the account.
    pub fn copies(&self) -> u64 {
        self.fanout.unwrap_or(1) as u64
    }

    /// How many sockets a worker has.
    pub fn sockets(&self) -> usize {
        self.spread.map_or(1, |spread| spread.sockets)
    }

    /// How many flows each generator sends: one to each socket, or from each source port.
    pub fn flows_of_generator(&self) -> usize {
        self.sockets() * self.flows.unwrap_or(1)
    }

    /// Whether all workers have one port.
    pub fn is_shared(&self) -> bool {
        self.sharding.is_some_and(Sharding::is_shared)
    }

    /// Bytes of a frame: for the worker, and for the one of `echo` or `serve`, whose datagrams have addresses if they go to many
    /// sockets.
    pub(crate) fn frame_size(&self) -> usize {
        let config = self.backend_config();
        let has_addresses = self.scenario.is_answered() && self.sockets() > 1;
        let addressing = if has_addresses { Addressing::Unconnected } else { config.addressing };
        Config { addressing, ..config }.frame_size(self.payload)
    }

    /// Whether a frame may hold many datagrams.
    pub fn receives_trains(&self) -> bool {
        self.variant.has(Mode::GRO)
    }

    /// Whether the queue is filled by a thread of its own.
    pub fn has_filling_thread(&self) -> bool {
        self.fill_core == Some(FillCore::Other)
    }

    /// Whether another thread of hpbench offers load to the worker's.
    pub fn has_two_threads(&self) -> bool {
        !self.scenario.has_rounds() || self.has_filling_thread()
    }

    /// Whether a thread of the kernel works beside the worker's.
    pub fn has_kernel_thread(&self) -> bool {
        self.variant.kernel_thread().is_some()
    }

    /// The mode that it works for, as after `--backend`.
    pub(crate) fn kernel_thread(&self) -> Option<String> {
        self.variant.kernel_thread().map(|mode| format!("{}:{}", self.variant.kind(), mode.name))
    }
}

/// What ends the measured phase of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// Wall time.
    Elapsed(Duration),
    /// A number of datagrams.
    Datagrams(u64),
}

/// What all trials of a run have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// What ends the measured phase, if not the scenario's default.
    pub until: Option<Until>,
    /// Discarded time before it, likewise.
    pub warmup: Option<Duration>,
    /// How much of each datagram is checked.
    pub verify: Verify,
    /// The address of all sockets.
    pub bind: HostAddress,
    /// The worker's port; 0 lets the kernel choose.
    pub port: u16,
    /// Slots of each ring.
    pub ring: usize,
    /// Receive buffer asked for, in bytes.
    pub rcvbuf: usize,
    /// Send buffer asked for, in bytes.
    pub sndbuf: usize,
    /// Generators of each worker in `flood`.
    pub generators: usize,
    /// Whether the kernel cuts sends into datagrams.
    pub gso: bool,
    /// Whether the app has a thread of its own.
    pub handoff: bool,
    /// The priority of pinned threads under `SCHED_FIFO`.
    pub fifo: Option<u8>,
    /// Who runs where.
    pub cores: Cores,
    /// Work that is added to each datagram, in nanoseconds: for tests of verdicts.
    pub added_ns: Option<f64>,
    /// Whether rounds begin at a tick of the kernel's timer, so that each contains the same number of ticks; useful
    /// where nothing else disturbs.
    pub at_ticks: bool,
}

impl Options {
    /// What ends the measured phase of a trial.
    pub fn until(&self, scenario: Scenario) -> Until {
        self.until.unwrap_or(Until::Elapsed(scenario.usual_duration()))
    }

    /// Time before it that is discarded.
    pub fn warmup(&self, scenario: Scenario) -> Duration {
        self.warmup.unwrap_or(scenario.usual_warmup())
    }

    /// Threads that offer load to each worker in a cell.
    pub fn generators_of(&self, cell: &Cell) -> usize {
        match cell.scenario {
            Scenario::Drain | Scenario::Send => usize::from(cell.has_filling_thread()),
            Scenario::Flood => self.generators,
            Scenario::Pace | Scenario::Echo | Scenario::Serve | Scenario::Relay => 1,
        }
    }
}

/// A backend and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its modes.
    pub choice: Choice,
    /// Whether they come from `all`, not by name. They are then left out where they make no difference or do not fit
    /// the rest.
    pub is_one_of_all: bool,
}

impl Asked {
    /// What was named.
    pub fn named(choice: Choice) -> Self {
        Self { choice, is_one_of_all: false }
    }

    /// Whether the choice makes a difference in a scenario.
    pub(super) fn concerns(self, scenario: Scenario) -> bool {
        let (receives, sends) = self.choice.concerns();
        match scenario {
            _ if !self.is_one_of_all || (receives, sends) == (false, false) => true,
            Scenario::Drain | Scenario::Flood | Scenario::Pace => receives,
            Scenario::Send => sends,
            Scenario::Echo | Scenario::Serve | Scenario::Relay => true,
        }
    }

    /// The variant for a cell; nothing if it is left out.
    fn resolve(self, addressing: Addressing, wait: Option<Wait>, sockets: usize) -> Result<Option<Variant>, String> {
        let variant = self.choice.resolve_for(addressing, sockets).and_then(|variant| {
            let kind = variant.kind();
            if let Some(reason) = kind.declaration().only_waits.filter(|_| wait == Some(Wait::Spin)) {
                return Err(format!("{kind} with --wait spin: {reason}; use --wait block"));
            }
            match variant.never_waits().filter(|_| wait == Some(Wait::Block)) {
                Some((mode, instead)) => Err(format!(
                    "{}:{} with --wait block: it never waits; use {}",
                    variant.kind(),
                    mode.name,
                    instead.map_or("--wait spin", |mode| mode.name)
                )),
                None => Ok(variant),
            }
        });
        match variant {
            Err(_) if self.is_one_of_all => Ok(None),
            // One socket needs nothing to find it.
            Ok(variant) if self.is_one_of_all && sockets == 1 && variant.finds_sockets() => Ok(None),
            variant => variant.map(Some),
        }
    }
}

/// The axes of a plan: every combination is a cell.
#[derive(Clone, Debug)]
pub struct Axes {
    /// Backends and their modes.
    pub backends: Vec<Asked>,
    /// Scenarios, in the order of the table.
    pub scenarios: Vec<Scenario>,
    /// Datagrams per call.
    pub batches: Vec<usize>,
    /// Payload bytes.
    pub payloads: Vec<usize>,
    /// Datagrams per round.
    pub rounds: Vec<usize>,
    /// Offered datagrams per second.
    pub rates: Vec<u64>,
    /// Datagrams per tick.
    pub bursts: Vec<u64>,
    /// Copies of each datagram that are sent on.
    pub fanouts: Vec<usize>,
    /// Datagrams in flight.
    pub windows: Vec<usize>,
    /// How workers wait; nothing leaves it to the backend.
    pub waits: Option<Vec<Wait>>,
    /// For how many they wait at once.
    pub min_waits: Vec<Waited>,
    /// Whether the workers' sockets know their peers.
    pub addressings: Vec<Addressing>,
    /// Entries of io_uring's buffer ring.
    pub buffers: Vec<usize>,
    /// Whose descriptor table workers use.
    pub fd_tables: Vec<FdTable>,
    /// Where queues are filled.
    pub fill_cores: Vec<FillCore>,
    /// Sockets of each worker.
    pub spreads: Vec<Spread>,
    /// How long the app works on each datagram, in nanoseconds.
    pub works: Vec<u64>,
    /// Source ports of each generator.
    pub flows: Vec<usize>,
    /// How workers come by their datagrams.
    pub shardings: Vec<Sharding>,
}

impl Axes {
    /// Whether some workers sleep until a datagram comes.
    pub(crate) fn blocks(&self) -> bool {
        match &self.waits {
            Some(waits) => waits.contains(&Wait::Block),
            None => self.backends.iter().any(|asked| asked.choice.kind().is_runtime()),
        }
    }

    /// All cells, in the order of the axes, each once. Axes that mean nothing to a scenario or a backend do not
    /// multiply it, and scenarios that a backend cannot run are left out.
    ///
    /// # Errors
    ///
    /// Which modes do not go together, and what to use instead; or that there are more than [`CELLS_MAX`].
    pub fn cells(&self) -> Result<Vec<Cell>, String> {
        let mut cells = Cells::default();
        for &scenario in &self.scenarios {
            let fits = |asked: &&Asked| scenario.suits(asked.choice.kind()) && asked.concerns(scenario);
            let backends: Vec<&Asked> = self.backends.iter().filter(fits).collect();
            if backends.is_empty() {
                continue;
            }
            for settings in self.settings(scenario) {
                for &payload in &self.payloads {
                    for &batch in &self.batches {
                        cells.check()?;
                        for &asked in &backends {
                            self.add_cells(&mut cells, *asked, &Cell { batch, payload, ..settings })?;
                        }
                    }
                }
            }
        }
        Ok(cells.in_order)
    }

    /// Adds the cells of a backend, if there are some.
    fn add_cells(&self, cells: &mut Cells, asked: Asked, settings: &Cell) -> Result<(), String> {
        let (scenario, kind) = (settings.scenario, asked.choice.kind());
        // In memory there are no addresses.
        let addressings = if kind.has_socket() { &self.addressings } else { &[Addressing::Connected][..] };
        // Runtimes are made to wait; in rounds there is nothing to wait for.
        let waits_by_default = self.waits.is_none() && kind.is_runtime() && !scenario.has_rounds();
        let wait = if waits_by_default { Wait::Block } else { settings.wait };
        let of_sockets = addressings.iter().flat_map(|&addressing| {
            axis(kind.has_socket(), &self.spreads).into_iter().map(move |spread| (addressing, spread))
        });
        let has_flows = kind.has_socket() && scenario.has_flows();
        let clients: Vec<(Option<usize>, Option<Sharding>)> = axis(has_flows, &self.flows)
            .into_iter()
            .flat_map(|flows| axis(has_flows, &self.shardings).into_iter().map(move |sharding| (flows, sharding)))
            .collect();
        let of_clients = of_sockets.flat_map(|it| clients.iter().map(move |&clients| (it, clients)));
        for ((addressing, spread), (flows, sharding)) in of_clients {
            cells.check()?;
            // A socket is connected with one client, and a group of them with none.
            let is_connected = flows.is_none_or(|flows| flows == 1) && !sharding.is_some_and(Sharding::is_shared);
            let addressing = if is_connected { addressing } else { Addressing::Unconnected };
            let sockets = spread.map_or(1, |spread| spread.sockets);
            let waits = (!scenario.has_rounds()).then_some(wait);
            let Some(variant) = asked.resolve(addressing, waits, sockets)? else { continue };
            let batch = Cell { variant, ..*settings }.backend_config().batch;
            if asked.is_one_of_all && variant.is_one_at_a_time() && sockets == 1 && batch > 1 {
                continue;
            }
            let min_waits = axis(waits == Some(Wait::Block) && variant.waits_for_many(), &self.min_waits);
            // Nothing is received in `send`, so one size is as good as another.
            let sizes = if scenario == Scenario::Send { &self.buffers[..1] } else { &self.buffers };
            for buffers in axis(variant.has_buffer_ring(), sizes) {
                for fd_table in axis(kind.has_socket(), &self.fd_tables) {
                    if fd_table == Some(FdTable::Own)
                        && let Some(reason) = kind.declaration().shares_descriptors
                    {
                        if asked.is_one_of_all {
                            continue;
                        }
                        return Err(format!("{kind} with --fd-table own: {reason}; use --fd-table shared"));
                    }
                    for fill_core in axis(kind.has_socket() && scenario == Scenario::Drain, &self.fill_cores) {
                        // A mode chosen by default may be one that was also named.
                        let of_sockets =
                            Cell { addressing, wait, fd_table, fill_core, spread, flows, sharding, ..*settings };
                        for &min_wait in &min_waits {
                            cells.add(Cell { variant, buffers, min_wait, ..of_sockets })?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The combinations of the axes that only some scenarios have; the rest of each cell is filled in later.
    fn settings(&self, scenario: Scenario) -> impl Iterator<Item = Cell> {
        let paced = scenario.has_rate();
        let rounds = axis(scenario.has_rounds(), &self.rounds);
        let (rates, bursts) = (axis(paced, &self.rates), axis(paced, &self.bursts));
        let fanouts = axis(scenario == Scenario::Relay, &self.fanouts);
        let windows = axis(scenario == Scenario::Echo, &self.windows);
        // In `send` no app receives anything.
        let works = axis(scenario != Scenario::Send, &self.works);
        // In rounds there is nothing to wait for: the queue is full.
        let waits = self.waits.clone().filter(|_| !scenario.has_rounds()).unwrap_or_else(|| vec![Wait::Spin]);
        let cell = Cell {
            scenario,
            variant: Variant::default_of(Kind::NULL),
            batch: 0,
            payload: 0,
            round: None,
            rate: None,
            burst: None,
            fanout: None,
            window: None,
            wait: Wait::Spin,
            min_wait: None,
            addressing: Addressing::Connected,
            buffers: None,
            fd_table: None,
            fill_core: None,
            spread: None,
            work: None,
            flows: None,
            sharding: None,
        };
        // One at a time: lists of many values make more combinations than there is memory for.
        let cells = rounds.into_iter().map(move |round| Cell { round, ..cell });
        let cells = cells.flat_map(move |cell| rates.clone().into_iter().map(move |rate| Cell { rate, ..cell }));
        let cells = cells.flat_map(move |cell| bursts.clone().into_iter().map(move |burst| Cell { burst, ..cell }));
        let cells = cells.flat_map(move |cell| fanouts.clone().into_iter().map(move |fanout| Cell { fanout, ..cell }));
        let cells = cells.flat_map(move |cell| windows.clone().into_iter().map(move |window| Cell { window, ..cell }));
        let cells = cells.flat_map(move |cell| works.clone().into_iter().map(move |work| Cell { work, ..cell }));
        cells.flat_map(move |cell| waits.clone().into_iter().map(move |wait| Cell { wait, ..cell }))
    }
}

/// The most cells of a plan: more than anybody waits for.
pub const CELLS_MAX: usize = 100_000;
/// How many combinations are looked at: of some values there are fewer cells than combinations.
const TRIED_MAX: usize = 20 * CELLS_MAX;

/// Cells, each once.
#[derive(Default)]
struct Cells {
    in_order: Vec<Cell>,
    known: HashSet<Cell>,
    /// How many combinations were looked at.
    tried: usize,
}

impl Cells {
    fn add(&mut self, cell: Cell) -> Result<(), String> {
        if self.known.insert(cell) {
            self.in_order.push(cell);
        }
        self.check()
    }

    /// Refuses a plan as soon as it is too large: it has too many cells, or takes too long to find out.
    fn check(&mut self) -> Result<(), String> {
        self.tried += 1;
        if self.in_order.len() <= CELLS_MAX && self.tried <= TRIED_MAX {
            return Ok(());
        }
        Err(format!(
            "the lists of values multiply to more than {CELLS_MAX} cells; name fewer values, or make several runs"
        ))
    }
}

fn axis<T: Copy>(applies: bool, values: &[T]) -> Vec<Option<T>> {
    if applies { values.iter().copied().map(Some).collect() } else { vec![None] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_multiply_only_where_they_mean_something() {
        let axes = Axes {
            backends: [Kind::NULL, Kind::PLAIN].map(|kind| Asked::named(Choice::default_of(kind))).to_vec(),
            scenarios: Scenario::ALL.to_vec(),
            batches: vec![1, 32],
            payloads: vec![64],
            rounds: vec![512, 1024],
            rates: vec![1000, 2000],
            bursts: vec![1],
            fanouts: vec![1, 4],
            windows: vec![1, 8, 64],
            waits: Some(vec![Wait::Spin, Wait::Block]),
            min_waits: vec![Waited(None)],
            addressings: vec![Addressing::Connected],
            buffers: vec![64, 512],
            fd_tables: vec![FdTable::Shared],
            fill_cores: vec![FillCore::Same],
            spreads: vec![Spread::ONE],
            works: vec![0],
            flows: vec![1],
            shardings: vec![Sharding::Ports],
        };
        let cells = axes.cells().expect("they go together");
        let count = |scenario| cells.iter().filter(|cell| cell.scenario == scenario).count();
        assert_eq!(
            Scenario::ALL.map(count),
            [8, 8, 4, 8, 12, 8, 16],
            "null has only drain and send, and neither waits"
        );
    }

    #[cfg(feature = "runtimes")]
    #[test]
    fn runtimes_wait_unless_they_are_told_to_spin() {
        let backends = [Kind::PLAIN, Kind::TOKIO].map(|kind| Asked::named(Choice::default_of(kind))).to_vec();
        let addressings = vec![Addressing::Connected];
        let axes = Axes { scenarios: vec![Scenario::Drain, Scenario::Echo], addressings, ..few(backends) };
        let waits = |axes: &Axes| -> Vec<Wait> {
            axes.cells().expect("they go together").iter().map(|cell| cell.wait).collect()
        };
        assert_eq!(waits(&axes), [Wait::Spin, Wait::Spin, Wait::Spin, Wait::Block]);
        assert_eq!(waits(&Axes { waits: Some(vec![Wait::Spin]), ..axes.clone() }), [Wait::Spin; 4]);
        let both = Axes { waits: Some(vec![Wait::Block]), ..axes };
        assert_eq!(waits(&both), [Wait::Spin, Wait::Spin, Wait::Block, Wait::Block]);
    }

    #[test]
    fn a_plan_without_end_is_refused_at_once() {
        let many: Vec<usize> = (1..=1024).collect();
        let axes = Axes {
            batches: many.clone(),
            payloads: (32..60_000).collect(),
            rounds: (1..60_000).collect(),
            scenarios: Scenario::ALL.to_vec(),
            windows: many,
            rates: (1..60_000).collect(),
            bursts: (1..=1024).collect(),
            ..few(vec![Asked::named(Choice::default_of(Kind::PLAIN))])
        };
        let refused = axes.cells().expect_err("it is too large");
        assert!(refused.contains("100000 cells") && refused.contains("fewer values"), "{refused}");
        let null = vec![Asked::named(Choice::default_of(Kind::NULL))];
        let nothing = Axes { backends: null, scenarios: vec![Scenario::Pace, Scenario::Echo], ..axes };
        assert_eq!(nothing.cells(), Ok(Vec::new()), "what fits no backend takes no time");
    }

    fn few(backends: Vec<Asked>) -> Axes {
        Axes {
            backends,
            scenarios: vec![Scenario::Drain, Scenario::Send],
            batches: vec![32],
            payloads: vec![64],
            rounds: vec![1024],
            rates: vec![1000],
            bursts: vec![1],
            fanouts: vec![1],
            windows: vec![1],
            waits: None,
            min_waits: vec![Waited(None)],
            addressings: vec![Addressing::Connected, Addressing::Unconnected],
            buffers: vec![64, 512],
            fd_tables: vec![FdTable::Shared],
            fill_cores: vec![FillCore::Same],
            spreads: vec![Spread::ONE],
            works: vec![0],
            flows: vec![1],
            shardings: vec![Sharding::Ports],
        }
    }

    fn named(text: &str) -> Asked {
        Asked::named(Choice::parse(Kind::URING, text).expect("known modes"))
    }

    #[test]
    fn buffers_multiply_what_has_a_ring_of_them_and_addresses_choose_messages() {
        let cells = few(vec![named("")]).cells().expect("they go together");
        let drains: Vec<_> = cells.iter().filter(|cell| cell.scenario == Scenario::Drain).collect();
        assert_eq!(drains.iter().map(|cell| cell.buffers).collect::<Vec<_>>(), [Some(64), Some(512)].repeat(2));
        assert_eq!(drains[0].variant.to_string(), "multishot+send+defer");
        assert_eq!(drains[2].variant.to_string(), "recvmsg-multishot+sendmsg+defer");
        assert_eq!(cells.len(), drains.len() + 2, "nothing is received in send");
        let twice = few(vec![named(""), named("multishot"), named("send")]);
        assert!(twice.cells().expect_err("named").contains("recvmsg-multishot"), "named modes are not changed");
    }

    #[test]
    fn descriptor_tables_multiply_what_has_descriptors() {
        let backends = [Kind::NULL, Kind::PLAIN].map(|kind| Asked::named(Choice::default_of(kind))).to_vec();
        let addressings = vec![Addressing::Connected];
        let axes = Axes { fd_tables: FdTable::ALL.to_vec(), addressings, ..few(backends) };
        let tables: Vec<_> = axes.cells().expect("they go together").iter().map(|cell| cell.fd_table).collect();
        assert_eq!(tables, [None, Some(FdTable::Shared), Some(FdTable::Own)].repeat(2));
    }

    #[test]
    fn one_of_all_is_left_out_where_it_makes_no_difference() {
        let all = Choice::alternatives(Kind::URING);
        let all: Vec<_> = all.into_iter().map(|choice| Asked { choice, is_one_of_all: true }).collect();
        let cells = Axes { addressings: vec![Addressing::Connected], ..few(all) }.cells().expect("none was named");
        let has = |scenario, text: &str| {
            let variant = Variant::parse(Kind::URING, text).expect("known modes");
            cells.iter().any(|cell| cell.scenario == scenario && cell.variant == variant)
        };
        assert!(has(Scenario::Drain, "single") && !has(Scenario::Send, "single"));
        assert!(has(Scenario::Send, "send-zc") && !has(Scenario::Drain, "send-zc"));
        assert!(has(Scenario::Send, "sqpoll") && has(Scenario::Drain, "sqpoll"));
        assert!(has(Scenario::Send, "gso") && !has(Scenario::Send, "gro"));
    }
}
