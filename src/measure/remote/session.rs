//! One trial with an agent: what the worker's side does instead of calling its peer's functions.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use hpbench_backends::Socket;
use rustix::time::{ClockId, clock_gettime};

use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Interrupt, Phase, StopAtEnd};
use crate::measure::order::Order;
use crate::measure::outcome::TrialError;
use crate::measure::peer::settling::SETTLE_NS;
use crate::measure::remote::consent::{self, ANSWERS_MAX, MARK, Token};
use crate::measure::remote::error::LinkError;
use crate::measure::remote::link::{Line, Link};
use crate::measure::remote::message::{Agreed, CONSENTS_MAX, Counted, Filled, FromAgent, Open, Report, ToAgent};
use crate::plan::address::RemoteAddress;
use crate::plan::cells::Until;
use crate::plan::cores;
use crate::plan::spread::Spread;

/// How often a session is begun anew if a datagram of the consent was lost, and how long one is waited for.
const ATTEMPTS: usize = 5;
const REQUESTS: usize = ANSWERS_MAX;
const ANSWER_WITHIN: Duration = Duration::from_millis(200);

/// How many sockets ask at a time: their requests fit into any receive buffer.
const ASK_AT_ONCE: usize = 32;

/// How long an agent that is alive may take for what it can do at once, such as an answer over the pipe or the end of its
/// load: a trial with a slow agent fails within five seconds. One that is silent is found out earlier.
const AT_ONCE: Duration = Duration::from_millis(4500);

/// How often an answer is looked for at least. If more than twice that passes between two looks, this process did not run,
/// because something else had its core or its machine was stopped. The agent may not have run either.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Measures how long an answer takes.
#[derive(Debug)]
struct Patience {
    left: Duration,
    looked: Instant,
}

impl Patience {
    fn new(within: Duration) -> Self {
        Self { left: within, looked: Instant::now() }
    }

    /// Whether the time is over; to be called every [`LOOK_EVERY`].
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.looked, now);
        self.left = self.left.saturating_sub(passed.min(2 * LOOK_EVERY));
        self.left.is_zero()
    }
}

/// The other side of a run's trials.
#[derive(Debug)]
pub struct Peer {
    /// The agent.
    pub link: Link,
    /// The address of its sockets.
    pub bind: RemoteAddress,
    /// The cores of its generators; at least one.
    pub cores: Vec<usize>,
    /// How many workers it serves at a time.
    pub workers: usize,
    /// How far its clock may be from ours, in nanoseconds, if the user knows.
    pub clock_uncertainty_ns: Option<u64>,
}

impl Peer {
    /// The core of a generator of a worker; both count from 0. The cores are dealt out in turn.
    pub fn core(&self, worker: usize, generator: usize) -> usize {
        self.cores[(worker + self.workers * generator) % self.cores.len()]
    }

    /// Whether the latency of `pace`, which is taken with two clocks, means something.
    pub fn has_known_clock(&self) -> bool {
        self.link.shares_clock() || self.clock_uncertainty_ns.is_some()
    }
}

/// What an agent is to do in a trial.
#[derive(Clone, Debug)]
pub struct Demand {
    /// An order for each generator.
    pub orders: Vec<Order>,
    /// The worker's sockets.
    pub spread: Spread,
    /// How many source ports each generator has; if none is named, they share one.
    pub ports: Option<usize>,
    /// The buffers of the agent's sockets, in bytes: receive and send.
    pub buffers: [usize; 2],
}

/// The sockets that a worker asks for load from.
#[derive(Clone, Copy, Debug)]
pub enum Asking<'s> {
    /// Each asks for itself.
    Each(&'s [&'s Socket]),
    /// They share a port: the first one asks for it, and any of them may hear the answer.
    Group(&'s [&'s Socket]),
}

/// A trial that an agent takes part in. When it is dropped, the agent's part ends.
#[derive(Debug)]
pub struct Session<'a> {
    line: Line<'a>,
    /// That of its first generator.
    order: Box<Order>,
    interrupt: Interrupt,
    /// How long the trial takes at most.
    within: Duration,
    /// What the agent's socket was granted.
    pub agreed: Agreed,
    /// Its address.
    pub address: SocketAddr,
}

