//! `drain`: emptying a queue that was filled before; the filling is timed apart.

use hpbench_backends::{Backend, Config, Counters, FreeList, Kind, OpenError, Pool, Port};

use crate::app::{Sink, Source};
use crate::control::Clock;
use crate::driver::{self, Lane, Polls};
use crate::filler::Filler;
use crate::ledger::Ledger;
use crate::scenario::rounds::{self, Exchange, Queue, Round, SAMPLE};
use crate::trial::{Outcome, Trial, TrialError};
use crate::wire::Verify;

/// A backend under test, and what fills its queue.
#[derive(Debug)]
pub struct Drain<'p, B> {
    lane: Lane<'p, B>,
    sink: Sink,
    filler: Filler<'p>,
    source: Source,
    /// The queue of the backend's socket, once it is known how much a datagram takes of it.
    queue: Option<Queue>,
    clock: Clock,
}

impl<'p, B: Backend<'p>> Drain<'p, B> {
    /// Opens the backend on `port`, to be filled by `filler` with datagrams of `payload` bytes.
    ///
    /// # Errors
    ///
    /// If the backend cannot run here.
    pub fn open(
        config: &Config,
        port: Port<'p>,
        filler: Filler<'p>,
        pool: &'p Pool,
        (slots, payload, verify, clock): (usize, usize, Verify, Clock),
    ) -> Result<Self, OpenError> {
        let lane = Lane::open(config, port, pool, slots)?;
        Ok(Self {
            lane,
            sink: Sink::new(1, verify),
            filler,
            source: Source::new(0, payload, verify),
            queue: None,
            clock,
        })
    }

    /// Finds out how many datagrams the queue of `socket`, the backend's, holds.
    ///
    /// # Errors
    ///
    /// If they cannot be sent or received.
    pub fn measure_queue(
        &mut self,
        socket: &std::sync::Arc<hpbench_backends::Socket>,
        free: &mut FreeList<'p>,
    ) -> Result<&Queue, TrialError> {
        let sent = self.filler.fill(&mut self.source, free, SAMPLE)?;
        let queue = Queue::measure(socket, sent, |held| {
            driver::receive(&mut self.lane, &mut self.sink, free, held).map_err(TrialError::io("receiving"))
        })?;
        Ok(self.queue.insert(queue))
    }

    /// The account so far, without the drops of the socket.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            sent: self.source.next,
            arrived: self.sink.arrivals.tally(),
            drop_socket: 0,
            drop_ring: self.lane.dropped(),
        }
    }

    /// Closes the backend.
    ///
    /// # Errors
    ///
    /// As [`Backend::close`].
    pub fn close(self, free: &mut FreeList<'p>) -> Result<(), TrialError> {
        if let Filler::Memory(lane) = self.filler {
            lane.close(free).map_err(TrialError::io("closing the memory link"))?;
        }
        self.lane.close(free).map_err(TrialError::io("closing the backend"))
    }
}

impl<'p, B: Backend<'p>> Exchange<'p> for Drain<'p, B> {
    fn round(&mut self, free: &mut FreeList<'p>, count: usize) -> Result<Round, TrialError> {
        let before = self.sink.arrivals.tally().received;
        self.lane.quiesce(&mut self.sink, free).map_err(TrialError::io("quiescing the backend"))?;
        let start_ns = self.clock.now_ns();
        let sent = self.filler.fill(&mut self.source, free, count)?;
        let filled_ns = self.clock.now_ns();
        let filled = match &self.queue {
            Some(queue) => queue.is_whole(sent)?,
            None => true,
        };

        let full_ns = self.clock.now_ns();
        driver::receive(&mut self.lane, &mut self.sink, free, sent).map_err(TrialError::io("receiving"))?;
        let empty_ns = self.clock.now_ns();

        let received = self.sink.arrivals.tally().received - before;
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
}

/// Runs a trial on the calling thread.
///
/// # Errors
///
/// Why there is no result.
pub fn run<'p, B: Backend<'p>>(trial: &Trial<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    let (config, payload) = (trial.config(), trial.cell.payload);
    let facts = (trial.options.ring, payload, trial.options.verify, trial.clock);
    if !trial.has_sockets() {
        let (near, far) = trial.memory_link();
        let filler =
            Filler::Memory(Box::new(Lane::open(&Config::new(Kind::Null, 64), far, trial.pool, trial.options.ring)?));
        let mut drain = Drain::<B>::open(&config, near, filler, trial.pool, facts)?;
        let outcome = rounds::memory_round(trial).and_then(|size| rounds::measure(&mut drain, trial, free, size));
        return finish(drain, outcome, free);
    }
    let (near, far) = trial.sockets()?;
    let filler = Filler::socket(&far, payload, trial.options.gso)?;
    let mut drain = Drain::<B>::open(&config, Port::Socket(near.clone()), filler, trial.pool, facts)?;
    let outcome = drain.measure_queue(&near, free).and_then(|queue| queue.round(trial)).and_then(|size| {
        let mut outcome = rounds::measure(&mut drain, trial, free, size)?;
        let info = near.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
        outcome.ledger.drop_socket = u64::from(info.drops);
        (outcome.rcvbuf, outcome.sndbuf) = (Some(info.rcvbuf), Some(info.sndbuf));
        Ok(outcome)
    });
    finish(drain, outcome, free)
}

/// Completes the outcome, and closes the backend whatever it is.
fn finish<'p, B: Backend<'p>>(
    drain: Drain<'p, B>,
    outcome: Result<Outcome, TrialError>,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    let (ledger, counters_total) = (drain.ledger(), drain.counters().0);
    let (fill, in_effect) = (drain.filler.method(), drain.lane.in_effect());
    let closed = drain.close(free);
    let mut outcome = outcome?;
    closed?;
    outcome.ledger = Ledger { drop_socket: outcome.ledger.drop_socket, ..ledger };
    Ok(Outcome { counters_total, fill: Some(fill), in_effect, ..outcome })
}
