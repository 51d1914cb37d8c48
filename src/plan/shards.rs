//! How several workers come by their datagrams: at ports of their own, or from one.

use std::fmt;

/// How the workers of a trial come by their datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharding {
    /// Each has a port of its own, and generators that send there.
    Ports,
    /// All have one port, and each a socket there (`SO_REUSEPORT`): the kernel chooses one for each datagram.
    Reuseport(Steer),
    /// All receive from one socket.
    Single,
}

impl Sharding {
    /// The values of the flag; how the kernel chooses is another one.
    pub const ALL: [Self; 3] = [Self::Ports, Self::Reuseport(Steer::Hash), Self::Single];

    /// The name in flags and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ports => "ports",
            Self::Reuseport(_) => "reuseport",
            Self::Single => "single",
        }
    }

    /// How the kernel chooses a socket, if it does.
    pub fn steer(self) -> Option<Steer> {
        match self {
            Self::Reuseport(steer) => Some(steer),
            Self::Ports | Self::Single => None,
        }
    }

    /// Whether all workers have one port.
    pub fn is_shared(self) -> bool {
        self != Self::Ports
    }
}

impl fmt::Display for Sharding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the kernel chooses a socket by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Steer {
    /// The hash of a datagram's addresses and ports.
    Hash,
    /// The core that delivers it, modulo the number of sockets.
    Cpu,
}

impl Steer {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Hash, Self::Cpu];

    /// The name in flags and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for Steer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every combination: how the kernel steers matters where it chooses.
pub(super) fn combinations(shardings: &[Sharding], steers: &[Steer]) -> Vec<Sharding> {
    let each = |&sharding: &Sharding| match sharding {
        Sharding::Reuseport(_) => steers.iter().copied().map(Sharding::Reuseport).collect(),
        Sharding::Ports | Sharding::Single => vec![sharding],
    };
    shardings.iter().flat_map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_kernel_steers_multiplies_what_it_steers() {
        let all = combinations(&Sharding::ALL, &Steer::ALL);
        let expected =
            [Sharding::Ports, Sharding::Reuseport(Steer::Hash), Sharding::Reuseport(Steer::Cpu), Sharding::Single];
        assert_eq!(all, expected);
        assert_eq!(combinations(&Sharding::ALL[..1], &Steer::ALL), [Sharding::Ports]);
    }
}
