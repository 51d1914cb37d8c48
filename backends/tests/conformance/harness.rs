//! Shared by the cases: the backend under test, the ends of a link, and when a test may be skipped.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use hpbench_backends::uring::modes;
use hpbench_backends::{
    Address, Addressing, AsyncBackend, Caps, Choice, Config, Consumer, Counters, FreeList, Kind, MemoryPort, Mode,
    OpenError, Packet, Pool, Port, Producer, Runtime, RxRing, Socket, Variant, ring,
};

/// Where the tests' sockets are.
pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Slots of a lane's rings unless a case says otherwise.
const SLOTS: usize = 4096;

/// A backend without its type, so that a case is written and compiled once.
pub(crate) trait Mover<'p> {
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize>;
    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize>;
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize>;
    fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize>;
    fn counters(&self) -> Counters;
    fn close(self: Box<Self>, free: &mut FreeList<'p>) -> io::Result<()>;
}

/// Each call is a `block_on` of its own.
impl<'p, B: AsyncBackend<'p>> Mover<'p> for B {
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.runtime().block_on(AsyncBackend::rx(self, free, rx))
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.runtime().block_on(AsyncBackend::rx_wait(self, free, rx))
    }

    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        self.runtime().block_on(AsyncBackend::tx(self, tx, free))
    }

    fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        AsyncBackend::quiesce(self, free, rx)
    }

    fn counters(&self) -> Counters {
        AsyncBackend::counters(self)
    }

    fn close(self: Box<Self>, free: &mut FreeList<'p>) -> io::Result<()> {
        AsyncBackend::close(*self, free)
    }
}

pub(crate) type Opened<'p> = Result<Box<dyn Mover<'p> + 'p>, OpenError>;

pub(crate) fn open_as<'p, B: AsyncBackend<'p> + 'p>(config: &Config, port: Port<'p>, pool: &'p Pool) -> Opened<'p> {
    Ok(Box::new(B::open(config, port, pool)?))
}

/// The kind of port that a backend works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    Memory,
    Sockets,
}

/// A backend under test.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    /// As after `--backend KIND:`.
    pub(crate) modes: &'static str,
    pub(crate) addressing: Addressing,
    pub(crate) medium: Medium,
    pub(crate) probe: fn(&Config) -> Result<Caps, OpenError>,
    pub(crate) open: for<'p> fn(&Config, Port<'p>, &'p Pool) -> Opened<'p>,
}

/// The [`Subject`] of a backend's type, which is generic over the lifetime of its pool.
macro_rules! subject {
    ($($path:ident)::+, $medium:ident) => {
        $crate::suite::harness::subject!($($path)::+, $medium, "", Connected)
    };
    ($($path:ident)::+, $medium:ident, $modes:literal, $addressing:ident) => {{
        use hpbench_backends::{Addressing, AsyncBackend, Config, Pool, Port};
        use $crate::suite::harness::{Medium, Opened, Subject, open_as};
        type Tested<'p> = $($path)::+<'p>;
        fn open<'p>(config: &Config, port: Port<'p>, pool: &'p Pool) -> Opened<'p> {
            open_as::<Tested<'p>>(config, port, pool)
        }
        Subject {
            kind: <Tested<'static> as AsyncBackend<'static>>::KIND,
            modes: $modes,
            addressing: Addressing::$addressing,
            medium: Medium::$medium,
            probe: <Tested<'static> as AsyncBackend<'static>>::probe,
            open,
        }
    }};
}
pub(crate) use subject;

impl Subject {
    const PLAIN: Self = subject!(hpbench_backends::plain::Plain, Sockets);
    /// A backend that sends trains.
    pub(crate) const PLAIN_GSO: Self = subject!(hpbench_backends::plain::Plain, Sockets, "gso", Connected);
    const NULL: Self = subject!(hpbench_backends::null::Null, Memory);

    /// A configuration with `buffers` small enough for the pools of these tests.
    pub(crate) fn config(&self, batch: usize) -> Config {
        let config = Config { addressing: self.addressing, buffers: 64, ..Config::of(self.variant(), batch) };
        // The kernel thread shares no core with a test that spins.
        Config { kernel_core: None, ..config }
    }

    pub(crate) fn variant(&self) -> Variant {
        let choice = Choice::parse(self.kind, self.modes).expect("known modes");
        choice.resolve(self.addressing).expect("modes that go together")
    }

