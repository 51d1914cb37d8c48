//! Batches of SEND_ZC requests: the kernel sends from our memory, and says later when it is done with it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{cqueue, opcode, types};

use crate::backend::{Config, Counters, OpenError, Sockets};
use crate::frames::packet::Packet;
use crate::frames::pool::{FreeList, Pool, Region};
use crate::frames::ring::Consumer;
use crate::kernel::errno;
use crate::uring::ring::{Patience, Ring, held_back};
use crate::uring::setup::Setup;

/// Batches that the kernel may still hold besides the one being sent.
const LENT_BATCHES: usize = 4;
/// How long closing waits for the kernel to be done with what was sent.
const DONE_WITHIN: Duration = Duration::from_millis(100);
const DONE_TRIES: usize = 10;

/// The sending half of the `uring` backend, without the kernel's copy if the device does not need it.
#[derive(Debug)]
pub(super) struct ZeroCopy<'p> {
    ring: Ring,
    batch: usize,
    /// Packets that the kernel may read from, by the number of their request.
    lent: Box<[Option<Lent<'p>>]>,
    vacant: Vec<usize>,
    /// Packets that the kernel has refused, to be sent again.
    refused: VecDeque<Packet<'p>>,
    /// Requests whose result is not known.
    undecided: usize,
    counters: Counters,
    pool: Arc<Region>,
}

#[derive(Debug)]
struct Lent<'p> {
    packet: Packet<'p>,
    is_refused: bool,
}

impl<'p> ZeroCopy<'p> {
    pub(super) fn open(
        choices: &[Setup],
        sockets: &Sockets,
        config: &Config,
        pool: &'p Pool,
        beside: &Ring,
    ) -> Result<Self, OpenError> {
        let slots = LENT_BATCHES * config.batch;
        // Two completions for each request.
        let ring = Ring::open(choices, config.batch.max(64) as u32, 2 * slots.max(64) as u32, Some(beside))?;
        if !ring.knows(opcode::SendZc::CODE) {
            return Err(OpenError::Missing { feature: "SEND_ZC for io_uring", since: "6.0" });
        }
        ring.register(sockets)?;
        Ok(Self {
            ring,
            batch: config.batch,
            lent: (0..slots).map(|_| None).collect(),
            vacant: (0..slots).rev().collect(),
            refused: VecDeque::with_capacity(slots),
            undecided: 0,
            counters: Counters::default(),
            pool: pool.region(),
        })
    }

    pub(super) fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let mut queued = 0;
        while queued < self.batch && !self.vacant.is_empty() {
            let Some(packet) = self.refused.pop_front().or_else(|| tx.pop()) else { break };
            self.push(packet)?;
            queued += 1;
        }
        tx.release();
        if queued == 0 && self.vacant.len() == self.lent.len() {
            return Ok(0);
        }
        // What was sent, and what the kernel is already done with: on loopback, all of it.
        let lent = self.lent.len() - self.vacant.len();
        self.ring.enter_for((lent + self.undecided) as u32, Duration::ZERO)?;
        let mut sent = self.reap(free)?;
        let mut patience = Patience::default();
        while self.undecided > 0 {
            patience.lose()?;
            self.ring.await_completion()?;
            sent += self.reap(free)?;
        }
        Ok(sent)
    }

    fn push(&mut self, packet: Packet<'p>) -> io::Result<()> {
        let Some(slot) = self.vacant.pop() else { return Err(io::ErrorKind::OutOfMemory.into()) };
        let (at, len) = (packet.as_ptr(), packet.len() as u32);
        let entry =
            opcode::SendZc::new(types::Fixed(packet.socket() as u32), at, len).flags(libc::MSG_DONTWAIT).build();
        self.lent[slot] = Some(Lent { packet, is_refused: false });
        self.undecided += 1;
        // SAFETY: the packet is lent until the kernel says that it is done with it; `close` waits for that, or
        // keeps the memory mapped for good.
        unsafe { self.ring.push(&entry.user_data(slot as u64)) }
    }

    /// Reads completions: the result of a request, and that the kernel is done with its memory. Returns how
    /// many datagrams were sent.
    fn reap(&mut self, free: &mut FreeList<'p>) -> io::Result<usize> {
        let Self { ring, lent, vacant, refused, undecided, counters, .. } = self;
        let (mut sent, mut result) = (0, Ok(()));
        for completion in ring.cq.by_ref() {
            let (slot, res, flags) = (completion.user_data() as usize, completion.result(), completion.flags());
            let Some(place) = lent.get_mut(slot) else { continue };
            if !cqueue::notif(flags) {
                *undecided -= 1;
                if res >= 0 {
                    sent += 1;
                } else {
                    let error = (errno::judge(-res), io::Error::from_raw_os_error(-res));
                    let socket = place.as_ref().map_or(0, |lent| lent.packet.socket());
                    counters.note_refused(ring.files.at(socket), error).unwrap_or_else(|error| result = Err(error));
                    place.iter_mut().for_each(|lent| lent.is_refused = true);
                }
            }
            if !cqueue::more(flags) {
                let Some(Lent { packet, is_refused }) = place.take() else { continue };
                vacant.push(slot);
                match is_refused {
                    true => refused.push_back(packet),
                    false => free.give(packet.into_frame()),
                }
            }
        }
        ring.cq.sync();
        result.map(|()| sent)
    }

    pub(super) fn counters(&self) -> Counters {
        Counters { syscalls: self.ring.syscalls(), cq_overflow: self.ring.overflows(), ..self.counters }
    }

    pub(super) fn close(mut self, free: &mut FreeList<'p>) -> io::Result<()> {
        for _ in 0..DONE_TRIES {
            if self.vacant.len() == self.lent.len() || self.ring.enter_and_wait(DONE_WITHIN).is_err() {
                break;
            }
            // The result of a request that was not waited for no longer matters.
            let _ = self.reap(free);
        }
        if self.vacant.len() < self.lent.len() {
            self.ring.end_all();
            let _ = self.reap(free);
        }
        self.refused.drain(..).for_each(|packet| free.give(packet.into_frame()));
        let lent = self.lent.len() - self.vacant.len();
        if lent > self.ring.unsubmitted() {
            // The kernel is still reading from what was sent. `drop` keeps the memory.
            return Err(held_back(lent));
        }
        self.lent.iter_mut().filter_map(Option::take).for_each(|lent| free.give(lent.packet.into_frame()));
        Ok(())
    }
}

impl Drop for ZeroCopy<'_> {
    /// The kernel may still read from lent packets.
    fn drop(&mut self) {
        if self.lent.iter().any(Option::is_some) {
            std::mem::forget(Arc::clone(&self.pool));
        }
    }
}
