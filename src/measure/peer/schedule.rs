//! The schedule of an open loop.

/// When datagrams are due: tick `k` at `start + k · burst / rate`, by multiplication, so that no error adds up.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// When it begins, in nanoseconds of [`now_ns`](crate::measure::clock::now_ns).
    pub start_ns: u64,
    /// The sequence number of the first datagram.
    pub first: u64,
    /// Datagrams per second.
    pub rate_pps: u64,
    /// Datagrams per tick.
    pub burst: u64,
}

impl Schedule {
    /// When datagram number `sequence` is due, in nanoseconds of [`now_ns`](crate::measure::clock::now_ns).
    #[inline]
    pub fn due_ns(self, sequence: u64) -> u64 {
        let tick = (sequence - self.first) / self.burst;
        let after_ns = u128::from(tick * self.burst) * 1_000_000_000 / u128::from(self.rate_pps);
        self.start_ns + after_ns as u64
    }

    /// The first sequence number that is not due by `now_ns`.
    #[inline]
    pub fn due_by(self, now_ns: u64) -> u64 {
        let since = u128::from(now_ns.saturating_sub(self.start_ns));
        let ticks = since * u128::from(self.rate_pps) / (1_000_000_000 * u128::from(self.burst));
        self.first + (ticks as u64 + 1) * self.burst
    }

    /// The tick of datagram number `sequence`.
    pub fn tick_of(self, sequence: u64) -> Tick {
        let end = sequence + self.burst - (sequence - self.first) % self.burst;
        Tick { due_ns: self.due_ns(sequence), end, next_ns: self.due_ns(end) }
    }

    /// The first sequence number that is not due by `now_ns`, which is not before this tick. There is a division in it only
    /// if the next tick is due, too.
    #[inline]
    pub fn due_from(self, tick: Tick, now_ns: u64) -> u64 {
        if now_ns < tick.next_ns { tick.end } else { self.due_by(now_ns).max(tick.end) }
    }
}

/// Datagrams that are due at once. Who works it out beforehand has no division to make when they are due.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// When they are due.
    pub due_ns: u64,
    /// The first sequence number of the next tick.
    pub end: u64,
    /// When that is due.
    pub next_ns: u64,
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
                let tick = schedule.tick_of(sequence + burst - 1);
                assert_eq!((tick.due_ns, tick.end), (due_ns, sequence + burst), "{schedule:?} {sequence}");
                assert_eq!(tick.next_ns, schedule.due_ns(tick.end));
                for now_ns in [due_ns + 1, tick.next_ns - 1, tick.next_ns + 1, tick.next_ns + 1_000_000_000] {
                    assert_eq!(schedule.due_from(tick, now_ns), schedule.due_by(now_ns), "{schedule:?} {now_ns}");
                }
            }
        }
    }
}
