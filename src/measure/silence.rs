//! How long a thread has waited in vain, which ends a trial.

/// How long nothing may come: longer than a busy machine, or the host of a virtual one, keeps the other side from running.
const STALL_NS: u64 = 5_000_000_000;

/// How long a look counts at most. Whoever has not looked for longer did not run, and neither did the other side, perhaps.
const LOOK_MAX_NS: u64 = 100_000_000;

/// How long nothing has come, as far as somebody looked: the time in which the whole machine stood still does not count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    looked_ns: u64,
    lasted_ns: u64,
}

impl Silence {
    /// From now on.
    pub(crate) fn begin(now_ns: u64) -> Self {
        Self { looked_ns: now_ns, lasted_ns: 0 }
    }

    /// Something has come, or nothing is waited for.
    #[inline(always)]
    pub(crate) fn ends(&mut self, now_ns: u64) {
        *self = Self::begin(now_ns);
    }

    /// Again, nothing has come. Returns whether it is time to give up.
    #[inline(always)]
    pub(crate) fn goes_on(&mut self, now_ns: u64) -> bool {
        self.lasted_ns += (now_ns - self.looked_ns).min(LOOK_MAX_NS);
        self.looked_ns = now_ns;
        self.lasted_ns > STALL_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_seconds_of_looks_are_enough_and_a_pause_is_none() {
        let begin_ns = 1000;
        let mut silence = Silence::begin(begin_ns);
        assert!(!silence.goes_on(begin_ns + 3600 * 1_000_000_000), "the machine stood still");
        let begin_ns = begin_ns + 3600 * 1_000_000_000;
        silence.ends(begin_ns);
        let given_up = (1..=1000).find(|tenth| silence.goes_on(begin_ns + tenth * 10_000_000));
        assert_eq!(given_up, Some(501));
    }
}
