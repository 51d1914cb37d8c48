//! A change on many hosts: the change on the median host, and the hosts that differ from it.
//!
//! A host has few pairs of runs, which say little about its noise; all hosts together show how noisy hosts are. Smyth
//! (2004), *Linear models and empirical Bayes methods*, Stat. Appl. Genet. Mol. Biol. 3, moderates the variance of each
//! by those of all. With only its own variance, a host with few pairs needs a large difference to be found; with one
//! variance for all, the noise of loud hosts is taken for differences. With moderated variances, about 85% of the hosts
//! with 5% more are found, and less than 5% of those found are false (`fleet_simulations.rs`).

use std::f64::consts::FRAC_PI_2;

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::gamma::digamma;

use super::estimate::{Estimate, Moments, student_quantile};
use super::median::{Median, sign_test};
use super::multiple::benjamini_hochberg;

/// The fewest hosts for an interval of the median host.
pub const HOSTS_MIN: usize = 6;

/// The fewest pairs of runs of a host: fewer have no variance.
pub const PAIRS_MIN: usize = 2;

/// A summary of the differences of one host's pairs of runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Host {
    /// Their mean.
    pub mean: f64,
    /// Their variance.
    pub variance: f64,
    /// How many there are.
    pub pairs: usize,
}

impl Host {
    /// From differences as logarithms of ratios; `None` for fewer than [`PAIRS_MIN`].
    pub fn of(differences: &[f64]) -> Option<Self> {
        let Moments { mean, variance, .. } = Moments::of(differences);
        (differences.len() >= PAIRS_MIN).then_some(Self { mean, variance, pairs: differences.len() })
    }

    /// Its own degrees of freedom.
    fn degrees(&self) -> f64 {
        self.pairs as f64 - 1.0
    }
}

/// What the variances of all hosts say about that of each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// The degrees of freedom that the others lend to each; infinite if all are equally noisy.
    pub degrees: f64,
    /// The variance that they expect of it.
    pub variance: f64,
}

/// A host compared with the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Its own difference, with the interval of its moderated variance; `p` is for differing from the median host by
    /// more than the threshold.
    pub estimate: Estimate,
    /// That p-value, adjusted for the number of hosts.
    pub q: f64,
}

/// A change on many hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// The difference of the median host, with its order-statistic interval; `p` is that of the sign test.
    pub median: Estimate,
    /// The hosts, in order.
    pub members: Vec<Member>,
}

/// What the hosts share, and which of them differ from the median host by more than `least`, a logarithm. `None` for
/// fewer than [`HOSTS_MIN`].
pub fn fleet(hosts: &[Host], least: f64) -> Option<Fleet> {
    if hosts.len() < HOSTS_MIN {
        return None;
    }
    let mut means: Vec<f64> = hosts.iter().map(|host| host.mean).collect();
    means.sort_unstable_by(f64::total_cmp);
    let Median { value: center, interval } = Median::of_sorted(&means)?;
    let (low, high) = interval?;
    let prior = Prior::of(hosts);
    // The degrees of freedom cannot exceed those of all pairs together.
    let most = hosts.iter().map(Host::degrees).sum();
    let mut errors: Vec<f64> = hosts.iter().map(|host| prior.moderate(host) / host.pairs as f64).collect();
    errors.sort_unstable_by(f64::total_cmp);
    // That of the median of normal numbers.
    let variance = FRAC_PI_2 * super::median_of_sorted(&errors)? / hosts.len() as f64;
    let middle = Middle { center, variance };
    let mut members: Vec<Member> = hosts.iter().map(|host| member(host, prior, most, middle, least)).collect();
    let p: Vec<f64> = members.iter().map(|member| member.estimate.p).collect();
    members.iter_mut().zip(benjamini_hochberg(&p)).for_each(|(member, q)| member.q = q);
    Some(Fleet { median: Estimate { center, low, high, p: sign_test(&means) }, members })
}

/// How far the means of a group of hosts, for example those of one processor, are from those of all others: the difference of the
/// median hosts, with an interval from those of both (MOVER). `p` is for differing by more than `least`, a logarithm: that of Mann
/// and Whitney's test (its normal approximation) after a shift, for both directions. `None` for fewer than [`HOSTS_MIN`] hosts on
/// either side.
pub fn apart(group: &[f64], others: &[f64], least: f64) -> Option<Estimate> {
    if group.len() < HOSTS_MIN || others.len() < HOSTS_MIN {
        return None;
    }
    let sorted = [group, others].map(|means| {
        let mut means = means.to_vec();
        means.sort_unstable_by(f64::total_cmp);
        means
    });
    let [a, b] = [Median::of_sorted(&sorted[0])?, Median::of_sorted(&sorted[1])?];
    let ((a_low, a_high), (b_low, b_high)) = (a.interval?, b.interval?);
    let center = a.value - b.value;
    let low = center - (a.value - a_low).hypot(b_high - b.value);
    let high = center + (a_high - a.value).hypot(b.value - b_low);
    // Beyond the threshold on one side or on the other.
    let p = (2.0 * above(&sorted[0], &sorted[1], least).min(above(&sorted[1], &sorted[0], least))).min(1.0);
    Some(Estimate { center, low, high, p })
}

