//! The latencies of a trial as a short text in its row, so that trials can be merged: a quantile far out is one of all
//! samples, and no figure of single trials gives it.
//!
//! The upper tenth is kept sample by sample, in buckets whose width is at most 1/64 of their values; the rest as nine
//! values, each of which stands for a ninth of it. The text is `1/64` and then counts: `12288:3 1 0 2 20480:1` says
//! that 3 samples are in the bucket that begins at 12,288 ns, 1 in the next one, none in the one after it, and so on. A
//! text that would be longer than [`TEXT_MAX`] bytes has coarser buckets, and says so: `1/32`.

use std::fmt::{self, Write};
use std::str::FromStr;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::measure::outcome::latency_histogram;

/// The longest text, in bytes.
pub const TEXT_MAX: usize = 2000;

/// Buckets per doubling, as powers of two: the finest, and the coarsest.
const FINEST: u32 = 6;
const COARSEST: u32 = 2;

/// Up to this many empty buckets are written as zeros.
const ZEROS_MAX: u32 = 3;

/// How many values stand for the samples below the upper tenth.
const VALUES_BELOW: u64 = 9;

/// The most places that the samples of one bucket are spread over.
const PLACES_MAX: u64 = 16;

/// The latencies of a trial; empty if it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatTail {
    /// Buckets per doubling, as a power of two.
    bits: u32,
    /// The numbers of buckets, ascending, and how many samples are in them.
    counts: Box<[(u32, u32)]>,
}

/// The error of a text that does not hold latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lat_tail: '1/64' is expected, then ascending latencies, each with the counts that begin there")]
pub struct BadTail;

/// The number of the bucket of a value.
fn bucket(value: u64, bits: u32) -> u32 {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(bits + 1);
    (shift << bits) + (value >> shift) as u32
}

/// Where a bucket begins, and its width; `None` if no value can be in it.
fn bounds(bucket: u32, bits: u32) -> Option<(u64, u64)> {
    let shift = (bucket >> bits).saturating_sub(1);
    let first = u64::from(bucket - (shift << bits));
    let from = first.checked_shl(shift).filter(|from| from >> shift == first)?;
    Some((from, 1 << shift))
}

impl LatTail {
    /// Of the samples of a trial; empty for more than 4 billion.
    pub fn of(samples: &Histogram<u64>) -> Self {
        if u32::try_from(samples.len()).is_err() {
            return Self::default();
        }
        let p90 = samples.value_at_quantile(0.9);
        let mut kept: Vec<(u64, u64)> = Vec::new();
        let below = samples.count_between(0, p90);
        for at in 0..VALUES_BELOW {
            let [from, to] = [at, at + 1].map(|at| below * at / VALUES_BELOW);
            let middle = (from + to) as f64 / 2.0 / samples.len() as f64;
            kept.push((samples.value_at_quantile(middle).min(p90), to - from));
        }
        let above = samples.iter_recorded().filter(|sample| sample.value_iterated_to() > p90);
        kept.extend(above.map(|sample| (sample.value_iterated_to(), sample.count_since_last_iteration())));
        let of = |bits| Self::of_values(&kept, bits);
        let finer = (COARSEST + 1..=FINEST).rev().map(of).find(|tail| tail.to_string().len() <= TEXT_MAX);
        finer.unwrap_or_else(|| of(COARSEST))
    }