    pub(crate) fn has(&self, mode: Mode) -> bool {
        self.variant().has(mode)
    }

    /// Whether a kernel thread works for it, which runs only when it has a core.
    pub(crate) fn has_kernel_thread(&self) -> bool {
        self.variant().kernel_thread().is_some()
    }

    /// Whether it cannot wait in the kernel.
    pub(crate) fn never_waits(&self) -> bool {
        self.variant().never_waits().is_some()
    }

    /// Whether a runtime makes its calls.
    pub(crate) fn is_runtime(&self) -> bool {
        self.kind.is_runtime()
    }

    /// Whether a send waits in the kernel for room.
    pub(crate) fn sends_in_flight(&self) -> bool {
        self.kind.declaration().only_waits.is_some()
    }

    /// Whether another thread may find out which sockets are ready.
    pub(crate) fn shares_its_reactor(&self) -> bool {
        self.kind.declaration().shares_descriptors.is_some()
    }

    /// Whether it learns that a datagram was longer than its frame: those of this repository that make the system calls themselves.
    pub(crate) fn sees_cuts(&self) -> bool {
        Kind::ALL.contains(&self.kind) && (!self.is_runtime() || self.modes.starts_with("mmsg"))
    }

    /// Whether datagrams have addresses of their own.
    pub(crate) fn is_unconnected(&self) -> bool {
        self.addressing == Addressing::Unconnected
    }

    /// Whether it works on sockets other than those of UDP, which some cases need.
    pub(crate) fn is_bound_to_udp(&self) -> bool {
        self.is_unconnected() || self.has(Mode::GSO) || self.has(Mode::GRO) || self.has(modes::SEND_ZC)
    }

    /// Where in a frame a payload that was received begins.
    pub(crate) fn payload_at(&self) -> usize {
        let (address, control) = (28 * usize::from(self.is_unconnected()), 24 * usize::from(self.has(Mode::GRO)));
        match self.has(modes::RECVMSG_MULTISHOT) {
            true => 16 + address + control,
            false => 64 * usize::from(self.is_unconnected()),
        }
    }

    /// A pool with frames for payloads of this size.
    pub(crate) fn pool(&self, frames: usize, payload: usize) -> Pool {
        Pool::new(frames, payload + self.config(1).headroom()).expect("a pool")
    }

    /// Two UDP sockets with large enough buffers for these tests, for the backend under test and its peer.
    pub(crate) fn udp_pair(&self, ip: IpAddr) -> (Arc<Socket>, Arc<Socket>) {
        if !self.is_unconnected() {
            return udp_pair(ip);
        }
        let bind = || Socket::bind(SocketAddr::new(ip, 0)).expect("loopback has free ports");
        let (near, far) = (bind(), bind());
        far.connect(near.local_addr().expect("it is bound")).expect("a peer on loopback");
        for socket in [&near, &far] {
            socket.set_buffers(4 << 20, 4 << 20).expect("large buffers are granted up to the limit");
        }
        (Arc::new(near), Arc::new(far))
    }

    /// A socket for the backend under test, and one of `std` as its peer.
    pub(crate) fn peer_pair(&self) -> (Arc<Socket>, UdpSocket) {
        let near = Socket::bind(SocketAddr::new(LOCALHOST, 0)).expect("loopback has free ports");
        near.set_buffers(4 << 20, 4 << 20).expect("large buffers are granted up to the limit");
        let far = stranger();
        if !self.is_unconnected() {
            near.connect(far.local_addr().expect("it is bound")).expect("a peer on loopback");
        }
        far.connect(near.local_addr().expect("it is bound")).expect("a peer on loopback");
        (Arc::new(near), far)
    }

    /// Whether datagrams overtake one of their batch that the kernel refuses, if it takes later ones.
    /// A loop of sends and `sendmmsg` stop at the first refusal; the SEND requests of io_uring are
    /// independent of each other. (Linked ones are not, and cost 5 to 20% more.)
    pub(crate) fn refused_are_overtaken(&self) -> bool {
        self.kind.declaration().has_independent_sends
    }

    /// The simplest backend that can be the peer.
    pub(crate) fn far(&self) -> Self {
        match self.medium {
            Medium::Memory => Self::NULL,
            Medium::Sockets => Self::PLAIN,
        }
    }

