//! Sending with `sendmmsg`: the headers that point to what is on a TX ring.

use std::io;

use crate::backend::{Config, Counters, Sockets};
use crate::frames::packet::Packet;
use crate::frames::pool::FreeList;
use crate::frames::ring::Consumer;
use crate::kernel::sys;
use crate::message::Headers;
use crate::outbox::Outbox;

/// Sends batches.
#[derive(Debug)]
pub(crate) struct Sending {
    batch: usize,
    /// How often each packet is sent, and how often the first one on the ring has been sent.
    copies: usize,
    copied: usize,
    headers: Headers,
    /// Used instead of these if packets and datagrams are not one to one, or a packet names its address or its socket.
    outbox: Option<Outbox>,
}

impl Sending {
    pub(crate) fn new(config: &Config, sockets: usize) -> Self {
        let headers = Headers::new(config.batch);
        let Config { batch, copies, .. } = *config;
        Self { batch, copies, copied: 0, headers, outbox: Outbox::wanted(config, sockets) }
    }

    /// Sends at most a batch, with one call for each socket. Returns how many datagrams went.
    #[inline(always)]
    pub(crate) fn send<'p>(
        &mut self,
        sockets: &Sockets,
        counters: &mut Counters,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> io::Result<usize> {
        if let Some(outbox) = &mut self.outbox {
            return post(outbox, sockets, counters, tx, free);
        }
        let queued = match self.copies {
            1 => self.point_to_each(tx),
            _ => self.point_to_copies(tx),
        };
        if queued == 0 {
            return Ok(0);
        }
        let (fd, headers) = (sockets.raw(0), self.headers.messages.as_mut_ptr().cast());
        // SAFETY: the first `queued` headers point, each through its own iovec, to the bytes of a packet that
        // stays in the ring until the call returns; the kernel only reads them.
        let outcome = unsafe { sys::send_many(&mut counters.syscalls, fd, headers, queued) };
        let sent = match outcome {
            Ok(sent) => sent,
            Err(refused) => return counters.note_refused(fd, refused).map(|()| 0),
        };
        let mut finished = sent;
        if self.copies > 1 {
            self.copied += sent;
            (finished, self.copied) = (self.copied / self.copies, self.copied % self.copies);
        }
        for _ in 0..finished {
            if let Some(packet) = tx.pop() {
                free.give(packet.into_frame());
            }
        }
        tx.release();
        Ok(sent)
    }

    /// Points a header to each packet, as far as a batch goes. Returns how many.
    #[inline(always)]
    fn point_to_each(&mut self, tx: &mut Consumer<Packet<'_>>) -> usize {
        let queued = tx.available().min(self.batch);
        for (index, iovec) in self.headers.iovecs.iter_mut().enumerate().take(queued) {
            if let Some(packet) = tx.peek(index) {
                *iovec = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
            }
        }
        queued
    }

    /// The same, with a header for each copy that is still to be sent.
    #[inline(never)]
    fn point_to_copies(&mut self, tx: &mut Consumer<Packet<'_>>) -> usize {
        let (copies, mut queued) = (self.copies, 0);
        for index in 0..tx.available() {
            let Some(packet) = tx.peek(index) else { break };
            let left = copies - if index == 0 { self.copied } else { 0 };
            let count = left.min(self.batch - queued);
            let piece = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
            self.headers.iovecs[queued..queued + count].fill(piece);
            queued += count;
            if queued == self.batch {
                break;
            }
        }
        queued
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
