//! Messages that are gathered from several packets, cut out of one, or copies of one, each a request.

use std::io;
use std::sync::Arc;

use io_uring::{opcode, types};

use crate::backend::{Config, Counters, OpenError, Sockets};
use crate::frames::packet::Packet;
use crate::frames::pool::{FreeList, Region};
use crate::frames::ring::Consumer;
use crate::kernel::errno;
use crate::outbox::Outbox;
use crate::uring::modes;
use crate::uring::ring::{Ring, held_back};
use crate::uring::setup::Setup;

/// The sending half of the `uring` backend if packets and datagrams are not one to one.
#[derive(Debug)]
pub(super) struct Trains {
    ring: Ring,
    /// The current messages; their packets stay on the TX ring until all of them are sent.
    outbox: Outbox,
    /// Those that are not yet sent.
    undone: Vec<usize>,
    /// The result of each message.
    results: Box<[i32]>,
    /// How a message of one piece is sent; all others are a SENDMSG.
    piece: Piece,
    /// Whether the kernel may have requests of a batch that has failed.
    has_failed: bool,
    counters: Counters,
    pool: Arc<Region>,
}

/// How one piece of memory is sent to the peer of a socket.
#[derive(Clone, Copy, Debug)]
enum Piece {
    Send,
    Sendmsg,
    WriteFixed,
}

impl Trains {
    pub(super) fn open(
        choices: &[Setup],
        sockets: &Sockets,
        config: &Config,
        (outbox, pool): (Outbox, Arc<Region>),
        beside: &Ring,
    ) -> Result<Self, OpenError> {
        let entries = (2 * config.batch).max(64) as u32;
        let mut ring = Ring::open(choices, entries, 2 * entries, Some(beside))?;
        ring.register(sockets)?;
        let piece = match config.variant {
            variant if variant.has(modes::WRITE_FIXED) => {
                ring.register_memory(&pool)?;
                Piece::WriteFixed
            }
            variant if variant.has(modes::SEND) => Piece::Send,
            _ => Piece::Sendmsg,
        };
        let undone = Vec::with_capacity(config.batch);
        let results = vec![0; config.batch].into_boxed_slice();
        Ok(Self { ring, outbox, undone, results, piece, has_failed: false, counters: Counters::default(), pool })
    }

    pub(super) fn tx<'p>(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        if self.undone.is_empty() {
            let messages = self.outbox.fill(tx);
            self.undone.extend(0..messages);
        }
        if self.undone.is_empty() {
            return Ok(0);
        }
        if self.has_failed {
            return Err(io::Error::other("an earlier batch has failed"));
        }
        self.submit().inspect_err(|_| self.has_failed = true)?;
        let (mut sent, mut result) = (0, Ok(()));
        let Self { outbox, undone, results, counters, ring, .. } = self;
        undone.retain(|&index| {
            let res = results[index];
            if res < 0 {
                let refused = (errno::judge(-res), io::Error::from_raw_os_error(-res));
                counters
                    .note_refused(ring.files.at(outbox.socket(index)), refused)
                    .unwrap_or_else(|error| result = Err(error));
                return true;
            }
            sent += outbox.datagrams(index);
            false
        });
        if undone.is_empty() {
            outbox.settle(outbox.len(), tx, free);
        }
        result.map(|()| sent)
    }

    /// Submits what is not yet sent, and waits for the result of each.
    fn submit(&mut self) -> io::Result<()> {
        let flags = libc::MSG_DONTWAIT;
        for &index in &self.undone {
            let socket = types::Fixed(self.outbox.socket(index) as u32);
            let piece = self.outbox.only_piece(index).map(|piece| (piece.iov_base.cast(), piece.iov_len as u32));
            let entry = match (self.piece, piece) {
                (Piece::Send, Some((at, len))) => opcode::Send::new(socket, at, len).flags(flags).build(),
                (Piece::WriteFixed, Some((at, len))) => {
                    opcode::WriteFixed::new(socket, at, len, 0).rw_flags(libc::RWF_NOWAIT).build()
                }
                _ => {
                    let header = &raw const self.outbox.headers[index].msg_hdr;
                    opcode::SendMsg::new(socket, header).flags(flags as u32).build()
                }
            };
            // SAFETY: the packets stay on the ring, the headers in the outbox and the pool mapped until the
            // completion arrives: `complete` waits for all of them. Should that fail, `close` and `drop` end the
            // requests, or never free that memory.
            unsafe { self.ring.push(&entry.user_data(index as u64)) }?;
        }
        self.ring.enter(0)?;
        let Self { ring, undone, results, .. } = self;
        ring.complete(undone.len(), |completion| {
            if let Some(result) = results.get_mut(completion.user_data() as usize) {
                *result = completion.result();
            }
        })
    }

    pub(super) fn counters(&self) -> Counters {
        Counters { syscalls: self.ring.syscalls(), cq_overflow: self.ring.overflows(), ..self.counters }
    }

    /// Ends a failed batch. Its packets are still on the TX ring.
    pub(super) fn close(mut self) -> io::Result<()> {
        if self.has_failed && !self.ring.end_all() {
            // `drop` keeps the memory.
            return Err(held_back(self.undone.len()));
        }
        self.has_failed = false;
        Ok(())
    }
}

impl Drop for Trains {
    /// The kernel may still read from packets whose sends have failed, and from their headers.
    fn drop(&mut self) {
        if !self.has_failed || self.ring.end_all() {
            return;
        }
        std::mem::forget(Arc::clone(&self.pool));
        std::mem::forget(std::mem::replace(&mut self.outbox, Outbox::new(0, false, 1)));
    }
}
