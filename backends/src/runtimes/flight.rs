//! One receive and one send in flight at most, for runtimes on io_uring whose operations own their buffers.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::backend::Counters;
use crate::frames::address::Address;
use crate::frames::owned::{Lender, Owned};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::errno::Verdict;
use crate::kernel::socket::Socket;
use crate::runtimes::outcome::judge;
use crate::runtimes::slot::{Done, Route, Slot};

/// What ends the waits of a runtime.
pub(super) trait Ticking {
    /// Ready when it has gone off since the last time.
    fn poll_tick(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// What is in flight, and the frames that it has.
#[derive(Debug)]
pub(super) struct Flight<'p> {
    pub(super) receiving: Slot,
    pub(super) sending: Slot,
    pub(super) counters: Counters,
    /// hpbench's own descriptors.
    originals: Box<[Arc<Socket>]>,
    lender: Lender<'p>,
    /// A packet that was refused, or of which more copies are to be sent: it is sent next.
    next: Option<(Owned, Route)>,
    /// How often each packet is sent, and how often that one has been sent.
    copies: usize,
    copied: usize,
    /// Where the packet goes that is in flight.
    route: Route,
    /// Where payloads begin in frames: behind the address of their sender, if they have one.
    payload_at: usize,
}

impl<'p> Flight<'p> {
    pub(super) fn new(
        (receiving, sending): (Slot, Slot),
        originals: Box<[Arc<Socket>]>,
        payload_at: usize,
        copies: usize,
        pool: &'p Pool,
    ) -> Self {
        Self {
            receiving,
            sending,
            counters: Counters::default(),
            originals,
            lender: Lender::new(pool),
            next: None,
            copies,
            copied: 0,
            route: Route::default(),
            payload_at,
        }
    }

    /// Whether a receive is in flight, if need be a new one.
    fn begin_receive(&mut self, free: &mut FreeList<'p>) -> bool {
        if self.receiving.is_idle() {
            let Some(frame) = free.take() else { return false };
            let frame = self.lender.lend(frame, self.payload_at, 0);
            self.receiving.start(frame, Route::default());
        }
        true
    }

    /// Awaits a datagram, or the timer.
    pub(super) async fn receive(
        &mut self,
        tick: &impl Ticking,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        if !self.begin_receive(free) {
            return Ok(0);
        }
        match poll_fn(within(&mut self.receiving, tick, 1)).await {
            Some(done) => self.deliver(done, free, rx),
            None => Ok(0),
        }
    }

    /// Delivers what a receive returned.
    pub(super) fn deliver(&mut self, done: Done, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let (outcome, frame) = done;
        // SAFETY: all frames of receives are lent by `begin_receive`.
        let mut frame = unsafe { self.lender.take_back(frame) };
        match outcome {
            Ok((len, address)) => {
                if let Some(address) = address {
                    Address::new(address).write(&mut frame);
                }
                rx.deliver_behind(self.payload_at, frame, len, &mut self.counters.truncated, free);
                rx.publish();
                self.counters.rx_syscalls += 1;
                Ok(1)
            }
            Err(error) => {
                free.give(frame);
                self.note_failed_receive(0, error).map(|()| 0)
            }
        }
    }

    /// Counts the error of a receive.
    ///
    /// # Errors
    ///
    /// The error, if it makes continuing pointless.
    #[cold]
    pub(super) fn note_failed_receive(&mut self, socket: usize, error: io::Error) -> io::Result<()> {
        match judge(error) {
            (_, error) if is_cancelled(&error) => {}
            (Verdict::Fatal, error) => return Err(error),
            (Verdict::Passing, _) => self.counters.note_passing(self.originals[socket].raw()),
            (Verdict::Again | Verdict::Interrupted, _) => {}
        }
        Ok(())
    }

    /// Whether a send is in flight, if need be a new one.
    fn begin_send(&mut self, tx: &mut Consumer<Packet<'p>>) -> bool {
        if !self.sending.is_idle() {
            return true;
        }
        let (frame, route) = match self.next.take() {
            Some(next) => next,
            None => {
                let Some(packet) = tx.pop() else { return false };
                tx.release();
                let (at, len) = (self.payload_at, packet.len());
                let route = Route { socket: packet.socket(), to: packet.address().filter(|_| at > 0) };
                (self.lender.lend(packet.into_frame(), at, len), route)
            }
        };
        self.route = route;
        self.sending.start(frame, route);
        true
    }

