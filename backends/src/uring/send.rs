//! Batches of SEND, SENDMSG or WRITE_FIXED requests, which all complete before the call returns.

use std::io;
use std::sync::Arc;

use io_uring::{opcode, squeue, types};

use crate::backend::{Config, Counters, OpenError, Sockets};
use crate::frames::packet::Packet;
use crate::frames::pool::{FreeList, Pool, Region};
use crate::frames::ring::Consumer;
use crate::kernel::errno::{self, Verdict};
use crate::message::Headers;
use crate::uring::modes;
use crate::uring::ring::{Ring, held_back};
use crate::uring::setup::Setup;

/// The sending half of the `uring` backend.
#[derive(Debug)]
pub(super) struct Sends<'p> {
    ring: Ring,
    request: Request,
    batch: usize,
    /// Packets that the kernel has, or has refused and that are kept for the next call, in order.
    pending: Vec<Packet<'p>>,
    /// The result of each pending packet.
    results: Vec<i32>,
    counters: Counters,
    pool: Arc<Region>,
}

/// How a packet is sent.
#[derive(Debug)]
enum Request {
    Send,
    Sendmsg(Headers),
    WriteFixed,
}

/// A request without a completion yet.
const UNDECIDED: i32 = i32::MIN;

impl<'p> Sends<'p> {
    pub(super) fn open(
        choices: &[Setup],
        sockets: &Sockets,
        config: &Config,
        pool: &'p Pool,
        beside: &Ring,
    ) -> Result<Self, OpenError> {
        let entries = (2 * config.batch).max(64) as u32;
        let mut ring = Ring::open(choices, entries, 2 * entries, Some(beside))?;
        ring.register(sockets)?;
        let request = match config.variant {
            variant if variant.has(modes::WRITE_FIXED) => {
                ring.register_memory(&pool.region())?;
                Request::WriteFixed
            }
            variant if variant.has(modes::SENDMSG) => Request::Sendmsg(Headers::new(config.batch)),
            _ => Request::Send,
        };
        Ok(Self {
            ring,
            request,
            batch: config.batch,
            pending: Vec::with_capacity(config.batch),
            results: Vec::with_capacity(config.batch),
            counters: Counters::default(),
            pool: pool.region(),
        })
    }

    #[inline]
    pub(super) fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        while self.pending.len() < self.batch {
            let Some(packet) = tx.pop() else { break };
            self.pending.push(packet);
        }
        tx.release();
        if self.pending.is_empty() {
            return Ok(0);
        }
        if !self.results.is_empty() {
            return Err(io::Error::other("an earlier batch has failed"));
        }
        // After an error, the results of the packets are not known: they stay where they are.
        self.submit()?;
        self.settle(free)
    }

    /// Hands all pending packets to the kernel and waits for the result of each.
    #[inline]
    fn submit(&mut self) -> io::Result<()> {
        let Self { ring, request, pending, results, .. } = self;
        // MSG_DONTWAIT, and RWF_NOWAIT for writes: a send that finds no room completes with EAGAIN instead of
        // waiting, so that all requests complete within the call that submits them.
        let flags = libc::MSG_DONTWAIT;
        match request {
            Request::Send => push(ring, pending, results, |_, packet| {
                opcode::Send::new(socket(packet), packet.as_ptr(), packet.len() as u32).flags(flags).build()
            }),
            Request::Sendmsg(headers) => push(ring, pending, results, |index, packet| {
                let header = headers.point_to(index, packet);
                opcode::SendMsg::new(socket(packet), header).flags(flags as u32).build()
            }),
            Request::WriteFixed => push(ring, pending, results, |_, packet| {
                opcode::WriteFixed::new(socket(packet), packet.as_ptr(), packet.len() as u32, 0)
                    .rw_flags(libc::RWF_NOWAIT)
                    .build()
            }),
        }?;
        self.ring.enter(0)?;
        let Self { ring, results, .. } = self;
        ring.complete(results.len(), |completion| {
            if let Some(result) = results.get_mut(completion.user_data() as usize) {
                *result = completion.result();
            }
        })
    }

    /// Returns finished frames to the free list and keeps the packets that the kernel did not take.
    #[inline]
    fn settle(&mut self, free: &mut FreeList<'p>) -> io::Result<usize> {
        let mut sent = 0;
        let mut fatal = None;
        let mut kept = 0;
        let mut results = self.results.drain(..);
        // `pending` keeps its order: refused packets move to its front.
        let count = self.pending.len();
        for index in 0..count {
            let result = results.next().unwrap_or(-libc::EIO);
            if result >= 0 {
                sent += 1;
                continue;
            }
            match errno::judge(-result) {
                Verdict::Again | Verdict::Interrupted => self.counters.send_eagain += 1,
                Verdict::Passing => self.counters.note_passing(self.ring.files.at(self.pending[index].socket())),
                Verdict::Fatal => fatal = Some(io::Error::from_raw_os_error(-result)),
            }
            self.pending.swap(kept, index);
            kept += 1;
        }
        for packet in self.pending.drain(kept..) {
            free.give(packet.into_frame());
        }
        match fatal {
            Some(error) => Err(error),
            None => Ok(sent),
        }
    }

    pub(super) fn counters(&self) -> Counters {
        Counters { syscalls: self.ring.syscalls(), cq_overflow: self.ring.overflows(), ..self.counters }
    }

    pub(super) fn close(mut self, free: &mut FreeList<'p>) -> io::Result<()> {
        if !self.results.is_empty() {
            if !self.ring.end_all() {
                // `drop` keeps the memory.
                return Err(held_back(self.pending.len()));
            }
            self.results.clear();
        }
        for packet in self.pending.drain(..) {
            free.give(packet.into_frame());
        }
        Ok(())
    }
}

impl Drop for Sends<'_> {
    /// The kernel may still read from packets whose sends have failed, and from their headers.
    fn drop(&mut self) {
        if self.results.is_empty() || self.ring.end_all() {
            return;
        }
        std::mem::forget(Arc::clone(&self.pool));
        std::mem::forget(std::mem::replace(&mut self.request, Request::Send));
    }
}

/// The socket that a packet goes out of.
#[inline(always)]
fn socket(packet: &Packet<'_>) -> types::Fixed {
    types::Fixed(packet.socket() as u32)
}

/// Queues a request for each packet.
#[inline(always)]
fn push(
    ring: &mut Ring,
    pending: &[Packet<'_>],
    results: &mut Vec<i32>,
    mut build: impl FnMut(usize, &Packet<'_>) -> squeue::Entry,
) -> io::Result<()> {
    for (index, packet) in pending.iter().enumerate() {
        let entry = build(index, packet).user_data(index as u64);
        // SAFETY: the packet stays in `pending`, its header with its index, and the pool mapped, until the completion
        // arrives: `submit` waits for all of them. Should that fail, `close` and `drop` end the requests, or never free
        // that memory.
        unsafe { ring.push(&entry) }?;
        results.push(UNDECIDED);
    }
    Ok(())
}
