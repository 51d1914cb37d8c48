//! Scales: they map values to places between 0 and 1, and choose the values for ticks.

/// How values are spaced along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spread {
    /// Evenly.
    Linear,
    /// By their logarithm.
    Log,
    /// Shares below 1, by their number of nines: 0.9, 0.99, 0.999.
    Nines,
}

/// Maps values to places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    spread: Spread,
    low: f64,
    high: f64,
}

impl Scale {
    /// A scale from `low` to `high`. Values without a logarithm are replaced by the smallest one with a logarithm.
    pub(crate) fn new(spread: Spread, low: f64, high: f64) -> Self {
        let (low, high) = (transformed(spread, low), transformed(spread, high));
        // A single value is in the middle.
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        Self { spread, low, high }
    }

    /// The place of a value: 0 at the low end, 1 at the high end, and never beyond.
    pub(crate) fn at(&self, value: f64) -> f64 {
        ((transformed(self.spread, value) - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Whether a value is beyond the ends.
    pub(crate) fn is_beyond(&self, value: f64) -> bool {
        let value = transformed(self.spread, value);
        value < self.low - 1e-9 || value > self.high + 1e-9
    }
}

fn transformed(spread: Spread, value: f64) -> f64 {
    match spread {
        Spread::Linear => value,
        Spread::Log => value.max(f64::MIN_POSITIVE).log10(),
        Spread::Nines => -(1.0 - value).max(1e-15).log10(),
    }
}

/// Values beyond these are not measurements, and would break the axes.
const LEAST: f64 = 1e-9;
const MOST: f64 = 1e18;

/// The largest ratio of the ends of a logarithmic axis.
const DECADES_MAX: f64 = 1e12;

/// The fewest ticks of an axis: with fewer, values between them cannot be read off.
const TICKS_MIN: usize = 4;

/// A linear scale around some values, and its ticks: about `wanted`, and at least [`TICKS_MIN`].
pub(crate) fn linear(low: f64, high: f64, wanted: usize) -> (Scale, Vec<f64>) {
    let [low, high] = [low, high].map(|value| value.clamp(-MOST, MOST));
    // Equal values still get an axis.
    let room = if high > low { 0.06 * (high - low) } else { (0.05 * high.abs()).max(1e-9) };
    let (padded, top) = (low - room, high + room);
    let bottom = if low >= 0.0 { padded.max(0.0) } else { padded };
    let ticks = round(bottom, top, wanted);
    (Scale::new(Spread::Linear, bottom, top), ticks)
}

/// Round values from `bottom` to `top`, evenly spaced: about `wanted`, and at least [`TICKS_MIN`].
fn round(bottom: f64, top: f64, wanted: usize) -> Vec<f64> {
    let ticks = |most: usize| -> Vec<f64> {
        let step = step(top - bottom, most);
        let (first, last) = ((bottom / step).ceil() as i64, (top / step).floor() as i64);
        (first..=last).map(|number| number as f64 * step).collect()
    };
    let mut all = (wanted..4 * TICKS_MIN.max(wanted)).map(ticks);
    all.find(|ticks| ticks.len() >= TICKS_MIN).unwrap_or_default()
}

/// The smallest of 1, 2 and 5 times a power of ten that makes at most `most` steps.
fn step(span: f64, most: usize) -> f64 {
    let rough = span / most.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let fits = |factor: &f64| factor * power >= rough * (1.0 - 1e-9);
    [1.0, 2.0, 5.0].into_iter().find(fits).unwrap_or(10.0) * power
}

/// A logarithmic scale around positive values, and its ticks: powers of ten; if these are few, also 2 and 5 times
/// these, or more; if values are too close even for that, ticks as on a linear scale.
pub(crate) fn log(low: f64, high: f64) -> (Scale, Vec<f64>) {
    let high = high.clamp(LEAST, MOST);
    let low = low.clamp(high / DECADES_MAX, high);
    let room = (high / low).powf(0.06).max(1.05);
    let (bottom, top) = (low / room, high * room);
    let decades = (top / bottom).log10();
    let within = |tick: &f64| (bottom..=top).contains(tick);
    let powers = (bottom.log10().floor() as i32)..=(top.log10().ceil() as i32);
    let ticks = |factors: &[f64]| -> Vec<f64> {
        let all = powers.clone().flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
        all.filter(within).collect()
    };
    let few: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let all = [few, &[1.0, 2.0, 5.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 7.0]].into_iter().map(ticks);
    let linear = std::iter::once_with(|| round(bottom, top, 5));
    let ticks = all.chain(linear).find(|ticks: &Vec<f64>| ticks.len() >= TICKS_MIN).unwrap_or_default();
    (Scale::new(Spread::Log, bottom, top), ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_between_the_ends() {
        let scale = Scale::new(Spread::Linear, 100.0, 300.0);
        assert_eq!([50.0, 100.0, 200.0, 300.0, 1e9].map(|value| scale.at(value)), [0.0, 0.0, 0.5, 1.0, 1.0]);
        assert_eq!([99.0, 100.0, 300.0, 301.0].map(|value| scale.is_beyond(value)), [true, false, false, true]);
        assert_eq!(Scale::new(Spread::Linear, 7.0, 7.0).at(7.0), 0.5, "one value alone");
    }

    #[test]
    fn doubling_a_batch_is_always_the_same_step() {
        let scale = Scale::new(Spread::Log, 1.0, 256.0);
        for (power, batch) in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0].into_iter().enumerate() {
            assert!((scale.at(batch) - power as f64 / 8.0).abs() < 1e-12, "{batch}");
        }
        assert_eq!(scale.at(0.0), 0.0, "what has no logarithm is at the low end");
    }

    #[test]
    fn each_nine_is_the_same_step() {
        let scale = Scale::new(Spread::Nines, 0.9, 0.9999);
        for (share, place) in [(0.9, 0.0), (0.99, 1.0 / 3.0), (0.999, 2.0 / 3.0), (0.9999, 1.0)] {
            assert!((scale.at(share) - place).abs() < 1e-9, "{share}: {}", scale.at(share));
        }
        assert!(Scale::new(Spread::Nines, 0.5, 0.9).at(1.0) <= 1.0);
    }

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        assert_eq!(linear(402.0, 548.0, 5).1, [400.0, 450.0, 500.0, 550.0]);
        assert_eq!(linear(0.0, 9.0, 5).1, [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(linear(-3.0, 12.0, 5).1, [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0], "three would be too few");
        assert_eq!(log(1_000.0, 1_000_000.0).1, [1e3, 1e4, 1e5, 1e6]);
        let near = log(7.0, 8.0).1;
        assert!(near.len() == 9 && (near[1], near[6]) == (7.0, 8.0), "no power of ten is close: {near:?}");
        for (low, high) in
            [(0.0, 0.0), (1.0, 1.0), (1e-300, 1e-300), (1e300, f64::INFINITY), (0.0, 1e-9), (3.0, 3.000_000_1)]
        {
            let (scale, ticks) = linear(low, high, 5);
            assert!((TICKS_MIN..=9).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
            assert!(ticks.iter().all(|tick| !scale.is_beyond(*tick)), "{low} to {high}: {ticks:?}");
            assert!(scale.at(low).is_finite() && scale.at(high).is_finite());
        }
        for (low, high) in [(0.0, 0.0), (1.0, 1.0), (0.0, 5.0), (1.0, 1e18), (7.0, 8.0), (1e-300, 1e300)] {
            let (scale, ticks) = log(low, high);
            assert!((TICKS_MIN..20).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
            assert!(ticks.iter().all(|tick| !scale.is_beyond(*tick)), "{low} to {high}: {ticks:?}");
            assert!(scale.at(high).is_finite());
        }
    }
}
