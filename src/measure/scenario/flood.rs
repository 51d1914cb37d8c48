//! `flood`: generators try to outpace the worker.

use hpbench_backends::{Backend, FreeList, Offer};

use crate::measure::control::{Control, Phase};
use crate::measure::filler;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::scenario::stream::{self, Load};
use crate::measure::trial::Part;
use crate::traffic::app::Source;

/// Sends trains as fast as the kernel takes them.
struct Flood;

impl Load for Flood {
    #[inline]
    fn send(&mut self, offer: &mut Offer, source: &mut Source, _phase: Phase) -> Result<usize, TrialError> {
        let train = offer.train();
        filler::send_train(offer, source, train).map_err(TrialError::io("offering load"))
    }
}

/// Runs a trial on threads of its own.
///
/// # Errors
///
/// Why there is no result.
pub fn run<'p, B: Backend<'p>>(part: &Part<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    let loads: Vec<Flood> = (0..part.options.generators).map(|_| Flood).collect();
    let control = Control::new(loads.len());
    stream::run::<B, (), Flood>(part, free, &control, loads, ()).map(|(outcome, ())| outcome)
}