    /// Both ends of a link on loopback or, for a backend without a socket, in memory.
    pub(crate) fn ports<'p>(&self) -> (Port<'p>, Port<'p>) {
        match self.medium {
            Medium::Memory => memory_ports(SLOTS),
            Medium::Sockets => {
                let (near, far) = self.udp_pair(LOCALHOST);
                (Port::Socket(near), Port::Socket(far))
            }
        }
    }
}

pub(crate) fn memory_ports<'p>(slots: usize) -> (Port<'p>, Port<'p>) {
    let (near, far) = MemoryPort::pair(slots);
    (Port::Memory(near), Port::Memory(far))
}

/// Tests that look at the whole process (its descriptors) run alone; all others run in parallel.
static CROWD: RwLock<()> = RwLock::new(());

/// Runs a case in parallel with others, if the backend can run here.
pub(crate) fn run(subject: Subject, case: fn(Subject)) {
    let _crowd = CROWD.read().unwrap_or_else(PoisonError::into_inner);
    run_if_it_can(subject, case);
}

/// Runs a case while no other case runs in this process, if the backend can run here.
pub(crate) fn run_alone(subject: Subject, case: fn(Subject)) {
    let _alone = CROWD.write().unwrap_or_else(PoisonError::into_inner);
    run_if_it_can(subject, case);
}

fn run_if_it_can(subject: Subject, case: fn(Subject)) {
    match (subject.probe)(&subject.config(32)) {
        Ok(_) => case(subject),
        Err(error) => {
            let name = [subject.kind.name(), subject.modes].join(if subject.modes.is_empty() { "" } else { ":" });
            skip(&name, &error);
        }
    }
}

/// Reports that a test is skipped (past the test runner's capture), or fails if `name` is required.
pub(crate) fn skip(name: &str, reason: &dyn Display) {
    let required = std::env::var("HPBENCH_REQUIRE").unwrap_or_default();
    // Requiring a backend requires all of its modes.
    let is_it =
        |required: &str| [Some(name), name.split_once(':').map(|(backend, _)| backend)].contains(&Some(required));
    assert!(!required.split(',').map(str::trim).any(is_it), "HPBENCH_REQUIRE={required}, but {reason}");
    let test = thread::current();
    let line = format!("SKIPPED: {reason} [{}]\n", test.name().unwrap_or("?"));
    // One write, because other tests write at the same time.
    io::stderr().write_all(line.as_bytes()).expect("standard error is open");
}

/// Two connected UDP sockets with large enough buffers for these tests.
fn udp_pair(ip: IpAddr) -> (Arc<Socket>, Arc<Socket>) {
    let (near, far) = Socket::pair(SocketAddr::new(ip, 0)).expect("loopback has free ports");
    for socket in [&near, &far] {
        socket.set_buffers(4 << 20, 4 << 20).expect("large buffers are granted up to the limit");
    }
    (Arc::new(near), Arc::new(far))
}

/// An unrelated sender.
pub(crate) fn stranger() -> UdpSocket {
    UdpSocket::bind((LOCALHOST, 0)).expect("loopback has free ports")
}

/// An address that is free, and that no bind to port 0 gets.
pub(crate) fn quiet_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..1000 {
        // Below the ephemeral ports (32,768 and up), and apart from other processes that run this suite.
        let port = 12_000
            + (std::process::id() as u16).wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let address = SocketAddr::new(LOCALHOST, port);
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("none of a thousand ports is free");
}

/// How long a test waits for what must arrive: a hang ends, and a busy machine has enough time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The deadline of a wait: every loop of this suite has one, or a count.
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn new() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    /// Panics if the time is over. If nothing `moved`, yields: others may have to make progress first.
    pub(crate) fn check(&self, moved: usize, doing: impl Display) {
        assert!(Instant::now() < self.0, "not done after {PATIENCE:?}: {doing}");
        if moved == 0 {
            thread::yield_now();
        }
    }
}

/// A backend with its frames and its two rings; the test holds the app's ends of these.
pub(crate) struct Lane<'p> {
    pub(crate) backend: Box<dyn Mover<'p> + 'p>,
    /// The most datagrams that one call may move; a train is never cut.
    pub(crate) most: usize,
    /// Where datagrams are sent if the socket is not connected.
    pub(crate) peer: Option<Address>,
    pub(crate) free: FreeList<'p>,
    /// Frames that the lane was given.
    pub(crate) share: usize,
    pub(crate) rx: RxRing<'p>,
    pub(crate) arrived: Consumer<Packet<'p>>,
    pub(crate) queue: Producer<Packet<'p>>,
    pub(crate) tx: Consumer<Packet<'p>>,
}

