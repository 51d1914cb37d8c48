//! One trial with an agent: what the worker's side does instead of calling its peer's functions.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use hpbench_backends::Socket;
use rustix::time::{ClockId, clock_gettime};

use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Interrupt, Phase, StopAtEnd};
use crate::measure::order::Order;
use crate::measure::outcome::TrialError;
use crate::measure::remote::consent::{self, MARK, Token};
use crate::measure::remote::error::LinkError;
use crate::measure::remote::link::Link;
use crate::measure::remote::message::{Agreed, Counted, Filled, FromAgent, Open, Report, ToAgent};
use crate::plan::cells::{Scenario, Until};

/// How often a session is begun anew if a datagram of the consent was lost, and how long one is waited for.
const ATTEMPTS: usize = 5;
const REQUESTS: usize = 3;
const ANSWER_WITHIN: Duration = Duration::from_millis(200);

/// How long an agent may take for an answer over the pipe that it can give at once.
const REPLY_WITHIN: Duration = Duration::from_secs(4);

/// How long an agent that is alive may take to end its load. On a busy machine a generator was kept from its core for
/// more than four seconds, once in a thousand trials; one that was stopped is found out by its silence.
const END_WITHIN: Duration = Duration::from_secs(8);

/// The other side of a run's trials.
#[derive(Debug)]
pub struct Peer {
    /// The agent.
    pub link: Link,
    /// The address of its sockets.
    pub bind: IpAddr,
    /// The core of its generator.
    pub core: usize,
    /// How far its clock may be from ours, in nanoseconds, if the user knows.
    pub clock_uncertainty_ns: Option<u64>,
}

impl Peer {
    /// Whether the latency of `pace`, which is taken with two clocks, means something.
    pub fn has_known_clock(&self) -> bool {
        self.link.shares_clock() || self.clock_uncertainty_ns.is_some()
    }
}

/// A trial that an agent takes part in. When it is dropped, the agent's part ends.
#[derive(Debug)]
pub struct Session<'a> {
    link: &'a Link,
    order: Box<Order>,
    id: u64,
    interrupt: Interrupt,
    /// How long the trial takes at most.
    within: Duration,
    /// What the agent's socket was granted.
    pub agreed: Agreed,
    /// Its address.
    pub address: SocketAddr,
}

impl<'a> Session<'a> {
    /// Begins: the worker's socket asks for the load, and is connected with the agent's if it `connects`.
    ///
    /// # Errors
    ///
    /// If the agent cannot, or no datagram passes between the two sockets.
    pub fn open(
        peer: &'a Peer,
        order: Order,
        buffers: [usize; 2],
        (near, connects): (&mut Socket, bool),
        interrupt: &Interrupt,
    ) -> Result<Self, TrialError> {
        let (link, mut last) = (&peer.link, None);
        for _ in 0..ATTEMPTS {
            let (id, nonce) = (link.next_id(), Token::draw());
            let (within, datagrams) = limits(&order);
            let open = Open { id, order, bind: peer.bind, buffers, nonce, within, datagrams };
            link.send(&ToAgent::Open(Box::new(open)))?;
            let mut session = Self {
                link,
                order: Box::new(order),
                id,
                interrupt: interrupt.clone(),
                within,
                agreed: Agreed::default(),
                address: SocketAddr::new(peer.bind, 0),
            };
            session.address = session.expect(|message| match message {
                FromAgent::Opened { id: opened, address } if opened == id => Some(address),
                _ => None,
            })?;
            last = Some(session.address);
            let Some(challenge) = session.ask(near, nonce)? else { continue };
            link.send(&ToAgent::Consent(challenge))?;
            session.agreed = session.expect(|message| match message {
                FromAgent::Agreed(agreed) => Some(agreed),
                _ => None,
            })?;
            if connects {
                let connected = near.connect_after(session.address, &MARK);
                connected.map_err(|error| TrialError::Socket { what: "connecting with the peer", error })?;
            }
            return Ok(session);
        }
        Err(TrialError::NoWay { far: last.map(|address| address.ip()).unwrap_or(peer.bind) })
    }

    /// Asks for load from `near`. Returns the challenge, if one came.
    fn ask(&self, near: &Socket, nonce: Token) -> Result<Option<Token>, TrialError> {
        let failed = |error| TrialError::Socket { what: "asking the peer for load", error };
        for _ in 0..REQUESTS {
            near.send_to(&consent::request(nonce), self.address).map_err(failed)?;
            let (start, mut bytes) = (Instant::now(), [0; 64]);
            while start.elapsed() < ANSWER_WITHIN {
                match near.receive_from(&mut bytes).map_err(failed)? {
                    Some((length, from)) if from == self.address => {
                        if let Some(challenge) = consent::challenge_in(&bytes[..length]) {
                            return Ok(Some(challenge));
                        }
                    }
                    Some(_) => {}
                    None => thread::sleep(Duration::from_micros(100)),
                }
                if self.interrupt.is_raised() {
                    return Err(TrialError::Interrupted);
                }
            }
        }
        Ok(None)
    }

