//! What the calling thread has used, and how it is scheduled.

use std::io;
use std::mem;

/// What a thread has used since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a core, in nanoseconds (`CLOCK_THREAD_CPUTIME_ID`: precise).
    pub cpu_ns: u64,
    /// The part of it in user mode, in nanoseconds. Unless the kernel accounts precisely, this is estimated
    /// by looking where the thread is at each timer tick (`getrusage(2)`).
    pub user_ns: u64,
    /// The part of it in the kernel.
    pub sys_ns: u64,
    /// Context switches: the thread left its core, to wait or because it had to.
    pub context_switches: u64,
    /// Page faults that had to wait for a disk.
    pub major_faults: u64,
}

impl Usage {
    /// What the calling thread has used so far. The clock is read last: an interval can begin here.
    pub fn now() -> Self {
        let usage = Self::estimates();
        Self { cpu_ns: Self::clock_ns(), ..usage }
    }

    /// The same, with the clock read first: an interval can end here.
    pub fn until_now() -> Self {
        let cpu_ns = Self::clock_ns();
        Self { cpu_ns, ..Self::estimates() }
    }

    fn clock_ns() -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes a timespec to a live local. It cannot fail: every Linux has this clock.
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

/// Bits of a word of an affinity mask, which consists of `long`s in the kernel.
const WORD: usize = libc::c_ulong::BITS as usize;

/// More cores than any kernel is built for, and the longest mask.
const CORES_MAX: usize = 1 << 20;

/// The cores on which the calling thread may run, in ascending order: those that are online and in its mask.
///
/// # Errors
///
/// The kernel's, from `sched_getaffinity`.
pub fn affinity() -> io::Result<Vec<usize>> {
    affinity_by(|mask| {
        // SAFETY: the kernel writes at most that many bytes to a live buffer; 0 is the calling thread.
        let written = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(mask), mask.as_mut_ptr()) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    })
}

/// The same, with the call that fills a mask and returns how many bytes it wrote. It refuses a mask that is shorter
/// than the kernel's, as the C library's is with more than 1,024 cores (`sched_getaffinity(2)`).
fn affinity_by(mut call: impl FnMut(&mut [libc::c_ulong]) -> io::Result<usize>) -> io::Result<Vec<usize>> {
    let mut mask = vec![0; 1024 / WORD];
    loop {
        match call(&mut mask) {
            Ok(bytes) => {
                mask.truncate(bytes.div_ceil(size_of::<libc::c_ulong>()));
                let is_set = |core: &usize| mask[core / WORD] >> (core % WORD) & 1 == 1;
                return Ok((0..mask.len() * WORD).filter(is_set).collect());
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && mask.len() * WORD < CORES_MAX => {
                mask = vec![0; 2 * mask.len()];
            }
            Err(error) => return Err(error),
        }
    }
}

/// Lets the calling thread run on one core only.
///
/// # Errors
///
/// The kernel's: `EINVAL` for a core that is offline, or not allowed.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= CORES_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut mask = vec![0; core / WORD + 1];
    mask[core / WORD] = (1 as libc::c_ulong) << (core % WORD);
    // SAFETY: the kernel reads that many bytes of a live buffer, and clears the rest of its own mask.
    let status = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask.as_slice()), mask.as_ptr()) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets the calling thread run wherever the process's first thread may, and the threads that it starts after it.
///
/// # Errors
///
/// The kernel's error.
#[cfg(feature = "runtimes")]
pub(crate) fn roam() -> io::Result<()> {
    // As many bits as Linux has had cores so far, eight times over.
    let mut mask: [libc::c_ulong; 1024] = [0; 1024];
    let first = std::process::id();
    // SAFETY: the kernel writes at most that many bytes to a live local.
    let written = unsafe { libc::syscall(libc::SYS_sched_getaffinity, first, size_of_val(&mask), mask.as_mut_ptr()) };
    if written < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel reads the bytes that it has written.
    match unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, written, mask.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs the calling thread under `SCHED_FIFO`: ahead of all ordinary threads of its core, until it waits.
///
/// # Errors
///
/// `EPERM` without CAP_SYS_NICE if RLIMIT_RTPRIO is lower; `EINVAL` for a priority other than 1 to 99.
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
    fn masks_grow_until_the_kernel_takes_them() {
        // Like a kernel for 8,192 cores.
        let cores = affinity_by(|mask| {
            if size_of_val(mask) < 1024 {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
            [0, 3, 1024, 2047, 8191].into_iter().for_each(|core| mask[core / WORD] |= 1 << (core % WORD));
            Ok(1024)
        });
        assert_eq!(cores.expect("it is long enough"), [0, 3, 1024, 2047, 8191]);
        let refused = affinity_by(|_| Err(io::Error::from_raw_os_error(libc::EINVAL)));
        assert_eq!(refused.expect_err("it refuses all").raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn a_thread_is_pinned_to_a_core_that_there_is() {
        let cores = affinity().expect("the kernel tells");
        let last = *cores.last().expect("one runs this");
        std::thread::spawn(move || {
            pin(last).expect("it is allowed");
            assert_eq!(affinity().expect("the kernel tells"), [last]);
            assert!(pin(100_000).is_err() && pin(usize::MAX).is_err());
        })
        .join()
        .expect("it does not panic");
    }

    #[test]
    fn a_priority_out_of_range_is_refused() {
        assert!(set_fifo(100).is_err());
    }
}
