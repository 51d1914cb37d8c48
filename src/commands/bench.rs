//! Shared by the commands that measure: the trial, the file of its rows, and the progress bar.

pub(crate) mod look;
pub(crate) mod start;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use hpbench_backends::{Addressing, Config, FreeList, Pool};
use indicatif::{ProgressBar, ProgressStyle};

use crate::console::Failure;
use crate::gates::reason::Reason;
use crate::measure::control::Interrupt;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::slowed;
use crate::measure::stops;
use crate::measure::trial::Trial;
use crate::plan::args::RunArgs;
use crate::plan::cells::{Cell, FdTable, Wait, Waited};
use crate::plan::cores::Place;
use crate::plan::request::Pools;
use crate::plan::schedule::Planned;
use crate::plan::shards::Steer;
use crate::plan::spread::{Skew, Spread};
use crate::record::environment;
use crate::record::locked::Existing;
use crate::record::output::Output;
use crate::record::row::{Row, Run};
use crate::stats::looks;
use crate::traffic::wire::Tag;

/// Time that opening and closing a trial takes, for the estimate of `--dry-run`.
const TRIAL_OVERHEAD: Duration = Duration::from_millis(3);

/// What to do with existing files, as the flags say.
pub(crate) fn existing(args: &RunArgs) -> Existing {
    match (args.append || args.resume, args.force) {
        (true, _) => Existing::Append,
        (_, true) => Existing::Replace,
        _ => Existing::Refuse,
    }
}

/// Opens the file that rows are written to, as the flags say.
pub(crate) fn open_output(args: &RunArgs, host: &str) -> Result<Output, Failure> {
    let path = args.out.clone().unwrap_or_else(|| default_path(host));
    Ok(Output::open(&path, existing(args))?)
}

/// The default output file of a run.
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

/// A pool and its frames. The pool is never unmapped: the kernel may still write to frames that a trial lost.
#[derive(Debug)]
pub(crate) struct Frames {
    pool: &'static Pool,
    free: FreeList<'static>,
    /// How many earlier pools were lost.
    renewals: usize,
}

/// How many pools a run may lose: their memory stays mapped and locked, so a backend that loses frames each time would
/// use up all of it.
const RENEWALS_MAX: usize = 3;

impl Frames {
    pub(crate) fn new(pool: Pool) -> Self {
        let pool: &'static Pool = Box::leak(Box::new(pool));
        Self { pool, free: pool.frames(), renewals: 0 }
    }

    /// How many frames are missing.
    fn lost(&self) -> usize {
        self.free.total() - self.free.len()
    }

    /// Creates a new pool of the same size if frames were lost.
    fn renew(&mut self) -> anyhow::Result<()> {
        if !self.free.is_whole() {
            anyhow::ensure!(
                self.renewals < RENEWALS_MAX,
                "{} trials did not return their frames, so the run ends; leave out the backend whose rows say so",
                self.renewals + 1
            );
            let pool = Pool::new(self.pool.len(), self.pool.frame_size());
            let pool = pool.context("cannot map a new pool to replace one that lost frames")?;
            *self = Self { renewals: self.renewals + 1, ..Self::new(pool) };
        }
        Ok(())
    }
}

/// The frames of a run.
#[derive(Debug)]
pub(crate) struct Stock {
    datagrams: Frames,
    trains: Frames,
}

impl Stock {
    pub(crate) fn new(pools: Pools) -> Self {
        Self { datagrams: Frames::new(pools.datagrams), trains: Frames::new(pools.trains) }
    }

    /// The frames that a cell uses.
    pub(crate) fn of(&mut self, cell: &Cell) -> &mut Frames {
        if cell.receives_trains() { &mut self.trains } else { &mut self.datagrams }
    }
}

