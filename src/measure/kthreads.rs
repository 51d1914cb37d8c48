//! What the kernel reports about threads and cores: those that work for a backend, waiting for a core, and stolen time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Threads in this process that work for a backend: the kernel's for io_uring, and smol's for its reactor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KernelThreads {
    /// CPU time of all of them.
    pub cpu_ns: u64,
    /// How many of them are io-wq workers, which run requests that would block.
    pub io_workers: u64,
}

/// The threads of io_uring in this process: io-wq workers (`iou-wrk-…`) and SQPOLL threads (`iou-sqp-…`); and the thread of
/// async-io, which has smol's reactor while nobody else waits for it.
///
/// A worker that ends takes its CPU time with it, so a later sum may be less than an earlier one. The kernel
/// brings the time of a thread that runs up to date at its ticks only, every few milliseconds.
pub fn kernel_threads() -> KernelThreads {
    sum_threads(Path::new("/proc/self/task"))
}

fn sum_threads(tasks: &Path) -> KernelThreads {
    let mut sum = KernelThreads::default();
    // A thread that ends meanwhile has no files any more, and is left out.
    for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let comm = read("comm");
        let is_worker = comm.starts_with("iou-wrk-");
        if is_worker || comm.starts_with("iou-sqp-") || comm == "async-io\n" {
            sum.cpu_ns += number(&read("schedstat"), 0).unwrap_or(0);
            sum.io_workers += u64::from(is_worker);
        }
    }
    sum
}

/// How long the calling thread has waited, ready to run, for a core so far. `None` if the kernel does not report it.
pub fn run_delay_ns() -> Option<u64> {
    number(&fs::read_to_string("/proc/thread-self/schedstat").ok()?, 1)
}

/// The time for which the hypervisor kept these cores from running so far, in ticks of [`user_hz`] per second.
/// `None` unless the kernel reports it for each of them.
pub fn steal_ticks(cpus: &[usize]) -> Option<u64> {
    parse_steal(&fs::read_to_string("/proc/stat").ok()?, cpus)
}

fn parse_steal(stat: &str, cpus: &[usize]) -> Option<u64> {
    let steal = |cpu: &usize| {
        let name = format!("cpu{cpu}");
        let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
        let (_, values) = lines.find(|(found, _)| *found == name)?;
        // user, nice, system, idle, iowait, irq, softirq, steal
        number(values, 7)
    };
    cpus.iter().map(steal).sum()
}

/// Stolen time of these cores so far, as in [`steal_ticks`], and the softirqs of all. `/proc/stat` takes a millisecond where
/// there are hundreds of cores, so it is read once.
pub fn cores_now(cpus: &[usize]) -> (Option<u64>, Softirqs) {
    let Ok(stat) = fs::read_to_string("/proc/stat") else { return Default::default() };
    let softirqs = fs::read_to_string("/proc/softirqs").unwrap_or_default();
    (parse_steal(&stat, cpus), Softirqs::parse(&stat, &softirqs))
}

/// Time that each core has spent in softirqs so far, and how many of them have received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Softirqs {
    /// By the number of the core.
    cores: BTreeMap<usize, Softirq>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Softirq {
    /// Time, in ticks of [`user_hz`] per second: the seventh number of a core in `/proc/stat`.
    ticks: u64,
    /// Runs of `NET_RX` in `/proc/softirqs`.
    receives: u64,
}

impl Softirqs {
    fn parse(stat: &str, softirqs: &str) -> Self {
        let mut lines = softirqs.lines();
        let cores = lines.next().unwrap_or_default().split_ascii_whitespace();
        let cores = cores.map(|name| name.strip_prefix("CPU").and_then(|core| core.parse().ok()));
        let receives = lines.find_map(|line| line.trim_start().strip_prefix("NET_RX:")).unwrap_or_default();
        let receives = receives.split_ascii_whitespace().map(|count| count.parse().ok());
        let receives: BTreeMap<usize, u64> =
            cores.zip(receives).filter_map(|(core, count)| Some((core?, count?))).collect();
        let of_line = |line: &str| {
            let (name, values) = line.split_once(' ')?;
            let core = name.strip_prefix("cpu")?.parse().ok()?;
            // user, nice, system, idle, iowait, irq, softirq
            Some((core, Softirq { ticks: number(values, 6)?, receives: *receives.get(&core)? }))
        };
        Self { cores: stat.lines().filter_map(of_line).collect() }
    }

    /// Ticks since `before` on the cores that received. Those with less than a hundredth of the receives are left out: what
    /// they did has nothing to do with the load. `None` if no core received, or the kernel does not report it.
    pub fn ticks_since(&self, before: &Self) -> Option<u64> {
        let rise = |(core, now): (&usize, &Softirq)| {
            let before = before.cores.get(core)?;
            Some((now.receives.saturating_sub(before.receives), now.ticks.saturating_sub(before.ticks)))
        };
        let rises: Vec<(u64, u64)> = self.cores.iter().filter_map(rise).collect();
        let receives: u64 = rises.iter().map(|(receives, _)| receives).sum();
        let receiving = rises.iter().filter(|(own, _)| own.saturating_mul(100) >= receives);
        (receives > 0).then(|| receiving.map(|(_, ticks)| ticks).sum())
    }
}

