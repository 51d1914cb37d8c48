//! One batch per system call: `recvmmsg` and `sendmmsg`.
//!
//! The headers are written once, when the backend opens. For each datagram only the address of its
//! frame changes (and for a send its length): the frames move, the headers do not.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::backend::{self, Backend, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Declaration, Dimension, Kind, Mode};
use crate::frames::held::Held;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::errno::Verdict;
use crate::kernel::socket::Socket;
use crate::kernel::sys;
use crate::message::{Header, Headers, Messages, headers};
use crate::outbox::Outbox;

const DECLARATION: Declaration =
    Declaration::new("mmsg", "one batch per system call", &[RECEIVE, SEND, Dimension::GSO, Dimension::GRO]);

const RECEIVE: Dimension = Dimension::receive(&[Mode::new("recvmmsg", "recvmmsg")]);
const SEND: Dimension = Dimension::send(&[Mode::new("sendmmsg", "sendmmsg")]);

/// The `mmsg` backend.
#[derive(Debug)]
pub struct Mmsg<'p> {
    socket: Arc<Socket>,
    /// Frames that wait for the next receive; slot `i` is the iovec of header `i`.
    held: Held<'p>,
    rx_headers: Box<[Header]>,
    /// Whether a batch is one datagram, with no address or control message.
    is_single: bool,
    /// Used instead of these if a receive returns more than the payload.
    messages: Option<Messages>,
    tx_headers: Headers,
    /// Used instead of these if packets and datagrams are not one to one, or have addresses.
    outbox: Option<Outbox>,
    counters: Counters,
}

impl<'p> Backend<'p> for Mmsg<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        backend::probe_segmentation(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let socket = port.socket(config, pool)?;
        let mut held = Held::new(config.batch);
        let messages = Messages::wanted(config);
        Ok(Self {
            socket,
            is_single: config.batch == 1 && messages.is_none(),
            rx_headers: headers(held.as_iovecs(), config.batch),
            held,
            messages,
            tx_headers: Headers::new(config.batch),
            outbox: Outbox::wanted(config),
            counters: Counters::default(),
        })
    }

    #[inline]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if self.is_single {
            return self.receive_one(free, rx);
        }
        self.receive(libc::MSG_DONTWAIT, free, rx)
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(libc::MSG_WAITFORONE, free, rx)
    }

    #[inline]
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        if let Some(outbox) = &mut self.outbox {
            return post(outbox, &self.socket, &mut self.counters, tx, free);
        }
        let queued = tx.available().min(self.held.len());
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
        let sent = sent(fd, outcome, &mut self.counters)?;
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
        self.held.empty(free);
        Ok(())
    }
}

/// Sends the messages of an outbox with one call.
fn post<'p>(
    outbox: &mut Outbox,
    socket: &Socket,
    counters: &mut Counters,
    tx: &mut Consumer<Packet<'p>>,
    free: &mut FreeList<'p>,
) -> io::Result<usize> {
    let messages = outbox.fill(tx);
    if messages == 0 {
        return Ok(0);
    }
    // SAFETY: the first `messages` headers point to packets that stay in the ring until the call returns; the kernel
    // only reads them.
    let outcome =
        unsafe { sys::send_many(&mut counters.syscalls, socket.raw(), outbox.headers.as_mut_ptr().cast(), messages) };
    Ok(outbox.settle(sent(socket.raw(), outcome, counters)?, tx, free))
}

/// How many messages were sent by a call that may have failed.
#[inline(always)]
fn sent(fd: RawFd, outcome: Result<usize, (Verdict, io::Error)>, counters: &mut Counters) -> io::Result<usize> {
    match outcome {
        Ok(sent) => Ok(sent),
        Err(refused) => counters.note_refused(fd, refused).map(|()| 0),
    }
}

impl<'p> Mmsg<'p> {
    /// As [`Mmsg::receive`] of one datagram, in straight-line code: all of it has to be fetched anew for each.
    #[inline(always)]
    fn receive_one(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if !self.held.fill_one(free) {
            return Ok(0);
        }
        let (fd, headers) = (self.socket.raw(), self.rx_headers.as_mut_ptr().cast());
        // SAFETY: the only header points to the only slot, which holds a frame, and hence the iovec of all its bytes.
        let outcome = unsafe { sys::receive_many(&mut self.counters.syscalls, fd, headers, 1, libc::MSG_DONTWAIT) };
        if let Err(failed) = outcome {
            return self.note_failed(failed);
        }
        self.counters.rx_syscalls += 1;
        let len = self.rx_headers[0].msg_len as usize;
        if let Some(frame) = self.held.take_one() {
            rx.deliver_received(frame, len, &mut self.counters.truncated, free);
        }
        rx.publish();
        Ok(1)
    }

    /// Judges why a receive returned nothing.
    #[cold]
    fn note_failed(&mut self, (verdict, error): (Verdict, io::Error)) -> io::Result<usize> {
        if verdict == Verdict::Fatal {
            return Err(error);
        }
        if verdict == Verdict::Passing {
            self.counters.note_passing(self.socket.raw());
        }
        Ok(0)
    }

    #[inline(always)]
    fn receive(&mut self, flags: libc::c_int, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let before = self.held.vacant();
        let first = self.held.fill(free);
        let headers = match &mut self.messages {
            None => &mut self.rx_headers[first..],
            Some(messages) => {
                for (slot, frame) in (first..before).zip(self.held.frames()) {
                    messages.prepare(slot, frame);
                }
                &mut messages.headers[first..]
            }
        };
        if headers.is_empty() {
            return Ok(0);
        }
        let (fd, ready) = (self.socket.raw(), headers.len());
        // SAFETY: each of these headers points to the slot with the same number, which holds a frame, and hence
        // the iovec of all its bytes; or it was prepared for that frame.
        let outcome =
            unsafe { sys::receive_many(&mut self.counters.syscalls, fd, headers.as_mut_ptr().cast(), ready, flags) };
        let received = match outcome {
            Ok(received) => received,
            Err(failed) => return self.note_failed(failed),
        };
        self.counters.rx_syscalls += 1;
        let truncated = &mut self.counters.truncated;
        let frames = self.held.take(received);
        let datagrams = match &self.messages {
            None => {
                for (frame, header) in frames.zip(&self.rx_headers[first..]) {
                    rx.deliver_received(frame, header.msg_len as usize, truncated, free);
                }
                received
            }
            Some(messages) => messages.deliver(first, frames, truncated, (rx, free)),
        };
        rx.publish();
        Ok(datagrams)
    }
}
