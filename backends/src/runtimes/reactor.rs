//! What the backends on tokio share: the runtime, and how waits end.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Builder;

use crate::backend::{Config, OpenError};
use crate::kernel::timer::Timer;
use crate::runtime::Runtime;

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
    pub(super) fn new(config: &Config) -> Result<(Self, Option<Tick>), OpenError> {
        let failed = |error| OpenError::Failed { call: "starting tokio's runtime", error };
        let mut builder = Builder::new_current_thread();
        builder.enable_io();
        if config.block.is_none() {
            // A loop that spins asks epoll each time that it yields.
            builder.event_interval(1);
        }
        let reactor = Self(Rc::new(builder.build().map_err(failed)?));
        let tick = config.block.map(|period| reactor.enter(|| Tick::every(period))).transpose().map_err(failed)?;
        Ok((reactor, tick))
    }

    /// Calls `make` in the context of the runtime, so that it can register descriptors.
    pub(super) fn enter<T>(&self, make: impl FnOnce() -> T) -> T {
        let _context = self.0.enter();
        make()
    }
}

/// Ends waits: a timer among the descriptors of the reactor.
#[derive(Debug)]
pub(super) struct Tick(AsyncFd<Timer>);

impl Tick {
    /// One that goes off every `period`.
    fn every(period: Duration) -> io::Result<Self> {
        let timer = Timer::every(period.max(Duration::from_micros(1)))?;
        // SAFETY: the timer owns its descriptor, which is the same one until it is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Ready when it has gone off since the last time.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Ok(mut guard) = ready!(self.0.poll_read_ready(cx)) else { return Poll::Ready(()) };
            if guard.try_io(|timer| timer.get_ref().take()).is_ok() {
                return Poll::Ready(());
            }
        }
    }
}
