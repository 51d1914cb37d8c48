//! compio: a runtime on io_uring. Its receives take a buffer that the caller owns, or one of the runtime's own pool; those of the
//! second kind can stay armed.

use std::cell::Cell;
use std::future::{self, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::num::NonZero;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use compio::BufResult;
use compio::buf::{IoBuf, IoBufMut, SetLen};
use compio::driver::op::RecvFromMultiResult;
use compio::driver::{BufferRef, OpCode, OpEntry, ProactorBuilder};
use compio::net::UdpSocket;
use compio::runtime::RuntimeBuilder;
use compio::runtime::fd::PollFd;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use io_uring::{IoUring, opcode, types};

use crate::backend::{self, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Declaration, Dimension, Kind, Mode, Rule, Want};
use crate::frames::address::{Address, PAYLOAD_AT};
use crate::frames::owned::Owned;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::socket::Socket;
use crate::kernel::timer::Timer;
use crate::runtime::{AsyncBackend, Runtime};
use crate::runtimes::crowd::{Crowd, MANY, MANY_RULE, ONE_TASK, TASKS, Task};
use crate::runtimes::flight::{Flight, Ticking, is_cancelled, of_len};
use crate::runtimes::inbox::{Inbox, Turn};
use crate::runtimes::slot::{Done, Route, Slot};
use crate::variant::Addressing;

const DECLARATION: Declaration = Declaration {
    crates: &["compio", "compio-runtime", "compio-driver", "compio-net"],
    only_waits: Some("compio has no way to look without waiting"),
    has_kernel_workers: true,
    rules: &[MANY_RULE, MANY_BUFFERS],
    ..Declaration::new("compio", "the runtime compio, on io_uring", &[RECEIVE, SETUP, MANY])
};

const RECEIVE: Dimension = Dimension::receive(&[RECV, MANAGED, MULTI]);

const RECV: Mode = Mode {
    one_at_a_time: true,
    ..Mode::new("recv", "recv_from of compio's UdpSocket into a frame, one at a time; with --batch 1")
};

/// A buffer of the runtime's pool for each receive.
const MANAGED: Mode = Mode {
    since: Some("5.19"),
    has_buffer_ring: true,
    one_at_a_time: true,
    ..Mode::new(
        "managed",
        "recv_from_managed: a buffer of the runtime's pool for each receive, and a copy; with --batch 1",
    )
};

/// A receive that stays armed.
const MULTI: Mode = Mode {
    since: Some("6.0"),
    has_buffer_ring: true,
    ..Mode::new("multi", "recv_from_multi: one receive stays armed, with buffers as managed has them")
};

const SETUP: Dimension = Dimension::both("setup", &[DEFAULT, DEFER]);

const DEFAULT: Mode = Mode::new("default", "a ring as compio makes it: completions interrupt the thread");

const DEFER: Mode =
    Mode { since: Some("6.1"), ..Mode::new("defer", "single_issuer and defer_taskrun of compio's ProactorBuilder") };

/// A receive that is made anew keeps its buffer until its socket has a datagram.
const MANY_BUFFERS: Rule = Rule {
    wanted_by: &[Want::Sockets, Want::Mode(TASKS), Want::Mode(ONE_TASK)],
    able: &[MULTI],
    others_have: "one receive in flight",
};

/// How long a call that should not wait does: compio enters the kernel to wait only.
const GLANCE: Duration = Duration::from_micros(500);

/// Entries of its ring, as compio has them.
const ENTRIES: u32 = 1024;

/// Bytes that the kernel puts in front of a payload with an address, in a buffer of the pool.
const MESSAGE_HEADER: usize = 192;

/// compio's runtime. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Proactor(compio::runtime::Runtime);

impl Runtime for Proactor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

impl Proactor {
    fn new(config: &Config, frame_size: usize) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Failed { call: "starting compio's runtime", error };
        let mut proactor = ProactorBuilder::new();
        proactor.capacity(ENTRIES);
        if config.variant.has(DEFER) {
            proactor.single_issuer(true).defer_taskrun(true);
        }
        if config.variant.has_buffer_ring() {
            let buffers = u16::try_from(config.buffers).ok().filter(|buffers| buffers.is_power_of_two());
            let refused = OpenError::Impossible("a ring of buffers has a power of two of them, up to 32,768");
            proactor.buffer_pool_size(buffers.and_then(NonZero::new).ok_or(refused)?);
            proactor.buffer_pool_buffer_len(frame_size + MESSAGE_HEADER);
        }
        let runtime = RuntimeBuilder::new().with_proactor(proactor).build().map_err(failed)?;
        if !runtime.driver_type().is_iouring() {
            return Err(OpenError::Impossible("compio does not use io_uring here; see `hpbench doctor` why"));
        }
        Ok(Self(runtime))
    }
}

