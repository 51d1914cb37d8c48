//! What the calling thread has cost, and how it is scheduled.

use std::io;
use std::mem;

/// What a thread has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a core, in nanoseconds (`CLOCK_THREAD_CPUTIME_ID`: precise).
    pub cpu_ns: u64,
    /// The part of it in user mode, in nanoseconds. Unless the kernel accounts precisely, this is estimated
    /// by looking where the thread is at each timer tick (`getrusage(2)`).
    pub user_ns: u64,
    /// The part of it in the kernel.
    pub sys_ns: u64,
    /// Times that the thread left its core, to wait or because it had to.
    pub context_switches: u64,
    /// Page faults that had to wait for a disk.
    pub major_faults: u64,
}

impl Usage {
    /// What the calling thread has used so far. The clock is read last: what follows counts from then on.
    pub fn now() -> Self {
        let usage = Self::estimates();
        Self { cpu_ns: Self::clock_ns(), ..usage }
    }

    /// The same, with the clock read first: what went before counts until then.
    pub fn until_now() -> Self {
        let cpu_ns = Self::clock_ns();
        Self { cpu_ns, ..Self::estimates() }
    }

    fn clock_ns() -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes a timespec to a live local. With a clock that every Linux has, it cannot fail.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    /// Everything but the precise time.
    fn estimates() -> Self {
        // SAFETY: zeroes are a valid rusage, and the kernel writes one to a live local.
        let usage = unsafe {
            let mut usage: libc::rusage = mem::zeroed();
            libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
            usage
        };
        let micros = |time: libc::timeval| (time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64) * 1000;
        Self {
            cpu_ns: 0,
            user_ns: micros(usage.ru_utime),
            sys_ns: micros(usage.ru_stime),
            context_switches: (usage.ru_nvcsw + usage.ru_nivcsw) as u64,
            major_faults: usage.ru_majflt as u64,
        }
    }

    /// What was used since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            user_ns: self.user_ns.saturating_sub(before.user_ns),
            sys_ns: self.sys_ns.saturating_sub(before.sys_ns),
            context_switches: self.context_switches - before.context_switches,
            major_faults: self.major_faults - before.major_faults,
        }
    }

    /// Adds what was used at another time, or by another thread.
    pub fn add(&mut self, other: Self) {
        self.cpu_ns += other.cpu_ns;
        self.user_ns += other.user_ns;
        self.sys_ns += other.sys_ns;
        self.context_switches += other.context_switches;
        self.major_faults += other.major_faults;
    }
}

/// Lets the calling thread run under `SCHED_FIFO`: before all ordinary threads of its core, until it waits.
///
/// # Errors
///
/// `EPERM` without CAP_SYS_NICE and with a lower RLIMIT_RTPRIO; `EINVAL` for a priority other than 1 to 99.
pub fn set_fifo(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority.into() };
    // SAFETY: the kernel reads the parameters from a live local; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_uses_time_and_sleep_does_not() {
        let before = Usage::now();
        let start = std::time::Instant::now();
        // A fixed piece of work: on a busy machine it takes longer, but no more time on a core.
        (0..20_000_000).for_each(|step| {
            std::hint::black_box(step);
        });
        let worked = Usage::now().since(before);
        let most_ns = start.elapsed().as_nanos() as u64 + 20_000_000;
        assert!((1_000_000..=most_ns).contains(&worked.cpu_ns), "{worked:?} of {most_ns} ns");
        let before = Usage::now();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let slept = Usage::now().since(before);
        assert!(slept.cpu_ns < 10_000_000 && slept.context_switches > 0, "{slept:?}");
    }

    #[test]
    fn a_priority_out_of_range_is_refused() {
        assert!(set_fifo(100).is_err());
    }
}
