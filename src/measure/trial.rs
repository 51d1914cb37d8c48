//! One trial: what goes in, and what its threads share. [`scenario`](crate::measure::scenario) runs it; the result is
//! an [`Outcome`], or a [`TrialError`] that says why there is none.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hpbench_backends::kernel::descriptors::OwnDescriptors;
use hpbench_backends::{Addressing, Config, MemoryPort, Mode, Pool, Port, Socket};

use crate::measure::control::Interrupt;
use crate::measure::cost;
use crate::measure::near::Near;
use crate::measure::order::Order;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::remote::session::{Asking, Demand, Peer, Session};
use crate::measure::shards::Shards;
use crate::measure::targets::Targets;
use crate::measure::truesizes::Truesizes;
use crate::plan::cells::{Cell, FdTable, Options, Scenario, Until, Wait};
use crate::plan::cores::{self, Place};
use crate::plan::spread::Spread;
use crate::traffic::wire::{Tag, Wire};
use crate::traffic::work::Work;

/// What a trial is run with.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a, 'p> {
    /// The cell to measure.
    pub cell: &'a Cell,
    /// What all trials have in common.
    pub options: &'a Options,
    /// Where the frames come from.
    pub pool: &'p Pool,
    /// Ends the trial early.
    pub interrupt: &'a Interrupt,
    /// What earlier trials have found out about queues.
    pub truesizes: &'a Truesizes,
    /// Tells its datagrams from those of other trials.
    pub tag: Tag,
    /// Who offers or counts the load, if another process does.
    pub peer: Option<&'a Peer>,
}

/// The other end of a worker's socket.
#[derive(Debug)]
pub enum Far<'a> {
    /// A socket of this process, and where it sends to if the worker has many.
    Here(Arc<Socket>, Option<Targets>),
    /// One of an agent, and where that sends to, likewise.
    There(Box<Session<'a>>, Option<Targets>),
}

/// One worker's part of a trial; most trials have one part only.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a, 'p> {
    /// The trial.
    pub trial: &'a Trial<'a, 'p>,
    /// Where the threads of this part run.
    pub place: &'a Place,
    /// Which part it is, from 0 on.
    pub index: usize,
    pub(super) together: &'a Rendezvous,
    /// What the workers share, if they share a port.
    pub(super) shards: Option<&'a Shards>,
}

impl<'a, 'p> Deref for Part<'a, 'p> {
    type Target = Trial<'a, 'p>;

    fn deref(&self) -> &Self::Target {
        self.trial
    }
}

impl<'a, 'p> Part<'a, 'p> {
    /// Pins the calling thread as the worker and does its work, with the canary before and after it.
    ///
    /// The thread is never alone: the one that waits for it shares its descriptor table, unless it has its own.
    pub(crate) fn on_worker_core(
        &self,
        work: impl FnOnce() -> Result<Outcome, TrialError>,
    ) -> Result<Outcome, TrialError> {
        let _table = self.descriptors()?;
        self.pin(self.place.worker)?;
        let before = cost::canaries_ns();
        let outcome = work()?;
        let after = cost::canaries_ns();
        Ok(Outcome { canary_ns: [0, 1].map(|at| u64::midpoint(before[at], after[at])), ..outcome })
    }

    /// Pins the calling thread, which the worker's has started: the app's, or one that fills. Returns its own descriptor
    /// table, if it needs one: where the worker has one, it would share that.
    pub(crate) fn pin_beside(&self, core: usize) -> Result<Option<OwnDescriptors>, TrialError> {
        let table = self.descriptors()?;
        self.pin(core)?;
        Ok(table)
    }

    /// The descriptor table of the calling thread, if it has its own.
    fn descriptors(&self) -> Result<Option<OwnDescriptors>, TrialError> {
        let own = (self.cell.fd_table == Some(FdTable::Own)).then(OwnDescriptors::unshare);
        own.transpose().map_err(TrialError::FdTable)
    }