    /// The next message that `pick` wants; others are late.
    fn expect<T>(&self, mut pick: impl FnMut(FromAgent) -> Option<T>) -> Result<T, TrialError> {
        let start = Instant::now();
        while start.elapsed() < REPLY_WITHIN {
            match self.receive(REPLY_WITHIN)? {
                Some(message) => {
                    if let Some(wanted) = pick(message) {
                        self.link.is_in_time();
                        return Ok(wanted);
                    }
                }
                None => break,
            }
        }
        Err(self.link.overdue(&format!("it did not answer within {} s", REPLY_WITHIN.as_secs())).into())
    }

    /// The next message.
    fn receive(&self, within: Duration) -> Result<Option<FromAgent>, TrialError> {
        match self.link.receive(within)? {
            Some(FromAgent::Failed { id, why }) if id == self.id || id == 0 => Err(LinkError::Failed(why).into()),
            message => Ok(message),
        }
    }

    /// Takes the part of a generator of `flood` or `pace` in this process: mirrors the phases to the agent's, and what it
    /// has sent to `control`.
    ///
    /// # Errors
    ///
    /// If the agent's generator fails, or the agent is lost; the trial then ends.
    pub fn offer(&self, control: &Control) -> Result<Report, TrialError> {
        let result = self.relay_load(control);
        if result.is_err() {
            control.interrupt().raise();
            control.advance(Phase::Stop);
        }
        control.report_done();
        result
    }

    fn relay_load(&self, control: &Control) -> Result<Report, TrialError> {
        let (mut told, mut since, mut sent, mut settled) = (Phase::Setup, Instant::now(), 0, None);
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
                self.link.send(&ToAgent::Phase(told))?;
            }
            if phase >= Phase::Settle && settled.get_or_insert_with(Instant::now).elapsed() > END_WITHIN {
                return Err(self.link.overdue("it did not end its load when it was told to").into());
            }
            match self.receive(self.order.pause(phase, since.elapsed()))? {
                Some(FromAgent::Ready) => control.report_ready(),
                Some(FromAgent::Sent(total)) => add(total, &mut sent),
                Some(FromAgent::Report(report)) if report.offered.is_some() => {
                    add(report.sent, &mut sent);
                    self.link.is_in_time();
                    return Ok(*report);
                }
                Some(FromAgent::Report(_)) => return Err(LinkError::Unexpected.into()),
                _ => {}
            }
        }
    }

    /// Takes the part of the generator of `echo` in this process: mirrors its phases to `control`, and what was dropped at
    /// the worker's socket to the agent.
    ///
    /// # Errors
    ///
    /// If the agent's generator fails, or the agent is lost; the trial then ends.
    pub fn echo(&self, control: &Control) -> Result<Report, TrialError> {
        let _stop = StopAtEnd(control);
        let (mut is_ready, mut dropped, mut is_over, mut since) = (false, 0, false, Instant::now());
        let start = Instant::now();
        loop {
            if start.elapsed() > self.within {
                return Err(self.link.give_up("its part of the trial does not end").into());
            }
            if self.interrupt.is_raised() {
                return Err(TrialError::Interrupted);
            }
            if control.phase() == Phase::Stop && !is_over {
                return Err(TrialError::Stalled("the worker ended before the generator"));
            }
            if !is_ready && control.ready() > 0 {
                is_ready = true;
                self.link.send(&ToAgent::Ready)?;
            }
            if control.dropped() != dropped {
                dropped = control.dropped();
                self.link.send(&ToAgent::Dropped(dropped))?;
            }
            match self.receive(self.order.pause(control.phase(), since.elapsed()))? {
                Some(FromAgent::Phase(phase)) => {
                    is_over |= phase == Phase::Stop;
                    since = Instant::now();
                    control.advance(phase);
                }
                Some(FromAgent::Report(report)) if report.trips.is_some() => return Ok(*report),
                Some(FromAgent::Report(_)) => return Err(LinkError::Unexpected.into()),
                _ => {}
            }
        }
    }

    /// Has the agent fill the worker's queue.
    ///
    /// # Errors
    ///
    /// If it cannot, or is lost.
    pub fn fill(&self, count: usize) -> Result<Filled, TrialError> {
        self.link.send(&ToAgent::Fill { count })?;
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
        Ok(self.link.send(&ToAgent::Phase(phase))?)
    }

    /// Asks the agent what has arrived.
    ///
    /// # Errors
    ///
    /// If it cannot say, or is lost.
    pub fn count(&self) -> Result<Counted, TrialError> {
        self.link.send(&ToAgent::Count)?;
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
        self.link.send(&ToAgent::Close)?;
        self.expect(|message| match message {
            FromAgent::Report(report) => Some(*report),
            _ => None,
        })
    }

    /// What is to be added to times of the agent's clock, in nanoseconds, so that they are times of ours.
    pub fn shift_ns(&self) -> i64 {
        if self.link.shares_clock() { 0 } else { self.agreed.offset_ns.saturating_sub(offset_ns()) }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // If it is over, the agent ignores that.
        let _ = self.link.send(&ToAgent::Close);
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
    let pps = if order.scenario == Scenario::Pace { order.rate_pps } else { 100_000_000 };
    (within, counted.max((pps as f64 * within.as_secs_f64()) as u64))
}
