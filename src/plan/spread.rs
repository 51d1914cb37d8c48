//! How many sockets a worker owns, and how traffic is spread over them.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use hpbench_backends::SOCKETS_MAX;
use serde::{Deserialize, Serialize};

/// The sockets of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spread {
    /// How many there are.
    pub sockets: usize,
    /// How many of them have traffic.
    pub active: usize,
    /// How unevenly those have it.
    pub skew: Skew,
}

impl Spread {
    /// One socket.
    pub const ONE: Self = Self { sockets: 1, active: 1, skew: Skew(0) };

    /// Whether it is one that flags can ask for: it may come from anybody.
    pub fn is_sane(self) -> bool {
        (1..=SOCKETS_MAX).contains(&self.sockets)
            && (1..=self.sockets).contains(&self.active)
            && self.skew.exponent() <= Skew::MAX
    }
}

/// A Zipf exponent: the k-th busiest socket has a share that is proportional to k^−skew. Kept in thousandths, so that two
/// are equal or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Skew(u32);

impl Skew {
    /// All have the same share.
    pub const NONE: Self = Self(0);
    const MAX: f64 = 4.0;

    /// The exponent.
    pub fn exponent(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl FromStr for Skew {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let exponent: Option<f64> = text.parse().ok().filter(|exponent| (0.0..=Self::MAX).contains(exponent));
        let thousandths = exponent.map(|exponent| exponent * 1000.0).filter(|it| (it - it.round()).abs() < 1e-6);
        thousandths
            .map(|it| Self(it.round() as u32))
            .ok_or_else(|| format!("'{text}' is not a number from 0 to {} with three decimals at most", Self::MAX))
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exponent().fmt(f)
    }
}

/// A value of `--active`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Active {
    /// All sockets have traffic.
    All,
    /// So many have.
    Some(usize),
}

impl fmt::Display for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Some(count) => count.fmt(f),
        }
    }
}

/// Every combination, each once; at most so many. Where fewer sockets are there than should have traffic, there is none; one socket is not
/// skewed.
pub(crate) fn combinations(sockets: &[usize], active: &[Active], skews: &[Skew], most: usize) -> Vec<Spread> {
    let (mut spreads, mut known) = (Vec::new(), HashSet::new());
    for &sockets in sockets {
        for active in active {
            let active = match *active {
                Active::All => sockets,
                Active::Some(count) if count <= sockets => count,
                Active::Some(_) => continue,
            };
            for &skew in if active == 1 { &[Skew::NONE] } else { skews } {
                let spread = Spread { sockets, active, skew };
                if known.insert(spread) {
                    spreads.push(spread);
                }
                if spreads.len() == most {
                    return spreads;
                }
            }
        }
    }
    spreads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_that_mean_the_same_are_one() {
        let skews = ["0", "1.25"].map(|text| text.parse().expect("a skew"));
        let of = |sockets: &[usize], active: &[Active]| {
            let spreads = combinations(sockets, active, &skews, 100);
            spreads.iter().map(|it| (it.sockets, it.active, it.skew.to_string())).collect::<Vec<_>>()
        };
        let zero = "0".to_owned();
        assert_eq!(of(&[1], &[Active::All, Active::Some(1)]), [(1, 1, zero.clone())]);
        assert_eq!(of(&[1, 4], &[Active::Some(2)]), [(4, 2, zero), (4, 2, "1.25".into())]);
        assert_eq!(of(&[4], &[Active::All, Active::Some(9)]).len(), 2);
        assert_eq!(combinations(&[2; 1000], &[Active::All], &skews, 1).len(), 1);
    }

    #[test]
    fn a_skew_has_three_decimals() {
        for text in ["-0.1", "4.001", "0.0001", "nan", "x", ""] {
            assert!(text.parse::<Skew>().is_err(), "{text}");
        }
        assert_eq!("0.999".parse::<Skew>().map(Skew::exponent), Ok(0.999));
    }
}
