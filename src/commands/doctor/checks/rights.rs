//! Checks of what this process may do: limits, capabilities, filters.

use hpbench_backends::Pool;
use hpbench_backends::features::Feature;
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

use super::given::has;
use crate::commands::doctor::files::Files;
use crate::commands::doctor::remedy::Remedy;
use crate::commands::doctor::report::{Check, NOTHING, Topic};
use crate::measure::counters::{CountersError, PerfCounters};
use crate::record::preload;

/// About as many frames as a default run has.
const FRAMES: usize = 900;
const FRAME_SIZE: usize = 2048;

/// The capabilities that hpbench can use.
const CAPABILITIES: [(&str, CapabilitySet); 4] = [
    ("cap_net_admin", CapabilitySet::NET_ADMIN),
    ("cap_sys_nice", CapabilitySet::SYS_NICE),
    ("cap_ipc_lock", CapabilitySet::IPC_LOCK),
    ("cap_perfmon", CapabilitySet::PERFMON),
];

pub(super) fn all(files: &Files, features: &[Feature]) -> Vec<Check> {
    vec![
        locked_memory(),
        rt_priority(),
        rt_throttling(files),
        capabilities(),
        perf_counters(files),
        seccomp(files),
        io_uring_disabled(files, has(features, "io_uring")),
        bypasses(files, &preload::environment()),
    ]
}

fn locked_memory() -> Check {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let limit = getrlimit(Resource::Memlock).current.map_or_else(|| "unlimited".to_owned(), mib);
    let pool = match Pool::new(FRAMES, FRAME_SIZE) {
        Ok(pool) => pool,
        Err(error) => {
            let topic = Topic::new("locked_memory", "room for the frames of a run", NOTHING);
            return topic.unknown(format!("no memory for a pool ({error})"));
        }
    };
    let topic = Topic::new("locked_memory", format!("{} or more for frames", mib(pool.bytes() as u64)), NOTHING);
    match pool.lock_error() {
        None => topic.good(format!("frames can be locked (limit {limit})")),
        Some(error) => topic.hint(
            format!("frames cannot be locked: {error} (limit {limit})"),
            "ulimit -l unlimited, as root; or CAP_IPC_LOCK",
        ),
    }
}

/// Preloaded libraries that other programs on this machine send through, and hpbench does not.
fn bypasses(files: &Files, environment: &str) -> Check {
    let topic = Topic::new("bypass_libraries", "none preloaded: hpbench makes its system calls itself", NOTHING);
    match preload::preloaded(environment, &files.text(preload::FOR_ALL).unwrap_or_default()) {
        None => topic.good("none preloaded"),
        Some(libraries) => topic.hint(
            format!("{libraries} is preloaded, and ignored: figures are the kernel's"),
            "unset LD_PRELOAD, or start hpbench without the library's launcher",
        ),
    }
}

fn rt_priority() -> Check {
    let topic = Topic::new("rt_priority", "permitted, for --fifo only", NOTHING);
    // Tried on a thread that ends at once.
    let thread = match std::thread::Builder::new().spawn(|| hpbench_backends::kernel::thread::set_fifo(1)) {
        Ok(thread) => thread,
        Err(error) => return topic.unknown(format!("no thread could be started to try it: {error}")),
    };
    match thread.join() {
        Ok(Ok(())) => topic.good("SCHED_FIFO is permitted"),
        Ok(Err(error)) => {
            let limit = getrlimit(Resource::Rtprio).current.map_or_else(|| "none".into(), |limit| limit.to_string());
            topic.hint(
                format!("SCHED_FIFO is refused: {error} (limit {limit})"),
                "ulimit -r 99, as root; or CAP_SYS_NICE",
            )
        }
        Err(_) => topic.unknown("the thread that tried it ended"),
    }
}

fn rt_throttling(files: &Files) -> Check {
    let topic = Topic::new("rt_throttling", "off (-1), for --fifo only", NOTHING).apart();
    let runtime = "/proc/sys/kernel/sched_rt_runtime_us";
    match (files.number(runtime), files.number("/proc/sys/kernel/sched_rt_period_us")) {
        (Ok(-1), _) => topic.good("off"),
        (Ok(runtime), Ok(period)) => topic.hint(
            format!("real-time threads run for {runtime} of each {period} µs"),
            Remedy::sysctl("kernel.sched_rt_runtime_us", -1),
        ),
        (Err(reason), _) | (_, Err(reason)) => topic.unknown(reason),
    }
}

fn capabilities() -> Check {
    let topic = Topic::new("capabilities", CAPABILITIES.map(|(name, _)| name).join(", "), NOTHING);
    match rustix::thread::capabilities(None) {
        Ok(sets) => judge_capabilities(topic, sets.effective),
        Err(error) => topic.unknown(format!("the kernel does not report it ({error})")),
    }
}

