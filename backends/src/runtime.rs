//! What drives a backend: a runtime, or nothing but the calling thread.
//!
//! The driver's loops are written once. A backend of system calls ([`Backend`]) is an [`AsyncBackend`] whose futures are always
//! ready; its runtime is [`Inline`], which polls each of them once. A runtime's backend implements [`AsyncBackend`] itself, and
//! a whole loop runs in one `block_on` of its [`Runtime`], as in a server's `main`.

use std::future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::backend::{Backend, Caps, Config, Counters, OpenError, Port};
use crate::declaration::Kind;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;

/// Runs a future to its end on the calling thread. A handle: clones are the same runtime.
pub trait Runtime: Clone {
    /// Whether every future is ready when it is polled first: there is nothing to wait for.
    const IS_INLINE: bool = false;

    /// Runs `future`, and returns its output.
    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

/// No runtime: futures that are ready when they are polled first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl Runtime for Inline {
    const IS_INLINE: bool = true;

    #[inline(always)]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => unreachable!("a backend of system calls returns futures that are ready"),
        }
    }
}

/// A way of moving datagrams that may be a runtime's. As [`Backend`], of which every implementation is one of these, with
/// these differences: a call may wait for the runtime, and what waits ends by itself.
pub trait AsyncBackend<'p>: Sized {
    /// As [`Backend::KIND`].
    const KIND: Kind;

    /// What runs the loops.
    type Runtime: Runtime;

    /// As [`Backend::probe`].
    ///
    /// # Errors
    ///
    /// As [`Backend::probe`].
    fn probe(config: &Config) -> Result<Caps, OpenError>;

    /// As [`Backend::open`].
    ///
    /// # Errors
    ///
    /// As [`Backend::open`].
    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError>;

    /// What runs the futures of this backend.
    fn runtime(&self) -> Self::Runtime;

    /// As [`Backend::rx`]: looks, and lets the runtime do its work if nothing is there.
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> impl Future<Output = io::Result<usize>>;

    /// As [`Backend::rx_wait`]: awaits the first datagram as a program of the runtime does, for about [`Config::block`] at
    /// most.
    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> impl Future<Output = io::Result<usize>>;

    /// As [`Backend::tx`], but it may wait for room.
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>)
    -> impl Future<Output = io::Result<usize>>;

    /// As [`Backend::quiesce`].
    ///
    /// # Errors
    ///
    /// As [`Backend::quiesce`].
    fn quiesce(&mut self, _free: &mut FreeList<'p>, _rx: &mut RxRing<'p>) -> io::Result<usize> {
        Ok(0)
    }

    /// As [`Backend::counters`].
    fn counters(&self) -> Counters;

    /// As [`Backend::in_effect`].
    fn in_effect(&self) -> String {
        String::new()
    }

    /// As [`Backend::close`]. It is not called from within the runtime.
    ///
    /// # Errors
    ///
    /// As [`Backend::close`].
    fn close(self, free: &mut FreeList<'p>) -> io::Result<()>;
}

/// A backend of system calls makes its calls at once.
impl<'p, B: Backend<'p>> AsyncBackend<'p> for B {
    const KIND: Kind = <B as Backend<'p>>::KIND;

    type Runtime = Inline;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        <B as Backend<'p>>::probe(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        <B as Backend<'p>>::open(config, port, pool)
    }

    #[inline(always)]
    fn runtime(&self) -> Inline {
        Inline
    }

    #[inline(always)]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> impl Future<Output = io::Result<usize>> {
        future::ready(Backend::rx(self, free, rx))
    }

    #[inline(always)]
    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> impl Future<Output = io::Result<usize>> {
        future::ready(Backend::rx_wait(self, free, rx))
    }

    #[inline(always)]
    fn tx(
        &mut self,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> impl Future<Output = io::Result<usize>> {
        future::ready(Backend::tx(self, tx, free))
    }

    fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        Backend::quiesce(self, free, rx)
    }

    fn counters(&self) -> Counters {
        Backend::counters(self)
    }

    fn in_effect(&self) -> String {
        Backend::in_effect(self)
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        Backend::close(self, free)
    }
}
