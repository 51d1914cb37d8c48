//! One datagram per system call: `recvfrom` and `sendto`.

use std::io;
use std::sync::Arc;

use crate::backend::{Backend, Caps, Config, Counters, Kind, OpenError, Port};
use crate::errno::{self, Verdict};
use crate::held::Held;
use crate::packet::{Packet, RxRing};
use crate::pool::{FreeList, Pool};
use crate::ring::Consumer;
use crate::socket::Socket;
use crate::sys;

/// The `plain` backend.
#[derive(Debug)]
pub struct Plain<'p> {
    socket: Arc<Socket>,
    /// Frames that wait for the next receive.
    held: Held<'p>,
    /// How long each datagram of a batch is.
    lens: Box<[usize]>,
    counters: Counters,
}

/// How many datagrams came, and what ended the receiving.
type Received = (usize, Result<(), (Verdict, io::Error)>);

impl<'p> Backend<'p> for Plain<'p> {
    const KIND: Kind = Kind::Plain;

    fn probe(_config: &Config) -> Result<Caps, OpenError> {
        Ok(Caps::default())
    }

    fn open(config: &Config, port: Port<'p>, _pool: &'p Pool) -> Result<Self, OpenError> {
        Ok(Self {
            socket: port.socket(Self::KIND, config)?,
            held: Held::new(config.batch),
            lens: vec![0; config.batch].into_boxed_slice(),
            counters: Counters::default(),
        })
    }

    #[inline]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.held.fill(free);
        let received = self.receive();
        self.deliver(received, free, rx)
    }

    /// One datagram, as in a loop of blocking receives.
    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.held.fill(free);
        let Some(frame) = self.held.frames().first() else { return Ok(0) };
        // SAFETY: the frame is held, so that its bytes are ours.
        let outcome = unsafe { sys::receive_waiting(&mut self.counters.syscalls, self.socket.raw(), frame) };
        let received = match outcome {
            Ok(len) => {
                self.lens[0] = len;
                (1, Ok(()))
            }
            Err(failed) => (0, Err(failed)),
        };
        self.deliver(received, free, rx)
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

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        self.held.empty(free);
        Ok(())
    }
}

impl<'p> Plain<'p> {
    /// Receives into the held frames.
    #[inline(always)]
    fn receive(&mut self) -> Received {
        let (fd, frames) = (self.socket.raw(), self.held.frames());
        let mut received = 0;
        loop {
            // SAFETY: the frames are held, so that their bytes are ours.
            received += unsafe { sys::receive_each(fd, &frames[received..], &mut self.lens[received..]) };
            if received == frames.len() {
                self.counters.syscalls += received as u64;
                return (received, Ok(()));
            }
            let failed = errno::last();
            self.counters.syscalls += 1;
            if failed.0 != Verdict::Interrupted {
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
        for (frame, &len) in self.held.take(received).zip(&self.lens) {
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
}
