//! Checks of the cores that a run would use, and of what else runs on them.

use std::path::Path;

use super::given::{Chosen, list};
use super::sample::Sample;
use crate::commands::doctor::files::Files;
use crate::commands::doctor::remedy::Remedy;
use crate::commands::doctor::report::{BOTH, Check, LATENCY, NOTHING, Topic};
use crate::measure::transfer::core_transfer_ns;
use crate::plan::cgroup;
use crate::plan::topology::kind_of;

/// The rate of device interrupts on the worker's core, per second, from which latency suffers. Each takes a few
/// microseconds, so fewer disturb less than one datagram in a thousand.
const INTERRUPTS_PER_S_MAX: f64 = 100.0;

pub(super) fn all(files: &Files, chosen: &Chosen, sample: Result<&Sample, &String>) -> Vec<Check> {
    vec![
        cores(chosen),
        smt_siblings(files, chosen),
        core_kinds(files, chosen),
        isolated(files, chosen),
        interrupts(files, chosen, sample),
        numa(files, chosen),
        quota(files, chosen),
        distance(files, chosen, core_transfer_ns),
    ]
}

pub(super) fn topic() -> Topic {
    Topic::new("cores", "one for the worker, and one for a generator", BOTH)
}

fn cores(chosen: &Chosen) -> Check {
    match chosen.generators.as_slice() {
        [] => topic().bad(
            format!("only core {} is allowed", chosen.worker),
            "allow more cores: `taskset`, the container's cpuset; until then only drain and send run",
        ),
        generators => topic().good(format!("worker on {}, generators on {}", chosen.worker, sorted(generators))),
    }
}

fn sorted(cores: &[usize]) -> String {
    let mut cores = cores.to_vec();
    cores.sort_unstable();
    list(&cores)
}

/// The most cores whose distance is measured: each takes a few milliseconds.
const MEASURED_MAX: usize = 16;

/// A core that is nearer by this factor is a better choice.
const NEARER: f64 = 1.5;

/// How long a cache line takes between the worker's core and others: which pair a run should use. In a virtual
/// machine whose cores are moved, that changes within minutes.
fn distance(files: &Files, chosen: &Chosen, transfer_ns: impl Fn(usize, usize) -> Option<f64>) -> Check {
    let topic = Topic::new("core_distance", "the generator's core near the worker's", NOTHING);
    let Some(&generator) = chosen.generators.first() else { return topic.good("there is only one core") };
    let worker = chosen.worker;
    let Some(ns) = transfer_ns(worker, generator) else {
        return topic.unknown(format!("cores {worker} and {generator} are too busy to measure it"));
    };
    let siblings = files.topology().siblings(worker);
    let others =
        chosen.allowed.iter().filter(|core| **core != worker && **core != generator && !siblings.contains(core));
    let measured = others.take(MEASURED_MAX).filter_map(|&core| Some((core, transfer_ns(worker, core)?)));
    let nearest = measured.min_by(|a, b| a.1.total_cmp(&b.1));
    let state = format!("a cache line takes {ns:.0} ns between cores {worker} and {generator}");
    match nearest.filter(|(_, nearest)| nearest * NEARER < ns) {
        Some((core, nearest)) => topic.hint(
            format!("{state}, and {nearest:.0} ns between {worker} and {core}"),
            format!("--cpu {worker} --generator-cpu {core}"),
        ),
        None => topic.good(format!("{state}: no other core is much nearer")),
    }
}

/// Two threads on one core compete for its units.
fn smt_siblings(files: &Files, chosen: &Chosen) -> Check {
    let topic = Topic::new("smt_siblings", "no other thread on the worker's core", BOTH);
    let worker = chosen.worker;
    let path = format!("/sys/devices/system/cpu/cpu{worker}/topology/thread_siblings_list");
    let siblings: Vec<usize> = match files.cores(&path) {
        Ok(siblings) => siblings.into_iter().filter(|&core| core != worker).collect(),
        Err(reason) => return topic.unknown(reason),
    };
    let used = |core: &usize| siblings.contains(core);
    if siblings.is_empty() {
        return topic.good(format!("core {worker} has none"));
    }
    let off = Remedy::write("/sys/devices/system/cpu/smt/control", "off");
    if chosen.generators.first().is_some_and(used) {
        return topic.bad(format!("{worker} and {} are two threads of one core", chosen.generators[0]), off);
    }
    let others: Vec<usize> = chosen.generators.iter().copied().filter(|core| !used(core)).collect();
    if others.len() < chosen.generators.len() {
        let state = format!("worker {worker} has the sibling {}, which flood's generators use", sorted(&siblings));
        let named: Vec<String> = others.iter().map(usize::to_string).collect();
        return topic.hint(state, off.or(format!("--generator-cpu {}", named.join(","))));
    }
    topic.good(format!("worker {worker} has the sibling {}, which a run leaves alone", sorted(&siblings)))
}

