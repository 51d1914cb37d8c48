//! The load of `pace`: an open loop with a schedule.
//!
//! Tick `k` is due at `start + k · burst / rate`, by multiplication, so that no error adds up. Each datagram carries the time
//! at which it was due, and its latency counts from then on: a generator or a receiver that stalls makes later datagrams
//! late, instead of making fewer of them (Gil Tene's "coordinated omission").

use hdrhistogram::Histogram;
use hpbench_backends::Offer;

use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Phase};
use crate::measure::order::Order;
use crate::measure::outcome::{TrialError, latency_histogram};
use crate::measure::peer::load::Load;
use crate::measure::peer::schedule::Schedule;
use crate::traffic::app::Source;

/// Sends what is due. What could not be sent in time goes out together, each datagram with its own due time.
#[derive(Debug)]
pub struct Paced<'a> {
    control: &'a Control,
    rate_pps: u64,
    burst: u64,
    /// Known from the first call on; starts again with the measured phase, which discards a backlog of the warm-up.
    schedule: Option<Schedule>,
    measuring: bool,
    late: Histogram<u64>,
}

impl<'a> Paced<'a> {
    /// A load whose schedule begins with the first call.
    pub fn new(order: &Order, control: &'a Control) -> Self {
        let Order { rate_pps, burst, .. } = *order;
        Self { control, rate_pps, burst, schedule: None, measuring: false, late: latency_histogram() }
    }
}

/// How long a generator that is late at the end of the measured phase keeps sending.
const FINISH_NS: u64 = 200_000_000;

impl Load for Paced<'_> {
    #[inline]
    fn send(&mut self, offer: &mut Offer, source: &mut Source, phase: Phase) -> Result<usize, TrialError> {
        let now_ns = now_ns();
        let (rate_pps, burst, first) = (self.rate_pps, self.burst, source.next);
        if !self.measuring && phase == Phase::Measure {
            self.measuring = true;
            let start_ns = self.control.measured_ns().start;
            self.schedule = Some(Schedule { start_ns, first, rate_pps, burst });
        }
        let schedule = *self.schedule.get_or_insert(Schedule { start_ns: now_ns, first, rate_pps, burst });
        let due = schedule.due_by(now_ns).saturating_sub(first);
        if due == 0 {
            std::hint::spin_loop();
            return Ok(0);
        }
        let train = offer.train().min(due as usize);
        source.choose(offer.sender());
        let sent = offer
            .send(train, |datagram| {
                let due_ns = schedule.due_ns(source.next);
                source.write_stamped(datagram, 0, due_ns);
            })
            .map_err(TrialError::io("offering load"))?;
        source.rewind(first + sent as u64);
        let measured_ns = self.control.measured_ns();
        for due_ns in (first..source.next).map(|sequence| schedule.due_ns(sequence)) {
            if measured_ns.contains(&due_ns) {
                self.late.saturating_record(now_ns.saturating_sub(due_ns).max(1));
            }
        }
        Ok(sent)
    }

    /// The datagrams that are late at the end are the latest of all: without them, the latencies would be too good.
    fn finish(&mut self, offer: &mut Offer, source: &mut Source, end_ns: u64) -> Result<usize, TrialError> {
        let (mut sent, start_ns) = (0, now_ns());
        while let Some(schedule) = self.schedule {
            let late = schedule.due_ns(source.next) < end_ns.min(now_ns());
            if !late || now_ns() - start_ns > FINISH_NS {
                break;
            }
            sent += self.send(offer, source, Phase::Settle)?;
        }
        Ok(sent)
    }

    fn late(&self) -> Option<&Histogram<u64>> {
        Some(&self.late)
    }
}
