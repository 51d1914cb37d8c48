//! compio: a runtime on io_uring, whose operations own their buffers. One receive and one send are in flight at most.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use compio::BufResult;
use compio::buf::{IoBuf, IoBufMut, SetLen};
use compio::driver::{OpCode, OpEntry};
use compio::net::UdpSocket;
use compio::runtime::fd::PollFd;
use io_uring::{opcode, types};

use crate::backend::{self, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Declaration, Dimension, Kind, Mode};
use crate::frames::address::{Address, PAYLOAD_AT};
use crate::frames::owned::{Lender, Owned};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::errno::Verdict;
use crate::kernel::socket::Socket;
use crate::kernel::timer::Timer;
use crate::runtime::{AsyncBackend, Runtime};
use crate::runtimes::outcome::judge;
use crate::runtimes::slot::{Done, Slot};
use crate::variant::Addressing;

const DECLARATION: Declaration = Declaration {
    crates: &["compio", "compio-runtime", "compio-driver", "compio-net"],
    only_waits: Some("compio has no way to look without waiting"),
    owns_many_sockets: false,
    has_kernel_workers: true,
    ..Declaration::new("compio", "the runtime compio, on io_uring", &[RECEIVE])
};

const RECEIVE: Dimension = Dimension::receive(&[RECV]);

const RECV: Mode = Mode {
    one_at_a_time: true,
    ..Mode::new("recv", "recv_from and send_to of compio's UdpSocket, one at a time; with --batch 1")
};

/// compio's runtime. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Proactor(compio::runtime::Runtime);

impl Runtime for Proactor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

impl Proactor {
    fn new() -> Result<Self, OpenError> {
        let failed = |error| OpenError::Failed { call: "starting compio's runtime", error };
        let runtime = compio::runtime::Runtime::new().map_err(failed)?;
        if !runtime.driver_type().is_iouring() {
            return Err(OpenError::Impossible("compio does not use io_uring here; see `hpbench doctor` why"));
        }
        Ok(Self(runtime))
    }
}

/// The `compio` backend.
#[derive(Debug)]
pub struct Compio<'p> {
    // Dropped before the runtime.
    receiving: Slot,
    sending: Slot,
    tick: Option<Tick>,
    proactor: Proactor,
    /// hpbench's own descriptor.
    original: Arc<Socket>,
    /// That of the runtime.
    fd: RawFd,
    lender: Lender<'p>,
    /// A packet that was refused, to be sent next.
    refused: Option<Owned>,
    /// Where the last packet goes.
    to: Option<SocketAddr>,
    /// Where payloads begin in frames: behind the address of their sender, if they have one.
    payload_at: usize,
    counters: Counters,
}

impl<'p> AsyncBackend<'p> for Compio<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    type Runtime = Proactor;

    fn probe(_config: &Config) -> Result<Caps, OpenError> {
        Proactor::new()?;
        backend::throwaway_socket()?;
        Ok(Caps::default())
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let sockets = port.non_blocking_sockets(config, pool)?;
        let original = Arc::clone(sockets.only()?);
        let failed = |error| OpenError::Failed { call: "handing a socket over to compio", error };
        let proactor = Proactor::new()?;
        // io_uring only waits for descriptors that may block.
        let own = original.duplicate_blocking().map_err(failed)?;
        let fd = own.as_raw_fd();
        let socket = proactor.0.enter(|| UdpSocket::from_std(own)).map_err(failed)?;
        let is_connected = config.addressing == Addressing::Connected;
        let tick = config.block.map(Tick::every).transpose().map_err(failed)?;
        Ok(Self {
            receiving: receiver(socket.clone(), is_connected),
            sending: sender(socket),
            tick,
            proactor,
            original,
            fd,
            lender: Lender::new(pool),
            refused: None,
            to: None,
            payload_at: if is_connected { 0 } else { PAYLOAD_AT },
            counters: Counters::default(),
        })
    }

    fn runtime(&self) -> Proactor {
        self.proactor.clone()
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        // What is submitted is carried out when the runtime looks.
        for _ in 0..2 {
            if !self.begin_receive(free) {
                return Ok(0);
            }
            if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(self.receiving.poll(cx))).await {
                return self.deliver(done, free, rx);
            }
            look().await;
        }
        Ok(0)
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if !self.begin_receive(free) {
            return Ok(0);
        }
        let Self { receiving, tick, .. } = self;
        match poll_fn(|cx| within(receiving, tick.as_ref(), cx)).await {
            Some(done) => self.deliver(done, free, rx),
            None => Ok(0),
        }
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        if self.sending.is_idle() {
            let frame = match self.refused.take() {
                Some(refused) => refused,
                None => {
                    let Some(packet) = tx.pop() else { return Ok(0) };
                    tx.release();
                    let (at, len) = (self.payload_at, packet.len());
                    self.to = packet.address().filter(|_| at > 0);
                    self.lender.lend(packet.into_frame(), at, len)
                }
            };
            self.sending.start(frame, self.to);
        }
        let Self { sending, tick, .. } = self;
        let done = match tick {
            Some(tick) => poll_fn(|cx| within(sending, Some(tick), cx)).await,
            None => {
                let mut done = poll_fn(|cx| Poll::Ready(sending.poll(cx))).await;
                if done.is_pending() {
                    look().await;
                    done = poll_fn(|cx| Poll::Ready(sending.poll(cx))).await;
                }
                match done {
                    Poll::Ready(done) => Some(done),
                    Poll::Pending => None,
                }
            }
        };
        match done {
            Some((Ok(_), frame)) => {
                // SAFETY: it was lent above, or when the send began.
                free.give(unsafe { self.lender.take_back(frame) });
                Ok(1)
            }
            // With what was received, `quiesce` has cancelled it.
            Some((Err(error), frame)) if error.raw_os_error() == Some(libc::ECANCELED) => {
                self.refused = Some(frame);
                Ok(0)
            }
            Some((Err(error), frame)) => {
                self.refused = Some(frame);
                self.counters.note_refused(self.original.raw(), judge(error)).map(|()| 0)
            }
            // It is under way, and the next call goes on with it.
            None => Ok(0),
        }
    }

    fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if self.receiving.is_idle() {
            return Ok(0);
        }
        let Self { receiving, proactor, fd, .. } = self;
        let done = proactor.clone().block_on(cancelled(*fd, receiving));
        self.deliver(done, free, rx)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn close(mut self, free: &mut FreeList<'p>) -> io::Result<()> {
        let Self { receiving, sending, proactor, fd, lender, refused, .. } = &mut self;
        let mut home: Vec<Owned> = refused.take().into_iter().collect();
        for slot in [receiving, sending] {
            if !slot.is_idle() {
                home.push(proactor.block_on(cancelled(*fd, slot)).1);
            }
        }
        for frame in home {
            // SAFETY: all frames that the slots and `refused` had were lent by this lender.
            free.give(unsafe { lender.take_back(frame) });
        }
        if lender.is_whole() { Ok(()) } else { Err(io::ErrorKind::ResourceBusy.into()) }
    }
}