impl<'p> Lane<'p> {
    pub(crate) fn open(subject: Subject, config: &Config, port: Port<'p>, pool: &'p Pool, free: FreeList<'p>) -> Self {
        Self::with_rx_slots(SLOTS, subject, config, port, pool, free)
    }

    pub(crate) fn with_rx_slots(
        rx_slots: usize,
        subject: Subject,
        config: &Config,
        port: Port<'p>,
        pool: &'p Pool,
        free: FreeList<'p>,
    ) -> Self {
        let backend = (subject.open)(config, port, pool).expect("it was probed");
        let (delivered, arrived) = ring(rx_slots);
        let (queue, tx) = ring(SLOTS);
        let most = if config.variant.has(Mode::GRO) { usize::MAX } else { config.batch };
        let (share, rx) = (free.len(), RxRing::new(delivered));
        Self { backend, most, peer: None, share, free, rx, arrived, queue, tx }
    }

    /// One call of the backend's `rx`.
    pub(crate) fn rx(&mut self) -> io::Result<usize> {
        let received = self.backend.rx(&mut self.free, &mut self.rx)?;
        assert!(received <= self.most, "rx brought {received} datagrams, more than a batch of {}", self.most);
        Ok(received)
    }

    /// One call of the backend's `rx_wait`.
    pub(crate) fn rx_wait(&mut self) -> io::Result<usize> {
        let received = self.backend.rx_wait(&mut self.free, &mut self.rx)?;
        assert!(received <= self.most, "it brought {received} datagrams, more than a batch of {}", self.most);
        Ok(received)
    }

    /// One call of the backend's `tx`.
    pub(crate) fn tx(&mut self) -> io::Result<usize> {
        let sent = self.backend.tx(&mut self.tx, &mut self.free)?;
        assert!(sent <= self.most, "tx sent {sent} datagrams, more than a batch of {}", self.most);
        Ok(sent)
    }

    /// The oldest packet that arrived.
    pub(crate) fn pop(&mut self) -> Option<Packet<'p>> {
        let packet = self.arrived.pop();
        self.arrived.release();
        packet
    }

    /// Closes the backend, takes what is left in the rings, and returns all frames of the lane.
    pub(crate) fn close(mut self) -> FreeList<'p> {
        self.backend.close(&mut self.free).expect("closed without an error");
        while let Some(packet) = self.arrived.pop().or_else(|| self.tx.pop()) {
            self.free.give(packet.into_frame());
        }
        self.free
    }
}

/// Both ends of a link, each with half of a pool.
pub(crate) struct Link<'p> {
    pub(crate) near: Lane<'p>,
    pub(crate) far: Lane<'p>,
}

impl<'p> Link<'p> {
    /// A link with the backend under test at the near end.
    pub(crate) fn open(subject: Subject, config: &Config, pool: &'p Pool) -> Self {
        Self::join(subject, config, pool, subject.ports())
    }

    pub(crate) fn join(subject: Subject, config: &Config, pool: &'p Pool, ports: (Port<'p>, Port<'p>)) -> Self {
        Self::between(subject, config, subject.far(), pool, ports)
    }

    pub(crate) fn between(
        subject: Subject,
        config: &Config,
        far: Subject,
        pool: &'p Pool,
        ports: (Port<'p>, Port<'p>),
    ) -> Self {
        let mut free = pool.frames();
        let frames = free.split_off(pool.len() / 2);
        let peer = match &ports.1 {
            Port::Socket(socket) if subject.is_unconnected() => socket.local_addr().ok().map(Address::new),
            _ => None,
        };
        Self {
            near: Lane { peer, ..Lane::open(subject, config, ports.0, pool, free) },
            far: Lane::open(far, &far.config(64), ports.1, pool, frames),
        }
    }

    /// Closes both ends: all frames must be there.
    pub(crate) fn close(self) {
        let mut free = self.near.close();
        free.absorb(self.far.close());
        assert!(free.is_whole(), "{} of {} frames came home", free.len(), free.total());
    }
}
