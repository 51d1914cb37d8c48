//! The load of `flood`: trains as fast as the kernel takes them.

use hpbench_backends::Offer;

use crate::measure::control::Phase;
use crate::measure::outcome::TrialError;
use crate::measure::peer::load::{Load, send_train};
use crate::traffic::app::Source;

/// Sends trains as fast as the kernel takes them.
#[derive(Debug)]
pub struct Flood;

impl Load for Flood {
    #[inline]
    fn send(&mut self, offer: &mut Offer, source: &mut Source, _phase: Phase) -> Result<usize, TrialError> {
        let train = offer.train();
        send_train(offer, source, train).map_err(TrialError::io("offering load"))
    }
}
