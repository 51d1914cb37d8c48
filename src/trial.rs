//! One trial: what goes in, what comes out, what can go wrong.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hdrhistogram::Histogram;
use hpbench_backends::{Backend, Config, Counters, FreeList, Kind, MemoryPort, OpenError, Pool, Port, Socket, Visitor};

use crate::control::{Clock, Interrupt};
use crate::cores;
use crate::driver::Polls;
use crate::ledger::Ledger;
use crate::plan::{Cell, Options, Scenario};
use crate::scenario::{drain, echo, flood, send};

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

/// What came out of a trial.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Where every datagram went, over the whole life of the sockets.
    pub ledger: Ledger,
    /// Length of the measured phase, in nanoseconds.
    pub measured_ns: u64,
    /// Datagrams sent in it.
    pub measured_sent: u64,
    /// Datagrams received in it, unique and intact.
    pub measured_received: u64,
    /// What the backend counted in the measured phase.
    pub counters: Counters,
    /// What the driver counted in it.
    pub polls: Polls,
    /// What the backend counted in the whole trial.
    pub counters_total: Counters,
    /// Time in turns of the loop that moved a datagram, in nanoseconds; of the spinning scenarios.
    pub busy_ns: Option<u64>,
    /// What the rounds took, of the scenarios that have rounds.
    pub rounds: Option<Rounds>,
    /// Round-trip times in nanoseconds, of `echo`.
    pub latency: Option<Histogram<u64>>,
    /// Granted receive buffer in bytes, where there are sockets.
    pub rcvbuf: Option<u32>,
    /// Granted send buffer in bytes.
    pub sndbuf: Option<u32>,
    /// How the load was sent: `gso`, `sendmmsg` or `memory`.
    pub fill: Option<&'static str>,
    /// What took effect in the backend.
    pub in_effect: String,
    /// Why the trial says nothing, although it ran to its end.
    pub invalid: Option<String>,
}

/// What the rounds of a trial took, per datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rounds {
    /// Datagrams per round that were in effect.
    pub size: usize,
    /// Nanoseconds per datagram of the side under test: mean.
    pub mean_ns: f64,
    /// The median over rounds.
    pub p50_ns: f64,
    /// The least over rounds.
    pub min_ns: f64,
    /// Nanoseconds per datagram of the other side: mean.
    pub peer_ns: f64,
}

/// Why a trial has no result.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The backend cannot run here.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A socket could not be had.
    #[error("{what}: {error}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// Moving datagrams failed.
    #[error("{what} failed: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The queue is too short for even one batch.
    #[error(
        "the receive queue holds {held} datagrams of {payload} bytes in half of its {rcvbuf} bytes, less than one batch \
         of {batch}; use a smaller --batch, or a larger --rcvbuf (`sysctl net.core.rmem_max`)"
    )]
    QueueTooShort {
        /// Datagrams that fit.
        held: usize,
        /// Their payload in bytes.
        payload: usize,
        /// The granted buffer in bytes.
        rcvbuf: u32,
        /// Datagrams per call.
        batch: usize,
    },
    /// A round holds less than one batch.
    #[error("a round of {round} holds less than one batch of {batch}; use a smaller --batch or a larger --round")]
    RoundTooShort {
        /// The round asked for.
        round: usize,
        /// Datagrams per call.
        batch: usize,
    },
    /// Two threads that spin need two cores.
    #[error(
        "{0} needs two cores, one for the worker and one for a generator, and hpbench may run on one only; allow more \
         (`taskset`, the container's cpuset), or measure drain and send"
    )]
    OneCore(Scenario),
    /// Nothing moved any more.
    #[error("{0}")]
    Stalled(&'static str),
    /// The user wants the run to end.
    #[error("interrupted")]
    Interrupted,
    /// A thread could not be pinned.
    #[error(transparent)]
    Cores(#[from] cores::CoresError),
    /// A thread panicked: a bug.
    #[error("a thread of the trial panicked; this is a bug in hpbench")]
    Panicked,
}

impl TrialError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { what, error }
    }
}

impl<'p> Trial<'_, 'p> {
    /// The backend's configuration.
    pub fn config(&self) -> Config {
        Config { variant: self.cell.variant, batch: self.cell.batch, buffers: self.options.buffers, block: None }
    }

    /// Two connected sockets with the buffers asked for: the worker's and the other side's.
    pub(crate) fn sockets(&self) -> Result<(Arc<Socket>, Arc<Socket>), TrialError> {
        let options = self.options;
        let failed = |what| move |error| TrialError::Socket { what, error };
        let (near, far) = Socket::pair(SocketAddr::new(options.bind, options.port))
            .map_err(failed("opening two connected sockets"))?;
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
        match self.cell.scenario {
            Scenario::Drain => self.on_one_thread(|| drain::run::<B>(self, free)),
            Scenario::Send => self.on_one_thread(|| send::run::<B>(self, free)),
            scenario if self.options.cores.generators.is_empty() => Err(TrialError::OneCore(scenario)),
            Scenario::Flood => flood::run::<B>(self, free),
            Scenario::Echo => echo::run::<B>(self, free),
        }
    }

    fn on_one_thread(&self, work: impl FnOnce() -> Result<Outcome, TrialError> + Send) -> Result<Outcome, TrialError> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                cores::pin(self.options.cores.worker)?;
                // Where it is forbidden, calls cost what they cost in a program with several threads.
                let _ = hpbench_backends::socket::own_descriptors();
                work()
            });
            worker.join().unwrap_or(Err(TrialError::Panicked))
        })
    }

    /// Whether this trial goes through sockets.
    pub(crate) fn has_sockets(&self) -> bool {
        self.cell.variant.kind() != Kind::Null
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
