//! One datagram per system call: `recvfrom` and `sendto`.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::backend::{self, Backend, Caps, Config, Counters, OpenError, Port, Sockets};
use crate::declaration::{Declaration, Dimension, Kind, Mode};
use crate::frames::address::PAYLOAD_AT;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{Frame, FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::errno::{self, Verdict};
use crate::kernel::socket::Socket;
use crate::kernel::sys;
use crate::message::Messages;
use crate::outbox::Outbox;
use crate::ready::{End, READINESS, READINESS_RULE, Readiness, Visit};

const DECLARATION: Declaration = Declaration {
    rules: &[READINESS_RULE],
    ..Declaration::new(
        "plain",
        "one datagram per system call",
        &[RECEIVE, SEND, Dimension::GSO, Dimension::GRO, READINESS],
    )
};

const RECEIVE: Dimension = Dimension::receive(&[Mode::new("recvfrom", "recvfrom; recvmsg with gro")]);
const SEND: Dimension = Dimension::send(&[Mode::new("sendto", "sendto; sendmsg with gso")]);

/// The `plain` backend.
#[derive(Debug)]
pub struct Plain<'p> {
    /// The first socket, which is the only one unless there is a `readiness`.
    socket: Arc<Socket>,
    sockets: Sockets,
    /// Which of several sockets have datagrams.
    readiness: Option<Readiness>,
    batch: usize,
    /// Whether a batch is one datagram of the only socket, with no address or control message.
    is_single: bool,
    receive: Receive,
    /// Used if packets and datagrams are not one to one, or have addresses or one of several sockets.
    outbox: Option<Outbox>,
    /// How often each packet is sent, and how often the first one on the ring has been sent.
    copies: usize,
    copied: usize,
    counters: Counters,
    pool: PhantomData<&'p Pool>,
}

/// What a receive returns.
#[derive(Debug)]
enum Receive {
    /// The payload.
    Payload(Payload),
    /// The address of the sender, too.
    Addressed(Addressed),
    /// Used with `gro`: the segment size of a train comes in a control message.
    Message(Messages),
}

impl<'p> Backend<'p> for Plain<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        Readiness::check(config)?;
        backend::probe_segmentation(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let receive = match Messages::wanted(config) {
            Some(messages) if config.variant.has(Mode::GRO) => Receive::Message(messages),
            Some(_) => Receive::Addressed(Addressed),
            None => Receive::Payload(Payload),
        };
        let sockets = port.sockets(config, pool)?;
        let readiness = Readiness::wanted(config, &sockets)?;
        Ok(Self {
            socket: Arc::clone(sockets.first()),
            outbox: Outbox::wanted(config, sockets.len()),
            copies: config.copies,
            copied: 0,
            is_single: config.batch == 1 && readiness.is_none() && matches!(receive, Receive::Payload(_)),
            sockets,
            readiness,
            batch: config.batch,
            receive,
            counters: Counters::default(),
            pool: PhantomData,
        })
    }

    #[inline(always)]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        match self.is_single {
            true => self.rx_one(free, rx),
            false => self.rx_batch(free, rx),
        }
    }

    /// One datagram, as in a loop of blocking receives.
    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if self.readiness.is_some() {
            return self.receive_from_ready(true, free, rx);
        }
        self.receive(1, 0, free, rx)
    }

    #[inline]
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let mut sent = 0;
        let mut result = Ok(());
        if let Some(outbox) = &mut self.outbox {
            let mut went = 0;
            let messages = outbox.fill(tx);
            for (index, header) in outbox.headers[..messages].iter().enumerate() {
                let fd = self.sockets.raw(outbox.socket(index));
                // SAFETY: the header points to packets that stay in the ring until the call returns; the kernel
                // only reads them.
                let outcome = unsafe { sys::send_message(&mut self.counters.syscalls, fd, &header.msg_hdr) };
                if let Err(refused) = outcome {
                    result = self.counters.note_refused(fd, refused);
                    break;
                }
                went += 1;
            }
            sent = outbox.settle(went, tx, free);
            return result.map(|()| sent);
        }
        let _ = tx.available();
        while sent < self.batch {
            let Some(packet) = tx.peek(0) else { break };
            let (fd, at, len) = (self.socket.raw(), packet.as_ptr(), packet.len());
            // SAFETY: the packet stays in its slot, and its bytes with it, until the call returns.
            let outcome = unsafe { sys::send(&mut self.counters.syscalls, fd, at, len) };
            match outcome {
                Ok(_) => {
                    self.copied += 1;
                    if self.copied == self.copies
                        && let Some(packet) = tx.pop()
                    {
                        free.give(packet.into_frame());
                        self.copied = 0;
                    }
                    sent += 1;
                }
                Err(refused) => {
                    result = self.counters.note_refused(self.socket.raw(), refused);
                    break;
                }
            }
        }
        tx.release();
        result.map(|()| sent)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn close(self, _free: &mut FreeList<'p>) -> io::Result<()> {
        Ok(())
    }
}