    /// Pins the calling thread, with the priority of the run.
    pub(crate) fn pin(&self, core: usize) -> Result<(), TrialError> {
        cores::pin(core)?;
        cores::prioritise(self.options.fifo);
        Ok(())
    }

    /// How the datagrams are written and checked.
    pub(crate) fn wire(&self) -> Wire {
        Wire { tag: self.tag, verify: self.options.verify }
    }

    /// What the app does with each datagram.
    pub(crate) fn work(&self) -> Work {
        Work::new(self.cell.work.unwrap_or(0), self.interrupt.flag())
    }

    /// What ends the measured phase.
    pub(crate) fn until(&self) -> Until {
        self.options.until(self.cell.scenario)
    }

    /// Time before it that is discarded.
    pub(crate) fn warmup(&self) -> Duration {
        self.options.warmup(self.cell.scenario)
    }

    /// What the peer of this part has to do; among generators, the one with this flow.
    pub(crate) fn order(&self, flow: usize) -> Order {
        let (cell, options) = (self.cell, self.options);
        let cores = &self.place.generators;
        Order {
            scenario: cell.scenario,
            wire: self.wire(),
            flow: (self.generator(flow) * cell.flows_of_generator()) as u16,
            payload: cell.payload,
            // A train goes to one socket.
            gso: options.gso && cell.sockets() == 1,
            rate_pps: cell.rate.unwrap_or(1),
            burst: cell.burst.unwrap_or(1),
            fanout: cell.fanout.unwrap_or(1),
            window: cell.window.unwrap_or(1),
            warmup: self.warmup(),
            until: self.until(),
            core: match self.peer {
                Some(peer) => Some(peer.core(self.index, flow)),
                // In rounds, the peer is on the worker's thread, unless it is asked for elsewhere.
                None => cell.has_two_threads().then(|| cores[flow % cores.len()]),
            },
            fifo: options.fifo,
        }
    }

    /// The number of a generator of this part among all whose datagrams a worker may receive.
    fn generator(&self, own: usize) -> usize {
        let of_others =
            if self.shards.is_some() { self.index * self.options.generators_of(self.cell).max(1) } else { 0 };
        of_others + own
    }

    /// How many generators send to the sockets of this part.
    pub(crate) fn senders(&self) -> usize {
        let workers = if self.shards.is_some() { self.options.cores.places.len() } else { 1 };
        workers * self.options.generators_of(self.cell).max(1)
    }

    /// What the generators of this part have to do; in rounds, what the one peer has to do.
    pub(crate) fn orders(&self) -> Vec<Order> {
        let generators = self.options.generators_of(self.cell).max(1);
        (0..generators).map(|flow| self.order(flow)).collect()
    }

    /// How many threads offer load in this process: an agent's generators have one that speaks for them.
    pub(crate) fn offering(&self) -> usize {
        if self.peer.is_some() { 1 } else { self.orders().len() }
    }

    /// What ends the trial early: the user's wish, which a relay passes on if the peer is an agent. It then ends the
    /// worker, too, if the agent is lost.
    pub(crate) fn own_interrupt(&self) -> Interrupt {
        if self.peer.is_some() { Interrupt::default() } else { self.interrupt.clone() }
    }

    /// All cores of this part.
    pub(crate) fn cores(&self) -> Vec<usize> {
        let place = self.place;
        let generators = if self.peer.is_some() { 0 } else { self.options.generators_of(self.cell) };
        let generators = place.generators.iter().copied().take(generators);
        let others = self.app_core().into_iter().chain(self.kernel_core());
        let mut cores: Vec<usize> = [place.worker].into_iter().chain(others).chain(generators).collect();
        cores.sort_unstable();
        cores.dedup();
        cores
    }

    /// The core of the app's thread, if it has one.
    pub(crate) fn app_core(&self) -> Option<usize> {
        self.place.app.filter(|_| self.options.handoff)
    }

