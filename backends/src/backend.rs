//! The contract between the driver and a way of moving datagrams.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::declaration::{Kind, Mode};
use crate::frames::address::HEADROOM;
use crate::frames::packet::{Packet, RxRing, SOCKETS_MAX};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::{Consumer, Producer, ring};
use crate::kernel::errno::{self, Verdict};
use crate::kernel::setup::{Refused, refused};
use crate::kernel::socket::Socket;
use crate::variant::{Addressing, Variant};

/// The most bytes in a train: the length field of a UDP header holds no more.
const TRAIN_MAX: usize = 65_535;

/// A way of moving datagrams between a UDP socket and the rings.
///
/// A backend moves datagrams and counts its own system calls and events. It reads no clock, keeps no
/// statistics and judges nothing: the driver and the app do that, once, for all backends. It belongs
/// to the thread that opened it.
///
/// `tests/conformance.rs` is the contract in executable form: it runs for every backend. To add one, write a
/// file like `plain.rs` that declares what it is and its modes, add a line to the list in `dispatch.rs`, and a line
/// for each mode to the list in `tests/conformance.rs`, which fails where one is missing.
pub trait Backend<'p>: Sized {
    /// Which backend this is, and its declaration.
    const KIND: Kind;

    /// Whether this kernel can run `config`, determined by trying it on throwaway objects.
    ///
    /// # Errors
    ///
    /// What is missing, which kernel release brought it, and the remedy.
    fn probe(config: &Config) -> Result<Caps, OpenError>;

    /// Opens the backend on `port`. Called on the worker's pinned thread. Takes no frames yet: those
    /// come with the first [`Backend::rx`].
    ///
    /// # Errors
    ///
    /// As [`Backend::probe`]. A backend never becomes another one quietly.
    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError>;

    /// Receives at most one batch without blocking, into frames from `free`, onto `rx`. Returns how
    /// many datagrams were received; `Ok(0)` means that none was there (or that no frame is free). With several sockets,
    /// the batch is the total, and none of them is left out for good while others have datagrams.
    /// Datagrams that the ring cannot hold are dropped, and counted by [`RxRing::deliver`].
    ///
    /// # Errors
    ///
    /// Only errors that make continuing pointless. Transient errors (`ECONNREFUSED`, …) are counted in
    /// [`Counters::io_errors`].
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize>;

    /// As [`Backend::rx`], but if nothing is there yet, waits in the kernel until something arrives, for at most
    /// [`Config::block`]. Called only if that is set. `Ok(0)` means that nothing arrived.
    ///
    /// # Errors
    ///
    /// As [`Backend::rx`].
    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize>;

    /// Sends at most one batch from `tx` without blocking, and returns how many datagrams the kernel
    /// took. The rest stays queued, in order. Finished frames go to `free`.
    ///
    /// The requests of one batch may be independent of each other (io_uring's SENDs are): if one is refused
    /// while a later one is taken, the later datagram overtakes it. Linking them would keep the order, at a
    /// cost that programs which use io_uring for its speed avoid.
    ///
    /// # Errors
    ///
    /// As [`Backend::rx`].
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize>;

    /// Stops everything that would take datagrams from the socket without a call to [`Backend::rx`];
    /// the next `rx` starts it again. Datagrams taken before that go onto `rx`. Most backends have
    /// nothing to stop.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    fn quiesce(&mut self, _free: &mut FreeList<'p>, _rx: &mut RxRing<'p>) -> io::Result<usize> {
        Ok(0)
    }

    /// What happened so far.
    fn counters(&self) -> Counters;

    /// What took effect if the kernel had a choice, e.g. the flags of an io_uring; else empty.
    fn in_effect(&self) -> String {
        String::new()
    }

    /// Closes the backend. Every frame returns to the pool, even after an error, unless the kernel may still use it.
    /// Such a frame is lost for good, and its pool's memory stays mapped, so that the kernel writes to nothing else.
    ///
    /// # Errors
    ///
    /// The kernel's error from the clean-up; `ResourceBusy` if the kernel still holds frames. It may then also use
    /// packets that are still on the TX ring, so those must not be reused either.
    fn close(self, free: &mut FreeList<'p>) -> io::Result<()>;
}