impl<'a> Session<'a> {
    /// Begins: the worker's sockets ask for the load.
    ///
    /// # Errors
    ///
    /// If the agent cannot, or no datagram passes between the two sockets.
    pub fn open(peer: &'a Peer, demand: &Demand, near: Asking<'_>, interrupt: &Interrupt) -> Result<Self, TrialError> {
        let no_way = || TrialError::NoWay { far: peer.bind.ip() };
        let Demand { orders, spread, ports, buffers } = demand.clone();
        let (Asking::Each(sockets) | Asking::Group(sockets)) = near;
        let (order, first) = (*orders.first().ok_or_else(no_way)?, sockets.first().ok_or_else(no_way)?);
        let local = first.local_addr().map_err(TrialError::io("reading a socket's address"))?;
        let (within, datagrams) = limits(&order);
        let (bind, nonce) = (peer.bind.clone(), Token::draw());
        let open = Open { orders, spread, ports, bind, buffers, nonce, within, datagrams };
        for _ in 0..ATTEMPTS {
            let (line, nonce) = (peer.link.line(), Token::draw());
            let open = Open { nonce, ..open.clone() };
            line.send(ToAgent::Open(Box::new(open)))?;
            let mut session = Self {
                line,
                order: Box::new(order),
                interrupt: interrupt.clone(),
                within,
                agreed: Agreed::default(),
                address: peer.bind.seen_from(local, 0),
            };
            let port = session.expect(|message| match message {
                FromAgent::Opened(address) => Some(address.port()),
                _ => None,
            })?;
            session.address.set_port(port);
            let Some(challenges) = session.ask(near, nonce)? else { continue };
            for some in challenges.chunks(CONSENTS_MAX) {
                session.line.send(ToAgent::Consent(some.to_vec()))?;
            }
            session.agreed = session.expect(|message| match message {
                FromAgent::Agreed(agreed) => Some(agreed),
                _ => None,
            })?;
            return Ok(session);
        }
        Err(no_way())
    }