/// The kernel's ticks per second, as in `/proc/stat`.
pub fn user_hz() -> u64 {
    rustix::param::clock_ticks_per_second()
}

/// The number at a place in a list separated by spaces.
fn number(text: &str, at: usize) -> Option<u64> {
    text.split_ascii_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_work_for_a_backend_are_told_by_their_names() {
        let tasks = tempfile::tempdir().expect("a temporary directory");
        let thread = |tid: &str, files: &[(&str, &str)]| {
            fs::create_dir(tasks.path().join(tid)).expect("a directory");
            for (name, text) in files {
                fs::write(tasks.path().join(tid).join(name), text).expect("a file");
            }
        };
        thread("1", &[("comm", "hpbench\n"), ("schedstat", "1000 1 1\n")]);
        thread("2", &[("comm", "iou-wrk-1\n"), ("schedstat", "200 7 3\n")]);
        thread("3", &[("comm", "iou-sqp-1\n"), ("schedstat", "30 7 3\n")]);
        thread("4", &[("comm", "iou-wrk-1\n"), ("schedstat", "4 7 3\n")]);
        thread("5", &[("comm", "iou-wrk-1\n")]);
        thread("7", &[("comm", "async-io\n"), ("schedstat", "5000 7 3\n")]);
        thread("6", &[]);
        assert_eq!(sum_threads(tasks.path()), KernelThreads { cpu_ns: 5234, io_workers: 3 });
        assert_eq!(sum_threads(Path::new("/nonexistent")), KernelThreads::default());
    }

    #[test]
    fn waiting_is_told_per_thread_where_the_kernel_tells_it() {
        assert_eq!((number("10 20 3\n", 0), number("10 20 3\n", 1), number("", 1)), (Some(10), Some(20), None));
        let tells = Path::new("/proc/thread-self/schedstat").exists();
        assert_eq!(run_delay_ns().is_some(), tells);
    }

    #[test]
    fn stolen_time_is_summed_over_the_cores_asked_for() {
        let stat = "cpu  1 2 3 4 5 6 7 99 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 1 1 1 1 1 1 1 20 0 0\n\
            cpu10 1 1 1 1 1 1 1 300 0 0\nintr 1\n";
        assert_eq!(parse_steal(stat, &[0, 10]), Some(308));
        assert_eq!(parse_steal(stat, &[1]), Some(20));
        assert_eq!(parse_steal(stat, &[]), Some(0));
        assert_eq!(parse_steal(stat, &[0, 2]), None, "no such core");
        assert_eq!(parse_steal("cpu0 1 2 3 4\n", &[0]), None, "before Linux 2.6.11");
        assert!(steal_ticks(&[usize::MAX]).is_none());
    }

    #[test]
    fn softirqs_count_on_the_cores_that_receive() {
        let stat = |ticks: [u64; 3]| {
            let line = |core: usize| format!("cpu{core} 1 2 3 4 5 6 {} 8 0 0\n", ticks[core]);
            format!("cpu  1 2 3 4 5 6 999 8 0 0\n{}{}{}intr 1\n", line(0), line(1), line(2))
        };
        let softirqs = |receives: [u64; 3]| {
            let [a, b, c] = receives;
            format!("                CPU0   CPU1  CPU2\n  NET_TX: 5 5 5\n  NET_RX: {a} {b} {c}\n   SCHED: 9 9 9\n")
        };
        let at = |ticks, receives| Softirqs::parse(&stat(ticks), &softirqs(receives));
        let before = at([10, 20, 30], [1000, 1000, 1000]);
        assert_eq!(at([15, 27, 90], [1500, 1500, 1009]).ticks_since(&before), Some(12), "core 2 did something else");
        assert_eq!(at([15, 27, 90], [1500, 1500, 1011]).ticks_since(&before), Some(72));
        assert_eq!(at([15, 27, 90], [1000; 3]).ticks_since(&before), None, "nothing was received");
        assert_eq!(Softirqs::parse("", "").ticks_since(&before), None);
        assert_eq!(Softirqs::parse(&stat([1; 3]), "CPU0\n").cores.len(), 0);
        assert_eq!(Softirqs::parse("cpu1 1 2 3 4 5 6 7\ncpux 1\ncpu7 1\n", &softirqs([1; 3])).cores.len(), 1);
    }

    #[test]
    fn a_tick_is_a_sane_part_of_a_second() {
        assert!((10..=10_000).contains(&user_hz()), "{}", user_hz());
    }
}
