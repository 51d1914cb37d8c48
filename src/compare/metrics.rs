//! What can be compared: columns with a unit and a direction.

use crate::record::column::{Better, Role};
use crate::record::columns::Column;

/// A column that can be compared. Columns that are neither good nor bad are left out: how busy a worker was, which is a
/// cost in `pace` and a check in `flood`, and datagrams per call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The column.
    pub column: Column,
    /// Its unit.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
}

impl Metric {
    /// All of them, in the order of the columns.
    pub fn all() -> impl Iterator<Item = Self> {
        Column::declarations().iter().filter_map(|declaration| Self::of(declaration.column))
    }

    /// The metric of a column, if it is one.
    pub fn of(column: Column) -> Option<Self> {
        match column.role() {
            Role::Metric(unit, better) => Some(Self { column, unit, better }),
            _ => None,
        }
    }

    /// The metric of this name.
    pub fn find(name: &str) -> Option<Self> {
        Column::find(name).and_then(Self::of)
    }

    /// Its quantile of latency, if it is so high that trials are merged for it.
    pub fn tail(self) -> Option<f64> {
        tail(self.column)
    }

    /// The name of the column.
    pub fn name(self) -> &'static str {
        self.column.name()
    }
}

/// The quantile of latency of a column, if it is so high that trials are merged for it.
pub(crate) fn tail(column: Column) -> Option<f64> {
    match column {
        Column::lat_p99_ns => Some(0.99),
        Column::lat_p999_ns => Some(0.999),
        Column::lat_p9999_ns => Some(0.9999),
        _ => None,
    }
}

/// The default metrics of a scenario; the first is its main metric.
pub fn defaults(scenario: &str, accel: &str) -> &'static [Column] {
    match scenario {
        // An emulator that counts has no real time.
        _ if accel == "icount" => &[Column::instructions_per_packet, Column::peer_instructions_per_packet],
        "drain" | "send" => &[Column::ns_per_packet_p50, Column::peer_ns_per_packet],
        "flood" => &[Column::rx_pps],
        // At a fixed rate, cost is processor time.
        "pace" | "serve" | "relay" => &[Column::lat_p50_ns, Column::lat_p99_ns, Column::cpu_ns_per_packet],
        _ => &[Column::lat_p50_ns, Column::lat_p99_ns],
    }
}

/// The default metrics of all scenarios.
pub fn all_defaults() -> Vec<Metric> {
    let defaults = [("drain", ""), ("flood", ""), ("pace", ""), ("drain", "icount")];
    let columns = defaults.into_iter().flat_map(|(scenario, accel)| self::defaults(scenario, accel));
    columns.filter_map(|&column| Metric::of(column)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_metric() {
        for scenario in crate::plan::cells::Scenario::ALL {
            for accel in ["", "icount"] {
                let defaults = defaults(scenario.name(), accel);
                assert!(defaults.iter().all(|&column| Metric::of(column).is_some()), "{scenario}");
            }
        }
        assert_eq!(all_defaults().len(), 8);
        assert_eq!(Metric::find("batch"), None);
    }
}
