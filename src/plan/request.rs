//! From the flags of a run to its plan: checks that what is asked for is possible before anything runs.

use std::io;
use std::net::SocketAddr;

use anyhow::Context;
use hpbench_backends::{Pool, Socket};
use rustix::io::Errno;

use crate::console::tell;
use crate::plan::address::{HostAddress, RemoteAddress};
use crate::plan::args::RunArgs;
use crate::plan::cells::{Axes, CELLS_MAX, Cell, FillCore, Options, Scenario, Until, Wait, Waited};
use crate::plan::cores::{Cores, Wanted};
use crate::plan::memory::Demand;
use crate::plan::path;
use crate::plan::shards;
use crate::plan::spread;
use crate::plan::{clients, descriptors, left_out, ports};
use crate::text::counted;

/// The axes that the flags name.
pub(crate) fn axes(args: &RunArgs) -> Axes {
    Axes {
        backends: args.backend.0.clone(),
        scenarios: args.scenario.0.clone(),
        batches: args.batch.0.clone(),
        payloads: args.payload.0.clone(),
        rounds: args.round.0.clone(),
        rates: args.rate.0.clone(),
        bursts: args.burst.0.clone(),
        fanouts: args.fanout.0.clone(),
        windows: args.window.0.clone(),
        waits: args.wait.as_ref().map(|list| list.0.clone()),
        min_waits: args.min_wait.0.clone(),
        addressings: args.addressing.0.clone(),
        buffers: args.buffers.0.clone(),
        fd_tables: args.fd_table.0.clone(),
        fill_cores: args.fill_core.0.clone(),
        spreads: spread::combinations(&args.sockets.0, &args.active.0, &args.skew.0, CELLS_MAX + 1),
        works: args.work.0.clone(),
        flows: args.flows.0.clone(),
        shardings: shards::combinations(&args.sharding.0, &args.steer.0),
    }
}

/// The cells of the plan.
pub(crate) fn cells(args: &RunArgs, scenarios_by_default: bool) -> anyhow::Result<Vec<Cell>> {
    let mut axes = axes(args);
    anyhow::ensure!(
        args.peer.is_none() || axes.fill_cores == [FillCore::Same],
        "--fill-core with --peer: the peer fills the queue, on the core that --peer-cpu names; leave out one of the two"
    );
    anyhow::ensure!(
        axes.scenarios.contains(&Scenario::Drain) || axes.fill_cores == [FillCore::Same],
        "--fill-core: only drain fills a queue before it measures; add it to --scenario"
    );
    anyhow::ensure!(
        args.fanout.0 == [1] || axes.scenarios.contains(&Scenario::Relay),
        "--fanout {}: only relay sends copies; add it to --scenario",
        args.fanout
    );
    let answered = axes.scenarios.iter().copied().find(|scenario| scenario.is_answered());
    anyhow::ensure!(
        !axes.spreads.is_empty(),
        "--active {} is more than --sockets {}: no more sockets can have traffic than there are",
        args.active,
        args.sockets
    );
    clients::check(args, &mut axes, scenarios_by_default)?;
    anyhow::ensure!(
        !(args.handoff && axes.blocks() && answered.is_some()),
        "--handoff with --wait block, the default of runtimes: a worker that sleeps until a datagram comes does not see the app's answers in \
         {}; leave out one of the three",
        answered.map_or("echo", Scenario::name)
    );
    let slowest = axes.rates.iter().min().zip(axes.bursts.iter().max());
    if let Some((rate, burst)) = slowest.filter(|_| axes.scenarios.iter().any(|scenario| scenario.has_rate())) {
        anyhow::ensure!(
            *burst <= 4 * rate,
            "--rate {rate} in bursts of --burst {burst} is less than one burst in four seconds; use a higher rate or \
             smaller bursts"
        );
    }
    for note in left_out::notes(&axes) {
        tell!("note: {note}");
    }
    if args.handoff && axes.scenarios.contains(&Scenario::Send) {
        let reason = "--handoff gives the receiving app a thread of its own, and send has none";
        anyhow::ensure!(scenarios_by_default, "--scenario send: {reason}; leave out one of the two");
        axes.scenarios.retain(|&scenario| scenario != Scenario::Send);
        tell!("note: send left out: {reason}");
    }
    if axes.waits.as_ref().is_some_and(|waits| waits.contains(&Wait::Block))
        && axes.scenarios.iter().any(|scenario| scenario.has_rounds())
    {
        tell!("note: drain and send never wait, because their queues are full; they run once, as with --wait spin");
    }
    if let Some(kind) = axes.backends.iter().map(|asked| asked.choice.kind()).find(|kind| !kind.has_socket()) {
        let unfit = axes.scenarios.iter().filter(|scenario| !scenario.suits(kind));
        let unfit: Vec<&str> = unfit.map(|scenario| scenario.name()).collect();
        let reason = format!("the {kind} backend has no socket that a generator could send to");
        anyhow::ensure!(
            unfit.is_empty() || scenarios_by_default,
            "--scenario {}: {reason}; leave out one of the two",
            unfit.join(",")
        );
        if !unfit.is_empty() {
            tell!("note: {} left out for {kind}: {reason}", unfit.join(" and "));
        }
    }
    let largest = axes.batches.iter().max().copied().unwrap_or(1);
    anyhow::ensure!(
        args.ring.next_power_of_two() >= largest,
        "--ring {} is smaller than --batch {largest}: a ring holds at least one batch",
        args.ring
    );
    let cells = axes.cells().map_err(anyhow::Error::msg)?;
    check_min_wait(args, &cells)?;
    Ok(cells)
}