impl<'p> Compio<'p> {
    /// Whether a receive is in flight, if need be a new one.
    fn begin_receive(&mut self, free: &mut FreeList<'p>) -> bool {
        if self.receiving.is_idle() {
            let Some(frame) = free.take() else { return false };
            let frame = self.lender.lend(frame, self.payload_at, 0);
            self.receiving.start(frame, None);
        }
        true
    }

    /// Delivers what a receive returned.
    fn deliver(&mut self, done: Done, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let (outcome, frame) = done;
        // SAFETY: all frames of receives are lent by `begin_receive`.
        let mut frame = unsafe { self.lender.take_back(frame) };
        let error = match outcome {
            Ok((len, address)) => {
                if let Some(address) = address {
                    Address::new(address).write(&mut frame);
                }
                rx.deliver_behind(self.payload_at, frame, len, &mut self.counters.truncated, free);
                rx.publish();
                self.counters.rx_syscalls += 1;
                return Ok(1);
            }
            Err(error) => error,
        };
        free.give(frame);
        match judge(error) {
            (_, error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(0),
            (Verdict::Fatal, error) => Err(error),
            (Verdict::Passing, _) => {
                self.counters.note_passing(self.original.raw());
                Ok(0)
            }
            (Verdict::Again | Verdict::Interrupted, _) => Ok(0),
        }
    }
}

fn receiver(socket: UdpSocket, is_connected: bool) -> Slot {
    if is_connected {
        return Slot::new(move |frame, _| {
            let socket = socket.clone();
            async move {
                let BufResult(outcome, frame) = socket.recv(frame).await;
                (outcome.map(|len| (len, None)), frame)
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

fn sender(socket: UdpSocket) -> Slot {
    Slot::new(move |frame, to: Option<SocketAddr>| {
        let socket = socket.clone();
        async move {
            let BufResult(outcome, frame) = match to {
                None => socket.send(frame).await,
                Some(to) => socket.send_to(frame, to).await,
            };
            (outcome.map(|len| (len, None)), frame)
        }
    })
}

/// The end of an operation; or nothing, when the timer goes off.
fn within(slot: &mut Slot, tick: Option<&Tick>, cx: &mut Context<'_>) -> Poll<Option<Done>> {
    if let Poll::Ready(done) = slot.poll(cx) {
        return Poll::Ready(Some(done));
    }
    tick.map_or(Poll::Pending, |tick| tick.poll(cx).map(|()| None))
}

/// Ends waits: a timer that the runtime polls.
#[derive(Debug)]
struct Tick {
    timer: Rc<Timer>,
    ready: PollFd<Rc<Timer>>,
}

impl Tick {
    /// One that goes off every `period`.
    fn every(period: Duration) -> io::Result<Self> {
        let timer = Rc::new(Timer::every(period.max(Duration::from_micros(1)))?);
        Ok(Self { ready: PollFd::new(Rc::clone(&timer))?, timer })
    }

    /// Ready when it has gone off since the last time.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
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

/// Cancels what is in flight on a descriptor, and awaits the end of one of these operations: it may have been faster.
async fn cancelled(fd: RawFd, slot: &mut Slot) -> Done {
    let BufResult(_, _) = compio::runtime::submit(CancelAll(fd)).await;
    poll_fn(|cx| slot.poll(cx)).await
}

/// Cancels all operations on a descriptor (Linux 5.19). The runtime's own way to cancel is to drop the future; what the operation has
/// received meanwhile is then lost.
#[derive(Debug)]
struct CancelAll(RawFd);

// SAFETY: the entry points to nothing.
unsafe impl OpCode for CancelAll {
    type Control = ();

    fn create_entry(&mut self, _: &mut ()) -> OpEntry {
        opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fd(self.0)).all()).build().into()
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
