//! An agent: the peer of workers in another process. It speaks with the coordinator over its standard input and output,
//! and does what a trial's peer does with the same functions.
//!
//! Four threads: one reads, one watches the lease and ends the process without ever waiting for another, one tells the
//! coordinator how far the generator is, and one is the generator. The first three leave the generator's core alone,
//! where there is another one.

use std::io::{self, Read, Stdout, Write};
use std::net::SocketAddr;
use std::process::exit;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use hpbench_backends::kernel::socket::probe_gso;
use hpbench_backends::mmsg::Mmsg;
use hpbench_backends::{Config, Kind, Pool, Port, Socket};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::console::tell;
use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Interrupt, Phase};
use crate::measure::order::Order;
use crate::measure::outcome::TrialError;
use crate::measure::peer;
use crate::measure::peer::filler::Filler;
use crate::measure::peer::receiver::Receiver as Counter;
use crate::measure::remote::consent::{Door, MARK};
use crate::measure::remote::frame::{self, FrameError, MAGIC};
use crate::measure::remote::message::{Agreed, Counted, Filled, FromAgent, Hello, LEASE, Open, Report, ToAgent};
use crate::measure::remote::session::offset_ns;
use crate::plan::cells::Scenario;
use crate::plan::cores;

/// How often the lease is looked at.
const LEASE_EVERY: Duration = Duration::from_millis(100);

/// How long consent may take.
const CONSENT_WITHIN: Duration = Duration::from_secs(10);

/// The most datagrams of a filling.
const FILL_MAX: usize = 1 << 20;

/// How long a measured phase that is over goes on if no datagram was sent in it.
const FIRST_WITHIN: Duration = Duration::from_millis(50);

/// What the threads share.
struct Shared {
    stdout: Mutex<Stdout>,
    /// When something was heard last, in nanoseconds of `CLOCK_BOOTTIME`.
    heard_ns: AtomicU64,
    current: Mutex<Option<Current>>,
    cores: Vec<usize>,
    /// The core of the generator; `usize::MAX` if there was none yet.
    core: AtomicUsize,
}

/// The trial under way.
struct Current {
    scenario: Scenario,
    control: Arc<Control>,
    ends: Instant,
    datagrams: u64,
    /// Datagrams sent before the measured phase.
    before: u64,
    /// What was told of it.
    ready: bool,
    phase: Phase,
    sent: u64,
}

/// What the working thread is asked to do.
enum Job {
    Open(Box<Open>, Arc<Control>),
    Message(ToAgent),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time since boot, that in which the machine or this process did not run included.
fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Works as an agent until its input ends, or its lease. Does not return.
pub fn run(hello: Hello) -> ! {
    let shared = Arc::new(Shared {
        stdout: Mutex::new(io::stdout()),
        heard_ns: AtomicU64::new(boot_ns()),
        current: Mutex::new(None),
        cores: hello.cores.clone(),
        core: AtomicUsize::new(usize::MAX),
    });
    let (jobs, orders) = mpsc::channel();
    let mirror = start("mirror", &shared, |shared| mirror(&shared));
    start("lease", &shared, |shared| watch_lease(&shared));
    start("generator", &shared, move |shared| work(&shared, &orders));
    let greeted = shared.stdout().write_all(MAGIC.as_bytes());
    if greeted.is_err() {
        exit(1);
    }
    shared.tell(&FromAgent::Hello(hello));
    let mut aside = usize::MAX;
    let mut stdin = io::stdin().lock();
    loop {
        match shared.next(&mut stdin) {
            Ok(message) => shared.handle(message, &jobs, &mirror),
            Err(FrameError::End) => exit(0),
            Err(error) => {
                tell!("hpbench agent: {error}");
                exit(1);
            }
        }
        shared.step_aside(&mut aside);
    }
}

/// Starts a thread; if it ends, whatever the reason, so does the process.
fn start(name: &str, shared: &Arc<Shared>, work: impl FnOnce(Arc<Shared>) + Send + 'static) -> Thread {
    struct ExitAtEnd;
    impl Drop for ExitAtEnd {
        fn drop(&mut self) {
            exit(1);
        }
    }
    let shared = Arc::clone(shared);
    let started = thread::Builder::new().name(name.into()).spawn(move || {
        let _exit = ExitAtEnd;
        work(shared);
    });
    match started {
        Ok(started) => started.thread().clone(),
        Err(error) => {
            tell!("hpbench agent: a thread cannot be started: {error}; raise the limit (`ulimit -u`)");
            exit(1);
        }
    }
}

/// Ends the process when the coordinator is silent for too long. Takes no lock.
fn watch_lease(shared: &Shared) {
    let mut aside = usize::MAX;
    loop {
        shared.end_if_stale();
        shared.step_aside(&mut aside);
        thread::sleep(LEASE_EVERY);
    }
}

/// Tells the coordinator how far the generator is.
fn mirror(shared: &Shared) {
    let mut aside = usize::MAX;
    loop {
        let pause = match lock(&shared.current).as_mut() {
            Some(current) => current.tell(shared),
            None => Duration::from_secs(1),
        };
        shared.step_aside(&mut aside);
        thread::park_timeout(pause);
    }
}

/// The working thread: one trial after the other.
fn work(shared: &Shared, orders: &Receiver<Job>) {
    while let Ok(job) = orders.recv() {
        let Job::Open(open, control) = job else { continue };
        let result = Work { shared, open: &open, control: &control, orders }.run();
        // From here on nothing more is told of it.
        lock(&shared.current).take();
        shared.tell(&match result {
            Ok(report) => FromAgent::Report(Box::new(report)),
            Err(error) => FromAgent::Failed { id: open.id, why: error.to_string() },
        });
    }
}

impl Shared {
    fn stdout(&self) -> MutexGuard<'_, Stdout> {
        lock(&self.stdout)
    }

