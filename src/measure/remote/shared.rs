//! What the threads of an agent share: the pipe, the lease, and the trial under way.

use std::io::{self, Read, Stdout};
use std::process::exit;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::console::tell;
use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Interrupt, Phase};
use crate::measure::order::Order;
use crate::measure::remote::frame::{self, FrameError};
use crate::measure::remote::message::{FromAgent, LEASE, Open, ToAgent};
use crate::plan::cells::Scenario;
use crate::plan::cores;

/// How long a measured phase that is over goes on if no datagram was sent in it.
const FIRST_WITHIN: Duration = Duration::from_millis(50);

/// What the threads share.
pub(super) struct Shared {
    stdout: Mutex<Stdout>,
    /// When something was heard last, in nanoseconds of `CLOCK_BOOTTIME`.
    heard_ns: AtomicU64,
    current: Mutex<Option<Current>>,
    /// The cores that the process may run on.
    pub(super) cores: Vec<usize>,
    /// The core of the generator; `usize::MAX` if there was none yet.
    core: AtomicUsize,
}

/// The trial under way.
pub(super) struct Current {
    order: Order,
    control: Arc<Control>,
    ends: Instant,
    datagrams: u64,
    /// Datagrams sent before the measured phase.
    before: u64,
    /// What was told of it.
    ready: bool,
    phase: Phase,
    /// When that phase was noticed.
    since: Instant,
    sent: u64,
}

/// What the working thread is asked to do.
pub(super) enum Job {
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

impl Shared {
    /// For a process that may run on these cores.
    pub(super) fn new(cores: Vec<usize>) -> Self {
        Self {
            stdout: Mutex::new(io::stdout()),
            heard_ns: AtomicU64::new(boot_ns()),
            current: Mutex::new(None),
            cores,
            core: AtomicUsize::new(usize::MAX),
        }
    }

    /// The trial under way.
    pub(super) fn current(&self) -> MutexGuard<'_, Option<Current>> {
        lock(&self.current)
    }

    /// A trial begins, with its generator on a core.
    pub(super) fn begin(&self, open: &Open, control: &Arc<Control>, core: usize) {
        *self.current() = Some(Current {
            order: open.order,
            control: Arc::clone(control),
            ends: Instant::now() + open.within,
            datagrams: open.datagrams,
            before: 0,
            ready: false,
            phase: Phase::Setup,
            since: Instant::now(),
            sent: 0,
        });
        self.core.store(core, Ordering::Release);
    }

    pub(super) fn stdout(&self) -> MutexGuard<'_, Stdout> {
        lock(&self.stdout)
    }

    /// Writes a message. Without a reader there is nothing left to do.
    pub(super) fn tell(&self, message: &impl Serialize) {
        if frame::write(&mut *self.stdout(), message).is_err() {
            exit(1);
        }
    }

    pub(super) fn end_if_stale(&self) {
        let silent_ns = boot_ns().saturating_sub(self.heard_ns.load(Ordering::Acquire));
        if u128::from(silent_ns) > LEASE.as_nanos() {
            tell!("hpbench agent: nothing has come from the coordinator for {} s; it ends", LEASE.as_secs());
            exit(1);
        }
    }

    /// The next message, which renews the lease unless that is over.
    pub(super) fn next(&self, stdin: &mut impl Read) -> Result<ToAgent, FrameError> {
        let message = frame::read(stdin)?;
        // What was in the pipe while this process was stopped came too late.
        self.end_if_stale();
        self.heard_ns.store(boot_ns(), Ordering::Release);
        Ok(message)
    }

    /// Lets the calling thread run on another core than the generator, if there is one.
    pub(super) fn step_aside(&self, last: &mut usize) {
        let core = self.core.load(Ordering::Acquire);
        if core == std::mem::replace(last, core) {
            return;
        }
        if let Some(other) = self.cores.iter().find(|&&other| other != core) {
            let _ = cores::pin(*other);
        }
    }

    pub(super) fn handle(&self, message: ToAgent, jobs: &Sender<Job>, mirror: &Thread) {
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
    pub(super) fn tell(&mut self, shared: &Shared) -> Duration {
        let control = &self.control;
        if Instant::now() > self.ends || control.sent() > self.datagrams {
            end(control);
        }
        if self.order.scenario == Scenario::Echo {
            let phase = control.phase();
            if phase != self.phase {
                (self.phase, self.since) = (phase, Instant::now());
                shared.tell(&FromAgent::Phase(phase));
            }
            return self.order.pause(phase, self.since.elapsed());
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
        match self.order.scenario {
            Scenario::Flood | Scenario::Pace if !self.ready => Duration::from_micros(500),
            _ => Duration::from_millis(50),
        }
    }
}