    /// Connects a socket of the worker, which has consented, with the agent's.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn connect(&self, near: &mut Socket) -> Result<(), TrialError> {
        let connected = near.connect_after(self.address, &MARK);
        connected.map_err(|error| TrialError::Socket { what: "connecting with the peer", error })
    }

    /// Asks for load. Returns the challenges, if all came.
    fn ask(&self, near: Asking<'_>, nonce: Token) -> Result<Option<Vec<Token>>, TrialError> {
        let sockets = match near {
            Asking::Group(sockets) => return self.ask_at_once(sockets, 1, nonce),
            Asking::Each(sockets) => sockets,
        };
        let mut challenges = Vec::with_capacity(sockets.len());
        for some in sockets.chunks(ASK_AT_ONCE) {
            let Some(heard) = self.ask_at_once(some, some.len(), nonce)? else { return Ok(None) };
            challenges.extend(heard);
        }
        Ok(Some(challenges))
    }

    /// Asks for load from the first `askers` of these sockets. Those behind hear what is told to the last one of them.
    fn ask_at_once(&self, near: &[&Socket], askers: usize, nonce: Token) -> Result<Option<Vec<Token>>, TrialError> {
        let failed = |error| TrialError::Socket { what: "asking the peer for load", error };
        let mut heard: Vec<Option<Token>> = vec![None; askers];
        for _ in 0..REQUESTS {
            for (socket, _) in near.iter().zip(&heard).filter(|(_, heard)| heard.is_none()) {
                socket.send_to(&consent::request(nonce), self.address).map_err(failed)?;
            }
            let (start, mut bytes) = (Instant::now(), [0; 64]);
            while start.elapsed() < ANSWER_WITHIN {
                let mut is_silent = true;
                for (at, socket) in near.iter().enumerate() {
                    let heard = &mut heard[at.min(askers - 1)];
                    if heard.is_some() {
                        continue;
                    }
                    let Some((length, from)) = socket.receive_from(&mut bytes).map_err(failed)? else { continue };
                    is_silent = false;
                    if from == self.address {
                        *heard = consent::challenge_in(&bytes[..length]);
                    }
                }
                if let Some(all) = heard.iter().copied().collect() {
                    return Ok(Some(all));
                }
                if self.interrupt.is_raised() {
                    return Err(TrialError::Interrupted);
                }
                if is_silent {
                    thread::sleep(Duration::from_micros(100));
                }
            }
        }
        Ok(None)
    }

    /// The next message that `pick` wants; others are late.
    fn expect<T>(&self, mut pick: impl FnMut(FromAgent) -> Option<T>) -> Result<T, TrialError> {
        let mut patience = Patience::new(AT_ONCE);
        while !patience.is_over() {
            if let Some(wanted) = self.line.receive(LOOK_EVERY)?.and_then(&mut pick) {
                self.line.link.is_in_time();
                return Ok(wanted);
            }
        }
        Err(self.overdue("it did not answer"))
    }

    /// An agent that is alive, but has not done something in time.
    fn overdue(&self, what: &str) -> TrialError {
        self.line.link.overdue(&format!("{what} within {:.1} s", AT_ONCE.as_secs_f64())).into()
    }

    /// Takes the part of the generators of `flood` or `pace` in this process, on a thread of its own: mirrors the phases to
    /// theirs, and what they have sent to `control`.
    ///
    /// # Errors
    ///
    /// If one of them fails, or the agent is lost; the trial then ends.
    pub fn offer(&self, control: &Control) -> Result<Report, TrialError> {
        cores::prefer();
        let result = self.relay_load(control);
        if result.is_err() {
            control.interrupt().raise();
            control.advance(Phase::Stop);
        }
        control.report_done();
        result
    }

    fn relay_load(&self, control: &Control) -> Result<Report, TrialError> {
        let (mut told, mut since, mut sent, mut is_ready) = (Phase::Setup, Instant::now(), 0, false);
        let mut patience = Patience::new(AT_ONCE);
        let add = |total: u64, sent: &mut u64| {
            control.add_sent(total.saturating_sub(*sent) as usize);
            *sent = total.max(*sent);
        };
        loop {
            if self.interrupt.is_raised() {
                control.interrupt().raise();
            }
            let phase = control.phase();
            while told < phase {
                (told, since) = (next(told, phase), Instant::now());
                self.line.send(ToAgent::Phase(told))?;
                patience = Patience::new(AT_ONCE);
            }
            // While it sends, the worker sees whether it does.
            let is_asked = !is_ready || told >= Phase::Settle;
            if is_asked && patience.is_over() {
                return Err(self.overdue(if is_ready { "its load did not end" } else { "its load did not begin" }));
            }
            match self.line.receive(self.order.pause(phase, since.elapsed()))? {
                Some(FromAgent::Ready) => {
                    is_ready = true;
                    control.report_ready();
                }
                Some(FromAgent::Sent(total)) => add(total, &mut sent),
                Some(FromAgent::Report(report)) if report.offered.is_some() => {
                    add(report.sent, &mut sent);
                    self.line.link.is_in_time();
                    return Ok(*report);
                }
                Some(FromAgent::Report(_)) => return Err(LinkError::Unexpected.into()),
                _ => {}
            }
        }
    }

    /// Takes the part of the generator of `echo` in this process, on a thread of its own: mirrors its phases to `control`, and
    /// what was dropped at the worker's socket to the agent.
    ///
    /// # Errors
    ///
    /// If the agent's generator fails, or the agent is lost; the trial then ends.
    pub fn echo(&self, control: &Control) -> Result<Report, TrialError> {
        cores::prefer();
        let _stop = StopAtEnd(control);
        let (mut is_ready, mut dropped, mut is_over, mut since) = (false, 0, false, Instant::now());
        let mut patience = Patience::new(self.within);
        loop {
            if patience.is_over() {
                return Err(self.overdue("its part of the trial did not go on"));
            }
            if self.interrupt.is_raised() {
                return Err(TrialError::Interrupted);
            }
            if control.phase() == Phase::Stop && !is_over {
                return Err(TrialError::Stalled("the worker ended before the generator"));
            }
            if !is_ready && control.ready() > 0 {
                is_ready = true;
                self.line.send(ToAgent::Ready)?;
                patience = Patience::new(AT_ONCE);
            }
            if control.dropped() != dropped {
                dropped = control.dropped();
                self.line.send(ToAgent::Dropped(dropped))?;
            }
            match self.line.receive(self.order.pause(control.phase(), since.elapsed()))? {
                Some(FromAgent::Phase(phase)) => {
                    is_over |= phase == Phase::Stop;
                    since = Instant::now();
                    patience = Patience::new(AT_ONCE + self.longest(phase));
                    control.advance(phase);
                }
                Some(FromAgent::Report(report)) if report.trips.is_some() => {
                    self.line.link.is_in_time();
                    return Ok(*report);
                }
                Some(FromAgent::Report(_)) => return Err(LinkError::Unexpected.into()),
                _ => {}
            }
        }
    }

    /// How long a phase of `echo` is to take at most.
    fn longest(&self, phase: Phase) -> Duration {
        match (phase, self.order.until) {
            (Phase::Setup | Phase::Stop, _) => Duration::ZERO,
            (Phase::Warmup, _) => self.order.warmup,
            (Phase::Measure, Until::Elapsed(duration)) => duration,
            // If nothing comes back, the generator says so.
            (Phase::Measure, Until::Datagrams(_)) => self.within,
            (Phase::Settle, _) => Duration::from_nanos(SETTLE_NS),
        }
    }

    /// Has the agent fill the worker's queue.
    ///
    /// # Errors
    ///
    /// If it cannot, or is lost.
    pub fn fill(&self, count: usize) -> Result<Filled, TrialError> {
        self.line.send(ToAgent::Fill { count })?;
        self.expect(|message| match message {
            FromAgent::Filled(filled) => Some(filled),
            _ => None,
        })
    }

    /// Tells the agent that a phase of rounds has begun.
    ///
    /// # Errors
    ///
    /// If the agent is lost.
    pub fn tell(&self, phase: Phase) -> Result<(), TrialError> {
        Ok(self.line.send(ToAgent::Phase(phase))?)
    }

    /// Asks the agent what has arrived.
    ///
    /// # Errors
    ///
    /// If it cannot say, or is lost.
    pub fn count(&self) -> Result<Counted, TrialError> {
        self.line.send(ToAgent::Count)?;
        self.expect(|message| match message {
            FromAgent::Counted(counted) => Some(counted),
            _ => None,
        })
    }

    /// Ends the agent's part in rounds, and returns what it has done.
    ///
    /// # Errors
    ///
    /// If the agent is lost.
    pub fn close(&self) -> Result<Report, TrialError> {
        self.line.send(ToAgent::Close)?;
        self.expect(|message| match message {
            FromAgent::Report(report) => Some(*report),
            _ => None,
        })
    }

    /// What is to be added to times of the agent's clock, in nanoseconds, so that they are times of ours.
    pub fn shift_ns(&self) -> i64 {
        if self.line.link.shares_clock() { 0 } else { self.agreed.offset_ns.saturating_sub(offset_ns()) }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // If it is over, the agent ignores that.
        let _ = self.line.send(ToAgent::Close);
    }
}