/// One trial's row and latencies, or none if it was interrupted. A trial that lost frames failed, and the next one gets
/// others.
///
/// # Errors
///
/// If there is no memory for new frames.
pub(crate) fn one_trial(
    run: &Run,
    cell: &Cell,
    which: (Planned, usize),
    frames: &mut Frames,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<(Row, Option<Histogram<u64>>)>> {
    one_trial_by(run, cell, which, frames, interrupt, |trial, free| match run.options.added_ns {
        None => trial.run(free),
        Some(ns) => {
            slowed::set_delay(ns);
            trial.run_slowed(free)
        }
    })
}

type Measured = Result<Outcome, TrialError>;

/// The same, with what runs the trial.
fn one_trial_by(
    run: &Run,
    cell: &Cell,
    (planned, attempt): (Planned, usize),
    frames: &mut Frames,
    interrupt: &Interrupt,
    measure: impl FnOnce(&Trial<'_, 'static>, &mut FreeList<'static>) -> Measured,
) -> anyhow::Result<Option<(Row, Option<Histogram<u64>>)>> {
    frames.renew()?;
    let pool = frames.pool;
    let started_at =
        time::UtcDateTime::now().format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
    let (truesizes, peer) = (&run.truesizes, run.peer.as_ref());
    let trial = Trial { cell, options: &run.options, pool, interrupt, truesizes, tag: Tag::draw(), peer };
    let clock = environment::clock_source();
    let (mut result, stop) = watched(&trial, || measure(&trial, &mut frames.free));
    if interrupt.is_raised() && matches!(result, Err(TrialError::Interrupted)) {
        return Ok(None);
    }
    if frames.lost() > 0 {
        let (lost, total, cause) = (frames.lost(), frames.free.total(), result.err().map(Box::new));
        result = Err(TrialError::FramesLost { lost, total, cause });
    }
    let mut row = Row::new(run, cell, planned, started_at, attempt, &result);
    row.clocksource = either(clock, environment::clock_source());
    if let Some(reason) = stop {
        row.spoil(reason);
    }
    Ok(Some((row, result.ok().and_then(|outcome| outcome.latency))))
}

/// Runs a trial, and says why it is unusable if the process was stopped meanwhile. In an emulated guest that counts
/// instructions, only the trial is run.
fn watched(trial: &Trial<'_, '_>, measure: impl FnOnce() -> Measured) -> (Measured, Option<Reason>) {
    if trial.options.at_ticks {
        return (measure(), None);
    }
    let cores: Vec<usize> = trial.options.cores.places.iter().flat_map(Place::all).collect();
    stops::watch(&cores, trial.interrupt, measure)
}

/// One of two texts, or both if they differ.
fn either(before: String, after: String) -> String {
    if before == after { before } else { format!("{before} {after}") }
}

/// Drawn between trials only, and only on a terminal.
pub(crate) fn progress(args: &RunArgs, trials: Option<usize>) -> ProgressBar {
    if args.quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match trials {
        Some(trials) => (ProgressBar::new(trials as u64), "{bar:24} {pos}/{len} trials, {eta} left  {wide_msg}"),
        None => (ProgressBar::no_length(), "{pos} trials, {elapsed}  {wide_msg}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is valid"))
}

/// The backend, with the modes and settings that differ from the default.
pub(crate) fn name(cell: &Cell) -> String {
    let (kind, modes) = (cell.variant.kind(), cell.variant.brief_for(cell.addressing, cell.sockets()));
    let mut name = if modes.is_empty() { kind.to_string() } else { format!("{kind}:{modes}") };
    if cell.wait == Wait::Block {
        name += "/block";
    }
    if let Some(waited @ Waited(Some(_))) = cell.min_wait {
        name += &format!("/{waited}");
    }
    if cell.addressing == Addressing::Unconnected {
        name += "/unconnected";
    }
    if let Some(buffers) = cell.buffers.filter(|&buffers| buffers != Config::BUFFERS) {
        name += &format!("/{buffers} buffers");
    }
    if cell.fd_table == Some(FdTable::Own) {
        name += "/own table";
    }
    name += &sockets(cell, "/");
    name += &clients(cell, "/");
    name
}

/// What a cell with many sockets says about them, behind a separator.
fn sockets(cell: &Cell, separator: &str) -> String {
    let Some(Spread { sockets, active, skew }) = cell.spread.filter(|spread| *spread != Spread::ONE) else {
        return String::new();
    };
    let mut text = format!("{separator}{sockets} sockets");
    if active < sockets {
        text += &format!("{separator}{active} active");
    }
    if skew != Skew::NONE {
        text += &format!("{separator}skew {skew}");
    }
    text
}

/// What a cell with many clients, or workers that share a port, says about them, behind a separator.
fn clients(cell: &Cell, separator: &str) -> String {
    let mut text = String::new();
    if let Some(flows) = cell.flows.filter(|&flows| flows > 1) {
        text += &format!("{separator}{flows} flows");
    }
    if let Some(sharding) = cell.sharding.filter(|sharding| sharding.is_shared()) {
        text += &format!("{separator}{sharding}");
        if sharding.steer() == Some(Steer::Cpu) {
            text += " by cpu";
        }
    }
    text
}

/// The plan that would be run.
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
        if let Some(fanout) = cell.fanout {
            extra += &format!("  fanout {fanout}");
        }
        if cell.wait == Wait::Block {
            extra += "  block";
        }
        if let Some(Waited(Some(min_wait))) = cell.min_wait {
            extra += &format!("  for {} or {} µs", min_wait.count, min_wait.within_us);
        }
        if cell.addressing == Addressing::Unconnected {
            extra += "  unconnected";
        }
        if let Some(buffers) = cell.buffers.filter(|&buffers| buffers != Config::BUFFERS) {
            extra += &format!("  {buffers} buffers");
        }
        if cell.fd_table == Some(FdTable::Own) {
            extra += "  own table";
        }
        extra += &sockets(cell, "  ");
        extra += &clients(cell, "  ");
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
    if args.is_open_ended() {
        let block = seconds(args, cells, cells.len());
        let time = args.time.map(|time| format!(", for {} s", time.as_secs_f64()));
        let precision = args.precision.map(|half| format!(", until comparisons are known to ±{}%", 100.0 * half));
        let until = time.unwrap_or_default() + &precision.unwrap_or_default();
        return text + &format!("{} cells, blocks of about {block:.2} s{until}\n", cells.len());
    }
    text += &format!("{} cells × {} trials = {trials} trials", cells.len(), args.trials);
    match args.packets {
        Some(count) => text += &format!(" of {count} datagrams each\n"),
        None => text += &format!(", about {:.0} s\n", seconds(args, cells, trials)),
    }
    text
}

/// About how long this many trials of a plan take.
pub(crate) fn seconds(args: &RunArgs, cells: &[Cell], trials: usize) -> f64 {
    let each = |cell: &Cell| {
        let duration = args.duration.unwrap_or(cell.scenario.usual_duration());
        duration + args.warmup.unwrap_or(cell.scenario.usual_warmup()) + TRIAL_OVERHEAD
    };
    let block: Duration = cells.iter().map(each).sum();
    block.as_secs_f64() * trials as f64 / cells.len().max(1) as f64
}

/// About how many of the `lacking` trials of a plan will run: all, unless something else ends the run. A run that ends
/// when it is precise enough has at least the blocks before the first look.
pub(crate) fn expected(args: &RunArgs, cells: &[Cell], lacking: usize) -> usize {
    let blocks = match args.time {
        Some(time) => (time.as_secs_f64() / seconds(args, cells, cells.len())).ceil() as usize,
        None if args.precision.is_some() => looks::FIRST,
        None => return lacking,
    };
    blocks.saturating_mul(cells.len()).min(lacking)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::args::RunArgs;
    use crate::plan::request;
    use crate::record::environment::Environment;
    use hpbench_backends::null::Null;
    use hpbench_backends::{Backend, Caps, Config, Consumer, Counters, Kind, OpenError, Packet, Port, RxRing};
    use std::io::Error;

    /// Memory that loses a frame with each close; if it is `FAILING`, it also receives nothing.
    struct Lossy<'p, const FAILING: bool>(Null<'p>);

    impl<'p, const FAILING: bool> Backend<'p> for Lossy<'p, FAILING> {
        const KIND: Kind = Kind::NULL;

        fn probe(config: &Config) -> Result<Caps, OpenError> {
            Null::probe(config)
        }

        fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
            Null::open(config, port, pool).map(Self)
        }

        fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
            if FAILING {
                return Err(Error::other("the wire burns"));
            }
            self.0.rx(free, rx)
        }

        fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
            self.rx(free, rx)
        }

        fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
            self.0.tx(tx, free)
        }

        fn counters(&self) -> Counters {
            self.0.counters()
        }

        fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
            self.0.close(free)?;
            let _lost = free.take();
            Ok(())
        }
    }

    #[test]
    fn a_trial_that_loses_frames_is_an_error_row_and_the_next_one_has_others() {
        let words = "--backend null --scenario drain --round 64 --batch 8 --packets 640 --warmup 0";
        let args = RunArgs::from_words(words.split(' ')).expect("good flags");
        let cells = request::cells(&args, false).expect("they go together");
        let options = request::options(&args).expect("one core");
        let pools = request::make_pools(&cells, &options, 1).expect("memory");
        let environment = Environment::read(None, 0);
        let (id, canary_ns) = ("test".into(), std::cell::OnceCell::new());
        let run = Run {
            id,
            seed: 1,
            environment,
            rt_limited: None,
            canary_ns,
            command: String::new(),
            truesizes: crate::measure::truesizes::Truesizes::default(),
            peer: None,
            options,
        };
        let (cell, interrupt) = (&cells[0], Interrupt::default());
        let (mut stock, planned) = (Stock::new(pools), Planned { cell: 0, block: 1, order: 1 });
        let frames = stock.of(cell);
        let total = frames.free.total();
        let row = |trial: anyhow::Result<Option<(Row, _)>>| trial.expect("memory").expect("not interrupted").0;

        let lost = row(one_trial_by(&run, cell, (planned, 1), frames, &interrupt, |trial, free| {
            trial.run_as::<Lossy<'_, false>>(free)
        }));
        let told = format!("1 of {total} frames were not returned, a bug in hpbench; the next trial has a new pool");
        assert_eq!((lost.error, lost.valid, lost.received), (told.clone(), 0, None));
        let before = frames.pool;

        let sound = row(one_trial(&run, cell, (planned, 2), frames, &interrupt));
        assert_eq!((sound.error.as_str(), sound.measured_received), ("", Some(640)));
        assert!(!std::ptr::eq(frames.pool, before) && frames.free.is_whole() && frames.free.total() == total);
        let before = frames.pool;
        row(one_trial(&run, cell, (planned, 3), frames, &interrupt));
        assert!(std::ptr::eq(frames.pool, before), "nothing was lost");

        let failed = row(one_trial_by(&run, cell, (planned, 4), frames, &interrupt, |trial, free| {
            trial.run_as::<Lossy<'_, true>>(free)
        }));
        assert!(failed.error.contains("the wire burns; 1 of") && failed.is_failed(), "{}", failed.error);
        let sound = row(one_trial(&run, cell, (planned, 5), frames, &interrupt));
        assert_eq!((sound.error.as_str(), sound.measured_received), ("", Some(640)));

        let stalled = row(one_trial_by(&run, cell, (planned, 6), frames, &interrupt, |_, _| {
            interrupt.note_continued();
            Err(TrialError::Stalled("nothing came"))
        }));
        assert!(stalled.is_failed() && stalled.is_disturbed(), "an error of a process that was stopped is no result");

        let lose = |frames: &mut Frames, attempt| {
            one_trial_by(&run, cell, (planned, attempt), frames, &interrupt, |trial, free| {
                trial.run_as::<Lossy<'_, false>>(free)
            })
        };
        // Two pools are lost so far.
        assert!((5..5 + RENEWALS_MAX - 1).all(|attempt| lose(frames, attempt).is_ok()), "a few pools may be lost");
        let ended = lose(frames, 9).expect_err("a run does not use up all memory").to_string();
        assert!(ended.contains("4 trials did not return their frames"), "{ended}");
    }
}
