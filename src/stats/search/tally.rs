//! What the trials at a load say: whether it is a lower or an upper bound, and what gets through there.

use super::goal::Target;

/// A trial at some load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// How long it was to be, in seconds.
    pub seconds: f64,
    /// The share of its load that did not get through.
    pub loss_ratio: f64,
}

/// What a load is to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It holds, whatever the trials that are missing would show.
    Lower,
    /// It does not.
    Upper,
    /// More trials decide.
    Undecided,
}

/// Sums of decimal fractions are not exact: seconds that differ by less are equal.
const EXACT_S: f64 = 1e-9;

/// Seconds of trials at a load: full-length ones, which decide, and shorter ones, each with low or high loss.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    low: f64,
    high: f64,
    short_low: f64,
    short_high: f64,
}

impl Sums {
    fn of(trials: &[Trial], target: &Target) -> Self {
        let mut sums = Self::default();
        for trial in trials {
            let sum = match (trial.seconds >= target.trial_s, trial.loss_ratio <= target.loss_ratio) {
                (true, true) => &mut sums.low,
                (true, false) => &mut sums.high,
                (false, true) => &mut sums.short_low,
                (false, false) => &mut sums.short_high,
            };
            *sum += trial.seconds;
        }
        sums
    }
}

/// What a load is, by RFC 9971, appendix A: twice the share of high-loss time is computed, as if all trials that are missing had
/// low loss, and as if they had high loss. If both say the same, it is decided.
///
/// Short trials never speak for a load; those with high loss speak against it as far as they are more than what the exceed ratio
/// grants to those with low loss.
pub fn classify(trials: &[Trial], target: &Target) -> Class {
    let Sums { low, high, short_low, short_high } = Sums::of(trials, target);
    let granted = short_low * target.exceed_ratio / (1.0 - target.exceed_ratio);
    let high = high + (short_high - granted).max(0.0);
    let whole = target.sum_s.max(low + high);
    let most = whole * target.exceed_ratio;
    match (high <= most + EXACT_S, whole - low <= most + EXACT_S) {
        (true, true) => Class::Lower,
        (false, false) => Class::Upper,
        _ => Class::Undecided,
    }
}

/// The conditional throughput of RFC 9971, appendix B, as a share of the load: what gets through in the worst of the trials that
/// count, when as many are left out as the exceed ratio allows. Trials that are missing let nothing through.
pub fn throughput_ratio(trials: &[Trial], target: &Target) -> f64 {
    let mut full: Vec<&Trial> = trials.iter().filter(|trial| trial.seconds >= target.trial_s).collect();
    full.sort_by(|a, b| a.loss_ratio.total_cmp(&b.loss_ratio));
    let tried: f64 = full.iter().map(|trial| trial.seconds).sum();
    let mut needed = tried.max(target.sum_s) * (1.0 - target.exceed_ratio);
    let reached = full.into_iter().find(|trial| {
        needed -= trial.seconds;
        needed <= EXACT_S
    });
    1.0 - reached.map_or(1.0, |trial| trial.loss_ratio)
}

#[cfg(test)]
mod tests {
    use super::super::goal::Goal;
    use super::*;

    fn target() -> Target {
        *Goal::quick(0.005).targets().last().expect("its own")
    }

    fn trials(losses: &[f64]) -> Vec<Trial> {
        losses.iter().map(|&loss_ratio| Trial { seconds: 0.25, loss_ratio }).collect()
    }

    #[test]
    fn a_load_is_decided_as_soon_as_the_rest_cannot_change_it() {
        let target = target();
        assert_eq!(classify(&[], &target), Class::Undecided);
        for (held, missed, class) in [
            (5, 0, Class::Undecided),
            (6, 0, Class::Lower),
            (6, 6, Class::Lower),
            (5, 6, Class::Undecided),
            (0, 6, Class::Undecided),
            (0, 7, Class::Upper),
            (5, 7, Class::Upper),
        ] {
            let all = trials(&[vec![0.0; held], vec![0.5; missed]].concat());
            assert_eq!(classify(&all, &target), class, "{held} held, {missed} did not");
        }
        assert_eq!(classify(&trials(&[0.005; 6]), &target), Class::Lower, "as much as is allowed is allowed");
    }

    #[test]
    fn short_trials_speak_against_a_load_only() {
        let target = Target { trial_s: 1.0, ..target() };
        assert_eq!(classify(&trials(&[0.0; 100]), &target), Class::Undecided);
        assert_eq!(classify(&trials(&[0.5; 7]), &target), Class::Upper);
        let mixed = trials(&[vec![0.0; 8], vec![0.5; 8]].concat());
        assert_eq!(classify(&mixed, &target), Class::Undecided, "half of them may have high loss");
    }

    #[test]
    fn the_throughput_is_that_of_the_worst_trial_that_counts() {
        let target = target();
        let ratio = |losses: &[f64]| throughput_ratio(&trials(losses), &target);
        assert_eq!(ratio(&[0.001, 0.004, 0.0, 0.002, 0.003, 0.0]), 1.0 - 0.004);
        // Of twelve, six may be left out.
        let all = [[0.001; 6], [0.4; 6]].concat();
        assert_eq!(ratio(&all), 0.999);
        assert_eq!(ratio(&[0.0; 5]), 0.0, "what is missing lets nothing through");
        assert_eq!(ratio(&[]), 0.0);
    }

    #[test]
    fn trials_of_a_tenth_of_a_second_add_up() {
        for (trial_s, sum_s) in [(0.1, 1.0), (0.1, 3.0), (0.05, 3.0), (0.3, 3.0)] {
            let target = Target { trial_s, sum_s, ..target() };
            let half = (sum_s / trial_s / 2.0_f64).round() as usize;
            let losses = [vec![0.0; half], vec![0.4; half]].concat();
            let all: Vec<Trial> = losses.iter().map(|&loss_ratio| Trial { seconds: trial_s, loss_ratio }).collect();
            assert_eq!(classify(&all, &target), Class::Lower, "{trial_s} of {sum_s}");
            assert_eq!(throughput_ratio(&all, &target), 1.0, "{trial_s} of {sum_s}");
        }
    }
}
