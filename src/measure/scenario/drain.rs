//! `drain`: emptying a queue that was filled before; the filling is timed apart.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hpbench_backends::{Addressing, Backend, Counters, FreeList, Port, Socket};

use crate::measure::clock::now_ns;
use crate::measure::driver::{self, Lane, Polls};
use crate::measure::handoff;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::peer::filler::Filler;
use crate::measure::scenario::rounds::{self, Exchange, Queue, Round, SAMPLE, Sides};
use crate::measure::trial::Part;
use crate::traffic::app::{App, Sink};
use crate::traffic::ledger::Ledger;

/// How long the queue is measured again because others have sent something meanwhile.
const MEASURED_WITHIN: Duration = Duration::from_secs(1);

/// How long it may take to empty the queue of what others have sent.
const EMPTY_WITHIN: Duration = Duration::from_millis(500);

/// How long an app on another thread may take for what is on the ring.
const APP_WITHIN: Duration = Duration::from_millis(200);

/// A backend under test with its app, and what fills its queue.
#[derive(Debug)]
pub struct Drain<'d, 'p, B, A> {
    lane: &'d mut Lane<'p, B>,
    app: &'d mut A,
    filler: &'d mut Filler<'p>,
    /// The queue of the backend's socket, once it is known how much a datagram takes of it.
    queue: Option<Queue>,
    sides: Sides,
}

impl<'d, 'p, B: Backend<'p>, A: App<'p>> Drain<'d, 'p, B, A> {
    /// Lets `filler` fill the backend's queue.
    pub fn new((lane, app): (&'d mut Lane<'p, B>, &'d mut A), filler: &'d mut Filler<'p>) -> Self {
        Self { lane, app, filler, queue: None, sides: Sides::new() }
    }

    /// Finds out how many datagrams the queue of `socket`, the backend's, holds, where they are alone or in `trains`.
    ///
    /// # Errors
    ///
    /// If they cannot be sent or received.
    pub fn measure_queue(
        &mut self,
        socket: &Arc<Socket>,
        trains: bool,
        free: &mut FreeList<'p>,
    ) -> Result<&Queue, TrialError> {
        // Of what stays a train in the queue, one: a shorter one takes more of it for each datagram.
        let sample = if trains { self.filler.train() } else { SAMPLE };
        let start = Instant::now();
        loop {
            let before = self.app.received();
            let dropped = socket.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?.drops;
            let sent = self.filler.fill(free, sample)?;
            let mut came = 0;
            let queue = Queue::measure(socket, (sent, dropped), |held| {
                came = driver::receive(self.lane, self.app, free, held).map_err(TrialError::io("receiving"))?;
                Ok(came)
            })?;
            // What others send only adds to the queue: the least is the nearest.
            let least = self.queue.take().filter(|known| known.truesize() < queue.truesize());
            self.queue = Some(least.unwrap_or(queue));
            self.wait_for_app(before + came as u64, free);
            // One of another sender takes more of the queue than ours, or less; it is among those received, or still there.
            let is_alone = self.app.received() == before + came as u64;
            if self.empty(u64::MAX, free)? == 0 && is_alone || start.elapsed() > MEASURED_WITHIN {
                break;
            }
        }
        self.queue.as_ref().ok_or(TrialError::Stalled("the queue could not be measured"))
    }

    /// Takes out what is in the queue until `received` of ours have come: datagrams of others took the place of some. Returns
    /// how many it took out.
    fn empty(&mut self, received: u64, free: &mut FreeList<'p>) -> Result<usize, TrialError> {
        let mut taken = 0;
        let start = Instant::now();
        while self.app.received() < received && start.elapsed() < EMPTY_WITHIN {
            let came = driver::poll_once(self.lane, self.app, free).map_err(TrialError::io("receiving"))?;
            taken += came;
            let Some(queue) = &self.queue else { break };
            if came == 0 && queue.is_empty()? {
                break;
            }
        }
        Ok(taken)
    }

    /// Takes out all that is left at the end, also of the kernel's hands.
    fn finish(&mut self, free: &mut FreeList<'p>) -> Result<(), TrialError> {
        self.lane.quiesce(self.app, free).map_err(TrialError::io("quiescing the backend"))?;
        self.empty(self.filler.sent(), free).map(drop)
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
    let mut drain = Drain::new((lane, app), load);
    let Some(socket) = socket else {
        return rounds::memory_round(part).and_then(|size| rounds::measure(&mut drain, part, free, size));
    };
    let size = match part.truesizes.get(part.cell) {
        Some(truesize) => drain.queue.insert(Queue::known(socket, truesize)?).round(part)?,
        None if part.cell.addressing == Addressing::Unconnected && !part.cell.receives_trains() => {
            let truesize = truesize_alone(part, free)?;
            part.truesizes.note(part.cell, truesize);
            drain.queue.insert(Queue::known(socket, truesize)?).round(part)?
        }
        None => {
            let queue = drain.measure_queue(socket, part.cell.receives_trains(), free)?;
            part.truesizes.note(part.cell, queue.truesize());
            queue.round(part)?
        }
    };
    let mut outcome = rounds::measure(&mut drain, part, free, size)?;
    drain.finish(free)?;
    let info = socket.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
    outcome.ledger.drop_socket = info.drops;
    outcome.ledger.arrived.foreign = socket.strangers();
    (outcome.rcvbuf, outcome.sndbuf) = (Some(info.rcvbuf), Some(info.sndbuf));
    Ok(outcome)
}

/// What a datagram of this load takes of a queue, found out where nobody else can send to: between two sockets that are connected.
fn truesize_alone(part: &Part<'_, '_>, free: &mut FreeList<'_>) -> Result<u32, TrialError> {
    let failed = |what| move |error| TrialError::Socket { what, error };
    let pair = Socket::pair(SocketAddr::new(part.options.bind, 0)).map_err(failed("opening two connected sockets"))?;
    let (near, far) = (Arc::new(pair.0), Arc::new(pair.1));
    for socket in [&near, &far] {
        let set = socket.set_buffers(part.options.rcvbuf, part.options.sndbuf);
        set.map_err(failed("setting socket buffers"))?;
    }
    let mut filler = Filler::socket(&part.order(0), &far)?;
    let sent = filler.fill(free, SAMPLE)?;
    let queue = Queue::measure(&near, (sent, 0), Ok)?;
    filler.close(free)?;
    Ok(queue.truesize())
}