    /// Of ascending values with their counts, fewer than 4 billion in all.
    fn of_values(values: &[(u64, u64)], bits: u32) -> Self {
        let mut counts: Vec<(u32, u32)> = Vec::new();
        for &(value, count) in values.iter().filter(|(_, count)| *count > 0) {
            let (bucket, count) = (bucket(value, bits), count as u32);
            match counts.last_mut() {
                Some((last, sum)) if *last == bucket => *sum += count,
                _ => counts.push((bucket, count)),
            }
        }
        Self { bits, counts: counts.into() }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many samples there are.
    pub fn samples(&self) -> u64 {
        self.counts.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// Adds the samples to a histogram. Those of a bucket are spread over its width, and single ones fall on varying
    /// places, so that quantiles of many trials do not jump from bucket to bucket.
    fn add_to(&self, histogram: &mut Histogram<u64>) {
        for &(bucket, count) in &self.counts {
            let Some((from, width)) = bounds(bucket, self.bits) else { continue };
            let count = u64::from(count);
            let places = count.min(width).min(PLACES_MAX);
            // Each sample's number times the golden ratio: successive ones are spread evenly.
            let phase = (histogram.len() as f64 * 0.618_033_988_749_895).fract();
            for place in 0..places {
                let value = from + ((place as f64 + phase) * width as f64 / places as f64) as u64;
                histogram.saturating_record_n(value, count * (place + 1) / places - count * place / places);
            }
        }
    }
}

/// All samples of some trials.
pub fn merged<'t>(tails: impl IntoIterator<Item = &'t LatTail>) -> Histogram<u64> {
    let mut histogram = latency_histogram();
    tails.into_iter().for_each(|tail| tail.add_to(&mut histogram));
    histogram
}

impl fmt::Display for LatTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        write!(f, "1/{}", 1 << self.bits)?;
        let mut next = None;
        for &(bucket, count) in &self.counts {
            match next.map(|next| bucket - next) {
                Some(empty @ 0..=ZEROS_MAX) => {
                    (0..empty).try_for_each(|_| f.write_str(" 0"))?;
                    f.write_char(' ')?;
                }
                _ => write!(f, " {}:", bounds(bucket, self.bits).map_or(0, |(from, _)| from))?,
            }
            write!(f, "{count}")?;
            next = Some(bucket + 1);
        }
        Ok(())
    }
}

impl FromStr for LatTail {
    type Err = BadTail;

    fn from_str(text: &str) -> Result<Self, BadTail> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut words = text.split(' ');
        let share = words.next().and_then(|word| word.strip_prefix("1/")).ok_or(BadTail)?;
        let bits = (COARSEST..=FINEST).find(|bits| (1 << bits).to_string() == share).ok_or(BadTail)?;
        let mut counts: Vec<(u32, u32)> = Vec::new();
        let mut next = None;
        for word in words {
            let (at, count) = match word.split_once(':') {
                Some((from, count)) => {
                    let from = from.parse().map_err(|_| BadTail)?;
                    let bucket = bucket(from, bits);
                    let is_its_first = bounds(bucket, bits).is_some_and(|(first, _)| first == from);
                    if !is_its_first || next.is_some_and(|next| bucket < next) {
                        return Err(BadTail);
                    }
                    (bucket, count)
                }
                None => (next.ok_or(BadTail)?, word),
            };
            let count: u32 = count.parse().map_err(|_| BadTail)?;
            if count > 0 {
                bounds(at, bits).ok_or(BadTail)?;
                counts.push((at, count));
            }
            next = Some(at + 1);
        }
        if counts.is_empty() { Err(BadTail) } else { Ok(Self { bits, counts: counts.into() }) }
    }
}