/// Refuses a wait for many completions where no cell has one, and notes those that wait for the first one anyway.
fn check_min_wait(args: &RunArgs, cells: &[Cell]) -> anyhow::Result<()> {
    if args.min_wait.0 == [Waited(None)] {
        return Ok(());
    }
    anyhow::ensure!(
        cells.iter().any(|cell| cell.min_wait.is_some()),
        "--min-wait {}: only a worker that sleeps waits for many completions, with a receive of io_uring that stays armed (multishot, \
         poll); use --backend uring --wait block, and a scenario other than drain and send",
        args.min_wait
    );
    let mut others: Vec<String> = Vec::new();
    for cell in cells.iter().filter(|cell| cell.min_wait.is_none() && cell.wait == Wait::Block) {
        let name = format!("{}:{}", cell.variant.kind(), cell.variant);
        if !others.contains(&name) {
            others.push(name);
        }
    }
    if !others.is_empty() {
        tell!(
            "note: no wait for many completions at once with {}; {} for the first one, as with --min-wait off",
            others.join(", "),
            if others.len() == 1 { "it waits" } else { "they wait" }
        );
    }
    Ok(())
}

/// What all trials have in common; checks that sockets are available.
pub(crate) fn options(args: &RunArgs) -> anyhow::Result<Options> {
    let list =
        |cores: &Option<crate::plan::lists::List<usize>>| cores.as_ref().map_or_else(Vec::new, |list| list.0.clone());
    let mut cores = Cores::choose(Wanted {
        workers: args.workers,
        handoff: args.handoff,
        worker_cores: &list(&args.cpu),
        generator_cores: &list(&args.generator_cpu),
    })?;
    if args.peer.is_some() && !args.handoff {
        // Those of generators are the agent's.
        cores.shared = None;
    }
    if let Some(shared) = &cores.shared {
        tell!("warning: {shared}; threads that spin on one core get in each other's way");
    }
    if cores.relation == "unlike-cores" {
        tell!(
            "warning: worker and generator are on cores of different kinds, see `hpbench doctor`; name cores of one kind"
        );
    }
    let spare = match args.peer {
        // Its cores are known once it has started.
        Some(_) => usize::MAX,
        None => cores.places.iter().map(|place| place.generators.len()).min().unwrap_or(0),
    };
    let by_default = if args.peer.is_some() { 1 } else { spare.clamp(1, 64) };
    let generators = args.generators.unwrap_or(by_default);
    if generators > spare.max(1) {
        tell!(
            "warning: {} share {}; each spins, so they get in each other's way",
            counted(generators, "generator"),
            counted(spare, "core")
        );
    }
    anyhow::ensure!(
        args.fifo.is_none() || generators <= spare.max(1),
        "--fifo with {generators} --generators on {}: a generator that spins never yields its core to another",
        counted(spare, "core")
    );
    let fifo = args.fifo.map(|priority| fifo(priority as u8, &cores)).transpose()?.flatten();
    let port = args.port as u16;
    let sockets = args.sockets.0.iter().copied().max().unwrap_or(1);
    let last = args.port + args.workers * sockets - 1;
    anyhow::ensure!(
        args.port == 0 || last <= 65_535,
        "--port {} leaves no ports up to 65535 for {}; choose a lower one",
        args.port,
        match sockets {
            1 => format!("{} workers", args.workers),
            _ => format!("{} of {sockets} sockets", counted(args.workers, "worker")),
        }
    );
    anyhow::ensure!(
        generators * sockets <= 1 << 16,
        "--sockets {sockets} with {generators} --generators: a worker tells 65536 flows apart, one of each generator to each \
         socket; use fewer of either"
    );
    let clients = clients::check_flows(args, generators)?;
    // Clients have ports that the kernel chooses, whatever the workers have.
    ports::check(if clients > 1 { 0 } else { args.port }, args.workers * sockets + clients)?;
    descriptors::allow(args.workers * sockets + clients)?;
    for index in 0..args.workers as u16 {
        check_address(args.bind.at(if port == 0 { 0 } else { port + index }))?;
    }
    check_path(args.bind.at(0))?;
    let gso = hpbench_backends::kernel::socket::probe_gso(args.bind.ip());
    if let Err(error) = &gso {
        tell!(
            "warning: no GSO for UDP here ({error}; it needs Linux 4.18): queues are filled by sendmmsg, and flood \
             offers less"
        );
    }
    Ok(Options { generators, gso: gso.is_ok(), fifo, ..on(args, cores) })
}

