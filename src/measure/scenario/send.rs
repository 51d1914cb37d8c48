//! `send`: handing a round of datagrams to the kernel; they are received and checked afterwards, timed separately.

use std::sync::Arc;

use hpbench_backends::mmsg::Mmsg;
use hpbench_backends::null::Null;
use hpbench_backends::{Addressing, Backend, Counters, FreeList, Port, Socket};

use crate::measure::clock::now_ns;
use crate::measure::driver::{self, Lane, Polls};
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::peer::receiver::Receiver;
use crate::measure::scenario::rounds::{self, Exchange, Queue, Round, Sides};
use crate::measure::trial::Part;
use crate::traffic::app::Source;
use crate::traffic::ledger::Ledger;

/// Datagrams sent to find out how much of the queue each takes.
const SAMPLE: usize = 64;

/// A backend under test, and what empties the queue that it fills: `recvmmsg`, or memory for `null`.
struct Send<'p, B, F> {
    lane: Lane<'p, B>,
    source: Source,
    far: Receiver<'p, F>,
    sent: u64,
    batch: usize,
    queue: Option<Queue>,
    sides: Sides,
}

impl<'p, B: Backend<'p>, F: Backend<'p>> Send<'p, B, F> {
    fn open(trial: &Part<'_, 'p>, near: Port<'p>, far: Port<'p>) -> Result<Self, TrialError> {
        let (cell, options) = (trial.cell, trial.options);
        let to = match &far {
            Port::Socket(socket) if cell.addressing == Addressing::Unconnected => Some(socket.local_addr()),
            _ => None,
        };
        let to = to.transpose().map_err(TrialError::io("reading a socket's address"))?;
        let order = trial.order(0);
        let far = Receiver::open(&order, far, trial.pool)?;
        Ok(Self {
            lane: Lane::open(&trial.config(), near, trial.pool, options.ring)?,
            source: order.source().addressed_to(to),
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
        self.far.receive(free, count)
    }

    fn finish(self, outcome: Result<Outcome, TrialError>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
        let (counters_total, in_effect) = (self.lane.counters().0, self.lane.in_effect());
        let (mut arrived, drop_ring) = (self.far.arrived(), self.far.dropped());
        arrived.foreign += outcome.as_ref().map_or(0, |outcome| outcome.ledger.arrived.foreign);
        let closed = self.lane.close(free).and(self.far.close(free));
        let outcome = outcome?;
        closed.map_err(TrialError::io("closing the backend"))?;
        let ledger = Ledger { sent: self.sent, arrived, drop_ring, ..outcome.ledger };
        Ok(Outcome { ledger, counters_total, in_effect, ..outcome })
    }
}

impl<'p, B: Backend<'p>, F: Backend<'p>> Exchange<'p> for Send<'p, B, F> {
    fn round(&mut self, free: &mut FreeList<'p>, count: usize) -> Result<Round, TrialError> {
        let before = self.far.arrived().received;

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
            far_ns: empty_ns - full_ns,
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
pub fn run<'p, B: Backend<'p>>(trial: &Part<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    if !B::KIND.has_socket() {
        let (near, far) = trial.memory_link();
        let mut send = Send::<B, Null<'p>>::open(trial, near, far)?;
        let outcome = rounds::memory_round(trial).and_then(|size| rounds::measure(&mut send, trial, free, size));
        return send.finish(outcome, free);
    }
    let (near, far) = trial.sockets()?;
    let mut send = Send::<B, Mmsg<'p>>::open(trial, Port::Socket(near), Port::Socket(far.clone()))?;
    let outcome = over_socket(&mut send, &far, trial, free);
    send.finish(outcome, free)
}

fn over_socket<'p, B: Backend<'p>>(
    send: &mut Send<'p, B, Mmsg<'p>>,
    far: &Arc<Socket>,
    trial: &Part<'_, 'p>,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    let queue = match trial.truesizes.get(trial.cell) {
        Some(truesize) => Queue::known(far, truesize)?,
        None => {
            let sent = send.send(free, SAMPLE)?;
            let queue = Queue::measure(far, sent, |held| send.receive(free, held))?;
            trial.truesizes.note(trial.cell, queue.truesize());
            queue
        }
    };
    let size = queue.round(trial)?;
    send.queue = Some(queue);
    let mut outcome = rounds::measure(send, trial, free, size)?;
    let info = far.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
    outcome.ledger.drop_socket = info.drops;
    outcome.ledger.arrived.foreign = far.unrelated();
    (outcome.rcvbuf, outcome.sndbuf) = (Some(info.rcvbuf), Some(info.sndbuf));
    Ok(outcome)
}
