//! How long a cache line takes from one core to another.
//!
//! The hypervisor of a virtual machine moves virtual cores. On one with two, a line took 23 ns one way in one state and
//! 180 ns in another; each lasts minutes, and scenarios of two threads show it (the median round trip of `echo` was 4.61
//! and 5.73 µs), while topology, steal and arithmetic do not.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use crate::measure::threads;
use crate::plan::cores;
use crate::stats::median_of_sorted;

/// Round trips that are timed together, and how many such groups there are: the median of them ignores interruptions.
const ROUND_TRIPS: u64 = 500;
const GROUPS: usize = 20;

/// How long all of them may take. Where another program has one of the cores, they would take for ever.
const WITHIN: Duration = Duration::from_millis(30);

/// The time that a line takes one way, in nanoseconds: half of a round trip between two pinned threads. `None` if the
/// threads cannot be started, or were kept from their cores.
pub fn core_transfer_ns(one: usize, other: usize) -> Option<f64> {
    if one == other {
        return None;
    }
    let (ball, over) = (CachePadded::new(AtomicU64::new(0)), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (ball, over) = (&ball, &over);
        let returns = move || {
            let _ = cores::pin(other);
            let mut next = 1;
            while !over.load(Ordering::Relaxed) {
                if ball.load(Ordering::Acquire) == next {
                    ball.store(next + 1, Ordering::Release);
                    next += 2;
                }
                spin_loop();
            }
        };
        let serves = move || {
            let pinned = cores::pin(one).is_ok();
            let found = pinned.then(|| serve(ball)).flatten();
            over.store(true, Ordering::Relaxed);
            found
        };
        let returning = threads::spawn(scope, returns).ok()?;
        let found = match threads::spawn(scope, serves) {
            Ok(serving) => serving.join().ok().flatten(),
            Err(_) => None,
        };
        over.store(true, Ordering::Relaxed);
        returning.join().ok().and(found)
    })
}

/// Sends the ball to and fro. Returns half of a round trip in nanoseconds.
fn serve(ball: &AtomicU64) -> Option<f64> {
    let start = Instant::now();
    let mut turn = 0;
    let mut groups = Vec::with_capacity(GROUPS);
    for _ in 0..GROUPS {
        let began = Instant::now();
        for _ in 0..ROUND_TRIPS {
            ball.store(turn + 1, Ordering::Release);
            turn += 2;
            let mut waited = 0_u32;
            while ball.load(Ordering::Acquire) != turn {
                spin_loop();
                waited += 1;
                if waited.is_multiple_of(4096) && start.elapsed() > WITHIN {
                    return None;
                }
            }
        }
        groups.push(began.elapsed().as_nanos() as f64 / (2 * ROUND_TRIPS) as f64);
    }
    groups.sort_unstable_by(f64::total_cmp);
    median_of_sorted(&groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::skip;

    #[test]
    fn a_line_takes_some_time_between_two_cores_and_there_is_none_within_one() {
        let cores = cores::Cores::choose(cores::Wanted::default()).expect("there are cores");
        let one = cores.places[0].worker;
        assert_eq!(core_transfer_ns(one, one), None);
        let Some(&other) = cores.places[0].generators.first() else {
            return skip("cores", "only one core is allowed");
        };
        // On a busy machine there may be none.
        let found = (0..20).find_map(|_| core_transfer_ns(one, other));
        if let Some(ns) = found {
            assert!(ns > 1.0 && ns < 100_000.0, "{ns}");
        } else {
            skip("quiet", "the cores are too busy");
        }
    }
}
