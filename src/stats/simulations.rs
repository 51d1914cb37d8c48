//! Do the intervals have their coverage on machines that drift, change, and disturb? Seeded simulations: the same each
//! time.
//!
//! A run is a series of differences of blocks, each a tenth of a second long, with a robust standard deviation of 0.7%,
//! as measured on two cores of a virtual machine.

use hdrhistogram::Histogram;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::estimate::{Estimate, Moments, alternate, pieces, signed_ranks, student_p, welch};
use super::looks::Looks;
use super::median::ALPHA;
use super::tails::{self, Tail};

/// How often each case is simulated.
const TIMES: usize = 1000;

/// The standard deviation of the differences of blocks.
const NOISE: f64 = 0.007;

/// Random numbers.
pub(super) struct Chance {
    random: ChaCha8Rng,
    spare: Option<f64>,
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), spare: None }
    }

    /// Uniform from 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.random.random()
    }

    /// Normal, by Box and Muller.
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.share()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }

    /// Exponential, with this mean.
    fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }

    fn sign(&mut self) -> f64 {
        if self.share() < 0.5 { -1.0 } else { 1.0 }
    }
}

/// What a machine does to a run.
#[derive(Clone, Copy, Debug)]
enum Machine {
    /// Blocks resemble their neighbours.
    Correlated(f64),
    /// The difference drifts by this much in ten seconds.
    Drift(f64),
    /// The difference is one of two, 1% apart, for so many seconds at a time.
    Phases(f64),
    /// The difference wanders without end, as the state of a machine does.
    Wander,
    /// One block in twenty is a spike to either side.
    Spikes,
}

/// A run, block by block.
struct Blocks {
    machine: Machine,
    chance: Chance,
    /// The part that carries over from the block before.
    state: f64,
    /// How many more blocks this phase lasts.
    left: f64,
    values: Vec<f64>,
    /// The sum of what the machine does besides noise.
    sum: f64,
}

impl Blocks {
    fn new(machine: Machine, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let state = match machine {
            Machine::Phases(_) => chance.sign(),
            Machine::Wander => 0.0,
            _ => chance.normal(),
        };
        Self { machine, chance, state, left: 0.0, values: Vec::new(), sum: 0.0 }
    }

    fn add(&mut self) {
        let normal = self.chance.normal();
        let (level, noise) = match self.machine {
            Machine::Correlated(rho) => {
                self.state = rho * self.state + (1.0 - rho * rho).sqrt() * normal;
                (0.0, self.state)
            }
            Machine::Drift(by) => (by * self.values.len() as f64 / 100.0, normal),
            Machine::Phases(seconds) => {
                if self.left < 0.5 {
                    self.left += self.chance.wait(10.0 * seconds);
                    self.state = -self.state;
                }
                self.left -= 1.0;
                (0.005 * self.state, normal)
            }
            Machine::Wander => {
                self.state += 0.0003 * self.chance.normal();
                (self.state, normal)
            }
            Machine::Spikes if self.chance.share() < 0.05 => (0.0, 40.0 * self.chance.sign()),
            Machine::Spikes => (0.0, normal),
        };
        self.sum += level;
        self.values.push(level + NOISE * noise);
    }

    /// Whether an interval holds the average over the run's own time.
    fn is_in(&self, found: &Estimate) -> bool {
        let truth = self.sum / self.values.len() as f64;
        found.low <= truth && truth <= found.high
    }
}

/// The share of all cases, each with its own seed, in which something holds.
fn share(is_so: impl FnMut(u64) -> bool) -> f64 {
    share_of(TIMES, is_so)
}

fn share_of(times: usize, mut is_so: impl FnMut(u64) -> bool) -> f64 {
    (0..times as u64).filter(|seed| is_so(*seed)).count() as f64 / times as f64
}

/// How often the interval of a run of so many blocks holds the truth.
fn coverage(machine: Machine, count: usize, times: usize) -> f64 {
    share_of(times, |seed| {
        let mut blocks = Blocks::new(machine, seed);
        (0..count).for_each(|_| blocks.add());
        blocks.is_in(&pieces(&blocks.values).expect("enough blocks"))
    })
}

const MACHINES: [Machine; 10] = [
    Machine::Correlated(0.0),
    Machine::Correlated(0.3),
    Machine::Correlated(0.5),
    Machine::Drift(0.02),
    Machine::Phases(1.0),
    Machine::Phases(3.0),
    Machine::Phases(10.0),
    Machine::Phases(60.0),
    Machine::Wander,
    Machine::Spikes,
];

#[test]
fn within_a_run_intervals_hold_its_own_average() {
    for machine in MACHINES {
        let found = coverage(machine, 100, TIMES);
        eprintln!("100 blocks, {machine:?}: {found}");
        assert!(found >= 0.93, "{machine:?}: {found}");
    }
    let found = coverage(Machine::Correlated(0.7), 100, TIMES);
    eprintln!("100 blocks, correlation 0.7: {found}");
    assert!(found >= 0.90, "{found}");
}

