//! What can be compared: columns with a unit and a direction.

use crate::record::row::Row;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less is.
    Lower,
    /// More is.
    Higher,
}

impl Better {
    /// The name in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
        }
    }
}

/// A value of a row, if it has one.
pub type Value = fn(&Row) -> Option<f64>;

/// A column that can be compared.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The column.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// Its value in a row, if there is one.
    pub value: Value,
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// A metric of a column of fractions, or of whole numbers.
macro_rules! metric {
    ($column:ident, $unit:literal, $better:ident) => {
        Metric { name: stringify!($column), unit: $unit, better: Better::$better, value: |row| row.$column }
    };
    ($column:ident, $unit:literal, $better:ident, whole) => {
        Metric {
            name: stringify!($column),
            unit: $unit,
            better: Better::$better,
            value: |row| row.$column.map(|value| value as f64),
        }
    };
}

/// All of them, in the order of the columns. Left out is what is neither good nor bad: how busy a worker was, which is
/// a cost in `pace` and a proof in `flood`, and how many datagrams came per call.
pub const METRICS: &[Metric] = &[
    metric!(tx_pps, "pps", Higher),
    metric!(rx_pps, "pps", Higher),
    metric!(rx_mbps, "Mbit/s", Higher),
    metric!(loss_pct, "%", Lower),
    metric!(drop_socket, "datagrams", Lower, whole),
    metric!(drop_ring, "datagrams", Lower, whole),
    metric!(ns_per_packet, "ns", Lower),
    metric!(ns_per_packet_p50, "ns", Lower),
    metric!(ns_per_packet_min, "ns", Lower),
    metric!(peer_ns_per_packet, "ns", Lower),
    metric!(cpu_ns_per_packet, "ns", Lower),
    metric!(user_ns_per_packet, "ns", Lower),
    metric!(sys_ns_per_packet, "ns", Lower),
    metric!(kthread_ns_per_packet, "ns", Lower),
    metric!(generator_cpu_ns_per_packet, "ns", Lower),
    metric!(syscalls_per_packet, "calls", Lower),
    metric!(cycles_per_packet, "cycles", Lower),
    metric!(instructions_per_packet, "instructions", Lower),
    metric!(peer_instructions_per_packet, "instructions", Lower),
    metric!(context_switches, "switches", Lower, whole),
    metric!(lat_min_ns, "ns", Lower, whole),
    metric!(lat_mean_ns, "ns", Lower),
    metric!(lat_p50_ns, "ns", Lower, whole),
    metric!(lat_p90_ns, "ns", Lower, whole),
    metric!(lat_p99_ns, "ns", Lower, whole),
    metric!(lat_p999_ns, "ns", Lower, whole),
    metric!(lat_p9999_ns, "ns", Lower, whole),
    metric!(lat_max_ns, "ns", Lower, whole),
    metric!(late_p99_ns, "ns", Lower, whole),
];

/// The metric of this name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// What is compared where the user does not say: the first is what the scenario is about.
pub fn defaults(scenario: &str, accel: &str) -> &'static [&'static str] {
    match scenario {
        // Under an emulator that counts, there is no time.
        _ if accel == "icount" => &["instructions_per_packet", "peer_instructions_per_packet"],
        "drain" | "send" => &["ns_per_packet_p50", "peer_ns_per_packet"],
        "flood" => &["rx_pps"],
        _ => &["lat_p50_ns", "lat_p99_ns"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_metric_and_no_metric_is_there_twice() {
        for scenario in crate::plan::cells::Scenario::ALL {
            for accel in ["", "icount"] {
                assert!(defaults(scenario.name(), accel).iter().all(|name| find(name).is_some()), "{scenario}");
            }
        }
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
