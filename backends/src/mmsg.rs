//! One batch per system call: `recvmmsg` and `sendmmsg`.
//!
//! The headers are written once, when the backend opens. For each datagram only the address of its
//! frame changes (and on the way out its length): the frames travel, the headers do not.

use std::io;
use std::mem;
use std::ptr;
use std::sync::Arc;

use crate::backend::{Backend, Caps, Config, Counters, Kind, OpenError, Port};
use crate::errno::Verdict;
use crate::held::Held;
use crate::packet::{Packet, RxRing};
use crate::pool::{FreeList, Pool};
use crate::ring::Consumer;
use crate::socket::Socket;
use crate::sys;

/// The `mmsg` backend.
#[derive(Debug)]
pub struct Mmsg<'p> {
    socket: Arc<Socket>,
    /// Frames that wait for the next receive; slot `i` is the iovec of header `i`.
    held: Held<'p>,
    rx_headers: Box<[libc::mmsghdr]>,
    tx_headers: Headers,
    counters: Counters,
}

impl<'p> Backend<'p> for Mmsg<'p> {
    const KIND: Kind = Kind::Mmsg;

    fn probe(_config: &Config) -> Result<Caps, OpenError> {
        Ok(Caps::default())
    }

    fn open(config: &Config, port: Port<'p>, _pool: &'p Pool) -> Result<Self, OpenError> {
        let mut held = Held::new(config.batch);
        Ok(Self {
            socket: port.socket(Self::KIND, config)?,
            rx_headers: headers(held.as_iovecs(), config.batch),
            held,
            tx_headers: Headers::new(config.batch),
            counters: Counters::default(),
        })
    }

    #[inline]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(libc::MSG_DONTWAIT, free, rx)
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(libc::MSG_WAITFORONE, free, rx)
    }

    #[inline]
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let queued = tx.available().min(self.held.len());
        for (index, iovec) in self.tx_headers.iovecs.iter_mut().enumerate().take(queued) {
            if let Some(packet) = tx.peek(index) {
                *iovec = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
            }
        }
        if queued == 0 {
            return Ok(0);
        }
        let (fd, headers) = (self.socket.raw(), self.tx_headers.messages.as_mut_ptr());
        // SAFETY: the first `queued` headers point, each through its own iovec, to the bytes of a packet that
        // stays in the ring until the call is over; the kernel only reads them.
        let outcome = unsafe { sys::send_many(&mut self.counters.syscalls, fd, headers, queued) };
        let sent = match outcome {
            Ok(sent) => sent,
            Err((Verdict::Fatal, error)) => return Err(error),
            Err((Verdict::Passing, _)) => {
                self.counters.io_errors += 1;
                0
            }
            Err((Verdict::Again | Verdict::Interrupted, _)) => {
                self.counters.send_eagain += 1;
                0
            }
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
        self.held.empty(free);
        Ok(())
    }
}

impl<'p> Mmsg<'p> {
    #[inline(always)]
    fn receive(&mut self, flags: libc::c_int, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let first = self.held.fill(free);
        let headers = &mut self.rx_headers[first..];
        if headers.is_empty() {
            return Ok(0);
        }
        let (fd, ready) = (self.socket.raw(), headers.len());
        // SAFETY: each of these headers points to the slot of the same number, which holds a frame, and hence
        // the iovec of all its bytes.
        let outcome = unsafe { sys::receive_many(&mut self.counters.syscalls, fd, headers.as_mut_ptr(), ready, flags) };
        let received = match outcome {
            Ok(received) => received,
            Err((Verdict::Fatal, error)) => return Err(error),
            Err((verdict, _)) => {
                self.counters.io_errors += u64::from(verdict == Verdict::Passing);
                return Ok(0);
            }
        };
        self.counters.rx_syscalls += 1;
        for (frame, header) in self.held.take(received).zip(&self.rx_headers[first..]) {
            rx.deliver_received(frame, header.msg_len as usize, &mut self.counters.truncated, free);
        }
        rx.publish();
        Ok(received)
    }
}

/// Message headers and the iovecs that they point to, one each per datagram.
#[derive(Debug)]
pub(crate) struct Headers {
    pub(crate) messages: Box<[libc::mmsghdr]>,
    pub(crate) iovecs: Box<[libc::iovec]>,
}

impl Headers {
    pub(crate) fn new(count: usize) -> Self {
        let mut iovecs: Box<[libc::iovec]> =
            (0..count).map(|_| libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }).collect();
        Self { messages: headers(iovecs.as_mut_ptr(), count), iovecs }
    }
}

/// Message headers that point to one of `count` iovecs each, which must not move.
fn headers(iovecs: *mut libc::iovec, count: usize) -> Box<[libc::mmsghdr]> {
    let header = |index| {
        // SAFETY: a message header of zeroes is valid: null pointers with lengths of zero.
        let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
        message.msg_hdr.msg_iov = iovecs.wrapping_add(index);
        message.msg_hdr.msg_iovlen = 1;
        message
    };
    (0..count).map(header).collect()
}