    /// Writes a message. Without a reader there is nothing left to do.
    fn tell(&self, message: &impl Serialize) {
        if frame::write(&mut *self.stdout(), message).is_err() {
            exit(1);
        }
    }

    fn end_if_stale(&self) {
        let silent_ns = boot_ns().saturating_sub(self.heard_ns.load(Ordering::Acquire));
        if u128::from(silent_ns) > LEASE.as_nanos() {
            tell!("hpbench agent: nothing has come from the coordinator for {} s; it ends", LEASE.as_secs());
            exit(1);
        }
    }

    /// The next message, which renews the lease unless that is over.
    fn next(&self, stdin: &mut impl Read) -> Result<ToAgent, FrameError> {
        let message = frame::read(stdin)?;
        // What was in the pipe while this process was stopped came too late.
        self.end_if_stale();
        self.heard_ns.store(boot_ns(), Ordering::Release);
        Ok(message)
    }

    /// Lets the calling thread run on another core than the generator, if there is one.
    fn step_aside(&self, last: &mut usize) {
        let core = self.core.load(Ordering::Acquire);
        if core == std::mem::replace(last, core) {
            return;
        }
        if let Some(other) = self.cores.iter().find(|&&other| other != core) {
            let _ = cores::pin(*other);
        }
    }

    fn handle(&self, message: ToAgent, jobs: &Sender<Job>, mirror: &Thread) {
        let control = lock(&self.current).as_ref().map(|current| Arc::clone(&current.control));
        match (message, control) {
            (ToAgent::Lease, _) => self.tell(&FromAgent::Alive),
            (ToAgent::Open(open), before) => {
                before.iter().for_each(|control| end(control));
                let control = Arc::new(Control::new(1, &Interrupt::default()));
                let _ = jobs.send(Job::Open(open, Arc::clone(&control)));
            }
            (ToAgent::Close, control) => {
                control.iter().for_each(|control| end(control));
                let _ = jobs.send(Job::Message(ToAgent::Close));
            }
            (ToAgent::Phase(phase), Some(control)) => self.advance(&control, phase),
            (ToAgent::Ready, Some(control)) => control.report_ready(),
            (ToAgent::Dropped(datagrams), Some(control)) => control.report_dropped(datagrams),
            (message, _) => {
                let _ = jobs.send(Job::Message(message));
            }
        }
        mirror.unpark();
    }

    /// A phase has begun on the worker's side.
    fn advance(&self, control: &Control, phase: Phase) {
        match phase {
            Phase::Measure => {
                if let Some(current) = lock(&self.current).as_mut() {
                    current.before = control.sent();
                }
                control.begin_measuring(now_ns());
            }
            Phase::Settle => {
                // A phase that lasts for a few datagrams may end before the generator knows of it.
                let before = lock(&self.current).as_ref().map_or(0, |current| current.before);
                let start = Instant::now();
                while control.sent() <= before && control.is_offering() && start.elapsed() < FIRST_WITHIN {
                    thread::sleep(Duration::from_micros(50));
                }
                control.end_measuring(now_ns());
            }
            phase => control.advance(phase),
        }
    }
}

