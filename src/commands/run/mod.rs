//! `hpbench [RUN OPTIONS]`: the trials of a plan, one after the other, and what is printed of them.

pub mod table;

use std::time::{Duration, Instant};

use crate::commands::bench::{Stock, dry_run, name, one_trial, open_output, progress};
use crate::commands::run::table::Group;
use crate::compare::answer;
use crate::console::{Failure, broken, print, tell, usage};
use crate::gates::ATTEMPTS_MAX;
use crate::measure::control::Interrupt;
use crate::plan::args::RunArgs;
use crate::plan::cells::Cell;
use crate::plan::request;
use crate::plan::schedule::Schedule;
use crate::record::environment::Environment;
use crate::record::hlog::Hlog;
use crate::record::output::Output;
use crate::record::resume::Begun;
use crate::record::resume::rest::Rest;
use crate::record::row::{self, Row, Run};

/// Plans, runs, and prints.
pub(crate) fn run(args: &RunArgs, scenarios_by_default: bool) -> Result<u8, Failure> {
    let begun = if args.resume { Begun::read(args.out.as_deref())? } else { Begun::default() };
    let cells = request::cells(args, scenarios_by_default).map_err(Failure::Usage)?;
    let options = request::options(args).map_err(Failure::Usage)?;
    request::check_kernel_threads(&cells, &options).map_err(Failure::Usage)?;
    let schedule = |seed| Schedule::new(cells.len(), args.trials, seed);
    if args.dry_run {
        let too_large = request::check_memory(&cells, &options, schedule(0).len()).err();
        let too_large = too_large.map_or_else(String::new, |error| format!("{error}\n"));
        return print(&(dry_run(args, &cells, schedule(0).len()) + &lacking(&cells) + &too_large)).map(|()| 0);
    }
    let environment = Environment::read(args.label.as_deref(), options.cores.places[0].worker);
    let interrupt = Interrupt::install().map_err(broken)?;
    let pools = request::make_pools(&cells, &options, schedule(0).len()).map_err(Failure::Usage)?;
    let run = Run {
        id: begun.run_id().map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned),
        seed: args.seed.or(begun.seed()).unwrap_or_else(rand::random),
        environment,
        rt_limited: options.fifo.map(|_| request::throttles_real_time()),
        canary_ns: std::cell::OnceCell::new(),
        options,
    };
    let rest = begun.rest(&run, &cells, schedule(run.seed))?;
    let before = rest.rows.len();
    if args.resume {
        cut_off(&begun)?;
    }
    let mut output = open_output(args, &run.environment.host)?;
    let hlog = open_hlog(args)?;
    let tries = tries(args);
    let mut rows = measure(args, &run, &cells, Stock::new(pools), &interrupt, (rest, tries), (&mut output, hlog))?;
    row::mark(rows.iter_mut().map(|(_, row)| row));
    let answer = answer::after_run(rows.iter().map(|(_, row)| row));
    let text = table::render(&groups(&cells, &rows), args.verbose) + &answer;
    if output.is_stdout() {
        tell!("{text}");
    } else {
        print(&text)?;
        let already = if args.resume { format!(", {before} of them were there before") } else { String::new() };
        let written: usize = rows.iter().map(|(_, row)| row.attempt).sum();
        tell!("{written} rows in {}{already}", output.name());
    }
    let failed = rows.iter().filter(|(_, row)| row.is_failed() || !row.balances()).count();
    if failed > 0 {
        tell!("hpbench: {failed} of {} trials failed or do not balance, see above", rows.len());
    }
    Ok(interrupt.exit_status().unwrap_or_else(|| status(&rows, args.strict)))
}

/// The exit status that the results deserve.
fn status(rows: &[(usize, Row)], strict: bool) -> u8 {
    let bad = |row: &Row| row.is_failed() || !row.balances();
    let doubtful = |row: &Row| row.is_invalid() || row.generator_limited == Some(1);
    u8::from(rows.iter().any(|(_, row)| bad(row) || strict && doubtful(row)))
}

