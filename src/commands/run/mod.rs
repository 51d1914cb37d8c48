//! `hpbench [RUN OPTIONS]`: the trials of a plan, one after the other, and the printed results.

mod blocks;
mod ends;
mod files;
mod mechanism;

use std::collections::HashSet;

use crate::commands::bench::look::look_around;
use crate::commands::bench::start::{new_run, start_peer, tell_losses, tries};
use crate::commands::bench::{Stock, dry_run, expected, name, seconds};
use crate::commands::run::blocks::{Bench, measure};
use crate::commands::run::files::Files;
use crate::commands::run::mechanism::Group;
use crate::commands::table;
use crate::compare::answer;
use crate::compare::dataset::Dataset;
use crate::compare::summaries;
use crate::console::Look;
use crate::console::{Failure, broken, look, print, tell, usage};
use crate::measure::control::Interrupt;
use crate::plan::args::RunArgs;
use crate::plan::cells::Cell;
use crate::plan::schedule::Schedule;
use crate::plan::{pointless, request};
use crate::record::resume::Begun;
use crate::record::resume::rest::Rest;
use crate::record::row::{self, Row};

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
    let id = begun.run_id().map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned);
    let seed = args.seed.or(begun.seed()).unwrap_or_else(rand::random);
    let mut run = new_run(args, options, (id, seed), peer_address.as_ref());
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
        let written: usize = rows.iter().map(|(_, row)| row.attempt).fold(0, usize::saturating_add);
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
    tell_losses(rows.iter().map(|(_, row)| row));
    if let Some(end) = &end {
        tell!("{}{end}", if end.is_failure() { "hpbench: ended early: " } else { "" });
    }
    let is_cut_short = end.is_some_and(|end| end.is_failure());
    let status = status(&rows, args.strict).max(u8::from(!is_in_place || is_cut_short));
    Ok(interrupt.exit_status().unwrap_or(status))
}

/// The exit status for the results.
fn status(rows: &[(usize, Row)], strict: bool) -> u8 {
    let doubtful = |row: &Row| row.is_invalid() || row.generator_limited == Some(1);
    u8::from(rows.iter().any(|(_, row)| row.is_bad() || strict && doubtful(row)))
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