/// The address of the peer's sockets, if the peer is in another process; refuses what that cannot do.
///
/// # Errors
///
/// What to leave out, or to add.
pub(crate) fn peer_address(args: &RunArgs, cells: &[Cell]) -> anyhow::Result<Option<RemoteAddress>> {
    if args.peer.is_none() {
        return Ok(None);
    }
    anyhow::ensure!(
        args.generator_cpu.is_none(),
        "--peer with --generator-cpu: the generators are in the agent; use --peer-cpu"
    );
    let without = cells.iter().map(|cell| cell.variant.kind()).find(|kind| !kind.has_socket());
    anyhow::ensure!(
        without.is_none(),
        "--peer with --backend {}: it has no socket that another process could send to; leave out one",
        without.map_or("null", |kind| kind.name())
    );
    let address = match &args.peer_bind {
        Some(address) => address.clone(),
        None if args.bind.ip().is_loopback() => args.bind.ip().into(),
        None => anyhow::bail!(
            "--peer with --bind {}: say with --peer-bind which address the peer's sockets have",
            args.bind
        ),
    };
    anyhow::ensure!(
        address.ip().is_ipv4() == args.bind.ip().is_ipv4(),
        "--bind {} and --peer-bind {address}: one is of IPv4 and the other of IPv6; use two of one kind",
        args.bind
    );
    anyhow::ensure!(
        !address.ip().is_unspecified(),
        "--peer-bind {address} is no address that can be sent to; name one of the peer's"
    );
    anyhow::ensure!(
        !address.is_link_local() || args.bind.is_link_local(),
        "--peer-bind {address} is link-local: name the interface that leads there with a link-local --bind, as in \
         --bind fe80::1%eth0"
    );
    Ok(Some(address))
}

/// What the flags set for all trials, on `cores`, whatever this machine can do.
pub(crate) fn on(args: &RunArgs, cores: Cores) -> Options {
    Options {
        until: match args.packets {
            Some(count) => Some(Until::Datagrams(count as u64)),
            None => args.duration.map(Until::Elapsed),
        },
        warmup: args.warmup,
        verify: args.verify.into(),
        bind: args.bind.clone(),
        port: args.port as u16,
        ring: args.ring.next_power_of_two(),
        rcvbuf: args.rcvbuf,
        sndbuf: args.sndbuf,
        generators: args.generators.unwrap_or(1),
        gso: false,
        handoff: args.handoff,
        fifo: None,
        at_ticks: false,
        added_ns: args.added_ns,
        cores,
    }
}

/// Notes threads that spin on a core of other threads, and refuses those that would keep each other from it.
///
/// # Errors
///
/// What to leave out.
pub(crate) fn check_kernel_threads(cells: &[Cell], options: &Options) -> anyhow::Result<()> {
    let Some(thread) = cells.iter().find_map(Cell::kernel_thread) else { return Ok(()) };
    anyhow::ensure!(
        options.fifo.is_none(),
        "--fifo with {thread}: the kernel's thread spins with the same priority, and never yields its core to another; \
         leave out one of the two"
    );
    let with_threads = cells.iter().filter(|cell| cell.has_kernel_thread());
    let is_shared = |cell: &&Cell| {
        let (generators, places) = (options.generators_of(cell), &options.cores.places);
        places.iter().any(|place| {
            let others = generators + usize::from(options.handoff);
            !place.generators.is_empty() && others >= place.generators.len() && others > 0
        })
    };
    let mut scenarios: Vec<&str> = with_threads.filter(is_shared).map(|cell| cell.scenario.name()).collect();
    scenarios.dedup();
    if !scenarios.is_empty() {
        tell!(
            "note: in {} the kernel's thread of {thread} shares a core with another thread that spins; \
             --generators 1 leaves it a core of its own if there are cores to spare",
            scenarios.join(" and ")
        );
    }
    Ok(())
}