#[test]
fn few_blocks_have_wider_intervals_that_hold_as_well() {
    for machine in MACHINES {
        for (count, times) in [(18, 3 * TIMES), (23, TIMES), (24, 3 * TIMES), (49, TIMES)] {
            let found = coverage(machine, count, times);
            eprintln!("{count} blocks, {machine:?}: {found}");
            assert!(found >= 0.90, "{machine:?}, {count} blocks: {found}");
        }
    }
}

#[test]
fn a_run_that_ends_when_it_is_precise_is_as_precise() {
    // The budget ends after so many blocks.
    const BLOCKS_MAX: usize = 800;
    for machine in [Machine::Correlated(0.0), Machine::Correlated(0.3), Machine::Phases(3.0), Machine::Wander] {
        for target in [0.0020, 0.0012] {
            let looked = std::cell::Cell::new(0);
            let found = share(|seed| {
                let (mut blocks, mut looks) = (Blocks::new(machine, seed), Looks::new(target, 0));
                loop {
                    blocks.add();
                    let count = blocks.values.len();
                    let half = || {
                        looked.set(looked.get() + 1);
                        pieces(&blocks.values).map(|found| (found.high - found.low) / 2.0)
                    };
                    if looks.after(count, half).is_some() || count == BLOCKS_MAX {
                        return blocks.is_in(&pieces(&blocks.values).expect("enough blocks"));
                    }
                }
            });
            let looks = f64::from(looked.get()) / TIMES as f64;
            eprintln!("--precision {}%, {machine:?}: {found} after {looks} looks", 100.0 * target);
            assert!(found >= 0.90, "{machine:?}, {target}: {found}");
        }
    }
}

/// What a machine does between runs.
#[derive(Clone, Copy, Debug)]
struct Runs {
    /// Neighbouring runs resemble each other.
    correlation: f64,
    /// The standard deviation of runs.
    deviation: f64,
    /// From run to run.
    drift: f64,
    /// How often the machine changes by 25% between two runs.
    jumps: f64,
}

const STEADY: Runs = Runs { correlation: 0.0, deviation: 0.0045, drift: 0.0, jumps: 0.0 };

impl Runs {
    /// The times of so many consecutive runs, as logarithms.
    fn levels(self, count: usize, chance: &mut Chance) -> Vec<f64> {
        let (mut state, mut jumped) = (chance.normal(), 0.0);
        let mut run = |at: usize| {
            state = self.correlation * state + (1.0 - self.correlation.powi(2)).sqrt() * chance.normal();
            jumped = if chance.share() < self.jumps { 0.25 - jumped } else { jumped };
            self.deviation * state + self.drift * at as f64 + jumped
        };
        (0..count).map(&mut run).collect()
    }

    /// How often runs in this order are called different without a difference.
    fn false_in(self, order: &[usize]) -> f64 {
        let mut chance = Chance::new(3);
        share_of(2 * TIMES, |_| {
            let levels = self.levels(order.len(), &mut chance);
            let side = |side| -> Vec<f64> {
                levels.iter().zip(order).filter(|(_, of)| **of == side).map(|(level, _)| *level).collect()
            };
            welch(&side(0), &side(1)).expect("enough runs").p < ALPHA
        })
    }

    /// The differences of 20 pairs of runs, each in random order, if B takes longer by `change`.
    fn pairs(self, change: f64, seed: u64) -> Vec<f64> {
        let mut chance = Chance::new(seed);
        let levels = self.levels(40, &mut chance);
        levels.chunks_exact(2).map(|two| change + chance.sign() * (two[1] - two[0])).collect()
    }

    /// How often a change is found, whatever its sign.
    fn found(self, change: f64) -> f64 {
        share(|seed| {
            let found = signed_ranks(&self.pairs(change, seed)).expect("enough pairs");
            found.low > 0.0 || found.high < 0.0
        })
    }
}

/// Machines whose neighbouring runs are alike, that drift, or that jump.
const MACHINES_OF_RUNS: [Runs; 8] = [
    STEADY,
    Runs { correlation: 0.3, ..STEADY },
    Runs { correlation: 0.6, ..STEADY },
    Runs { correlation: 0.9, ..STEADY },
    Runs { drift: 0.1 * STEADY.deviation, ..STEADY },
    Runs { drift: 0.5 * STEADY.deviation, ..STEADY },
    Runs { jumps: 0.05, ..STEADY },
    Runs { jumps: 0.2, ..STEADY },
];

