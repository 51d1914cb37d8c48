//! monoio's runtime, and its operations on buffers that they own.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::Canceller;
use monoio::net::udp::UdpSocket;
use monoio::{IoUringDriver, RuntimeBuilder};

use crate::backend::OpenError;
use crate::frames::owned::Owned;
use crate::kernel::timer::Timer;
use crate::runtime::Runtime;
use crate::runtimes::crowd::{Host, Task};
use crate::runtimes::flight::{Ticking, of_len};
use crate::runtimes::slot::{Done, Route, Slot};

/// Entries of its ring, as monoio has them.
const ENTRIES: u32 = 1024;

/// monoio's runtime. Clones are the same one.
#[derive(Clone)]
pub struct Proactor(Rc<RefCell<monoio::Runtime<IoUringDriver>>>);

impl Runtime for Proactor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.borrow_mut().block_on(future)
    }
}

impl fmt::Debug for Proactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proactor")
    }
}

impl Proactor {
    pub(super) fn new() -> Result<Self, OpenError> {
        let refused = |error| OpenError::of_setup("starting monoio's runtime", error);
        let runtime = RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES).build().map_err(refused)?;
        Ok(Self(Rc::new(RefCell::new(runtime))))
    }
}

impl Host for Proactor {
    fn spawn(&self, task: Task) {
        // It goes on without its handle.
        drop(monoio::spawn(task));
    }
}

/// Its ring has no flags.
pub(super) fn in_effect() -> String {
    format!("entries={ENTRIES}")
}

pub(super) fn receiver<B: IoBufMut>(socket: Rc<UdpSocket>, is_connected: bool, cancel: Cancel) -> Slot<B> {
    if is_connected {
        return Slot::new(move |frame, _| {
            let (socket, handle) = (Rc::clone(&socket), cancel.0.borrow().handle());
            async move {
                let (outcome, frame) = socket.cancelable_recv(frame, handle).await;
                (of_len(outcome), frame)
            }
        });
    }
    Slot::new(move |frame, _| {
        let (socket, handle) = (Rc::clone(&socket), cancel.0.borrow().handle());
        async move {
            let (outcome, frame) = socket.cancelable_recv_from(frame, handle).await;
            (outcome.map(|(len, address)| (len, Some(address))), frame)
        }
    })
}

pub(super) fn sender(sockets: Rc<[Rc<UdpSocket>]>, cancel: Cancel) -> Slot {
    Slot::new(move |frame, route: Route| {
        let (socket, handle) = (Rc::clone(&sockets[route.socket]), cancel.0.borrow().handle());
        async move {
            let (outcome, frame) = match route.to {
                None => socket.cancelable_send(frame, handle).await,
                Some(to) => socket.cancelable_send_to(frame, to, handle).await,
            };
            (of_len(outcome), frame)
        }
    })
}

/// What cancels operations in flight. monoio's other way is to drop their futures; what they have received is then lost.
#[derive(Clone, Default)]
pub(super) struct Cancel(Rc<RefCell<Canceller>>);

impl Cancel {
    /// Cancels what is in flight. Called within the runtime.
    pub(super) fn all(&self) {
        // An operation is in the queue of submissions once its future was polled.
        let canceller = self.0.take().cancel();
        self.0.replace(canceller);
    }

    /// Cancels what is in flight, and awaits the end of one of these operations: it may have been faster.
    pub(super) async fn end(&self, slot: &mut Slot) -> Done {
        self.all();
        poll_fn(|cx| slot.poll(cx)).await
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancel")
    }
}

/// A timer that the ring polls.
pub(super) struct Tick {
    timer: Timer,
    /// The timer for monoio, which has no type for any descriptor.
    socket: Rc<UdpSocket>,
    ready: RefCell<Pin<Box<dyn Future<Output = ()>>>>,
}

/// Ready when the timer is.
fn readable(socket: Rc<UdpSocket>) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        // An error ends the wait as well.
        let _ = socket.readable(false).await;
    })
}

impl Ticking for Tick {
    fn register(timer: Timer) -> io::Result<Self> {
        let socket = Rc::new(UdpSocket::from_std(timer.try_clone()?.into())?);
        let ready = RefCell::new(readable(Rc::clone(&socket)));
        Ok(Self { timer, socket, ready })
    }

    fn timer(&self) -> &Timer {
        &self.timer
    }

    fn poll_tick(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut is_ready = self.ready.borrow_mut();
        ready!(is_ready.as_mut().poll(cx));
        *is_ready = readable(Rc::clone(&self.socket));
        // It has gone off, so this finds something.
        let _ = self.timer.take();
        Poll::Ready(())
    }
}

impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tick").field("timer", &self.timer).finish()
    }
}

// SAFETY: the handle's bytes are at the same place, and initialised, until it is used up (`Owned`).
unsafe impl IoBuf for Owned {
    fn read_ptr(&self) -> *const u8 {
        self.content().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.content().len()
    }
}

// SAFETY: as for `IoBuf`; `room` is all of it.
unsafe impl IoBufMut for Owned {
    fn write_ptr(&mut self) -> *mut u8 {
        self.room().as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        self.room().len()
    }

    unsafe fn set_init(&mut self, len: usize) {
        Owned::set_len(self, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtimes::refused_ring;

    #[test]
    fn a_ring_that_is_refused_names_its_cause_and_a_remedy() {
        refused_ring(|| Proactor::new().err());
    }
}
