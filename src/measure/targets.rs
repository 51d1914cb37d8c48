//! Where a generator sends if its worker owns many sockets: the addresses, and the order in which they have their turns. In
//! `send`, the order in which these sockets send.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hpbench_backends::{Address, Offer, Socket};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use crate::measure::near::Near;
use crate::measure::order::Order;
use crate::plan::spread::Spread;
use crate::traffic::app::Source;

/// Turns in a schedule of unequal shares, and at least so many in one of equal shares.
const SKEWED: usize = 1 << 16;
const EVEN: usize = 1 << 12;

/// The sockets of a worker, and the turns of those that have traffic.
#[derive(Clone, Debug)]
pub struct Targets {
    addresses: Arc<[Address]>,
    /// The socket of each turn; it begins again at the end.
    turns: Arc<[u16]>,
    spread: Spread,
}

impl Targets {
    /// Targets of the first generator. The schedule is the same in all trials.
    ///
    /// # Errors
    ///
    /// The kernel's, if a socket does not know its address.
    pub fn new(spread: Spread, near: &Near) -> io::Result<Self> {
        let addresses = near.sockets().iter().map(|socket| socket.local_addr());
        Ok(Self::to(spread, addresses.collect::<io::Result<_>>()?))
    }

    /// As [`Targets::new`], of sockets with these addresses, which may be another process's.
    pub fn to(spread: Spread, addresses: Vec<SocketAddr>) -> Self {
        let addresses = addresses.into_iter().map(Address::new).collect();
        Self { addresses, turns: turns(spread, 0).into(), spread }
    }

    /// The same targets with the schedule of another generator.
    pub fn of_generator(&self, generator: usize) -> Self {
        let turns = if generator == 0 { Arc::clone(&self.turns) } else { turns(self.spread, generator).into() };
        Self { turns, ..self.clone() }
    }

    /// What sends to them.
    ///
    /// # Errors
    ///
    /// As [`Offer::to_many`].
    pub fn offer(&self, socket: &Arc<Socket>, payload: usize) -> io::Result<Offer> {
        Offer::to_many(Arc::clone(socket), payload, (Arc::clone(&self.addresses), Arc::clone(&self.turns)))
    }

    /// What writes the datagrams of an order.
    pub fn source(&self, order: &Order) -> Source {
        order.source().to_flows(self.addresses.len(), Arc::clone(&self.turns))
    }

    /// The socket of a turn, counted from the first.
    pub fn at(&self, turn: u64) -> usize {
        usize::from(self.turns[(turn % self.turns.len() as u64) as usize])
    }

    /// How many sockets there are, those without traffic included.
    pub fn sockets(&self) -> usize {
        self.addresses.len()
    }

    /// The address of a socket.
    pub fn address(&self, socket: usize) -> &Address {
        &self.addresses[socket]
    }

    /// The most datagrams in a row, up to `asked`, that fit into the queues if each holds `held`, wherever the row begins.
    pub fn row_within(&self, asked: usize, held: usize) -> usize {
        let fits = |row: usize| {
            let mut counts = vec![0_usize; self.addresses.len()];
            let (whole, rest) = (row / self.turns.len(), row % self.turns.len());
            self.turns.iter().for_each(|&socket| counts[usize::from(socket)] += whole);
            let at = |turn: usize| usize::from(self.turns[turn % self.turns.len()]);
            (0..rest).for_each(|turn| counts[at(turn)] += 1);
            if counts.iter().any(|&count| count > held) {
                return false;
            }
            (0..self.turns.len()).all(|first| {
                counts[at(first)] -= 1;
                counts[at(first + rest)] += 1;
                counts[at(first + rest)] <= held
            })
        };
        let (mut least, mut most) = (0, asked);
        while least < most {
            let middle = (least + most).div_ceil(2);
            (least, most) = if fits(middle) { (middle, most) } else { (least, middle - 1) };
        }
        least
    }
}

/// The turns of the sockets: each has its share, in random order. With equal shares each has one turn before any has the
/// next one.
fn turns(spread: Spread, generator: usize) -> Vec<u16> {
    let mut random = ChaCha8Rng::seed_from_u64(generator as u64);
    let mut sockets: Vec<u16> = (0..spread.sockets).map(|socket| socket as u16).collect();
    // Which of them have traffic, and the most of it, is the same for all generators.
    sockets.shuffle(&mut ChaCha8Rng::seed_from_u64(spread.sockets as u64));
    sockets.truncate(spread.active);
    let exponent = spread.skew.exponent();
    if exponent == 0.0 {
        let laps = EVEN.div_ceil(sockets.len());
        return (0..laps)
            .flat_map(|_| {
                sockets.shuffle(&mut random);
                sockets.clone()
            })
            .collect();
    }
    let weights = (1..=sockets.len()).map(|rank| (rank as f64).powf(-exponent));
    let total: f64 = weights.clone().sum();
    let (mut turns, mut due) = (Vec::with_capacity(SKEWED + sockets.len()), 0.0);
    for (&socket, weight) in sockets.iter().zip(weights) {
        due += SKEWED as f64 * weight / total;
        // Each has one turn at least.
        let count = (due.round() as usize).saturating_sub(turns.len()).max(1);
        turns.extend(std::iter::repeat_n(socket, count));
    }
    turns.shuffle(&mut random);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(spread: Spread) -> Vec<usize> {
        let mut counts = vec![0; spread.sockets];
        turns(spread, 0).iter().for_each(|&socket| counts[usize::from(socket)] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    #[test]
    fn equal_shares_are_equal_in_every_lap() {
        let spread = Spread { sockets: 10, active: 7, ..Spread::ONE };
        let turns = turns(spread, 3);
        assert!(turns.len() >= EVEN);
        for lap in turns.chunks(7) {
            let mut lap = lap.to_vec();
            lap.sort_unstable();
            lap.dedup();
            assert_eq!(lap.len(), 7);
        }
        assert_eq!(counts(spread)[7..], [0; 3], "three have no traffic");
    }

    #[test]
    fn unequal_shares_are_those_of_zipf() {
        let spread = Spread { sockets: 1000, active: 1000, skew: "1".parse().expect("a skew") };
        let counts = counts(spread);
        let harmonic: f64 = (1..=1000).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1, 2, 10, 100] {
            let share = SKEWED as f64 / harmonic / rank as f64;
            assert!((counts[rank - 1] as f64 - share).abs() <= 1.0, "{rank}: {} for {share}", counts[rank - 1]);
        }
        assert!(counts[999] >= 1);
    }

    #[test]
    fn the_longest_row_fits_wherever_it_begins() {
        let near = |sockets: usize| -> Near {
            let bind = |_| Arc::new(Socket::bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).expect("loopback"));
            (0..sockets).map(bind).collect()
        };
        for (spread, held) in [
            (Spread { sockets: 5, active: 5, ..Spread::ONE }, 3),
            (Spread { sockets: 6, active: 4, skew: "0.7".parse().expect("a skew") }, 50),
        ] {
            let targets = Targets::new(spread, &near(spread.sockets)).expect("they are bound").of_generator(1);
            let row = targets.row_within(1000, held);
            let most = |row: usize| {
                let of =
                    |first: usize, socket| (first..first + row).filter(|&at| targets.at(at as u64) == socket).count();
                (0..200).flat_map(|first| (0..spread.sockets).map(move |socket| of(first * 331, socket))).max()
            };
            assert!(row >= held && most(row) <= Some(held), "{row}: {:?}", most(row));
            assert_eq!(targets.row_within(held / 2, held), held / 2);
        }
    }
}
