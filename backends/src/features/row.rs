//! How a feature is tried.

use std::time::Duration;

use crate::features::feature::{Feature, State};
use crate::features::refusal::Refusal;

/// A feature, and the trial that shows whether it is there.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) since: &'static str,
    trial: fn(&mut Patience) -> Result<(), Refusal>,
}

pub(super) const fn row(
    name: &'static str,
    since: &'static str,
    trial: fn(&mut Patience) -> Result<(), Refusal>,
) -> Row {
    Row { name, since, trial }
}

impl Row {
    pub(super) fn feature(&self, state: State) -> Feature {
        Feature { name: self.name, since: self.since, state }
    }

    pub(super) fn try_out(&self, patience: &mut Patience) -> Feature {
        let state = self.try_for_memory(patience).map_or_else(|refusal| refusal.state(self.since), |()| State::Yes);
        self.feature(state)
    }

    /// Tries again if memory runs out: rings that were closed a moment ago still count against the limit of
    /// locked memory.
    pub(super) fn try_for_memory(&self, patience: &mut Patience) -> Result<(), Refusal> {
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

    /// How often a trial that runs out of memory is made.
    const TRIES: usize = 3;
}

/// How long all trials may still wait in total.
#[derive(Debug)]
pub(super) struct Patience {
    /// For completions.
    pauses: u32,
    /// For memory of rings that were closed.
    memory: u32,
}

impl Patience {
    const PAUSE: Duration = Duration::from_millis(1);
    /// The kernel takes a closed ring apart within this time, if it is not busy.
    const MEMORY: Duration = Duration::from_millis(60);

    pub(super) fn new() -> Self {
        Self { pauses: 250, memory: 8 }
    }

    /// Sleeps for a moment; `false`, at once, if no waiting time is left.
    pub(super) fn pause(&mut self) -> bool {
        Self::sleep(&mut self.pauses, Self::PAUSE)
    }

    /// Sleeps long enough for closed rings to be gone, as a rule; `false`, at once, if no waiting time is left.
    pub(super) fn wait_for_memory(&mut self) -> bool {
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
    use std::time::Instant;

    use super::*;

    #[test]
    fn patience_ends() {
        let mut patience = Patience { pauses: 3, memory: 0 };
        let start = Instant::now();
        assert_eq!([(); 5].map(|()| patience.pause()), [true, true, true, false, false]);
        assert!(start.elapsed() >= 3 * Patience::PAUSE && !patience.wait_for_memory());
    }
}