    /// Waits for the other workers of the trial, so that all of them measure at the same time.
    pub(crate) fn meet(&self) -> Result<(), TrialError> {
        match self.together.meet() {
            true => Ok(()),
            false => Err(TrialError::OtherWorker),
        }
    }

    /// The backend's configuration.
    pub fn config(&self) -> Config {
        // In rounds a program of a runtime awaits each receive, too: what it awaits is there.
        let awaits = self.cell.scenario.has_rounds() && self.cell.variant.kind().is_runtime();
        Config {
            kernel_core: self.kernel_core(),
            block: (self.cell.wait == Wait::Block || awaits).then_some(BLOCK),
            ..self.cell.backend_config()
        }
    }

    /// The core of the kernel's thread, if the variant has one: the last of those that are not the worker's.
    fn kernel_core(&self) -> Option<usize> {
        self.place.generators.last().copied().filter(|_| self.cell.has_kernel_thread())
    }

    /// Two sockets with the buffers asked for: the worker's and the peer's. The peer's is always connected, the
    /// worker's as the cell wants it.
    pub(crate) fn sockets(&self) -> Result<(Arc<Socket>, Arc<Socket>), TrialError> {
        let (near, far) = self.open_sockets(self.port(), self.cell.addressing, self.options.rcvbuf)?;
        self.check_segments(&far)?;
        Ok((near, far))
    }

    /// The port of the worker's socket; 0 is any.
    pub(super) fn port(&self) -> u16 {
        if self.options.port == 0 { 0 } else { self.options.port + self.index as u16 }
    }

    /// The worker's socket, and the other end of it: a socket of this process, or of an agent.
    pub(crate) fn ends(&self) -> Result<(Near, Far<'a>), TrialError> {
        if let Some(spread) = self.cell.spread.filter(|spread| spread.sockets > 1) {
            return self.many_sockets(spread);
        }
        let Some(peer) = self.peer else {
            return self.sockets().map(|(near, far)| (near.into(), Far::Here(far, None)));
        };
        let (near, session) = self.open_session(peer, self.port(), self.cell.addressing, self.options.rcvbuf)?;
        self.check_segments(&near)?;
        Ok((near.into(), Far::There(Box::new(session), None)))
    }

    /// Many sockets of the worker, which share the receive buffer that was asked for, and one that sends to all of them.
    fn many_sockets(&self, spread: Spread) -> Result<(Near, Far<'a>), TrialError> {
        let failed = |what| move |error| TrialError::Socket { what, error };
        let (options, sockets) = (self.options, spread.sockets);
        let [near_sends, far_sends] = senders(self.cell.scenario);
        let connects = self.cell.addressing == Addressing::Connected;
        let open = |index: usize| {
            let port = if options.port == 0 { 0 } else { options.port + (self.index * sockets + index) as u16 };
            let near = Socket::bind(options.bind.at(port)).map_err(failed("binding the worker's sockets"))?;
            near.set_buffers(options.rcvbuf / sockets, options.sndbuf).map_err(failed("setting socket buffers"))?;
            Ok(near)
        };
        let mut near = (0..sockets).map(open).collect::<Result<Vec<Socket>, TrialError>>()?;
        let ends = match self.peer {
            None => {
                let far = Socket::bind(options.bind.at(0)).map_err(failed("binding the generator's socket"))?;
                far.set_buffers(options.rcvbuf, options.sndbuf).map_err(failed("setting socket buffers"))?;
                if far_sends {
                    far.report_drops().map_err(failed("setting IP_RECVERR"))?;
                }
                let peer = far.local_addr().map_err(failed("reading a socket's address"))?;
                for near in near.iter_mut().filter(|_| connects) {
                    near.connect_to(peer).map_err(failed("connecting the worker's sockets"))?;
                }
                Far::Here(Arc::new(far), None)
            }
            Some(peer) => {
                let demand = Demand { spread, ..self.demand(options.rcvbuf) };
                let asking: Vec<&Socket> = near.iter().collect();
                let session = Session::open(peer, &demand, Asking::Each(&asking), self.interrupt)?;
                near.iter_mut().filter(|_| connects).try_for_each(|near| session.connect(near))?;
                Far::There(Box::new(session), None)
            }
        };
        for near in near.iter().filter(|_| near_sends) {
            near.report_drops().map_err(failed("setting IP_RECVERR"))?;
        }
        let near: Near = near.into_iter().map(Arc::new).collect();
        self.check_segments(near.first())?;
        let targets = Some(Targets::new(spread, &near).map_err(failed("reading a socket's address"))?);
        let far = match ends {
            Far::Here(far, _) => Far::Here(far, targets),
            Far::There(session, _) => Far::There(session, targets),
        };
        Ok((near, far))
    }

