//! A batch of requests, each for one datagram: RECV, RECVMSG or READ_FIXED.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{opcode, squeue, types};

use crate::backend::{Config, Counters, OpenError, Sockets};
use crate::frames::packet::RxRing;
use crate::frames::pool::{Frame, FreeList, Pool, Region};
use crate::kernel::errno::{self, Verdict};
use crate::message::Messages;
use crate::uring::modes;
use crate::uring::ring::{CANCEL, CANCEL_TRIES, Patience, Ring, held_back};
use crate::uring::setup::Setup;

/// How long requests that do not wait may take if a kernel thread handles them.
const DONE_WITHIN: Duration = Duration::from_millis(10);

/// The receiving half of the `uring` backend, without multishot.
#[derive(Debug)]
pub(super) struct Singles<'p> {
    ring: Ring,
    request: Request,
    /// Frames, one for each request of a batch.
    slots: Box<[Option<Frame<'p>>]>,
    /// Requests that the kernel has.
    pending: usize,
    /// The one of them that waits for a datagram, if any.
    waiting: bool,
    block: Duration,
    counters: Counters,
    region: Arc<Region>,
}

#[derive(Debug)]
enum Request {
    Recv,
    Recvmsg(Messages),
    ReadFixed,
}

impl<'p> Singles<'p> {
    pub(super) fn open(
        choices: &[Setup],
        sockets: &Sockets,
        config: &Config,
        pool: &'p Pool,
    ) -> Result<Self, OpenError> {
        sockets.only()?;
        let entries = (2 * config.batch).max(64) as u32;
        let mut ring = Ring::open(choices, entries, 2 * entries, None)?;
        ring.register(sockets)?;
        let request = match config.variant {
            variant if variant.has(modes::FIXED) => {
                ring.register_memory(&pool.region())?;
                Request::ReadFixed
            }
            variant if variant.has(modes::SINGLE_RECVMSG) => Request::Recvmsg(Messages::new(config)),
            _ => Request::Recv,
        };
        Ok(Self {
            ring,
            request,
            slots: (0..config.batch).map(|_| None).collect(),
            pending: 0,
            waiting: false,
            block: config.block.unwrap_or_default(),
            counters: Counters::default(),
            region: pool.region(),
        })
    }

