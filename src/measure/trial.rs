//! One trial: what goes in, and what its threads do. What comes out is an [`Outcome`], or a [`TrialError`] that says why not.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hpbench_backends::{Addressing, Backend, Config, FreeList, MemoryPort, Pool, Port, Socket, Visitor};

use crate::measure::control::{Clock, Interrupt};
use crate::measure::cost;
use crate::measure::scenario::{drain, echo, flood, pace, send};
use crate::plan::cells::{Cell, Options, Scenario, Wait};
use crate::plan::cores::{self, Place};

pub(crate) use crate::measure::outcome::UNBALANCED;
pub use crate::measure::outcome::{Outcome, Rounds, TrialError};

/// What a trial is run with.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a, 'p> {
    /// The cell to measure.
    pub cell: &'a Cell,
    /// What all trials have in common.
    pub options: &'a Options,
    /// Where the frames come from.
    pub pool: &'p Pool,
    /// Ends the trial early.
    pub interrupt: &'a Interrupt,
    /// The trial's time.
    pub clock: Clock,
}

impl<'p> Trial<'_, 'p> {
    /// Runs the trial on threads of its own; `free` has all frames again when it returns.
    ///
    /// # Errors
    ///
    /// Why there is no result.
    pub fn run(&self, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
        self.cell.variant.kind().dispatch(Dispatch { trial: self, free })
    }

    /// Runs the trial with `B`, whatever the cell's backend is.
    ///
    /// # Errors
    ///
    /// Why there is no result.
    pub fn run_as<B: Backend<'p>>(&self, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
        self.check_cores()?;
        let places = &self.options.cores.places;
        let together = Rendezvous::new(places.len());
        let part = |index| Part { trial: self, place: &places[index], index, together: &together };
        if places.len() == 1 {
            return part(0).run::<B>(free);
        }
        let share = free.len() / places.len();
        let mut shares: Vec<FreeList<'p>> = places.iter().map(|_| free.split_off(share)).collect();
        let mut outcomes: Vec<_> = std::thread::scope(|scope| {
            let part = &part;
            let threads: Vec<_> = shares
                .iter_mut()
                .enumerate()
                .map(|(index, share)| scope.spawn(move || part(index).run::<B>(share)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(TrialError::Panicked))).collect()
        });
        shares.into_iter().for_each(|share| free.absorb(share));
        // If one fails, the others do for want of it: told is why it failed.
        outcomes.sort_by_key(|outcome| matches!(outcome, Err(TrialError::OtherWorker)));
        let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        outcomes.into_iter().reduce(Outcome::merge).ok_or(TrialError::Panicked)
    }

    /// Whether there are cores for all threads that spin.
    fn check_cores(&self) -> Result<(), TrialError> {
        let (scenario, cores) = (self.cell.scenario, &self.options.cores);
        let workers = cores.places.len();
        let has_others = cores.places.iter().all(|place| !place.generators.is_empty());
        if !has_others && !scenario.has_rounds() {
            return Err(TrialError::TooFewCores {
                what: format!("{scenario}, with a core for each worker and one for a generator,"),
                needed: workers + 1,
                allowed: workers,
                instead: "measure drain and send",
            });
        }
        if !has_others && self.cell.has_kernel_thread() {
            return Err(TrialError::TooFewCores {
                what: "the setup sqpoll, with a core for the worker and one for the kernel's thread,".into(),
                needed: workers + 1,
                allowed: workers,
                instead: "use another setup",
            });
        }
        if self.options.handoff && cores.places.iter().any(|place| place.app.is_none()) {
            return Err(TrialError::TooFewCores {
                what: "--handoff, with a core for each worker and one for the app,".into(),
                needed: workers + 1,
                allowed: workers,
                instead: "leave it out",
            });
        }
        Ok(())
    }
}

