//! One datagram per system call: `recvfrom` and `sendto`.

use std::io;
use std::sync::Arc;

use crate::backend::{self, Backend, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Declaration, Dimension, Kind, Mode};
use crate::frames::address::PAYLOAD_AT;
use crate::frames::held::Held;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::errno::{self, Verdict};
use crate::kernel::socket::Socket;
use crate::kernel::sys;
use crate::message::Messages;
use crate::outbox::Outbox;
use crate::variant::Addressing;

const DECLARATION: Declaration =
    Declaration::new("plain", "one datagram per system call", &[RECEIVE, SEND, Dimension::GSO, Dimension::GRO]);

const RECEIVE: Dimension = Dimension::receive(&[Mode::new("recvfrom", "recvfrom; recvmsg with gro")]);
const SEND: Dimension = Dimension::send(&[Mode::new("sendto", "sendto; sendmsg with gso")]);

/// The `plain` backend.
#[derive(Debug)]
pub struct Plain<'p> {
    socket: Arc<Socket>,
    /// Frames that wait for the next receive.
    held: Held<'p>,
    /// How long each datagram of a batch is.
    lens: Box<[usize]>,
    /// Whether a batch is one datagram, and nothing comes with it: then nothing is held from one call to the next.
    is_single: bool,
    /// Whether datagrams come with the addresses of their senders.
    addressed: bool,
    /// Used with `gro`: the segment size of a train comes in a message.
    messages: Option<Messages>,
    /// Used where packets and datagrams are not one to one, or have addresses.
    outbox: Option<Outbox>,
    counters: Counters,
}

/// How many datagrams came, and what ended the receiving.
type Received = (usize, Result<(), (Verdict, io::Error)>);