/// Whether this kernel can cancel all operations on a descriptor.
fn probe_cancel() -> Result<(), OpenError> {
    let failed = |error| OpenError::Failed { call: "cancelling nothing", error };
    let socket = backend::throwaway_socket()?;
    let mut ring = IoUring::new(2).map_err(failed)?;
    let entry = CancelAll(socket.raw()).entry();
    // SAFETY: the entry points to nothing.
    unsafe { ring.submission().push(&entry) }.map_err(|_| failed(io::ErrorKind::ResourceBusy.into()))?;
    ring.submit_and_wait(1).map_err(failed)?;
    let result = ring.completion().next().map_or(0, |completion| completion.result());
    if result == -libc::EINVAL {
        let feature = "cancellation of all requests of a descriptor (IORING_ASYNC_CANCEL_ALL)";
        return Err(OpenError::Missing { feature, since: "5.19" });
    }
    Ok(())
}

/// The `compio` backend.
#[derive(Debug)]
pub struct Compio<'p> {
    // Dropped before the runtime.
    flight: Flight<'p>,
    /// What receives into buffers of the runtime's pool.
    pumps: Option<Pumps>,
    tick: Tick,
    /// Ends what is not to wait.
    glance: Tick,
    waits: bool,
    defers: bool,
    proactor: Proactor,
    /// The runtime's descriptors.
    fds: Box<[RawFd]>,
    batch: usize,
    payload_at: usize,
    in_effect: String,
}

impl<'p> AsyncBackend<'p> for Compio<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    type Runtime = Proactor;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        Proactor::new(config, 64)?;
        probe_cancel()?;
        Ok(Caps { in_effect: in_effect(config) })
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let sockets = port.non_blocking_sockets(config, pool)?;
        let failed = |error| OpenError::Failed { call: "handing a socket over to compio", error };
        let proactor = Proactor::new(config, pool.frame_size())?;
        // io_uring only waits for descriptors that may block.
        let own =
            sockets.iter().map(|socket| socket.duplicate_blocking()).collect::<io::Result<Vec<_>>>().map_err(failed)?;
        let fds = own.iter().map(AsRawFd::as_raw_fd).collect();
        let adopt = || own.into_iter().map(UdpSocket::from_std).collect::<io::Result<Rc<[_]>>>();
        let own = proactor.0.enter(adopt).map_err(failed)?;
        let is_connected = config.addressing == Addressing::Connected;
        let pumps = config.variant.has_buffer_ring().then(|| Pumps::new(config, Rc::clone(&own)));
        if !config.variant.finds_sockets() {
            sockets.only()?;
        }
        let slots = (receiver(own[0].clone(), is_connected), sender(own));
        let payload_at = if is_connected { 0 } else { PAYLOAD_AT };
        let originals: Box<[Arc<Socket>]> = sockets.iter().map(Arc::clone).collect();
        Ok(Self {
            flight: Flight::new(slots, originals, payload_at, config.copies, pool),
            pumps,
            tick: Tick::every(config.block).map_err(failed)?,
            glance: Tick::every(None).map_err(failed)?,
            waits: config.block.is_some(),
            defers: config.variant.has(DEFER),
            proactor,
            fds,
            batch: config.batch,
            payload_at,
            in_effect: in_effect(config),
        })
    }

    fn runtime(&self) -> Proactor {
        self.proactor.clone()
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.glance.set()?;
        self.receive(false, free, rx).await
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(true, free, rx).await
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        if self.waits {
            return self.flight.send(self.batch, (&self.tick, 2), tx, free).await;
        }
        self.glance.set()?;
        self.flight.send(self.batch, (&self.glance, 1), tx, free).await
    }

    fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        // A ring that defers its work takes datagrams only when the runtime enters the kernel.
        if self.defers {
            let Some(pumps) = &mut self.pumps else { return Ok(0) };
            self.proactor.clone().block_on(pumps.take_rest());
            return self.collect(usize::MAX, free, rx);
        }
        if let Some(pumps) = &mut self.pumps {
            self.proactor.clone().block_on(pumps.stop(&self.fds, &self.glance))?;
            return self.collect(usize::MAX, free, rx);
        }
        if self.flight.receiving.is_idle() {
            return Ok(0);
        }
        let done = self.proactor.clone().block_on(cancelled(&self.fds, &mut self.flight.receiving));
        self.flight.deliver(done, free, rx)
    }

    fn counters(&self) -> Counters {
        self.flight.counters
    }

    fn in_effect(&self) -> String {
        self.in_effect.clone()
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        let Self { flight, mut pumps, glance, proactor, fds, .. } = self;
        let stopped = pumps.as_mut().map_or(Ok(()), |pumps| proactor.block_on(pumps.stop(&fds, &glance)));
        let closed = flight.close(|slot| proactor.block_on(cancelled(&fds, slot)), free);
        stopped.and(closed)
    }
}

