//! What this kernel offers to programs that move datagrams, found out by trying it on throwaway rings and sockets.
//!
//! Versions tell little: distributions carry features back, containers and limits take them away. So each
//! feature is used once, on loopback, and what became of that is the answer.

mod lent;
mod refusal;
mod sockets;
mod trial;
mod uring;

use std::io;
use std::time::Duration;

use refusal::Refusal;

/// Something that a kernel may offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, as in manual pages.
    pub name: &'static str,
    /// The kernel release that brought it.
    pub since: &'static str,
    /// Whether it is to be had here, by this process, now.
    pub state: State,
}

/// Whether a feature is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It was used, and worked.
    Yes,
    /// It was tried, and refused.
    No {
        /// By what.
        why: String,
        /// What can be done.
        remedy: String,
    },
    /// It could not be tried.
    Unknown {
        /// For what reason.
        why: String,
    },
}

/// Tries every feature: those of io_uring, in the order in which they arrived, then those of UDP sockets.
///
/// Takes a few milliseconds where all is well, and never waits for longer than a second in all. Nothing is
/// left behind: rings and sockets are closed.
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
/// The kernel's error, e.g. where the device is down; `TimedOut` where nothing comes.
pub fn try_loopback() -> io::Result<()> {
    trial::open_pair().map(drop)
}

/// A feature, and the trial that tells whether it is there.
struct Row {
    name: &'static str,
    since: &'static str,
    trial: fn(&mut Patience) -> Result<(), Refusal>,
}

const fn row(name: &'static str, since: &'static str, trial: fn(&mut Patience) -> Result<(), Refusal>) -> Row {
    Row { name, since, trial }
}

impl Row {
    fn feature(&self, state: State) -> Feature {
        Feature { name: self.name, since: self.since, state }
    }

    fn try_out(&self, patience: &mut Patience) -> Feature {
        let state = self.try_for_memory(patience).map_or_else(|refusal| refusal.state(self.since), |()| State::Yes);
        self.feature(state)
    }

    /// Tries again where there is no memory: rings that were closed a moment ago still count against the limit of
    /// locked memory.
    fn try_for_memory(&self, patience: &mut Patience) -> Result<(), Refusal> {
        for _ in 1..Self::TRIES {
            match (self.trial)(patience) {
                Err(refusal) if refusal.is_memory() => {}
                result => return result,
            }
            if !patience.wait_for_memory() {
                break;
            }
        }
        (self.trial)(patience)
    }

    /// How often a trial that finds no memory is made.
    const TRIES: usize = 3;
}

/// How long all trials together may still wait.
#[derive(Debug)]
struct Patience {
    /// For completions.
    pauses: u32,
    /// For memory of rings that were closed.
    memory: u32,
}

impl Patience {
    const PAUSE: Duration = Duration::from_millis(1);
    /// The kernel takes a closed ring apart within this time, if it is not busy.
    const MEMORY: Duration = Duration::from_millis(60);

    fn new() -> Self {
        Self { pauses: 250, memory: 8 }
    }

    /// Sleeps for a moment; `false`, at once, if there is no patience left.
    fn pause(&mut self) -> bool {
        Self::sleep(&mut self.pauses, Self::PAUSE)
    }

    /// Sleeps until closed rings are gone, as a rule; `false`, at once, if there is no patience left.
    fn wait_for_memory(&mut self) -> bool {
        Self::sleep(&mut self.memory, Self::MEMORY)
    }

    fn sleep(left: &mut u32, length: Duration) -> bool {
        let Some(rest) = left.checked_sub(1) else { return false };
        *left = rest;
        std::thread::sleep(length);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

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

    #[test]
    fn patience_ends() {
        let mut patience = Patience { pauses: 3, memory: 0 };
        let start = Instant::now();
        assert_eq!([(); 5].map(|()| patience.pause()), [true, true, true, false, false]);
        assert!(start.elapsed() >= 3 * Patience::PAUSE && !patience.wait_for_memory());
    }
}
