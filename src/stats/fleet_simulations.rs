//! How much of what a fleet is told is false? Seeded simulations: the same each time.
//!
//! Of the verdicts on the median host, of the hosts that are said to differ and of the groups that are, 5% may be false.

use super::hosts::{self, Host};
use super::median::ALPHA;
use super::multiple::benjamini_hochberg;
use super::simulations::Chance;

/// The cells of a fleet, and what a change does to them.
const CHANGES: [f64; 12] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.05, 0.05, 0.05, -0.01, -0.01, -0.01];

/// A fleet whose hosts differ in what a change does to them.
#[derive(Clone, Copy, Debug)]
struct Fleet {
    hosts: usize,
    pairs: usize,
    /// The standard deviation of what it does to hosts.
    spread: f64,
    /// What it does to a tenth of them more than to the others, and to another tenth.
    apart: [f64; 2],
}

fn chi_squared(degrees: usize, chance: &mut Chance) -> f64 {
    let even = -2.0 * (0..degrees / 2).map(|_| 1.0 - chance.share()).product::<f64>().ln();
    if degrees % 2 == 1 { even + chance.normal().powi(2) } else { even }
}

impl Fleet {
    /// The hosts in a cell, with different noise, and what the change does to each.
    fn cell(&self, change: f64, chance: &mut Chance) -> (Vec<Host>, Vec<f64>) {
        let Self { hosts, pairs, .. } = *self;
        let mut host = |at: usize| {
            // For half of them the standard deviation of pairs is above 1%; for one in a hundred it is above 3.4%.
            let variance = 0.01_f64.powi(2) * 3.36 / chi_squared(4, chance);
            let truth = change + self.spread * chance.normal() + self.apart.get(10 * at / hosts).unwrap_or(&0.0);
            let mean = truth + (variance / pairs as f64).sqrt() * chance.normal();
            let variance = variance * chi_squared(pairs - 1, chance) / (pairs - 1) as f64;
            (Host { mean, variance, pairs }, truth)
        };
        (0..hosts).map(&mut host).unzip()
    }
}

/// A share in each of many simulations.
#[derive(Default)]
struct Shares(Vec<f64>);

impl Shares {
    fn add(&mut self, part: usize, of: usize) {
        self.0.push(part as f64 / of.max(1) as f64);
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The standard error of the mean.
    fn error(&self) -> f64 {
        let (mean, count) = (self.mean(), self.0.len() as f64);
        (self.0.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0) / count).sqrt()
    }

    /// Its upper bound, with a confidence of 95%.
    fn upper(&self) -> f64 {
        self.mean() + 1.645 * self.error()
    }

    /// Says how much of what was told is false.
    fn tell(&self, told: &str) {
        let [mean, error] = [self.mean(), self.error()].map(|share| 100.0 * share);
        eprintln!("{told}: {mean:.2}% are false, with a standard error of {error:.2}%");
    }
}

#[test]
fn hosts_that_differ_are_found_and_few_others() {
    let matters = 0.03_f64.ln_1p();
    let slower = 1.05_f64.ln();
    // False discoveries are at their worst if any difference matters, and all other hosts are alike; or if some hosts are at the
    // threshold itself.
    for (times, hosts, pairs, least, spread, apart) in [
        (50, 1000, 4, matters, 0.005, [slower, 0.12]),
        (50, 1000, 4, matters, 0.0, [matters, 0.12]),
        (200, 1000, 4, 0.0, 0.0, [slower, 0.12]),
        (1000, 100, 4, 0.0, 0.0, [slower, 0.12]),
        (2000, 20, 4, 0.0, 0.0, [0.0, 0.12]),
        (8000, 20, 4, 0.0, 0.0, [0.0; 2]),
        (8000, 6, 4, 0.0, 0.0, [0.0; 2]),
        (50, 1000, 9, matters, 0.003, [slower, 0.0]),
        (1000, 20, 9, matters, 0.003, [slower, 0.0]),
        (5000, 20, 9, 0.0, 0.0, [slower, 0.0]),
        (1000, 10, 4, matters, 0.003, [0.12, 0.0]),
    ] {
        let fleet = Fleet { hosts, pairs, spread, apart };
        let (mut wrong, mut found, mut held) = (Shares::default(), Shares::default(), Shares::default());
        for seed in 0..times {
            let (members, truths) = fleet.cell(0.01, &mut Chance::new(seed));
            let outcome = hosts::fleet(&members, least).expect("enough hosts");
            let (median, judged) = (outcome.median, outcome.members);
            // The median of all is a little above that of the hosts that are alike.
            held.add(usize::from(median.low <= 0.011 && 0.01 <= median.high), 1);
            let differs = |at: &usize| (truths[*at] - 0.01).abs() > least + 1e-9;
            let (right, told): (Vec<usize>, Vec<usize>) =
                (0..hosts).filter(|&at| judged[at].q < ALPHA).partition(differs);
            wrong.add(told.len(), right.len() + told.len());
            found.add(right.len(), (0..hosts).filter(differs).count());
        }
        let power = found.mean();
        wrong.tell(&format!("{fleet:?}, least {least:.2}, {:.0}% found: of the hosts named", 100.0 * power));
        assert!(wrong.upper() <= 0.05, "{fleet:?}");
        let is_one_tenth = apart[0] > least && apart[1] == 0.0;
        assert!(
            !is_one_tenth || power >= 0.85 && held.mean() >= 0.93,
            "{fleet:?}: {power}, median held {}",
            held.mean()
        );
    }
}

