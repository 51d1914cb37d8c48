//! `pace`: receiving at an offered rate, open loop; see [`peer::pace`](crate::measure::peer::pace) for the load.

use hdrhistogram::Histogram;
use hpbench_backends::{AsyncBackend, FreeList};

use crate::measure::clock::now_ns;
use crate::measure::control::Control;
use crate::measure::outcome::{Outcome, TrialError, latency_histogram};
use crate::measure::remote::session::Peer;
use crate::measure::scenario::stream;
use crate::measure::trial::Part;
use crate::traffic::app::Observer;
use crate::traffic::wire::Header;

/// Takes the latency of the datagrams that were due in the measured phase, whenever they arrive.
struct Latency<'a> {
    control: &'a Control,
    histogram: Histogram<u64>,
    now_ns: u64,
    measured_ns: std::ops::Range<u64>,
    /// What makes a time of the generator's clock one of ours, in nanoseconds; 0 if it is the same clock.
    shift_ns: i64,
}

impl Observer for Latency<'_> {
    #[inline]
    fn arrived(&mut self) {
        // One reading for the batch: it has been there since the same system call.
        self.now_ns = now_ns();
        self.measured_ns = self.control.measured_ns();
    }

    #[inline]
    fn note(&mut self, header: &Header) {
        let intended_ns = header.intended_ns.wrapping_add_signed(self.shift_ns);
        if self.measured_ns.contains(&intended_ns) {
            self.histogram.saturating_record(self.now_ns.saturating_sub(intended_ns).max(1));
        }
    }
}

/// Runs a trial on threads of its own.
///
/// # Errors
///
/// Why there is no result.
pub fn run<'p, B: AsyncBackend<'p>>(part: &Part<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    let control = Control::new(part.offering(), &part.own_interrupt());
    let latency = |shift_ns| Latency {
        control: &control,
        histogram: latency_histogram(),
        now_ns: 0,
        measured_ns: u64::MAX..u64::MAX,
        shift_ns,
    };
    let (outcome, latency) = stream::run::<B, _>(part, free, &control, latency)?;
    // Two clocks that nobody has compared show no latency.
    let is_known = part.peer.is_none_or(Peer::has_known_clock);
    Ok(Outcome { latency: is_known.then_some(latency.histogram), ..outcome })
}
