//! One receive and one send in flight at most, for runtimes on io_uring whose operations own their buffers.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::backend::{Config, Counters, Sockets};
use crate::frames::copies::Copies;
use crate::frames::owned::{Lender, Owned};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::timer::Timer;
use crate::runtimes::outcome::{self, Received, judge};
use crate::runtimes::slot::{Done, Route, Slot};

/// How long a call that should not wait does: these runtimes enter the kernel to wait only.
const GLANCE: Duration = Duration::from_micros(500);

/// A timer for which a runtime waits, beside what else it waits for.
pub(super) trait Ticking: Sized {
    /// Registers a timer. Called within the runtime.
    fn register(timer: Timer) -> io::Result<Self>;

    fn timer(&self) -> &Timer;

    /// Ready when it has gone off since the last time.
    fn poll_tick(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// What ends the calls of such a runtime.
#[derive(Debug)]
pub(super) struct Ticks<T> {
    /// Goes off again and again, if calls may wait.
    periodic: Option<T>,
    /// Is set for each call that should not wait.
    glance: T,
}

impl<T: Ticking> Ticks<T> {
    /// Called within the runtime.
    pub(super) fn new(config: &Config) -> io::Result<Self> {
        let periodic = config.block.map(|period| T::register(Timer::every(period)?)).transpose()?;
        Ok(Self { periodic, glance: T::register(Timer::idle()?)? })
    }

    /// For a call that should not wait.
    pub(super) fn glance(&self) -> io::Result<&T> {
        self.glance.timer().set_once(GLANCE)?;
        Ok(&self.glance)
    }

    /// For a call that waits.
    pub(super) fn periodic(&self) -> io::Result<&T> {
        self.periodic.as_ref().map_or_else(|| self.glance(), Ok)
    }

    /// For a send, and how often it has to go off.
    ///
    /// The periodic one may go off during any send. To leave that send to the next call would keep a loop with a batch of one behind
    /// by one datagram for good, so it has to go off twice.
    fn of_send(&self) -> io::Result<(&T, u32)> {
        match &self.periodic {
            Some(tick) => Ok((tick, 2)),
            None => Ok((self.glance()?, 1)),
        }
    }
}

/// What is in flight, and the frames that it has.
#[derive(Debug)]
pub(super) struct Flight<'p> {
    pub(super) receiving: Slot,
    pub(super) sending: Slot,
    pub(super) counters: Counters,
    /// hpbench's own descriptors.
    pub(super) sockets: Sockets,
    lender: Lender<'p>,
    /// A packet that was refused, or of which more copies are to be sent: it is sent next.
    next: Option<(Owned, Route)>,
    copies: Copies,
    /// Where the packet goes that is in flight.
    route: Route,
    batch: usize,
    payload_at: usize,
}

impl<'p> Flight<'p> {
    pub(super) fn new((receiving, sending): (Slot, Slot), sockets: Sockets, config: &Config, pool: &'p Pool) -> Self {
        Self {
            receiving,
            sending,
            counters: Counters::default(),
            sockets,
            lender: Lender::new(pool),
            next: None,
            copies: Copies::new(config.copies),
            route: Route::default(),
            batch: config.batch,
            payload_at: outcome::payload_at(config),
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
        let frame = unsafe { self.lender.take_back(frame) };
        match outcome {
            Ok(received) => {
                outcome::deliver(&mut self.counters, (frame, self.payload_at), received, (free, rx));
                rx.publish();
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
    pub(super) fn note_failed_receive(&mut self, socket: usize, error: io::Error) -> io::Result<()> {
        if is_cancelled(&error) {
            return Ok(());
        }
        self.counters.note_receive_error(self.sockets.raw(socket), error)
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

    /// Sends at most a batch of packets, each of which is awaited for as long as the timer allows.
    pub(super) async fn send(
        &mut self,
        ticks: &Ticks<impl Ticking>,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> io::Result<usize> {
        let (tick, times) = ticks.of_send()?;
        let mut sent = 0;
        while sent < self.batch && self.begin_send(tx) {
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
            match self.copies.is_last() {
                // SAFETY: it was lent when the send began.
                true => free.give(unsafe { self.lender.take_back(frame) }),
                false => self.next = Some((frame, self.route)),
            }
            return Ok(true);
        };
        self.next = Some((frame, self.route));
        // With what was received, `quiesce` has cancelled it.
        if is_cancelled(&error) {
            return Ok(false);
        }
        let fd = self.sockets.raw(self.route.socket);
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
pub(super) fn of_len(outcome: io::Result<usize>) -> io::Result<Received> {
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
        fn register(_: Timer) -> io::Result<Self> {
            unreachable!("it is made by the test")
        }

        fn timer(&self) -> &Timer {
            unreachable!("it is none of the kernel's")
        }

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
