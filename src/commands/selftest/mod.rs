//! `hpbench selftest`: a cell against itself, and against itself with a known amount of work added; within a run, and
//! between runs.

pub mod args;
mod blocks;
mod report;
mod resolve;
mod runs;

use crate::commands::bench::progress;
use crate::console::{Failure, broken, print, tell};
use crate::measure::control::Interrupt;
use crate::measure::truesizes::Truesizes;
use crate::plan::request;
use crate::record::environment::Environment;
use crate::record::row::Run;
use args::{BLOCKS_MAX, SelftestArgs};
use blocks::{Bench, Measured, SIDES};

/// Measures, judges, and prints.
pub(crate) fn run(args: &SelftestArgs) -> Result<u8, Failure> {
    let interrupt = Interrupt::install().map_err(broken)?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let measured = within_a_run(args, seed, &interrupt)?;
    if let Some(status) = interrupt.exit_status() {
        tell!("hpbench: interrupted; no result");
        return Ok(status);
    }
    let (text, mut is_sound) = report::within(args, seed, &measured);
    print(&text)?;
    if let Some(count) = args.runs {
        let differences = runs::measure(args, count, seed, &interrupt)?;
        if let Some(status) = interrupt.exit_status() {
            tell!("hpbench: interrupted; no result between runs");
            return Ok(status);
        }
        let (text, is_enough) = runs::report(args, count, seed, &differences);
        print(&text)?;
        is_sound &= is_enough;
    }
    Ok(u8::from(!is_sound))
}

fn within_a_run(args: &SelftestArgs, seed: u64, interrupt: &Interrupt) -> Result<Measured, Failure> {
    let run_args = args.run_args().map_err(Failure::Usage)?;
    let cells = request::cells(&run_args, false).map_err(Failure::Usage)?;
    let options = request::options(&run_args).map_err(Failure::Usage)?;
    let most = args.trials.unwrap_or(BLOCKS_MAX);
    let pools = request::make_pools(&cells, &options, SIDES * most).map_err(Failure::Usage)?;
    let run = Run {
        id: "selftest".into(),
        seed,
        environment: Environment::read(None, options.cores.places[0].worker)
            .with_path(options.bind.at(0), options.bind.at(0)),
        rt_limited: None,
        canary_ns: std::cell::OnceCell::new(),
        command: String::new(),
        truesizes: Truesizes::default(),
        peer: None,
        options,
    };
    let bar = progress(&run_args, args.trials.map(|trials| SIDES * trials));
    let bench = Bench { run: &run, cell: &cells[0], pool: pools.of(&cells[0]), interrupt, bar };
    bench.measure(most, args.trials.is_none().then_some(args.time), args.added)
}
