//! `hpbench selftest`: the same cell against itself, and against itself with a known piece of work added.

mod resolve;
mod slowed;

use std::time::Duration;

use clap::Args;
use hpbench_backends::{Backend, FreeList, Pool, Visitor};

use crate::compare::judge;
use crate::compare::verdict::{self, Figures, Verdict};
use crate::console::{Failure, broken, print, tell};
use crate::gates::{self, ATTEMPTS_MAX};
use crate::measure::control::Interrupt;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::trial::Trial;
use crate::measure::truesizes::Truesizes;
use crate::plan::args::{List, RunArgs, backends, number, percentage, seconds, whole};
use crate::plan::cells::{Asked, Cell, Scenario};
use crate::plan::request;
use crate::plan::schedule::{Planned, Schedule};
use crate::record::column::Better;
use crate::record::environment::Environment;
use crate::record::row::{self, Row, Run};
use crate::stats::Summary;
use crate::stats::estimate::BLOCKS_MIN;
use crate::text::{percent, wrap};
use crate::traffic::wire::Tag;
use slowed::Slowed;

/// How much of a datagram's cost is added, as a fraction.
const ADDED: f64 = 0.10;

/// The blocks of a run that was not told how many.
const USUAL_BLOCKS: usize = 100;

/// What is measured, and how long.
#[derive(Clone, Debug, Args)]
pub struct SelftestArgs {
    /// The cell's scenario: drain or send
    #[arg(long, value_name = "SCENARIO", default_value = "drain", value_parser = scenario)]
    pub scenario: Scenario,

    /// The cell's backend, with an optional variant
    #[arg(long, value_name = "BACKEND", default_value = "plain", value_parser = backend)]
    pub backend: Asked,

    /// The cell's batch, 1 to 1024
    #[arg(long, value_name = "N", default_value = "32", value_parser = |text: &str| number(text, 1, 1024))]
    pub batch: usize,

    /// Blocks of three trials, 18 to 10000
    #[arg(long, value_name = "N", default_value = "100", value_parser = |text: &str| number(text, BLOCKS_MIN, 10_000))]
    pub trials: usize,

    /// Seconds of a trial's measured phase, up to 3600
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "0.01", value_parser = |text: &str| seconds(text, 0.001))]
    pub duration: Duration,

    /// The least change that matters, as in compare
    #[arg(long, value_name = "PERCENT", default_value = "3%", value_parser = percentage)]
    pub threshold: f64,

    /// Decides the order of trials within a block [default: random]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub seed: Option<u64>,
}

fn scenario(text: &str) -> Result<Scenario, String> {
    let known = Scenario::ALL.into_iter().filter(|scenario| scenario.has_rounds());
    let found = known.into_iter().find(|scenario| scenario.name() == text);
    // In the others, a worker that takes longer need not show: the generators may be slower still.
    found.ok_or_else(|| format!("'{text}' is no scenario in which a known cost can be added; there are drain and send"))
}

fn backend(text: &str) -> Result<Asked, String> {
    match backends(text)?.0.as_slice() {
        [one] => Ok(*one),
        _ => Err(format!("'{text}' is more than one backend; the test takes one")),
    }
}

/// The three sides: a cell, the same once more, and with work added.
const SIDES: usize = 3;
const SLOWED: usize = 2;