/// On a slower core, a generator offers less and a worker costs more.
fn core_kinds(files: &Files, chosen: &Chosen) -> Check {
    let topic = Topic::new("core_kinds", "worker and generator on cores of one kind", BOTH);
    if files.names("/sys/devices/system/cpu").is_empty() {
        return topic.unknown("there is no /sys/devices/system/cpu");
    }
    let kinds = files.topology().kinds(&chosen.allowed);
    let name = |core| kind_of(&kinds, core).map_or("unknown", |kind| &kind.name);
    let shown =
        || kinds.iter().map(|kind| format!("{} {}", kind.name, list(&kind.cores))).collect::<Vec<_>>().join(", ");
    match chosen.generators.first() {
        _ if kinds.len() < 2 => topic.good("all allowed cores are alike"),
        Some(&core) if name(core) != name(chosen.worker) => topic.bad(
            format!(
                "worker {} is {}, generator {core} is {}; {}",
                chosen.worker,
                name(chosen.worker),
                name(core),
                shown()
            ),
            "name cores of one kind with --cpu and --generator-cpu, or allow more of that kind (`taskset`)",
        ),
        _ => topic.good(format!("a run uses {} ones; {}", name(chosen.worker), shown())),
    }
}

fn isolated(files: &Files, chosen: &Chosen) -> Check {
    let topic = Topic::new("isolated_cores", "the cores of a run, for latencies beyond p99.9", NOTHING);
    // A kernel without the option `nohz_full` may not have the file.
    let tickless = files.cores("/sys/devices/system/cpu/nohz_full").unwrap_or_default();
    let isolated = match files.cores("/sys/devices/system/cpu/isolated") {
        Ok(isolated) => isolated,
        Err(reason) => return topic.unknown(reason),
    };
    let wanted = chosen.both();
    let lacks = |cores: &[usize]| wanted.iter().any(|core| !cores.contains(core));
    let show = |cores: &[usize]| if cores.is_empty() { "none".into() } else { list(cores) };
    let state = format!("isolcpus {}, nohz_full {}", show(&isolated), show(&tickless));
    if !lacks(&isolated) && !lacks(&tickless) {
        return topic.good(state);
    }
    if chosen.allowed.len() <= wanted.len() {
        return topic.hint(state, "use a machine with more cores: other programs cannot use isolated ones");
    }
    let list = sorted(&wanted);
    topic.hint(state, format!("boot with `isolcpus={list} nohz_full={list} rcu_nocbs={list}`"))
}

fn interrupts(files: &Files, chosen: &Chosen, sample: Result<&Sample, &String>) -> Check {
    let wanted = format!("at most {INTERRUPTS_PER_S_MAX} device interrupts per second on the worker's core");
    let topic = Topic::new("irq_affinity", wanted, LATENCY);
    let worker = chosen.worker;
    let (fired, seconds) = match sample.map(|sample| (sample.interrupts.as_ref(), sample.seconds)) {
        Ok((Ok(fired), seconds)) => (fired, seconds),
        Ok((Err(reason), _)) | Err(reason) => return topic.unknown(reason),
    };
    let may = files.names("/proc/irq").iter().filter(|irq| may_fire(files, irq, worker)).count();
    let rate = fired.iter().map(|irq| irq.count).sum::<u64>() as f64 / seconds;
    let busiest = fired.iter().max_by_key(|irq| irq.count);
    let named = busiest.map_or_else(String::new, |irq| format!(", most of them {} ({})", irq.number, irq.name));
    let state = format!("{rate:.0} per second on core {worker}{named}; {may} interrupts may arrive there");
    if rate <= INTERRUPTS_PER_S_MAX {
        return topic.good(state);
    }
    let number = busiest.map_or(0, |irq| irq.number);
    topic.bad(
        state,
        match chosen.allowed.iter().find(|&&core| core != worker) {
            Some(other) => Remedy::write(format!("/proc/irq/{number}/smp_affinity_list"), other),
            None => "allow a second core to take the interrupts".into(),
        },
    )
}

fn may_fire(files: &Files, irq: &str, core: usize) -> bool {
    let file = |name: &str| files.cores(&format!("/proc/irq/{irq}/{name}"));
    let cores = file("effective_affinity_list").or_else(|_| file("smp_affinity_list"));
    cores.is_ok_and(|cores| cores.contains(&core))
}

