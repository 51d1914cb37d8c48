//! The look before the first trial: which cores of the run are busy, and which programs use them.

use std::time::{Duration, Instant};

use crate::console::tell;
use crate::measure::control::Interrupt;
use crate::measure::neighbours::Look;
use crate::plan::args::RunArgs;
use crate::record::row::Run;

/// How long a look at the cores takes.
const LOOK: Duration = Duration::from_millis(500);

/// A run that is expected to take less than this, in seconds, starts without a look.
const LOOK_FROM_S: f64 = 5.0;

/// Reports which cores of the run are busy before the first trial, and which programs use them; waits for them if
/// requested.
pub(crate) fn look_around(args: &RunArgs, run: &Run, seconds: f64, interrupt: &Interrupt) {
    if args.wait_quiet.is_none() && (seconds < LOOK_FROM_S || args.no_gates || args.quiet) {
        return;
    }
    let places = run.options.cores.places.iter();
    let mut cores: Vec<usize> =
        places.flat_map(|place| [place.worker].into_iter().chain(place.generators.iter().copied().take(1))).collect();
    cores.sort_unstable();
    cores.dedup();
    let start = Instant::now();
    let Some(mut look) = Look::take(&cores, LOOK) else { return };
    let wait = args.wait_quiet.unwrap_or_default();
    let mut is_told = false;
    while !look.is_quiet() && start.elapsed() < wait && !interrupt.is_raised() {
        if !is_told {
            tell!("note: {look}; waiting at most {} s for quiet", wait.as_secs());
            is_told = true;
        }
        let Some(next) = Look::take(&cores, LOOK) else { return };
        look = next;
    }
    if !look.is_quiet() && !interrupt.is_raised() {
        let remedy = if wait.is_zero() { "--wait-quiet 60 waits for it first" } else { "they did not become quiet" };
        tell!("note: {look}: trials that this disturbs are repeated; {remedy}, --cpu names other cores");
    }
}