impl<'p> Backend<'p> for Plain<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        backend::probe_segmentation(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let is_single = config.batch == 1 && config.frame_size(0) == 0 && config.block.is_none();
        Ok(Self {
            is_single,
            socket: port.socket(config, pool)?,
            held: Held::new(config.batch),
            lens: vec![0; config.batch].into_boxed_slice(),
            addressed: config.addressing == Addressing::Unconnected,
            messages: Messages::wanted(config).filter(|_| config.variant.has(Mode::GRO)),
            outbox: Outbox::wanted(config),
            counters: Counters::default(),
        })
    }

    #[inline]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if self.is_single {
            return self.receive_one(free, rx);
        }
        self.fill(free);
        let received = self.receive(self.lens.len(), libc::MSG_DONTWAIT);
        self.deliver(received, free, rx)
    }

    /// One datagram, as in a loop of blocking receives.
    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.fill(free);
        let received = self.receive(1, 0);
        self.deliver(received, free, rx)
    }

    #[inline]
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let mut sent = 0;
        let mut result = Ok(());
        if let Some(outbox) = &mut self.outbox {
            let mut went = 0;
            let messages = outbox.fill(tx);
            for header in &outbox.headers[..messages] {
                // SAFETY: the header points to packets that stay in the ring until the call is over; the kernel
                // only reads them.
                let outcome =
                    unsafe { sys::send_message(&mut self.counters.syscalls, self.socket.raw(), &header.msg_hdr) };
                if let Err(refused) = outcome {
                    result = self.counters.note_refused(refused);
                    break;
                }
                went += 1;
            }
            sent = outbox.settle(went, tx, free);
            return result.map(|()| sent);
        }
        let queued = tx.available().min(self.lens.len());
        while sent < queued {
            let Some(packet) = tx.peek(0) else { break };
            let (fd, at, len) = (self.socket.raw(), packet.as_ptr(), packet.len());
            // SAFETY: the packet stays in its slot, and its bytes with it, until the call is over.
            let outcome = unsafe { sys::send(&mut self.counters.syscalls, fd, at, len) };
            match outcome {
                Ok(_) => {
                    if let Some(packet) = tx.pop() {
                        free.give(packet.into_frame());
                    }
                    sent += 1;
                }
                Err(refused) => {
                    result = self.counters.note_refused(refused);
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

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        self.held.empty(free);
        Ok(())
    }
}

impl<'p> Plain<'p> {
    /// Receives one datagram, in straight code: each jump and each return between two system calls has to be fetched
    /// and predicted anew, which cost 20 ns per datagram.
    #[inline(always)]
    fn receive_one(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Some(frame) = free.take() else { return Ok(0) };
        // SAFETY: the frame is ours until it is delivered.
        let received = unsafe { sys::receive(&mut self.counters.syscalls, self.socket.raw(), &frame) };
        match received {
            Ok(len) => {
                self.counters.rx_syscalls += 1;
                rx.deliver_received(frame, len, &mut self.counters.truncated, free);
                rx.publish();
                Ok(1)
            }
            Err(failed) => {
                free.give(frame);
                self.note_failed(failed).map(|()| 0)
            }
        }
    }

    /// Judges what ended a receive.
    #[cold]
    fn note_failed(&mut self, (verdict, error): (Verdict, io::Error)) -> io::Result<()> {
        match verdict {
            Verdict::Fatal => return Err(error),
            Verdict::Passing => self.counters.io_errors += 1,
            Verdict::Again | Verdict::Interrupted => {}
        }
        Ok(())
    }

    /// Makes the held frames ready.
    #[inline(always)]
    fn fill(&mut self, free: &mut FreeList<'p>) {
        let before = self.held.vacant();
        let first = self.held.fill(free);
        if let Some(messages) = &mut self.messages {
            for (slot, frame) in (first..before).zip(self.held.frames()) {
                messages.prepare(slot, frame);
            }
        }
    }

    /// Receives into the held frames, at most `most` datagrams (or trains); waits for each unless `flags` are
    /// `MSG_DONTWAIT`.
    #[inline(always)]
    fn receive(&mut self, most: usize, flags: libc::c_int) -> Received {
        let (fd, frames) = (self.socket.raw(), self.held.frames());
        let frames = &frames[..most.min(frames.len())];
        let first = self.held.vacant();
        let mut received = 0;
        loop {
            let (frames, lens) = (&frames[received..], &mut self.lens[received..]);
            // SAFETY: the frames are held, so that their bytes are ours; the headers of their slots point to them.
            let came = unsafe {
                match &mut self.messages {
                    Some(messages) => {
                        let slots = first + received..first + received + frames.len();
                        sys::receive_each_message(fd, &mut messages.headers[slots], lens, flags)
                    }
                    None if self.addressed => sys::receive_each_from(fd, frames, lens, flags),
                    None if flags == libc::MSG_DONTWAIT => sys::receive_each(fd, frames, lens),
                    None => sys::receive_each_waiting(fd, frames, lens),
                }
            };
            received += came;
            if came == frames.len() {
                self.counters.syscalls += received as u64;
                return (received, Ok(()));
            }
            let failed = errno::last();
            self.counters.syscalls += 1;
            if failed.0 != Verdict::Interrupted || flags == 0 {
                self.counters.syscalls += received as u64;
                return (received, Err(failed));
            }
        }
    }

    /// Delivers the datagrams that came, and judges what ended the receiving.
    #[inline(always)]
    fn deliver(
        &mut self,
        (received, outcome): Received,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        self.counters.rx_syscalls += received as u64;
        let first = self.held.vacant();
        let frames = self.held.take(received);
        let truncated = &mut self.counters.truncated;
        let datagrams = match &self.messages {
            Some(messages) => messages.deliver(first, frames, |slot| self.lens[slot - first], truncated, (rx, free)),
            None if self.addressed => {
                for (frame, &len) in frames.zip(&self.lens) {
                    rx.deliver_behind(PAYLOAD_AT, frame, len, truncated, free);
                }
                received
            }
            None => {
                for (frame, &len) in frames.zip(&self.lens) {
                    rx.deliver_received(frame, len, truncated, free);
                }
                received
            }
        };
        rx.publish();
        outcome.or_else(|failed| self.note_failed(failed))?;
        Ok(datagrams)
    }
}
