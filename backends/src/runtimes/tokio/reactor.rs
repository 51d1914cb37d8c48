//! What the backends on tokio share: the runtime, how waits end, and how they send.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Builder;
use tokio::task::{unconstrained, yield_now};

use crate::backend::{Config, Counters, OpenError};
use crate::frames::packet::Packet;
use crate::frames::pool::FreeList;
use crate::frames::ring::Consumer;
use crate::kernel::timer::Timer;
use crate::runtime::Runtime;
use crate::runtimes::crowd::{Host, Task};

/// A current-thread runtime of tokio with its reactor, and no timers.
#[derive(Clone, Debug)]
pub struct Reactor(Rc<tokio::runtime::Runtime>);

impl Runtime for Reactor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

impl Reactor {
    /// A runtime for `config`, and what ends its waits, if it waits.
    pub(in crate::runtimes) fn new(config: &Config) -> Result<(Self, Option<Tick>), OpenError> {
        let failed = |error| OpenError::Failed { call: "starting tokio's runtime", error };
        let reactor = Self(Rc::new(Builder::new_current_thread().enable_io().build().map_err(failed)?));
        let tick = config.block.map(|period| reactor.enter(|| Tick::every(period))).transpose().map_err(failed)?;
        Ok((reactor, tick))
    }

    /// Calls `make` in the context of the runtime, so that it can register descriptors.
    pub(in crate::runtimes) fn enter<T>(&self, make: impl FnOnce() -> T) -> T {
        let _context = self.0.enter();
        make()
    }
}

impl Host for Reactor {
    fn spawn(&self, task: Task) {
        self.0.spawn(OnThisThread(task));
    }

    /// What tokio's budget puts off is resumed when the reactor has looked, which may be after the end of a `block_on`, and then is
    /// lost; tasks of their own are resumed before.
    fn within(&self, task: Task) -> Task {
        Box::pin(unconstrained(task))
    }
}

/// A future that tokio may have in a task.
struct OnThisThread(Task);

// SAFETY: the runtime is a current-thread one, which polls its tasks in `block_on` and drops them with itself. Both happen on the
// thread of the backend, which is on one thread only (`Rc`).
unsafe impl Send for OnThisThread {}

impl Future for OnThisThread {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

/// Ends waits: a timer among the descriptors of the reactor.
#[derive(Debug)]
pub(in crate::runtimes) struct Tick(AsyncFd<Timer>);

impl Tick {
    /// One that goes off every `period`.
    fn every(period: Duration) -> io::Result<Self> {
        let timer = Timer::every(period)?;
        // SAFETY: the timer owns its descriptor, which is the same one until it is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Ready when it has gone off since the last time.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Ok(mut guard) = ready!(self.0.poll_read_ready(cx)) else { return Poll::Ready(()) };
            if guard.try_io(|timer| timer.get_ref().take()).is_ok() {
                return Poll::Ready(());
            }
        }
    }
}

/// Ready with nothing when the timer goes off; at once if there is none.
#[inline(always)]
pub(in crate::runtimes) fn poll_tick(tick: Option<&Tick>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    tick.map_or(Poll::Ready(Ok(0)), |tick| tick.poll(cx).map(|()| Ok(0)))
}

/// What sends on a socket of tokio.
pub(in crate::runtimes) trait Transmit<'p> {
    /// Sends at most a batch; pending if there is no room for the first.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> Poll<io::Result<usize>>;

    fn tick(&self) -> Option<&Tick>;

    fn counters_mut(&mut self) -> &mut Counters;

    /// [`AsyncBackend::tx`](crate::runtime::AsyncBackend::tx) of such a backend.
    #[inline]
    async fn transmit(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        if tx.available() == 0 {
            return Ok(0);
        }
        if self.tick().is_some() {
            return poll_fn(|cx| match self.poll_send(cx, tx, free) {
                Poll::Ready(sent) => Poll::Ready(sent),
                Poll::Pending => {
                    let ended = poll_tick(self.tick(), cx);
                    self.counters_mut().send_eagain += u64::from(ended.is_ready());
                    ended
                }
            })
            .await;
        }
        // A loop that spins lets the reactor look whether there is room again: there may be none, or tokio lets others run.
        if let Poll::Ready(sent) = poll_fn(|cx| Poll::Ready(self.poll_send(cx, tx, free))).await {
            return sent;
        }
        yield_now().await;
        match poll_fn(|cx| Poll::Ready(self.poll_send(cx, tx, free))).await {
            Poll::Ready(sent) => sent,
            Poll::Pending => {
                self.counters_mut().send_eagain += 1;
                Ok(0)
            }
        }
    }
}
