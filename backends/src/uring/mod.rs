//! io_uring, in many ways: a variant chooses how to receive, how to send, and how the rings are set up.
//!
//! Receive and send use separate rings, so that neither's completions wait behind the other's. Each half has a few
//! implementations. One is chosen when the backend opens; each call dispatches once, never for each datagram.

mod buffers;
pub mod modes;
mod multishot;
mod polled;
mod request;
mod ring;
mod send;
mod setup;
mod single;
mod trains;
mod zerocopy;

use std::io;
use std::sync::Arc;

use crate::backend::{self, Backend, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Kind, Mode};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::outbox::Outbox;
use multishot::Multishot;
use polled::Polled;
use ring::Ring;
use send::Sends;
use setup::Setup;
use single::Singles;
use trains::Trains;
use zerocopy::ZeroCopy;

/// The `uring` backend.
#[derive(Debug)]
pub struct Uring<'p> {
    receive: Receive<'p>,
    send: Send<'p>,
    in_effect: String,
}

/// Ways to receive.
#[derive(Debug)]
enum Receive<'p> {
    Multishot(Multishot<'p, false>),
    Singles(Singles<'p>),
    /// For several sockets.
    Multishots(Multishot<'p, true>),
    Polled(Polled<'p>),
}

/// Ways to send.
#[derive(Debug)]
enum Send<'p> {
    Each(Sends<'p>),
    Trains(Trains),
    ZeroCopy(ZeroCopy<'p>),
}

impl<'p> Backend<'p> for Uring<'p> {
    const KIND: Kind = Kind::of(&modes::DECLARATION);

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        let pool = Pool::new(1, config.frame_size(64))
            .map_err(|error| OpenError::Failed { call: "mapping a throwaway pool", error })?;
        let uring = Uring::open(config, Port::Socket(Arc::new(backend::throwaway_socket()?)), &pool)?;
        Ok(Caps { in_effect: uring.in_effect })
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        Self::open_as(&Setup::choices(config), config, port, pool)
    }

    #[inline(always)]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        match &mut self.receive {
            Receive::Multishot(multishot) => multishot.rx(free, rx),
            Receive::Singles(singles) => singles.rx(free, rx),
            Receive::Multishots(multishots) => rx_of_many(multishots, free, rx),
            Receive::Polled(polled) => polled.rx(free, rx),
        }
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        match &mut self.receive {
            Receive::Multishot(multishot) => multishot.rx_wait(free, rx),
            Receive::Singles(singles) => singles.rx_wait(free, rx),
            Receive::Multishots(multishots) => multishots.rx_wait(free, rx),
            Receive::Polled(polled) => polled.rx_wait(free, rx),
        }
    }

    /// Out of line: one call for each batch, and all that it takes is inlined there, in this crate.
    #[inline(never)]
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        match &mut self.send {
            Send::Each(sends) => sends.tx(tx, free),
            Send::Trains(trains) => trains.tx(tx, free),
            Send::ZeroCopy(zero_copy) => zero_copy.tx(tx, free),
        }
    }

    fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        match &mut self.receive {
            Receive::Multishot(multishot) => multishot.quiesce(free, rx),
            Receive::Singles(singles) => singles.quiesce(free, rx),
            Receive::Multishots(multishots) => multishots.quiesce(free, rx),
            // Nothing leaves a socket without a call.
            Receive::Polled(_) => Ok(0),
        }
    }

    fn counters(&self) -> Counters {
        let received = match &self.receive {
            Receive::Multishot(multishot) => multishot.counters(),
            Receive::Singles(singles) => singles.counters(),
            Receive::Multishots(multishots) => multishots.counters(),
            Receive::Polled(polled) => polled.counters(),
        };
        let sent = match &self.send {
            Send::Each(sends) => sends.counters(),
            Send::Trains(trains) => trains.counters(),
            Send::ZeroCopy(zero_copy) => zero_copy.counters(),
        };
        received.and(sent)
    }

    fn in_effect(&self) -> String {
        self.in_effect.clone()
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        let received = match self.receive {
            Receive::Multishot(multishot) => multishot.close(free),
            Receive::Singles(singles) => singles.close(free),
            Receive::Multishots(multishots) => multishots.close(free),
            Receive::Polled(polled) => polled.close(free),
        };
        let sent = match self.send {
            Send::Each(sends) => sends.close(free),
            Send::Trains(trains) => trains.close(),
            Send::ZeroCopy(zero_copy) => zero_copy.close(free),
        };
        received.and(sent)
    }
}

impl<'p> Uring<'p> {
    /// Opens with the first of `choices` that this kernel takes.
    fn open_as(choices: &[Setup], config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let sockets = &port.sockets(config, pool)?;
        let receive = match config.variant {
            variant if variant.has_buffer_ring() && sockets.len() > 1 => {
                Receive::Multishots(Multishot::open(choices, sockets, config, pool)?)
            }
            variant if variant.has_buffer_ring() => {
                Receive::Multishot(Multishot::open(choices, sockets, config, pool)?)
            }
            variant if variant.has(modes::POLL) => Receive::Polled(Polled::open(choices, sockets.clone(), config)?),
            _ => Receive::Singles(Singles::open(choices, sockets, config, pool)?),
        };
        let ring = receive.ring();
        // Ending the requests of a kernel thread takes a wait.
        if (config.block.is_some() || ring.has_thread()) && !ring.can_wait() {
            return Err(OpenError::Missing { feature: "io_uring wait with a timeout (EXT_ARG)", since: "5.11" });
        }
        if config.min_wait.is_some() && !ring.can_wait_for_many() {
            return Err(OpenError::Missing {
                feature: "io_uring wait for many completions (MIN_TIMEOUT)",
                since: "6.12",
            });
        }
        let gso = config.variant.has(Mode::GSO);
        let send = match config.variant {
            variant if variant.has(modes::SEND_ZC) => {
                Send::ZeroCopy(ZeroCopy::open(choices, sockets, config, pool, ring)?)
            }
            variant if gso || variant.has(Mode::GRO) || config.copies > 1 => {
                let outbox = Outbox::new(config.batch, gso, config.copies);
                Send::Trains(Trains::open(choices, sockets, config, (outbox, pool.region()), ring)?)
            }
            _ => Send::Each(Sends::open(choices, sockets, config, pool, ring)?),
        };
        let in_effect = ring.setup().to_string();
        Ok(Self { receive, send, in_effect })
    }
}

/// Receives from several sockets. Out of line, so that the code for one of them stays small where it is inlined.
#[inline(never)]
fn rx_of_many<'p>(
    multishots: &mut Multishot<'p, true>,
    free: &mut FreeList<'p>,
    rx: &mut RxRing<'p>,
) -> io::Result<usize> {
    multishots.rx(free, rx)
}

impl Receive<'_> {
    fn ring(&self) -> &Ring {
        match self {
            Self::Multishot(multishot) => multishot.ring(),
            Self::Singles(singles) => singles.ring(),
            Self::Multishots(multishots) => multishots.ring(),
            Self::Polled(polled) => polled.ring(),
        }
    }
}

#[cfg(test)]
mod tests;
