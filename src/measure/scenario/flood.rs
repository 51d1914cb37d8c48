//! `flood`: generators try to outpace the worker.

use hpbench_backends::{AsyncBackend, FreeList};

use crate::measure::control::Control;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::scenario::stream;
use crate::measure::trial::Part;

/// Runs a trial on threads of its own.
///
/// # Errors
///
/// Why there is no result.
pub fn run<'p, B: AsyncBackend<'p>>(part: &Part<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    let control = Control::new(part.offering(), &part.own_interrupt());
    stream::run::<B, ()>(part, free, &control, |_| ()).map(|(outcome, ())| outcome)
}