impl<'p> Compio<'p> {
    async fn receive(&mut self, waits: bool, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let tick = if waits { &self.tick } else { &self.glance };
        let Some(pumps) = &mut self.pumps else { return self.flight.receive(tick, free, rx).await };
        pumps.open(self.batch.min(free.len()));
        poll_fn(|cx| match pumps.poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => tick.poll_tick(cx),
        })
        .await;
        self.collect(self.batch, free, rx)
    }

    /// Copies what has come into frames, at most so many datagrams, and delivers them.
    fn collect(&mut self, most: usize, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Self { flight, pumps, payload_at, .. } = self;
        let Some(pumps) = pumps else { return Ok(0) };
        pumps.inbox.shut();
        let (mut came, mut result) = (0, Ok(()));
        while came < most {
            let Some((socket, arrival)) = pumps.inbox.pop() else { break };
            let (received, address) = match arrival {
                Ok(arrival) => arrival,
                // compio's own words for ENOBUFS.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    flight.counters.rearms.no_buffers += 1;
                    continue;
                }
                Err(error) => {
                    let noted = flight.note_failed_receive(socket, error);
                    if result.is_ok() {
                        result = noted;
                    }
                    continue;
                }
            };
            let Some(mut frame) = free.take() else {
                pumps.inbox.put_back((socket, Ok((received, address))));
                break;
            };
            if let Some(address) = address {
                Address::new(address).write(&mut frame);
            }
            let bytes = received.bytes();
            flight.counters.rearms.empty_datagram += u64::from(bytes.is_empty() && pumps.stay_armed());
            let room = &mut frame.bytes_mut()[*payload_at..];
            let len = bytes.len().min(room.len());
            room[..len].copy_from_slice(&bytes[..len]);
            rx.set_socket(socket as u16);
            rx.deliver_behind(*payload_at, frame, bytes.len(), &mut flight.counters.truncated, free);
            flight.counters.rx_syscalls += 1;
            came += 1;
        }
        rx.publish();
        result.map(|()| came)
    }
}

/// Entries and flags of its ring.
fn in_effect(config: &Config) -> String {
    let flags = if config.variant.has(DEFER) { "SINGLE_ISSUER|DEFER_TASKRUN " } else { "" };
    format!("{flags}entries={ENTRIES}")
}

fn receiver(socket: UdpSocket, is_connected: bool) -> Slot {
    if is_connected {
        return Slot::new(move |frame, _| {
            let socket = socket.clone();
            async move {
                let BufResult(outcome, frame) = socket.recv(frame).await;
                (of_len(outcome), frame)
            }
        });
    }
    Slot::new(move |frame, _| {
        let socket = socket.clone();
        async move {
            let BufResult(outcome, frame) = socket.recv_from(frame).await;
            (outcome.map(|(len, address)| (len, Some(address))), frame)
        }
    })
}

fn sender(sockets: Rc<[UdpSocket]>) -> Slot {
    Slot::new(move |frame, route: Route| {
        let socket = sockets[route.socket].clone();
        async move {
            let BufResult(outcome, frame) = match route.to {
                None => socket.send(frame).await,
                Some(to) => socket.send_to(frame, to).await,
            };
            (of_len(outcome), frame)
        }
    })
}

/// A datagram in a buffer of the runtime's pool.
enum Received {
    /// It is empty, which a TCP socket's end is, too; compio returns no buffer for that.
    Empty,
    Buffer(BufferRef),
    Message(RecvFromMultiResult),
}