/// Ends the trial of a control, whatever its phase.
fn end(control: &Control) {
    control.interrupt().raise();
    control.advance(Phase::Stop);
}

impl Current {
    /// Tells what has changed, and ends the trial at its limits. Returns when to look again.
    fn tell(&mut self, shared: &Shared) -> Duration {
        let control = &self.control;
        if Instant::now() > self.ends || control.sent() > self.datagrams {
            end(control);
        }
        if self.scenario == Scenario::Echo {
            let phase = control.phase();
            if phase != self.phase {
                self.phase = phase;
                shared.tell(&FromAgent::Phase(phase));
            }
            return Duration::from_millis(1);
        }
        if !self.ready && control.ready() > 0 {
            self.ready = true;
            shared.tell(&FromAgent::Ready);
        }
        let sent = control.sent();
        if sent != self.sent {
            self.sent = sent;
            shared.tell(&FromAgent::Sent(sent));
        }
        match self.scenario {
            Scenario::Flood | Scenario::Pace if !self.ready => Duration::from_micros(500),
            _ => Duration::from_millis(50),
        }
    }
}

/// Why a trial cannot go on.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error("{0}")]
    Order(String),
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error("the coordinator ended the trial")]
    Closed,
}

/// A trial on the working thread.
struct Work<'w> {
    shared: &'w Shared,
    open: &'w Open,
    control: &'w Arc<Control>,
    orders: &'w Receiver<Job>,
}

