//! `hpbench [RUN OPTIONS]`: the trials of a plan, one after the other, and the printed results.

mod blocks;
mod ends;
mod files;
mod look;
mod mechanism;

use std::collections::HashSet;

use crate::commands::bench::{Stock, dry_run, expected, name, seconds};
use crate::commands::run::blocks::{Bench, measure};
use crate::commands::run::files::Files;
use crate::commands::run::look::look_around;
use crate::commands::run::mechanism::Group;
use crate::commands::table;
use crate::compare::answer;
use crate::compare::dataset::Dataset;
use crate::compare::summaries;
use crate::console::Look;
use crate::console::{Failure, broken, look, print, tell, usage};
use crate::gates::ATTEMPTS_MAX;
use crate::measure::control::Interrupt;
use crate::measure::kthreads;
use crate::measure::remote::link::Link;
use crate::measure::remote::session::Peer;
use crate::measure::truesizes::Truesizes;
use crate::plan::address::RemoteAddress;
use crate::plan::args::RunArgs;
use crate::plan::cells::{Cell, Options, Scenario};
use crate::plan::command::version;
use crate::plan::cores::Place;
use crate::plan::schedule::Schedule;
use crate::plan::{pointless, request};
use crate::record::environment::Environment;
use crate::record::preload;
use crate::record::resume::Begun;
use crate::record::resume::rest::Rest;
use crate::record::row::{self, Row, Run};
use crate::text::counted;

/// Plans, runs, and prints.
pub(crate) fn run(args: &RunArgs, scenarios_by_default: bool) -> Result<u8, Failure> {
    let begun = if args.resume { Begun::read(args.out.as_deref())? } else { Begun::default() };
    let mut cells = request::cells(args, scenarios_by_default).map_err(Failure::Usage)?;
    let options = request::options(args).map_err(Failure::Usage)?;
    if !args.force_plan {
        cells = pointless::leave_out(cells, &options, scenarios_by_default).map_err(Failure::Usage)?;
    }
    request::check_kernel_threads(&cells, &options).map_err(Failure::Usage)?;
    let peer_address = request::peer_address(args, &cells).map_err(Failure::Usage)?;
    if let Some(peer) = &peer_address {
        request::check_way(&cells, &options.bind, peer).map_err(Failure::Usage)?;
    }
    let compared: HashSet<_> = cells.iter().map(|cell| cell.variant).filter(|it| it.kind().has_socket()).collect();
    if args.precision.is_some() && compared.len() < 2 {
        return Err(usage(anyhow::anyhow!(
            "--precision is the precision of a comparison: name two backends or modes, e.g. --backend plain,uring"
        )));
    }
    warn_of_unknown(&options);
    warn_of_bypasses();
    let environment = Environment {
        state: args.state.clone().unwrap_or_default(),
        pair: args.pair,
        ..Environment::read(args.label.as_deref(), options.cores.places[0].worker).with_path(
            options.bind.at(0),
            peer_address.as_ref().map_or(options.bind.at(0), |peer| peer.seen_from(options.bind.at(0), 0)),
        )
    };
    let mut run = Run {
        id: begun.run_id().map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned),
        seed: args.seed.or(begun.seed()).unwrap_or_else(rand::random),
        environment,
        rt_limited: options.fifo.map(|_| request::throttles_real_time()),
        canary_ns: std::cell::OnceCell::new(),
        command: args.command.clone(),
        truesizes: Truesizes::default(),
        peer: None,
        options,
    };
    // A run that is resumed must have the same peer.
    if let (Some(command), Some(address)) = (&args.peer, peer_address)
        && (!args.dry_run || args.resume)
    {
        run.peer = Some(start_peer(args, command, address, &run.options, &cells)?);
    }
    let schedule = Schedule::new(cells.len(), args.blocks(), run.seed);
    let (mut rest, tries) = (begun.rest(&run, &cells, schedule)?, tries(args));
    // If trials are not repeated, a disturbed one of an earlier run is left as it is.
    rest.lacking.give_up_after(tries);
    let expected = expected(args, &cells, rest.lacking.len());
    let kept = rest.rows.len() + expected;
    if args.dry_run {
        let text = dry_run(args, &cells, schedule.len()) + &left(args, &cells, &begun, &rest, schedule.len());
        let too_large = request::check_memory(&cells, &run.options, kept).err();
        let too_large = too_large.map_or_else(String::new, |error| format!("{error}\n"));
        return print(&(text + &lacking(&cells) + &too_large)).map(|()| 0);
    }
    let interrupt = Interrupt::install().map_err(broken)?;
    let is_complete = rest.lacking.is_empty();
    let pools = (!is_complete).then(|| request::make_pools(&cells, &run.options, kept)).transpose();
    let pools = pools.map_err(Failure::Usage)?;
    let mut files = Files::open(args, &begun, &run.environment.host)?;
    files.begin(&begun, is_complete)?;
    let before = rest.rows.len();
    let (mut rows, end) = match pools {
        None => (rest.rows, None),
        Some(pools) => {
            look_around(args, &run, seconds(args, &cells, expected), &interrupt);
            let bench = Bench { args, run: &run, cells: &cells, interrupt: &interrupt, tries };
            measure(&bench, Stock::new(pools), rest, &mut files)?
        }
    };
    let is_in_place = files.finish()?;
    row::mark(rows.iter_mut().map(|(_, row)| row));
    let text = outcome(args, &cells, &rows, look());
    if files.output.is_stdout() {
        tell!("{text}");
    } else {
        print(&text)?;
        let written: usize = rows.iter().map(|(_, row)| row.attempt).sum();
        let already = if args.resume { format!(", {before} of them from before") } else { String::new() };
        match is_complete {
            true => tell!("nothing was left to run: {} has all {} trials of the plan", files.output.name(), rows.len()),
            false => tell!("{written} rows in {}{already}", files.output.name()),
        }
    }
    let failed = rows.iter().filter(|(_, row)| row.is_bad()).count();
    if failed > 0 {
        tell!("hpbench: {failed} of {} trials failed or do not balance, see above", rows.len());
    }
    tell_losses(&rows);
    if let Some(end) = &end {
        tell!("{}{end}", if end.is_failure() { "hpbench: ended early: " } else { "" });
    }
    let is_cut_short = end.is_some_and(|end| end.is_failure());
    let status = status(&rows, args.strict).max(u8::from(!is_in_place || is_cut_short));
    Ok(interrupt.exit_status().unwrap_or(status))
}