    /// What an agent has to do, which sends to one socket.
    pub(super) fn demand(&self, rcvbuf: usize) -> Demand {
        // Generators of workers that share a port have their own, as without an agent.
        let ports = self.cell.flows.filter(|&flows| flows > 1 || self.shards.is_some());
        Demand { orders: self.orders(), spread: Spread::ONE, ports, buffers: [rcvbuf, self.options.sndbuf] }
    }

    /// As [`Part::roomy_pair`], with a socket of an agent.
    pub(crate) fn roomy_session(&self, peer: &'a Peer) -> Result<(Arc<Socket>, Session<'a>), TrialError> {
        self.open_session(peer, 0, Addressing::Connected, self.options.rcvbuf.max(ROOMY))
    }

    fn open_session(
        &self,
        peer: &'a Peer,
        port: u16,
        addressing: Addressing,
        rcvbuf: usize,
    ) -> Result<(Arc<Socket>, Session<'a>), TrialError> {
        let failed = |what| move |error| TrialError::Socket { what, error };
        let bound = Socket::bind(self.options.bind.at(port));
        let mut near = bound.map_err(failed("binding the worker's socket"))?;
        near.set_buffers(rcvbuf, self.options.sndbuf).map_err(failed("setting socket buffers"))?;
        let session = Session::open(peer, &self.demand(rcvbuf), Asking::Each(&[&near]), self.interrupt)?;
        if addressing == Addressing::Connected {
            session.connect(&mut near)?;
        }
        if senders(self.cell.scenario)[0] {
            near.report_drops().map_err(failed("setting IP_RECVERR"))?;
        }
        Ok((Arc::new(near), session))
    }

    /// Two connected sockets besides those of [`Part::sockets`], at ports that are free, with room for the longest train
    /// whatever buffers are asked for.
    pub(crate) fn roomy_pair(&self) -> Result<(Arc<Socket>, Arc<Socket>), TrialError> {
        self.open_sockets(0, Addressing::Connected, self.options.rcvbuf.max(ROOMY))
    }

    fn open_sockets(
        &self,
        port: u16,
        addressing: Addressing,
        rcvbuf: usize,
    ) -> Result<(Arc<Socket>, Arc<Socket>), TrialError> {
        let options = self.options;
        let failed = |what| move |error| TrialError::Socket { what, error };
        let address = options.bind.at(port);
        let pair = match addressing {
            Addressing::Connected => Socket::pair(address),
            Addressing::Unconnected => Socket::half_connected_pair(address),
        };
        let (near, far) = pair.map_err(failed("opening two connected sockets"))?;
        for socket in [&near, &far] {
            socket.set_buffers(rcvbuf, options.sndbuf).map_err(failed("setting socket buffers"))?;
        }
        // What a queueing discipline drops is not sent, and sent again: loopback may have one, too.
        for (socket, _) in [&near, &far].into_iter().zip(senders(self.cell.scenario)).filter(|(_, sends)| *sends) {
            socket.report_drops().map_err(failed("setting IP_RECVERR"))?;
        }
        Ok((Arc::new(near), Arc::new(far)))
    }

