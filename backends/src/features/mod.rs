//! What this kernel offers to programs that move datagrams, determined by trying it on throwaway rings and sockets.
//!
//! Versions say little: distributions backport features, containers and limits take them away. So each
//! feature is used once, on loopback, and the result of that is the answer.

mod feature;
mod lent;
mod refusal;
mod row;
mod sockets;
mod trial;
mod uring;

use std::io;

pub use feature::{Feature, State};
use row::Patience;

/// Tries every feature: those of io_uring, in the order in which they arrived, then those of UDP sockets.
///
/// Takes a few milliseconds if all is well, and never waits for more than a second in total. Rings and
/// sockets are closed afterwards.
pub fn try_all() -> Vec<Feature> {
    let mut patience = Patience::new();
    let mut features = uring::try_all(&mut patience);
    features.extend(sockets::try_all(&mut patience));
    features
}

/// Sends a datagram over loopback, and receives it.
///
/// # Errors
///
/// The kernel's error, e.g. if the device is down; `TimedOut` if nothing arrives.
pub fn try_loopback() -> io::Result<()> {
    trial::open_pair().map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_feature_has_a_name_of_its_own_and_an_answer_with_a_reason() {
        let features = try_all();
        let names: BTreeSet<&str> = features.iter().map(|feature| feature.name).collect();
        assert_eq!(names.len(), features.len());
        for feature in features {
            assert!(feature.since.contains('.'), "{feature:?}");
            match feature.state {
                State::Yes => {}
                State::No { why, remedy } => assert!(!why.is_empty() && !remedy.is_empty(), "{}", feature.name),
                State::Unknown { why } => assert!(why.contains("ulimit -l"), "{}: {why}", feature.name),
            }
        }
    }
}
