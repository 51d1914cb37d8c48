//! What a trial cost its threads, and what disturbed it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hpbench_backends::kernel::thread::Usage;
use serde::{Deserialize, Serialize};

use crate::measure::counters::{Counts, PerfCounters};
use crate::measure::kthreads::{self, KernelThreads, Softirqs};

/// What one side of a trial has used: the worker, or the peer of its rounds.
#[derive(Debug, Default)]
pub struct Side {
    /// Time on a core.
    pub usage: Usage,
    counters: Option<PerfCounters>,
    since: Usage,
}

impl Side {
    /// For the calling thread; with hardware counters, if there are any.
    pub fn new() -> Self {
        Self { counters: PerfCounters::open(), ..Self::default() }
    }

    /// What follows counts.
    #[inline(never)]
    pub fn begin(&mut self) {
        self.since = Usage::now();
        if let Some(counters) = &mut self.counters {
            counters.enable();
        }
    }

    /// What follows does not count.
    #[inline(never)]
    pub fn end(&mut self) {
        if let Some(counters) = &mut self.counters {
            counters.disable();
        }
        self.usage.add(Usage::until_now().since(self.since));
    }

    /// Forgets what has counted so far.
    pub fn reset(&mut self) {
        self.usage = Usage::default();
        if let Some(counters) = &mut self.counters {
            counters.reset();
        }
    }

    /// What the hardware counters counted since the last reset; `None` if there are none.
    pub fn counts(&mut self) -> Option<Counts> {
        self.counters.as_mut().and_then(PerfCounters::read)
    }
}

/// What happened to a thread that may make its measurement worthless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Disturbance {
    /// Time that the thread was ready to run and another one had its core; `None` if the kernel does not report it.
    pub run_delay_ns: Option<u64>,
    /// The same as a share of the time that was watched, in percent.
    pub run_delay_pct: f64,
    /// Time that the host of a virtual machine took from its cores, in ticks.
    pub steal_ticks: Option<u64>,
    /// The same as a share of the cores' time, in percent.
    pub steal_pct: f64,
    /// Time in softirqs on the cores of this host that received, in ticks; `None` if the kernel does not report it.
    pub softirq_ticks: Option<u64>,
    /// How long the thread was watched, in nanoseconds.
    pub watched_ns: u64,
    /// Page faults that had to wait for a disk.
    pub major_faults: u64,
    /// Times that the thread left its core.
    pub context_switches: u64,
    /// What kernel threads of the process did meanwhile.
    pub kernel_threads: KernelThreads,
}

impl Disturbance {
    /// What happened to this thread or to another one of the trial: the worse of two delays, the sum of the rest.
    pub fn merge(self, other: Self) -> Self {
        Self {
            run_delay_ns: self.run_delay_ns.max(other.run_delay_ns),
            run_delay_pct: self.run_delay_pct.max(other.run_delay_pct),
            steal_ticks: self.steal_ticks.max(other.steal_ticks),
            steal_pct: self.steal_pct.max(other.steal_pct),
            // The same cores were watched, or those of another host, which did not receive.
            softirq_ticks: self.softirq_ticks,
            watched_ns: self.watched_ns.max(other.watched_ns),
            major_faults: self.major_faults + other.major_faults,
            context_switches: self.context_switches + other.context_switches,
            kernel_threads: self.kernel_threads,
        }
    }
}

/// Watches the calling thread.
#[derive(Clone, Debug)]
pub struct Watch {
    start: Instant,
    cores: Vec<usize>,
    usage: Usage,
    run_delay_ns: Option<u64>,
    steal_ticks: Option<u64>,
    softirqs: Softirqs,
    kernel_threads: KernelThreads,
}

impl Watch {
    /// Begins; steal is read for `cores`. Reads files, which takes 0.1 ms.
    pub fn begin(cores: &[usize]) -> Self {
        let (steal_ticks, softirqs) = kthreads::cores_now(cores);
        Self {
            steal_ticks,
            softirqs,
            kernel_threads: kthreads::kernel_threads(),
            run_delay_ns: kthreads::run_delay_ns(),
            usage: Usage::now(),
            start: Instant::now(),
            cores: cores.to_vec(),
        }
    }

    /// What has happened since.
    pub fn end(&self) -> Disturbance {
        let watched_ns = self.start.elapsed().as_nanos() as u64;
        let usage = Usage::until_now().since(self.usage);
        let since = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?));
        let threads = kthreads::kernel_threads();
        let run_delay_ns = since(kthreads::run_delay_ns(), self.run_delay_ns);
        let (steal_ticks, softirqs) = kthreads::cores_now(&self.cores);
        let steal_ticks = since(steal_ticks, self.steal_ticks);
        let share = |ns: f64, threads: usize| 100.0 * ns / (watched_ns.max(1) as f64 * threads.max(1) as f64);
        let tick_ns = 1e9 / kthreads::user_hz() as f64;
        Disturbance {
            run_delay_ns,
            run_delay_pct: share(run_delay_ns.unwrap_or(0) as f64, 1),
            steal_ticks,
            softirq_ticks: softirqs.ticks_since(&self.softirqs),
            steal_pct: share(steal_ticks.unwrap_or(0) as f64 * tick_ns, self.cores.len()),
            watched_ns,
            major_faults: usage.major_faults,
            context_switches: usage.context_switches,
            kernel_threads: KernelThreads {
                cpu_ns: threads.cpu_ns.saturating_sub(self.kernel_threads.cpu_ns),
                io_workers: threads.io_workers,
            },
        }
    }
}

