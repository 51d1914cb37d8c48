//! What the commands that measure share: the trial, the file of its rows, and what is shown meanwhile.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use hpbench_backends::{Addressing, FreeList, Pool};
use indicatif::{ProgressBar, ProgressStyle};

use crate::console::Failure;
use crate::measure::control::Interrupt;
use crate::measure::outcome::TrialError;
use crate::measure::trial::Trial;
use crate::plan::args::RunArgs;
use crate::plan::cells::{Cell, FdTable, Planned, Wait};
use crate::record::output::{Existing, Output};
use crate::record::row::{Row, Run};
use crate::traffic::wire::Tag;

/// Time that opening and closing a trial takes, for the estimate of `--dry-run`.
const TRIAL_OVERHEAD: Duration = Duration::from_millis(25);

/// Entries of io_uring's buffer ring where nothing else is asked for.
const BUFFERS: usize = 512;

/// Opens the file that rows are written to, as the flags say.
pub(crate) fn open_output(args: &RunArgs, host: &str) -> Result<Output, Failure> {
    let existing = match (args.append || args.resume, args.force) {
        (true, _) => Existing::Append,
        (_, true) => Existing::Replace,
        _ => Existing::Refuse,
    };
    let path = args.out.clone().unwrap_or_else(|| default_path(host));
    Ok(Output::open(&path, existing)?)
}

/// The file that a run is written to if no other is named.
pub(crate) fn default_path(host: &str) -> PathBuf {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let host: String = host.chars().map(safe).collect();
    let now = time::UtcDateTime::now();
    let (date, clock) = (now.date(), now.time());
    let stamp = format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    );
    PathBuf::from(format!("hpbench-{stamp}-{host}.csv"))
}

/// One trial's row and latencies, or none if it was interrupted.
pub(crate) fn one_trial<'p>(
    run: &Run,
    cell: &Cell,
    (planned, attempt): (Planned, usize),
    pool: &'p Pool,
    interrupt: &Interrupt,
    free: &mut FreeList<'p>,
) -> Option<(Row, Option<Histogram<u64>>)> {
    let started_at =
        time::UtcDateTime::now().format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
    let trial = Trial { cell, options: &run.options, pool, interrupt, tag: Tag::draw() };
    let result = trial.run(free);
    if interrupt.is_raised() && matches!(result, Err(TrialError::Interrupted)) {
        return None;
    }
    let row = Row::new(run, cell, planned, started_at, attempt, &result);
    Some((row, result.ok().and_then(|outcome| outcome.latency)))
}

/// Drawn between trials only, and only on a terminal.
pub(crate) fn progress(args: &RunArgs, trials: usize) -> ProgressBar {
    if args.quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} trials, {eta} left  {wide_msg}");
    ProgressBar::new(trials as u64).with_style(style.expect("the template is valid"))
}

/// The backend, with its modes as far as they are not the default, and what else is unlike the default.
pub(crate) fn name(cell: &Cell) -> String {
    let (kind, modes) = (cell.variant.kind(), cell.variant.brief(cell.addressing));
    let mut name = if modes.is_empty() { kind.to_string() } else { format!("{kind}:{modes}") };
    if cell.wait == Wait::Block {
        name += "/block";
    }
    if cell.addressing == Addressing::Unconnected {
        name += "/unconnected";
    }
    if let Some(buffers) = cell.buffers.filter(|&buffers| buffers != BUFFERS) {
        name += &format!("/{buffers} buffers");
    }
    if cell.fd_table == Some(FdTable::Own) {
        name += "/own table";
    }
    name
}

/// What would be run.
pub(crate) fn dry_run(args: &RunArgs, cells: &[Cell], trials: usize) -> String {
    let backend = |cell: &Cell| format!("{}:{}", cell.variant.kind(), cell.variant);
    let width = cells.iter().map(|cell| backend(cell).len()).max().unwrap_or(0);
    let mut text = String::new();
    for cell in cells {
        let mut extra = match (cell.round, cell.window) {
            (Some(round), _) => format!("  round {round}"),
            (_, Some(window)) => format!("  window {window}"),
            _ => cell
                .rate
                .map_or_else(String::new, |rate| format!("  rate {rate} in bursts of {}", cell.burst.unwrap_or(1))),
        };
        if cell.wait == Wait::Block {
            extra += "  block";
        }
        if cell.addressing == Addressing::Unconnected {
            extra += "  unconnected";
        }
        if let Some(buffers) = cell.buffers.filter(|&buffers| buffers != BUFFERS) {
            extra += &format!("  {buffers} buffers");
        }
        if cell.fd_table == Some(FdTable::Own) {
            extra += "  own table";
        }
        let line = format!(
            "{:<6} {:<width$} batch {:<5} payload {:<6}{extra}",
            cell.scenario.name(),
            backend(cell),
            cell.batch,
            cell.payload
        );
        text += line.trim_end();
        text.push('\n');
    }
    text += &format!("{} cells × {} trials = {trials} trials", cells.len(), args.trials);
    match args.packets {
        Some(count) => text += &format!(" of {count} datagrams each\n"),
        None => {
            let each = args.duration + args.warmup + TRIAL_OVERHEAD;
            text += &format!(", about {:.0} s\n", each.as_secs_f64() * trials as f64);
        }
    }
    text
}