impl<'p> Plain<'p> {
    /// Receives one datagram, in straight-line code: all of it has to be fetched anew for each.
    #[inline(always)]
    fn rx_one(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Some(frame) = free.take() else { return Ok(0) };
        // SAFETY: the frame is ours until it is delivered.
        let status = unsafe { sys::receive(self.socket.raw(), &frame, libc::MSG_DONTWAIT) };
        if status < 0 {
            return self.rx_failed(frame, free, rx);
        }
        rx.deliver_received(frame, status as usize, &mut self.counters.truncated, free);
        rx.publish();
        self.counters.syscalls += 1;
        self.counters.rx_syscalls += 1;
        Ok(1)
    }

    /// What [`Plain::rx_one`] returns if the call did not return a datagram.
    #[cold]
    #[inline(never)]
    fn rx_failed(&mut self, frame: Frame<'p>, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let asked = (self.socket.raw(), libc::MSG_DONTWAIT);
        match self.counters.note_failed_receive(asked, 0, (frame, free)) {
            Some(end) => Visit { messages: 0, datagrams: 0, end }.outcome(),
            None => self.rx_batch(free, rx),
        }
    }

    /// Receives a batch. Out of line, which keeps the code between two system calls together; one call for each batch costs
    /// less than that saves, but not for a batch of one.
    #[inline(never)]
    fn rx_batch(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if let (None, Receive::Payload(way)) = (&self.readiness, &mut self.receive) {
            let (fd, counters) = (self.socket.raw(), &mut self.counters);
            return receive_each(fd, way, self.batch, libc::MSG_DONTWAIT, counters, (free, rx)).outcome();
        }
        self.rx_batch_otherwise(free, rx)
    }

    /// Receives a batch in a way other than the default. Out of line, so that the loop of that one is compiled by itself.
    #[inline(never)]
    fn rx_batch_otherwise(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if self.readiness.is_some() {
            return self.receive_from_ready(false, free, rx);
        }
        self.receive(self.batch, libc::MSG_DONTWAIT, free, rx)
    }

    /// Receives a batch from the sockets that are ready.
    #[inline(never)]
    fn receive_from_ready(&mut self, waits: bool, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Self { readiness, sockets, receive, counters, .. } = self;
        let Some(readiness) = readiness else { return Ok(0) };
        readiness.receive(waits, counters, |socket, most, counters| {
            rx.set_socket(socket);
            let fd = sockets.raw(usize::from(socket));
            receive.some(fd, most, libc::MSG_DONTWAIT, counters, (free, rx))
        })
    }

    /// Receives at most `most` datagrams (or trains); waits for each unless `flags` are `MSG_DONTWAIT`.
    #[inline(always)]
    fn receive(
        &mut self,
        most: usize,
        flags: libc::c_int,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        self.receive.some(self.socket.raw(), most, flags, &mut self.counters, (free, rx)).outcome()
    }
}

impl Receive {
    /// Receives at most `most` datagrams (or trains) from a socket.
    #[inline(always)]
    fn some<'p>(
        &mut self,
        fd: libc::c_int,
        most: usize,
        flags: libc::c_int,
        counters: &mut Counters,
        to: (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> Visit {
        match self {
            Self::Payload(way) => receive_each(fd, way, most, flags, counters, to),
            Self::Addressed(way) => receive_each(fd, way, most, flags, counters, to),
            Self::Message(way) => receive_each(fd, way, most, flags, counters, to),
        }
    }
}

/// Receives one datagram after the other, each straight onto the ring: the hot loop of this backend.
///
/// It is small, and does nothing out of line: the kernel evicts the code from the nearest caches and the predictions
/// from the return stack, so every datagram pays for each line and each return. When the lengths and frames of a batch
/// were kept aside, and delivered together after it, a `drain` took 1% longer.
#[inline(always)]
fn receive_each<'p, W: Way>(
    fd: libc::c_int,
    way: &mut W,
    most: usize,
    flags: libc::c_int,
    counters: &mut Counters,
    (free, rx): (&mut FreeList<'p>, &mut RxRing<'p>),
) -> Visit {
    let (mut calls, mut datagrams, mut interruptions) = (0, 0, 0);
    let mut end = End::Full;
    while calls < most {
        let Some(frame) = free.take() else {
            end = End::NoFrame;
            break;
        };
        // SAFETY: the frame is ours until it is delivered, and has room for what this way returns (`Port::socket`).
        let status = unsafe { way.call(fd, &frame, flags) };
        if status < 0 {
            let Some(why) = counters.note_failed_receive((fd, flags), interruptions, (frame, free)) else {
                interruptions += 1;
                continue;
            };
            end = why;
            break;
        }
        datagrams += way.deliver(frame, status as usize, &mut counters.truncated, (free, rx));
        calls += 1;
    }
    counters.syscalls += calls as u64;
    counters.rx_syscalls += calls as u64;
    rx.publish();
    Visit { messages: calls, datagrams, end }
}

