//! Whether a trial holds: what it lost, what was still queued, and how long datagrams took.

use crate::compare::capacity::sought::Sought;
use crate::record::row::Row;
use crate::stats::search::Shown;

/// Whether a trial met a goal, or the main reason why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Met {
    /// It did.
    Yes,
    /// More was lost.
    Loss,
    /// More was queued at its end than at its beginning, by more than may be lost.
    Queue,
    /// The 99th percentile of latency was too high.
    P99,
    /// The generator did not offer the load, or not in time, or did not take what came back.
    Generator,
}

impl Met {
    /// The name in the column.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Loss => "loss",
            Self::Queue => "queue",
            Self::P99 => "p99",
            Self::Generator => "generator",
        }
    }
}

/// What a trial says to a search, and to each goal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judged {
    pub(crate) shown: Shown,
    pub(crate) met: Vec<Met>,
}

/// Judges a trial that ran to its end. What is still queued when the offered load ends has not got through: a queue hides an
/// overload for as long as it has room.
pub(crate) fn judge(row: &Row, sought: &Sought) -> Judged {
    let count = |count: Option<u64>| count.unwrap_or(0) as f64;
    let (sent, copies) = (count(row.measured_sent).max(1.0), row.fanout.unwrap_or(1) as f64);
    let growth = row.queue_growth.unwrap_or(0) as f64;
    // Of the counts: a share that is rounded for people does not show one of two millions.
    let lost = (sent - count(row.measured_received) - growth).max(0.0) / sent;
    // A burst of each worker may be on its way. Where nothing may be missing, what a worker has taken at once is no loss, either.
    let is_strict = sought.strictest().loss_ratio == 0.0;
    let at_once = if is_strict { row.burst.unwrap_or(1).max(row.batch as u64) } else { row.burst.unwrap_or(1) };
    let under_way = at_once as f64 * copies * row.workers as f64;
    let queued = (growth - under_way).max(0.0) / sent;
    let missing = lost + queued;
    let p99_max_ns = sought.p99_max.as_nanos() as u64;
    let is_late = row.lat_p99_ns.is_some_and(|p99| p99 > p99_max_ns);
    // Latency counts from when a datagram was due, so that of the generator is in it.
    let generator_is_late = row.late_p99_ns.is_some_and(|late| 2 * late > p99_max_ns);
    // Copies that a worker has sent on, and that the generator had no room for.
    let untaken = row.forwarded.map_or(0.0, |forwarded| forwarded as f64 - count(row.received) - count(row.lost));
    let is_untaken = untaken > 0.0 && 2.0 * untaken > count(row.sent) - count(row.received);
    let is_limited = row.generator_limited == Some(1);
    let met = |loss_max: f64| match missing > loss_max {
        _ if is_limited => Met::Generator,
        true if queued > lost => Met::Queue,
        true if is_untaken => Met::Generator,
        true => Met::Loss,
        false if is_late && generator_is_late => Met::Generator,
        false if is_late => Met::P99,
        false => Met::Yes,
    };
    let loss_ratio = if is_limited || is_late { 1.0 } else { missing.min(1.0) };
    let forwarded = row.rx_pps.unwrap_or(0.0) / copies / row.workers.max(1) as f64;
    let met = sought.goals.iter().map(|goal| met(goal.loss_ratio)).collect();
    Judged { shown: Shown { loss_ratio, forwarded }, met }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stats::search::Goal;

    /// Of ten thousand that were sent, so many were lost, and by so many the queue grew.
    fn row(lost: u64, growth: i64) -> Row {
        Row {
            workers: 2,
            burst: Some(1),
            batch: 1,
            measured_sent: Some(10_000),
            measured_received: 10_000_u64.checked_sub(lost).and_then(|came| came.checked_add_signed(-growth)),
            queue_growth: Some(growth),
            rx_pps: Some(40_000.0),
            generator_limited: Some(0),
            lat_p99_ns: Some(50_000),
            late_p99_ns: Some(1_000),
            ..Row::default()
        }
    }

    fn sought(losses: &[f64]) -> Sought {
        Sought { goals: losses.iter().map(|&loss| Goal::quick(loss)).collect(), p99_max: Duration::from_millis(10) }
    }

    #[test]
    fn what_is_lost_queued_late_or_not_offered_does_not_hold() {
        let late = Some(11_000_000);
        for (row, loss_ratio, met) in [
            (row(0, 0), 0.0, [Met::Yes; 2]),
            (row(50, 0), 0.005, [Met::Loss, Met::Yes]),
            (row(60, 0), 0.006, [Met::Loss; 2]),
            (row(0, 2), 0.0, [Met::Yes; 2]),
            (row(0, -40), 0.0, [Met::Yes; 2]),
            (row(0, 62), 0.006, [Met::Queue; 2]),
            (row(20, 42), 0.006, [Met::Queue; 2]),
            (Row { lat_p99_ns: late, ..row(0, 0) }, 1.0, [Met::P99; 2]),
            (Row { lat_p99_ns: late, late_p99_ns: Some(9_000_000), ..row(0, 0) }, 1.0, [Met::Generator; 2]),
            (Row { lat_p99_ns: late, ..row(0, 402) }, 1.0, [Met::Queue; 2]),
            (Row { generator_limited: Some(1), ..row(0, 402) }, 1.0, [Met::Generator; 2]),
            (Row { measured_received: None, ..row(0, 0) }, 1.0, [Met::Loss; 2]),
        ] {
            let judged = judge(&row, &sought(&[0.0, 0.005]));
            assert!((judged.shown.loss_ratio - loss_ratio).abs() < 1e-12, "{judged:?}: {row:?}");
            assert_eq!((judged.met, judged.shown.forwarded), (met.to_vec(), 20_000.0), "{row:?}");
        }
        // Hosts whose clocks nobody has compared know no latency.
        assert_eq!(judge(&Row { lat_p99_ns: None, ..row(0, 0) }, &sought(&[0.0])).met, [Met::Yes]);
    }

    #[test]
    fn one_of_millions_is_lost_and_a_batch_of_each_worker_is_not() {
        let many = Row { measured_sent: Some(4_000_000), measured_received: Some(3_999_999), ..row(0, 0) };
        assert_eq!(judge(&many, &sought(&[0.0])).met, [Met::Loss]);
        let batches = |growth| Row { batch: 32, ..row(0, growth) };
        for (losses, growth, met) in [
            (&[0.0][..], 64, Met::Yes),
            (&[0.0], 65, Met::Queue),
            // Where some may be missing, a batch is some of them.
            (&[0.005], 52, Met::Yes),
            (&[0.005], 53, Met::Queue),
        ] {
            assert_eq!(judge(&batches(growth), &sought(losses)).met, [met], "{losses:?} {growth}");
        }
    }

    #[test]
    fn copies_that_nobody_took_are_the_generators_fault() {
        let relay = |forwarded, received| Row {
            fanout: Some(4),
            sent: Some(10_000),
            forwarded: Some(forwarded),
            received: Some(received),
            ..row(10_000 - received, 0)
        };
        assert_eq!(judge(&relay(9_000, 9_000), &sought(&[0.0])).met, [Met::Loss]);
        assert_eq!(judge(&relay(9_900, 9_000), &sought(&[0.0])).met, [Met::Generator]);
        assert_eq!(judge(&relay(10_000, 10_000), &sought(&[0.0])).shown.forwarded, 5_000.0, "datagrams, not copies");
        assert_eq!(judge(&Row { queue_growth: Some(8), ..relay(10_000, 10_000) }, &sought(&[0.0])).met, [Met::Yes]);
    }
}
