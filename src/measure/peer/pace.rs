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
use crate::traffic::app::Source;

/// When datagrams are due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start_ns: u64,
    /// The sequence number of the first datagram.
    first: u64,
    rate_pps: u64,
    burst: u64,
}

impl Schedule {
    /// When datagram number `sequence` is due, in nanoseconds of [`now_ns`].
    fn due_ns(self, sequence: u64) -> u64 {
        let tick = (sequence - self.first) / self.burst;
        let after_ns = u128::from(tick * self.burst) * 1_000_000_000 / u128::from(self.rate_pps);
        self.start_ns + after_ns as u64
    }

    /// The first sequence number that is not due by `now_ns`.
    fn due_by(self, now_ns: u64) -> u64 {
        let since = u128::from(now_ns.saturating_sub(self.start_ns));
        let ticks = since * u128::from(self.rate_pps) / (1_000_000_000 * u128::from(self.burst));
        self.first + (ticks as u64 + 1) * self.burst
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_adds_up() {
        let schedule = Schedule { start_ns: 1000, first: 0, rate_pps: 3, burst: 1 };
        assert_eq!(
            [0, 1, 2, 3].map(|sequence| schedule.due_ns(sequence)),
            [1000, 333_334_333, 666_667_666, 1_000_001_000]
        );
        assert_eq!(schedule.due_ns(3_000_000_000), 1000 + 1_000_000_000_000_000_000, "after 30 years");
        let days = Schedule { start_ns: 0, first: 0, rate_pps: 999_983, burst: 1 };
        assert_eq!(days.due_ns(999_983 * 86_400), 86_400 * 1_000_000_000, "exact after a day");
    }

    #[test]
    fn what_is_due_and_when_agree() {
        for (rate_pps, burst) in [(1, 1), (50_000, 1), (50_000, 8), (1_000_003, 3), (7, 100)] {
            let schedule = Schedule { start_ns: 77, first: 5, rate_pps, burst };
            for sequence in [0, burst, 5 * burst, 1000 * burst].map(|sequence| 5 + sequence) {
                let due_ns = schedule.due_ns(sequence);
                // Rounded down, a due time may be a nanosecond before the instant at which the tick is due.
                assert_eq!(schedule.due_by(due_ns + 1), sequence + burst, "{schedule:?} {sequence}");
                assert!(due_ns == 77 || schedule.due_by(due_ns - 1) <= sequence, "{schedule:?} {sequence}");
            }
        }
    }
}
