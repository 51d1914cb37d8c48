//! `hpbench search`: the highest rate that each backend can take, by MLRsearch (RFC 9971) on `pace`, `serve` or `relay`.
//!
//! Which load is tried next, and what is known of the others, is [`crate::stats::search`]; a trial is that of a run. What was found is read
//! from the rows, by `compare::capacity`, as it is from those of a file.

pub mod args;
mod trials;

use anyhow::{anyhow, ensure};
use hpbench_backends::Addressing;

use crate::commands::bench::look::look_around;
use crate::commands::bench::start::{new_run, start_peer, tries};
use crate::commands::bench::{Stock, dry_run, open_output};
use crate::commands::found;
use crate::compare::capacity::{self, Sought};
use crate::console::{Failure, broken, print, tell, usage};
use crate::measure::control::Interrupt;
use crate::place;
use crate::plan::args::RunArgs;
use crate::plan::cells::{Cell, Options};
use crate::plan::lists::List;
use crate::plan::shards::{Sharding, Steer};
use crate::plan::{pointless, request};
use crate::record::row::Run;
use crate::stats::search::Search;
use crate::text::counted;
use args::SearchArgs;
use trials::{Bench, End, Measured, Subject, measure};

/// Searches, and prints what was found.
pub(crate) fn run(args: &SearchArgs) -> Result<u8, Failure> {
    let sought = args.sought().map_err(Failure::Usage)?;
    check(args).map_err(Failure::Usage)?;
    let plan = plan(args, &sought)?;
    if args.run.dry_run {
        return print(&(dry_text(&plan, &sought) + &format!("goal: {sought}\n"))).map(|()| 0);
    }
    let interrupt = Interrupt::install().map_err(broken)?;
    let Plan { mut runs, mut subjects, .. } = plan;
    if let Some(command) = &args.run.peer {
        // An agent has the generators of one number of workers.
        for (at, run) in runs.iter_mut().enumerate() {
            let own = subjects.iter().filter(|subject| subject.run == at);
            let cells: Vec<Cell> = own.map(|subject| subject.cell).collect();
            if let Some(address) = request::peer_address(&args.run, &cells).map_err(Failure::Usage)? {
                run.peer = Some(start_peer(&args.run, command, address, &run.options, &cells)?);
            }
        }
    }
    let stock = stock(&runs, &subjects)?;
    let used: Vec<_> = args.run.out.as_deref().map(|path| ("-o", path)).into_iter().collect();
    place::check_outputs(&used, &[]).map_err(usage)?;
    let mut output = open_output(&args.run, &runs[0].environment.host)?;
    output.begin()?;
    look_around(&args.run, &runs[0], seconds(&subjects, &sought), &interrupt);
    let tries = tries(&args.run);
    let bench =
        Bench { args: &args.run, runs: &runs, interrupt: &interrupt, tries, sought: &sought, time: args.goal.time };
    let measured = measure(&bench, &mut subjects, stock, &mut output)?;
    let is_in_place = output.finish()?;
    let text = found::text(&measured.searches.found(&[]));
    if output.is_stdout() {
        tell!("{text}");
    } else {
        print(&text)?;
        tell!("{} in {}", counted(measured.rows, "row"), output.name());
    }
    let is_sound = tell_end(&measured);
    let status = u8::from(!is_in_place || !is_sound);
    Ok(interrupt.exit_status().unwrap_or(status))
}

/// Says what went wrong. Returns whether nothing did.
fn tell_end(measured: &Measured) -> bool {
    if measured.disturbed > 0 {
        tell!("{} disturbed, and repeated", counted(measured.disturbed, "trial"));
    }
    if measured.bad > 0 {
        tell!("hpbench: {} of {} trials failed or do not balance", measured.bad, measured.rows);
    }
    match &measured.end {
        Some(End::Time) => tell!("hpbench: ended early: time is up; --time allows more"),
        Some(End::Disturbed(why)) => tell!(
            "hpbench: ended early: nothing counts any more, the last trial for this reason: {why}. Stop what else runs (`hpbench \
             doctor` names it), name other cores with --cpu, or use --wait-quiet 60"
        ),
        Some(End::Peer(why)) => tell!("hpbench: ended early: {why}"),
        None => {}
    }
    measured.bad == 0 && measured.end.is_none()
}

/// Refuses what a search cannot do.
fn check(args: &SearchArgs) -> anyhow::Result<()> {
    let run = &args.run;
    if let Some(other) = run.scenario.0.iter().find(|scenario| !scenario.has_rate()) {
        return Err(anyhow!("--scenario {other}: a search needs a load with a rate; there are pace, serve and relay"));
    }
    let several = args.goal.workers.0.len() > 1;
    ensure!(
        run.cpu.is_none() || !several,
        "--cpu with --workers {}: it names a core for each worker; name one number of workers",
        args.goal.workers
    );
    Ok(())
}

/// What is searched.
struct Plan {
    /// One for each number of workers.
    runs: Vec<Run>,
    subjects: Vec<Subject>,
    /// The flags of the first run.
    args: RunArgs,
}

