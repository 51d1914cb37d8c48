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
    /// How often each packet is sent.
    copies: usize,
    /// Packets that the kernel may read from, by the number of their requests, and those that it has refused.
    lent: Box<[Option<Lent<'p>>]>,
    vacant: Vec<usize>,
    /// The places of packets of which copies are still to be sent, or to be sent again.
    unsent: VecDeque<usize>,
    /// Requests that the kernel may read the memory of.
    held: usize,
    /// Those of them whose result is not known.
    undecided: usize,
    counters: Counters,
    pool: Arc<Region>,
}

/// A packet, which comes home when all of its copies are sent, and the kernel is done with each of them.
#[derive(Debug)]
struct Lent<'p> {
    packet: Packet<'p>,
    /// Copies that are still to be sent, or to be sent again.
    unsent: usize,
    /// Requests that the kernel may read its memory for.
    held: usize,
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
            copies: config.copies,
            lent: (0..slots).map(|_| None).collect(),
            vacant: (0..slots).rev().collect(),
            unsent: VecDeque::with_capacity(slots),
            held: 0,
            undecided: 0,
            counters: Counters::default(),
            pool: pool.region(),
        })
    }

    pub(super) fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let mut queued = 0;
        // As many requests as places: there is room for the completions of so many.
        while queued < self.batch && self.held < self.lent.len() {
            let Some(slot) = self.next(tx) else { break };
            self.push(slot)?;
            queued += 1;
        }
        tx.release();
        if self.held == 0 {
            return Ok(0);
        }
        // What was sent, and what the kernel is already done with: on loopback, all of it.
        self.ring.enter_for((self.held + self.undecided) as u32, Duration::ZERO)?;
        let mut sent = self.reap(free)?;
        let mut patience = Patience::default();
        while self.undecided > 0 {
            patience.lose()?;
            self.ring.await_completion()?;
            sent += self.reap(free)?;
        }
        Ok(sent)
    }

    /// The place of the packet to send next, if there is one.
    fn next(&mut self, tx: &mut Consumer<Packet<'p>>) -> Option<usize> {
        if let Some(&slot) = self.unsent.front() {
            return Some(slot);
        }
        let slot = *self.vacant.last()?;
        let packet = tx.pop()?;
        self.vacant.pop();
        self.lent[slot] = Some(Lent { packet, unsent: self.copies, held: 0 });
        self.unsent.push_back(slot);
        Some(slot)
    }

    /// Queues a request for a copy of the packet in a place, the first of those with unsent ones.
    fn push(&mut self, slot: usize) -> io::Result<()> {
        let Some(lent) = &mut self.lent[slot] else { return Err(io::ErrorKind::InvalidInput.into()) };
        let (at, len) = (lent.packet.as_ptr(), lent.packet.len() as u32);
        let socket = types::Fixed(lent.packet.socket() as u32);
        let entry = opcode::SendZc::new(socket, at, len).flags(libc::MSG_DONTWAIT).build();
        (lent.unsent, lent.held) = (lent.unsent - 1, lent.held + 1);
        if lent.unsent == 0 {
            self.unsent.pop_front();
        }
        (self.held, self.undecided) = (self.held + 1, self.undecided + 1);
        // SAFETY: the packet is lent until the kernel says that it is done with each request for it; `close` waits for that,
        // or keeps the memory mapped for good.
        unsafe { self.ring.push(&entry.user_data(slot as u64)) }
    }

    /// Reads completions: the result of a request, and that the kernel is done with its memory. Returns how
    /// many datagrams were sent.
    fn reap(&mut self, free: &mut FreeList<'p>) -> io::Result<usize> {
        let Self { ring, lent, vacant, unsent, held, undecided, counters, .. } = self;
        let (mut sent, mut result) = (0, Ok(()));
        for completion in ring.cq.by_ref() {
            let (slot, res, flags) = (completion.user_data() as usize, completion.result(), completion.flags());
            let Some(place) = lent.get_mut(slot) else { continue };
            let Some(own) = place else { continue };
            if !cqueue::notif(flags) {
                *undecided -= 1;
                if res >= 0 {
                    sent += 1;
                } else {
                    let error = (errno::judge(-res), io::Error::from_raw_os_error(-res));
                    let socket = own.packet.socket();
                    counters.note_refused(ring.files.at(socket), error).unwrap_or_else(|error| result = Err(error));
                    if own.unsent == 0 {
                        unsent.push_back(slot);
                    }
                    own.unsent += 1;
                }
            }
            if !cqueue::more(flags) {
                (own.held, *held) = (own.held - 1, *held - 1);
                if let Some(Lent { packet, .. }) = place.take_if(|own| own.held + own.unsent == 0) {
                    vacant.push(slot);
                    free.give(packet.into_frame());
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
            if self.held == 0 || self.ring.enter_and_wait(DONE_WITHIN).is_err() {
                break;
            }
            // The result of a request that was not waited for no longer matters.
            let _ = self.reap(free);
        }
        if self.held > 0 {
            self.ring.end_all();
            let _ = self.reap(free);
        }
        if self.held > self.ring.unsubmitted() {
            // The kernel is still reading from what was sent. `drop` keeps the memory.
            return Err(held_back(self.lent.len() - self.vacant.len()));
        }
        self.lent.iter_mut().filter_map(Option::take).for_each(|lent| free.give(lent.packet.into_frame()));
        Ok(())
    }
}

impl Drop for ZeroCopy<'_> {
    /// The kernel may still read from lent packets.
    fn drop(&mut self) {
        if self.lent.iter().flatten().any(|lent| lent.held > 0) {
            std::mem::forget(Arc::clone(&self.pool));
        }
    }
}
