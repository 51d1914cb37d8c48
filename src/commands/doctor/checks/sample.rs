//! A short look at the worker's core: whether anything disturbs it.

use std::time::{Duration, Instant};

use super::given::Chosen;
use crate::commands::doctor::files::Files;
use crate::commands::doctor::report::{BOTH, Check, LATENCY, Topic};
use crate::gates::{self, STEAL_MAX_PCT, STEAL_MIN_TICKS, Watched};
use crate::measure::cost::{Disturbance, Watch};
use crate::measure::kthreads;
use crate::plan::cores;
use crate::record::environment::Environment;

/// The core is watched as in a trial: in windows of this length, …
const WINDOW: Duration = Duration::from_millis(10);
/// … of which there are this many. Stolen time is reported in ticks of 10 ms.
const WINDOWS: usize = 60;

/// If more of the windows than this are disturbed, in percent, a run takes more than twice as long, and may end early.
const DISTURBED_MAX_PCT: f64 = 50.0;
/// If more than this are, it takes noticeably longer.
const DISTURBED_SOME_PCT: f64 = 10.0;

/// What happened on a core while a thread just used it.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    /// Device interrupts on it, or why they are not known.
    pub(super) interrupts: Result<Vec<Interrupt>, String>,
    disturbance: Disturbance,
    /// The share of the windows, in percent, in which another thread had the core so long that a trial would be
    /// repeated.
    disturbed_pct: Option<f64>,
}

/// A device interrupt that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interrupt {
    pub(super) number: u32,
    pub(super) name: String,
    /// How often.
    pub(super) count: u64,
}

impl Sample {
    /// Keeps a core busy for a while, like a worker.
    pub(super) fn take(files: &Files, core: usize) -> Result<Self, String> {
        let files = files.clone();
        let thread = std::thread::Builder::new().spawn(move || {
            cores::pin(core).map_err(|error| error.to_string())?;
            let before = files.text("/proc/interrupts");
            let (watch, start) = (Watch::begin(&[core]), Instant::now());
            let windows: Option<Vec<bool>> = (0..WINDOWS).map(|_| window()).collect();
            let share = |windows: Vec<bool>| 100.0 * windows.iter().filter(|is| **is).count() as f64 / WINDOWS as f64;
            let disturbed_pct = windows.map(share);
            let disturbance = watch.end();
            let seconds = start.elapsed().as_secs_f64();
            let after = files.text("/proc/interrupts");
            let interrupts = before.and_then(|before| difference(&before, &after?, core));
            Ok(Self { seconds, interrupts, disturbance, disturbed_pct })
        });
        let thread = thread.map_err(|error| format!("no thread could be started to watch it: {error}"))?;
        thread.join().unwrap_or_else(|_| Err("the watching thread ended".into()))
    }
}

/// Keeps the core busy for as long as a trial does. Returns whether one would have been disturbed.
fn window() -> Option<bool> {
    let (before, start) = (kthreads::run_delay_ns()?, Instant::now());
    while start.elapsed() < WINDOW {
        std::hint::spin_loop();
    }
    let (delay_ns, took) = (kthreads::run_delay_ns()?.saturating_sub(before), start.elapsed());
    let watched = Watched {
        run_delay_ns: delay_ns,
        run_delay_pct: 100.0 * delay_ns as f64 / took.as_nanos() as f64,
        ..Watched::default()
    };
    Some(gates::disturbances(watched).next().is_some())
}

/// The device interrupts that arrived on a core between two readings of `/proc/interrupts`.
fn difference(before: &str, after: &str, core: usize) -> Result<Vec<Interrupt>, String> {
    let (before, after) = (device_interrupts(before, core), device_interrupts(after, core));
    let (Some(before), Some(after)) = (before, after) else {
        return Err(format!("/proc/interrupts has no column for core {core}"));
    };
    let since = |mut irq: Interrupt| {
        let earlier = before.iter().find(|earlier| earlier.number == irq.number);
        irq.count -= earlier.map_or(0, |earlier| earlier.count).min(irq.count);
        irq
    };
    Ok(after.into_iter().map(since).filter(|irq| irq.count > 0).collect())
}