    /// Sends at most `batch` packets, each of which is awaited; ends when the timer has gone off so many times during one of them.
    ///
    /// A periodic timer may go off during any send. To leave that one to the next call would keep a loop with a batch of one behind
    /// by one datagram for good, so it has to go off twice.
    pub(super) async fn send(
        &mut self,
        batch: usize,
        (tick, times): (&impl Ticking, u32),
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> io::Result<usize> {
        let mut sent = 0;
        while sent < batch && self.begin_send(tx) {
            // Otherwise it is under way, and the next call goes on with it.
            let Some(done) = poll_fn(within(&mut self.sending, tick, times)).await else { break };
            if !self.finish_send(done, free)? {
                break;
            }
            sent += 1;
        }
        Ok(sent)
    }

    /// Whether the datagram went.
    fn finish_send(&mut self, (outcome, frame): Done, free: &mut FreeList<'p>) -> io::Result<bool> {
        let Err(error) = outcome else {
            self.copied += 1;
            if self.copied < self.copies {
                self.next = Some((frame, self.route));
                return Ok(true);
            }
            self.copied = 0;
            // SAFETY: it was lent when the send began.
            free.give(unsafe { self.lender.take_back(frame) });
            return Ok(true);
        };
        self.next = Some((frame, self.route));
        // With what was received, `quiesce` has cancelled it.
        if is_cancelled(&error) {
            return Ok(false);
        }
        let fd = self.originals[self.route.socket].raw();
        self.counters.note_refused(fd, judge(error)).map(|()| false)
    }

    /// Brings the frames home, of what is in flight those that `end` returns: it awaits the end of an operation.
    pub(super) fn close(mut self, mut end: impl FnMut(&mut Slot) -> Done, free: &mut FreeList<'p>) -> io::Result<()> {
        let mut home: Vec<Owned> = self.next.take().map(|(frame, _)| frame).into_iter().collect();
        for slot in [&mut self.receiving, &mut self.sending] {
            if !slot.is_idle() {
                home.push(end(slot).1);
            }
        }
        for frame in home {
            // SAFETY: all frames that the slots and `next` had were lent by this lender.
            free.give(unsafe { self.lender.take_back(frame) });
        }
        if self.lender.is_whole() { Ok(()) } else { Err(io::ErrorKind::ResourceBusy.into()) }
    }
}

/// Whether an operation was cancelled.
pub(super) fn is_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

/// The end of an operation; or nothing, when the timer has gone off so many times.
fn within(slot: &mut Slot, tick: &impl Ticking, mut times: u32) -> impl FnMut(&mut Context<'_>) -> Poll<Option<Done>> {
    move |cx| {
        if let Poll::Ready(done) = slot.poll(cx) {
            return Poll::Ready(Some(done));
        }
        while times > 0 {
            ready!(tick.poll_tick(cx));
            times -= 1;
        }
        Poll::Ready(None)
    }
}

/// The outcome of a receive without an address, as a [`Slot`] returns it.
pub(super) fn of_len(outcome: io::Result<usize>) -> io::Result<(usize, Option<SocketAddr>)> {
    outcome.map(|len| (len, None))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::Waker;

    use super::*;

    /// A timer that goes off so many times, at once.
    struct Due(Cell<u32>);

    impl Ticking for Due {
        fn poll_tick(&self, _: &mut Context<'_>) -> Poll<()> {
            let left = self.0.get();
            self.0.set(left.saturating_sub(1));
            if left > 0 { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    #[test]
    fn a_send_outlasts_a_timer_that_goes_off_once() {
        let pool = Pool::new(1, 64).expect("a small pool");
        let (mut free, mut lender) = (pool.frames(), Lender::new(&pool));
        let mut slot = Slot::new(|frame, _| async move {
            let mut is_first = true;
            poll_fn(|_| if std::mem::replace(&mut is_first, false) { Poll::Pending } else { Poll::Ready(()) }).await;
            (of_len(Ok(0)), frame)
        });
        let mut cx = Context::from_waker(Waker::noop());
        for (times, is_left) in [(1, true), (2, false)] {
            slot.start(lender.lend(free.take().expect("it came home"), 0, 8), Route::default());
            let due = Due(Cell::new(1));
            match within(&mut slot, &due, times)(&mut cx) {
                Poll::Ready(ended) => assert!(is_left && ended.is_none(), "the timer ends a wait for one"),
                Poll::Pending => assert!(!is_left, "it has to go off twice"),
            }
            let Poll::Ready((_, frame)) = slot.poll(&mut cx) else { panic!("it was pending once") };
            // SAFETY: it was lent above.
            free.give(unsafe { lender.take_back(frame) });
        }
    }
}
