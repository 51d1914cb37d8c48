//! One datagram per system call: `recvfrom` and `sendto`.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::backend::{Backend, Caps, Config, Counters, Kind, OpenError, Port};
use crate::errno::Verdict;
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
    counters: Counters,
    pool: PhantomData<&'p Pool>,
}

impl<'p> Backend<'p> for Plain<'p> {
    const KIND: Kind = Kind::Plain;

    fn probe(_config: &Config) -> Result<Caps, OpenError> {
        Ok(Caps::default())
    }

    fn open(config: &Config, port: Port<'p>, _pool: &'p Pool) -> Result<Self, OpenError> {
        let socket = port.socket(Self::KIND)?;
        Ok(Self { socket, batch: config.batch, counters: Counters::default(), pool: PhantomData })
    }

    #[inline]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let (mut received, mut syscalls) = (0, 0);
        let mut result = Ok(());
        while received < self.batch {
            let Some(frame) = free.take() else { break };
            let (fd, at, size) = (self.socket.raw(), frame.as_ptr(), frame.size());
            // SAFETY: the frame is ours, `size` bytes long, and stays until the call is over.
            let outcome = unsafe { sys::receive(&mut syscalls, fd, at, size) };
            match outcome {
                Ok(len) => {
                    if len > size {
                        self.counters.truncated += 1;
                    }
                    rx.deliver(Packet::received(frame, len), free);
                    received += 1;
                }
                Err((verdict, error)) => {
                    free.give(frame);
                    match verdict {
                        Verdict::Passing => self.counters.io_errors += 1,
                        Verdict::Fatal => result = Err(error),
                        Verdict::Again | Verdict::Interrupted => {}
                    }
                    break;
                }
            }
        }
        self.counters.syscalls += syscalls;
        self.counters.rx_syscalls += received as u64;
        rx.publish();
        result.map(|()| received)
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

    fn close(self, _free: &mut FreeList<'p>) -> io::Result<()> {
        Ok(())
    }
}