/// The probability that sorted numbers are so far above others by chance, if the true shift is `least`.
fn above(high: &[f64], low: &[f64], least: f64) -> f64 {
    let below = |number: f64| low.partition_point(|one| *one < number) as f64;
    let up_to = |number: f64| low.partition_point(|one| *one <= number) as f64;
    // Ties count half.
    let wins: f64 = high.iter().map(|one| (below(one - least) + up_to(one - least)) / 2.0).sum();
    let (n, m) = (high.len() as f64, low.len() as f64);
    let deviation = (n * m * (n + m + 1.0) / 12.0).sqrt();
    // With the correction for continuity.
    Normal::standard().sf((wins - n * m / 2.0 - 0.5) / deviation)
}

/// The median host.
#[derive(Clone, Copy)]
struct Middle {
    center: f64,
    /// How well it is known: in a small fleet, not much better than a quiet host.
    variance: f64,
}

fn member(host: &Host, prior: Prior, most: f64, middle: Middle, least: f64) -> Member {
    let degrees = (host.degrees() + prior.degrees).min(most);
    let variance = prior.moderate(host) / host.pairs as f64;
    let half = student_quantile(degrees) * variance.sqrt();
    let p = beyond((host.mean - middle.center).abs(), (variance + middle.variance).sqrt(), degrees, least);
    Member { estimate: Estimate { center: host.mean, low: host.mean - half, high: host.mean + half, p }, q: 1.0 }
}

/// The probability of a distance if the true one is at most `least`, either way: McCarthy and Smyth (2009), *Testing
/// significance relative to a fold-change threshold is a TREAT*, Bioinformatics 25.
fn beyond(distance: f64, error: f64, degrees: f64, least: f64) -> f64 {
    // Most hosts are this close.
    if distance <= least {
        return 1.0;
    }
    if error <= 0.0 {
        return 0.0;
    }
    let t = StudentsT::new(0.0, 1.0, degrees).expect("degrees of freedom above 0");
    t.sf((distance - least) / error) + t.sf((distance + least) / error)
}

impl Prior {
    /// By the method of moments from the logarithms of the variances (Smyth, section 6.2), on the safe side.
    pub fn of(hosts: &[Host]) -> Self {
        let mut variances: Vec<f64> = hosts.iter().map(|host| host.variance).collect();
        variances.sort_unstable_by(f64::total_cmp);
        // A variance of 0 has no logarithm; a very small one replaces it.
        let least = 1e-5 * super::median_of_sorted(&variances).unwrap_or(0.0);
        if least <= 0.0 {
            let variance = variances.iter().sum::<f64>() / variances.len() as f64;
            return Self { degrees: f64::INFINITY, variance };
        }
        let terms = hosts.iter().map(|host| {
            let half = host.degrees() / 2.0;
            let level = host.variance.max(least).ln() - digamma(half) + half.ln();
            (level, trigamma(half))
        });
        let (levels, expected): (Vec<f64>, Vec<f64>) = terms.unzip();
        let Moments { mean, variance, count } = Moments::of(&levels);
        // Few hosts may look equally noisy by chance, and the loudest would then be said to differ: this is the upper bound of 95%.
        let most = variance * (1.0 + 1.645 * (2.0 / (count - 1.0)).sqrt());
        let excess = most - expected.iter().sum::<f64>() / count;
        if excess <= 0.0 {
            return Self { degrees: f64::INFINITY, variance: mean.exp() };
        }
        let half = trigamma_inverse(excess);
        Self { degrees: 2.0 * half, variance: (mean + digamma(half) - half.ln()).exp() }
    }

    /// The variance of a host's pairs, moved towards what the others expect.
    fn moderate(self, host: &Host) -> f64 {
        if self.degrees.is_infinite() {
            return self.variance;
        }
        let own = host.degrees();
        (self.degrees * self.variance + own * host.variance) / (self.degrees + own)
    }
}

/// From here on, the asymptotic series are exact to the last digits.
const ASYMPTOTIC: f64 = 12.0;

/// The derivative of the digamma function, of a number above 0 (Abramowitz and Stegun, 6.4.6 and 6.4.12).
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < ASYMPTOTIC {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum + 1.0 / x + y / 2.0 + y / x * (1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 - y / 30.0)))
}

