//! What the generators of `echo` and `serve` share: how long they wait for answers.

use crate::measure::outcome::TrialError;

/// How long to wait for others after the last answer: longer than a busy machine, or the host of a virtual one, keeps a
/// thread from running.
pub(crate) const SETTLE_NS: u64 = 4_000_000_000;

/// Why a trial ends in which nothing has come back for too long, after `received` answers.
pub(super) fn stalled(received: u64) -> TrialError {
    TrialError::Stalled(match received {
        0 => {
            "nothing came back for five seconds; does a firewall or a queueing discipline drop it? see `nft list ruleset`, \
             `iptables -S`, `tc -s qdisc`"
        }
        _ => "nothing came back for five seconds",
    })
}

/// Waits for what is still under way when no more is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    /// When an answer came last.
    last_ns: u64,
    received: u64,
    /// Whether all was accounted for at the last look.
    was_whole: bool,
}

impl Settling {
    /// From now on.
    pub(super) fn begin(now_ns: u64) -> Self {
        Self { last_ns: now_ns, received: 0, was_whole: false }
    }

    /// Whether all is accounted for, or nothing has come for a while. It is asked after each look for answers. `dropped` tells
    /// how many datagrams were dropped on either way: they will not come, but what took long may, also between the look and
    /// the question. So all has to be accounted for before a look that finds nothing.
    pub(super) fn is_over(&mut self, now_ns: u64, [sent, received]: [u64; 2], dropped: impl FnOnce() -> u64) -> bool {
        if received == sent {
            return true;
        }
        // More may be there, whose times are still taken.
        if received != self.received {
            *self = Self { last_ns: now_ns, received, was_whole: false };
            return false;
        }
        let was_whole = std::mem::replace(&mut self.was_whole, received + dropped() >= sent);
        was_whole && self.was_whole || now_ns - self.last_ns >= SETTLE_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_all_is_known_or_nothing_comes() {
        let mut settling = Settling::begin(1000);
        assert!(settling.is_over(1001, [10, 10], || unreachable!("nothing is missing")));
        assert!(!settling.is_over(1002, [10, 7], || unreachable!("one has just come")));
        assert!(!settling.is_over(1002, [10, 7], || 3), "one may have come after the look");
        assert!(settling.is_over(1002, [10, 7], || 3));
        assert!(!settling.is_over(1002, [10, 7], || 2));
        assert!(!settling.is_over(1002, [10, 7], || 3), "one may have come after the look");
        assert!(!settling.is_over(1003, [10, 8], || unreachable!("it has")));
        assert!(!settling.is_over(1003, [10, 8], || 2));
        assert!(settling.is_over(1003, [10, 8], || 2));
        let mut settling = Settling::begin(1000);
        assert!(!settling.is_over(1002, [10, 7], || 2));
        assert!(!settling.is_over(SETTLE_NS + 1001, [10, 7], || 2), "an answer came at 1002");
        assert!(settling.is_over(SETTLE_NS + 1002, [10, 7], || 2));
    }
}
