//! How a command that measures begins, and what it says of all trials: its run, the peer, and what the kernel hides.

use crate::console::{Failure, broken, tell, usage};
use crate::gates::ATTEMPTS_MAX;
use crate::measure::kthreads;
use crate::measure::remote::link::Link;
use crate::measure::remote::session::Peer;
use crate::measure::truesizes::Truesizes;
use crate::plan::address::RemoteAddress;
use crate::plan::args::RunArgs;
use crate::plan::cells::{Cell, Options, Scenario};
use crate::plan::command::version;
use crate::plan::cores::Place;
use crate::plan::request;
use crate::record::environment::Environment;
use crate::record::preload;
use crate::record::row::{Row, Run};
use crate::text::counted;

/// What the rows of a run have in common, without its peer; warns once of what spoils or hides something in all of them.
pub(crate) fn new_run(
    args: &RunArgs,
    options: Options,
    (id, seed): (String, u64),
    peer: Option<&RemoteAddress>,
) -> Run {
    warn_of_unknown(&options);
    warn_of_bypasses();
    let environment = Environment {
        state: args.state.clone().unwrap_or_default(),
        pair: args.pair,
        ..Environment::read(args.label.as_deref(), options.cores.places[0].worker).with_path(
            options.bind.at(0),
            peer.map_or(options.bind.at(0), |peer| peer.seen_from(options.bind.at(0), 0)),
        )
    };
    Run {
        id,
        seed,
        environment,
        rt_limited: options.fifo.map(|_| request::throttles_real_time()),
        canary_ns: std::cell::OnceCell::new(),
        command: args.command.clone(),
        truesizes: Truesizes::default(),
        peer: None,
        options,
    }
}

/// Starts the peer's process.
pub(crate) fn start_peer(
    args: &RunArgs,
    command: &str,
    bind: RemoteAddress,
    options: &Options,
    cells: &[Cell],
) -> Result<Peer, Failure> {
    let link = Link::start(command, version()).map_err(broken)?;
    let (places, allowed) = (&options.cores.places, &link.hello().cores);
    let named = args.peer_cpu.as_ref().map_or(&[][..], |list| &list.0);
    if let Some(core) = named.iter().find(|core| !allowed.contains(core)) {
        return Err(usage(anyhow::anyhow!(
            "--peer-cpu {core} is not one of the cores that the agent may run on, {allowed:?}"
        )));
    }
    if allowed.is_empty() {
        return Err(broken(anyhow::anyhow!("--peer: the agent does not know its cores")));
    }
    let most = cells.iter().map(|cell| options.generators_of(cell).max(1)).max().unwrap_or(1);
    let wanted = places.len() * most;
    let cores = match named {
        [] => peer_cores(allowed, if link.shares_clock() { places } else { &[] }, wanted),
        named => named.to_vec(),
    };
    if cores.len() < wanted {
        let shared = format!("{} of the peer share {}", counted(wanted, "generator"), counted(cores.len(), "core"));
        if options.fifo.is_some() {
            return Err(usage(anyhow::anyhow!("--fifo: {shared}; one that spins never yields its core to another")));
        }
        tell!("warning: {shared}; each spins, so they get in each other's way");
    }
    let peer = Peer { link, bind, cores, workers: places.len(), clock_uncertainty_ns: args.clock_uncertainty };
    if !peer.has_known_clock() && cells.iter().any(|cell| cell.scenario == Scenario::Pace) {
        tell!(
            "note: pace records no latency, because the peer has another clock; --clock-uncertainty says how far apart the \
             two hosts' clocks are, where something keeps them together (PTP)"
        );
    }
    Ok(peer)
}

/// The cores for so many generators of a peer that may run on those that are allowed: on the machine of these places, those that
/// would be a generator's there, and a worker's only if there is no other; elsewhere the last ones, as the first serve most
/// interrupts.
fn peer_cores(allowed: &[usize], places: &[Place], wanted: usize) -> Vec<usize> {
    let planned = places.iter().flat_map(|place| &place.generators).copied().filter(|core| allowed.contains(core));
    let is_free = |core: &usize| places.iter().all(|place| place.worker != *core);
    let others = allowed.iter().rev().copied().filter(is_free);
    let mut cores: Vec<usize> = Vec::new();
    for core in planned.chain(others) {
        if cores.len() < wanted && !cores.contains(&core) {
            cores.push(core);
        }
    }
    if cores.is_empty() { allowed.iter().rev().take(wanted).copied().collect() } else { cores }
}

/// Says what was lost on the way to or from a peer in another process. Such trials count.
pub(crate) fn tell_losses<'a>(rows: impl Iterator<Item = &'a Row>) {
    let (mut trials, mut lost) = (0, Vec::new());
    for row in rows {
        trials += 1;
        lost.extend(row.lost.filter(|&lost| lost > 0));
    }
    if !lost.is_empty() {
        tell!(
            "warning: in {} of {} trials datagrams were lost on the way, {} in all: neither sockets nor rings have dropped them; \
             see the columns lost and drop_host, and --verbose",
            lost.len(),
            trials,
            lost.iter().sum::<u64>()
        );
    }
}

/// Notes once what the kernel does not report, so no trial is repeated because of it.
fn warn_of_unknown(options: &Options) {
    let cores: Vec<usize> = options.cores.places.iter().flat_map(Place::all).collect();
    let unknown = [
        ("whether another program has the cores (/proc/thread-self/schedstat)", kthreads::run_delay_ns().is_none()),
        ("whether the host of a virtual machine has them (/proc/stat)", kthreads::steal_ticks(&cores).is_none()),
    ];
    let unknown: Vec<&str> = unknown.into_iter().filter(|(_, is_so)| *is_so).map(|(what, _)| what).collect();
    if !unknown.is_empty() {
        tell!(
            "warning: the kernel does not report {}: a disturbed trial counts like any other, and the column unknown says \
            so; give hpbench a readable /proc",
            unknown.join(", nor ")
        );
    }
}

/// Names preloaded libraries that other programs on this machine send through, and hpbench does not.
fn warn_of_bypasses() {
    if let Some(libraries) = preload::preloaded_here() {
        tell!(
            "warning: {libraries} is preloaded and ignored: hpbench makes its system calls itself, so its figures are those of \
             the kernel"
        );
    }
}

/// The maximum number of attempts at a trial.
pub(crate) fn tries(args: &RunArgs) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).map_or("0", str::trim);
    match tracer {
        _ if args.no_gates => 1,
        "0" => ATTEMPTS_MAX,
        _ => {
            tell!("note: a tracer is at work (process {tracer}): times are meaningless, and no trial is repeated");
            1
        }
    }
}
