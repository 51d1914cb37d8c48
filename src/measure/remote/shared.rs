//! What the threads of an agent share: the pipe, the lease, and the trials under way.

use std::io::{self, Read, Stdout};
use std::process::exit;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::console::tell;
use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Interrupt, Phase};
use crate::measure::order::Order;
use crate::measure::remote::frame::{self, FrameError};
use crate::measure::remote::message::{About, FromAgent, LEASE, Open, ToAgent};
use crate::plan::cells::Scenario;
use crate::plan::cores;

/// How long a measured phase that is over goes on if no datagram was sent in it.
const FIRST_WITHIN: Duration = Duration::from_millis(50);

/// The most trials at a time: one for each worker.
const TRIALS_MAX: usize = 1024;

/// How long the mirror sleeps if nothing is under way.
const IDLE: Duration = Duration::from_secs(1);

/// What the threads share.
pub(super) struct Shared {
    stdout: Mutex<Stdout>,
    /// When something was heard last, in nanoseconds of `CLOCK_BOOTTIME`.
    heard_ns: AtomicU64,
    trials: Mutex<Vec<Current>>,
    /// The cores that the process may run on.
    cores: Vec<usize>,
    /// A core that no generator has; `usize::MAX` if there was none yet.
    aside: AtomicUsize,
}

/// A trial under way.
struct Current {
    id: u64,
    /// That of its first generator.
    order: Order,
    /// The cores of its generators.
    cores: Vec<usize>,
    control: Arc<Control>,
    /// Where its thread hears what else it is to do.
    inbox: Sender<ToAgent>,
    ends: Instant,
    /// Datagrams sent before the measured phase.
    before: u64,
    /// What was told of it.
    ready: bool,
    phase: Phase,
    /// When that phase was noticed.
    since: Instant,
    sent: u64,
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
            trials: Mutex::default(),
            cores,
            aside: AtomicUsize::new(usize::MAX),
        }
    }

    /// A trial begins. Returns its control, and what its thread is to hear.
    ///
    /// # Errors
    ///
    /// Why it cannot begin.
    pub(super) fn begin(&self, id: u64, open: &Open) -> Result<(Arc<Control>, Receiver<ToAgent>), String> {
        open.check()?;
        let cores: Vec<usize> = open.orders.iter().filter_map(|order| order.core).collect();
        if cores.len() < open.orders.len() || !cores.iter().all(|core| self.cores.contains(core)) {
            return Err(format!("cores {cores:?} are not the agent's, {:?}", self.cores));
        }
        let order = open.orders[0];
        let mut trials = lock(&self.trials);
        if trials.len() == TRIALS_MAX || trials.iter().any(|current| current.id == id) {
            return Err(format!("trial {id} has begun already, or there are too many"));
        }
        let taken = || trials.iter().flat_map(|current| &current.cores).chain(&cores);
        let aside = self.cores.iter().find(|&own| taken().all(|core| core != own));
        if order.fifo.is_some() && aside.is_none() {
            return Err("--fifo on all of the agent's cores would keep its lease from ending".into());
        }
        if let Some(core) = aside {
            self.aside.store(*core, Ordering::Release);
        }
        let (inbox, heard) = mpsc::channel();
        let control = Arc::new(Control::new(cores.len(), &Interrupt::default()).with_most(open.datagrams));
        trials.push(Current {
            id,
            order,
            cores,
            control: Arc::clone(&control),
            inbox,
            ends: Instant::now() + open.within,
            before: 0,
            ready: false,
            phase: Phase::Setup,
            since: Instant::now(),
            sent: 0,
        });
        Ok((control, heard))
    }

    /// A trial is over: from here on nothing more is told of it.
    pub(super) fn finish(&self, id: u64) {
        lock(&self.trials).retain(|current| current.id != id);
    }

    /// Tells the coordinator how far the generators are. Returns when to look again.
    pub(super) fn mirror(&self) -> Duration {
        let mut trials = lock(&self.trials);
        trials.iter_mut().map(|current| current.tell(self)).min().unwrap_or(IDLE)
    }

    pub(super) fn stdout(&self) -> MutexGuard<'_, Stdout> {
        lock(&self.stdout)
    }

    /// Writes a message about a trial.
    pub(super) fn tell(&self, trial: u64, message: FromAgent) {
        self.write(&About { trial, message });
    }

    /// Writes a frame. Without a reader there is nothing left to do.
    pub(super) fn write(&self, message: &impl Serialize) {
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
    pub(super) fn next(&self, stdin: &mut impl Read) -> Result<About<ToAgent>, FrameError> {
        let message = frame::read(stdin)?;
        // What was in the pipe while this process was stopped came too late.
        self.end_if_stale();
        self.heard_ns.store(boot_ns(), Ordering::Release);
        Ok(message)
    }

    /// Lets the calling thread run on a core that no generator has, if there is one.
    pub(super) fn step_aside(&self, last: &mut usize) {
        let core = self.aside.load(Ordering::Acquire);
        if core != std::mem::replace(last, core) {
            let _ = cores::pin(core);
        }
    }

    /// Does what a message about a trial under way asks for. One about another is late.
    pub(super) fn handle(&self, id: u64, message: ToAgent) {
        let trials = lock(&self.trials);
        let Some(current) = trials.iter().find(|current| current.id == id) else { return };
        match message {
            ToAgent::Phase(phase) => {
                let (control, before) = (Arc::clone(&current.control), current.before);
                drop(trials);
                self.advance(id, &control, before, phase);
            }
            ToAgent::Ready => current.control.report_ready(),
            ToAgent::Dropped(datagrams) => current.control.report_dropped(datagrams.min(1 << 48)),
            message => {
                if message == ToAgent::Close {
                    current.control.end();
                }
                let _ = current.inbox.send(message);
            }
        }
    }

    /// A phase has begun on the worker's side.
    fn advance(&self, id: u64, control: &Control, before: u64, phase: Phase) {
        match phase {
            Phase::Measure => {
                if let Some(current) = lock(&self.trials).iter_mut().find(|current| current.id == id) {
                    current.before = control.sent();
                }
                control.begin_measuring(now_ns());
            }
            Phase::Settle => {
                // A phase that lasts for a few datagrams may end before the generator knows of it.
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

impl Current {
    /// Tells what has changed, and ends the trial at its limits. Returns when to look again.
    fn tell(&mut self, shared: &Shared) -> Duration {
        let control = &self.control;
        if Instant::now() > self.ends {
            control.end();
        }
        if self.order.scenario.is_answered() {
            let phase = control.phase();
            if phase != self.phase {
                (self.phase, self.since) = (phase, Instant::now());
                shared.tell(self.id, FromAgent::Phase(phase));
            }
            return self.order.pause(phase, self.since.elapsed());
        }
        if !self.ready && control.ready() == self.cores.len() {
            self.ready = true;
            shared.tell(self.id, FromAgent::Ready);
        }
        let sent = control.sent();
        if sent != self.sent {
            self.sent = sent;
            shared.tell(self.id, FromAgent::Sent(sent));
        }
        match self.order.scenario {
            Scenario::Flood | Scenario::Pace if !self.ready => Duration::from_micros(500),
            _ => Duration::from_millis(50),
        }
    }
}
