//! An operation in flight whose future cannot be named: it stays where it is from one call to the next.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::frames::owned::Owned;

/// Where a send goes: out of which of the sockets, and to which address if they are not connected.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Route {
    pub(super) socket: usize,
    pub(super) to: Option<SocketAddr>,
}

/// What an operation returns: how many bytes, and for a receive whose; and the frame.
pub(super) type Done = (io::Result<(usize, Option<SocketAddr>)>, Owned);

/// A kind of operation, of which one is in flight at most.
///
/// An operation that is dropped would be cancelled, and what it has received lost. So a wait that ends leaves it here, and the
/// next call goes on with it. The memory of its future is used again and again.
pub(super) struct Slot(Box<dyn Operation>);

trait Operation {
    fn start(&mut self, frame: Owned, route: Route);
    fn is_idle(&self) -> bool;
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done>;
}

struct Of<M, F> {
    make: M,
    future: Pin<Box<Option<F>>>,
}

impl<M: Fn(Owned, Route) -> F, F: Future<Output = Done>> Operation for Of<M, F> {
    fn start(&mut self, frame: Owned, route: Route) {
        assert!(self.is_idle(), "one operation at a time");
        self.future.set(Some((self.make)(frame, route)));
    }

    fn is_idle(&self) -> bool {
        self.future.is_none()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        let Some(future) = self.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let done = future.poll(cx);
        if done.is_ready() {
            self.future.set(None);
        }
        done
    }
}

impl Slot {
    /// Operations that `make` makes of a frame, and for sends of where it goes.
    pub(super) fn new<M, F>(make: M) -> Self
    where
        M: Fn(Owned, Route) -> F + 'static,
        F: Future<Output = Done> + 'static,
    {
        Self(Box::new(Of { make, future: Box::pin(None) }))
    }

    /// Begins an operation.
    pub(super) fn start(&mut self, frame: Owned, route: Route) {
        self.0.start(frame, route);
    }

    /// Whether none is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    /// The end of the operation in flight; pending if there is none.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        self.0.poll(cx)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("is_idle", &self.is_idle()).finish()
    }
}
