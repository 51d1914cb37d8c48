//! Hardware counters of the calling thread: cycles and instructions.

use std::io;

use perf_event::events::{Event, Hardware};
use perf_event::{Builder, Counter, ReadFormat};

/// What was counted while the counters were enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cycles of the core.
    pub cycles: u64,
    /// Instructions that were retired.
    pub instructions: u64,
}

/// Why there are no counters.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// Not for this process.
    #[error("the kernel refuses them: {0}")]
    Refused(io::Error),
    /// Not on this machine.
    #[error("there are none here: {0}")]
    Missing(io::Error),
    /// They were opened and enabled, but did not count.
    #[error("they are there, but do not count")]
    Dead,
}

impl CountersError {
    fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Refused(error),
            _ => Self::Missing(error),
        }
    }
}

/// Counters of cycles and instructions, in user space and in the kernel, of the thread that opened them.
///
/// What other threads do on its behalf (an io-wq worker, an SQPOLL thread) is not in them.
#[derive(Debug)]
pub struct PerfCounters {
    /// Leads the group: the instructions are on the processor when, and only when, it is.
    cycles: Counter,
    instructions: Counter,
    /// What [`PerfCounters::reset`] found.
    base: Reading,
}

impl PerfCounters {
    /// Opens the counters, disabled. `None` where there are none: no hardware counters (as in most virtual
    /// machines), or not for this user (`sysctl kernel.perf_event_paranoid` above 1 without `CAP_PERFMON`).
    ///
    /// The kernel does most of the work here, so counts of user space alone would mislead: a backend that
    /// leaves more to the kernel would look cheaper. Where the kernel may not be counted, nothing is.
    pub fn open() -> Option<Self> {
        Self::try_open().ok()
    }

    /// As [`PerfCounters::open`], and says why there are none.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the counters or has none, or if they do not count.
    pub fn try_open() -> Result<Self, CountersError> {
        let mut counters = Self::open_events(Hardware::CPU_CYCLES, Hardware::INSTRUCTIONS)?;
        // Some virtual machines accept the events and never count. Then empty is right, and zero is wrong.
        counters.enable();
        for i in 0..1000 {
            std::hint::black_box(i);
        }
        counters.disable();
        let dead = counters.read().is_some_and(|counts| counts.cycles == 0 || counts.instructions == 0);
        counters.reset();
        if dead { Err(CountersError::Dead) } else { Ok(counters) }
    }

    /// Opens two events as one group. Whatever the reason for a refusal, there are no counts.
    fn open_events<E: Event>(cycles: E, instructions: E) -> Result<Self, CountersError> {
        let mut cycles = builder(cycles).enabled(false).build().map_err(CountersError::of)?;
        // It is enabled, yet counts only while its leader does. So one event is switched, not two.
        let instructions =
            builder(instructions).enabled(true).build_with_group(&mut cycles).map_err(CountersError::of)?;
        Ok(Self { cycles, instructions, base: Reading::default() })
    }

    /// Starts or resumes counting: one system call.
    pub fn enable(&mut self) {
        // It cannot fail for a counter that is open; if it did, the counters would not run, and `read` says so.
        let _ = self.cycles.enable();
    }

    /// Stops counting: one system call.
    pub fn disable(&mut self) {
        let _ = self.cycles.disable();
    }

    /// Sets the counts to zero.
    pub fn reset(&mut self) {
        // The kernel can reset the counts, but not the times that they are scaled with.
        self.base = self.reading().unwrap_or(self.base);
    }

    /// What was counted since the counters were opened or reset. `None` if they never ran.
    ///
    /// Where the counters had to be shared with others (the NMI watchdog takes one), the counts are scaled to
    /// all of the time in which they were enabled.
    pub fn read(&mut self) -> Option<Counts> {
        self.reading()?.since(self.base).counts()
    }

    fn reading(&mut self) -> Option<Reading> {
        let group = self.cycles.read_group().ok()?;
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Some(Reading {
            cycles: group.get(&self.cycles)?.value(),
            instructions: group.get(&self.instructions)?.value(),
            enabled_ns: ns(group.time_enabled()?),
            running_ns: ns(group.time_running()?),
        })
    }
}

/// An event in user space and in the kernel, of the calling thread and not of those that it starts, on any core.
fn builder<E: Event>(event: E) -> Builder<'static> {
    let mut builder = Builder::new(event);
    builder.observe_self().any_cpu().inherit(false).include_kernel();
    builder.read_format(ReadFormat::GROUP | ReadFormat::TOTAL_TIME_ENABLED | ReadFormat::TOTAL_TIME_RUNNING);
    builder
}