/// Whether pinned threads may run under `SCHED_FIFO`: the priority, or nothing, with a warning, where that is not
/// permitted.
fn fifo(priority: u8, cores: &Cores) -> anyhow::Result<Option<u8>> {
    anyhow::ensure!(
        cores.relation != "one-core",
        "--fifo {priority} would keep everything else from the only core that hpbench may run on; allow more (`taskset`)"
    );
    anyhow::ensure!(
        cores.relation != "shared-cores",
        "--fifo {priority}: {}, and a thread under SCHED_FIFO that spins never yields its core to another",
        cores.shared.as_deref().unwrap_or("threads share cores")
    );
    // Tried on a thread that ends at once.
    let tried = std::thread::Builder::new().spawn(move || hpbench_backends::kernel::thread::set_fifo(priority));
    let tried =
        tried.context("cannot start a thread; raise the limit of processes and threads (`ulimit -u`, pids.max)")?;
    if let Ok(Err(error)) = tried.join() {
        tell!(
            "warning: SCHED_FIFO is not permitted ({error}), so threads run as usual; it needs CAP_SYS_NICE or `ulimit -r {priority}`"
        );
        return Ok(None);
    }
    if throttles_real_time() {
        tell!(
            "warning: the kernel stops real-time threads now and then, so latencies under --fifo are meaningless; \
             `sysctl kernel.sched_rt_runtime_us=-1` lets them run"
        );
    }
    Ok(Some(priority))
}

/// Whether the kernel stops real-time threads for a part of each period (`sched_rt_runtime_us`).
pub(crate) fn throttles_real_time() -> bool {
    let runtime = std::fs::read_to_string("/proc/sys/kernel/sched_rt_runtime_us").unwrap_or_default();
    runtime.trim() != "-1"
}

/// Binds the worker's address once, so that a bad one is found before anything is run.
fn check_address(address: SocketAddr) -> anyhow::Result<()> {
    let remedy = match Socket::bind(address).map(drop) {
        Ok(()) => return Ok(()),
        Err(error) => match error.kind() {
            io::ErrorKind::AddrInUse => {
                (error, "another socket has this port; choose one with --port, or 0 to let the kernel choose")
            }
            io::ErrorKind::AddrNotAvailable => (error, "--bind takes an address of this machine, see `ip address`"),
            io::ErrorKind::PermissionDenied => {
                (error, "ports below 1024 need CAP_NET_BIND_SERVICE; choose another --port")
            }
            _ if is_short_of_files(&error) => (error, "raise the limit of open files (`ulimit -n`)"),
            _ => (error, "choose another --bind, see `ip address`"),
        },
    };
    anyhow::bail!("cannot bind {address}: {}; {}", remedy.0, remedy.1)
}

fn is_short_of_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Connects two sockets once, so that an address to which nothing can be sent is found before anything is run.
fn check_path(address: SocketAddr) -> anyhow::Result<()> {
    let Err(error) = Socket::pair(address) else { return Ok(()) };
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "it is a broadcast address, and broadcasts leave the machine; --bind takes an address of this machine, see \
             `ip address`"
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkDown => {
            "bring its interface up (`ip link set lo up`), see `ip address` and `ip route`"
        }
        io::ErrorKind::Unsupported => {
            "the kernel lacks a call for sockets, or a seccomp filter hides it (Docker: `--security-opt seccomp=unconfined`)"
        }
        _ if is_short_of_files(&error) => "raise the limit of open files (`ulimit -n`)",
        _ => "choose another --bind, see `ip address`",
    };
    anyhow::bail!("cannot connect two sockets on {}: {error}; {remedy}", address.ip())
}

/// Refuses payloads that would be fragmented on their way to a peer in another process. Nothing is sent.
///
/// # Errors
///
/// That there is no way, or the largest payload that is sent whole, and what to do for a larger one.
pub(crate) fn check_way(cells: &[Cell], bind: &HostAddress, peer: &RemoteAddress) -> anyhow::Result<()> {
    // A socket knows its path once it is connected; the port does not matter.
    const ANY_PORT: u16 = 9;
    let connected = Socket::bind(bind.at(0)).and_then(|socket| {
        socket.connect(peer.seen_from(bind.at(0), ANY_PORT))?;
        Ok(socket)
    });
    let way = || format!("there is no way from --bind {bind} to --peer-bind {peer}; see `ip route get {peer}`");
    let socket = connected.with_context(way)?;
    let payloads = cells.iter().map(|cell| cell.payload);
    payloads.max().map_or(Ok(()), |payload| Ok(path::check_whole(payload, &socket)?))
}