/// One worker's part of a trial; most trials have one part only.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a, 'p> {
    /// The trial.
    pub trial: &'a Trial<'a, 'p>,
    /// Where the threads of this part run.
    pub place: &'a Place,
    /// Which part it is, from 0 on.
    pub index: usize,
    together: &'a Rendezvous,
}

impl<'a, 'p> Deref for Part<'a, 'p> {
    type Target = Trial<'a, 'p>;

    fn deref(&self) -> &Self::Target {
        self.trial
    }
}

impl<'p> Part<'_, 'p> {
    fn run<B: Backend<'p>>(&self, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
        let _leave = LeaveAtEnd(self.together);
        let outcome = match self.cell.scenario {
            Scenario::Drain => self.on_one_thread(|| drain::run::<B>(self, free)),
            Scenario::Send => self.on_one_thread(|| send::run::<B>(self, free)),
            Scenario::Flood => flood::run::<B>(self, free),
            Scenario::Pace => pace::run::<B>(self, free),
            Scenario::Echo => echo::run::<B>(self, free),
        }?;
        Ok(Outcome { limited: self.is_limited(&outcome), ..outcome })
    }

    /// Whether the generators were the bottleneck: of `flood`, if they left the worker idle; of `pace`, if they sent
    /// less than they were to offer.
    fn is_limited(&self, outcome: &Outcome) -> Option<bool> {
        let measured_ns = outcome.measured_ns as f64;
        match self.cell.scenario {
            // A worker that waits in the kernel is busy while it is on its core.
            Scenario::Flood => {
                let busy_ns = outcome.busy_ns.unwrap_or(outcome.usage.cpu_ns) as f64;
                Some(busy_ns < BUSY_ENOUGH * measured_ns)
            }
            // Datagrams come in ticks, one of which may have fallen on either side of an edge.
            Scenario::Pace => {
                let offered = self.cell.rate.unwrap_or(0) as f64 * measured_ns / 1e9;
                let sent = outcome.measured_sent + self.cell.burst.unwrap_or(1);
                Some((sent as f64) < SENT_ENOUGH * offered)
            }
            _ => None,
        }
    }

    fn on_one_thread(&self, work: impl FnOnce() -> Result<Outcome, TrialError> + Send) -> Result<Outcome, TrialError> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                // Where it is forbidden, calls cost what they cost in a program with several threads.
                let _ = hpbench_backends::kernel::socket::own_descriptors();
                self.on_worker_core(work)
            });
            worker.join().unwrap_or(Err(TrialError::Panicked))
        })
    }

    /// Pins the calling thread as the worker and does its work, with the canary before and after it.
    pub(crate) fn on_worker_core(
        &self,
        work: impl FnOnce() -> Result<Outcome, TrialError>,
    ) -> Result<Outcome, TrialError> {
        self.pin(self.place.worker)?;
        let before = cost::canary_ns();
        let outcome = work()?;
        Ok(Outcome { canary_ns: u64::midpoint(before, cost::canary_ns()), ..outcome })
    }

    /// Pins the calling thread, with the priority of the run.
    pub(crate) fn pin(&self, core: usize) -> Result<(), TrialError> {
        cores::pin(core)?;
        cores::prioritise(self.options.fifo);
        Ok(())
    }

    /// All cores of this part.
    pub(crate) fn cores(&self) -> Vec<usize> {
        let place = self.place;
        let generators = place.generators.iter().copied().take(self.options.generators_in(self.cell.scenario));
        let others = self.app_core().into_iter().chain(self.kernel_core());
        let mut cores: Vec<usize> = [place.worker].into_iter().chain(others).chain(generators).collect();
        cores.sort_unstable();
        cores.dedup();
        cores
    }

    /// The core of the app's thread, if it has one.
    pub(crate) fn app_core(&self) -> Option<usize> {
        self.place.app.filter(|_| self.options.handoff)
    }

    /// Waits for the other workers of the trial, so that all of them measure at the same time.
    pub(crate) fn meet(&self) -> Result<(), TrialError> {
        match self.together.meet() {
            true => Ok(()),
            false => Err(TrialError::OtherWorker),
        }
    }

    /// The backend's configuration.
    pub fn config(&self) -> Config {
        Config {
            kernel_core: self.kernel_core(),
            block: (self.cell.wait == Wait::Block).then_some(BLOCK),
            ..self.cell.backend_config()
        }
    }

    /// The core of the kernel's thread, if the variant has one: the last of those that are not the worker's.
    fn kernel_core(&self) -> Option<usize> {
        self.place.generators.last().copied().filter(|_| self.cell.has_kernel_thread())
    }

    /// Two sockets with the buffers asked for: the worker's and the other side's. The other side is always connected,
    /// the worker's as the cell wants it.
    pub(crate) fn sockets(&self) -> Result<(Arc<Socket>, Arc<Socket>), TrialError> {
        let options = self.options;
        let failed = |what| move |error| TrialError::Socket { what, error };
        let port = if options.port == 0 { 0 } else { options.port + self.index as u16 };
        let address = SocketAddr::new(options.bind, port);
        let pair = match self.cell.addressing {
            Addressing::Connected => Socket::pair(address),
            Addressing::Unconnected => Socket::half_connected_pair(address),
        };
        let (near, far) = pair.map_err(failed("opening two connected sockets"))?;
        for socket in [&near, &far] {
            socket.set_buffers(options.rcvbuf, options.sndbuf).map_err(failed("setting socket buffers"))?;
        }
        Ok((Arc::new(near), Arc::new(far)))
    }

    /// The two ends of a memory link that holds a round.
    pub(crate) fn memory_link(&self) -> (Port<'p>, Port<'p>) {
        let (near, far) = MemoryPort::pair(self.cell.round.unwrap_or(1));
        (Port::Memory(near), Port::Memory(far))
    }

    /// Whether this trial goes through sockets.
    pub(crate) fn has_sockets(&self) -> bool {
        self.cell.variant.kind().has_socket()
    }
}

