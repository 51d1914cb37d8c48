//! One batch per system call: `recvmmsg` and `sendmmsg`.
//!
//! A batch is of one socket: with several, there is a call for each that has datagrams.
//!
//! The headers are written once, when the backend opens. For each datagram only the address of its
//! frame changes (and for a send its length): the frames move, the headers do not.

use std::io;
use std::sync::Arc;

use crate::backend::{self, Backend, Caps, Config, Counters, OpenError, Port, Sockets};
use crate::batches::Batches;
use crate::declaration::{Declaration, Dimension, Kind, Mode};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::socket::Socket;
use crate::ready::{READINESS, READINESS_RULE, Readiness};
use crate::sending::Sending;

const DECLARATION: Declaration = Declaration {
    rules: &[READINESS_RULE],
    ..Declaration::new("mmsg", "one batch per system call", &[RECEIVE, SEND, Dimension::GSO, Dimension::GRO, READINESS])
};

const RECEIVE: Dimension = Dimension::receive(&[Mode::new("recvmmsg", "recvmmsg")]);
const SEND: Dimension = Dimension::send(&[Mode::new("sendmmsg", "sendmmsg")]);

/// The `mmsg` backend.
#[derive(Debug)]
pub struct Mmsg<'p> {
    /// The first socket, which is the only one unless there is a `readiness`.
    socket: Arc<Socket>,
    sockets: Sockets,
    /// Which of several sockets have datagrams.
    readiness: Option<Readiness>,
    batches: Batches<'p>,
    /// How a batch is received.
    how: How,
    sending: Sending,
    counters: Counters,
}

/// How a batch is received. Each way is code of its own, so that what is run for each datagram stays small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// One datagram of the only socket, with no address or control message.
    One,
    /// The same, of one of several sockets.
    OneOfMany,
    /// From the only socket.
    Batch,
    /// From several sockets.
    BatchOfMany,
}

impl<'p> Backend<'p> for Mmsg<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        Readiness::check(config)?;
        backend::probe_segmentation(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let sockets = port.sockets(config, pool)?;
        let readiness = Readiness::wanted(config, &sockets)?;
        let batches = Batches::new(config);
        let how = match (batches.is_single(), readiness.is_some()) {
            (true, false) => How::One,
            (true, true) => How::OneOfMany,
            (false, false) => How::Batch,
            (false, true) => How::BatchOfMany,
        };
        Ok(Self {
            socket: Arc::clone(sockets.first()),
            how,
            sending: Sending::new(config, sockets.len()),
            sockets,
            readiness,
            batches,
            counters: Counters::default(),
        })
    }

    #[inline(always)]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        match self.how {
            How::One => self.batches.receive_one(self.socket.raw(), &mut self.counters, (free, rx)).outcome(),
            How::OneOfMany => self.receive_one_of_many(free, rx),
            How::Batch => self.receive_batch(free, rx),
            How::BatchOfMany => self.receive_batch_of_many(false, free, rx),
        }
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        match self.readiness {
            Some(_) => self.receive_batch_of_many(true, free, rx),
            None => self.receive(libc::MSG_WAITFORONE, free, rx),
        }
    }

    #[inline]
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        self.sending.send(&self.sockets, &mut self.counters, tx, free)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        self.batches.empty(free);
        Ok(())
    }
}

impl<'p> Mmsg<'p> {
    /// Out of line, so that the code for a batch of one stays small where it is inlined.
    #[inline(never)]
    fn receive_batch(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(libc::MSG_DONTWAIT, free, rx)
    }

    #[inline(always)]
    fn receive(&mut self, flags: libc::c_int, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let asked = (self.socket.raw(), usize::MAX, flags);
        self.batches.receive(asked, &mut self.counters, (free, rx)).outcome()
    }

    /// Receives a datagram from a socket that is ready.
    #[inline(never)]
    fn receive_one_of_many(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Self { readiness, sockets, batches, counters, .. } = self;
        let Some(readiness) = readiness else { return Ok(0) };
        readiness.receive(false, counters, |socket, _, counters| {
            rx.set_socket(socket);
            batches.receive_one(sockets.raw(usize::from(socket)), counters, (free, rx))
        })
    }

    /// Receives a batch from the sockets that are ready.
    #[inline(never)]
    fn receive_batch_of_many(
        &mut self,
        waits: bool,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        let Self { readiness, sockets, batches, counters, .. } = self;
        let Some(readiness) = readiness else { return Ok(0) };
        readiness.receive(waits, counters, |socket, most, counters| {
            rx.set_socket(socket);
            let asked = (sockets.raw(usize::from(socket)), most, libc::MSG_DONTWAIT);
            batches.receive(asked, counters, (free, rx))
        })
    }
}