/// Steps of the canary: about 0.2 ms.
pub(crate) const CANARY_STEPS: u64 = 150_000;

/// How long a fixed piece of work takes on this core, now: the less of three tries, in nanoseconds.
pub fn canary_ns() -> u64 {
    let try_once = || {
        let start = Instant::now();
        work(CANARY_STEPS);
        start.elapsed().as_nanos() as u64
    };
    (0..3).map(|_| try_once()).min().unwrap_or(0)
}

/// Calls of the canary that enters the kernel: about 30 µs.
const KERNEL_CANARY_CALLS: u32 = 300;

/// How long it takes to enter the kernel a fixed number of times, now: the less of three tries, in nanoseconds. It shows what
/// arithmetic does not: of 1,000 trials it marked 3 to 43 that cost 5 to 23% more, and arithmetic 1 to 10
/// (`cargo bench --bench canaries`, which also shows that a walk through memory predicts nothing).
pub fn kernel_canary_ns() -> u64 {
    let try_once = || {
        let start = Instant::now();
        (0..KERNEL_CANARY_CALLS).for_each(|_| {
            black_box(rustix::process::getppid());
        });
        start.elapsed().as_nanos() as u64
    };
    (0..3).map(|_| try_once()).min().unwrap_or(0)
}

/// Both canaries: arithmetic, and entering the kernel.
pub(crate) fn canaries_ns() -> [u64; 2] {
    [canary_ns(), kernel_canary_ns()]
}

/// A fixed piece of work that touches no memory.
#[inline]
pub(crate) fn work(steps: u64) {
    let mut state = black_box(1_u64);
    for _ in 0..steps {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    black_box(state);
}

/// The least number of ticks that says something: what a core's ticks are short of, or more than, is up to one each.
const SOFTIRQ_TICKS_MIN: u64 = 10;

/// The time of so many ticks in softirqs, in nanoseconds; `None` if they are too few to say something.
pub fn softirq_ns(ticks: u64) -> Option<u64> {
    (ticks >= SOFTIRQ_TICKS_MIN).then(|| ticks.saturating_mul(1_000_000_000) / kthreads::user_hz())
}

/// Shortest measured phase whose user and system times are more than tick noise, where the kernel estimates them.
const SPLIT_FROM: Duration = Duration::from_secs(5);

/// Whether the user and system times of a thread on `core` are meaningful after `measured` time: they are if the kernel
/// takes them at every change of mode (`nohz_full`), or if there were many ticks.
pub fn split_means_something(measured: Duration, core: usize) -> bool {
    measured >= SPLIT_FROM || crate::plan::topology::list_file("/sys/devices/system/cpu/nohz_full").contains(&core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_counts_only_between_begin_and_end() {
        // At least some 5 ms of a core, however long it takes to get them.
        const STEPS: u64 = 40 * CANARY_STEPS;
        let mut side = Side::new();
        work(STEPS);
        side.begin();
        side.end();
        assert!(side.usage.cpu_ns < 2_000_000, "{side:?}");
        side.begin();
        work(STEPS);
        side.end();
        assert!(side.usage.cpu_ns > 2_000_000, "{side:?}");
        side.reset();
        assert_eq!(side.usage, Usage::default());
    }

    #[test]
    fn few_ticks_say_nothing() {
        assert_eq!([0, 9].map(softirq_ns), [None; 2]);
        assert_eq!(softirq_ns(10), Some(10_000_000_000 / kthreads::user_hz()));
    }

    #[test]
    fn a_thread_that_is_kept_from_its_core_is_noticed() {
        if crate::measure::kthreads::run_delay_ns().is_none() {
            return crate::fixtures::skip("schedstat", "this kernel has no /proc/thread-self/schedstat");
        }
        let core = crate::plan::cores::allowed().expect("a mask")[0];
        let hog = std::sync::atomic::AtomicBool::new(true);
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                crate::plan::cores::pin(core).expect("it is allowed");
                while hog.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let victim = scope.spawn(|| {
                crate::plan::cores::pin(core).expect("it is allowed");
                let watch = Watch::begin(&[core]);
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(100) {
                    std::hint::spin_loop();
                }
                watch.end()
            });
            let found = victim.join().expect("it does not panic");
            hog.store(false, std::sync::atomic::Ordering::Relaxed);
            found
        });
        assert!(found.run_delay_ns.is_some_and(|delay| delay > 10_000_000), "{found:?}");
    }
}