impl Counters {
    /// Judges why a receive into `frame` returned nothing: `None` if it must be repeated. Out of line, with all that belongs
    /// to it.
    #[cold]
    #[inline(never)]
    fn note_failed_receive<'p>(
        &mut self,
        (fd, flags): (libc::c_int, libc::c_int),
        interruptions: u32,
        (frame, free): (Frame<'p>, &mut FreeList<'p>),
    ) -> Option<End> {
        let (verdict, error) = errno::last();
        free.give(frame);
        self.syscalls += 1;
        Some(match (verdict, error) {
            // A wait that a signal interrupts is over.
            (Verdict::Interrupted, _) if flags != 0 && interruptions < errno::INTERRUPTIONS_MAX => return None,
            (Verdict::Interrupted, _) if flags != 0 => End::Fatal(errno::interrupted_for_ever()),
            (Verdict::Fatal, error) => End::Fatal(error),
            (Verdict::Passing, _) => {
                self.note_passing(fd);
                End::Passing
            }
            (Verdict::Again | Verdict::Interrupted, _) => End::Drained,
        })
    }
}

/// A way to receive one datagram (or train).
trait Way {
    /// Makes the call, with `flags` beside `MSG_TRUNC`. Returns the real length, or −1, and then `errno` says why.
    ///
    /// # Safety
    ///
    /// The frame must be the caller's to write to, and have room for what precedes the payload.
    unsafe fn call(&mut self, fd: libc::c_int, frame: &Frame<'_>, flags: libc::c_int) -> libc::c_long;

    /// Delivers what arrived, of that length. Returns how many datagrams that was.
    fn deliver<'p>(
        &mut self,
        frame: Frame<'p>,
        len: usize,
        truncated: &mut u64,
        to: (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> usize;
}

/// `recvfrom` without an address.
#[derive(Debug)]
struct Payload;

impl Way for Payload {
    #[inline(always)]
    unsafe fn call(&mut self, fd: libc::c_int, frame: &Frame<'_>, flags: libc::c_int) -> libc::c_long {
        // SAFETY: the caller's promise.
        unsafe { sys::receive(fd, frame, flags) }
    }

    #[inline(always)]
    fn deliver<'p>(
        &mut self,
        frame: Frame<'p>,
        len: usize,
        truncated: &mut u64,
        (free, rx): (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> usize {
        rx.deliver_received(frame, len, truncated, free);
        1
    }
}

/// `recvfrom` with the sender's address.
#[derive(Debug)]
struct Addressed;

impl Way for Addressed {
    #[inline(always)]
    unsafe fn call(&mut self, fd: libc::c_int, frame: &Frame<'_>, flags: libc::c_int) -> libc::c_long {
        // SAFETY: the caller's promise.
        unsafe { sys::receive_from(fd, frame, flags) }
    }

    #[inline(always)]
    fn deliver<'p>(
        &mut self,
        frame: Frame<'p>,
        len: usize,
        truncated: &mut u64,
        (free, rx): (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> usize {
        rx.deliver_behind(PAYLOAD_AT, frame, len, truncated, free);
        1
    }
}

/// `recvmsg`, with the first of the messages.
impl Way for Messages {
    #[inline(always)]
    unsafe fn call(&mut self, fd: libc::c_int, frame: &Frame<'_>, flags: libc::c_int) -> libc::c_long {
        self.prepare(0, frame);
        // SAFETY: the header points to the frame, for which the caller vouches.
        unsafe { sys::receive_message(fd, &mut self.headers[0].msg_hdr, flags) }
    }

    #[inline(always)]
    fn deliver<'p>(
        &mut self,
        frame: Frame<'p>,
        len: usize,
        truncated: &mut u64,
        (free, rx): (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> usize {
        let packet = self.packet(0, frame, len, truncated);
        let datagrams = packet.count();
        rx.deliver(packet, free);
        datagrams
    }
}