/// Starts the peer's process.
fn start_peer(
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
fn tell_losses(rows: &[(usize, Row)]) {
    let lost: Vec<u64> = rows.iter().filter_map(|(_, row)| row.lost).filter(|&lost| lost > 0).collect();
    if !lost.is_empty() {
        tell!(
            "warning: in {} of {} trials datagrams were lost on the way, {} in all: neither sockets nor rings have dropped them; \
             see the columns lost and drop_host, and --verbose",
            lost.len(),
            rows.len(),
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

/// The exit status for the results.
fn status(rows: &[(usize, Row)], strict: bool) -> u8 {
    let doubtful = |row: &Row| row.is_invalid() || row.generator_limited == Some(1);
    u8::from(rows.iter().any(|(_, row)| row.is_bad() || strict && doubtful(row)))
}

/// The maximum number of attempts at a trial.
fn tries(args: &RunArgs) -> usize {
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

/// The results of a run, ready to print: the answer, the table, and with `--verbose` the figures behind them.
fn outcome(args: &RunArgs, cells: &[Cell], rows: &[(usize, Row)], look: Look) -> String {
    let data = Dataset::of_rows(summaries::columns(), rows.iter().map(|(_, row)| row));
    let mut parts = vec![answer::of_trials(&data, look), table::render(&summaries::of(&data), &[])];
    parts.extend(mechanism::render(&groups(cells, rows)).filter(|_| args.verbose));
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// The trials of each cell, in the order of the plan.
fn groups<'a>(cells: &[Cell], rows: &'a [(usize, Row)]) -> Vec<Group<'a>> {
    let group = |cell: &Cell| Group { scenario: cell.scenario, name: name(cell), rows: Vec::new() };
    let mut groups: Vec<Group<'_>> = cells.iter().map(group).collect();
    rows.iter().for_each(|(cell, row)| groups[*cell].rows.push(row));
    groups
}

/// What is left to run of a plan; empty if no run is resumed.
fn left(args: &RunArgs, cells: &[Cell], begun: &Begun, rest: &Rest, trials: usize) -> String {
    if !args.resume || args.is_open_ended() {
        return String::new();
    }
    let left = rest.lacking.len();
    let mut text = match left {
        0 => format!("all of them are in {}: nothing is left to run", begun.name()),
        _ => format!("{} of them are in {}: {left} trials are left", trials - left, begun.name()),
    };
    if args.packets.is_none() && left > 0 {
        text += &format!(", about {:.0} s", seconds(args, cells, left));
    }
    if begun.cut() > 0 {
        text += &format!("; its last line is cut ({} bytes, no line end) and would be removed", begun.cut());
    }
    text + "\n"
}

/// What this machine cannot run of a plan, and why, determined by trying.
fn lacking(cells: &[Cell]) -> String {
    let mut tried = Vec::new();
    let mut text = String::new();
    for cell in cells {
        let (variant, config) = (cell.variant, cell.backend_config());
        if tried.contains(&(variant, cell.addressing)) {
            continue;
        }
        tried.push((variant, cell.addressing));
        if let Err(error) = config.probe() {
            text += &format!("{}:{variant} cannot run here: {error}\n", variant.kind());
        }
    }
    text
}
