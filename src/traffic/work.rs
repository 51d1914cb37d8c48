//! The app's own work: what a server does with a datagram besides receiving and sending it.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How much more than asked for is made good by less the next time, in nanoseconds: some readings of the clock. A thread that
/// was kept from its core has not worked so long.
const MADE_GOOD_NS: u64 = 200;

/// Spins for a fixed time per datagram, in place of parsing, decrypting and the like.
#[derive(Clone, Debug, Default)]
pub struct Work {
    ns: u64,
    /// Set when the user wants an end: a round of long work would be waited for.
    is_over: Arc<AtomicBool>,
    /// What the last spin took too long, in nanoseconds.
    credit_ns: u64,
}

impl Work {
    /// So many nanoseconds for each datagram, until `is_over`.
    pub fn new(ns: u64, is_over: Arc<AtomicBool>) -> Self {
        Self { ns, is_over, credit_ns: 0 }
    }

    /// Works on so many datagrams, if there is work at all.
    #[inline(always)]
    pub fn on(&mut self, datagrams: u64) {
        if self.ns > 0 && datagrams > 0 {
            self.spin(datagrams);
        }
    }

    #[inline(never)]
    fn spin(&mut self, datagrams: u64) {
        let start = Instant::now();
        let due_ns = (datagrams * self.ns).saturating_sub(self.credit_ns);
        let mut took_ns = 0;
        while took_ns < due_ns {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            spin_loop();
            took_ns = start.elapsed().as_nanos() as u64;
        }
        let over_ns = took_ns + self.credit_ns.min(datagrams * self.ns) - datagrams * self.ns;
        self.credit_ns = if over_ns <= MADE_GOOD_NS { over_ns } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each spin takes a little longer than asked for; many of them together do not.
    #[test]
    fn work_takes_its_time_and_no_longer() {
        for (ns, batch) in [(100, 1), (1_000, 1), (250, 32)] {
            let mut work = Work::new(ns, Arc::default());
            let (start, mut datagrams) = (Instant::now(), 0);
            while datagrams < 20_000 {
                work.on(batch);
                datagrams += batch;
            }
            let took_ns = start.elapsed().as_nanos() as u64 + MADE_GOOD_NS;
            assert!(took_ns >= datagrams * ns, "{took_ns} for {datagrams} of {ns}");
        }
    }

    #[test]
    fn work_ends_when_nobody_waits_for_it() {
        let mut work = Work::new(1 << 60, Arc::new(true.into()));
        work.on(1);
    }

    #[test]
    fn no_work_is_no_look_at_the_clock() {
        let mut work = Work::default();
        let start = Instant::now();
        (0..1000).for_each(|_| work.on(1 << 60));
        assert!(start.elapsed().as_secs() < 60);
        assert_eq!(work.credit_ns, 0);
    }
}