/// Measures, judges, and prints.
pub(crate) fn run(args: &SelftestArgs) -> Result<u8, Failure> {
    let run_args = run_args(args).map_err(Failure::Usage)?;
    let cells = request::cells(&run_args, false).map_err(Failure::Usage)?;
    let options = request::options(&run_args).map_err(Failure::Usage)?;
    let pools = request::make_pools(&cells, &options, SIDES * args.trials).map_err(Failure::Usage)?;
    let interrupt = Interrupt::install().map_err(broken)?;
    let run = Run {
        id: "selftest".into(),
        seed: args.seed.unwrap_or_else(rand::random),
        environment: Environment::read(None, options.cores.places[0].worker),
        rt_limited: None,
        canary_ns: std::cell::OnceCell::new(),
        truesizes: Truesizes::default(),
        options,
    };
    let pool = pools.of(&cells[0]);
    let bench = Bench { run: &run, cell: &cells[0], pool, interrupt: &interrupt };
    let mut free = pool.frames();
    let rows = bench.rows(args.trials, &mut free)?;
    if let Some(status) = interrupt.exit_status() {
        tell!("hpbench: interrupted; nothing can be said");
        return Ok(status);
    }
    let (text, is_sound) = report(args, run.seed, &rows);
    print(&text)?;
    Ok(u8::from(!is_sound))
}

/// The flags of a run of the one cell.
fn run_args(args: &SelftestArgs) -> anyhow::Result<RunArgs> {
    let run = RunArgs::from_words::<&str>([])?;
    Ok(RunArgs {
        backend: List(vec![args.backend]),
        scenario: List(vec![args.scenario]),
        batch: List(vec![args.batch]),
        trials: args.trials,
        duration: Some(args.duration),
        ..run
    })
}

/// What trials are run with.
struct Bench<'a> {
    run: &'a Run,
    cell: &'a Cell,
    pool: &'a Pool,
    interrupt: &'a Interrupt,
}

impl<'a> Bench<'a> {
    /// The rows of all sides, of each trial the last attempt, with the side of each.
    fn rows(&self, blocks: usize, free: &mut FreeList<'a>) -> Result<Vec<(usize, Row)>, Failure> {
        let first = Planned { cell: 0, block: 1, order: 0 };
        // Of the first trial of all, only what a datagram costs is wanted: to know how much is a tenth of it.
        let pilot = self.trial(first, 1, free)?;
        slowed::set_delay(ADDED * pilot.ns_per_packet_p50.unwrap_or(0.0));
        let mut rows = Vec::new();
        // On a busy machine every trial would be repeated, which takes long and helps little.
        let mut repeats = SIDES * blocks / 2;
        for planned in Schedule::new(SIDES, blocks, self.run.seed).iter() {
            for attempt in 1..=ATTEMPTS_MAX {
                if self.interrupt.is_raised() {
                    return Ok(rows);
                }
                let row = self.trial(planned, attempt, free)?;
                if !row.is_disturbed() || attempt == ATTEMPTS_MAX || repeats == 0 {
                    rows.push((planned.cell, row));
                    break;
                }
                repeats -= 1;
            }
        }
        row::mark(rows.iter_mut().map(|(_, row)| row));
        Ok(rows)
    }

    fn trial(&self, planned: Planned, attempt: usize, free: &mut FreeList<'a>) -> Result<Row, Failure> {
        let (options, pool, interrupt) = (&self.run.options, self.pool, self.interrupt);
        let truesizes = &self.run.truesizes;
        let trial = Trial { cell: self.cell, options, pool, interrupt, truesizes, tag: Tag::draw() };
        let result = if planned.cell == SLOWED {
            self.cell.variant.kind().dispatch(Slow { trial: &trial, free })
        } else {
            trial.run(free)
        };
        match &result {
            Err(error) if !interrupt.is_raised() => {
                let error = anyhow::anyhow!("{error}");
                Err(Failure::Broken(error.context("the cell cannot be measured here")))
            }
            _ => Ok(Row::new(self.run, self.cell, planned, String::new(), attempt, &result)),
        }
    }
}

/// Runs a trial with work added to its backend.
struct Slow<'t, 'a, 'p> {
    trial: &'t Trial<'a, 'p>,
    free: &'t mut FreeList<'p>,
}

impl<'p> Visitor<'p> for Slow<'_, '_, 'p> {
    type Output = Result<Outcome, TrialError>;

    fn visit<B: Backend<'p>>(self) -> Self::Output {
        self.trial.run_as::<Slowed<B>>(self.free)
    }
}

