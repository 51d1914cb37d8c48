//! One trial in an agent: what a trial's peer does on its thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use hpbench_backends::kernel::interface::Path;
use hpbench_backends::kernel::socket::probe_gso;
use hpbench_backends::mmsg::Mmsg;
use hpbench_backends::{Addressing, Config, Kind, Pool, Port, Socket};

use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Phase, StopAtEnd};
use crate::measure::host::HostWatch;
use crate::measure::kthreads::{self, Softirqs};
use crate::measure::near::Near;
use crate::measure::order::{Offered, Order};
use crate::measure::outcome::TrialError;
use crate::measure::peer;
use crate::measure::peer::filler::Filler;
use crate::measure::peer::load::Way;
use crate::measure::peer::receiver::Receiver as Counter;
use crate::measure::remote::consent::{Door, MARK};
use crate::measure::remote::message::{Agreed, Counted, Filled, FromAgent, Open, Report, ToAgent};
use crate::measure::remote::session::offset_ns;
use crate::measure::remote::shared::Shared;
use crate::measure::targets::Targets;
use crate::measure::threads;
use crate::plan::cells::Scenario;

/// How long consent may take.
const CONSENT_WITHIN: Duration = Duration::from_secs(10);

/// The most datagrams of a filling.
const FILL_MAX: usize = 1 << 20;

/// Why a trial cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkError {
    #[error("{0}")]
    Order(String),
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error("the coordinator ended the trial")]
    Closed,
}

/// What an agent sends from, and to.
struct Ends {
    /// The socket that the worker has asked.
    socket: Arc<Socket>,
    /// Where it sends to, if the worker has many sockets: it is then not connected.
    targets: Option<Targets>,
    /// The source ports of each generator, if they have their own: that socket is one of them.
    clients: Vec<Arc<[Arc<Socket>]>>,
    /// The first of the worker's sockets.
    worker: SocketAddr,
}

impl Ends {
    /// Where a generator sends from, and to which of these targets, if it has some.
    fn way<'a>(&'a self, generator: usize, targets: Option<&'a Targets>) -> Way<'a> {
        self.clients.get(generator).map_or_else(|| Way::to(&self.socket, targets), Way::FromMany)
    }

    /// All sockets.
    fn near(&self) -> Near {
        match self.clients.is_empty() {
            true => Near::from(Arc::clone(&self.socket)),
            false => self.clients.iter().flat_map(|sockets| sockets.iter().cloned()).collect(),
        }
    }
}

/// A trial on its thread.
pub(super) struct Work<'w> {
    pub(super) shared: &'w Shared,
    pub(super) trial: u64,
    pub(super) open: &'w Open,
    pub(super) control: &'w Control,
    pub(super) inbox: &'w Receiver<ToAgent>,
}