#[test]
fn runs_that_alternate_are_seldom_called_different_without_a_difference() {
    let sides = |order: &str| order.chars().map(|side| usize::from(side == 'B')).collect::<Vec<_>>();
    let worst = |order: &str| {
        let found = MACHINES_OF_RUNS.map(|runs| (runs.false_in(&sides(order)), runs));
        let worst = found.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("some machines");
        eprintln!("false, runs {order}: at most {}, {:?}", worst.0, worst.1);
        worst.0
    };
    // Of all orders that pass, those with the most false verdicts.
    for order in ["AABBAABB", "AABABBAB", "ABABABAB", "BBABBABBAABB", "AABBAABABB", "AABBAABBAABBAABBAABB"] {
        assert!(alternate(&sides(order)), "{order}");
        assert!(worst(order) <= 0.06, "{order}");
    }
    // Weaker orders, although a third or more of the neighbours differ.
    for order in ["AAABABBB", "AABABABB", "AAABBBABBBAA", "BBBBABAAABBB"] {
        assert!(!alternate(&sides(order)), "{order}");
        assert!(worst(order) > 0.06, "{order}");
    }
}

#[test]
fn pairs_in_random_order_are_seldom_called_different_without_a_difference() {
    for runs in [
        STEADY,
        Runs { correlation: 0.6, deviation: 0.022, ..STEADY },
        Runs { correlation: 0.9, deviation: 0.022, ..STEADY },
        Runs { drift: 0.01, ..STEADY },
        Runs { jumps: 0.05, ..STEADY },
        Runs { correlation: 0.6, deviation: 0.022, drift: 0.01, jumps: 0.05 },
    ] {
        let found = runs.found(0.0);
        eprintln!("false, {runs:?}: {found}");
        assert!(found <= 0.06, "{runs:?}: {found}");
    }
}

#[test]
fn pairs_find_small_changes_although_the_machine_jumps() {
    // A tenth of the pairs is split by a jump.
    for (runs, change, least) in
        [(STEADY, 0.01, 0.95), (STEADY, 0.005, 0.80), (Runs { jumps: 0.1, ..STEADY }, 0.01, 0.92)]
    {
        let found = runs.found(change);
        let by_t = share(|seed| {
            let Moments { mean, variance, count } = Moments::of(&runs.pairs(change, seed));
            student_p(mean, (variance / count).sqrt(), count - 1.0) < ALPHA
        });
        eprintln!("{}% found, {runs:?}: {found}; by a paired t test {by_t}", 100.0 * change);
        assert!(found >= least, "{change}, {runs:?}: {found}");
    }
}

/// Ten pieces of ten trials each with samples of latency. In three of ten trials, slow samples come together.
fn samples(slow: f64, chance: &mut Chance) -> Vec<Histogram<u64>> {
    let mut piece = || {
        let mut histogram = Histogram::new_with_bounds(1, 4000, 3).expect("bounds that are allowed");
        for _ in 0..10 {
            let slow = if chance.share() < 0.3 { slow } else { 0.0 };
            for _ in 0..11 {
                let factor = if chance.share() < slow { 3.0 } else { 1.0 };
                let sample = 400.0 * factor * (0.2 * chance.normal()).exp();
                histogram.record(sample as u64).expect("a sample within the bounds");
            }
        }
        histogram
    };
    (0..10).map(|_| piece()).collect()
}

#[test]
fn intervals_of_tails_hold_where_slow_samples_come_together() {
    // Of 1,100 samples, just over a hundred are above the 90th percentile.
    for slow in [0.0, 0.2, 1.0] {
        let mut chance = Chance::new(99);
        let mut all = Histogram::<u64>::new_with_bounds(1, 4000, 3).expect("bounds that are allowed");
        (0..200).flat_map(|_| samples(slow, &mut chance)).for_each(|piece| all += piece);
        let truth = all.value_at_quantile(0.9) as f64;
        let tail = |seed| tails::quantile(&samples(slow, &mut Chance::new(seed)), 0.9).expect("enough samples");
        let found: Vec<Tail> = (0..TIMES as u64).map(tail).collect();
        let share = |count: usize, of: usize| count as f64 / of as f64;
        let held = share(found.iter().filter(|tail| tail.low <= truth && truth <= tail.high).count(), TIMES);
        // Each against the next, which has no difference.
        let ratios = found.windows(2).map(|two| tails::ratio(&two[0], &two[1]).expect("a ratio"));
        let different = share(ratios.filter(|ratio| ratio.low > 0.0 || ratio.high < 0.0).count(), TIMES - 1);
        eprintln!("tails, {slow} slow in some trials: {held}; ratios of equal sides that exclude 1: {different}");
        assert!(held >= 0.92 && different <= 0.06, "{slow}: {held} {different}");
    }
}

#[test]
fn ratios_of_tails_hold_where_slow_samples_come_together() {
    let mut chance = Chance::new(7);
    let found = share(|_| {
        let [base, new] = [0, 1].map(|_| tails::quantile(&samples(0.5, &mut chance), 0.9).expect("enough samples"));
        let ratio = tails::ratio(&base, &new).expect("no quantile is 0");
        ratio.low <= 0.0 && 0.0 <= ratio.high
    });
    eprintln!("ratios of tails: {found}");
    assert!(found >= 0.92, "{found}");
}