/// What is printed, and whether there is anything to say.
fn report(args: &SelftestArgs, seed: u64, rows: &[(usize, Row)]) -> (String, bool) {
    let valid = |side: usize| -> Vec<(usize, f64)> {
        let of_side = rows.iter().filter(|(of, row)| *of == side && row.valid == 1).map(|(_, row)| row);
        let counted = gates::counting(of_side.collect(), |row| row.marked).into_iter();
        counted.filter_map(|row| Some((row.trial, row.ns_per_packet_p50?))).collect()
    };
    let sides: [Vec<(usize, f64)>; SIDES] = std::array::from_fn(valid);
    let mut text = format!(
        "{} with {}, batch {}: {} blocks of {SIDES} trials of {} s, seed {seed}\n",
        args.scenario,
        args.backend.choice,
        args.batch,
        args.trials,
        args.duration.as_secs_f64(),
    );
    let fewest = sides.iter().map(Vec::len).min().unwrap_or(0);
    if fewest < BLOCKS_MIN {
        text += &wrap(&format!(
            "Only {fewest} of {} trials of a side are valid, and {BLOCKS_MIN} are the least: this machine is too busy to measure \
             anything. Try again with less running beside it, or with more --trials.",
            args.trials
        ));
        return (text, false);
    }
    let [same, slowed] = [1, SLOWED].map(|side| judge::within_run(&sides[0], &sides[side]));
    let (same_text, same_verdict) = line(&same, args.threshold);
    let (slowed_text, slowed_verdict) = line(&slowed, args.threshold);
    let base = Summary::of(sides[0].iter().map(|value| value.1)).map_or(0.0, |summary| summary.median);
    let added = slowed::delay_ns();
    let added_pct = 100.0 * added / base;
    text += &format!("the same cell twice   {same_text}  (true: 0%)\n");
    text += &format!("with {added:.1} ns added{:6}{slowed_text}  (true: {added_pct:+.1}%)\n", "");
    if matches!(same_verdict, Verdict::Better | Verdict::Worse) {
        text += &wrap(
            "The same cell is called different, as should happen in no more than one test of twenty: if it happens \
             again, the machine does not stay the same within a block, and no difference can be trusted.",
        );
    }
    if slowed_verdict != Verdict::Worse {
        text += "The work that was added was not found.\n";
    }
    let pairs: Vec<(f64, f64)> = sides[0]
        .iter()
        .filter_map(|(block, a)| sides[1].iter().find(|(other, _)| other == block).map(|(_, b)| (*a, *b)))
        .collect();
    for blocks in [USUAL_BLOCKS, args.trials] {
        let least = resolve::least_pct(&pairs, blocks, args.threshold, seed);
        let least = least.map_or_else(|| "nothing up to 50%".into(), |pct| format!("{pct}%"));
        text += &format!("with {blocks} blocks here: {least}\n");
        if args.trials == USUAL_BLOCKS {
            break;
        }
    }
    text += &wrap(&format!(
        "That is the least difference of whole percents that compare, with a threshold of {}, would find in 80% of all \
         cases; drawn from the blocks above, of the cell against itself.",
        percent(args.threshold)
    ));
    (text, true)
}

/// A change with its interval and its verdict.
fn line(figures: &Figures, threshold: f64) -> (String, Verdict) {
    let verdict = verdict::verdict(figures.worse_by(Better::Lower), figures.p.unwrap_or(1.0), threshold);
    let pct = |ratio: f64| format!("{:+.1}%", 100.0 * (ratio - 1.0));
    let change = figures.ratio.map_or_else(String::new, |ratio| {
        let interval = ratio.interval.map_or_else(String::new, |(low, high)| format!("{}..{}", pct(low), pct(high)));
        format!("{:>7}  {interval:>18}", pct(ratio.value))
    });
    (format!("{change}  {:<7}", verdict.name()), verdict)
}
