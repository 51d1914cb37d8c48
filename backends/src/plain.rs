//! One datagram per system call: `recvfrom` and `sendto`.

use std::io;
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

/// The `plain` backend.
#[derive(Debug)]
pub struct Plain<'p> {
    socket: Arc<Socket>,
    batch: usize,
    /// Frames that wait for the next receive.
    held: Held<'p>,
    /// Where each held frame is, and how long the datagram is that was received into it.
    places: Box<[(*mut u8, usize)]>,
    /// Size of each frame in bytes.
    size: usize,
    counters: Counters,
}

impl<'p> Backend<'p> for Plain<'p> {
    const KIND: Kind = Kind::Plain;

    fn probe(_config: &Config) -> Result<Caps, OpenError> {
        Ok(Caps::default())
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let socket = port.socket(Self::KIND)?;
        Ok(Self {
            socket,
            batch: config.batch,
            held: Held::new(config.batch),
            places: vec![(ptr::null_mut(), 0); config.batch].into_boxed_slice(),
            size: pool.frame_size(),
            counters: Counters::default(),
        })
    }

    #[inline]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let (places, size) = (&mut self.places, self.size);
        let ready = self.held.fill(free, |index, frame| {
            assert_eq!(frame.size(), size, "a frame of another pool");
            places[index].0 = frame.as_ptr();
        });
        let (received, outcome) = self.receive(ready);
        self.counters.rx_syscalls += received as u64;
        for (slot, &(_, len)) in self.held.iter_mut().zip(&self.places).take(received) {
            if let Some(frame) = slot.take() {
                if len > size {
                    self.counters.truncated += 1;
                }
                rx.deliver(Packet::received(frame, len), free);
            }
        }
        rx.publish();
        match outcome {
            Err((Verdict::Fatal, error)) => return Err(error),
            Err((Verdict::Passing, _)) => self.counters.io_errors += 1,
            Err((Verdict::Again | Verdict::Interrupted, _)) | Ok(()) => {}
        }
        Ok(received)
    }

    #[inline]
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let queued = tx.available().min(self.batch);
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

impl Plain<'_> {
    /// Receives into the first `ready` frames. Returns how many datagrams came, and what ended it.
    ///
    /// Nothing else happens between two system calls: the kernel drives this code out of the instruction
    /// cache each time, so that every line of it would be fetched anew for every datagram.
    #[inline(always)]
    fn receive(&mut self, ready: usize) -> (usize, Result<(), (Verdict, io::Error)>) {
        let (fd, size) = (self.socket.raw(), self.size);
        let (mut received, mut syscalls, mut outcome) = (0, 0, Ok(()));
        for (place, len) in self.places.iter_mut().take(ready) {
            // SAFETY: the place is the address of a frame that is held, `size` bytes long.
            match unsafe { sys::receive(&mut syscalls, fd, *place, size) } {
                Ok(real) => *len = real,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
            received += 1;
        }
        self.counters.syscalls += syscalls;
        (received, outcome)
    }
}