impl Received {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Buffer(buffer) => buffer,
            Self::Message(message) => message.data(),
        }
    }
}

type Arrival = io::Result<(Received, Option<SocketAddr>)>;

/// What receives into buffers of the runtime's pool: a future for each socket.
#[derive(Debug)]
struct Pumps {
    crowd: Option<Crowd>,
    plan: Plan,
    inbox: Inbox<Arrival>,
    /// How many of the futures have not ended.
    running: Rc<Cell<usize>>,
}

/// What the futures are made of.
#[derive(Debug)]
struct Plan {
    config: Config,
    sockets: Rc<[UdpSocket]>,
}

impl Pumps {
    fn new(config: &Config, sockets: Rc<[UdpSocket]>) -> Self {
        let plan = Plan { config: config.clone(), sockets };
        Self { crowd: None, plan, inbox: Inbox::new(), running: Rc::default() }
    }

    /// Whether one receive brings many datagrams; an empty one ends it.
    fn stay_armed(&self) -> bool {
        self.plan.config.variant.has(MULTI)
    }

    /// Begins a call that takes so many datagrams. Called within the runtime.
    fn open(&mut self, room: usize) {
        self.inbox.open(room);
        let Self { crowd, plan, inbox, running } = self;
        crowd.get_or_insert_with(|| {
            running.set(plan.sockets.len());
            let pump = |(number, socket): (usize, &UdpSocket)| -> Task {
                let pump = Pump {
                    socket: socket.clone(),
                    number,
                    has_addresses: plan.config.addressing == Addressing::Unconnected,
                    inbox: inbox.clone(),
                };
                let ended = inbox.clone();
                let (running, stays_armed) = (Rc::clone(running), plan.config.variant.has(MULTI));
                Box::pin(async move {
                    match stays_armed {
                        true => pump.receive_multi().await,
                        false => pump.receive_managed().await,
                    }
                    running.set(running.get() - 1);
                    ended.wake_driver();
                })
            };
            let spawn = |task| compio::runtime::spawn(task).detach();
            Crowd::new(&plan.config, plan.sockets.iter().enumerate().map(pump), spawn)
        });
    }

