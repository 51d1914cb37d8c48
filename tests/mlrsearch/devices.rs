//! Devices that lose datagrams by a formula, with what makes searches difficult.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// What a device does besides losing what is above its capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Exact,
    /// Its capacity is another one in each trial, and one trial in eight loses far more.
    Noisy,
    /// Once it was overloaded, it can take less, until it has had a light load.
    Hysteresis,
    /// Some loads below the capacity lose more than others above them; and a great overload leaves less of the capacity.
    Inverted,
    /// What it loses grows slowly.
    Gradual,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Exact, Self::Noisy, Self::Hysteresis, Self::Inverted, Self::Gradual];
}

/// How much the capacity of a noisy device scatters, as a share.
const NOISE: f64 = 0.005;
/// What is left of the capacity after an overload.
const TIRED: f64 = 0.97;
/// What is left of it in a great overload.
const COLLAPSED: f64 = 0.7;
/// The loads at which an inverted device loses a hundredth, as shares of the capacity.
const INVERTED: std::ops::Range<f64> = 0.97..0.985;

/// A device, and what it remembers.
#[derive(Debug)]
pub(crate) struct Device {
    kind: Kind,
    /// What it forwards at most, per second.
    capacity: f64,
    random: ChaCha8Rng,
    is_tired: bool,
}

impl Device {
    pub(crate) fn new(kind: Kind, capacity: f64, seed: u64) -> Self {
        Self { kind, capacity, random: ChaCha8Rng::seed_from_u64(seed), is_tired: false }
    }

    /// Runs a trial. Returns which share of the load is lost.
    pub(crate) fn lose(&mut self, load: f64) -> f64 {
        let beyond = |capacity: f64| (1.0 - capacity / load).max(0.0);
        match self.kind {
            Kind::Exact => beyond(self.capacity),
            Kind::Noisy => {
                // The sum of twelve is nearly normal, with a deviation of 1.
                let normal: f64 = (0..12).map(|_| self.random.random_range(0.0..1.0)).sum::<f64>() - 6.0;
                let burst = if self.random.random_range(0..8) == 0 { 0.2 } else { 0.0 };
                beyond(self.capacity * (1.0 + NOISE * normal)).max(burst)
            }
            Kind::Hysteresis => {
                let lost = beyond(self.capacity * if self.is_tired { TIRED } else { 1.0 });
                self.is_tired = lost > 0.01 || self.is_tired && load > 0.9 * self.capacity;
                lost
            }
            Kind::Inverted if INVERTED.contains(&(load / self.capacity)) => 0.01,
            // The first trials, far above the capacity, are misleading, too.
            Kind::Inverted => beyond(self.capacity * if load > 1.3 * self.capacity { COLLAPSED } else { 1.0 }),
            Kind::Gradual => (0.1 * (load / self.capacity - 1.0)).clamp(0.0, 1.0),
        }
    }

    /// Whether a border is between two bounds, or less than a hundredth away from them.
    pub(crate) fn is_border(&self, lower: f64, upper: f64, loss_ratio: f64) -> bool {
        let is_between = |border: f64| 0.99 * lower <= border && border <= 1.01 * upper;
        self.borders(loss_ratio).into_iter().any(is_between)
    }

    /// The border that is nearest to the middle of two bounds.
    pub(crate) fn nearest_border(&self, lower: f64, upper: f64, loss_ratio: f64) -> f64 {
        let distance = |border: &f64| (border - (lower + upper) / 2.0).abs();
        let nearest = self.borders(loss_ratio).into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.expect("each has one")
    }

    /// The highest loads that hold. Which of several a search finds depends on its way.
    fn borders(&self, loss_ratio: f64) -> Vec<f64> {
        let full = self.capacity / (1.0 - loss_ratio);
        match self.kind {
            Kind::Exact | Kind::Noisy => vec![full],
            Kind::Hysteresis => vec![full, TIRED * full],
            Kind::Inverted => vec![full, INVERTED.start * self.capacity],
            Kind::Gradual => vec![self.capacity * (1.0 + 10.0 * loss_ratio)],
        }
    }
}