/// What a backend is opened with.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the backend does its work.
    pub variant: Variant,
    /// Datagrams per call of `rx` or `tx`: 1 to [`Config::BATCH_MAX`].
    pub batch: usize,
    /// Whether the socket knows its peer.
    pub addressing: Addressing,
    /// Entries of io_uring's buffer ring: a power of two up to 32,768.
    pub buffers: usize,
    /// The core of the kernel's thread in the setup `sqpoll`; `None` leaves it to the scheduler.
    pub kernel_core: Option<usize>,
    /// How long [`Backend::rx_wait`] waits at most; `None` if it will not be called.
    pub block: Option<Duration>,
    /// For how many completions at once [`Backend::rx_wait`] waits, and how long for them; `None` if it waits for the first one.
    pub min_wait: Option<MinWait>,
    /// How often each packet is sent, at least once. It stays where it is until all of its copies are done, so none of them is a
    /// copy in memory. `batch` counts copies.
    pub copies: usize,
}

/// A wait for many: it ends when `count` are there, or after `within` if there is one; else with the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MinWait {
    /// How many completions are waited for.
    pub count: u32,
    /// For how long, in microseconds.
    pub within_us: u32,
}

impl Config {
    /// The largest batch: the kernel limits `recvmmsg` and `sendmmsg` to this (`UIO_MAXIOV`).
    pub const BATCH_MAX: usize = 1024;

    /// The default of [`Config::buffers`].
    pub const BUFFERS: usize = 512;

    /// A configuration of `kind` in its default variant.
    pub fn new(kind: Kind, batch: usize) -> Self {
        Self::of(Variant::default_of(kind), batch)
    }

    /// A configuration of a variant, for connected sockets.
    pub fn of(variant: Variant, batch: usize) -> Self {
        let (addressing, buffers) = (Addressing::Connected, Self::BUFFERS);
        Self { variant, batch, addressing, buffers, kernel_core: None, block: None, min_wait: None, copies: 1 }
    }

    /// Bytes that a frame needs for a datagram of `payload` bytes, including those in front of it; if trains
    /// are received, for the longest of them.
    pub fn frame_size(&self, payload: usize) -> usize {
        self.headroom() + if self.variant.has(Mode::GRO) { TRAIN_MAX } else { payload }
    }

    /// The most bytes in front of a payload.
    pub fn headroom(&self) -> usize {
        let has_any = self.addressing == Addressing::Unconnected || self.variant.has_header();
        if has_any { HEADROOM } else { 0 }
    }
}

/// What a backend moves datagrams to and from.
#[derive(Debug)]
pub enum Port<'p> {
    /// A datagram socket.
    Socket(Arc<Socket>),
    /// Several datagram sockets, at most [`SOCKETS_MAX`]. [`Packet::socket`] is the place in this list of the one that a
    /// packet came by, or goes out of. `batch` is the total of a call, which visits one socket after the other.
    Sockets(Vec<Arc<Socket>>),
    /// An end of a link in memory, for the backend that needs no kernel.
    Memory(MemoryPort<'p>),
}

/// One end of a link in memory.
#[derive(Debug)]
pub struct MemoryPort<'p> {
    pub(crate) inbound: Consumer<Packet<'p>>,
    pub(crate) outbound: Producer<Packet<'p>>,
}

impl<'p> MemoryPort<'p> {
    /// Both ends of a link that holds `capacity` packets each way, rounded up to a power of two.
    pub fn pair(capacity: usize) -> (Self, Self) {
        let (there, from_there) = ring(capacity);
        let (back, from_back) = ring(capacity);
        (Self { inbound: from_back, outbound: there }, Self { inbound: from_there, outbound: back })
    }
}