fn open_hlog(args: &RunArgs) -> Result<Option<Hlog>, Failure> {
    let Some(path) = &args.hlog else { return Ok(None) };
    Hlog::create(path, args.force).map(Some).map_err(usage)
}

/// Removes a row that is cut from the end of a file, and says so.
fn cut_off(begun: &Begun) -> Result<(), Failure> {
    begun.cut_off()?;
    if begun.cut() > 0 {
        tell!("note: the last line of {} was cut ({} bytes, no line end) and is removed", begun.name(), begun.cut());
    }
    Ok(())
}

/// How often a trial that was disturbed is tried, in all.
fn tries(args: &RunArgs) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).map_or("0", str::trim);
    match tracer {
        _ if args.no_gates => 1,
        "0" => ATTEMPTS_MAX,
        _ => {
            tell!("note: a tracer is at work (process {tracer}): times say nothing, and no trial is repeated");
            1
        }
    }
}

/// Runs the trials that are lacking; each row is written as soon as it is there. Returns the rows of all trials:
/// of each, the last attempt.
fn measure(
    args: &RunArgs,
    run: &Run,
    cells: &[Cell],
    mut stock: Stock,
    interrupt: &Interrupt,
    (rest, tries): (Rest, usize),
    (output, mut hlog): (&mut Output, Option<Hlog>),
) -> Result<Vec<(usize, Row)>, Failure> {
    let Rest { mut rows, lacking } = rest;
    let progress = progress(args, lacking.len());
    for (planned, first) in lacking.iter() {
        let cell = &cells[planned.cell];
        let frames = stock.of(cell);
        progress.set_message(format!("{} {}, batch {}", name(cell), cell.scenario, cell.batch));
        // Where trials are not repeated, one of an earlier run that was disturbed is left as it is.
        for attempt in first..=tries {
            if interrupt.is_raised() {
                break;
            }
            let began = Instant::now();
            let trial = one_trial(run, cell, (planned, attempt), frames, interrupt);
            let Some((row, latency)) = trial.map_err(Failure::Broken)? else { break };
            output.write(&row)?;
            if let (Some(hlog), Some(latency)) = (&mut hlog, latency) {
                let length = Duration::from_secs_f64(row.duration_s.unwrap_or(0.0));
                let since = began.saturating_duration_since(hlog.start()).as_secs_f64();
                let written = hlog.write(&tag(cell, &row), since, length, &latency);
                written.map_err(broken)?;
            }
            let disturbed = row.is_disturbed();
            if attempt > 1 {
                forget(&mut rows, row.order);
            }
            rows.push((planned.cell, row));
            if !disturbed {
                break;
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(rows)
}

/// Removes the row of the attempt before: the last one, unless it is of an earlier run.
fn forget(rows: &mut Vec<(usize, Row)>, order: usize) {
    if rows.pop_if(|(_, last)| last.order == order).is_none() {
        rows.retain(|(_, earlier)| earlier.order != order);
    }
}

/// Tells whose latencies an interval of the log holds.
fn tag(cell: &Cell, row: &Row) -> String {
    let load = row.rate_pps.map_or_else(
        || format!("window{}", row.window.unwrap_or(0)),
        |rate| format!("rate{rate}-burst{}", row.burst.unwrap_or(1)),
    );
    format!(
        "{}-{}-batch{}-payload{}-{load}-trial{}-attempt{}",
        name(cell),
        cell.scenario,
        cell.batch,
        cell.payload,
        row.trial,
        row.attempt
    )
}

/// The trials of each cell, in the order of the plan.
fn groups<'a>(cells: &[Cell], rows: &'a [(usize, Row)]) -> Vec<Group<'a>> {
    let group = |cell: &Cell| Group { scenario: cell.scenario, name: name(cell), rows: Vec::new() };
    let mut groups: Vec<Group<'_>> = cells.iter().map(group).collect();
    rows.iter().for_each(|(cell, row)| groups[*cell].rows.push(row));
    groups
}

/// What of a plan this machine cannot run, and why: found out by trying.
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
