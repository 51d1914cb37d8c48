//! monoio: a runtime on io_uring, whose operations own their buffers. One receive for each socket and one send are in flight at most.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::Canceller;
use monoio::net::udp::UdpSocket;
use monoio::{IoUringDriver, RuntimeBuilder};

use crate::backend::{self, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Declaration, Dimension, Kind, Mode, Rule, Want};
use crate::frames::owned::Owned;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::socket::Socket;
use crate::kernel::timer::Timer;
use crate::runtime::{AsyncBackend, Runtime};
use crate::runtimes::crowd::{Host, MANY, MANY_RULE, ONE_TASK, TASKS, Task};
use crate::runtimes::desk::{Desk, Receive};
use crate::runtimes::flight::{Flight, Ticking, Ticks, is_cancelled, of_len};
use crate::runtimes::outcome::{self, Received};
use crate::runtimes::slot::{Done, Route, Slot};
use crate::variant::Addressing;

const DECLARATION: Declaration = Declaration {
    crates: &["monoio"],
    only_waits: Some("monoio has no way to look without waiting"),
    has_kernel_workers: true,
    rules: &[MANY_RULE, MANY_BUFFERS],
    ..Declaration::new("monoio", "the runtime monoio, on io_uring", &[RECEIVE, MANY])
};

const RECEIVE: Dimension = Dimension::receive(&[RECV, COPY]);

const RECV: Mode = Mode {
    one_at_a_time: true,
    ..Mode::new("recv", "recv_from of monoio's UdpSocket into a frame, one at a time; with --batch 1")
};

/// A buffer of its own for each socket.
const COPY: Mode = Mode {
    one_at_a_time: true,
    ..Mode::new("copy", "recv_from into a buffer that each socket keeps, and a copy; the default above one socket")
};

/// A receive keeps its buffer until its socket has a datagram.
const MANY_BUFFERS: Rule = Rule {
    wanted_by: &[Want::Sockets, Want::Mode(TASKS), Want::Mode(ONE_TASK)],
    able: &[COPY],
    others_have: "one receive in flight",
};

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
    fn new() -> Result<Self, OpenError> {
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

/// The `monoio` backend.
#[derive(Debug)]
pub struct Monoio<'p> {
    // Dropped before the runtime.
    flight: Flight<'p>,
    /// What receives into buffers of the sockets.
    many: Option<Many<'p>>,
    ticks: Ticks<Tick>,
    cancel: Cancel,
    proactor: Proactor,
}

/// Sockets with a buffer each.
#[derive(Debug)]
struct Many<'p> {
    desk: Desk<'p>,
    receivers: Box<[Rc<Receiver>]>,
    payload_at: usize,
}

impl<'p> AsyncBackend<'p> for Monoio<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    type Runtime = Proactor;

    fn probe(_config: &Config) -> Result<Caps, OpenError> {
        Proactor::new()?;
        backend::throwaway_socket()?;
        Ok(Caps { in_effect: in_effect() })
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let sockets = port.non_blocking_sockets(config, pool)?;
        if !config.variant.finds_sockets() {
            sockets.only()?;
        }
        let failed = |error| OpenError::Failed { call: "handing a socket over to monoio", error };
        let proactor = Proactor::new()?;
        let (is_connected, payload_at) = (config.addressing == Addressing::Connected, outcome::payload_at(config));
        let (cancel, host) = (Cancel::default(), proactor.clone());
        let opened = proactor.block_on(async {
            // io_uring only waits for descriptors that may block.
            let adopt = |socket: &Arc<Socket>| Ok(Rc::new(UdpSocket::from_std(socket.duplicate_blocking()?)?));
            let own: Rc<[_]> = sockets.iter().map(adopt).collect::<io::Result<_>>()?;
            let slots =
                (receiver(Rc::clone(&own[0]), is_connected, cancel.clone()), sender(Rc::clone(&own), cancel.clone()));
            let many = config.variant.has(COPY).then(|| {
                let size = pool.frame_size() - payload_at;
                let receiver = |socket: &Rc<_>| {
                    Rc::new(Receiver::new(receiver(Rc::clone(socket), is_connected, cancel.clone()), size))
                };
                let receivers: Box<[_]> = own.iter().map(receiver).collect();
                Many { desk: Desk::new(receivers.iter().cloned(), config, &host, pool), receivers, payload_at }
            });
            Ok((slots, many, Ticks::new(config)?))
        });
        let (slots, many, ticks) = opened.map_err(failed)?;
        Ok(Self { flight: Flight::new(slots, sockets, config, pool), many, ticks, cancel, proactor })
    }

    fn runtime(&self) -> Proactor {
        self.proactor.clone()
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(Ticks::glance, free, rx).await
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(Ticks::periodic, free, rx).await
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        self.flight.send(&self.ticks, tx, free).await
    }

    fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if let Some(many) = &self.many {
            self.proactor.block_on(many.rest(&self.cancel));
            return many.deliver(&mut self.flight, free, rx);
        }
        if self.flight.receiving.is_idle() {
            return Ok(0);
        }
        let done = self.proactor.block_on(self.cancel.end(&mut self.flight.receiving));
        self.flight.deliver(done, free, rx)
    }

    fn counters(&self) -> Counters {
        self.flight.counters
    }

    fn in_effect(&self) -> String {
        in_effect()
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        let Self { flight, many, cancel, proactor, .. } = self;
        if let Some(many) = many {
            proactor.block_on(many.end(&cancel)).close(free);
        }
        flight.close(|slot| proactor.block_on(cancel.end(slot)), free)
    }
}