impl Port<'_> {
    /// The socket of a backend that serves one, set up as `config` says; frames must be large enough.
    ///
    /// # Errors
    ///
    /// Why it cannot serve this port, or what the kernel refuses.
    pub fn socket(self, config: &Config, pool: &Pool) -> Result<Arc<Socket>, OpenError> {
        self.non_blocking_sockets(config, pool)?.only().map(Arc::clone)
    }

    /// The sockets, at least one, set up as `config` says; frames must be large enough.
    pub(crate) fn sockets(self, config: &Config, pool: &Pool) -> Result<Sockets, OpenError> {
        let sockets = self.non_blocking_sockets(config, pool)?;
        if let Some(timeout) = config.block {
            let failed = |error| OpenError::Failed { call: "making a socket wait", error };
            // Those of several sockets are never waited for one by one.
            if let [socket] = &sockets.all[..] {
                socket.set_blocking(timeout).map_err(failed)?;
            }
        }
        Ok(sockets)
    }

    /// As [`Port::sockets`], of which none waits.
    pub(crate) fn non_blocking_sockets(self, config: &Config, pool: &Pool) -> Result<Sockets, OpenError> {
        let sockets = match self {
            Self::Socket(socket) => vec![socket],
            Self::Sockets(sockets) => sockets,
            Self::Memory(_) => return Err(OpenError::WrongPort(config.variant.kind())),
        };
        if sockets.is_empty() || sockets.len() > SOCKETS_MAX {
            return Err(OpenError::Impossible("a backend has at least one socket, and at most 32,768"));
        }
        if config.copies == 0 {
            return Err(OpenError::Impossible("each packet is sent at least once"));
        }
        let needed = config.headroom() + 1;
        if pool.frame_size() < needed {
            return Err(OpenError::SmallFrames { size: pool.frame_size(), needed });
        }
        for socket in &sockets {
            set_segmentation(config, socket)?;
        }
        Ok(Sockets::of(sockets))
    }
}

/// The sockets of a backend: at least one.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    all: Box<[Arc<Socket>]>,
    /// Their descriptors. With many sockets, the way through each one's own memory is a cache miss per receive.
    raw: Box<[RawFd]>,
}

impl Sockets {
    fn of(all: Vec<Arc<Socket>>) -> Self {
        Self { raw: all.iter().map(|socket| socket.raw()).collect(), all: all.into_boxed_slice() }
    }

    /// The first one, which is the only one of most backends.
    pub(crate) fn first(&self) -> &Arc<Socket> {
        &self.all[0]
    }

    /// The only one, for what serves no more.
    ///
    /// # Errors
    ///
    /// [`OpenError::Impossible`] if there are several.
    pub(crate) fn only(&self) -> Result<&Arc<Socket>, OpenError> {
        match &self.all[..] {
            [socket] => Ok(socket),
            _ => Err(OpenError::Impossible("this way to receive is for one socket; use another one for several")),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them.
    #[cfg(feature = "runtimes")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Socket>> {
        self.all.iter()
    }

    /// The descriptor of the socket with this number.
    #[inline(always)]
    pub(crate) fn raw(&self, number: usize) -> RawFd {
        self.raw[number]
    }

    /// All descriptors.
    pub(crate) fn descriptors(&self) -> &[RawFd] {
        &self.raw
    }
}

/// Whether this kernel has the segmentation that `config` wants.
pub(crate) fn probe_segmentation(config: &Config) -> Result<Caps, OpenError> {
    set_segmentation(config, &throwaway_socket()?)?;
    Ok(Caps::default())
}

pub(crate) fn throwaway_socket() -> Result<Socket, OpenError> {
    let failed = |error| OpenError::Failed { call: "binding a throwaway socket", error };
    Socket::bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).map_err(failed)
}

/// Turns on the segmentation that the variant uses.
fn set_segmentation(config: &Config, socket: &Socket) -> Result<(), OpenError> {
    let missing = |error: io::Error, call, feature, mode: Mode| match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => OpenError::Missing { feature, since: mode.since.unwrap_or_default() },
        _ => OpenError::Failed { call, error },
    };
    if config.variant.has(Mode::GSO) {
        // Each train states its size; 0 changes nothing.
        let asked = socket.set_segment(0);
        asked.map_err(|error| missing(error, "setting UDP_SEGMENT", "GSO for UDP (UDP_SEGMENT)", Mode::GSO))?;
    }
    if config.variant.has(Mode::GRO) {
        let asked = socket.receive_trains();
        asked.map_err(|error| missing(error, "setting UDP_GRO", "GRO for UDP (UDP_GRO)", Mode::GRO))?;
    }
    Ok(())
}

/// What a kernel offers to a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// What would take effect, as in [`Backend::in_effect`].
    pub in_effect: String,
}