fn judge_capabilities(topic: Topic, effective: CapabilitySet) -> Check {
    let names = |wanted: bool| {
        let names = CAPABILITIES.iter().filter(|(_, set)| effective.contains(*set) == wanted);
        names.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    let (there, lacking) = (names(true), names(false));
    match (there.is_empty(), lacking.is_empty()) {
        (_, true) => topic.good("all that hpbench can use"),
        (true, _) => topic.hint("none that hpbench can use", setcap(&lacking)),
        (false, _) => topic.hint(format!("{} only", there.join(", ")), setcap(&lacking)),
    }
}

fn setcap(names: &[&str]) -> String {
    format!("sudo setcap {}+ep .../hpbench", names.join(","))
}

fn perf_counters(files: &Files) -> Check {
    let topic = Topic::new("perf_counters", "cycles and instructions", NOTHING).apart();
    let error = match PerfCounters::try_open() {
        Ok(_) => return topic.good("they count"),
        Err(error) => error,
    };
    // With one of these the level does not matter.
    let enough = CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN;
    let may = rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.intersects(enough));
    match &error {
        CountersError::Refused(_) => match files.number("/proc/sys/kernel/perf_event_paranoid") {
            Ok(level) if level > 1 && !may => topic.hint(
                format!("{error}; kernel.perf_event_paranoid is {level}"),
                Remedy::sysctl("kernel.perf_event_paranoid", 1).or("CAP_PERFMON"),
            ),
            _ => topic.hint(error.to_string(), "let the container's seccomp filter pass perf_event_open"),
        },
        CountersError::Missing(_) | CountersError::Dead => topic.hint(
            error.to_string(),
            "let the hypervisor give its guest a PMU; else the columns of cycles and instructions stay empty",
        ),
    }
}

fn seccomp(files: &Files) -> Check {
    let topic = Topic::new("seccomp", "no filter: every system call would pass through it", NOTHING);
    let status = match files.text("/proc/self/status") {
        Ok(status) => status,
        Err(reason) => return topic.unknown(reason),
    };
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u32>().ok());
    match (value("Seccomp:"), value("Seccomp_filters:")) {
        (Some(0), _) => topic.good("no filter"),
        (Some(_), count) => {
            let count = count.map_or_else(String::new, |count| format!(" ({count})"));
            topic.hint(
                format!("a filter is in force{count}"),
                "run outside the container (Docker: `--security-opt seccomp=unconfined`)",
            )
        }
        (None, _) => topic.unknown("/proc/self/status does not say"),
    }
}

/// `works`: whether this process has io_uring anyway, as root does if the value is 1.
fn io_uring_disabled(files: &Files, works: bool) -> Check {
    let name = "kernel.io_uring_disabled";
    let topic = Topic::new(name, "0", NOTHING).apart();
    match files.number("/proc/sys/kernel/io_uring_disabled") {
        Ok(0) => topic.good("0"),
        Ok(value) if works => topic.good(format!("{value}, but not for this process")),
        Ok(value) => topic.hint(value.to_string(), Remedy::sysctl(name, 0)),
        Err(_) if works => topic.good("no such switch here, and io_uring works"),
        Err(reason) => topic.unknown(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::files::Fixture;

    #[test]
    fn the_switch_of_io_uring_counts_for_this_process() {
        let check = |value, works| {
            let path = "/proc/sys/kernel/io_uring_disabled";
            io_uring_disabled(&Fixture::new(&[(path, value)]).files(), works)
        };
        assert_eq!(check("0\n", true).ok, Some(true));
        assert!(check("2\n", false).is_bad());
        assert_eq!(check("1\n", true).ok, Some(true), "root may");
        let none = Fixture::new(&[]).files();
        assert_eq!([io_uring_disabled(&none, true).ok, io_uring_disabled(&none, false).ok], [Some(true), None]);
    }

    #[test]
    fn a_preloaded_bypass_is_named() {
        let check = |environment, file| bypasses(&Fixture::new(&[(preload::FOR_ALL, file)]).files(), environment);
        assert_eq!(check("", "").ok, Some(true));
        let found = check("/lib/libvma.so", "libonload.so\n");
        assert!(found.is_bad() && found.affects.is_empty(), "{found:?}");
        assert!(found.state.contains("libvma.so (LD_PRELOAD), libonload.so (/etc/ld.so.preload)"), "{}", found.state);
    }

    #[test]
    fn a_filter_is_seen() {
        let check = |status| seccomp(&Fixture::new(&[("/proc/self/status", status)]).files());
        assert_eq!(check("Seccomp:\t0\n").ok, Some(true));
        assert_eq!(check("Seccomp:\t2\nSeccomp_filters:\t3\n").state, "a filter is in force (3)");
        assert_eq!(check("Name:\tx\n").ok, None);
    }

    #[test]
    fn missing_capabilities_are_named_in_the_command() {
        let judge = |set| judge_capabilities(Topic::new("capabilities", "all", NOTHING), set);
        assert_eq!(judge(CapabilitySet::all()).ok, Some(true));
        let check = judge(CapabilitySet::NET_ADMIN | CapabilitySet::IPC_LOCK);
        assert_eq!(check.state, "cap_net_admin, cap_ipc_lock only");
        assert_eq!(check.mend().as_deref(), Some("sudo setcap cap_sys_nice,cap_perfmon+ep .../hpbench"));
        assert_eq!(judge(CapabilitySet::empty()).state, "none that hpbench can use");
    }

    #[test]
    fn throttling_is_told_in_microseconds() {
        let check = |runtime| {
            let kernel = "/proc/sys/kernel";
            let fixture = Fixture::new(&[
                (&format!("{kernel}/sched_rt_runtime_us"), runtime),
                (&format!("{kernel}/sched_rt_period_us"), "1000000\n"),
            ]);
            rt_throttling(&fixture.files())
        };
        assert_eq!(check("-1\n").ok, Some(true));
        assert!(check("950000\n").is_apart, "few runs have --fifo");
        assert_eq!(check("950000\n").state, "real-time threads run for 950000 of each 1000000 µs");
        assert_eq!(rt_throttling(&Fixture::new(&[]).files()).ok, None);
    }
}
