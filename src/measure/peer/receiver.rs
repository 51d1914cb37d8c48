//! The peer of `send`: empties the queue that the backend under test fills, and checks what was in it.

use hpbench_backends::{AsyncBackend, Config, FreeList, Pool, Port};

use crate::measure::driver::{self, Lane};
use crate::measure::order::Order;
use crate::measure::outcome::TrialError;
use crate::traffic::app::Sink;
use crate::traffic::ledger::{Arrivals, Tally};

/// Datagrams per call: the same for every backend under test.
const BATCH: usize = 64;

/// Receives from a socket or a memory link.
#[derive(Debug)]
pub struct Receiver<'p, B> {
    lane: Lane<'p, B>,
    sink: Sink,
}

impl<'p, B: AsyncBackend<'p>> Receiver<'p, B> {
    /// A receiver at `port` of datagrams of so many flows: each is of one of the worker's sockets.
    ///
    /// # Errors
    ///
    /// As [`AsyncBackend::open`].
    pub fn open(order: &Order, flows: usize, port: Port<'p>, pool: &'p Pool) -> Result<Self, TrialError> {
        let lane = Lane::open(&Config::new(B::KIND, BATCH), port, pool, BATCH)?;
        Ok(Self { lane, sink: order.sink().with(Arrivals::of_sockets(1, flows)) })
    }

    /// Receives `count` datagrams, or fewer if none comes for a while. Returns how many came.
    ///
    /// # Errors
    ///
    /// An error that makes it pointless to continue.
    pub fn receive(&mut self, free: &mut FreeList<'p>, count: usize) -> Result<usize, TrialError> {
        driver::receive(&mut self.lane, &mut self.sink, free, count).map_err(TrialError::io("receiving what was sent"))
    }

    /// Receives what is there, at most a batch. Returns how many datagrams came.
    ///
    /// # Errors
    ///
    /// An error that makes it pointless to continue.
    pub fn poll(&mut self, free: &mut FreeList<'p>) -> Result<usize, TrialError> {
        driver::receive_once(&mut self.lane, &mut self.sink, free).map_err(TrialError::io("receiving what was sent"))
    }

    /// What has arrived so far.
    pub fn arrived(&self) -> Tally {
        self.sink.arrivals.tally()
    }

    /// Datagrams dropped so far because its ring was full.
    pub fn dropped(&self) -> u64 {
        self.lane.dropped()
    }

    /// Closes it; all frames return to `free`.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn close(self, free: &mut FreeList<'p>) -> std::io::Result<()> {
        self.lane.close(free)
    }
}
