//! What the values of flags look like: numbers, amounts, times, shares, names and addresses.

use std::str::FromStr;
use std::time::Duration;

use crate::console::{is_control, is_formula, printable};

/// Reads a whole number.
pub(crate) fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let value = usize::from_str(text).ok().filter(|value| (least..=most).contains(value));
    value.ok_or_else(|| format!("'{text}' is not a whole number from {least} to {most}"))
}

/// Reads a whole number that may be written with a unit: `100k` and `1.5M` count thousands, `64Ki` counts in 1024s.
pub(crate) fn amount(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let value = usize::from_str(text).ok().or_else(|| scaled(text)).filter(|value| (least..=most).contains(value));
    let units = if most < 1000 { "" } else { "; 2k is 2000, 2Ki is 2048" };
    value.ok_or_else(|| format!("'{text}' is not a whole number from {least} to {most}{units}"))
}

/// The value of an amount with a unit, if that is a whole number.
fn scaled(text: &str) -> Option<usize> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let scale: u128 = match unit {
        "k" | "K" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{decimals}");
    // No bounds allow a number with more digits, and the product of two with fewer has room.
    if digits.len() > 18 || whole.is_empty() || number.ends_with('.') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (product, divisor) = (u128::from_str(&digits).ok()? * scale, 10_u128.pow(decimals.len() as u32));
    if product.is_multiple_of(divisor) { usize::try_from(product / divisor).ok() } else { None }
}

/// Reads a command: at least one word, as a shell would split it.
pub(crate) fn command(text: &str) -> Result<String, String> {
    match shlex::split(text) {
        Some(words) if !words.is_empty() => Ok(text.to_owned()),
        Some(_) => Err("it takes a command, e.g. 'ssh lab2 hpbench agent'".into()),
        None => Err("a quote in the command is not closed".into()),
    }
}

/// Reads a number of 64 bits.
pub(crate) fn whole(text: &str) -> Result<u64, String> {
    u64::from_str(text).map_err(|_| format!("'{text}' is not a whole number from 0 to {}", u64::MAX))
}

/// Units of time, in seconds; each precedes those that it ends with.
const UNITS: [(&str, f64); 8] =
    [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0)];

/// Reads a time of a run: at most an hour.
pub(crate) fn seconds(text: &str, least: f64) -> Result<Duration, String> {
    time(text, least, 3600.0)
}

/// Reads a time: a number is seconds, others have a unit, such as `5ms`.
pub(crate) fn time(text: &str, least: f64, most: f64) -> Result<Duration, String> {
    let unit = UNITS.into_iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)));
    let (number, scale) = unit.unwrap_or((text, 1.0));
    let value = f64::from_str(number).ok().map(|number| number * scale);
    let value = value.filter(|value| (least..=most).contains(value));
    value.map(Duration::from_secs_f64).ok_or_else(|| {
        format!("'{text}' is not a time from {least} to {most} seconds, such as 2, 0.5, 1.5s, 5ms or 20us")
    })
}

/// Reads a time of at most so many nanoseconds: a number is nanoseconds, others have a unit, such as `5us`.
pub(crate) fn nanoseconds(text: &str, most: u64) -> Result<u64, String> {
    let ns = text.parse().ok().or_else(|| {
        let has_unit = text.ends_with(|last: char| last.is_alphabetic());
        has_unit.then(|| time(text, 0.0, 3600.0).ok())?.map(|time| time.as_nanos() as u64)
    });
    ns.filter(|ns| *ns <= most)
        .ok_or_else(|| format!("'{text}' is not a time from 0 to {most} nanoseconds, such as 500, 2.5us or 1ms"))
}

/// Reads a share in percent, with or without the sign. Returns it as a fraction.
pub(crate) fn percentage(text: &str) -> Result<f64, String> {
    let value = percentage_or_none(text).ok().filter(|&value| value > 0.0);
    value.ok_or_else(|| format!("'{text}' is not a percentage over 0 and below 100"))
}

/// The same, which may be none.
pub(crate) fn percentage_or_none(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    let value = number.filter(|value| (0.0..100.0).contains(value));
    value.map(|value| value / 100.0).ok_or_else(|| format!("'{text}' is not a percentage from 0 to below 100"))
}

/// Reads a time that is added to each datagram.
pub(crate) fn added_ns(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| (0.0..=1e6).contains(value));
    value.ok_or_else(|| format!("'{text}' is not a number of nanoseconds from 0 to 1000000"))
}

/// The name of a machine or of its state: a text in a CSV file, which people print and open in a spreadsheet.
pub(crate) fn label(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it must have at least one character".into());
    }
    if is_formula(text) {
        return Err("a text that begins with =, +, - or @ is a formula to a spreadsheet; begin it with a letter".into());
    }
    match text.chars().find(|&c| is_control(c)) {
        Some(c) => Err(format!("it has a control character, {}; leave it out", printable(c.encode_utf8(&mut [0; 4])))),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_has_a_unit_or_none_and_is_whole() {
        let read = |text| amount(text, 1, 100_000_000).ok();
        for (text, value) in [
            ("100k", 100_000),
            ("100K", 100_000),
            ("1M", 1_000_000),
            ("1.5k", 1500),
            ("0.07M", 70_000),
            ("64Ki", 65_536),
            ("1.5Mi", 3 << 19),
            ("100000000", 100_000_000),
        ] {
            assert_eq!(read(text), Some(value), "{text}");
        }
        for text in
            ["", "k", "1.5", "1.0", "1e6", "0k", "1G", ".5k", "1.k", "1.2345k", "1 k", "-1k", "1kk", "1kB", "1m"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(amount("99999999999999999999G", 1, usize::MAX).ok(), None);
        assert!(amount("x", 1, 1024).is_err_and(|told| told.contains("2k is 2000")));
    }

    #[test]
    fn nanoseconds_have_a_unit_or_are_some() {
        let read = |text| nanoseconds(text, 1_000_000).ok();
        assert_eq!(["0", "500", "7ns", "2.5us", "1ms"].map(read), [0, 500, 7, 2500, 1_000_000].map(Some));
        assert!(
            ["", "us", "-1", "0.5", "2ms", "1s", "1000001", "1 us", "NaNus"].iter().all(|text| read(text).is_none())
        );
    }

    #[test]
    fn a_time_is_in_seconds_or_has_a_unit() {
        let read = |text| seconds(text, 0.0).ok().map(|time| time.as_nanos());
        for (text, ns) in [
            ("1", 1_000_000_000),
            ("0.25", 250_000_000),
            ("1.5s", 1_500_000_000),
            ("5ms", 5_000_000),
            ("20us", 20_000),
            ("20µs", 20_000),
            ("7ns", 7),
            ("2min", 120_000_000_000),
            ("1h", 3_600_000_000_000),
        ] {
            assert_eq!(read(text), Some(ns), "{text}");
        }
        for text in ["", "s", "ms", "-5ms", "NaNs", "infs", "2h", "5 m", "5m", "3601s", "5ms5"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(seconds("1us", 0.001).is_err_and(|told| told.contains("from 0.001 to 3600 seconds")));
    }

    #[test]
    fn a_threshold_is_a_percentage() {
        for (text, value) in [("3%", 0.03), ("3", 0.03), ("0.5%", 0.005), ("99.9", 0.999)] {
            assert!((percentage(text).expect("a percentage") - value).abs() < 1e-12, "{text}");
        }
        for text in ["", "%", "0", "-3%", "100", "NaN", "inf", "3%%", "3 %", "three", "0.03x"] {
            assert!(percentage(text).is_err(), "{text}");
        }
    }
}