/// A worker that is idle for more of the time than this leaves lets the generators be the bottleneck.
const BUSY_ENOUGH: f64 = 0.95;

/// A generator that sent less than this share of what it was to offer did not keep its rate.
const SENT_ENOUGH: f64 = 0.99;

/// How long a worker that waits in the kernel sleeps at most, before it looks whether the trial is over.
const BLOCK: Duration = Duration::from_millis(10);

/// Where the workers of a trial meet before they measure.
#[derive(Debug)]
struct Rendezvous {
    workers: usize,
    arrived: AtomicUsize,
    left: AtomicBool,
}

impl Rendezvous {
    fn new(workers: usize) -> Self {
        Self { workers, arrived: AtomicUsize::new(0), left: AtomicBool::new(false) }
    }

    /// Waits for all. `false` if one left without having come, or it took 10 seconds.
    fn meet(&self) -> bool {
        let start = Instant::now();
        self.arrived.fetch_add(1, Ordering::AcqRel);
        while self.arrived.load(Ordering::Acquire) < self.workers {
            if self.left.load(Ordering::Acquire) || start.elapsed() > Duration::from_secs(10) {
                return false;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        true
    }
}

/// Tells the others that a worker has come to its end.
struct LeaveAtEnd<'a>(&'a Rendezvous);

impl Drop for LeaveAtEnd<'_> {
    fn drop(&mut self) {
        self.0.left.store(true, Ordering::Release);
    }
}

struct Dispatch<'t, 'a, 'p> {
    trial: &'t Trial<'a, 'p>,
    free: &'t mut FreeList<'p>,
}

impl<'p> Visitor<'p> for Dispatch<'_, '_, 'p> {
    type Output = Result<Outcome, TrialError>;

    fn visit<B: Backend<'p>>(self) -> Self::Output {
        self.trial.run_as::<B>(self.free)
    }
}
