//! The peer of `drain`: fills the queue that the backend under test empties.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hpbench_backends::null::Null;
use hpbench_backends::{Config, FreeList, Kind, Offer, Pool, Port, Socket};

use crate::measure::driver::{self, Lane};
use crate::measure::order::Order;
use crate::measure::outcome::TrialError;
use crate::measure::peer::load::{Way, send_train, sender};
use crate::measure::targets::Targets;
use crate::traffic::app::Source;

/// How long the kernel may refuse to take anything.
const STALL: Duration = Duration::from_millis(200);

/// Datagrams per call through memory.
const MEMORY_BATCH: usize = 64;

/// Sends datagrams of a source, the same way for every backend under test.
#[derive(Debug)]
pub struct Filler<'p> {
    link: Link<'p>,
    source: Source,
}

#[derive(Debug)]
enum Link<'p> {
    /// Through a socket, with GSO if available.
    Socket(Box<Offer>),
    /// Through memory, for the `null` backend.
    Memory(Box<Lane<'p, Null<'p>>>),
}

impl<'p> Filler<'p> {
    /// A filler that sends from `socket`.
    ///
    /// # Errors
    ///
    /// If GSO is asked for and the kernel has none.
    pub fn socket(order: &Order, socket: &Arc<Socket>) -> Result<Self, TrialError> {
        Self::to(order, socket, None)
    }

    /// As [`Filler::socket`]; fills the queues of many sockets if there are targets; `socket` is then not connected.
    ///
    /// # Errors
    ///
    /// As [`Filler::socket`].
    pub fn to(order: &Order, socket: &Arc<Socket>, targets: Option<&Targets>) -> Result<Self, TrialError> {
        let (offer, source) = sender(order, Way::to(socket, targets))?;
        Ok(Self { link: Link::Socket(Box::new(offer)), source })
    }

    /// A filler that sends through memory, over a ring of `slots` slots.
    ///
    /// # Errors
    ///
    /// As [`Lane::open`].
    pub fn memory(order: &Order, port: Port<'p>, pool: &'p Pool, slots: usize) -> Result<Self, TrialError> {
        let lane = Lane::open(&Config::new(Kind::NULL, MEMORY_BATCH), port, pool, slots)?;
        Ok(Self { link: Link::Memory(Box::new(lane)), source: order.source() })
    }

    /// Sends `count` datagrams, or fewer if the kernel takes none for a while. Returns how many it took.
    ///
    /// # Errors
    ///
    /// An error that makes it pointless to continue.
    pub fn fill(&mut self, free: &mut FreeList<'p>, count: usize) -> Result<usize, TrialError> {
        let (source, failed) = (&mut self.source, TrialError::io("filling the queue"));
        match &mut self.link {
            Link::Socket(offer) => fill(offer, source, count).map_err(failed),
            Link::Memory(lane) => driver::send(lane, source, free, count, MEMORY_BATCH).map_err(failed),
        }
    }

    /// Datagrams sent so far.
    pub fn sent(&self) -> u64 {
        self.source.next
    }

    /// Closes it; all frames return to `free`.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn close(self, free: &mut FreeList<'p>) -> Result<(), TrialError> {
        match self.link {
            Link::Socket(_) => Ok(()),
            Link::Memory(lane) => lane.close(free).map_err(TrialError::io("closing the memory link")),
        }
    }

    /// The most datagrams that are sent with one call.
    pub fn train(&self) -> usize {
        match &self.link {
            Link::Socket(offer) => offer.train(),
            Link::Memory(_) => 1,
        }
    }

    /// How the datagrams are sent.
    pub fn method(&self) -> &'static str {
        match &self.link {
            Link::Socket(offer) => offer.method(),
            Link::Memory(_) => "memory",
        }
    }
}

fn fill(offer: &mut Offer, source: &mut Source, count: usize) -> std::io::Result<usize> {
    let mut sent = 0;
    let mut since = None;
    while sent < count {
        let went = send_train(offer, source, count - sent)?;
        sent += went;
        if went == 0 && since.get_or_insert_with(Instant::now).elapsed() > STALL {
            break;
        }
    }
    Ok(sent)
}