/// The derivative of [`trigamma`].
fn tetragamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < ASYMPTOTIC {
        sum -= 2.0 / (x * x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum - y - y / x - y * y * (0.5 - y * (1.0 / 6.0 - y * (1.0 / 6.0 - y * 0.3)))
}

/// The number whose [`trigamma`] this is, above 0: Newton's method on 1/trigamma, which is nearly straight (Smyth, appendix).
fn trigamma_inverse(value: f64) -> f64 {
    // At the ends, the function is that of its asymptotes.
    if value > 1e7 {
        return 1.0 / value.sqrt();
    }
    if value < 1e-6 {
        return 1.0 / value;
    }
    let mut y = 0.5 + 1.0 / value;
    for _ in 0..50 {
        let here = trigamma(y);
        let step = here * (1.0 - here / value) / tetragamma(y);
        y += step;
        if -step / y < 1e-8 {
            break;
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_polygammas_are_those_of_tables() {
        let pi = std::f64::consts::PI;
        for (x, expected) in
            [(1.0, pi * pi / 6.0), (0.5, pi * pi / 2.0), (2.0, pi * pi / 6.0 - 1.0), (50.0, 0.020_201_333_226_697_126)]
        {
            assert!((trigamma(x) / expected - 1.0).abs() < 1e-12, "{x}: {}", trigamma(x));
        }
        let zeta_3 = 1.202_056_903_159_594_3;
        for (x, expected) in [(1.0, -2.0 * zeta_3), (0.5, -14.0 * zeta_3)] {
            assert!((tetragamma(x) / expected - 1.0).abs() < 1e-12, "{x}: {}", tetragamma(x));
        }
        for x in [1e-4, 0.01, 0.3, 1.0, 2.5, 40.0, 1e4, 1e7] {
            assert!((trigamma_inverse(trigamma(x)) / x - 1.0).abs() < 1e-6, "{x}: {}", trigamma_inverse(trigamma(x)));
        }
    }

    #[test]
    fn variances_that_differ_by_chance_only_are_one() {
        let host = |variance| Host { mean: 0.0, variance, pairs: 10 };
        let alike = Prior::of(&[1.0, 1.1, 0.9, 1.05, 0.95, 1.0].map(host));
        assert!(alike.degrees.is_infinite() && (alike.variance - 1.06).abs() < 0.06, "{alike:?}");
        let apart = Prior::of(&[0.01, 0.1, 1.0, 10.0, 100.0, 1.0].map(host));
        assert!(apart.degrees < 2.0, "{apart:?}");
        assert_eq!(Prior::of(&[0.0; 6].map(host)), Prior { degrees: f64::INFINITY, variance: 0.0 });
        assert!(Prior::of(&[0.0, 1.0, 1.0, 2.0, 1.0, 1.0].map(host)).variance > 0.0);
    }

    #[test]
    fn a_group_stands_apart_if_it_is_beyond_the_threshold() {
        let spread = |count: usize, center: f64| -> Vec<f64> {
            (0..count).map(|at| center + 0.01 * (at as f64 / (count - 1) as f64 - 0.5)).collect()
        };
        let found = |center| apart(&spread(12, center), &spread(40, 0.01), 0.03).expect("enough");
        let far = found(0.06);
        assert!((far.center - 0.05).abs() < 1e-12 && far.low > 0.04 && far.high < 0.06 && far.p < 1e-4, "{far:?}");
        assert!(found(-0.04).p < 1e-4 && found(0.035).p > 0.9 && found(0.01).p > 0.9);
        assert_eq!(apart(&spread(5, 1.0), &spread(40, 0.0), 0.03), None);
        // By hand: six above six: U = 36, z = (36 - 18 - 0.5) / sqrt(39).
        let six = apart(&[6.0, 7.0, 8.0, 9.0, 10.0, 11.0], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 0.0).expect("enough");
        assert!((six.p - 2.0 * 0.002_537_7).abs() < 2e-5, "{}", six.p);
    }

    #[test]
    fn the_median_host_has_an_interval_and_others_stand_out() {
        let host = |at: usize| {
            let mean = if at == 7 { 0.08 } else { 0.01 + 0.0002 * at as f64 };
            Host { mean, variance: 1e-4, pairs: 10 }
        };
        let hosts: Vec<Host> = (0..20).map(host).collect();
        let found = fleet(&hosts, 0.03).expect("enough");
        // From the sixth to the fifteenth.
        assert!((found.median.low - 0.011).abs() < 1e-12 && (found.median.high - 0.0132).abs() < 4e-4, "{found:?}");
        assert!(found.median.p < 1e-5);
        let differ: Vec<usize> = (0..20).filter(|at| found.members[*at].q < 0.05).collect();
        assert_eq!(differ, [7]);
        assert!(found.members[7].estimate.low > 0.07 && found.members[0].q > 0.99, "{found:?}");
        assert_eq!(fleet(&hosts[..5], 0.03), None);
        let certain = vec![Host { mean: 0.01, variance: 0.0, pairs: 2 }; 6];
        assert_eq!(fleet(&certain, 0.03).map(|fleet| (fleet.median.low, fleet.members[0].q)), Some((0.01, 1.0)));
        assert_eq!(Host::of(&[0.1]), None);
        assert_eq!(Host::of(&[0.25, 0.75]), Some(Host { mean: 0.5, variance: 0.125, pairs: 2 }));
    }
}