/// The lines with a number; others are the timer's, and interrupts between cores.
fn device_interrupts(text: &str, core: usize) -> Option<Vec<Interrupt>> {
    let mut lines = text.lines();
    let column = lines.next()?.split_whitespace().position(|name| name == format!("CPU{core}"))?;
    let interrupt = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        let count = rest.split_whitespace().nth(column)?.parse().ok()?;
        let name = rest.split_whitespace().last().unwrap_or_default().to_owned();
        Some(Interrupt { number: number.trim().parse().ok()?, name, count })
    };
    Some(lines.filter_map(interrupt).collect())
}

pub(super) fn all(
    files: &Files,
    chosen: Option<&Chosen>,
    sample: Result<&Sample, &String>,
    environment: &Environment,
) -> Vec<Check> {
    vec![virtualization(files, environment), steal(files, chosen, sample), other_programs(chosen, sample)]
}

fn virtualization(files: &Files, environment: &Environment) -> Check {
    const CONTAINERS: [&str; 9] =
        ["docker", "podman", "lxc", "lxc-libvirt", "systemd-nspawn", "openvz", "rkt", "oci", "container-other"];
    let topic = Topic::new("virtualization", "none", LATENCY);
    let virt = environment.virt.as_str();
    let is_container = virt.split(' ').next().is_some_and(|name| CONTAINERS.contains(&name));
    match virt {
        "" => topic.unknown("the kernel does not report it"),
        "none" => topic.good("none"),
        _ if is_container && shows_hypervisors(&files.text("/proc/cpuinfo").unwrap_or_default()) => {
            topic.good(format!("{virt}, without a hypervisor"))
        }
        _ if is_container => topic.unknown(format!("{virt}; there may also be a hypervisor")),
        _ => topic.bad(virt, "measure latency on a machine without a hypervisor, which pauses its guests unseen"),
    }
}

/// Whether a hypervisor would have been seen: on x86, the processor's flags show it.
fn shows_hypervisors(cpuinfo: &str) -> bool {
    cpuinfo.lines().any(|line| line.split(':').next().is_some_and(|key| key.trim() == "flags"))
}

fn steal(files: &Files, chosen: Option<&Chosen>, sample: Result<&Sample, &String>) -> Check {
    let topic = Topic::new("steal", format!("at most {STEAL_MAX_PCT}% of the time taken by the host"), BOTH);
    let sample = match sample {
        Ok(sample) => sample,
        Err(reason) => return topic.unknown(reason),
    };
    let Disturbance { steal_ticks: Some(ticks), steal_pct, .. } = sample.disturbance else {
        return topic.unknown("/proc/stat does not say");
    };
    let since_boot = files.text("/proc/stat").ok().and_then(|stat| steal_since_boot(&stat, chosen?.worker));
    let since_boot = since_boot.map_or_else(String::new, |pct| format!("; {pct:.1}% of its work since boot"));
    let state = format!("{steal_pct:.1}% in {:.1} s{since_boot}", sample.seconds);
    match ticks >= STEAL_MIN_TICKS && steal_pct > STEAL_MAX_PCT {
        true => topic.bad(state, "wait until the host is less busy, or use a machine with cores of its own"),
        false => topic.good(state),
    }
}

/// Stolen time since boot, in percent of the time in which the core had work.
fn steal_since_boot(stat: &str, core: usize) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} ")))?;
    let values: Vec<f64> = line.split_whitespace().filter_map(|value| value.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in user's.
    let first = values.first_chunk::<8>()?;
    let work = first.iter().sum::<f64>() - first[3] - first[4];
    (work > 0.0).then(|| 100.0 * first[7] / work)
}