/// Why a backend cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel is too old, or was built without it.
    #[error("this kernel has no {feature} (Linux {since} brought it); use a newer kernel or another backend")]
    Missing {
        /// What is missing.
        feature: &'static str,
        /// The release that brought it.
        since: &'static str,
    },
    /// It is forbidden.
    #[error("{what} is refused here ({error}); {remedy}")]
    Refused {
        /// What is refused.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
        /// What can be done.
        remedy: &'static str,
    },
    /// A filter, a limit or a sysctl forbids io_uring as such.
    #[error("io_uring is refused here: {why}; {remedy}")]
    Denied {
        /// The kernel's answer.
        error: io::Error,
        /// What forbids it, with the kernel's answer.
        why: String,
        /// What can be done.
        remedy: String,
    },
    /// The configuration contradicts itself.
    #[error("{0}")]
    Impossible(&'static str),
    /// Any other error.
    #[error("{call} failed: {error}")]
    Failed {
        /// What failed.
        call: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The frames are too small for what comes in front of a payload.
    #[error(
        "frames of {size} bytes have no room for what comes in front of a payload; this variant needs at least {needed}"
    )]
    SmallFrames {
        /// Bytes of a frame.
        size: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// The backend cannot work on this kind of port.
    #[error("the {0} backend cannot work on this kind of port")]
    WrongPort(Kind),
}

impl OpenError {
    /// Says what it means that a ring cannot be set up, by the call or the part of a library that does it.
    pub(crate) fn of_setup(call: &'static str, error: io::Error) -> Self {
        match refused(&error) {
            Some(Refused { why, remedy }) => Self::Denied { error, why, remedy },
            None => Self::Failed { call, error },
        }
    }
}

/// What happened in a backend, counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// System calls made by `rx` and `tx`.
    pub syscalls: u64,
    /// Those among them that returned at least one received datagram.
    pub rx_syscalls: u64,
    /// Datagrams longer than their frame; they are delivered cut short.
    pub truncated: u64,
    /// Sends deferred because the kernel had no room (`EAGAIN`, `ENOBUFS`): refused requests if a call
    /// carries several, otherwise refused calls.
    pub send_eagain: u64,
    /// Transient errors in either direction, e.g. `ECONNREFUSED` after an ICMP message.
    pub io_errors: u64,
    /// Re-arms of multishot receives, by cause.
    pub rearms: Rearms,
    /// Completions that io_uring could not put into the queue at once.
    pub cq_overflow: u64,
}

impl Counters {
    /// Counts a transient error of a call on this socket, e.g. of an ICMP message that came back, and
    /// empties the socket's error queue.
    #[cold]
    pub(crate) fn note_passing(&mut self, fd: RawFd) {
        self.io_errors += 1;
        errno::empty_queue(fd);
    }

    /// Counts a send on this socket that the kernel has refused.
    ///
    /// # Errors
    ///
    /// The refusal, if it makes continuing pointless.
    pub(crate) fn note_refused(&mut self, fd: RawFd, (verdict, error): (Verdict, io::Error)) -> io::Result<()> {
        match verdict {
            Verdict::Passing => self.note_passing(fd),
            Verdict::Again | Verdict::Interrupted => self.send_eagain += 1,
            Verdict::Fatal => return Err(error),
        }
        Ok(())
    }

    /// What happened since `before`.
    pub fn since(self, before: Self) -> Self {
        self.combine(before, |now, before| now - before)
    }

    /// The sum of what happened in this backend and in another one.
    pub fn and(self, other: Self) -> Self {
        self.combine(other, |own, others| own + others)
    }

    fn combine(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            syscalls: with(self.syscalls, other.syscalls),
            rx_syscalls: with(self.rx_syscalls, other.rx_syscalls),
            truncated: with(self.truncated, other.truncated),
            send_eagain: with(self.send_eagain, other.send_eagain),
            io_errors: with(self.io_errors, other.io_errors),
            rearms: Rearms {
                no_buffers: with(self.rearms.no_buffers, other.rearms.no_buffers),
                queue_full: with(self.rearms.queue_full, other.rearms.queue_full),
                empty_datagram: with(self.rearms.empty_datagram, other.rearms.empty_datagram),
                error: with(self.rearms.error, other.rearms.error),
            },
            cq_overflow: with(self.cq_overflow, other.cq_overflow),
        }
    }
}

/// Why a multishot receive ended and was armed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rearms {
    /// The buffers were used up (`ENOBUFS`); nothing is lost.
    pub no_buffers: u64,
    /// The completion queue was full; the last datagram is good.
    pub queue_full: u64,
    /// A datagram without payload ends a multishot receive.
    pub empty_datagram: u64,
    /// An error, e.g. `ECONNREFUSED`.
    pub error: u64,
}

impl Rearms {
    /// All causes together.
    pub fn total(&self) -> u64 {
        self.no_buffers + self.queue_full + self.empty_datagram + self.error
    }
}
