//! A multishot RECV or RECVMSG that stays armed for each socket, with its buffers from a registered ring.
//!
//! With several sockets they share one ring and its buffers. When these are used up, each receive ends as its next
//! datagram comes, and waits in a list to be armed again. All of them run in one task, so that the buffers still come back
//! in the order in which they were provided.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::{cqueue, opcode};

use crate::backend::{Config, Counters, MinWait, OpenError, Sockets};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{Frame, FreeList, Pool};
use crate::kernel::errno::{self, Verdict};
use crate::message::Layout;
use crate::uring::buffers::BufferRing;
use crate::uring::modes;
use crate::uring::request::{GROUP, Place, Request};
use crate::uring::ring::{CANCEL, CANCEL_TRIES, COMPLETIONS_MAX, PROBE_WITHIN, Ring, SUBMISSIONS, held_back};
use crate::uring::setup::Setup;

/// How many buffers are given back together, if they are at most a quarter of all.
const GIVEN_BACK: usize = 32;

/// The receiving half of the `uring` backend, for one socket or (`MANY`) several.
#[derive(Debug)]
pub(super) struct Multishot<'p, const MANY: bool> {
    ring: Ring,
    buffers: BufferRing<'p>,
    request: Request,
    /// How its buffers are read.
    place: Place,
    batch: usize,
    /// How many buffers are given back together.
    given_back: usize,
    /// How long [`Multishot::rx_wait`] waits at most.
    block: Duration,
    /// For how many it waits at once.
    min_wait: Option<MinWait>,
    /// The sockets whose request the kernel does not hold, in the order in which they are armed.
    idle: VecDeque<u16>,
    sockets: usize,
    /// Whether an `enter` was made that is not yet counted as having returned datagrams.
    entered: bool,
    counters: Counters,
}

impl<'p, const MANY: bool> Multishot<'p, MANY> {
    pub(super) fn open(
        choices: &[Setup],
        sockets: &Sockets,
        config: &Config,
        pool: &'p Pool,
    ) -> Result<Self, OpenError> {
        if MANY && config.variant.has(modes::MULTISHOT_DONTWAIT) {
            return Err(OpenError::Impossible(
                "multishot-dontwait would arm every socket in each call; use multishot for several sockets",
            ));
        }
        if config.block.is_some() && config.variant.has(modes::MULTISHOT_DONTWAIT) {
            return Err(OpenError::Impossible("multishot-dontwait never waits; use multishot, or no wait"));
        }
        let failed = |error| OpenError::Failed { call: "mapping a buffer ring", error };
        let buffers = BufferRing::new(config.buffers, pool).map_err(failed)?;
        // Twice the buffers, so that these run out before the completion queue does, and two more for the end of each
        // request of several and for its cancellation; the kernel wants at least as many completions as submissions.
        let ends = if MANY { 2 * sockets.len() } else { 0 };
        let completions = (2 * usize::from(buffers.entries()) + ends).clamp(SUBMISSIONS as usize, COMPLETIONS_MAX);
        let ring = Ring::open(choices, SUBMISSIONS, completions as u32, None)?;
        ring.register(sockets)?;
        // SAFETY: the address is that of a zeroed, page-aligned mapping of `entries` entries, which
        // lives as long as `self`; `drop` disarms the ring before the mapping goes.
        let registered =
            unsafe { ring.submitter().register_buf_ring_with_flags(buffers.address(), buffers.entries(), GROUP, 0) };
        registered.map_err(|error| missing(error, "buffer rings for io_uring", "5.19", "registering a buffer ring"))?;
        let request = Request::new(config);
        let mut multishot = Self {
            ring,
            place: request.place(buffers.frame_size()),
            buffers,
            request,
            batch: config.batch,
            given_back: GIVEN_BACK.min(config.buffers / 4),
            block: config.block.unwrap_or_default(),
            min_wait: config.min_wait,
            idle: (0..sockets.len()).map(|number| number as u16).collect(),
            sockets: sockets.len(),
            entered: false,
            counters: Counters::default(),
        };
        multishot.probe()?;
        multishot.ring.reset_syscalls();
        Ok(multishot)
    }