/// `CLOCK_REALTIME` less `CLOCK_MONOTONIC`, in nanoseconds.
pub(super) fn offset_ns() -> i64 {
    let before_ns = now_ns();
    let real = clock_gettime(ClockId::Realtime);
    let real_ns = i128::from(real.tv_sec) * 1_000_000_000 + i128::from(real.tv_nsec);
    (real_ns - i128::from(u64::midpoint(before_ns, now_ns()))) as i64
}

/// The phase after `told` on the way to `phase`; a trial that ends early leaves out those between.
fn next(told: Phase, phase: Phase) -> Phase {
    match (told, phase) {
        (_, Phase::Stop) => Phase::Stop,
        (Phase::Setup, _) => Phase::Warmup,
        (Phase::Warmup, _) => Phase::Measure,
        _ => Phase::Settle,
    }
}

/// How long a trial takes at most, and how many datagrams are sent in it at most.
fn limits(order: &Order) -> (Duration, u64) {
    let (time, counted) = match order.until {
        Until::Elapsed(duration) => (duration, 0),
        Until::Datagrams(count) => (Duration::from_secs(3600), count),
    };
    let within = order.warmup + 2 * time + Duration::from_secs(30);
    let pps = if order.scenario.has_rate() { order.rate_pps } else { 100_000_000 };
    (within, counted.max((pps as f64 * within.as_secs_f64()) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_in_which_this_process_runs_is_measured() {
        let mut patience = Patience::new(LOOK_EVERY * 5);
        let mut passes = |time: Duration| {
            patience.looked -= time;
            patience.is_over()
        };
        assert!(!passes(Duration::from_secs(100)), "it was stopped");
        assert!(!passes(LOOK_EVERY));
        assert!(!passes(LOOK_EVERY));
        assert!(passes(LOOK_EVERY));
    }
}