/// The frames of a run.
#[derive(Debug)]
pub(crate) struct Pools {
    /// For cells in which each datagram has a frame of its own.
    pub(crate) datagrams: Pool,
    /// For those that receive trains, in far larger frames; a pool of its own, so that it changes nothing for others.
    pub(crate) trains: Pool,
}

impl Pools {
    /// The pool that a cell uses.
    pub(crate) fn of(&self, cell: &Cell) -> &Pool {
        if cell.receives_trains() { &self.trains } else { &self.datagrams }
    }
}

/// Pools with frames for the largest payload of the cells that use them, if there is memory for them and for the rows of
/// so many trials.
///
/// # Errors
///
/// If there is not enough memory.
pub(crate) fn make_pools(cells: &[Cell], options: &Options, trials: usize) -> anyhow::Result<Pools> {
    check_memory(cells, options, trials)?;
    let [datagrams, trains] = pool_sizes(cells, options).map(PoolSize::make);
    Ok(Pools { datagrams: datagrams?, trains: trains? })
}

/// Whether there is memory for the pools, and for the rows of so many trials; announces pools that take long to make.
///
/// # Errors
///
/// What limits the memory, and what to do.
pub(crate) fn check_memory(cells: &[Cell], options: &Options, trials: usize) -> anyhow::Result<()> {
    let frames = pool_sizes(cells, options).iter().map(PoolSize::bytes).fold(0, u64::saturating_add);
    Demand { frames, trials }.check()
}

/// The pools of those cells in which each datagram has a frame of its own, and of those that receive trains.
fn pool_sizes(cells: &[Cell], options: &Options) -> [PoolSize; 2] {
    let (trains, datagrams): (Vec<&Cell>, Vec<&Cell>) = cells.iter().partition(|cell| cell.receives_trains());
    [datagrams, trains].map(|cells| PoolSize::of(&cells, options))
}

/// Frames for the answers of `serve` and `relay`: the client takes them one by one.
pub(crate) const SERVE_FRAMES: usize = 128;

/// The size of a pool.
#[derive(Clone, Copy, Debug)]
struct PoolSize {
    frames: usize,
    frame_size: usize,
}

impl PoolSize {
    fn of(cells: &[&Cell], options: &Options) -> Self {
        let most = |value: fn(&Cell) -> usize| cells.iter().map(|cell| value(cell)).max().unwrap_or(0);
        let frame_size = most(Cell::frame_size).max(2048);
        // A batch each in a backend's hands, on the rings and in the app's; the buffer ring; the window of
        // an echo on both sides; and without a socket a whole round in the link.
        let in_link =
            most(|cell| if cell.variant.kind().has_socket() { 0 } else { cell.round.unwrap_or(0).next_power_of_two() });
        // An app on another thread may leave whole rings behind.
        let on_rings = if options.handoff { 3 * options.ring } else { 0 };
        let frames = most(|cell| cell.buffers.unwrap_or(0))
            + 4 * most(|cell| cell.batch)
            + 6 * most(|cell| cell.window.unwrap_or(0))
            + most(|cell| if cell.scenario.is_answered() && cell.scenario.has_rate() { SERVE_FRAMES } else { 0 })
            + in_link
            + on_rings
            + 256;
        let frames = if cells.is_empty() { 1 } else { frames * options.cores.places.len() };
        Self { frames, frame_size }
    }

    fn bytes(&self) -> u64 {
        Pool::bytes_for(self.frames, self.frame_size).map_or(u64::MAX, |bytes| bytes as u64)
    }

    fn make(self) -> anyhow::Result<Pool> {
        let Self { frames, frame_size } = self;
        let pool = Pool::new(frames, frame_size).with_context(|| {
            let mib = self.bytes() as f64 / f64::from(1 << 20);
            format!(
                "cannot map {mib:.0} MiB of memory for {frames} frames; use a smaller --payload, --batch, --window or --round"
            )
        })?;
        if let Some(error) = pool.lock_error() {
            let mib = pool.bytes() as f64 / f64::from(1 << 20);
            tell!(
                "warning: {mib:.1} MiB of frames could not be locked into memory ({error}); raise the limit with `ulimit -l unlimited`"
            );
        }
        Ok(pool)
    }
}