    /// Arms once without a buffer: a kernel that has multishot receive says ENOBUFS, an older one EINVAL.
    fn probe(&mut self) -> Result<(), OpenError> {
        let failed = |error| OpenError::Failed { call: "a trial of multishot receive", error };
        self.arm(1).and_then(|()| self.ring.enter(0)).map_err(failed)?;
        if self.ring.has_thread() && self.ring.cq.is_empty() {
            self.ring.enter_and_wait(PROBE_WITHIN).map_err(failed)?;
        }
        let completion = self.ring.cq.next();
        self.ring.cq.sync();
        let Some(completion) = completion else { return Ok(()) };
        self.idle.push_front(0);
        match completion.result() {
            result if result == -libc::ENOBUFS => Ok(()),
            result => {
                let error = io::Error::from_raw_os_error(result.saturating_neg());
                Err(missing(error, "multishot receive", "6.0", "a trial of multishot receive"))
            }
        }
    }

    #[inline(always)]
    pub(super) fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        match self.batch {
            1 => self.rx_one(free, rx),
            _ => self.rx_batch(free, rx),
        }
    }

    /// One datagram, usually one that the last call returned: a call returns 32, so this path is the
    /// cost of a batch of 1.
    #[inline(always)]
    fn rx_one(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if let Place::At { offset, longest } = self.place
            && self.buffers.unshown() < self.given_back
            && let Some(completion) = self.ring.cq.next()
        {
            self.buffers.assert_same_pool(free);
            let Some((frame, len)) = single(&completion, (offset, longest), &mut self.buffers, free) else {
                return self.rx_odd(&completion, free, rx);
            };
            if MANY {
                rx.set_socket(completion.user_data() as u16);
            }
            // SAFETY: of `longest` bytes at most, which fit behind `offset` (`Place::At`).
            unsafe { rx.deliver_at(offset, frame, len, free) };
            rx.publish();
            self.note_received();
            return Ok(1);
        }
        self.rx_batch(free, rx)
    }

    /// A batch that begins with an unusual completion.
    #[cold]
    #[inline(never)]
    fn rx_odd(
        &mut self,
        completion: &cqueue::Entry,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        let (mut received, result) = self.settle_odd(completion, free, rx);
        if received > 0 {
            self.note_received();
        } else if result.is_ok() {
            received = self.rx_batch(free, rx)?;
        }
        rx.publish();
        result.map(|()| received)
    }

    /// Out of line, to keep the code that runs between two calls together.
    #[inline(never)]
    fn rx_batch(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        // The remainder of a call that returned more than a batch is topped up, so that 33 datagrams a call do
        // not become batches of 32 and 1 in turn; but no call is made for that unless the kernel has something.
        if self.ring.cq.len() < self.batch && (self.ring.cq.is_empty() || self.ring.is_flagged()) {
            self.ring.cq.sync();
            if (self.ring.cq.is_empty() || self.ring.is_flagged()) && !self.fetch(free)? {
                return Ok(0);
            }
        }
        self.reap(self.batch, free, rx)
    }

    /// As [`Multishot::rx`], but waits for the first completion: for one, as blocking `recvmmsg` does. (Waiting
    /// for more saves wake-ups at the cost of latency, and without a timeout it can last for ever: one
    /// wake-up stands for many datagrams.)
    ///
    /// Whoever waits for many does not look before the wait: it would find those that have come since the last one.
    pub(super) fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if self.min_wait.is_none() || !self.ring.cq.is_empty() {
            let received = self.rx(free, rx)?;
            if received > 0 {
                return Ok(received);
            }
        }
        if !self.prepare(free)? {
            return Ok(0);
        }
        if self.buffers.unshown() > 0 {
            self.buffers.publish();
        }
        if !self.idle.is_empty() {
            // A wait would not end with a datagram of theirs. The next call arms more.
            return self.fetch(free).and_then(|_| self.reap(self.batch, free, rx));
        }
        self.ring.enter_and_wait_for(self.min_wait, self.block)?;
        self.entered = true;
        self.reap(self.batch, free, rx)
    }

    /// Asks the kernel for completions, if it may have some. Returns whether there are any.
    #[inline]
    fn fetch(&mut self, free: &mut FreeList<'p>) -> io::Result<bool> {
        let was_armed = self.idle.is_empty();
        let is_ready = self.prepare(free)?;
        if self.buffers.unshown() > 0 {
            self.buffers.publish();
        }
        if !is_ready || was_armed && !self.ring.wants_enter() {
            return Ok(false);
        }
        self.ring.enter(0)?;
        self.entered = !self.ring.has_thread();
        Ok(!self.ring.cq.is_empty())
    }

    /// Makes sure that the kernel has buffers, and requests that are submitted, or will be. `false` if there is no frame
    /// to receive into.
    ///
    /// At most as many requests are armed as there are buffers: more might end at once for lack of one.
    #[inline]
    fn prepare(&mut self, free: &mut FreeList<'p>) -> io::Result<bool> {
        if self.buffers.has_vacant() {
            self.buffers.refill(free);
        }
        if !self.idle.is_empty() {
            if self.buffers.is_dry() {
                return Ok(false);
            }
            self.arm(self.buffers.parked())?;
        }
        Ok(true)
    }

    /// Delivers and publishes at most `limit` messages from the completion queue, and gives the kernel new frames.
    /// Returns how many datagrams there were: a message is one, or a train.
    #[inline(always)]
    fn reap(&mut self, limit: usize, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let (mut messages, mut received) = (0, 0);
        let mut result = Ok(());
        while messages < limit {
            let (count, datagrams, odd) = match self.place {
                Place::At { offset, longest } => {
                    let (count, odd) = self.reap_run((offset, longest), limit - messages, free, rx);
                    (count, count, odd)
                }
                Place::Told(layout) => self.reap_messages(layout, limit - messages, free, rx),
            };
            messages += count;
            received += datagrams;
            let Some(odd) = odd else { break };
            let (datagrams, settled) = self.settle_odd(&odd, free, rx);
            messages += usize::from(datagrams > 0);
            received += datagrams;
            settled.unwrap_or_else(|error| result = Err(error));
        }
        if self.buffers.has_vacant() {
            self.buffers.refill(free);
        }
        self.buffers.publish();
        self.ring.cq.sync();
        rx.publish();
        if received > 0 {
            self.note_received();
        }
        result.map(|()| received)
    }

    /// The last call has returned a datagram.
    #[inline(always)]
    fn note_received(&mut self) {
        if self.entered {
            self.counters.rx_syscalls += 1;
            self.entered = false;
        }
    }

    /// Delivers single datagrams that are where they should be, with more to come, up to the first other completion,
    /// and returns that one. Out of line: the loop keeps its registers.
    #[inline(never)]
    fn reap_run(
        &mut self,
        (offset, longest): (usize, usize),
        limit: usize,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> (usize, Option<cqueue::Entry>) {
        let Self { ring, buffers, .. } = self;
        buffers.assert_same_pool(free);
        let mut received = 0;
        while received < limit {
            let Some(completion) = ring.cq.next() else { break };
            let Some((frame, len)) = single(&completion, (offset, longest), buffers, free) else {
                return (received, Some(completion));
            };
            if MANY {
                rx.set_socket(completion.user_data() as u16);
            }
            // SAFETY: of `longest` bytes at most, which fit behind `offset` (`Place::At`).
            unsafe { rx.deliver_at(offset, frame, len, free) };
            received += 1;
        }
        (received, None)
    }

    /// As [`Multishot::reap_run`], for messages, each of which may be a train: reaps at most `limit` of them. Returns
    /// how many there were, and the datagrams in them.
    #[inline(never)]
    fn reap_messages(
        &mut self,
        layout: Layout,
        limit: usize,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> (usize, usize, Option<cqueue::Entry>) {
        let Self { ring, buffers, counters, .. } = self;
        buffers.assert_same_pool(free);
        let (mut messages, mut received) = (0, 0);
        while messages < limit {
            let Some(completion) = ring.cq.next() else { break };
            let Some((id, len)) = filled(&completion) else { return (messages, received, Some(completion)) };
            let Some(frame) = buffers.swap(id, free) else { return (messages, received, Some(completion)) };
            if MANY {
                rx.set_socket(completion.user_data() as u16);
            }
            received += deliver_message(layout, frame, len, counters, (rx, free)).0;
            messages += 1;
        }
        (messages, received, None)
    }

    /// Any other completion, which may be the last of the request. Returns how many datagrams it delivered anyway.
    #[cold]
    #[inline(never)]
    fn settle_odd(
        &mut self,
        odd: &cqueue::Entry,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> (usize, io::Result<()>) {
        if MANY && odd.user_data() != CANCEL {
            rx.set_socket(odd.user_data() as u16);
        }
        let (datagrams, payload, result) = self.reap_odd(odd, free, rx);
        let is_last = !cqueue::more(odd.flags()) && odd.user_data() != CANCEL;
        let ended = if is_last { self.ended(odd.user_data() as u16, odd.result().min(payload)) } else { Ok(()) };
        (datagrams, result.and(ended))
    }

    /// Delivers what an odd completion holds. Returns how many datagrams it delivered anyway, and how long their
    /// payload was.
    #[cold]
    fn reap_odd(
        &mut self,
        completion: &cqueue::Entry,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> (usize, i32, io::Result<()>) {
        let res = completion.result();
        match cqueue::buffer_select(completion.flags()).and_then(|id| self.buffers.take(id)) {
            Some(frame) if res >= 0 => match self.request {
                Request::Recvmsg(layout, _) => {
                    let (datagrams, payload) =
                        deliver_message(layout, frame, res as usize, &mut self.counters, (rx, free));
                    return (datagrams, payload, Ok(()));
                }
                _ => {
                    rx.deliver_received(frame, res as usize, &mut self.counters.truncated, free);
                    return (1, res, Ok(()));
                }
            },
            Some(frame) => free.give(frame),
            // The kernel returns the buffer that it had chosen for an empty datagram, and the multishot
            // ends. So if no frame is free, a buffer can be taken from the ring; but not beside other receives,
            // which are armed.
            None if res == 0 && completion.user_data() != CANCEL => {
                match free.take().or_else(|| if MANY { None } else { self.buffers.retract() }) {
                    Some(frame) => {
                        rx.deliver(Packet::datagram(frame, 0), free);
                        return (1, 0, Ok(()));
                    }
                    None => rx.lose_one(),
                }
            }
            // No kernel does this: one task uses the buffers, in the order of the ring.
            None if res > 0 && completion.user_data() != CANCEL => {
                return (0, res, Err(io::Error::other("io_uring used a buffer out of its turn")));
            }
            None => {}
        }
        (0, res, Ok(()))
    }

    /// The multishot of a socket has ended: notes why. The next [`Multishot::fetch`] arms it again.
    fn ended(&mut self, socket: u16, res: i32) -> io::Result<()> {
        self.idle.push_back(socket);
        let rearms = &mut self.counters.rearms;
        match res {
            _ if res == -libc::ENOBUFS => rearms.no_buffers += 1,
            _ if res == -libc::ECANCELED => {}
            // As it should.
            _ if res == -libc::EAGAIN && matches!(self.request, Request::RecvDontwait) => {}
            0 => rearms.empty_datagram += 1,
            1.. => rearms.queue_full += 1,
            _ => {
                rearms.error += 1;
                match errno::judge(-res) {
                    Verdict::Fatal => return Err(io::Error::from_raw_os_error(-res)),
                    Verdict::Passing => self.counters.note_passing(self.ring.files.at(socket.into())),
                    Verdict::Again | Verdict::Interrupted => {}
                }
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn arm(&mut self, most: usize) -> io::Result<()> {
        for _ in 0..most {
            let Some(&socket) = self.idle.front() else { break };
            if MANY && self.ring.sq.is_full() {
                self.ring.enter(0)?;
                if self.ring.sq.is_full() {
                    // The kernel thread is late, or completions must be reaped first.
                    break;
                }
            }
            let entry = self.request.build(socket).user_data(socket.into());
            // SAFETY: the request names no memory but the template, which lives in a box beside the ring until the
            // request is over; its buffers come from the registered ring, whose frames are parked until the kernel
            // has used them or the request is over.
            unsafe { self.ring.push(&entry) }?;
            self.idle.pop_front();
        }
        Ok(())
    }

    /// Whether the kernel holds a request.
    fn is_armed(&self) -> bool {
        self.idle.len() < self.sockets
    }

    /// Ends the request if the kernel would continue without being called.
    pub(super) fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if self.ring.progresses_only_when_called() { Ok(0) } else { self.disarm(free, rx) }
    }

    /// Cancels the requests, and delivers what they still return.
    fn disarm(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let mut received = 0;
        for _ in 0..CANCEL_TRIES {
            self.ring.cq.sync();
            received += self.reap(usize::MAX, free, rx)?;
            if !self.is_armed() {
                return Ok(received);
            }
            self.cancel()?;
        }
        Err(io::Error::other("a multishot receive could not be cancelled"))
    }

    fn cancel(&mut self) -> io::Result<()> {
        if MANY {
            return self.ring.cancel_each(self.ring.files.len() as u64, CANCEL);
        }
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
        let mut result = self.disarm(free, &mut rx).map(drop);
        while let Some(packet) = leftovers.pop() {
            free.give(packet.into_frame());
        }
        // Even after an error of the receive itself: what counts is that it has ended.
        if self.is_armed() && self.ring.end_all() {
            self.sockets = self.idle.len();
        }
        if self.is_armed() {
            // `drop` keeps the memory.
            result = result.and(Err(held_back(self.buffers.parked())));
        } else {
            self.buffers.empty(free);
        }
        result
    }
}

impl<const MANY: bool> Drop for Multishot<'_, MANY> {
    /// The kernel must not write to frames that are no longer parked: ends the request, or, if that
    /// cannot be done, keeps the memory mapped for good.
    fn drop(&mut self) {
        for _ in 0..CANCEL_TRIES {
            self.ring.cq.sync();
            for completion in self.ring.cq.by_ref() {
                let last = completion.user_data() != CANCEL && !cqueue::more(completion.flags());
                self.sockets = self.sockets.saturating_sub(usize::from(last));
            }
            if !self.is_armed() {
                return;
            }
            if self.cancel().is_err() {
                break;
            }
        }
        if self.ring.end_all() {
            return;
        }
        self.buffers.leak();
        std::mem::replace(&mut self.request, Request::Recv).leak();
    }
}

/// The frame and the length of a datagram that is where it should be, with more to come; a free frame takes its place.
/// `None`, and nothing done, if it is anything else, or no frame is free.
#[inline(always)]
fn single<'p>(
    completion: &cqueue::Entry,
    (offset, longest): (usize, usize),
    buffers: &mut BufferRing<'p>,
    free: &mut FreeList<'p>,
) -> Option<(Frame<'p>, usize)> {
    let (id, written) = filled(completion)?;
    // One comparison: what is shorter than the offset wraps.
    let len = written.wrapping_sub(offset);
    if len > longest {
        return None;
    }
    Some((buffers.swap(id, free)?, len))
}

/// The buffer that a completion names, and how many bytes are in it; `None` if it is anything but a datagram in a
/// buffer with more to come.
#[inline(always)]
fn filled(completion: &cqueue::Entry) -> Option<(u16, usize)> {
    // One test after the other: combining them takes longer.
    if !cqueue::more(completion.flags()) {
        return None;
    }
    let len = usize::try_from(completion.result()).ok()?;
    Some((cqueue::buffer_select(completion.flags())?, len))
}

/// Delivers what a RECVMSG has put into a buffer: `written` bytes, including headers. Returns how many datagrams
/// there are, and the length of the payload.
#[inline(always)]
fn deliver_message<'p>(
    layout: Layout,
    frame: Frame<'p>,
    written: usize,
    counters: &mut Counters,
    (rx, free): (&mut RxRing<'p>, &mut FreeList<'p>),
) -> (usize, i32) {
    frame.prefetch();
    let Some(placed) = layout.place(frame.bytes(), written) else {
        // No kernel does this. There is nothing to deliver; the ledger will miss a datagram.
        counters.io_errors += 1;
        free.give(frame);
        return (0, written as i32);
    };
    counters.truncated += u64::from(placed.truncated);
    let packet = Packet::placed(frame, placed);
    let datagrams = packet.count();
    rx.deliver(packet, free);
    (datagrams, placed.len as i32)
}

fn missing(error: io::Error, feature: &'static str, since: &'static str, call: &'static str) -> OpenError {
    match error.raw_os_error() {
        Some(libc::EINVAL) => OpenError::Missing { feature, since },
        Some(libc::ENOMEM) => super::ring::no_memory(error),
        _ => OpenError::Failed { call, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::Addressing;
    use crate::{Kind, Variant};

    /// The place found without reading the header is the one that the header gives.
    #[test]
    fn a_datagram_is_where_its_header_says() {
        const SIZE: usize = 256;
        for addressing in [Addressing::Connected, Addressing::Unconnected] {
            let variant = Variant::parse(Kind::URING, "recvmsg-multishot").expect("a mode");
            let request = Request::new(&Config { addressing, ..Config::of(variant, 1) });
            let (Request::Recvmsg(layout, _), Place::At { offset, longest }) = (&request, request.place(SIZE)) else {
                panic!("{request:?} has no control messages");
            };
            for payload in [0, 1, longest - 1, longest, longest + 1, longest + 2] {
                let mut buffer = vec![0; SIZE];
                buffer[8..12].copy_from_slice(&(payload as u32).to_ne_bytes());
                let written = SIZE.min(offset + payload);
                let placed = layout.place(&buffer, written).expect("a good message");
                assert_eq!(placed.offset, offset);
                let is_short = written - offset <= longest;
                assert_eq!(is_short, payload <= longest, "what fills its buffer is looked at: {payload}");
                assert!(!is_short || placed.len == payload && !placed.truncated, "{placed:?}");
            }
        }
        assert_eq!(
            Request::Recv.place(SIZE),
            Place::At { offset: 0, longest: SIZE },
            "MSG_TRUNC tells the real length"
        );
    }
}