    /// Requests a batch, without waiting, and delivers what arrived.
    #[inline(always)]
    pub(super) fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        assert!(free.is_of(&self.region), "a frame of another pool");
        if self.pending == 0 {
            for slot in 0..self.slots.len() {
                // If no frame is free, other slots may still have theirs.
                self.push(slot, false, free)?;
            }
        }
        if self.pending == 0 {
            return Ok(0);
        }
        self.ring.enter(0)?;
        let mut received = self.reap(free, rx)?;
        // Requests that do not wait complete in the call that submits them.
        let mut patience = Patience::default();
        while self.pending > 0 && !self.waiting && !self.ring.has_thread() {
            patience.lose()?;
            self.ring.enter(1)?;
            received += self.reap(free, rx)?;
        }
        Ok(received)
    }

    /// As [`Singles::rx`]; if nothing has arrived, waits for one datagram.
    pub(super) fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let mut received = self.rx(free, rx)?;
        let mut patience = Patience::default();
        while received == 0 && self.pending > 0 && !self.waiting {
            patience.lose()?;
            self.ring.enter(1)?;
            received += self.reap(free, rx)?;
        }
        if received > 0 || self.pending == 0 && !self.push(0, true, free)? {
            return Ok(received);
        }
        self.ring.enter_and_wait(self.block)?;
        self.reap(free, rx)
    }

    /// Queues the request of a slot. `false` if there is no frame for it.
    #[inline(always)]
    fn push(&mut self, slot: usize, waits: bool, free: &mut FreeList<'p>) -> io::Result<bool> {
        if self.slots[slot].is_none() {
            let Some(frame) = free.take() else { return Ok(false) };
            if let Request::Recvmsg(messages) = &mut self.request {
                messages.prepare(slot, &frame);
            }
            self.slots[slot] = Some(frame);
        }
        let Some(frame) = &self.slots[slot] else { return Ok(false) };
        let entry = self.request.build(slot, frame, waits).user_data(slot as u64);
        // SAFETY: the frame, and the header that points to it, stay in their slot until the completion arrives; if it
        // never does, `drop` leaks the memory.
        unsafe { self.ring.push(&entry) }?;
        self.pending += 1;
        self.waiting |= waits;
        Ok(true)
    }

    /// Delivers and publishes what has completed.
    #[inline(always)]
    fn reap(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Self { ring, request, slots, counters, pending, waiting, .. } = self;
        let mut received = 0;
        let mut result = Ok(());
        let file = ring.files.at(0);
        for completion in ring.cq.by_ref() {
            let (slot, res) = (completion.user_data() as usize, completion.result());
            let Some(place) = slots.get_mut(slot).filter(|_| completion.user_data() != CANCEL) else { continue };
            *pending -= 1;
            *waiting = false;
            if res < 0 {
                match errno::judge(-res) {
                    Verdict::Fatal if res != -libc::ECANCELED => result = Err(io::Error::from_raw_os_error(-res)),
                    Verdict::Passing => counters.note_passing(file),
                    Verdict::Again | Verdict::Interrupted | Verdict::Fatal => {}
                }
                continue;
            }
            let Some(frame) = place.take() else { continue };
            match request {
                Request::Recv | Request::ReadFixed => {
                    rx.deliver_received(frame, res as usize, &mut counters.truncated, free);
                    received += 1;
                }
                Request::Recvmsg(messages) => {
                    let packet = messages.packet(slot, frame, res as usize, &mut counters.truncated);
                    received += packet.count();
                    rx.deliver(packet, free);
                }
            }
        }
        ring.cq.sync();
        rx.publish();
        counters.rx_syscalls += u64::from(received > 0 && !ring.has_thread());
        result.map(|()| received)
    }

    /// Takes back requests that the kernel would continue without a call: one that waits, and those of its thread.
    pub(super) fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let mut received = 0;
        for _ in 0..CANCEL_TRIES {
            if self.pending == 0 || self.ring.is_broken() {
                break;
            }
            if self.waiting {
                self.cancel()?;
            } else {
                self.ring.enter_and_wait(DONE_WITHIN)?;
            }
            received += self.reap(free, rx)?;
        }
        if self.pending > 0 {
            return Err(io::Error::other("a receive could not be cancelled"));
        }
        Ok(received)
    }

    /// Cancels the request that waits, that of the first slot.
    fn cancel(&mut self) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(0).build().user_data(CANCEL);
        // SAFETY: the request names no memory.
        unsafe { self.ring.cancel(&entry) }
    }

    pub(super) fn counters(&self) -> Counters {
        Counters { syscalls: self.ring.syscalls(), cq_overflow: self.ring.overflows(), ..self.counters }
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(super) fn close(mut self, free: &mut FreeList<'p>) -> io::Result<()> {
        // Nobody wants what arrives now: a ring without room gives the frames straight back.
        let (producer, mut leftovers) = crate::frames::ring::ring(1);
        let mut rx = RxRing::new(producer);
        let mut result = self.quiesce(free, &mut rx).map(drop);
        while let Some(packet) = leftovers.pop() {
            free.give(packet.into_frame());
        }
        if self.pending > 0 && self.ring.end_all() {
            self.pending = 0;
        }
        let slots = self.slots.iter_mut().filter_map(Option::take);
        if self.pending == 0 {
            slots.for_each(|frame| free.give(frame));
        } else {
            // `drop` keeps the memory.
            result = result.and(Err(held_back(slots.count())));
        }
        result
    }
}

impl Request {
    #[inline(always)]
    fn build(&mut self, slot: usize, frame: &Frame<'_>, waits: bool) -> squeue::Entry {
        let socket = types::Fixed(0);
        let (at, size) = (frame.as_ptr(), frame.size() as u32);
        let flags = libc::MSG_TRUNC | if waits { 0 } else { libc::MSG_DONTWAIT };
        match self {
            Self::Recv => opcode::Recv::new(socket, at, size).flags(flags).build(),
            Self::Recvmsg(messages) => {
                let header = &raw mut messages.headers[slot].msg_hdr;
                opcode::RecvMsg::new(socket, header).flags(flags as u32).build()
            }
            Self::ReadFixed => {
                // The kernel would wait even for a non-blocking socket, by polling it.
                let flags = if waits { 0 } else { libc::RWF_NOWAIT };
                opcode::ReadFixed::new(socket, at, size, 0).rw_flags(flags).build()
            }
        }
    }
}

impl Drop for Singles<'_> {
    /// The kernel must not write to frames that are no longer held: ends the requests, or, if that cannot be done,
    /// keeps the memory for good.
    fn drop(&mut self) {
        for _ in 0..CANCEL_TRIES {
            for completion in self.ring.cq.by_ref() {
                self.pending -= usize::from(completion.user_data() != CANCEL);
            }
            self.ring.cq.sync();
            if self.pending == 0 {
                return;
            }
            if self.cancel().is_err() {
                break;
            }
        }
        if self.ring.end_all() {
            return;
        }
        std::mem::forget(Arc::clone(&self.region));
        if let Request::Recvmsg(messages) = std::mem::replace(&mut self.request, Request::Recv) {
            std::mem::forget(messages);
        }
    }
}
