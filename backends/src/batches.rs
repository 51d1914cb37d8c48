//! Receiving with `recvmmsg`: frames that wait for the next call, and the headers that point to them.

use std::io;
use std::os::fd::RawFd;

use crate::backend::{Config, Counters};
use crate::frames::held::Held;
use crate::frames::packet::RxRing;
use crate::frames::pool::FreeList;
use crate::kernel::errno::Verdict;
use crate::kernel::sys;
use crate::message::{Header, Messages, headers};
use crate::ready::{End, Visit};

/// Receives batches, from whichever socket.
#[derive(Debug)]
pub(crate) struct Batches<'p> {
    /// Frames that wait for the next receive; slot `i` is the iovec of header `i`.
    held: Held<'p>,
    headers: Box<[Header]>,
    /// Used instead of these if a receive returns more than the payload.
    messages: Option<Messages>,
}

impl<'p> Batches<'p> {
    pub(crate) fn new(config: &Config) -> Self {
        let mut held = Held::new(config.batch);
        let headers = headers(held.as_iovecs(), config.batch);
        Self { held, headers, messages: Messages::wanted(config) }
    }

    /// Whether a batch is one datagram, with no address or control message.
    pub(crate) fn is_single(&self) -> bool {
        self.held.len() == 1 && self.messages.is_none()
    }

    /// As [`Batches::receive`] of one datagram, in straight-line code: all of it has to be fetched anew for each.
    #[inline(always)]
    pub(crate) fn receive_one(
        &mut self,
        fd: RawFd,
        counters: &mut Counters,
        (free, rx): (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> Visit {
        if !self.held.fill_one(free) {
            return Visit { messages: 0, datagrams: 0, end: End::NoFrame };
        }
        let headers = self.headers.as_mut_ptr().cast();
        // SAFETY: the only header points to the only slot, which holds a frame, and hence the iovec of all its bytes.
        let outcome = unsafe { sys::receive_many(&mut counters.syscalls, fd, headers, 1, libc::MSG_DONTWAIT) };
        if let Err(failed) = outcome {
            return counters.note_failed_batch(fd, failed);
        }
        counters.rx_syscalls += 1;
        let len = self.headers[0].msg_len as usize;
        if let Some(frame) = self.held.take_one() {
            rx.deliver_received(frame, len, &mut counters.truncated, free);
        }
        rx.publish();
        Visit { messages: 1, datagrams: 1, end: End::Full }
    }

    /// Receives at most `most` messages with one call.
    #[inline(always)]
    pub(crate) fn receive(
        &mut self,
        (fd, most, flags): (RawFd, usize, libc::c_int),
        counters: &mut Counters,
        (free, rx): (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> Visit {
        let before = self.held.vacant();
        let first = self.held.fill(free);
        let headers = match &mut self.messages {
            None => &mut self.headers[first..],
            Some(messages) => {
                for (slot, frame) in (first..before).zip(self.held.frames()) {
                    messages.prepare(slot, frame);
                }
                &mut messages.headers[first..]
            }
        };
        if headers.is_empty() {
            return Visit { messages: 0, datagrams: 0, end: End::NoFrame };
        }
        let ready = headers.len().min(most);
        // SAFETY: each of these headers points to the slot with the same number, which holds a frame, and hence
        // the iovec of all its bytes; or it was prepared for that frame.
        let outcome =
            unsafe { sys::receive_many(&mut counters.syscalls, fd, headers.as_mut_ptr().cast(), ready, flags) };
        let received = match outcome {
            Ok(received) => received,
            Err(failed) => return counters.note_failed_batch(fd, failed),
        };
        counters.rx_syscalls += 1;
        let truncated = &mut counters.truncated;
        let frames = self.held.take(received);
        let datagrams = match &self.messages {
            None => {
                for (frame, header) in frames.zip(&self.headers[first..]) {
                    rx.deliver_received(frame, header.msg_len as usize, truncated, free);
                }
                received
            }
            Some(messages) => messages.deliver(first, frames, truncated, (rx, free)),
        };
        rx.publish();
        Visit { messages: received, datagrams, end: if received == ready { End::Full } else { End::Short } }
    }

    /// Gives all frames back.
    pub(crate) fn empty(self, free: &mut FreeList<'p>) {
        self.held.empty(free);
    }
}

impl Counters {
    /// Judges why a call returned nothing.
    #[cold]
    fn note_failed_batch(&mut self, fd: RawFd, (verdict, error): (Verdict, io::Error)) -> Visit {
        let end = match verdict {
            Verdict::Fatal => End::Fatal(error),
            Verdict::Passing => {
                self.note_passing(fd);
                End::Passing
            }
            Verdict::Again | Verdict::Interrupted => End::Drained,
        };
        Visit { messages: 0, datagrams: 0, end }
    }
}
