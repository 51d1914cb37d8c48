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
use crate::kernel::sys;
use crate::message::Headers;
use crate::outbox::Outbox;
use crate::ready::{READINESS, READINESS_RULE, Readiness};

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
    /// Whether a batch is one datagram of the only socket, with no address or control message.
    is_single: bool,
    batch: usize,
    tx_headers: Headers,
    /// Used instead of these if packets and datagrams are not one to one, or a packet names its address or its socket.
    outbox: Option<Outbox>,
    counters: Counters,
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
        Ok(Self {
            socket: Arc::clone(sockets.first()),
            is_single: batches.is_single() && readiness.is_none(),
            outbox: Outbox::wanted(config, sockets.len()),
            sockets,
            readiness,
            batches,
            batch: config.batch,
            tx_headers: Headers::new(config.batch),
            counters: Counters::default(),
        })
    }

    #[inline(always)]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if self.is_single {
            return self.batches.receive_one(self.socket.raw(), &mut self.counters, (free, rx));
        }
        self.receive_batch(free, rx)
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if self.readiness.is_some() {
            return self.receive_from_ready(true, free, rx);
        }
        self.receive(libc::MSG_WAITFORONE, free, rx)
    }

    #[inline]
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        if let Some(outbox) = &mut self.outbox {
            return post(outbox, &self.sockets, &mut self.counters, tx, free);
        }
        let queued = tx.available().min(self.batch);
        for (index, iovec) in self.tx_headers.iovecs.iter_mut().enumerate().take(queued) {
            if let Some(packet) = tx.peek(index) {
                *iovec = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
            }
        }
        if queued == 0 {
            return Ok(0);
        }
        let (fd, headers) = (self.socket.raw(), self.tx_headers.messages.as_mut_ptr().cast());
        // SAFETY: the first `queued` headers point, each through its own iovec, to the bytes of a packet that
        // stays in the ring until the call returns; the kernel only reads them.
        let outcome = unsafe { sys::send_many(&mut self.counters.syscalls, fd, headers, queued) };
        let sent = match outcome {
            Ok(sent) => sent,
            Err(refused) => return self.counters.note_refused(fd, refused).map(|()| 0),
        };
        for _ in 0..sent {
            if let Some(packet) = tx.pop() {
                free.give(packet.into_frame());
            }
        }
        tx.release();
        Ok(sent)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        self.batches.empty(free);
        Ok(())
    }
}

/// Sends the messages of an outbox, with one call for each run of them that goes out of one socket.
fn post<'p>(
    outbox: &mut Outbox,
    sockets: &Sockets,
    counters: &mut Counters,
    tx: &mut Consumer<Packet<'p>>,
    free: &mut FreeList<'p>,
) -> io::Result<usize> {
    let messages = outbox.fill(tx);
    let (mut went, mut result) = (0, Ok(()));
    while went < messages {
        let (socket, run) = if sockets.len() == 1 { (0, messages) } else { outbox.run(went) };
        let (fd, headers) = (sockets.raw(socket), outbox.headers[went..][..run].as_mut_ptr().cast());
        // SAFETY: these headers point to packets that stay in the ring until the call returns; the kernel only reads
        // them.
        let sent = match unsafe { sys::send_many(&mut counters.syscalls, fd, headers, run) } {
            Ok(sent) => sent,
            Err(refused) => {
                result = counters.note_refused(fd, refused);
                0
            }
        };
        went += sent;
        if sent < run {
            break;
        }
    }
    let datagrams = outbox.settle(went, tx, free);
    result.map(|()| datagrams)
}

impl<'p> Mmsg<'p> {
    /// Receives a batch. Out of line, so that the code for a batch of one stays small where it is inlined.
    #[inline(never)]
    fn receive_batch(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if self.readiness.is_some() {
            return self.receive_from_ready(false, free, rx);
        }
        self.receive(libc::MSG_DONTWAIT, free, rx)
    }

    #[inline(always)]
    fn receive(&mut self, flags: libc::c_int, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let asked = (self.socket.raw(), usize::MAX, flags);
        self.batches.receive(asked, &mut self.counters, (free, rx)).outcome()
    }

    /// Receives a batch from the sockets that are ready.
    #[inline(never)]
    fn receive_from_ready(&mut self, waits: bool, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Self { readiness, sockets, batches, counters, .. } = self;
        let Some(readiness) = readiness else { return Ok(0) };
        readiness.receive(waits, counters, |socket, most, counters| {
            rx.set_socket(socket);
            let asked = (sockets.raw(usize::from(socket)), most, libc::MSG_DONTWAIT);
            batches.receive(asked, counters, (free, rx))
        })
    }
}
