//! `send`: handing a round of datagrams to the kernel; they are received and checked afterwards, timed separately.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hpbench_backends::mmsg::Mmsg;
use hpbench_backends::null::Null;
use hpbench_backends::{Addressing, AsyncBackend, Counters, FreeList, Port, Socket};

use crate::measure::clock::now_ns;
use crate::measure::control::Phase;
use crate::measure::cost::Disturbance;
use crate::measure::driver::{self, Lane, Polls};
use crate::measure::host::BothHosts;
use crate::measure::near::Near;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::peer::receiver::Receiver;
use crate::measure::remote::message::{Counted, Report};
use crate::measure::remote::session::Session;
use crate::measure::scenario::rounds::{self, Exchange, Queue, Room, Round, Sides};
use crate::measure::targets::Targets;
use crate::measure::trial::{Far, Part};
use crate::traffic::app::Source;
use crate::traffic::ledger::{Ledger, Tally};

/// Datagrams sent to find out how much of the queue each takes.
const SAMPLE: usize = 64;

/// How long nothing may arrive at an agent until what is missing is lost.
const LOST_AFTER: Duration = Duration::from_millis(200);

/// What a datagram takes of a queue beside its payload, in bytes, at most: an agent empties its queue all the time, so
/// no round depends on it.
const TRUESIZE_BESIDE: u32 = 832;

