//! An operation in flight whose future cannot be named: it stays where it is from one call to the next.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::frames::owned::Owned;
use crate::runtimes::outcome::Received;

/// Where a send goes: out of which of the sockets, and to which address if they are not connected.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Route {
    pub(super) socket: usize,
    pub(super) to: Option<SocketAddr>,
}

/// What an operation returns: how many bytes, and for a receive whose; and its buffer.
pub(super) type Done<B = Owned> = (io::Result<Received>, B);

/// A kind of operation, of which one is in flight at most.
///
/// An operation that is dropped would be cancelled, and what it has received lost. So a wait that ends leaves it here, and the
/// next call goes on with it. The memory of its future is used again and again.
pub(super) struct Slot<B = Owned>(Box<dyn Operation<B>>);

trait Operation<B> {
    fn start(&mut self, buffer: B, route: Route);
    fn is_idle(&self) -> bool;
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done<B>>;
}

struct Of<M, F> {
    make: M,
    future: Pin<Box<Option<F>>>,
}

impl<B, M: Fn(B, Route) -> F, F: Future<Output = Done<B>>> Operation<B> for Of<M, F> {
    fn start(&mut self, buffer: B, route: Route) {
        assert!(Operation::<B>::is_idle(self), "one operation at a time");
        self.future.set(Some((self.make)(buffer, route)));
    }

    fn is_idle(&self) -> bool {
        self.future.is_none()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done<B>> {
        let Some(future) = self.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let done = future.poll(cx);
        if done.is_ready() {
            self.future.set(None);
        }
        done
    }
}

impl<B> Slot<B> {
    /// Operations that `make` makes of a buffer, and for sends of where it goes.
    pub(super) fn new<M, F>(make: M) -> Self
    where
        M: Fn(B, Route) -> F + 'static,
        F: Future<Output = Done<B>> + 'static,
        B: 'static,
    {
        Self(Box::new(Of { make, future: Box::pin(None) }))
    }

    /// Begins an operation.
    pub(super) fn start(&mut self, buffer: B, route: Route) {
        self.0.start(buffer, route);
    }

    /// Whether none is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    /// The end of the operation in flight; pending if there is none.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done<B>> {
        self.0.poll(cx)
    }
}

impl<B> fmt::Debug for Slot<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("is_idle", &self.is_idle()).finish()
    }
}