fn plan(args: &SearchArgs, sought: &Sought) -> Result<Plan, Failure> {
    let highest = args.goal.rate_max as u64;
    let (id, seed) = (format!("{:016x}", rand::random::<u64>()), args.run.seed.unwrap_or_else(rand::random));
    let (mut runs, mut subjects, mut first) = (Vec::new(), Vec::new(), None);
    for &workers in &args.goal.workers.0 {
        let own = RunArgs {
            workers,
            rate: List(vec![highest]),
            duration: Some(args.trial()),
            generators: Some(1),
            ..args.run.clone()
        };
        let is_one_of_several = args.goal.workers.0.len() > 1;
        let own = if is_one_of_several && workers == 1 { alone(own) } else { own };
        let mut cells = request::cells(&own, false).map_err(Failure::Usage)?;
        let options = match request::options(&own) {
            Ok(options) if is_one_of_several && lacks_cores(&own, &options) => {
                tell!(
                    "note: {} left out: there are too few cores for them and their generators",
                    counted(workers, "worker")
                );
                continue;
            }
            Err(error) if is_one_of_several => {
                tell!("note: {} left out: {error:#}", counted(workers, "worker"));
                continue;
            }
            options => options.map_err(Failure::Usage)?,
        };
        if !own.force_plan {
            cells = pointless::leave_out(cells, &options, false).map_err(Failure::Usage)?;
        }
        request::check_kernel_threads(&cells, &options).map_err(Failure::Usage)?;
        let peer = request::peer_address(&own, &cells).map_err(Failure::Usage)?;
        if let Some(peer) = &peer {
            request::check_way(&cells, &options.bind, peer).map_err(Failure::Usage)?;
        }
        let search = |cell: &Cell| {
            let range = capacity::range(cell.burst.unwrap_or(1), highest_of(cell, highest), sought);
            Search::new(sought.goals.clone(), range)
        };
        subjects.extend(cells.into_iter().map(|cell| Subject::new(runs.len(), cell, search(&cell))));
        runs.push(new_run(&own, options, (id.clone(), seed), peer.as_ref()));
        first.get_or_insert(own);
    }
    let args = first.ok_or_else(|| {
        usage(anyhow!("--workers {}: there are cores for none of these numbers of workers", args.goal.workers))
    })?;
    Ok(Plan { runs, subjects, args })
}

/// The flags of the one worker that several are compared with: it has nobody to share a port with, but a socket as they have.
fn alone(args: RunArgs) -> RunArgs {
    let shardings = &args.sharding.0;
    let mut addressings = if shardings.contains(&Sharding::Ports) { args.addressing.0.clone() } else { Vec::new() };
    if shardings.iter().any(|sharding| sharding.is_shared()) && !addressings.contains(&Addressing::Unconnected) {
        addressings.push(Addressing::Unconnected);
    }
    let (sharding, steer) = (List(vec![Sharding::Ports]), List(vec![Steer::Hash]));
    RunArgs { addressing: List(addressings), sharding, steer, ..args }
}

/// Whether workers and their generators would have to share cores, or there are none for the generators.
fn lacks_cores(args: &RunArgs, options: &Options) -> bool {
    let has_none = options.cores.places.iter().any(|place| place.generators.is_empty());
    args.peer.is_none() && (has_none || options.cores.shared.is_some() && !args.force_plan)
}

/// The highest rate to try. With that much work on each datagram, no worker can take half as much, and none sends on a copy in
/// 50 ns; what a full queue holds would take seconds to empty.
fn highest_of(cell: &Cell, highest: u64) -> u64 {
    let beyond = cell.work.filter(|&ns| ns > 0).map_or(u64::MAX, |ns| 2_000_000_000 / ns);
    let too_many = 20_000_000 / cell.copies();
    highest.min(beyond).min(too_many).max(1)
}

/// The frames of all trials: those of the most workers.
fn stock(runs: &[Run], subjects: &[Subject]) -> Result<Stock, Failure> {
    let cells: Vec<Cell> = subjects.iter().map(|subject| subject.cell).collect();
    let most = runs.iter().max_by_key(|run| run.options.cores.places.len()).expect("there is a run");
    let pools = request::make_pools(&cells, &most.options, TRIALS * cells.len()).map_err(Failure::Usage)?;
    Ok(Stock::new(pools))
}

/// About how many trials a search takes.
const TRIALS: usize = 40;

/// About how long all searches take: each tries three loads as long as it takes to decide, and some for a trial or two.
fn seconds(subjects: &[Subject], sought: &Sought) -> f64 {
    2.0 * sought.goals.iter().map(|goal| goal.sum_s).sum::<f64>() * subjects.len() as f64
}

/// What would be searched.
fn dry_text(plan: &Plan, sought: &Sought) -> String {
    let cells: Vec<Cell> = plan
        .subjects
        .iter()
        .filter(|subject| subject.run == 0)
        .map(|subject| Cell { rate: None, ..subject.cell })
        .collect();
    let all = dry_run(&plan.args, &cells, 0);
    // Its last line counts trials, which a search does not know.
    let cells: String = all.lines().take(cells.len()).map(|line| format!("{line}\n")).collect();
    let searches = plan.subjects.len();
    let workers: Vec<String> = plan.runs.iter().map(|run| run.options.cores.places.len().to_string()).collect();
    let seconds = seconds(&plan.subjects, sought);
    let what = if searches == 1 { "search" } else { "searches" };
    format!("{cells}{searches} {what}, workers {}, about {seconds:.0} s\n", workers.join(","))
}