    /// Whether a backend that lets the kernel cut its sends may do so over the path of `socket`, which is connected.
    fn check_segments(&self, socket: &Socket) -> Result<(), TrialError> {
        let payload = self.cell.payload;
        let sends = self.cell.scenario == Scenario::Send || self.cell.scenario.is_answered();
        if !sends || !self.cell.variant.has(Mode::GSO) || socket.sends_whole(payload) {
            return Ok(());
        }
        let headers = socket.header_bytes().map_err(TrialError::io("reading a socket's address"))?;
        Err(TrialError::SegmentTooLong { payload, mtu: socket.path_mtu().unwrap_or(headers), headers })
    }

    /// The two ends of a memory link that holds a round.
    pub(crate) fn memory_link(&self) -> (Port<'p>, Port<'p>) {
        let (near, far) = MemoryPort::pair(self.cell.round.unwrap_or(1));
        (Port::Memory(near), Port::Memory(far))
    }

    /// Whether this trial goes through sockets.
    pub(crate) fn has_sockets(&self) -> bool {
        self.cell.variant.kind().has_socket()
    }
}

/// Which sockets send: the worker's, and the peer's.
fn senders(scenario: Scenario) -> [bool; 2] {
    match scenario {
        Scenario::Drain | Scenario::Flood | Scenario::Pace => [false, true],
        Scenario::Send => [true, false],
        Scenario::Echo | Scenario::Serve | Scenario::Relay => [true, true],
    }
}

/// A receive buffer for any train, in bytes: its payload is at most four of 64 KiB.
const ROOMY: usize = 1 << 20;

/// The longest that a worker sleeps in the kernel before it looks whether the trial is over.
const BLOCK: Duration = Duration::from_millis(10);

/// Where the workers of a trial meet before they measure.
#[derive(Debug)]
pub(super) struct Rendezvous {
    workers: usize,
    arrived: AtomicUsize,
    left: AtomicBool,
    /// Workers whose generators have ended.
    offered: AtomicUsize,
    /// Workers whose clients ask nothing more.
    asked: AtomicUsize,
    /// Workers that have nothing to do.
    idle: AtomicUsize,
}

impl Rendezvous {
    pub(super) fn new(workers: usize) -> Self {
        let zero = || AtomicUsize::new(0);
        Self { workers, arrived: zero(), left: AtomicBool::new(false), offered: zero(), asked: zero(), idle: zero() }
    }

    /// The generators of a worker have ended, which reports it once.
    pub(super) fn report_offered(&self) {
        self.offered.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether some generators of any worker still send. If a worker left because it failed, they are about to end.
    pub(super) fn is_offering(&self) -> bool {
        self.offered.load(Ordering::Acquire) < self.workers && !self.left.load(Ordering::Acquire)
    }

    /// The client of a worker asks nothing more, and waits for answers; the worker reports that once.
    pub(super) fn report_asked(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a client of any worker still asks.
    pub(super) fn is_asking(&self) -> bool {
        self.asked.load(Ordering::Acquire) < self.workers
    }

    /// A worker has had nothing to do for a while, or has something to do again.
    pub(super) fn report_idle(&self, is_idle: bool) {
        match is_idle {
            true => self.idle.fetch_add(1, Ordering::AcqRel),
            false => self.idle.fetch_sub(1, Ordering::AcqRel),
        };
    }

    /// Whether no worker has something to do.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Acquire) == self.workers
    }

    /// Waits for all, each time that all come. `false` if one left without having come, or 10 seconds passed.
    fn meet(&self) -> bool {
        let start = Instant::now();
        let arrived = self.arrived.fetch_add(1, Ordering::AcqRel) + 1;
        let all = arrived.next_multiple_of(self.workers);
        while self.arrived.load(Ordering::Acquire) < all {
            if self.left.load(Ordering::Acquire) || start.elapsed() > Duration::from_secs(10) {
                return false;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        true
    }
}

/// Tells the others that a worker has ended.
pub(super) struct LeaveAtEnd<'a>(pub(super) &'a Rendezvous);

impl Drop for LeaveAtEnd<'_> {
    fn drop(&mut self) {
        self.0.left.store(true, Ordering::Release);
    }
}
