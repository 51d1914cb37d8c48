//! One datagram per system call: `recvfrom` and `sendto`.

use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use crate::backend::{Backend, Caps, Config, Counters, Kind, OpenError, Port};
use crate::errno::{self, Verdict};
use crate::packet::{Packet, RxRing};
use crate::pool::{FreeList, Pool};
use crate::ring::Consumer;
use crate::socket::Socket;
use crate::sys;

/// The `plain` backend.
///
/// It holds no frames: it receives into those on top of the free list, and takes those out that a datagram
/// came into.
#[derive(Debug)]
pub struct Plain<'p> {
    socket: Arc<Socket>,
    /// How long each datagram of a batch is, last to first.
    lens: Box<[usize]>,
    counters: Counters,
    pool: PhantomData<&'p Pool>,
}

impl<'p> Backend<'p> for Plain<'p> {
    const KIND: Kind = Kind::Plain;

    fn probe(_config: &Config) -> Result<Caps, OpenError> {
        Ok(Caps::default())
    }

    fn open(config: &Config, port: Port<'p>, _pool: &'p Pool) -> Result<Self, OpenError> {
        let lens = vec![0; config.batch].into_boxed_slice();
        Ok(Self { socket: port.socket(Self::KIND, config)?, lens, counters: Counters::default(), pool: PhantomData })
    }

    #[inline]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let outcome = self.receive(free);
        self.deliver(outcome, free, rx)
    }

    /// One datagram, as in a loop of blocking receives.
    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let (frames, size) = free.topmost(1);
        let Some(frame) = frames.first() else { return Ok(0) };
        // SAFETY: the frame is on the free list, which we have to ourselves, so that nobody else uses its bytes.
        let outcome = unsafe { sys::receive_waiting(&mut self.counters.syscalls, self.socket.raw(), *frame, size) };
        let outcome = match outcome {
            Ok(len) => {
                self.lens[0] = len;
                (0..1, Ok(()))
            }
            Err(failed) => (0..0, Err(failed)),
        };
        self.deliver(outcome, free, rx)
    }

    #[inline]
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let queued = tx.available().min(self.lens.len());
        let mut sent = 0;
        let mut result = Ok(());
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
                Err((verdict, error)) => {
                    match verdict {
                        Verdict::Passing => self.counters.io_errors += 1,
                        Verdict::Fatal => result = Err(error),
                        Verdict::Again | Verdict::Interrupted => self.counters.send_eagain += 1,
                    }
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
    /// Delivers the datagrams whose lengths are in this part of `lens`, last to first, and judges what ended the
    /// receiving.
    #[inline(always)]
    fn deliver(
        &mut self,
        (lens, outcome): (Range<usize>, Result<(), (Verdict, io::Error)>),
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        let received = lens.len();
        self.counters.rx_syscalls += received as u64;
        for &len in self.lens[lens].iter().rev() {
            let Some(frame) = free.take() else { break };
            rx.deliver_received(frame, len, &mut self.counters.truncated, free);
        }
        rx.publish();
        match outcome {
            Err((Verdict::Fatal, error)) => return Err(error),
            Err((Verdict::Passing, _)) => self.counters.io_errors += 1,
            Err((Verdict::Again | Verdict::Interrupted, _)) | Ok(()) => {}
        }
        Ok(received)
    }

    /// Receives into the topmost free frames. Returns where in `lens` the lengths of the datagrams are, last to
    /// first, and what ended it.
    #[inline(always)]
    fn receive(&mut self, free: &mut FreeList<'_>) -> (Range<usize>, Result<(), (Verdict, io::Error)>) {
        let (frames, size) = free.topmost(self.lens.len());
        let (fd, most) = (self.socket.raw(), frames.len());
        let mut left = most;
        loop {
            // SAFETY: the frames are on the free list, which we have to ourselves, so that nobody else uses their
            // bytes.
            left = unsafe { sys::receive_each(fd, &frames[..left], size, &mut self.lens) };
            if left == 0 {
                self.counters.syscalls += most as u64;
                return (0..most, Ok(()));
            }
            let failed = errno::last();
            self.counters.syscalls += 1;
            if failed.0 != Verdict::Interrupted {
                self.counters.syscalls += (most - left) as u64;
                return (left..most, Err(failed));
            }
        }
    }
}