fn other_programs(chosen: Option<&Chosen>, sample: Result<&Sample, &String>) -> Check {
    let wanted = format!("in at most {DISTURBED_SOME_PCT}% of trials on the worker's core");
    let topic = Topic::new("other_programs", wanted, BOTH);
    let (sample, chosen) = match (sample, chosen) {
        (Ok(sample), Some(chosen)) => (sample, chosen),
        (Err(reason), _) => return topic.unknown(reason),
        (_, None) => return topic.unknown("no core was chosen"),
    };
    let Some(disturbed_pct) = sample.disturbed_pct else {
        return topic.unknown("there is no /proc/thread-self/schedstat");
    };
    let pct = sample.disturbance.run_delay_pct;
    let state = format!(
        "would disturb {disturbed_pct:.0}% of trials ({pct:.1}% of {:.1} s on core {})",
        sample.seconds, chosen.worker
    );
    let remedy =
        "end other programs (see `top`), or keep them off this core with `taskset`; --wait-quiet 60 waits for quiet";
    match disturbed_pct {
        pct if pct > DISTURBED_MAX_PCT => topic.bad(state, remedy),
        pct if pct > DISTURBED_SOME_PCT => topic.hint(state, remedy),
        _ => topic.good(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::files::Fixture;

    #[test]
    fn device_interrupts_are_counted_on_one_core() {
        let text = |first, second| {
            format!(
                "           CPU0       CPU2\n  24:  5  {first}  IO-APIC 5-edge  ACPI:Ged\n 36:  0  {second} PCI-MSIX-0 1-edge  \
                 virtio1-req.0\n LOC: 7 9 Local timer interrupts\nERR: 0\n"
            )
        };
        let fired = difference(&text(1, 10), &text(1, 45), 2).expect("there is such a column");
        assert_eq!(fired, [Interrupt { number: 36, name: "virtio1-req.0".into(), count: 35 }]);
        assert!(difference(&text(1, 10), &text(1, 45), 1).is_err_and(|why| why.contains("core 1")));
        assert!(difference("", "", 0).is_err());
    }

    #[test]
    fn stolen_time_is_a_share_of_the_work() {
        let stat = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu1 50 0 20 900 30 5 5 20 0 0\ncpu10 1 2 3\n";
        assert_eq!(steal_since_boot(stat, 1), Some(20.0));
        assert_eq!([steal_since_boot(stat, 10), steal_since_boot(stat, 7)], [None, None]);
    }

    #[test]
    fn a_container_is_no_hypervisor() {
        let x86 = Fixture::new(&[("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse\n")]);
        let arm = Fixture::new(&[("/proc/cpuinfo", "processor\t: 0\nFeatures\t: fp\n")]);
        let ok = |virt: &str, machine: &Fixture| {
            virtualization(&machine.files(), &Environment { virt: virt.into(), ..Environment::default() }).ok
        };
        assert_eq!([ok("none", &x86), ok("docker", &x86)], [Some(true); 2]);
        assert_eq!([ok("kvm", &x86), ok("kvm docker", &arm)], [Some(false); 2]);
        assert_eq!([ok("", &x86), ok("docker", &arm), ok("docker", &Fixture::new(&[]))], [None; 3]);
    }

    #[test]
    fn a_busy_core_and_a_stolen_one_are_told_apart() {
        let sample = |disturbed_pct, steal_ticks, steal_pct| Sample {
            seconds: 1.0,
            interrupts: Ok(Vec::new()),
            disturbed_pct: Some(disturbed_pct),
            disturbance: Disturbance { run_delay_ns: Some(1), steal_ticks, steal_pct, ..Disturbance::default() },
        };
        let chosen = Chosen { worker: 1, generators: vec![0], allowed: vec![0, 1] };
        let both = |sample: &Sample| {
            let files = Fixture::new(&[]).files();
            [steal(&files, Some(&chosen), Ok(sample)).ok, other_programs(Some(&chosen), Ok(sample)).ok]
        };
        assert_eq!(both(&sample(5.0, Some(0), 0.0)), [Some(true), Some(true)]);
        assert_eq!(both(&sample(60.0, Some(1), 2.5)), [Some(true), Some(false)], "one tick is no proof");
        let some = other_programs(Some(&chosen), Ok(&sample(40.0, Some(0), 0.0)));
        assert!(some.is_bad() && some.affects.is_empty(), "{some:?}");
        assert_eq!(both(&sample(0.0, Some(3), 7.5)), [Some(false), Some(true)]);
        assert_eq!(both(&sample(0.0, None, 0.0))[0], None);
        assert_eq!(steal(&Files::new(), Some(&chosen), Err(&"x".to_owned())).ok, None);
    }
}