fn numa(files: &Files, chosen: &Chosen) -> Check {
    let topic = Topic::new("numa", "pool and cores on one node", BOTH);
    const NODES: &str = "/sys/devices/system/node";
    let Ok(online) = files.cores(&format!("{NODES}/online")) else {
        return match files.text("/sys/devices/system/cpu/online") {
            Ok(_) => topic.good("one node (this kernel has no NUMA)"),
            Err(reason) => topic.unknown(reason),
        };
    };
    let mut nodes = Vec::new();
    for node in online {
        match files.cores(&format!("{NODES}/node{node}/cpulist")) {
            Ok(cores) if cores.iter().any(|core| chosen.allowed.contains(core)) => nodes.push((node, cores)),
            Ok(_) => {}
            Err(reason) => return topic.unknown(reason),
        }
    }
    let of = |core| nodes.iter().find(|(_, cores)| cores.contains(&core)).map(|(node, _)| *node);
    match (nodes.as_slice(), of(chosen.worker)) {
        ([], _) | (_, None) => topic.unknown("no node lists the cores of a run"),
        ([(node, _)], _) => topic.good(format!("all allowed cores are on node {node}")),
        (several, Some(node)) => {
            let shown: Vec<String> = several.iter().map(|(node, cores)| format!("{node}: {}", list(cores))).collect();
            topic.bad(
                format!("allowed cores are on nodes {}; the worker's is on {node}", shown.join(", ")),
                format!("numactl --cpunodebind={node} --membind={node} hpbench ..."),
            )
        }
    }
}

/// A quota stops all threads of a group for a while once they have used it up.
fn quota(files: &Files, chosen: &Chosen) -> Check {
    let threads = 1 + chosen.generators.len().max(1);
    let topic = Topic::new("cpu_quota", "none, or more than a run's threads use", BOTH);
    let groups = match files.text("/proc/self/cgroup") {
        Ok(groups) => groups,
        Err(reason) => return topic.unknown(reason),
    };
    // The smallest one on the path from the process's control group to the root counts.
    let groups = cgroup::groups(&groups, Path::new("/sys/fs/cgroup"), "cpu");
    let groups = groups.iter().map(|group| group.display().to_string());
    let quotas = groups.filter_map(|group| v2_quota(files, &group).or_else(|| v1_quota(files, &group)));
    match quotas.reduce(f64::min) {
        None => topic.good("none"),
        Some(cores) if cores > threads as f64 => topic.good(format!("{cores:.1} cores")),
        Some(cores) => topic.bad(
            format!("the container may use {cores:.1} cores' time, and {threads} threads spin"),
            format!("raise the container's limit (Docker: `--cpus {}`; systemd: CPUQuota=)", threads + 1),
        ),
    }
}

