//! `drain`: emptying a queue that was filled before; the filling is timed separately.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hpbench_backends::{Backend, Counters, FreeList, Port, Socket};

use crate::measure::clock::now_ns;
use crate::measure::driver::{self, Lane, Polls};
use crate::measure::handoff;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::peer::filler::Filler;
use crate::measure::scenario::rounds::{self, Exchange, Queue, Round, Sides};
use crate::measure::trial::Part;
use crate::traffic::app::{App, Sink};
use crate::traffic::ledger::Ledger;

/// How long it may take to empty the queue of what others have sent.
const EMPTY_WITHIN: Duration = Duration::from_millis(200);

/// How long an app on another thread may take for what is on the ring.
const APP_WITHIN: Duration = Duration::from_millis(200);

/// A backend under test with its app, and what fills its queue.
#[derive(Debug)]
pub struct Drain<'d, 'p, B, A> {
    lane: &'d mut Lane<'p, B>,
    app: &'d mut A,
    filler: &'d mut Filler<'p>,
    /// The queue of the backend's socket, if it has a socket.
    queue: Option<Queue>,
    sides: Sides,
}

impl<'d, 'p, B: Backend<'p>, A: App<'p>> Drain<'d, 'p, B, A> {
    /// `filler` fills the backend's queue: `queue`, unless it is memory.
    pub fn new(
        (lane, app): (&'d mut Lane<'p, B>, &'d mut A),
        filler: &'d mut Filler<'p>,
        queue: Option<Queue>,
    ) -> Self {
        Self { lane, app, filler, queue, sides: Sides::new() }
    }

    /// Takes out what is in the queue until `received` of ours have come: unrelated datagrams took the place of some.
    fn empty(&mut self, received: u64, free: &mut FreeList<'p>) -> Result<(), TrialError> {
        let start = Instant::now();
        while self.app.received() < received && start.elapsed() < EMPTY_WITHIN {
            let came = driver::poll_once(self.lane, self.app, free).map_err(TrialError::io("receiving"))?;
            let Some(queue) = &self.queue else { break };
            if came == 0 && queue.is_empty()? {
                break;
            }
        }
        Ok(())
    }

    /// Takes out all that is left at the end, including what the kernel still holds.
    fn finish(&mut self, free: &mut FreeList<'p>) -> Result<(), TrialError> {
        self.lane.quiesce(self.app, free).map_err(TrialError::io("quiescing the backend"))?;
        self.empty(self.filler.sent(), free)
    }

    /// Waits for an app on another thread.
    fn wait_for_app(&mut self, received: u64, free: &mut FreeList<'p>) {
        let start = Instant::now();
        while !A::INLINE && self.app.received() < received && start.elapsed() < APP_WITHIN {
            self.lane.reclaim(self.app, free);
        }
    }
}

impl<'p, B: Backend<'p>, A: App<'p>> Exchange<'p> for Drain<'_, 'p, B, A> {
    fn round(&mut self, free: &mut FreeList<'p>, count: usize) -> Result<Round, TrialError> {
        let before = self.app.received();
        self.lane.quiesce(self.app, free).map_err(TrialError::io("quiescing the backend"))?;
        self.sides.far.begin();
        let start_ns = now_ns();
        let sent = self.filler.fill(free, count)?;
        let filled_ns = now_ns();
        self.sides.far.end();
        let filled = match &self.queue {
            Some(queue) => queue.is_whole(sent)?,
            None => true,
        };

        self.sides.near.begin();
        let full_ns = now_ns();
        driver::receive(self.lane, self.app, free, sent).map_err(TrialError::io("receiving"))?;
        let empty_ns = now_ns();
        self.sides.near.end();

        self.empty(before + sent as u64, free)?;
        self.wait_for_app(before + sent as u64, free);
        let received = self.app.received() - before;
        Ok(Round {
            near_ns: empty_ns - full_ns,
            far_ns: filled_ns - start_ns,
            sent: sent as u64,
            received,
            whole: filled && sent == count && received == count as u64,
        })
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
pub fn run<'p, B: Backend<'p>>(part: &Part<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    let (options, order) = (part.options, part.order(0));
    let (port, mut filler, socket) = if part.has_sockets() {
        let (near, far) = part.sockets()?;
        (Port::Socket(Arc::clone(&near)), Filler::socket(&order, &far)?, Some(near))
    } else {
        let (near, far) = part.memory_link();
        (near, Filler::memory(&order, far, part.pool, options.ring)?, None)
    };
    let mut lane = Lane::<B>::open(&part.config(), port, part.pool, options.ring)?;
    let mut sink = Sink::new(1, part.wire());
    let load = &mut filler;
    let worked = match part.app_core() {
        None => work((&mut lane, &mut sink), load, socket.as_ref(), part, free).map(|outcome| (outcome, sink)),
        Some(core) => handoff::run(
            &mut lane,
            sink,
            free,
            || part.pin_app(core),
            |lane, app, free| work((lane, app), load, socket.as_ref(), part, free),
        )
        .and_then(|done| done.outcome()),
    };
    let (counters_total, in_effect, drop_ring) = (lane.counters().0, lane.in_effect(), lane.dropped());
    let (fill, sent) = (filler.method().into(), filler.sent());
    let longest = if part.cell.receives_trains() { filler.train() as u64 } else { 1 };
    let closed = filler.close(free).and(lane.close(free).map_err(TrialError::io("closing the backend")));
    let (outcome, sink) = worked?;
    closed?;
    let mut arrived = sink.arrivals.tally();
    arrived.foreign += outcome.ledger.arrived.foreign;
    let mut ledger = Ledger { sent, arrived, drop_ring, ..outcome.ledger };
    ledger.note_dropped(ledger.drop_socket, longest);
    Ok(Outcome { ledger, counters_total, fill, in_effect, ..outcome })
}

fn work<'p, B: Backend<'p>, A: App<'p>>(
    (lane, app): (&mut Lane<'p, B>, &mut A),
    load: &mut Filler<'p>,
    socket: Option<&Arc<Socket>>,
    part: &Part<'_, 'p>,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    let Some(socket) = socket else {
        let size = rounds::memory_round(part)?;
        return rounds::measure(&mut Drain::new((lane, app), load, None), part, free, size);
    };
    let truesize = match part.truesizes.get(part.cell) {
        Some(known) => known,
        None => {
            let (order, (near, far)) = (part.order(0), part.roomy_pair()?);
            let measured = truesize(&near, Filler::socket(&order, &far)?, part.cell.receives_trains(), free)?;
            part.truesizes.note(part.cell, measured);
            measured
        }
    };
    let queue = Queue::known(socket, truesize)?;
    let size = queue.round(part)?;
    let mut drain = Drain::new((lane, app), load, Some(queue));
    let mut outcome = rounds::measure(&mut drain, part, free, size)?;
    drain.finish(free)?;
    let info = socket.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
    outcome.ledger.drop_socket = info.drops;
    outcome.ledger.arrived.foreign = socket.unrelated();
    (outcome.rcvbuf, outcome.sndbuf) = (Some(info.rcvbuf), Some(info.sndbuf));
    Ok(outcome)
}

/// Measures how many bytes a datagram of `filler` takes in the queue of `near`, alone or in `trains`. The two must be
/// connected, so that nobody else can send there, have room for a train, and belong to no backend. Nothing is received,
/// which keeps the kernel's counts those of the trials.
///
/// # Errors
///
/// If the datagrams cannot be sent, or the kernel does not report it.
pub fn truesize<'p>(
    near: &Arc<Socket>,
    mut filler: Filler<'p>,
    trains: bool,
    free: &mut FreeList<'p>,
) -> Result<u32, TrialError> {
    if trains {
        near.receive_trains().map_err(TrialError::io("setting UDP_GRO"))?;
    }
    // A whole train: a datagram of a shorter one may take more.
    let train = filler.train();
    let sent = filler.fill(free, train)?;
    filler.close(free)?;
    Queue::measure(near, sent, Ok).map(|queue| queue.truesize())
}
