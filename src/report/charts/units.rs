//! Figures with their units, for ticks, tips and tables.

use crate::table::{digits, thousands};

/// What figures are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Nanoseconds per datagram.
    Cost,
    /// Instructions per datagram.
    Instructions,
    /// Datagrams per second.
    Rate,
    /// A time, in nanoseconds.
    Time,
    /// A change, in percent.
    Change,
}

impl Unit {
    /// What an axis is called.
    pub(super) fn axis(self) -> &'static str {
        match self {
            Self::Cost => "ns per packet",
            Self::Instructions => "ins/packet",
            Self::Rate => "packets per second",
            Self::Time => "latency",
            Self::Change => "change, %",
        }
    }

    /// What a column is called.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Time => "latency, µs",
            unit => unit.axis(),
        }
    }

    /// A value for a tick.
    pub(super) fn tick(self, value: f64) -> String {
        match self {
            Self::Rate => short(value),
            Self::Time => time(value),
            _ => trimmed(value),
        }
    }

    /// A value for a table.
    pub(super) fn cell(self, value: f64) -> String {
        match self {
            Self::Rate if value < HUGE => thousands(value),
            Self::Time => format!("{:.2}", value / 1e3),
            Self::Change => format!("{value:+.1}"),
            _ => readable(value),
        }
    }

    /// A value with its unit.
    pub(super) fn text(self, value: f64) -> String {
        match self {
            Self::Cost => format!("{} ns", readable(value)),
            Self::Instructions => format!("{} ins/packet", readable(value)),
            Self::Rate => format!("{}/s", short(value)),
            Self::Time => time(value),
            Self::Change => format!("{value:+.1}%"),
        }
    }
}

/// From here on digits are counted instead of written.
const HUGE: f64 = 1e12;

/// A number for a table.
fn readable(value: f64) -> String {
    if value.abs() < HUGE { digits(value) } else { format!("{value:.2e}") }
}

/// A number with k, M or G where it is large.
pub(super) fn short(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{suffix}", trimmed(scaled))
}

/// A time in the unit that suits it.
fn time(ns: f64) -> String {
    match ns.abs() {
        size if size >= 1e9 => format!("{} s", trimmed(ns / 1e9)),
        size if size >= 1e6 => format!("{} ms", trimmed(ns / 1e6)),
        size if size >= 1e3 => format!("{} µs", trimmed(ns / 1e3)),
        _ => format!("{} ns", trimmed(ns)),
    }
}

/// A number with at most three digits that mean something after the point, and no zeros at its end.
fn trimmed(value: f64) -> String {
    if value.abs() >= HUGE {
        return format!("{value:.1e}");
    }
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_have_their_unit() {
        for (unit, value, tick, text) in [
            (Unit::Cost, 400.0, "400", "400.0 ns"),
            (Unit::Cost, 0.0, "0", "0.00 ns"),
            (Unit::Cost, 2.5, "2.5", "2.50 ns"),
            (Unit::Rate, 1_500_000.0, "1.5M", "1.5M/s"),
            (Unit::Rate, 20_000.0, "20k", "20k/s"),
            (Unit::Rate, 0.0, "0", "0/s"),
            (Unit::Time, 4_830.0, "4.83 µs", "4.83 µs"),
            (Unit::Time, 1e6, "1 ms", "1 ms"),
            (Unit::Time, 250.0, "250 ns", "250 ns"),
            (Unit::Change, -2.5, "-2.5", "-2.5%"),
            (Unit::Change, -0.000_01, "0", "-0.0%"),
            (Unit::Cost, 1.5e300, "1.5e300", "1.50e300 ns"),
            (Unit::Rate, 1.5e300, "1.5e291G", "1.5e291G/s"),
            (Unit::Instructions, 1827.0, "1827", "1827 ins/packet"),
        ] {
            assert_eq!((unit.tick(value).as_str(), unit.text(value).as_str()), (tick, text), "{unit:?} {value}");
        }
    }
}
