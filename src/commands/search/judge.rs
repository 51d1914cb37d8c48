//! Whether a trial holds: what it lost, what was still queued, and how long datagrams took.

use crate::record::row::Row;
use crate::stats::search::Shown;

/// What a trial must keep to.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// The greatest loss of each goal, as shares.
    pub(super) loss_max: Vec<f64>,
    /// The greatest 99th percentile of latency, in nanoseconds.
    pub(super) p99_max_ns: u64,
}

/// Whether a trial met a goal, or the main reason why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Met {
    /// It did.
    Yes,
    /// More was lost.
    Loss,
    /// More was queued at its end than at its beginning, by more than may be lost.
    Queue,
    /// The 99th percentile of latency was too high.
    P99,
    /// The generator did not offer the load, or not in time.
    Generator,
}

impl Met {
    /// The name in the column.
    pub(super) fn name(self) -> &'static str {
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
pub(super) struct Judged {
    pub(super) shown: Shown,
    pub(super) met: Vec<Met>,
}

/// Judges a trial that ran to its end. What is still queued when the offered load ends has not got through: a queue hides an
/// overload for as long as it has room.
pub(super) fn judge(row: &Row, limits: &Limits) -> Judged {
    let count = |count: Option<u64>| count.unwrap_or(0) as f64;
    let sent = count(row.measured_sent).max(1.0);
    let lost = row.loss_pct.unwrap_or(100.0) / 100.0;
    // One burst of each worker may be on its way.
    let under_way = row.burst.unwrap_or(1) as f64 * row.workers as f64;
    let queued = (row.queue_growth.unwrap_or(0) as f64 - under_way).max(0.0) / sent;
    let missing = lost + queued;
    let is_limited = row.generator_limited == Some(1);
    let is_late = row.lat_p99_ns.is_some_and(|p99| p99 > limits.p99_max_ns);
    // Latency counts from when a datagram was due, so that of the generator is in it.
    let generator_is_late = row.late_p99_ns.is_some_and(|late| 2 * late > limits.p99_max_ns);
    let met = |&loss_max: &f64| match missing > loss_max {
        _ if is_limited => Met::Generator,
        true if queued > lost => Met::Queue,
        true => Met::Loss,
        false if is_late && generator_is_late => Met::Generator,
        false if is_late => Met::P99,
        false => Met::Yes,
    };
    let loss_ratio = if is_limited || is_late { 1.0 } else { missing.min(1.0) };
    let forwarded = row.rx_pps.unwrap_or(0.0) / row.workers.max(1) as f64;
    Judged { shown: Shown { loss_ratio, forwarded }, met: limits.loss_max.iter().map(met).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            workers: 2,
            burst: Some(1),
            measured_sent: Some(10_000),
            loss_pct: Some(0.0),
            queue_growth: Some(0),
            rx_pps: Some(40_000.0),
            generator_limited: Some(0),
            lat_p99_ns: Some(50_000),
            late_p99_ns: Some(1_000),
            ..Row::default()
        }
    }

    #[test]
    fn what_is_lost_queued_late_or_not_offered_does_not_hold() {
        let limits = Limits { loss_max: vec![0.0, 0.005], p99_max_ns: 10_000_000 };
        let late = Some(11_000_000);
        for (row, loss_ratio, met) in [
            (row(), 0.0, [Met::Yes; 2]),
            (Row { loss_pct: Some(0.5), ..row() }, 0.005, [Met::Loss, Met::Yes]),
            (Row { loss_pct: Some(0.6), ..row() }, 0.006, [Met::Loss; 2]),
            (Row { queue_growth: Some(2), ..row() }, 0.0, [Met::Yes; 2]),
            (Row { queue_growth: Some(-40), ..row() }, 0.0, [Met::Yes; 2]),
            (Row { queue_growth: Some(62), ..row() }, 0.006, [Met::Queue; 2]),
            (Row { queue_growth: Some(42), loss_pct: Some(0.2), ..row() }, 0.006, [Met::Queue; 2]),
            (Row { lat_p99_ns: late, ..row() }, 1.0, [Met::P99; 2]),
            (Row { lat_p99_ns: late, late_p99_ns: Some(9_000_000), ..row() }, 1.0, [Met::Generator; 2]),
            (Row { lat_p99_ns: late, queue_growth: Some(402), ..row() }, 1.0, [Met::Queue; 2]),
            (Row { generator_limited: Some(1), queue_growth: Some(402), ..row() }, 1.0, [Met::Generator; 2]),
            (Row { loss_pct: None, ..row() }, 1.0, [Met::Loss; 2]),
        ] {
            let judged = judge(&row, &limits);
            assert!((judged.shown.loss_ratio - loss_ratio).abs() < 1e-12, "{judged:?}: {row:?}");
            assert_eq!((judged.met, judged.shown.forwarded), (met.to_vec(), 20_000.0), "{row:?}");
        }
        // Hosts whose clocks nobody has compared know no latency.
        assert_eq!(judge(&Row { lat_p99_ns: None, ..row() }, &limits).met, [Met::Yes; 2]);
    }
}
