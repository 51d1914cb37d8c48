//! The other side of `drain`: fills the queue that the backend under test empties.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hpbench_backends::{FreeList, Offer, Socket};

use crate::measure::driver::{self, Lane};
use crate::measure::outcome::TrialError;
use crate::traffic::app::Source;

/// How long the kernel may refuse to take anything.
const STALL: Duration = Duration::from_millis(200);

/// Sends datagrams of a source, the same way for every backend under test.
#[derive(Debug)]
pub enum Filler<'p> {
    /// Through a socket, with GSO where there is GSO.
    Socket(Box<Offer>),
    /// Through memory, for the `null` backend.
    Memory(Box<Lane<'p, hpbench_backends::null::Null<'p>>>),
}

impl<'p> Filler<'p> {
    /// A filler that sends from `socket`.
    ///
    /// # Errors
    ///
    /// If GSO is asked for and the kernel has none.
    pub fn socket(socket: &Arc<Socket>, payload: usize, gso: bool) -> Result<Self, TrialError> {
        let offer = Offer::new(Arc::clone(socket), payload, gso).map_err(TrialError::io("setting UDP_SEGMENT"))?;
        Ok(Self::Socket(Box::new(offer)))
    }

    /// Sends `count` datagrams, or fewer if the kernel takes none for a while. Returns how many it took.
    ///
    /// # Errors
    ///
    /// What makes going on pointless.
    pub fn fill(&mut self, source: &mut Source, free: &mut FreeList<'p>, count: usize) -> Result<usize, TrialError> {
        let failed = TrialError::io("filling the queue");
        match self {
            Self::Socket(offer) => fill(offer, source, count).map_err(failed),
            Self::Memory(lane) => driver::send(lane, source, free, count, 64).map_err(failed),
        }
    }

    /// Closes it; all frames come home.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn close(self, free: &mut FreeList<'p>) -> Result<(), TrialError> {
        match self {
            Self::Socket(_) => Ok(()),
            Self::Memory(lane) => lane.close(free).map_err(TrialError::io("closing the memory link")),
        }
    }

    /// The most datagrams that are sent with one call.
    pub fn train(&self) -> usize {
        match self {
            Self::Socket(offer) => offer.train(),
            Self::Memory(_) => 1,
        }
    }

    /// How the datagrams are sent.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Socket(offer) => offer.method(),
            Self::Memory(_) => "memory",
        }
    }
}

/// Sends one train of at most `count` datagrams; what the kernel did not take is numbered anew.
///
/// # Errors
///
/// As [`Offer::send`].
#[inline]
pub fn send_train(offer: &mut Offer, source: &mut Source, count: usize) -> std::io::Result<usize> {
    let first = source.next;
    let sent = offer.send(count, |datagram| source.write(datagram))?;
    source.next = first + sent as u64;
    Ok(sent)
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
