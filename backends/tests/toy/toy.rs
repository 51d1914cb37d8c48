//! The backend that `tests/toy_backend.rs` adds to a copy of this crate: one datagram per system call, connected
//! sockets.

use std::io;
use std::sync::Arc;

use crate::backend::{Backend, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Declaration, Dimension, Kind, Mode};
use crate::frames::copies::Copies;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{Frame, FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::errno::{self, Verdict};
use crate::kernel::socket::Socket;
use crate::kernel::sys;

const DECLARATION: Declaration = Declaration {
    owns_many_sockets: false,
    ..Declaration::new("toy", "one datagram per system call, once more", &[RECEIVE, SEND])
};

const RECEIVE: Dimension = Dimension::receive(&[Mode::new("recv", "recv")]);
const SEND: Dimension = Dimension::send(&[Mode::new("send", "send")]);

/// The `toy` backend.
#[derive(Debug)]
pub struct Toy<'p> {
    socket: Arc<Socket>,
    /// A frame that waits for the next receive.
    held: Option<Frame<'p>>,
    batch: usize,
    copies: Copies,
    counters: Counters,
}

impl<'p> Backend<'p> for Toy<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    fn probe(_config: &Config) -> Result<Caps, OpenError> {
        Ok(Caps::default())
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let socket = Arc::clone(port.sockets(config, pool)?.only()?);
        let copies = Copies::new(config.copies);
        Ok(Self { socket, held: None, batch: config.batch, copies, counters: Counters::default() })
    }

    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(self.batch, libc::MSG_DONTWAIT, free, rx)
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(1, 0, free, rx)
    }

    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let _ = tx.available();
        let (mut sent, mut result) = (0, Ok(()));
        while sent < self.batch {
            let Some(packet) = tx.peek(0) else { break };
            let (at, len) = (packet.as_ptr(), packet.len());
            // SAFETY: the packet stays in its slot, and its bytes with it, until the call returns.
            if let Err(refused) = unsafe { sys::send(&mut self.counters.syscalls, self.socket.raw(), at, len) } {
                result = self.counters.note_refused(self.socket.raw(), refused);
                break;
            }
            self.copies.sent(tx, free);
            sent += 1;
        }
        tx.release();
        result.map(|()| sent)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        self.held.into_iter().for_each(|frame| free.give(frame));
        Ok(())
    }
}

impl<'p> Toy<'p> {
    fn receive(
        &mut self,
        most: usize,
        flags: libc::c_int,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        let (mut received, mut result) = (0, Ok(()));
        while received < most {
            let Some(frame) = self.held.take().or_else(|| free.take()) else { break };
            let (fd, at, size) = (self.socket.raw(), frame.as_ptr().cast(), frame.size());
            let outcome = errno::retry(&mut self.counters.syscalls, || {
                // SAFETY: nobody else has the frame, and it has that many bytes.
                unsafe { libc::recv(fd, at, size, flags | libc::MSG_TRUNC) as libc::c_long }
            });
            match outcome {
                Ok(len) => rx.deliver_received(frame, len, &mut self.counters.truncated, free),
                Err((verdict, error)) => {
                    self.held = Some(frame);
                    match verdict {
                        Verdict::Passing => self.counters.note_passing(self.socket.raw()),
                        Verdict::Again | Verdict::Interrupted => {}
                        Verdict::Fatal => result = Err(error),
                    }
                    break;
                }
            }
            received += 1;
        }
        self.counters.rx_syscalls += received as u64;
        rx.publish();
        result.map(|()| received)
    }
}
