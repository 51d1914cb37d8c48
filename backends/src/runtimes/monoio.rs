//! monoio: a runtime on io_uring, whose operations own their buffers. One receive and one send are in flight at most.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::Canceller;
use monoio::net::udp::UdpSocket;
use monoio::{IoUringDriver, RuntimeBuilder};

use crate::backend::{self, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Declaration, Dimension, Kind, Mode};
use crate::frames::address::PAYLOAD_AT;
use crate::frames::owned::Owned;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::timer::Timer;
use crate::runtime::{AsyncBackend, Runtime};
use crate::runtimes::flight::{Flight, Ticking, of_len};
use crate::runtimes::slot::{Done, Route, Slot};
use crate::variant::Addressing;

const DECLARATION: Declaration = Declaration {
    crates: &["monoio"],
    only_waits: Some("monoio has no way to look without waiting"),
    owns_many_sockets: false,
    has_kernel_workers: true,
    ..Declaration::new("monoio", "the runtime monoio, on io_uring", &[RECEIVE])
};

const RECEIVE: Dimension = Dimension::receive(&[Mode {
    one_at_a_time: true,
    ..Mode::new("recv", "recv_from and send_to of monoio's UdpSocket, one at a time; with --batch 1")
}]);

/// Entries of its ring, as monoio has them.
const ENTRIES: u32 = 1024;

/// How long a call that should not wait does: monoio enters the kernel to wait only.
const GLANCE: Duration = Duration::from_micros(500);

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

/// The `monoio` backend.
#[derive(Debug)]
pub struct Monoio<'p> {
    // Dropped before the runtime.
    flight: Flight<'p>,
    tick: Tick,
    /// Ends what is not to wait.
    glance: Tick,
    waits: bool,
    cancel: Cancel,
    proactor: Proactor,
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
        let original = port.socket(config, pool)?;
        let failed = |error| OpenError::Failed { call: "handing a socket over to monoio", error };
        let proactor = Proactor::new()?;
        // io_uring only waits for descriptors that may block.
        let own = original.duplicate_blocking().map_err(failed)?;
        let socket = Rc::new(proactor.block_on(async { UdpSocket::from_std(own) }).map_err(failed)?);
        let is_connected = config.addressing == Addressing::Connected;
        let ticks = async { Ok((Tick::every(config.block)?, Tick::every(None)?)) };
        let (tick, glance) = proactor.block_on(ticks).map_err(failed)?;
        let cancel = Cancel::default();
        let slots = (receiver(Rc::clone(&socket), is_connected, cancel.clone()), sender(socket, cancel.clone()));
        let payload_at = if is_connected { 0 } else { PAYLOAD_AT };
        let flight = Flight::new(slots, [original].into(), payload_at, config.copies, pool);
        Ok(Self { flight, tick, glance, waits: config.block.is_some(), cancel, proactor })
    }

    fn runtime(&self) -> Proactor {
        self.proactor.clone()
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.glance.set()?;
        self.flight.receive(&self.glance, free, rx).await
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.flight.receive(&self.tick, free, rx).await
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        if self.waits {
            return self.flight.send(1, (&self.tick, 2), tx, free).await;
        }
        self.glance.set()?;
        self.flight.send(1, (&self.glance, 1), tx, free).await
    }

    fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
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
        let Self { flight, cancel, proactor, .. } = self;
        flight.close(|slot| proactor.block_on(cancel.end(slot)), free)
    }
}

/// Its ring has no flags.
fn in_effect() -> String {
    format!("entries={ENTRIES}")
}

fn receiver(socket: Rc<UdpSocket>, is_connected: bool, cancel: Cancel) -> Slot {
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

fn sender(socket: Rc<UdpSocket>, cancel: Cancel) -> Slot {
    Slot::new(move |frame, route: Route| {
        let (socket, handle) = (Rc::clone(&socket), cancel.0.borrow().handle());
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
    /// Cancels what is in flight, and awaits the end of one of these operations: it may have been faster.
    async fn end(&self, slot: &mut Slot) -> Done {
        // It is in the queue of submissions once the future was polled.
        let canceller = self.0.take().cancel();
        self.0.replace(canceller);
        std::future::poll_fn(|cx| slot.poll(cx)).await
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancel")
    }
}

/// Ends waits: a timer that the ring polls.
struct Tick {
    timer: Timer,
    /// The timer for monoio, which has no type for any descriptor.
    socket: Rc<UdpSocket>,
    ready: RefCell<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Tick {
    /// One that goes off every `period`; one that is set for each wait if there is none. Called within the runtime.
    fn every(period: Option<Duration>) -> io::Result<Self> {
        let timer = period.map_or_else(Timer::idle, |period| Timer::every(period.max(Duration::from_micros(1))))?;
        let socket = Rc::new(UdpSocket::from_std(timer.try_clone()?.into())?);
        let ready = RefCell::new(readable(Rc::clone(&socket)));
        Ok(Self { timer, socket, ready })
    }

    /// Ends a wait that begins now before long.
    fn set(&self) -> io::Result<()> {
        self.timer.set_once(GLANCE)
    }
}

/// Ready when the timer is.
fn readable(socket: Rc<UdpSocket>) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        // An error ends the wait as well.
        let _ = socket.readable(false).await;
    })
}

impl Ticking for Tick {
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
    use std::collections::BTreeMap;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

    use super::*;

    #[test]
    fn a_ring_that_is_refused_names_its_cause_and_a_remedy() {
        let refused = std::thread::spawn(|| {
            let rules = BTreeMap::from([(libc::SYS_io_uring_setup, vec![])]);
            let architecture = std::env::consts::ARCH.try_into().expect("a known architecture");
            let action = SeccompAction::Errno(libc::EPERM as u32);
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture).expect("a filter");
            let program: BpfProgram = filter.try_into().expect("a program");
            seccompiler::apply_filter(&program).expect("a thread may filter its own calls");
            Proactor::new().err()
        });
        let refused = refused.join().expect("no panic");
        assert!(
            matches!(&refused, Some(OpenError::Denied { remedy, .. }) if remedy.contains("seccomp")),
            "{refused:?}"
        );
    }
}