impl<'p> Monoio<'p> {
    /// Receives until the timer ends it.
    async fn receive(
        &mut self,
        which: impl FnOnce(&Ticks<Tick>) -> io::Result<&Tick>,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        let Self { flight, many, ticks, .. } = self;
        let tick = which(ticks)?;
        let Some(Many { desk, .. }) = many else { return flight.receive(tick, free, rx).await };
        if desk.open(free) {
            poll_fn(|cx| match desk.poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => tick.poll_tick(cx),
            })
            .await;
        }
        let Flight { counters, sockets, .. } = flight;
        desk.collect(counters, |socket| sockets.raw(socket), (free, rx))
    }
}

impl<'p> Many<'p> {
    /// Cancels what is in flight, and awaits the end of that.
    async fn rest(&self, cancel: &Cancel) {
        cancel.all();
        for receiver in &self.receivers {
            poll_fn(|cx| receiver.poll_rest(cx)).await;
        }
    }

    /// Delivers what the sockets' buffers hold, as far as there are frames.
    fn deliver(&self, flight: &mut Flight<'p>, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let (mut came, mut result) = (0, Ok(()));
        for (number, receiver) in self.receivers.iter().enumerate().filter(|(_, receiver)| receiver.has_some()) {
            let Some(mut frame) = free.take() else { break };
            match receiver.take(&mut frame.bytes_mut()[self.payload_at..]) {
                Some(Ok(received)) => {
                    rx.set_socket(number as u16);
                    outcome::deliver(&mut flight.counters, (frame, self.payload_at), received, (free, rx));
                    came += 1;
                }
                Some(Err(error)) => {
                    free.give(frame);
                    let noted = flight.note_failed_receive(number, error);
                    if result.is_ok() {
                        result = noted;
                    }
                }
                None => free.give(frame),
            }
        }
        rx.publish();
        result.map(|()| came)
    }

    /// Ends all receives and their futures, which else would keep each other, and the sockets.
    async fn end(self, cancel: &Cancel) -> Desk<'p> {
        self.desk.stop();
        self.rest(cancel).await;
        let Self { mut desk, receivers, .. } = self;
        poll_fn(|cx| {
            // Each that ends wakes this one.
            let _ = desk.poll(cx);
            let has_ended = |receiver: &Rc<_>| Rc::strong_count(receiver) == 1;
            if receivers.iter().all(has_ended) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        desk
    }
}

/// One of several sockets: its buffer is in flight, or holds what has come.
#[derive(Debug)]
struct Receiver(RefCell<State>);

#[derive(Debug)]
struct State {
    slot: Slot<Vec<u8>>,
    /// `None` while it is in flight.
    buffer: Option<Vec<u8>>,
    /// What is in it, for the next who asks.
    come: Option<io::Result<Received>>,
    /// Of the future that awaits the end.
    waker: Option<Waker>,
}

impl Receiver {
    fn new(slot: Slot<Vec<u8>>, size: usize) -> Self {
        Self(RefCell::new(State { slot, buffer: Some(vec![0; size]), come: None, waker: None }))
    }

    fn has_some(&self) -> bool {
        self.0.borrow().come.is_some()
    }

    /// Copies what has come.
    fn take(&self, bytes: &mut [u8]) -> Option<io::Result<Received>> {
        let State { buffer, come, .. } = &mut *self.0.borrow_mut();
        let come = come.take()?;
        if let (Ok((len, _)), Some(buffer)) = (&come, buffer) {
            let len = (*len).min(bytes.len());
            bytes[..len].copy_from_slice(&buffer[..len]);
        }
        Some(come)
    }

    /// Ready when nothing is in flight, because it was cancelled or has come.
    fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if !state.slot.is_idle() {
            let (outcome, buffer) = ready!(state.slot.poll(cx));
            state.buffer = Some(buffer);
            state.come = Some(outcome).filter(|outcome| !outcome.as_ref().is_err_and(is_cancelled));
        }
        // Its future has to begin anew.
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Poll::Ready(())
    }
}

impl Receive for Receiver {
    fn poll_receive(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<Received>> {
        loop {
            if let Some(come) = self.take(bytes) {
                return Poll::Ready(come);
            }
            let mut state = self.0.borrow_mut();
            let State { slot, buffer, come, waker } = &mut *state;
            if let Some(buffer) = buffer.take() {
                slot.start(buffer, Route::default());
            }
            match slot.poll(cx) {
                Poll::Ready((outcome, back)) => (*come, *buffer, *waker) = (Some(outcome), Some(back), None),
                Poll::Pending => {
                    *waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Its ring has no flags.
fn in_effect() -> String {
    format!("entries={ENTRIES}")
}

fn receiver<B: IoBufMut>(socket: Rc<UdpSocket>, is_connected: bool, cancel: Cancel) -> Slot<B> {
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

fn sender(sockets: Rc<[Rc<UdpSocket>]>, cancel: Cancel) -> Slot {
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
struct Cancel(Rc<RefCell<Canceller>>);

impl Cancel {
    /// Cancels what is in flight. Called within the runtime.
    fn all(&self) {
        // An operation is in the queue of submissions once its future was polled.
        let canceller = self.0.take().cancel();
        self.0.replace(canceller);
    }

    /// Cancels what is in flight, and awaits the end of one of these operations: it may have been faster.
    async fn end(&self, slot: &mut Slot) -> Done {
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
struct Tick {
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