/// What empties the queue: here, between the timed parts, or an agent, all the time.
enum Counter<'p, 's, F> {
    Here(Receiver<'p, F>),
    There { session: Session<'s>, counted: Counted },
}

impl<'p, F: AsyncBackend<'p>> Counter<'p, '_, F> {
    /// Receives `count` datagrams; an agent, until it knows of all that were `sent` so far.
    fn receive(&mut self, free: &mut FreeList<'p>, count: usize, sent: u64) -> Result<usize, TrialError> {
        let (session, counted) = match self {
            Self::Here(receiver) => return receiver.receive(free, count),
            Self::There { session, counted } => (session, counted),
        };
        let (before, mut last) = (counted.tally.received, (counted.known(), Instant::now()));
        loop {
            *counted = session.count()?;
            let known = counted.known();
            if known > last.0 {
                last = (known, Instant::now());
            }
            if known >= sent || last.1.elapsed() > LOST_AFTER {
                return Ok(counted.tally.received.saturating_sub(before) as usize);
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn arrived(&self) -> Tally {
        match self {
            Self::Here(receiver) => receiver.arrived(),
            Self::There { counted, .. } => counted.tally,
        }
    }

    fn dropped(&self) -> u64 {
        match self {
            Self::Here(receiver) => receiver.dropped(),
            Self::There { counted, .. } => counted.drop_ring,
        }
    }

    /// How long an agent's receives have taken so far, in nanoseconds.
    fn took_ns(&self) -> Option<u64> {
        match self {
            Self::Here(_) => None,
            Self::There { counted, .. } => Some(counted.ns),
        }
    }

    /// Ends it; all frames return to `free`. Returns what an agent says at the end.
    fn close(self, free: &mut FreeList<'p>) -> Result<Option<Report>, TrialError> {
        match self {
            Self::Here(receiver) => receiver.close(free).map(|()| None).map_err(TrialError::io("closing the backend")),
            Self::There { session, .. } => session.close().map(Some),
        }
    }
}

/// A backend under test, and what empties the queue that it fills: `recvmmsg`, or memory for `null`.
struct Send<'p, 's, B, F> {
    lane: Lane<'p, B>,
    source: Source,
    far: Counter<'p, 's, F>,
    sent: u64,
    batch: usize,
    queue: Option<Queue>,
    sides: Sides,
}

impl<'p, 's, B: AsyncBackend<'p>, F: AsyncBackend<'p>> Send<'p, 's, B, F> {
    /// `to` is the peer's address. If there are targets, they are the worker's sockets, whose turns are those in which they
    /// send.
    fn open(
        trial: &Part<'_, 'p>,
        near: Port<'p>,
        far: Counter<'p, 's, F>,
        (to, targets): (Option<SocketAddr>, Option<&Targets>),
    ) -> Result<Self, TrialError> {
        let (cell, options) = (trial.cell, trial.options);
        let to = to.filter(|_| cell.addressing == Addressing::Unconnected);
        let order = trial.order(0);
        let source = targets.map_or_else(|| order.source(), |targets| targets.source(&order).of_sockets());
        Ok(Self {
            lane: Lane::open(&trial.config(), near, trial.pool, options.ring)?,
            source: source.addressed_to(to),
            far,
            sent: 0,
            batch: cell.batch,
            queue: None,
            sides: Sides::new(),
        })
    }

    fn send(&mut self, free: &mut FreeList<'p>, count: usize) -> Result<usize, TrialError> {
        let sent = driver::send(&mut self.lane, &mut self.source, free, count, self.batch);
        let sent = sent.map_err(TrialError::io("sending"))?;
        self.sent += sent as u64;
        Ok(sent)
    }

    fn receive(&mut self, free: &mut FreeList<'p>, count: usize) -> Result<usize, TrialError> {
        self.far.receive(free, count, self.sent)
    }

    fn finish(self, outcome: Result<Outcome, TrialError>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
        let (counters_total, in_effect) = (self.lane.counters().0, self.lane.in_effect());
        let (mut arrived, drop_ring) = (self.far.arrived(), self.far.dropped());
        arrived.foreign += outcome.as_ref().map_or(0, |outcome| outcome.ledger.arrived.foreign);
        let closed = self.lane.close(free).map_err(TrialError::io("closing the backend"));
        let ended = self.far.close(free);
        let outcome = outcome?;
        closed?;
        let ledger = Ledger { sent: self.sent, arrived, drop_ring, ..outcome.ledger };
        let outcome = Outcome { ledger, counters_total, in_effect, ..outcome };
        // An agent's last word is the whole account.
        Ok(match ended? {
            None => outcome,
            Some(report) => {
                let Counted { mut tally, drop_socket, drop_ring, .. } = report.counted;
                tally.foreign += report.unrelated;
                let ledger = Ledger { sent: self.sent, arrived: tally, drop_socket, drop_ring };
                // The agent's host receives.
                let disturbance = Disturbance { softirq_ticks: report.softirq_ticks, ..outcome.disturbance };
                let hosts = BothHosts { own: None, peer: report.host };
                Outcome { ledger, peer_counts: None, disturbance, hosts, ..outcome }
            }
        })
    }
}

impl<'p, B: AsyncBackend<'p>, F: AsyncBackend<'p>> Exchange<'p> for Send<'p, '_, B, F> {
    fn round(&mut self, free: &mut FreeList<'p>, count: usize) -> Result<Round, TrialError> {
        let (before, before_ns) = (self.far.arrived().received, self.far.took_ns());

        self.sides.near.begin();
        let start_ns = now_ns();
        let sent = self.send(free, count)?;
        let sent_ns = now_ns();
        self.sides.near.end();

        let filled = match &self.queue {
            Some(queue) => queue.is_whole(sent)?,
            None => true,
        };
        self.sides.far.begin();
        let full_ns = now_ns();
        self.receive(free, sent)?;
        let empty_ns = now_ns();
        self.sides.far.end();

        let received = self.far.arrived().received - before;
        Ok(Round {
            near_ns: sent_ns - start_ns,
            far_ns: self
                .far
                .took_ns()
                .zip(before_ns)
                .map_or(empty_ns - full_ns, |(now, before)| now.saturating_sub(before)),
            sent: sent as u64,
            received,
            whole: filled && sent == count && received == count as u64,
        })
    }

    fn begin_measuring(&mut self) -> Result<(), TrialError> {
        match &self.far {
            Counter::There { session, .. } => session.tell(Phase::Measure),
            Counter::Here(_) => Ok(()),
        }
    }

    fn counters(&self) -> (Counters, Polls) {
        self.lane.counters()
    }

    fn sides(&mut self) -> &mut Sides {
        &mut self.sides
    }
}

/// Runs a trial on the calling thread.
///
/// # Errors
///
/// Why there is no result.
pub fn run<'p, B: AsyncBackend<'p>>(trial: &Part<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    if !B::KIND.has_socket() {
        let (near, far) = trial.memory_link();
        let far = Counter::Here(Receiver::<Null<'p>>::open(&trial.order(0), 1, far, trial.pool)?);
        let mut send = Send::<B, Null<'p>>::open(trial, near, far, (None, None))?;
        let outcome = rounds::memory_round(trial).and_then(|size| rounds::measure(&mut send, trial, free, size));
        return send.finish(outcome, free);
    }
    let (near, far) = trial.ends()?;
    let (far, targets) = match far {
        Far::Here(far, targets) => (far, targets),
        Far::There(session, targets) => return with_agent::<B>(*session, &near, targets.as_ref(), trial, free),
    };
    let to = far.local_addr().map_err(TrialError::io("reading a socket's address"))?;
    let receiver =
        Receiver::<Mmsg<'p>>::open(&trial.order(0), trial.cell.sockets(), Port::Socket(Arc::clone(&far)), trial.pool)?;
    let mut send =
        Send::<B, Mmsg<'p>>::open(trial, near.port(), Counter::Here(receiver), (Some(to), targets.as_ref()))?;
    let outcome = over_socket(&mut send, &far, trial, free);
    send.finish(outcome, free)
}

fn with_agent<'p, B: AsyncBackend<'p>>(
    session: Session<'_>,
    near: &Near,
    targets: Option<&Targets>,
    trial: &Part<'_, 'p>,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    let (to, rcvbuf, ring) = (session.address, session.agreed.rcvbuf, session.agreed.receive_ring);
    let far = Counter::There { session, counted: Counted::default() };
    let mut send = Send::<B, Mmsg<'p>>::open(trial, near.port(), far, (Some(to), targets))?;
    let truesize = TRUESIZE_BESIDE + trial.cell.payload as u32;
    let outcome = Room { rcvbuf, truesize, ring }.round_of(trial);
    let outcome = outcome.and_then(|size| rounds::measure(&mut send, trial, free, size));
    let info = near.first().meminfo().map_err(TrialError::io("reading SO_MEMINFO"));
    let outcome = outcome.and_then(|outcome| {
        let info = info?;
        Ok(Outcome { rcvbuf: Some(rcvbuf), sndbuf: Some(info.sndbuf), ..outcome })
    });
    send.finish(outcome, free)
}

fn over_socket<'p, B: AsyncBackend<'p>>(
    send: &mut Send<'p, '_, B, Mmsg<'p>>,
    far: &Arc<Socket>,
    trial: &Part<'_, 'p>,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    let queue = match trial.truesizes.get(trial.cell) {
        Some(truesize) => Queue::known(&Near::from(Arc::clone(far)), truesize)?,
        None => {
            let sent = send.send(free, SAMPLE)?;
            let queue = Queue::measure(far, sent, |held| send.receive(free, held))?;
            trial.truesizes.note(trial.cell, queue.truesize());
            queue
        }
    };
    let size = queue.round(trial, None)?;
    send.queue = Some(queue);
    let mut outcome = rounds::measure(send, trial, free, size)?;
    let info = far.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
    outcome.ledger.drop_socket = info.drops;
    outcome.ledger.arrived.foreign = far.unrelated();
    (outcome.rcvbuf, outcome.sndbuf) = (Some(info.rcvbuf), Some(info.sndbuf));
    Ok(outcome)
}
