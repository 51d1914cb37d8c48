//! Whether the process as a whole did not run in a trial: stopped by a signal (Ctrl-Z), frozen with its control group, or
//! suspended with the machine. Its threads were then not even ready to run, so run delay does not show it.
//!
//! A thread that sleeps most of the time looks at the clock now and then. If it comes late and waited for no core, the
//! process did not run. That holds for spinning and for waiting workers, and for trials that end in an error.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::gates;
use crate::gates::reason::Reason;
use crate::measure::clock::now_ns;
use crate::measure::control::Interrupt;
use crate::measure::kthreads;

/// How long the thread sleeps: it disturbs a trial of 20 ms once or twice, for some microseconds.
const BEAT: Duration = Duration::from_millis(20);

/// Runs a trial on the calling thread and those that it makes; `cores` are its cores. Returns what `run` returns, and,
/// if the process was stopped meanwhile, why the trial is unusable.
pub fn watch<T>(cores: &[usize], interrupt: &Interrupt, run: impl FnOnce() -> T) -> (T, Option<Reason>) {
    interrupt.take_continued();
    let (result, stopped_ns) = thread::scope(|scope| {
        let (end, ended) = mpsc::channel::<()>();
        let sentinel = thread::Builder::new().name("sentinel".into()).spawn_scoped(scope, move || beats(cores, &ended));
        let result = run();
        drop(end);
        // Without the thread, SIGCONT still shows a stop.
        let stopped_ns = sentinel.ok().and_then(|sentinel| sentinel.join().ok()).unwrap_or(0);
        (result, stopped_ns)
    });
    (result, gates::stop(stopped_ns, interrupt.take_continued()))
}

/// Sleeps and looks at the clocks until the other end is gone. Returns how long the process did not run.
fn beats(cores: &[usize], ended: &Receiver<()>) -> u64 {
    let (mut last, mut steal, mut stopped_ns) = (Look::now(), kthreads::steal_ticks(cores), 0);
    loop {
        let is_over = !matches!(ended.recv_timeout(BEAT), Err(RecvTimeoutError::Timeout));
        let now = Look::now();
        let absent_ns = now.absent_ns(&last);
        if gates::stop(absent_ns, false).is_some() {
            // The host may have had the cores: that is another disturbance.
            let stolen = kthreads::steal_ticks(cores);
            let ticks = stolen.zip(steal).map_or(0, |(now, before)| now.saturating_sub(before));
            steal = stolen;
            let absent_ns = absent_ns.saturating_sub(ticks * 1_000_000_000 / kthreads::user_hz());
            stopped_ns += if gates::stop(absent_ns, false).is_some() { absent_ns } else { 0 };
        }
        if is_over {
            return stopped_ns;
        }
        last = now;
    }
}

/// What the clocks and the kernel report to the calling thread.
#[derive(Clone, Copy, Debug)]
struct Look {
    now_ns: u64,
    /// The same with the time in which the machine was suspended.
    boot_ns: u64,
    /// Read before and after the clocks: the thread may wait for a core in between.
    run_delay_ns: [Option<u64>; 2],
}

impl Look {
    fn now() -> Self {
        let early_ns = kthreads::run_delay_ns();
        let (now_ns, boot) = (now_ns(), clock_gettime(ClockId::Boottime));
        let boot_ns = boot.tv_sec as u64 * 1_000_000_000 + boot.tv_nsec as u64;
        Self { now_ns, boot_ns, run_delay_ns: [early_ns, kthreads::run_delay_ns()] }
    }

    /// How long the thread, since an earlier look, neither slept as it wanted to nor waited for a core. If the kernel
    /// does not report how long it waited, only the time in which the machine was suspended.
    fn absent_ns(&self, before: &Self) -> u64 {
        let passed_ns = self.now_ns - before.now_ns;
        let suspended_ns = (self.boot_ns - before.boot_ns).saturating_sub(passed_ns);
        let delays = self.run_delay_ns[1].zip(before.run_delay_ns[0]);
        let late_ns = delays.map_or(0, |(now, before)| {
            passed_ns.saturating_sub(BEAT.as_nanos() as u64).saturating_sub(now.saturating_sub(before))
        });
        suspended_ns + late_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn look(now_ms: u64, boot_ms: u64, run_delay_ms: Option<u64>) -> Look {
        Look { now_ns: now_ms * MS, boot_ns: boot_ms * MS, run_delay_ns: [run_delay_ms.map(|ms| ms * MS); 2] }
    }

    #[test]
    fn a_thread_is_absent_if_it_neither_sleeps_nor_waits_for_a_core() {
        let before = look(1000, 5000, Some(100));
        for (now, absent_ms) in [
            (look(1020, 5020, Some(100)), 0),
            (look(1005, 5005, Some(100)), 0),
            (look(1320, 5320, Some(100)), 300),
            (look(1320, 5320, Some(390)), 10),
            (look(1320, 5320, Some(900)), 0),
            (look(1020, 8020, Some(100)), 3000),
            (look(1320, 5320, None), 0),
        ] {
            assert_eq!(now.absent_ns(&before), absent_ms * MS, "{now:?}");
        }
    }

    #[test]
    fn a_trial_that_sleeps_is_not_stopped_and_returns_what_it_returns() {
        let (result, reason) = watch(&[], &Interrupt::default(), || {
            thread::sleep(Duration::from_millis(50));
            7
        });
        assert_eq!((result, reason), (7, None));
    }
}
