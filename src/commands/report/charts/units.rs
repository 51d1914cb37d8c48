//! Figures with their units, for ticks, tooltips and tables.

use crate::text::{digits, thousands};

/// The unit of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Nanoseconds per datagram.
    Cost,
    /// Instructions per datagram.
    Instructions,
    /// Datagrams per second.
    Rate,
    /// A time, in nanoseconds; shown in microseconds everywhere.
    Time,
    /// Processor cores.
    Cores,
    /// A change, in percent.
    Change,
}

impl Unit {
    /// The label of an axis.
    pub(super) fn axis(self) -> &'static str {
        match self {
            Self::Cost => "ns per datagram",
            Self::Instructions => "ins/packet",
            Self::Rate => "datagrams per second",
            Self::Time => "latency, µs",
            Self::Cores => "cores",
            Self::Change => "change, %",
        }
    }

    /// A value for a tick, with enough digits to tell it from one that is `step` off.
    pub(super) fn tick(self, value: f64, step: f64) -> String {
        match self {
            Self::Rate => short_tick(value, step),
            Self::Time => trimmed(value / 1e3, step / 1e3),
            _ => trimmed(value, step),
        }
    }

    /// A value for a table.
    pub(super) fn cell(self, value: f64) -> String {
        match self {
            Self::Rate if value < HUGE => thousands(value),
            Self::Time if value / 1e3 < HUGE => format!("{:.2}", value / 1e3),
            Self::Cores if value < HUGE => format!("{value:.2}"),
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
            Self::Time => format!("{} µs", trimmed(value / 1e3, f64::INFINITY)),
            Self::Cores => format!("{value:.2} cores"),
            Self::Change => format!("{value:+.1}%"),
        }
    }
}

/// From here on, numbers are written with an exponent.
const HUGE: f64 = 1e12;

/// The most digits of a number.
const DIGITS: f64 = 17.0;

/// A number for a table.
fn readable(value: f64) -> String {
    if value.abs() < HUGE { digits(value) } else { format!("{value:.2e}") }
}

/// A number, with k, M or G if it is large.
pub(super) fn short(value: f64) -> String {
    short_tick(value, f64::INFINITY)
}

/// The same, with enough digits to tell it from one that is `step` off.
pub(super) fn short_tick(value: f64, step: f64) -> String {
    let (scale, suffix) = match value.abs() {
        size if size >= 1e9 => (1e9, "G"),
        size if size >= 1e6 => (1e6, "M"),
        size if size >= 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    format!("{}{suffix}", trimmed(value / scale, step / scale))
}

/// A number with about three significant digits, more if one that is `step` off would look the same, and without
/// trailing zeros.
fn trimmed(value: f64, step: f64) -> String {
    let size = value.abs();
    let power = |size: f64| size.log10().floor();
    if size >= HUGE {
        let digits = (power(size) - power(step)).clamp(1.0, DIGITS) as usize;
        return format!("{value:.digits$e}");
    }
    let usual = match size {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    let decimals = usual.max((-power(step)).clamp(0.0, DIGITS) as usize);
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::commands::report::svg::axis::Axis;
    use crate::commands::report::svg::scale;

    #[test]
    fn figures_are_short_and_have_their_unit() {
        for (unit, value, tick, text) in [
            (Unit::Cost, 400.0, "400", "400.0 ns"),
            (Unit::Cost, 0.0, "0", "0.00 ns"),
            (Unit::Cost, 2.5, "2.5", "2.50 ns"),
            (Unit::Rate, 1_500_000.0, "1.5M", "1.5M/s"),
            (Unit::Rate, 20_000.0, "20k", "20k/s"),
            (Unit::Rate, 0.0, "0", "0/s"),
            (Unit::Time, 4_830.0, "4.83", "4.83 µs"),
            (Unit::Time, 1e6, "1000", "1000 µs"),
            (Unit::Time, 250.0, "0.25", "0.25 µs"),
            (Unit::Cores, 0.5, "0.5", "0.50 cores"),
            (Unit::Change, -2.5, "-2.5", "-2.5%"),
            (Unit::Change, -0.000_01, "0", "-0.0%"),
            (Unit::Cost, 1.5e300, "1.5e300", "1.50e300 ns"),
            (Unit::Rate, 1.5e300, "1.5e291G", "1.5e291G/s"),
            (Unit::Instructions, 1827.0, "1827", "1827 ins/packet"),
        ] {
            let alone = unit.tick(value, f64::INFINITY);
            assert_eq!((alone.as_str(), unit.text(value).as_str()), (tick, text), "{unit:?} {value}");
        }
    }

    #[test]
    fn ticks_of_near_values_differ_and_are_right() {
        let labels = |unit: Unit, low, high, is_log| {
            let (scale, ticks) = if is_log { scale::log(low, high) } else { scale::linear(low, high, 5) };
            Axis::new(scale, ticks, "", |value, step| unit.tick(value, step)).ticks
        };
        let texts = |unit, low, high| labels(unit, low, high, false).into_iter().map(|(_, text)| text);
        assert_eq!(texts(Unit::Cost, 1827.1, 1828.9).collect::<Vec<_>>(), ["1827", "1827.5", "1828", "1828.5", "1829"]);
        assert_eq!(texts(Unit::Time, 1_001.0, 1_019.0).collect::<Vec<_>>(), ["1", "1.005", "1.01", "1.015", "1.02"]);
        let units = [Unit::Cost, Unit::Instructions, Unit::Rate, Unit::Time, Unit::Cores, Unit::Change];
        let powers = (-4..17).map(|power| 10_f64.powi(power));
        let lows = powers.flat_map(|power| [1.0, 1.827, 9.99].map(|low| low * power));
        for (low, ratio) in lows.flat_map(|low| [1e-6, 0.000_3, 0.02, 0.4, 3.0, 70.0].map(|ratio| (low, ratio))) {
            for (unit, is_log) in units.into_iter().flat_map(|unit| [(unit, false), (unit, true)]) {
                let ticks = labels(unit, low, low * (1.0 + ratio), is_log);
                let context = || format!("{unit:?} {low} {ratio} {is_log}: {ticks:?}");
                let texts: BTreeSet<&str> = ticks.iter().map(|(_, text)| text.as_str()).collect();
                assert_eq!(texts.len(), ticks.len(), "{}", context());
                for (tick, text) in &ticks {
                    let read = read(text) * if unit == Unit::Time { 1e3 } else { 1.0 };
                    assert!((read - tick).abs() <= 1e-9 * tick.abs(), "{read} {}", context());
                }
            }
        }
    }

    /// The value of a label.
    fn read(text: &str) -> f64 {
        let suffixes = [("G", 1e9), ("M", 1e6), ("k", 1e3)];
        let found = suffixes.into_iter().find_map(|(suffix, scale)| Some((text.strip_suffix(suffix)?, scale)));
        let (number, scale) = found.unwrap_or((text, 1.0));
        number.parse::<f64>().expect("a number") * scale
    }
}
