//! The peer of a worker: what offers load to it, fills its queue, or empties the queue that it fills.
//!
//! A peer works from an [`Order`], a socket and a [`Control`], and returns a report. It knows nothing of the trial, so
//! it may run in another process.

pub mod beside;
pub mod echo;
pub mod filler;
pub mod flood;
pub mod load;
pub mod pace;
pub mod receiver;
pub mod schedule;
pub mod serve;
pub(crate) mod settling;

use std::sync::Arc;

use hpbench_backends::{FreeList, Pool, Socket};

use crate::measure::control::Control;
use crate::measure::order::{Offered, Order, RoundTrips};
use crate::measure::outcome::TrialError;
use crate::measure::peer::load::Way;
use crate::plan::cells::Scenario;

/// A generator of `flood` or `pace` on the calling thread: sends until the measured phase is over.
///
/// # Errors
///
/// An error that makes it pointless to continue; the trial then ends.
pub fn offer(order: &Order, socket: &Arc<Socket>, control: &Control) -> Result<Offered, TrialError> {
    offer_by(order, Way::Connected(socket), control)
}

/// As [`offer`], from whatever it is, and to whatever it is.
///
/// # Errors
///
/// As [`offer`].
pub fn offer_by(order: &Order, way: Way<'_>, control: &Control) -> Result<Offered, TrialError> {
    match order.scenario {
        Scenario::Pace => load::offer(order, pace::Paced::new(order, control), way, control),
        _ => load::offer(order, flood::Flood, way, control),
    }
}

/// A generator of `echo`, `serve` or `relay` on the calling thread: asks, takes the answers, and leads through the phases of the trial.
///
/// # Errors
///
/// An error that makes it pointless to continue; the trial then ends.
pub fn ask<'p>(
    order: &Order,
    way: Way<'_>,
    control: &Control,
    frames: (&'p Pool, &mut FreeList<'p>),
) -> Result<RoundTrips, TrialError> {
    match (order.scenario, way) {
        (Scenario::Serve | Scenario::Relay, way) => serve::ask(order, way, control, frames),
        (_, Way::Connected(socket)) => echo::generate(order, (socket, None), control, frames),
        (_, Way::ToMany(socket, targets)) => echo::generate(order, (socket, Some(targets)), control, frames),
        (_, Way::FromMany(_)) => Err(TrialError::Stalled("only a client of serve or relay has many source ports")),
    }
}

#[cfg(test)]
mod tests;