impl Work<'_> {
    /// Runs the trial to its end.
    pub(super) fn run(&self) -> Result<Report, WorkError> {
        let open = self.open;
        let failed = |what| move |error| TrialError::Socket { what, error };
        let bind = open.bind.here().map_err(|error| WorkError::Order(format!("--peer-bind {error}")))?;
        let mut socket = Socket::bind(bind.at(0)).map_err(failed("binding the agent's socket to --peer-bind"))?;
        let [rcvbuf, sndbuf] = open.buffers;
        socket.set_buffers(rcvbuf, sndbuf).map_err(failed("setting socket buffers"))?;
        let address = socket.local_addr().map_err(failed("reading a socket's address"))?;
        self.tell(FromAgent::Opened(address));
        let workers = self.agree(&socket)?;
        let worker = workers[0];
        let targets = if let [worker] = workers[..] {
            socket.connect_after(worker, &MARK).map_err(failed("connecting with the worker"))?;
            None
        } else {
            socket.forget(&MARK).map_err(failed("emptying the agent's socket"))?;
            Some(Targets::to(open.spread, workers))
        };
        let scenario = open.orders[0].scenario;
        if scenario != Scenario::Send {
            // What a queueing discipline drops is not sent, and sent again.
            socket.report_drops().map_err(failed("setting IP_RECVERR"))?;
        }
        let has_gso = probe_gso(bind.ip()).is_ok();
        let orders: Vec<Order> =
            open.orders.iter().map(|order| Order { gso: order.gso && has_gso, ..*order }).collect();
        let order = &orders[0];
        let watch = HostWatch::begin(socket.local_addr().map_err(failed("reading a socket's address"))?, worker);
        let socket = Arc::new(socket);
        let clients = match open.ports {
            None => Vec::new(),
            Some(ports) => self.clients(&socket, worker, ports)?,
        };
        let ends = Ends { socket, targets, clients, worker };
        let report = match scenario {
            Scenario::Flood | Scenario::Pace => self.offer(&orders, &ends),
            Scenario::Echo | Scenario::Serve | Scenario::Relay => self.answered(order, &ends),
            Scenario::Drain => self.fill(order, &ends),
            Scenario::Send => self.count(order, &ends),
        };
        let report = report.map_err(|error| match self.control.is_exceeded() {
            true => WorkError::Order(format!("the order ends after {} datagrams", open.datagrams)),
            false => error,
        })?;
        let near = ends.near();
        let drop_socket = near.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?.drops;
        let (counted, host) = (Counted { drop_socket, ..report.counted }, watch.and_then(|watch| watch.end()));
        Ok(Report { counted, unrelated: near.unrelated(), host, ..report })
    }

    /// The source ports of each generator, connected with the worker's: the one that it has asked, and others.
    fn clients(
        &self,
        asked: &Arc<Socket>,
        worker: SocketAddr,
        ports: usize,
    ) -> Result<Vec<Arc<[Arc<Socket>]>>, TrialError> {
        let failed = |what| move |error| TrialError::Socket { what, error };
        let address = asked.local_addr().map_err(failed("reading a socket's address"))?;
        let [rcvbuf, sndbuf] = self.open.buffers;
        let another = || {
            let mut socket =
                Socket::bind(beside(address)).map_err(failed("binding the agent's sockets to --peer-bind"))?;
            socket.set_buffers(rcvbuf, sndbuf).map_err(failed("setting socket buffers"))?;
            socket.connect_to(worker).map_err(failed("connecting with the worker"))?;
            socket.report_drops().map_err(failed("setting IP_RECVERR"))?;
            Ok(Arc::new(socket))
        };
        let mut first = Some(Arc::clone(asked));
        let mut next = || first.take().map_or_else(another, Ok);
        (0..self.open.orders.len()).map(|_| (0..ports).map(|_| next()).collect()).collect()
    }

    /// Waits until each of the worker's sockets has asked for load, and has had the challenge. Returns their addresses.
    fn agree(&self, socket: &Socket) -> Result<Vec<SocketAddr>, WorkError> {
        let sockets = self.open.spread.sockets;
        let (mut door, mut workers, start) = (Door::new(self.open.nonce, sockets), Vec::new(), Instant::now());
        while start.elapsed() < CONSENT_WITHIN {
            door.answer(socket).map_err(TrialError::io("answering the worker"))?;
            match self.inbox.try_recv() {
                Ok(ToAgent::Consent(challenges)) => {
                    let told = || WorkError::Order("the challenge that came back is another one".into());
                    for challenge in challenges {
                        workers.push(door.consenting(challenge).ok_or_else(told)?);
                    }
                    if workers.len() == sockets {
                        return Ok(workers);
                    }
                    if workers.len() > sockets {
                        return Err(told());
                    }
                }
                Ok(ToAgent::Close) | Err(TryRecvError::Disconnected) => return Err(WorkError::Closed),
                Ok(_) => {}
                Err(TryRecvError::Empty) => thread::sleep(Duration::from_micros(100)),
            }
        }
        Err(WorkError::Order("nobody has consented to the load".into()))
    }

    fn tell(&self, message: FromAgent) {
        self.shared.tell(self.trial, message);
    }

    fn tell_agreed(&self, ends: &Ends, train: usize, method: &str) -> Result<(), TrialError> {
        let Ends { socket, worker, .. } = ends;
        let path = socket.local_addr().and_then(|local| Path::between(local, *worker));
        let info = socket.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
        let agreed = Agreed {
            rcvbuf: info.rcvbuf,
            train,
            method: method.into(),
            offset_ns: offset_ns(),
            receive_ring: path.ok().and_then(|path| path.receive_ring()),
        };
        self.tell(FromAgent::Agreed(agreed));
        Ok(())
    }

    /// Each generator has a thread of its own, as in one process.
    fn offer(&self, orders: &[Order], ends: &Ends) -> Result<Report, WorkError> {
        self.tell_agreed(ends, 0, "")?;
        let control = self.control;
        let offer = move |generator: usize, order: &Order| {
            let targets = ends.targets.as_ref().map(|targets| targets.of_generator(generator));
            peer::offer_by(order, ends.way(generator, targets.as_ref()), control)
        };
        let offered = thread::scope(|scope| {
            // If not all threads can be started, those that were still end.
            let _stop = StopAtEnd(control);
            let start = |(at, order)| threads::spawn(scope, move || offer(at, order));
            let generators = orders.iter().enumerate().map(start).collect::<Result<Vec<_>, _>>()?;
            let mut sum = Offered::default();
            for generator in generators {
                sum.add(threads::join(generator)?);
            }
            Ok::<_, TrialError>(sum)
        })?;
        let measured_ns = self.control.measured_ns();
        let measured_ns = match measured_ns.end {
            u64::MAX => 0,
            end => end.saturating_sub(measured_ns.start),
        };
        Ok(Report { sent: self.control.sent(), measured_ns, offered: Some(offered), ..Report::default() })
    }

    fn answered(&self, order: &Order, ends: &Ends) -> Result<Report, WorkError> {
        let pool = pool(order.frames(), order.payload)?;
        let mut free = pool.frames();
        self.tell_agreed(ends, 0, "")?;
        let trips = peer::ask(order, ends.way(0, ends.targets.as_ref()), self.control, (&pool, &mut free))?;
        Ok(Report { trips: Some(trips), ..Report::default() })
    }

    fn fill(&self, order: &Order, ends: &Ends) -> Result<Report, WorkError> {
        let pool = pool(1, order.payload)?;
        order.pin().map_err(TrialError::from)?;
        let filler = Filler::to(order, &ends.socket, ends.targets.as_ref());
        let (mut filler, mut free) = (filler?, pool.frames());
        self.tell_agreed(ends, filler.train(), filler.method())?;
        let latest = Instant::now() + self.open.within;
        loop {
            match self.inbox.recv_timeout(latest.saturating_duration_since(Instant::now())) {
                Ok(ToAgent::Fill { count }) => {
                    let most = self.open.datagrams.saturating_sub(filler.sent());
                    let count = count.min(FILL_MAX).min(most as usize);
                    let start_ns = now_ns();
                    let sent = filler.fill(&mut free, count)? as u64;
                    self.tell(FromAgent::Filled(Filled { sent, ns: now_ns() - start_ns }));
                }
                Ok(ToAgent::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Err(WorkError::Order("the trial's time is over".into())),
            }
        }
        let sent = filler.sent();
        filler.close(&mut free)?;
        Ok(Report { sent, ..Report::default() })
    }

    /// Counts what arrives, all the time.
    fn count(&self, order: &Order, ends: &Ends) -> Result<Report, WorkError> {
        let socket = &ends.socket;
        let pool = pool(1024, order.payload)?;
        let mut free = pool.frames();
        order.pin().map_err(TrialError::from)?;
        let flows = self.open.spread.sockets;
        let mut counter = Counter::<Mmsg<'_>>::open(order, flows, Port::Socket(Arc::clone(socket)), &pool)?;
        self.tell_agreed(ends, 0, "")?;
        let (latest, mut ns, mut result) = (Instant::now() + self.open.within, 0, Ok(()));
        // In the warm-up, softirqs do not count.
        let mut softirqs: Option<Softirqs> = None;
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
            match self.inbox.try_recv() {
                Ok(ToAgent::Count) => {
                    self.tell(FromAgent::Counted(counted(socket, &counter, ns)));
                }
                Ok(ToAgent::Close) | Err(TryRecvError::Disconnected) => break,
                Ok(_) => {}
                // The worker may be on the same core.
                Err(TryRecvError::Empty) => thread::yield_now(),
            }
            if softirqs.is_none() && self.control.phase() == Phase::Measure {
                softirqs = Some(kthreads::cores_now(&[]).1);
            }
            if Instant::now() > latest {
                break;
            }
        }
        let counted = counted(socket, &counter, ns);
        counter.close(&mut free).map_err(TrialError::io("closing the receiver"))?;
        result?;
        let softirq_ticks = softirqs.and_then(|before| kthreads::cores_now(&[]).1.ticks_since(&before));
        Ok(Report { counted, softirq_ticks, ..Report::default() })
    }
}

fn counted<'p>(socket: &Socket, counter: &Counter<'p, Mmsg<'p>>, ns: u64) -> Counted {
    let drop_socket = socket.meminfo().map_or(0, |info| info.drops);
    Counted { tally: counter.arrived(), drop_socket, drop_ring: counter.dropped(), ns }
}

/// The same address with a port that the kernel chooses.
fn beside(mut address: SocketAddr) -> SocketAddr {
    address.set_port(0);
    address
}

/// Frames for datagrams of this size, with addresses.
fn pool(frames: usize, payload: usize) -> Result<Pool, TrialError> {
    let config = Config { addressing: Addressing::Unconnected, ..Config::new(Kind::MMSG, 1) };
    let size = config.frame_size(payload).max(2048);
    Pool::new(frames, size).map_err(TrialError::io("mapping frames"))
}