/// What the kernel returns.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    cycles: u64,
    instructions: u64,
    enabled_ns: u64,
    running_ns: u64,
}

impl Reading {
    fn since(self, base: Self) -> Self {
        Self {
            cycles: self.cycles.saturating_sub(base.cycles),
            instructions: self.instructions.saturating_sub(base.instructions),
            enabled_ns: self.enabled_ns.saturating_sub(base.enabled_ns),
            running_ns: self.running_ns.saturating_sub(base.running_ns),
        }
    }

    fn counts(self) -> Option<Counts> {
        let (enabled_ns, running_ns) = (u128::from(self.enabled_ns), u128::from(self.running_ns));
        let scale = |count: u64| {
            let scaled = (u128::from(count) * enabled_ns + running_ns / 2).checked_div(running_ns)?;
            u64::try_from(scaled).ok()
        };
        Some(Counts { cycles: scale(self.cycles)?, instructions: scale(self.instructions)? })
    }
}

#[cfg(test)]
mod tests {
    use perf_event::events::Software;

    use super::*;
    use crate::fixtures;

    /// Reads the thread's CPU time in ns as cycles, and its page faults as instructions.
    fn software() -> Option<PerfCounters> {
        let counters = PerfCounters::open_events(Software::TASK_CLOCK, Software::PAGE_FAULTS).ok();
        if counters.is_none() {
            skip("perf_event_open refuses even software events; try sysctl kernel.perf_event_paranoid=1");
        }
        counters
    }

    fn skip(reason: &str) {
        fixtures::skip("perf", reason);
    }

    /// Kilobytes that no allocator keeps for reuse: glibc maps blocks of more than 32 MiB anew each time.
    const FRESH: usize = 33 << 10;

    /// Touches that many kilobytes of memory, for the first time if they are [`FRESH`].
    fn touch(kilobytes: usize) {
        std::hint::black_box(vec![1_u8; kilobytes << 10]);
    }

    #[test]
    fn hardware_counters_count_or_are_none() {
        let Some(mut counters) = PerfCounters::open() else { return skip("no hardware counters here") };
        counters.enable();
        touch(1 << 10);
        counters.disable();
        let counts = counters.read().expect("a core runs for a while before counters are shared");
        assert!(counts.cycles > 1000 && counts.instructions > 1000, "{counts:?}");
    }

    #[test]
    fn they_count_while_they_are_enabled_and_what_this_thread_does() {
        let Some(mut counters) = software() else { return };
        assert_eq!(counters.read(), None, "they have not run");
        touch(FRESH);
        counters.enable();
        counters.disable();
        let nothing = counters.read().expect("they ran").instructions;
        assert!(nothing < 64, "{nothing} page faults");
        counters.enable();
        std::thread::spawn(|| touch(FRESH)).join().expect("it does not panic");
        counters.disable();
        let others = counters.read().expect("they ran").instructions - nothing;
        assert!(others < 512, "{others} page faults, of another thread");
        counters.enable();
        // Pages may be huge; then there are few faults, but they take time.
        touch(FRESH);
        counters.disable();
        let counts = counters.read().expect("they ran");
        assert!(counts.cycles > 100_000 && counts.instructions > nothing + others, "{counts:?}");
        assert_eq!(counters.read(), Some(counts), "they stand still");
        counters.reset();
        assert_eq!(counters.read(), None, "they have not run since");
        counters.enable();
        counters.disable();
        let after = counters.read().expect("they ran");
        assert!(after.cycles < counts.cycles, "{after:?}, {counts:?}");
    }

    #[test]
    fn counts_are_scaled_to_the_time_enabled() {
        let reading = |cycles, enabled_ns, running_ns| Reading { cycles, instructions: 3, enabled_ns, running_ns };
        let counts = |cycles, instructions| Some(Counts { cycles, instructions });
        assert_eq!(reading(7, 10, 10).counts(), counts(7, 3));
        assert_eq!(reading(1_000, 30, 20).counts(), counts(1_500, 5), "4.5 instructions are rounded");
        assert_eq!(reading(0, 30, 0).counts(), None, "enabled, but never on the processor");
        assert_eq!(reading(u64::MAX, u64::MAX, 1).counts(), None, "no number instead of a wrong one");
        let base = reading(1_000, 30, 20);
        let later = Reading { cycles: 1_500, instructions: 103, enabled_ns: 50, running_ns: 30 };
        assert_eq!(later.since(base).counts(), counts(1_000, 200), "each span is scaled with its own times");
        assert_eq!(base.since(base).counts(), None);
    }
}