impl Work<'_> {
    fn run(&self) -> Result<Report, WorkError> {
        let open = self.open;
        open.check().map_err(WorkError::Order)?;
        let core = open.order.core.filter(|core| self.shared.cores.contains(core));
        let core = core.ok_or_else(|| {
            WorkError::Order(format!("core {:?} is not one of the agent's, {:?}", open.order.core, self.shared.cores))
        })?;
        let failed = |what| move |error| TrialError::Socket { what, error };
        let bind = SocketAddr::new(open.bind, 0);
        let mut socket = Socket::bind(bind).map_err(failed("binding the agent's socket to --peer-bind"))?;
        let [rcvbuf, sndbuf] = open.buffers;
        socket.set_buffers(rcvbuf, sndbuf).map_err(failed("setting socket buffers"))?;
        let address = socket.local_addr().map_err(failed("reading a socket's address"))?;
        *lock(&self.shared.current) = Some(Current {
            scenario: open.order.scenario,
            control: Arc::clone(self.control),
            ends: Instant::now() + open.within,
            datagrams: open.datagrams,
            before: 0,
            ready: false,
            phase: Phase::Setup,
            sent: 0,
        });
        self.shared.core.store(core, Ordering::Release);
        self.shared.tell(&FromAgent::Opened { id: open.id, address });
        let peer = self.agree(&socket)?;
        socket.connect_after(peer, &MARK).map_err(failed("connecting with the worker"))?;
        let gso = open.order.gso && probe_gso(open.bind).is_ok();
        let order = Order { gso, ..open.order };
        order.pin().map_err(TrialError::from)?;
        let socket = Arc::new(socket);
        let report = match order.scenario {
            Scenario::Flood | Scenario::Pace => self.offer(&order, &socket),
            Scenario::Echo => self.echo(&order, &socket),
            Scenario::Drain => self.fill(&order, &socket),
            Scenario::Send => self.count(&order, &socket),
        }?;
        let drop_socket = socket.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?.drops;
        Ok(Report { counted: Counted { drop_socket, ..report.counted }, unrelated: socket.unrelated(), ..report })
    }

    /// Waits until the worker has asked for load, and has had the challenge. Returns its address.
    fn agree(&self, socket: &Socket) -> Result<SocketAddr, WorkError> {
        let (mut door, start) = (Door::new(self.open.nonce), Instant::now());
        while start.elapsed() < CONSENT_WITHIN {
            door.answer(socket).map_err(TrialError::io("answering the worker"))?;
            match self.orders.try_recv() {
                Ok(Job::Message(ToAgent::Consent(challenge))) => {
                    let told = || WorkError::Order("the challenge that came back is another one".into());
                    return door.consenting(challenge).ok_or_else(told);
                }
                Ok(Job::Message(ToAgent::Close)) | Err(TryRecvError::Disconnected) => return Err(WorkError::Closed),
                Ok(_) => {}
                Err(TryRecvError::Empty) => thread::sleep(Duration::from_micros(100)),
            }
        }
        Err(WorkError::Order("nobody has consented to the load".into()))
    }

    fn tell_agreed(&self, socket: &Socket, train: usize, method: &str) -> Result<(), TrialError> {
        let info = socket.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
        let agreed = Agreed { rcvbuf: info.rcvbuf, train, method: method.into(), offset_ns: offset_ns() };
        self.shared.tell(&FromAgent::Agreed(agreed));
        Ok(())
    }

    fn offer(&self, order: &Order, socket: &Arc<Socket>) -> Result<Report, WorkError> {
        self.tell_agreed(socket, 0, "")?;
        let offered = peer::offer(order, socket, self.control)?;
        let measured_ns = self.control.measured_ns();
        let measured_ns = match measured_ns.end {
            u64::MAX => 0,
            end => end.saturating_sub(measured_ns.start),
        };
        Ok(Report { sent: self.control.sent(), measured_ns, offered: Some(offered), ..Report::default() })
    }

    fn echo(&self, order: &Order, socket: &Arc<Socket>) -> Result<Report, WorkError> {
        let pool = pool(4 * order.window + 64, order.payload)?;
        let mut free = pool.frames();
        self.tell_agreed(socket, 0, "")?;
        let trips = peer::echo::generate(order, socket, self.control, (&pool, &mut free))?;
        Ok(Report { trips: Some(trips), ..Report::default() })
    }

    fn fill(&self, order: &Order, socket: &Arc<Socket>) -> Result<Report, WorkError> {
        let pool = pool(1, order.payload)?;
        let (mut filler, mut free) = (Filler::socket(order, socket)?, pool.frames());
        self.tell_agreed(socket, filler.train(), filler.method())?;
        let ends = Instant::now() + self.open.within;
        loop {
            match self.orders.recv_timeout(ends.saturating_duration_since(Instant::now())) {
                Ok(Job::Message(ToAgent::Fill { count })) => {
                    let most = self.open.datagrams.saturating_sub(filler.sent());
                    let count = count.min(FILL_MAX).min(most as usize);
                    let start_ns = now_ns();
                    let sent = filler.fill(&mut free, count)? as u64;
                    self.shared.tell(&FromAgent::Filled(Filled { sent, ns: now_ns() - start_ns }));
                }
                Ok(Job::Message(ToAgent::Close)) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Err(WorkError::Order("the trial's time is over".into())),
            }
        }
        let sent = filler.sent();
        filler.close(&mut free)?;
        Ok(Report { sent, ..Report::default() })
    }

    /// Counts what arrives, all the time.
    fn count(&self, order: &Order, socket: &Arc<Socket>) -> Result<Report, WorkError> {
        let pool = pool(1024, order.payload)?;
        let mut free = pool.frames();
        let mut counter = Counter::<Mmsg<'_>>::open(order, Port::Socket(Arc::clone(socket)), &pool)?;
        self.tell_agreed(socket, 0, "")?;
        let (ends, mut ns, mut result) = (Instant::now() + self.open.within, 0, Ok(()));
        loop {
            let start_ns = now_ns();
            match counter.poll(&mut free) {
                Ok(0) => {}
                Ok(_) => {
                    ns += now_ns() - start_ns;
                    continue;
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            match self.orders.try_recv() {
                Ok(Job::Message(ToAgent::Count)) => {
                    self.shared.tell(&FromAgent::Counted(counted(socket, &counter, ns)));
                }
                Ok(Job::Message(ToAgent::Close)) | Err(TryRecvError::Disconnected) => break,
                Ok(_) => {}
                // The worker may be on the same core.
                Err(TryRecvError::Empty) => thread::yield_now(),
            }
            if Instant::now() > ends {
                break;
            }
        }
        let counted = counted(socket, &counter, ns);
        counter.close(&mut free).map_err(TrialError::io("closing the receiver"))?;
        result?;
        Ok(Report { counted, ..Report::default() })
    }
}

fn counted<'p>(socket: &Socket, counter: &Counter<'p, Mmsg<'p>>, ns: u64) -> Counted {
    let drop_socket = socket.meminfo().map_or(0, |info| info.drops);
    Counted { tally: counter.arrived(), drop_socket, drop_ring: counter.dropped(), ns }
}

/// Frames for datagrams of this size.
fn pool(frames: usize, payload: usize) -> Result<Pool, TrialError> {
    let size = Config::new(Kind::MMSG, 1).frame_size(payload).max(2048);
    Pool::new(frames, size).map_err(TrialError::io("mapping frames"))
}