fn v2_quota(files: &Files, group: &str) -> Option<f64> {
    let text = files.text(&format!("{group}/cpu.max")).ok()?;
    let (quota, period) = text.split_once(' ')?;
    // Without a limit the quota is the word `max`.
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

fn v1_quota(files: &Files, group: &str) -> Option<f64> {
    let quota = files.number(&format!("{group}/cpu.cfs_quota_us")).ok().filter(|&quota| quota > 0)?;
    let period = files.number(&format!("{group}/cpu.cfs_period_us")).ok().filter(|&period| period > 0)?;
    Some(quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::files::Fixture;

    fn chosen(worker: usize, generators: &[usize]) -> Chosen {
        let mut allowed: Vec<usize> = generators.iter().copied().chain([worker]).collect();
        allowed.sort_unstable();
        Chosen { worker, generators: generators.to_vec(), allowed }
    }

    fn siblings(list: &str, chosen: &Chosen) -> Check {
        let path = "/sys/devices/system/cpu/cpu3/topology/thread_siblings_list";
        smt_siblings(&Fixture::new(&[(path, list)]).files(), chosen)
    }

    #[test]
    fn siblings_spoil_where_both_threads_of_a_core_are_used() {
        assert_eq!(siblings("3\n", &chosen(3, &[2])).ok, Some(true));
        let check = siblings("2-3\n", &chosen(3, &[2]));
        assert!(check.is_bad() && check.affects == BOTH && check.mend().is_some_and(|way| way.contains("smt")));
        let check = siblings("2,3\n", &chosen(3, &[0, 1, 2]));
        assert!(check.is_bad() && check.affects.is_empty(), "only flood uses it: {check:?}");
        assert!(check.mend().is_some_and(|way| way.ends_with("--generator-cpu 0,1")));
        assert_eq!(siblings("3,7\n", &chosen(3, &[2])).ok, Some(true), "nobody uses core 7");
        assert_eq!(smt_siblings(&Fixture::new(&[]).files(), &chosen(3, &[2])).ok, None);
    }

    #[test]
    fn hybrid_processors_are_named_and_spoil_where_kinds_are_mixed() {
        let hybrid = Fixture::new(&[
            ("/sys/devices/cpu_core/cpus", "0-3\n"),
            ("/sys/devices/cpu_atom/cpus", "4-7\n"),
            ("/sys/devices/system/cpu/online", "0-7\n"),
        ]);
        let check = core_kinds(&hybrid.files(), &chosen(3, &[0, 1, 2]));
        assert_eq!((check.ok, check.state.as_str()), (Some(true), "all allowed cores are alike"));
        let check = core_kinds(&hybrid.files(), &chosen(3, &[0, 7]));
        assert_eq!((check.ok, check.state.contains("efficiency 7")), (Some(true), true), "{check:?}");
        let check = core_kinds(&hybrid.files(), &chosen(7, &[0]));
        assert!(check.is_bad() && check.state.contains("worker 7 is efficiency"), "{check:?}");
        assert_eq!(core_kinds(&Fixture::new(&[]).files(), &chosen(1, &[0])).ok, None);
    }

    #[test]
    fn one_core_is_too_few() {
        assert!(cores(&chosen(5, &[])).is_bad());
        let check = cores(&chosen(3, &[1, 0, 2]));
        assert_eq!((check.ok, check.state.as_str()), (Some(true), "worker on 3, generators on 0-2"));
    }

    #[test]
    fn isolation_counts_for_the_cores_of_a_run() {
        let machine = |isolated, tickless| {
            let cpu = "/sys/devices/system/cpu";
            Fixture::new(&[(&format!("{cpu}/isolated"), isolated), (&format!("{cpu}/nohz_full"), tickless)])
        };
        let check = isolated(&machine("2-3\n", "2-3\n").files(), &chosen(3, &[2, 0]));
        assert_eq!((check.ok, check.state.as_str()), (Some(true), "isolcpus 2-3, nohz_full 2-3"));
        let check = isolated(&machine("3\n", "\n").files(), &chosen(3, &[2, 0]));
        assert!(check.is_bad() && check.mend().is_some_and(|way| way.contains("isolcpus=2-3")));
        let check = isolated(&machine("\n", "\n").files(), &chosen(1, &[0]));
        assert!(check.mend().is_some_and(|way| !way.contains("isolcpus")), "one core is left for the rest");
        assert_eq!(isolated(&Fixture::new(&[]).files(), &chosen(3, &[2])).ok, None);
    }

    #[test]
    fn two_nodes_are_one_too_many() {
        let node = "/sys/devices/system/node";
        let two = Fixture::new(&[
            (&format!("{node}/online"), "0-1\n"),
            (&format!("{node}/node0/cpulist"), "0-3,8-11\n"),
            (&format!("{node}/node1/cpulist"), "4-7,12-15\n"),
        ]);
        let check = numa(&two.files(), &chosen(15, &[0, 1]));
        assert!(check.is_bad() && check.state.contains("worker's is on 1"), "{check:?}");
        assert!(check.mend().is_some_and(|way| way.contains("--membind=1")));
        let check = numa(&two.files(), &chosen(3, &[0, 1]));
        assert_eq!((check.ok, check.state.as_str()), (Some(true), "all allowed cores are on node 0"));
        let none = Fixture::new(&[("/sys/devices/system/cpu/online", "0-1\n")]);
        assert_eq!(numa(&none.files(), &chosen(1, &[0])).ok, Some(true));
        assert_eq!(numa(&Fixture::new(&[]).files(), &chosen(1, &[0])).ok, None, "nothing can be read");
    }

    #[test]
    fn a_containers_quota_is_found_wherever_it_is_set() {
        let group = "/proc/self/cgroup";
        let version_2 = Fixture::new(&[
            (group, "0::/a/b\n"),
            ("/sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
        ]);
        let check = quota(&version_2.files(), &chosen(1, &[0]));
        assert!(check.is_bad() && check.state.contains("1.5 cores"), "{check:?}");
        let version_1 = Fixture::new(&[
            (group, "4:memory:/x\n3:cpu,cpuacct:/docker/1\n0::/\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400000\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(quota(&version_1.files(), &chosen(1, &[0])).state, "4.0 cores");
        let free = Fixture::new(&[
            (group, "1:cpu:/\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(quota(&free.files(), &chosen(1, &[0])).state, "none");
    }

    #[test]
    fn a_nearer_core_is_named() {
        let machine = Fixture::new(&[("/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "2-3")]);
        let files = machine.files();
        let chosen = Chosen { worker: 3, generators: vec![0], allowed: vec![0, 1, 2, 3] };
        let with = |ns: [f64; 3]| distance(&files, &chosen, move |_, other| Some(ns[other]));
        let far = with([200.0, 60.0, 10.0]);
        assert_eq!(far.mend().as_deref(), Some("--cpu 3 --generator-cpu 1"), "a sibling is no choice");
        assert_eq!(with([80.0, 60.0, 10.0]).ok, Some(true));
        assert_eq!(distance(&files, &chosen, |_, _| None).ok, None);
        let alone = Chosen { worker: 0, generators: vec![], allowed: vec![0] };
        assert_eq!(distance(&files, &alone, |_, _| None).ok, Some(true));
    }
}
