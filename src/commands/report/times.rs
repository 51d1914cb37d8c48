//! When trials began.

use crate::record::row::Row;

/// When attempts began, as the files say.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// The first and the last time.
    pub span: Option<(String, String)>,
    /// As numbers in time order: see [`in_order`].
    starts: Vec<u128>,
}

impl Times {
    /// Adds the next row.
    pub(crate) fn add(&mut self, row: &Row) {
        let started = row.started_at.as_str();
        match &mut self.span {
            None => self.span = Some((started.to_owned(), started.to_owned())),
            Some((first, _)) if started < first.as_str() => *first = started.to_owned(),
            Some((_, last)) if started > last.as_str() => *last = started.to_owned(),
            Some(_) => {}
        }
        self.starts.push(in_order(started));
    }

    /// Takes out when each attempt began, as numbers in time order.
    pub(crate) fn take_starts(&mut self) -> Vec<u128> {
        std::mem::take(&mut self.starts)
    }
}

/// A time as a number that grows with time: the digits of its date and its clock, and nine digits of its fraction.
fn in_order(time: &str) -> u128 {
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let digits = |text: &str, count: usize| {
        let digits = text.bytes().filter(u8::is_ascii_digit).chain(std::iter::repeat(b'0')).take(count);
        digits.fold(0_u128, |number, digit| 10 * number + u128::from(digit - b'0'))
    };
    digits(whole, 14) * 1_000_000_000 + digits(fraction, 9)
}
