//! What else runs on the cores of a run: how busy they are, and with what.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

/// A core that others use for more of the time than this, in percent, is busy.
pub const BUSY_PCT: f64 = 5.0;

/// How many programs are named.
const NAMED_MAX: usize = 3;

/// What was seen of some cores for a while in which this process did nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Each core with the share of its time that it was busy, in percent.
    pub cores: Vec<(usize, f64)>,
    /// The programs that used the most CPU time, on any core, each with its share of one core, in percent.
    pub programs: Vec<(String, f64)>,
}

impl Look {
    /// Looks at `cores` for the time `within`. `None` if the kernel reports nothing.
    pub fn take(cores: &[usize], within: Duration) -> Option<Self> {
        let (start, before) = (Instant::now(), Times::read(cores)?);
        std::thread::sleep(within);
        let after = Times::read(cores)?;
        Some(Self::between(&before, &after, start.elapsed()))
    }

    fn between(before: &Times, after: &Times, elapsed: Duration) -> Self {
        let core = |(core, (busy, all)): (&usize, &(u64, u64))| {
            let earlier = before.cores.get(core).copied().unwrap_or_default();
            let passed = all.saturating_sub(earlier.1).max(1);
            (*core, 100.0 * busy.saturating_sub(earlier.0) as f64 / passed as f64)
        };
        let mut cores: Vec<(usize, f64)> = after.cores.iter().map(core).collect();
        cores.sort_by_key(|(core, _)| *core);
        let ticks = elapsed.as_secs_f64() * rustix::param::clock_ticks_per_second() as f64;
        let mut programs: HashMap<&str, f64> = HashMap::new();
        for (process, (name, used)) in &after.processes {
            let earlier = before.processes.get(process).map_or(0, |(_, used)| *used);
            *programs.entry(name).or_default() += used.saturating_sub(earlier) as f64;
        }
        let share = |(name, used): (&str, f64)| (name.to_owned(), 100.0 * used / ticks.max(1.0));
        let mut programs: Vec<(String, f64)> = programs.into_iter().map(share).collect();
        programs.retain(|(_, pct)| *pct >= BUSY_PCT);
        programs.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        programs.truncate(NAMED_MAX);
        Self { cores, programs }
    }

    /// Whether no core is busy.
    pub fn is_quiet(&self) -> bool {
        self.cores.iter().all(|(_, pct)| *pct <= BUSY_PCT)
    }
}

/// Which cores are busy, and with what, as in `core 1 is 37% busy (rustc 62%, cc1 30%)`.
impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let busy: Vec<_> = self.cores.iter().filter(|(_, pct)| *pct > BUSY_PCT).collect();
        if busy.is_empty() {
            return f.write_str("the cores are quiet");
        }
        for (at, (core, pct)) in busy.iter().enumerate() {
            write!(f, "{}core {core} is {pct:.0}% busy", if at > 0 { ", " } else { "" })?;
        }
        let programs: Vec<String> = self.programs.iter().map(|(name, pct)| format!("{name} {pct:.0}%")).collect();
        if programs.is_empty() { Ok(()) } else { write!(f, " ({})", programs.join(", ")) }
    }
}

/// What the kernel has counted so far, in ticks.
#[derive(Debug, Default)]
struct Times {
    /// For each core, its busy time and its total time.
    cores: HashMap<usize, (u64, u64)>,
    /// For each process but this one, its name and its time.
    processes: HashMap<u32, (String, u64)>,
}

impl Times {
    fn read(cores: &[usize]) -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let own = std::process::id();
        let entries = std::fs::read_dir("/proc").ok()?.flatten();
        let process = |entry: std::fs::DirEntry| {
            let number: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            (number != own).then(|| Some((number, process(&stat)?)))?
        };
        let found = core_times(&stat, cores);
        (found.len() == cores.len()).then(|| Self { cores: found, processes: entries.filter_map(process).collect() })
    }
}

/// The lines of cores in `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
fn core_times(stat: &str, cores: &[usize]) -> HashMap<usize, (u64, u64)> {
    let core = |line: &str| {
        let (name, numbers) = line.split_once(' ')?;
        let core: usize = name.strip_prefix("cpu")?.parse().ok()?;
        let times: Vec<u64> = numbers.split_whitespace().take(8).filter_map(|number| number.parse().ok()).collect();
        let all: u64 = times.iter().sum();
        let idle = times.get(3)? + times.get(4)?;
        cores.contains(&core).then_some((core, (all - idle, all)))
    };
    stat.lines().filter_map(core).collect()
}

/// Name and time of a process in its `stat`: `pid (name) state …`, where the name may hold anything.
fn process(stat: &str) -> Option<(String, u64)> {
    let (start, rest) = stat.rsplit_once(')')?;
    let name = start.split_once('(')?.1;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some((name.to_owned(), next()? + next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_else_runs_is_named_with_its_share() {
        let stat = |busy: u64, idle: u64| {
            format!("cpu  9 9\ncpu0 0 0 0 {idle} 0 0 0 0 0 0\ncpu1 {busy} 0 1 {idle} 2 0 0 0 0 0\n")
        };
        let times = |busy: u64, idle: u64, rustc: u64| Times {
            cores: core_times(&stat(busy, idle), &[0, 1]),
            processes: [(7, ("rustc".to_owned(), rustc)), (8, ("idle".to_owned(), 3))].into(),
        };
        let (before, after) = (times(10, 100, 5), times(40, 170, 37));
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let look = Look::between(&before, &after, Duration::from_secs_f64(100.0 / ticks));
        assert_eq!(look.cores, [(0, 0.0), (1, 30.0)]);
        assert_eq!(look.programs, [("rustc".to_owned(), 32.0)]);
        assert_eq!(look.to_string(), "core 1 is 30% busy (rustc 32%)");
        assert!(!look.is_quiet() && Look::default().is_quiet());
    }

    #[test]
    fn names_of_processes_may_hold_anything() {
        let stat = "42 (a) (b c) S 1 1 1 0 -1 4194560 1 2 3 4 500 60 7 8 20 0 1 0 5 6";
        assert_eq!(process(stat), Some(("a) (b c".into(), 560)));
        assert_eq!(process("42 (x"), None);
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let Some(look) = Look::take(&[0], Duration::from_millis(30)) else {
            return crate::fixtures::skip("proc", "there is no /proc/stat");
        };
        assert!(look.cores.len() == 1 && (0.0..=100.0).contains(&look.cores[0].1), "{look:?}");
    }
}