/// A change that hosts do not have, of hosts that each react a little: few cells have a verdict, and few groups are said to differ,
/// though any difference matters. A group that is 6% apart is found.
#[test]
fn cells_without_a_change_seldom_have_a_verdict_and_groups_only_if_they_differ() {
    for (times, hosts) in [(60, 1000), (500, 60), (1000, 20), (1000, 6)] {
        let fleet = Fleet { hosts, pairs: 4, spread: 0.005, apart: [0.0; 2] };
        let (mut verdicts, mut groups, mut found) = (Shares::default(), Shares::default(), Shares::default());
        for seed in 0..times {
            let chance = &mut Chance::new(seed);
            let cells = CHANGES.map(|change| fleet.cell(change, chance).0);
            let medians = cells.each_ref().map(|cell| hosts::fleet(cell, 0.0).expect("enough hosts").median);
            let q = benjamini_hochberg(&medians.map(|median| median.p));
            let is_told = |at: &usize| q[*at] < ALPHA && (medians[*at].low > 0.0 || medians[*at].high < 0.0);
            let told: Vec<usize> = (0..CHANGES.len()).filter(is_told).collect();
            let is_right = |at: &&usize| CHANGES[**at] * medians[**at].center > 0.0;
            verdicts.add(told.len() - told.iter().filter(is_right).count(), told.len());
            // The groups of large fleets would take most of the time: sixty hosts say as much.
            for cell in cells.iter().filter(|_| hosts < 1000) {
                let apart = |shift: f64, least: f64, is_in: &dyn Fn(usize) -> bool| {
                    let side = |of: bool| -> Vec<f64> {
                        let hosts = cell.iter().enumerate().filter(|(at, _)| is_in(*at) == of);
                        hosts.map(|(_, host)| host.mean + if of { shift } else { 0.0 }).collect()
                    };
                    hosts::apart(&side(true), &side(false), least).map(|estimate| estimate.p)
                };
                // Three kernels, and two processors.
                let p: Option<Vec<f64>> = (0..4)
                    .map(|group| apart(0.0, 0.0, &|at| if group < 3 { at % 3 == group } else { at % 20 < 7 }))
                    .collect();
                let Some(p) = p else { continue };
                groups.add(usize::from(benjamini_hochberg(&p).iter().any(|q| *q < ALPHA)), 1);
                found.add(usize::from(apart(0.06, 0.03_f64.ln_1p(), &|at| at % 20 < 7).is_some_and(|p| p < ALPHA)), 1);
            }
        }
        verdicts.tell(&format!("{fleet:?}: of the verdicts"));
        assert!(verdicts.upper() <= 0.05, "{fleet:?}");
        if !groups.0.is_empty() {
            groups.tell(&format!("{fleet:?}: of the groups that do not differ"));
            // It is not far below: a bound would take many more simulations.
            assert!(groups.mean() <= 0.05, "{fleet:?}");
            assert!(found.mean() > 0.9, "{}", found.mean());
        }
    }
}