impl Serialize for LatTail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LatTail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> (Histogram<u64>, LatTail) {
        let mut histogram = latency_histogram();
        values.into_iter().for_each(|value| histogram.saturating_record(value));
        let tail = LatTail::of(&histogram);
        (histogram, tail)
    }

    /// A million samples that fall with the power -1 from 10 µs on: their tail is long, and dense.
    fn many() -> impl Iterator<Item = u64> {
        const COUNT: u64 = 1_000_000;
        (0..COUNT).map(|at| (10_000.0 * COUNT as f64 / (at as f64 + 0.5)) as u64)
    }

    #[test]
    fn buckets_follow_each_other() {
        for bits in COARSEST..=FINEST {
            let mut next = 0;
            for at in 0..2000 {
                let Some((from, width)) = bounds(at, bits) else { break };
                assert_eq!((from, bucket(from, bits), bucket(from + (width - 1), bits)), (next, at, at));
                assert!(width == 1 || width << bits <= from, "{from}");
                let Some(end) = from.checked_add(width) else { break };
                next = end;
            }
            assert_eq!(bounds(bucket(u64::MAX, bits) + 1, bits), None);
        }
    }

    #[test]
    fn a_text_says_where_the_slow_samples_are() {
        let (_, tail) = of((0..90).map(|_| 9000).chain([12_300; 3]).chain([12_500, 13_000, 13_000, 20_500]));
        assert_eq!(tail.to_string(), "1/64 8960:90 12288:3 1 0 0 0 2 20480:1");
        assert_eq!((tail.samples(), LatTail::default().to_string().as_str()), (97, ""));
        assert!(of([]).1.is_empty());
    }

    #[test]
    fn a_million_samples_are_a_short_text() {
        let (samples, tail) = of(many());
        let text = tail.to_string();
        assert!(text.len() <= TEXT_MAX, "{} bytes", text.len());
        assert_eq!((text.parse().as_ref(), tail.samples()), (Ok(&tail), samples.len()));
        let merged = merged([&tail]);
        for at in [0.99, 0.999, 0.9999] {
            let [found, exact] = [&merged, &samples].map(|all| all.value_at_quantile(at) as f64);
            assert!((found / exact - 1.0).abs() < 0.02, "{at}: {found} {exact}, {text}");
        }
    }

    #[test]
    fn merged_quantiles_do_not_jump_from_bucket_to_bucket() {
        let slow = |at: u64| 20_000.0 - 3000.0 * ((at as f64 + 0.5) / 5003.0).ln();
        let trials = |factor: f64| -> Vec<(Histogram<u64>, LatTail)> {
            let trial = |at: u64| of((0..500).map(|i| (factor * slow((i * 7919 + at * 331) % 5003)) as u64));
            (0..100).map(trial).collect()
        };
        for factor in [1.0, 1.004, 1.008, 1.012] {
            let trials = trials(factor);
            let mut exact = latency_histogram();
            trials.iter().for_each(|(samples, _)| exact += samples);
            let found = merged(trials.iter().map(|(_, tail)| tail));
            for (at, within) in [(0.95, 0.003), (0.99, 0.003), (0.999, 0.0156)] {
                let [found, exact] = [&found, &exact].map(|all| all.value_at_quantile(at) as f64);
                assert!((found / exact - 1.0).abs() < within, "{factor}, {at}: {found} {exact}");
            }
        }
    }

    #[test]
    fn damaged_texts_are_none() {
        for text in [
            "64",
            "1/64",
            "1/63 1:1",
            "1/64 1",
            "1/64 1:",
            "1/64 :1",
            "1/64 9001:1",
            "1/64 9088:1 8960:1",
            "1/64 1:-1",
            "1/64 1:0",
            "1/64  1:1",
            "1/64 1:1 ",
            "1/64 1:1;2",
            "1/64 18446744073709551615:1",
            "1/64 1:99999999999",
            "1/2 2:1",
            "1/64 18302628885633695744:1 1",
        ] {
            assert_eq!(text.parse::<LatTail>(), Err(BadTail), "{text}");
        }
        assert_eq!("".parse(), Ok(LatTail::default()));
    }

    proptest! {
        #[test]
        fn every_trial_is_read_back(
            values in prop::collection::vec((1_u64..200_000_000_000, 0_u32..34), 1..2000), repeat in 1_u64..2_000_000,
        ) {
            let mut histogram = latency_histogram();
            values.iter().for_each(|(value, shift)| histogram.saturating_record_n(value >> shift, repeat));
            let tail = LatTail::of(&histogram);
            let text = tail.to_string();
            prop_assert!(text.len() <= TEXT_MAX, "{} bytes", text.len());
            prop_assert_eq!(tail.samples(), histogram.len());
            prop_assert_eq!(text.parse(), Ok(tail));
        }

        #[test]
        fn no_text_ends_the_program(text in "1/(64|4) [0-9: ]{0,40}") {
            if let Ok(tail) = text.parse::<LatTail>() {
                let all = merged([&tail]);
                prop_assert_eq!((all.len(), tail.to_string().parse()), (tail.samples(), Ok(tail)));
            }
        }
    }
}