    /// Ready if something has come; lets the futures in the loop's task receive.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(crowd) = &mut self.crowd {
            crowd.poll(cx);
        }
        self.inbox.poll_full(cx)
    }

    /// As [`Pumps::poll`], once.
    async fn run(&mut self) {
        poll_fn(|cx| {
            let _ = self.poll(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Puts into the inbox what the runtime has taken from the sockets, and no call had room for.
    async fn take_rest(&mut self) {
        if self.crowd.is_none() {
            return;
        }
        self.inbox.open(usize::MAX);
        self.run().await;
        if let Some(Crowd::Spawned) = self.crowd {
            look().await;
        }
    }

    /// Ends all futures; what they had received is in the inbox.
    async fn stop(&mut self, fds: &[RawFd], glance: &Tick) -> io::Result<()> {
        if self.crowd.is_none() {
            return Ok(());
        }
        self.inbox.stop(true);
        while self.running.get() > 0 {
            cancel_all(fds).await;
            // A ring that defers its work completes what was cancelled in a wait only.
            glance.set()?;
            poll_fn(|cx| {
                let _ = self.poll(cx);
                if self.running.get() == 0 { Poll::Ready(()) } else { glance.poll_tick(cx) }
            })
            .await;
        }
        self.inbox.stop(false);
        self.crowd = None;
        Ok(())
    }
}

/// What receives from one socket.
struct Pump {
    socket: UdpSocket,
    number: usize,
    has_addresses: bool,
    inbox: Inbox<Arrival>,
}

impl Pump {
    async fn receive_managed(self) {
        let turn = Turn::default();
        loop {
            poll_fn(|cx| self.inbox.poll_room(&turn, cx)).await;
            let received = match self.has_addresses {
                false => {
                    let received = self.inbox.receive(self.socket.recv_managed(0)).await;
                    received.map(|buffer| buffer.map(|buffer| (buffer, None)))
                }
                true => {
                    let received = self.inbox.receive(self.socket.recv_from_managed(0)).await;
                    received.map(|received| received.map(|(buffer, address)| (buffer, Some(address))))
                }
            };
            let arrival = received.map(|received| match received {
                Some((buffer, address)) => (Received::Buffer(buffer), address),
                None => (Received::Empty, None),
            });
            if self.is_over(&turn, arrival) {
                return;
            }
        }
    }

    async fn receive_multi(self) {
        let turn = Turn::default();
        if self.has_addresses {
            let mut stream = pin!(self.socket.recv_from_multi());
            loop {
                poll_fn(|cx| self.inbox.poll_room(&turn, cx)).await;
                let Some(received) = self.inbox.receive(stream.next()).await else { continue };
                let arrival = received.map(|message| {
                    let address = message.addr().and_then(|address| address.as_socket());
                    (Received::Message(message), address)
                });
                if self.is_over(&turn, arrival) {
                    return;
                }
            }
        }
        let mut stream = pin!(self.socket.recv_multi(0));
        loop {
            poll_fn(|cx| self.inbox.poll_room(&turn, cx)).await;
            // The stream ends at a datagram that is empty, and goes on if it is asked again.
            let received = self.inbox.receive(stream.next()).await.transpose();
            let arrival = received.map(|buffer| (buffer.map_or(Received::Empty, Received::Buffer), None));
            if self.is_over(&turn, arrival) {
                return;
            }
        }
    }

    /// Puts what has come; whether it is the end, because the receive was cancelled, or is to be and is not in flight.
    fn is_over(&self, turn: &Turn, arrival: Arrival) -> bool {
        if arrival.as_ref().is_err_and(is_cancelled) {
            return true;
        }
        let is_over = arrival.is_err() && self.inbox.is_stopped();
        self.inbox.put(turn, self.number, arrival);
        is_over
    }
}

/// Ends waits: a timer that the runtime polls.
#[derive(Debug)]
struct Tick {
    timer: Rc<Timer>,
    ready: PollFd<Rc<Timer>>,
}

impl Tick {
    /// One that goes off every `period`; one that is set for each wait if there is none.
    fn every(period: Option<Duration>) -> io::Result<Self> {
        let timer =
            Rc::new(period.map_or_else(Timer::idle, |period| Timer::every(period.max(Duration::from_micros(1))))?);
        Ok(Self { ready: PollFd::new(Rc::clone(&timer))?, timer })
    }

    /// Ends a wait that begins now before long.
    fn set(&self) -> io::Result<()> {
        self.timer.set_once(GLANCE)
    }
}

impl Ticking for Tick {
    fn poll_tick(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.ready.poll_read_ready(cx).map(|_| {
            // It has gone off, so this finds something.
            let _ = self.timer.take();
        })
    }
}

/// Has the runtime look at its ring once, without waiting.
async fn look() {
    let mut has_looked = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_looked, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Cancels what is in flight on the descriptors, and awaits the end of one of these operations: it may have been faster.
async fn cancelled(fds: &[RawFd], slot: &mut Slot) -> Done {
    cancel_all(fds).await;
    poll_fn(|cx| slot.poll(cx)).await
}

/// Cancels what is in flight on the descriptors.
async fn cancel_all(fds: &[RawFd]) {
    let cancels: FuturesUnordered<_> = fds.iter().map(|&fd| compio::runtime::submit(CancelAll(fd))).collect();
    cancels.for_each(|BufResult(_, _)| future::ready(())).await;
}

/// Cancels all operations on a descriptor (Linux 5.19). The runtime's own way to cancel is to drop the future; what the operation has
/// received meanwhile is then lost.
#[derive(Debug)]
struct CancelAll(RawFd);

impl CancelAll {
    fn entry(&self) -> io_uring::squeue::Entry {
        opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fd(self.0)).all()).build()
    }
}

// SAFETY: the entry points to nothing.
unsafe impl OpCode for CancelAll {
    type Control = ();

    fn create_entry(&mut self, _: &mut ()) -> OpEntry {
        self.entry().into()
    }
}

impl IoBuf for Owned {
    fn as_init(&self) -> &[u8] {
        self.content()
    }
}

impl SetLen for Owned {
    unsafe fn set_len(&mut self, len: usize) {
        Owned::set_len(self, len);
    }
}

impl IoBufMut for Owned {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: bytes that are initialised may be seen as those that may not be; nothing writes uninitialised ones, as the
        // kernel writes whole bytes.
        unsafe { &mut *(std::ptr::from_mut(self.room()) as *mut [MaybeUninit<u8>]) }
    }
}
